"""A report written: one page beside a folder's files, and of a dataset its charts as PNG, in one step with its card."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whoseboat.cards.charts import places
from whoseboat.errors import DataError, OutputError
from whoseboat.manifest import CHECKS, Manifest, read_manifest
from whoseboat.quality.rewritten import rewrite
from whoseboat.reporting import of_datasets, of_evaluations
from whoseboat.reporting.charts import pngs
from whoseboat.reporting.page import MARK, page
from whoseboat.reporting.rows import explorer
from whoseboat.reporting.sections import Content

NAME = "report.html"
PathLike = str | os.PathLike[str]
_LOOKED_AT = 4_096


@dataclass(frozen=True, slots=True)
class Reported:
    """A report that was written: the page and its size, how many pairs it shows of how many, and the PNGs."""

    path: Path
    size: int
    shown: int = 0
    pairs: int = 0
    charts: tuple[str, ...] = ()


def report(directory: PathLike, out: PathLike | None = None) -> Reported:
    """Write the report of a dataset folder, or of an evaluation: one page that opens from disk and needs no network.

    Without `out` the page is `report.html` in the folder. It is no part of a release, since it holds texts of rows. Of
    a dataset folder the charts are put into `assets/` as PNG, too, and card and manifest are brought up to date; with
    `out` the folder is left as it is.

    Args:
        directory: a dataset folder, checked or not, or a folder that `evaluate` made.
        out: the file to write instead.

    Raises:
        DataError: it is no such folder, or what checks found is of other data.
        OutputError: the page or the folder cannot be written, or a file that is not ours stands in its place.

    """
    folder = Path(directory)
    stated = read_manifest(folder)
    target = folder / NAME if out is None else Path(out)
    _check_free(target)
    kind = stated.get("kind", "dataset")
    if kind == "evaluation":
        content = of_evaluations.read(folder)
        written = page(
            content, None, "The rows of an evaluation hold no texts, so there is nothing to go through here."
        )
        return Reported(_write(target, written), len(written))
    if kind != "dataset":
        raise DataError(
            "nothing to report of such a folder",
            where=str(folder),
            expected="a dataset folder, or one that `whoseboat evaluate` made",
            found=f"a folder of kind {kind}",
        )
    made = Manifest.of(stated, str(folder / "manifest.json"))
    content = of_datasets.content(made, read_checks(folder, made))
    rows = explorer(folder, sum(made.rows["pairs"].values()))
    written = page(content, rows)
    charts = () if out is not None else _put_charts(folder, made, content)
    return Reported(_write(target, written), len(written), rows.shown, rows.pairs, charts)


def read_checks(folder: Path, made: Manifest) -> Mapping[str, Any] | None:
    """Return what checks found of a dataset folder; None where it was not checked.

    Raises:
        DataError: it is not what checks write, or is of other data.

    """
    path = folder / CHECKS
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, OSError) as error:
        raise _no_checks(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("figures"), list):
        raise _no_checks(path, "no object with figures")
    for figure in found["figures"]:
        if not isinstance(figure, dict) or not {"name", "side", "value"} <= figure.keys():
            raise _no_checks(path, "a figure without name, side and value")
    if found.get("data_digest") != made.data_digest:
        raise DataError(
            "the checks in this folder are of other data",
            where=str(path),
            expected=f"data {made.data_digest[:16]}",
            found=f"data {str(found.get('data_digest'))[:16]}",
            todo="check the folder again: whoseboat check",
        )
    return found


def _no_checks(path: Path, found: str) -> DataError:
    return DataError(
        "what checks found cannot be read",
        where=str(path),
        expected="a file that `whoseboat check` wrote",
        found=found,
        todo="check the folder again: whoseboat check",
    )


def _put_charts(folder: Path, made: Manifest, content: Content) -> tuple[str, ...]:
    """Put the charts into a folder; what it no longer has is taken out. The names of the files are returned."""
    drawn = pngs(content.charts)
    others = set(places()) - drawn.keys()
    rewrite(folder, made, drawn, without=others)
    return tuple(drawn)


def _check_free(target: Path) -> None:
    """Refuse to replace a page that is not ours.

    Raises:
        OutputError: there is one.

    """
    if not os.path.lexists(target):
        return
    try:
        with target.open("rb") as file:
            is_ours = MARK.encode() in file.read(_LOOKED_AT)
    except OSError:
        is_ours = False
    if not is_ours:
        raise OutputError(
            "a file that is no report stands there", where=str(target), todo="name another: --out FILE.html"
        )


def _write(target: Path, written: bytes) -> Path:
    """Write a file, whole or not at all."""
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(written)
        mask = os.umask(0)
        os.umask(mask)
        Path(partial).chmod(0o666 & ~mask)
        Path(partial).replace(target)
    except OSError as error:
        raise OutputError(
            "the report cannot be written",
            where=str(target),
            found=error.strerror or str(error),
            todo="check the path and its permissions, or name another: --out FILE.html",
        ) from error
    finally:
        if partial is not None:
            with contextlib.suppress(FileNotFoundError):
                Path(partial).unlink()
    return target
