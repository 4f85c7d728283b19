"""What people filled in: sheets for pairs, sheets for persona quality, and tables of labels beside those of a judge."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whoseboat.agreement.spreadsheets import read_cells
from whoseboat.errors import DataError, UsageError
from whoseboat.files import Record
from whoseboat.judge import CERTAINTIES

SCALES = ("plausible", "applicable", "harmful", "overfitted")
RATINGS = (1, 2, 3, 4, 5)
# What people write for a choice, to what it means.
PLACES: Mapping[str, str] = {"1": "1", "2": "2", "tie": "tie", "a": "1", "b": "2"}
# The words a certainty has on sheets, or 5 to 1, the surest first.
SURENESS = (*CERTAINTIES, *(str(rating) for rating in reversed(RATINGS)))
_OPTIONAL = ("labeller", "certainty", "root", "item", "model")
_NEAR = 0.8


@dataclass(frozen=True, slots=True)
class Mark:
    """What one person said of one item: a choice, or scores on the scales of quality."""

    item: str
    labeller: str
    where: str
    choice: str = ""
    certainty: str | None = None
    scores: Mapping[str, int] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Beside:
    """A label of a person and the judge's, of one item."""

    item: str
    root: str
    labeller: str
    where: str
    human: str
    judge: str | None
    certainty: str | None = None


@dataclass
class Sheets:
    """All that was filled in, and how many rows were not."""

    pairs: list[Mark] = field(default_factory=list)
    quality: list[Mark] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    unfilled: int = 0


def read_sheets(paths: Sequence[Path], choices: Mapping[str, str] = PLACES) -> Sheets:
    """Return what people filled in.

    The columns say which kind a file is: `choice` (pairs), the scales of quality, or `human` and `judge`. Who filled it
    in stands in a column `labeller`, or is the file's name.

    Args:
        paths: of the files, CSV, JSON lines, JSON or Parquet.
        choices: what may stand for a choice, to what it means.

    Raises:
        UsageError: no file, or files that do not go together.
        DataError: a column is missing, a value is none that may be, a person labelled an item twice, or nothing is
            filled in.

    """
    if not paths:
        raise UsageError("no sheet was named", todo="name the files people filled in")
    sheets = Sheets()
    for path in paths:
        _read_sheet(path, sheets, choices)
    if sheets.beside and (sheets.pairs or sheets.quality):
        raise UsageError(
            "tables with a column judge and sheets do not go together", todo="ask about each of them by itself"
        )
    for marks in (sheets.pairs, sheets.quality, sheets.beside):
        _refuse_twice(marks)
    return sheets


def _read_sheet(path: Path, sheets: Sheets, choices: Mapping[str, str]) -> None:
    rows = filled = 0
    for where, record in read_cells(path):
        row = _named(record, where)
        if not rows:
            _check_columns(row, str(path))
        rows += 1
        found = _add(row, where, path.name.partition(".")[0], sheets, choices)
        filled += found
        sheets.unfilled += not found and any(_text(value) for value in row.values())
    if not filled:
        raise DataError(
            "the sheet has no rows" if not rows else "nothing is filled in",
            where=str(path),
            expected="at least one row with an answer",
            found="a header alone" if not rows else f"{rows} rows, none with an answer",
        )


def _named(record: Record, where: str) -> dict[str, Any]:
    """Return a record with the names of its columns in one form."""
    row = {name.strip().lower(): value for name, value in record.items()}
    if len(row) != len(record):
        raise DataError("several columns of one name", where=where, found=", ".join(record))
    return row


def _check_columns(row: Mapping[str, Any], where: str) -> None:
    """Refuse a file whose columns are of no kind.

    Raises:
        DataError: a column is missing; with what is nearest to it.

    """
    kinds = (("human", "judge"), ("item", "choice"), ("item", *SCALES))
    # The kind of which there is most: its columns are those that were meant.
    needed = max(kinds, key=lambda names: sum(name in row for name in names if name != "item") / len(names))
    if not any(name in row for name in needed if name != "item"):
        near = [name for kind in kinds for name in kind if difflib.get_close_matches(name, row, n=1, cutoff=_NEAR)]
        needed = next((kind for kind in kinds if near and near[-1] in kind), needed)
        if not near:
            raise DataError(
                "neither a sheet nor a table of labels",
                where=where,
                expected=f"columns item and choice; item, {', '.join(SCALES)}; or human and judge",
                found=", ".join(row),
            )
    for name in (*needed, *_OPTIONAL):
        near = difflib.get_close_matches(name, [other for other in row if other not in needed], n=1, cutoff=_NEAR)
        if name not in row and (near or name in needed):
            raise DataError(
                f"no column {name!r}",
                where=where,
                expected=", ".join(needed),
                found=", ".join(row),
                todo=f"rename {near[0]!r}" if near else "",
            )


def _add(row: Mapping[str, Any], where: str, labeller: str, sheets: Sheets, choices: Mapping[str, str]) -> bool:
    """Add what a row says; return whether it says anything."""
    labeller = _text(row.get("labeller")) or labeller
    item = _text(row.get("item"))
    # Texts in cells have lines of their own: the item tells people more than the line.
    where = f"{where}, item {item!r}" if item else where
    if "human" in row:
        return _add_beside(row, where, labeller, sheets)
    scores = {name: _rating(row[name], name, where) for name in SCALES if name in row and _text(row[name])}
    choice = _text(row.get("choice"))
    if not choice and not scores:
        return False
    if not item:
        raise DataError("an answer without an item", where=where, expected="the item's name, as the sheet had it")
    if choice:
        said = choices.get(choice.lower())
        if said is None:
            expected = ", ".join(choices)
            raise DataError("a choice that is none", where=where, expected=f"one of {expected}", found=choice)
        model = _text(row.get("model"))
        sheets.pairs.append(Mark(item, labeller, where, said, _certainty(row.get("certainty"), where), model=model))
    if scores:
        sheets.quality.append(Mark(item, labeller, where, scores=scores))
    return True


def _add_beside(row: Mapping[str, Any], where: str, labeller: str, sheets: Sheets) -> bool:
    human, judge = _text(row["human"]), _text(row["judge"])
    if not human:
        return False
    item = _text(row.get("item")) or where
    root = _text(row.get("root")) or item
    sheets.beside.append(Beside(item, root, labeller, where, human, judge or None, _text(row.get("certainty")) or None))
    return True


def _rating(value: object, name: str, where: str) -> int:
    text = _text(value)
    if text not in map(str, RATINGS):
        raise DataError(
            "a rating that is none",
            where=f"{where}, column {name!r}",
            expected="a whole number from 1 to 5, or nothing",
            found=text,
        )
    return int(text)


def _certainty(value: object, where: str) -> str | None:
    text = _text(value).lower()
    if text and text not in SURENESS:
        raise DataError(
            "a certainty that is none",
            where=where,
            expected=f"one of {', '.join(CERTAINTIES)}, or 1 to 5 (the surest), or nothing",
            found=text,
        )
    return text or None


def _text(value: object) -> str:
    """Return what a cell says; a number is written without the .0 that spreadsheets and tables add."""
    if value is None or value != value:
        return ""
    text = str(value).strip()
    whole = text.removesuffix(".0")
    return whole if whole.isascii() and whole.isdigit() else text


def _refuse_twice(marks: Iterable[Mark | Beside]) -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for mark in marks:
        who = (mark.item, mark.labeller, getattr(mark, "model", ""))
        if who in seen:
            raise DataError(
                f"{mark.labeller!r} labelled an item twice: {mark.item!r}",
                where=f"{seen[who]}; {mark.where}",
                expected="one row of each labeller for an item",
                todo="remove one of the two, or name labellers in a column labeller",
            )
        seen[who] = mark.where
