"""Models and tokenizers, from the Hub or from a folder; no code of theirs is run, and no pickle is read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whoseboat import hub
from whoseboat.errors import DataError, HubError, WhoseboatError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model: a repo of the Hub at a commit, or a folder, which has none."""

    name: str
    commit: str | None
    licence: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder."""
        return Path(self.name).is_dir()

    @property
    def public_name(self) -> str:
        """What it is called where its weights are not needed: of a folder, no path of this machine."""
        return Path(self.name).resolve().name if self.is_local else self.name


def find(name: str, revision: str | None = None) -> BaseModel:
    """Find a base model and what is to be known of it; no weights are fetched.

    Raises:
        DataError: a folder without a model, or one that holds an adapter alone.
        HubError: no such repo, it is gated, or the Hub did not answer.

    """
    folder = Path(name)
    if folder.is_dir():
        if (folder / _ADAPTER).is_file() and not (folder / "config.json").is_file():
            raise DataError(
                "the base model is an adapter", where=name, todo="merge it: whoseboat merge DIR --out MERGED"
            )
        if not (folder / "config.json").is_file():
            raise DataError("the folder holds no model", where=name, expected="config.json and *.safetensors")
        return BaseModel(name, None, _licence_of_folder(folder))
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise DataError("the base model is not found", where=name, expected="a folder, or ORG/NAME on the Hub")
    return _on_hub(name, revision)


def _on_hub(name: str, revision: str | None) -> BaseModel:
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        with hub.explained(name, revision, "base model", again=""):
            info = HfApi().model_info(name, revision=revision)
            get_hf_file_metadata(hf_hub_url(name, "config.json", revision=info.sha))  # a gated repo tells here
    except HubError:
        at_hand = revision is not None and _COMMIT.fullmatch(revision)
        if at_hand and isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            return BaseModel(name, revision, "unknown")  # pinned and fetched before: works without a connection
        raise
    card = info.card_data
    stated = (card.get("license") if card else None) or "unknown"
    if stated == "other" and card and card.get("license_name"):
        stated = card.get("license_name")
    return BaseModel(name, info.sha, ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated))


def _licence_of_folder(folder: Path) -> str:
    """Return the licence that the card of a folder states."""
    from huggingface_hub import ModelCard

    card = folder / "README.md"
    if not card.is_file():
        return "unknown"
    try:
        stated = ModelCard.load(card).data.get("license")
    except ValueError:  # a README without front matter, or with one that is no YAML
        return "unknown"
    return str(stated) if stated else "unknown"


def load_tokenizer(place: str | Path, revision: str | None = None) -> Any:  # noqa: ANN401 - transformers has no types
    """Load a tokenizer; where it has no token for padding, its end of sequence serves.

    Raises:
        DataError: there is none.
        HubError: it cannot be fetched.

    """
    from transformers import AutoTokenizer

    with _explained(place, revision, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(place), revision=revision, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(place: str | Path, revision: str | None = None, dtype: str = "float32") -> Any:  # noqa: ANN401 - as above
    """Load a model's weights, from safetensors alone.

    Raises:
        DataError: there are none, or they are of an architecture that transformers does not know.
        HubError: they cannot be fetched.

    """
    from transformers import AutoModelForCausalLM

    with _explained(place, revision, "base model"):
        return AutoModelForCausalLM.from_pretrained(
            str(place), revision=revision, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )


@contextmanager
def calmed() -> Iterator[None]:
    """Keep back a warning that is for the makers of trl and peft: they ask models by a name that is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)
        yield


@contextmanager
def _explained(place: str | Path, revision: str | None, what: str) -> Iterator[None]:
    try:
        with hub.explained(str(place), revision, what, again=""):
            yield
    except WhoseboatError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the {what} cannot be loaded",
            where=hub.place(str(place), revision),
            expected="a causal language model of an architecture that transformers knows, as safetensors",
            found=hub.first_line(error),
            todo="name another base_model; code that comes with models is not run",
        ) from error
