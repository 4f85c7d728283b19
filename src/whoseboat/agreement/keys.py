"""The key of sheets: of which pair each item is, and which of its responses stands first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

from whoseboat.agreement.spreadsheets import read_cells, write_cells
from whoseboat.errors import DataError, UsageError

FILE = "key.csv"
SheetKind = Literal["quality", "pairs"]
SIDES = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What is behind an item of a sheet.

    `side` is that of the persona; `response_1` is the side of the response that stands first, and of a quality item
    that of its one response, which is the persona's. `root` is a hash of the conversation's first turn.
    """

    item: str
    kind: str
    id: str
    split: str
    side: str
    response_1: str
    root: str

    def response(self, choice: str) -> str:
        """Return which response a choice of 1, 2 or tie names: that of a side, or `tie`."""
        if choice == "tie":
            return choice
        other = SIDES[self.response_1 == SIDES[0]]
        return self.response_1 if choice == "1" else other


def write_key(path: Path, rows: list[KeyRow]) -> None:
    """Write the key, in the order of the items."""
    write_cells(path, [field.name for field in fields(KeyRow)], [astuple(row) for row in rows])


def read_key(path: Path) -> Mapping[str, KeyRow]:
    """Return the rows of a key by their item.

    Raises:
        DataError: it is no key of ours.

    """
    names = [field.name for field in fields(KeyRow)]
    rows: dict[str, KeyRow] = {}
    for where, record in read_cells(path, "key"):
        missing = [name for name in names if name not in record]
        if missing:
            raise DataError(
                "not a key of ours",
                where=str(path),
                expected=f"the columns {', '.join(names)}",
                found=f"no {', '.join(missing)}",
                todo=f"name the {FILE} that --export wrote",
            )
        row = KeyRow(*(str(record[name] or "") for name in names))
        strange = row.side not in SIDES or row.response_1 not in SIDES or row.kind not in ("quality", "pairs")
        if strange or row.item in rows:
            raise DataError(
                "a row that no key of ours has",
                where=where,
                expected="an item once, a kind of quality or pairs, and sides of chosen or rejected",
                found=", ".join(astuple(row)),
            )
        rows[row.item] = row
    if not rows:
        raise DataError("the key has no row", where=str(path))
    return rows


def row_of(key: Mapping[str, KeyRow], item: str, kind: SheetKind, where: str) -> KeyRow:
    """Return what is behind an item of a sheet.

    Raises:
        UsageError: the key does not know the item, or as one of another sheet.

    """
    row = key.get(item)
    if row is None or row.kind != kind:
        raise UsageError(
            f"an item the key does not know: {item!r}",
            where=where,
            expected=f"items of the {kind} sheet that was written with this key",
            todo="name the key.csv of the same --export",
        )
    return row
