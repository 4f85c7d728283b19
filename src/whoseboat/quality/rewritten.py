"""A dataset folder with files added to it: its card and its manifest are made anew, in one step with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from whoseboat import cards
from whoseboat.contents import CARD, Folder, Owned, card_of
from whoseboat.errors import DataError
from whoseboat.folder import link, whole_folder
from whoseboat.manifest import FILE, Manifest

_FIGURE = "assets/rows.png"  # of a release


def rewrite(
    folder: str | os.PathLike[str],
    new_manifest: Manifest,
    new_files: Mapping[str, bytes | Path],
    *,
    without: Collection[str] = (),
) -> Manifest:
    """Put files into a dataset folder and make its card and manifest anew: all of it, or nothing.

    Files that are there stay the same files on the disk, rows are not copied; of those, the manifest keeps what it
    states. When the card is made, `files` of the manifest names all others. What people wrote into the card stays, and
    so do files that are not the folder's own.

    Args:
        folder: a dataset folder of ours.
        new_manifest: what it is to be; its `files` are those it has now.
        new_files: what to add or to replace, by its name in the folder: bytes, or a file with them.
        without: names of own files that are to go.

    Returns:
        The manifest as it was written.

    Raises:
        DataError: it is no dataset folder of ours, or its card cannot be read.
        OutputError: it cannot be written, or one of the files is not ours; it is as it was then.
        ValueError: a name that is no plain path, or that of card or manifest.

    """
    from whoseboat.releases.rows import examples

    path = Path(folder).resolve()
    _check_names(new_files)
    if not (path / FILE).is_file():
        raise DataError("not a dataset folder of ours", where=str(folder), expected=f"a file {FILE}")
    with whole_folder(path, overwrite=True) as new:
        kept = _kept(path, new_manifest, {*new_files, *without, CARD})
        for name in kept:
            link(path / name, new / name)
        for name, content in new_files.items():
            _put(content, new / name)
        files = {name: new_manifest.files[name] for name in kept} | _described(new, new_files)
        made = replace(new_manifest, files=dict(sorted(files.items())))
        shown = examples(Owned(Folder(new), {"files": made.files}))
        card = cards.dataset_card(made, shown, figure=_FIGURE if _FIGURE in made.files else None)
        card = cards.merge(card, None, card_of(Folder(path)))
        (new / CARD).write_text(card, encoding="utf-8")
        made = replace(made, files=dict(sorted({**made.files, **_described(new, [CARD])}.items())))
        (new / FILE).write_text(made.to_json(), encoding="utf-8")
    return made


def _check_names(names: Collection[str]) -> None:
    for name in names:
        parts = name.split("/")
        if PurePosixPath(name).as_posix() != name or name.startswith("/") or {"", ".", ".."} & set(parts):
            raise ValueError(f"expected a plain path in the folder, found {name!r}")
        if name in (CARD, FILE):
            raise ValueError(f"{name} is made here")


def _kept(path: Path, made: Manifest, others: Collection[str]) -> list[str]:
    """Return the folder's own files that are there but for others; names are those on the disk."""
    names = [entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file()]
    return sorted(name for name in names if name in made.files and name not in others and name != FILE)


def _put(content: bytes | Path, target: Path) -> None:
    if isinstance(content, Path):
        link(content, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _described(folder: Path, names: Collection[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for name in names:
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[name] = {"bytes": (folder / name).stat().st_size, "sha256": digest}
    return found
