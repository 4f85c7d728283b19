"""Pairs of a dataset folder with their personas, as checks look at them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whoseboat.dataset import SPLITS
from whoseboat.errors import DataError
from whoseboat.files import LocalFile, records
from whoseboat.records import Message, Side, root_of

SIDES: tuple[Side, Side] = ("chosen", "rejected")
_NEEDED = ("id", "prompt", "chosen", "rejected", "chosen_persona", "rejected_persona", "persona_engine")
_COLUMNS = (*_NEEDED, "language", "user_id", "source_split")


@dataclass(frozen=True, slots=True)
class CheckedPair:
    """A pair with its two personas: a row of the config `pairs`.

    `root` is the normalised first user turn, which clusters pairs of one conversation.
    """

    id: str
    split: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    chosen_persona: str
    rejected_persona: str
    persona_engine: str
    language: str | None = None
    user_id: str | None = None
    source_split: str | None = None
    root: str = field(default="", kw_only=True)

    def persona(self, side: Side) -> str:
        """Return the persona of a side."""
        return self.chosen_persona if side == "chosen" else self.rejected_persona

    def response(self, side: Side) -> str:
        """Return the response of a side."""
        return self.chosen if side == "chosen" else self.rejected


def read_pairs(folder: Path) -> Iterator[CheckedPair]:
    """Yield the pairs of a dataset folder, split by split, in the order they are stored.

    Raises:
        DataError: it is no dataset folder, or a file lacks a column.

    """
    is_empty = True
    for split in SPLITS:
        for path in sorted(folder.glob(f"pairs/{split}-*.parquet")):
            for number, record in records(LocalFile(f"pairs/{path.name}", path), _COLUMNS):
                if number == 1:
                    _check(record, path)
                is_empty = False
                yield _pair(record, split)
    if is_empty:
        raise DataError(
            "not a dataset folder", where=str(folder), expected="pairs/*.parquet, as `whoseboat build` makes them"
        )


def drawn(pairs: Iterable[CheckedPair], limit: int) -> list[CheckedPair]:
    """Return so many pairs, those with the smallest hashes of their ids, in the order of these hashes.

    What is drawn depends on the ids alone, so it stays the same, and a larger sample holds a smaller one.
    """
    return heapq.nsmallest(limit, pairs, key=_draw)


def _draw(pair: CheckedPair) -> bytes:
    return hashlib.blake2b(pair.id.encode(), digest_size=16, person=b"checks").digest()


def _check(record: Mapping[str, Any], path: Path) -> None:
    missing = [name for name in _NEEDED if name not in record]
    if missing:
        raise DataError("a dataset without columns of ours", where=str(path), expected=", ".join(missing))


def _pair(record: Mapping[str, Any], split: str) -> CheckedPair:
    prompt = tuple(Message(turn["role"], turn["content"]) for turn in record["prompt"])
    said = next((message.content for message in prompt if message.role == "user"), "")
    return CheckedPair(
        id=record["id"],
        split=split,
        prompt=prompt,
        chosen=record["chosen"][-1]["content"],
        rejected=record["rejected"][-1]["content"],
        chosen_persona=record["chosen_persona"],
        rejected_persona=record["rejected_persona"],
        persona_engine=record["persona_engine"] or "",
        language=record.get("language"),
        user_id=record.get("user_id"),
        source_split=record.get("source_split"),
        root=root_of(said),
    )
