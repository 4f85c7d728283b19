"""Models and tokenizers, from the Hub or from a folder; no code of theirs is run, and no pickle is read."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whoseboat import hub
from whoseboat.errors import DataError, HubError, WhoseboatError
from whoseboat.manifest import FILE, read_manifest
from whoseboat.model_manifest import ModelManifest

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model: a repo of the Hub at a commit, or a folder, by its absolute path, which has no commit."""

    name: str
    commit: str | None
    licence: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder, there or not."""
        return Path(self.name).is_absolute()

    @property
    def public_name(self) -> str:
        """What it is called where its weights are not needed: of a folder, no path of this machine."""
        return Path(self.name).name if self.is_local else self.name


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
        return BaseModel(_absolute(name), None, _licence_of_folder(folder))
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise DataError("the base model is not found", where=name, expected="a folder, or ORG/NAME on the Hub")
    return _on_hub(name, revision)


def of_manifest(made: ModelManifest) -> BaseModel:
    """Return the base that a manifest names, whether it is there or not."""
    is_path = made.base_is_local and made.needs_base  # what does not need its base tells its name alone
    return BaseModel(_absolute(made.base_model) if is_path else made.base_model, made.base_revision, made.base_licence)


def weights_of(folder: str | Path, made: ModelManifest) -> tuple[str, str | None]:
    """Return where the weights are that a model folder begins with, its base's or its own: a place and a revision.

    What is loaded is looked at first: files of weights have the sizes that the manifest tells, and a base is there. One
    that was a folder is never asked of the Hub, where a stranger's may have its name.

    Args:
        folder: the model folder.
        made: its manifest.

    Raises:
        DataError: the folder that the base was is not there, or files of weights are missing or cut off.
        HubError: the base is not on the Hub, or cannot be had from there.

    """
    _check_sizes(Path(folder), made.files)
    if not made.needs_base:
        return str(folder), None
    base = of_manifest(made)
    if not base.is_local and not _is_at_hand(base.name, base.commit):
        _told_by_hub(base.name, base.commit)
    if base.is_local and not Path(base.name).is_dir():
        is_adapter = made.relation == "adapter"
        what = "this adapter" if is_adapter else "this few-shot model"
        merge = ", or merge the adapter where its base is: whoseboat merge DIR --out MERGED" if is_adapter else ""
        raise DataError(
            f"the base model of {what} was a folder of the machine it was made on, which is not there",
            where=base.name,
            expected="the folder that it was made with: a base of this kind is never looked for on the Hub",
            todo=f"copy that folder to this place{merge}",
        )
    return base.name, base.commit


def _absolute(name: str) -> str:
    return os.path.abspath(name)  # noqa: PTH100 - does not follow links


def _check_sizes(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """See that the weights of a folder are as long as its manifest says.

    Raises:
        DataError: they are not.

    """
    for name, about in files.items():
        if "/" in name or not name.endswith(".safetensors") or not isinstance(about.get("bytes"), int):
            continue
        path, expected = folder / name, about["bytes"]
        found = path.stat().st_size if path.is_file() else None
        if found != expected:
            raise unreadable(
                path,
                expected=f"{expected:,} bytes, as {FILE} says",
                found="no such file" if found is None else f"{found:,} bytes",
            )


def _files_of(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return what the manifest of a folder says of its files; nothing where it has none of ours."""
    if not (folder / FILE).is_file():
        return {}
    try:
        files: Mapping[str, Mapping[str, Any]] = read_manifest(folder)["files"]
    except DataError:  # somebody else's file of that name
        return {}
    return files


def unreadable(path: str | Path, *, found: str, expected: str = "") -> DataError:
    """Return the error for a file of weights that is damaged."""
    return DataError(
        "the weights cannot be read",
        where=str(path),
        expected=expected,
        found=found,
        todo="copy or fetch the whole folder again; if there is no other copy, make it again",
    )


def damaged(folder: str | Path) -> Path | None:
    """Return the first file of weights in a folder that cannot be opened as such; None where there is none."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(Path(folder).glob("*.safetensors")):
        try:
            with safe_open(str(path), framework="pt"):
                pass
        except (OSError, SafetensorError):
            return path
    return None


def _on_hub(name: str, revision: str | None) -> BaseModel:
    try:
        info = _told_by_hub(name, revision)
    except HubError:
        if _is_at_hand(name, revision):
            return BaseModel(name, revision, "unknown")  # pinned and fetched before: works without a connection
        raise
    card = info.card_data
    stated = (card.get("license") if card else None) or "unknown"
    if stated == "other" and card and card.get("license_name"):
        stated = card.get("license_name")
    return BaseModel(name, info.sha, ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated))


def _told_by_hub(name: str, revision: str | None) -> ModelInfo:
    """Ask the Hub for a model once: it answers, or the error comes at once, not after all that loading would try."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    with hub.explained(name, revision, "base model", again=""):
        info = HfApi().model_info(name, revision=revision)
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=info.sha))  # a gated repo tells here
    return info


def _is_at_hand(name: str, revision: str | None) -> bool:
    """Say whether a model was fetched before at a commit, which stays what it is."""
    from huggingface_hub import try_to_load_from_cache

    is_pinned = revision is not None and _COMMIT.fullmatch(revision) is not None
    return is_pinned and isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)


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
        DataError: there are none, they are damaged, or of an architecture that transformers does not know.
        HubError: they cannot be fetched.

    """
    from transformers import AutoModelForCausalLM

    if Path(place).is_dir():
        _check_sizes(Path(place), _files_of(Path(place)))
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
    from safetensors import SafetensorError

    try:
        with hub.explained(str(place), revision, what, again=""):
            yield
    except WhoseboatError:
        raise
    except SafetensorError as error:
        file = damaged(place) if Path(place).is_dir() else None
        raise unreadable(file or hub.place(str(place), revision), found=hub.first_line(error)) from error
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the {what} cannot be loaded",
            where=hub.place(str(place), revision),
            expected="a causal language model of an architecture that transformers knows, as safetensors",
            found=hub.first_line(error),
            todo="name another base_model; code that comes with models is not run",
        ) from error
