"""Which pairs of a dataset folder the safety gate kept out of `tailoring`: people read those by choice alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whoseboat import manifest
from whoseboat.files import LocalFile, records

# What such pairs are, after "pairs that" and "pairs".
MATERIAL = "are of red-team material, or have a response labelled unsafe"
UNTOLD = "the set was built with responses labelled unsafe, and its rows do not say which these are"


@dataclass(frozen=True)
class Gate:
    """The ids of the pairs that were kept out of `tailoring`.

    `is_untold` says that the set was built with unsafe responses: all pairs are in `tailoring` then, and nothing tells
    which of them would have been kept out.
    """

    kept: frozenset[str] = frozenset()
    is_untold: bool = False


def gate_of(folder: Path) -> Gate:
    """Return which pairs of a dataset folder were kept out of `tailoring`.

    A folder without a manifest, as somebody may have put together, is taken by its files: where it has a config
    `tailoring`, pairs that are not in it were kept out; where it has none, nothing tells.

    Raises:
        DataError: a file of the folder is damaged, or its manifest is not that of a dataset.

    """
    has_tailoring = any(folder.glob("tailoring/*.parquet"))
    if (folder / manifest.FILE).is_file():
        made = manifest.Manifest.of(manifest.read_manifest(folder), str(folder / manifest.FILE))
        if made.selection.include_unsafe:
            return Gate(is_untold=True)
        if not made.kept_from_tailoring:
            return Gate()
    elif not has_tailoring:
        return Gate()
    tailored = frozenset(_ids(folder, "tailoring"))
    return Gate(frozenset(id_ for id_ in _ids(folder, "pairs") if id_ not in tailored))


def _ids(folder: Path, config: str) -> Iterator[str]:
    for path in sorted(folder.glob(f"{config}/*.parquet")):
        for _, record in records(LocalFile(f"{config}/{path.name}", path), ("id",)):
            yield str(record.get("id"))
