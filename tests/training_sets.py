"""Sets in the paper's layout and tiny models, for tests of training; made on the spot, without a connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from whoseboat.tailoring import recipe as recipes
from whoseboat.tailoring import tiny
from whoseboat.tailoring.recipe import Recipe

WORDS = (
    "reef",
    "bowline",
    "anchor",
    "sail",
    "keel",
    "tide",
    "harbour",
    "mast",
    "rudder",
    "lantern",
    "gull",
    "rope",
    "deck",
)
SPLITS = {"fewshot": 3, "sft_train": 6, "sft_val": 2, "dpo_train": 6, "dpo_val": 2, "test": 3}
CONFIG = "Mnemonic"


def paper_row(part: str, number: int, **other: str) -> dict[str, str]:
    """Return a row as the paper published it; the texts of two rows differ."""
    word, next_word = (WORDS[(number + len(part) + more) % len(WORDS)] for more in (0, 1))
    told = {
        "prompt": f"{word} {part} {number}",
        "chosen": f"{word.capitalize()} sounds like {next_word}: picture a {next_word}.",
        "rejected": f"{word.capitalize()} sounds like nothing.",
    }
    for side, wish in (("chosen", "vivid images"), ("rejected", "dry words")):
        told[f"{side}_persona_gold"] = f"The user is a sailor and prefers {wish}."
        told[f"{side}_persona_retr"] = f"The user is a diver and prefers {wish}."
    return told | other


def write_paper(folder: Path, config: str = CONFIG, **counts: int) -> Path:
    """Write a set in the paper's layout; a count of 0 leaves the file out."""
    for split, count in (SPLITS | counts).items():
        if count:
            part = "sft_train" if split == "fewshot" else split  # its rows are among those
            write_rows(folder, split, [paper_row(part, number) for number in range(count)], config)
    return folder


def write_rows(folder: Path, split: str, rows: Sequence[dict[str, str]], config: str = CONFIG) -> None:
    """Write one file of the paper's layout."""
    path = folder / config / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def texts() -> list[str]:
    """Return what the tokenizers of tests learn from."""
    return [" ".join(paper_row(part, number).values()) for part in SPLITS for number in range(6)]


@dataclass(frozen=True)
class Workshop:
    """A set and tiny base models, one with a chat template and one without."""

    folder: Path
    data: Path
    chat: Path
    plain: Path

    def recipe(self, **changes: Any) -> Recipe:  # noqa: ANN401 - fields of a recipe
        """Return a recipe for two quick steps on the model with a chat template."""
        usual = {
            "base_model": str(self.chat),
            "data": str(self.data),
            "max_length": 512,
            "max_steps": 2,
            "batch_size": 2,
            "examples": 2,
            "gradient_checkpointing": False,
            "max_new_tokens": 8,
            "refusals": False,  # tests of it say so
        }
        return recipes.of(usual | changes)


def workshop(folder: Path) -> Workshop:
    """Make a workshop in a folder."""
    import torch

    torch.set_num_threads(1)
    data = write_paper(folder / "data")
    chat = tiny.write_tiny_model(folder / "chat", texts())
    plain = tiny.write_tiny_model(folder / "plain", texts(), chat=False)
    return Workshop(folder, data, chat, plain)
