"""Text in the cells of CSV files that spreadsheets open and save: nothing runs there, and nothing is lost on the way.

A cell that begins with = + - @ or a tab is a formula to spreadsheets; text of strangers must not become one. So a `'`
is put before it, and taken off again in reading. Files begin with a byte order mark, without which spreadsheets take
UTF-8 for something else; and some save with `;` or tabs between the cells.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from whoseboat.errors import DataError
from whoseboat.files import LocalFile, Record, records

# The most characters a cell of the common spreadsheets holds; what is beyond is cut off in silence.
LONGEST_CELL = 32_767

# Full-width forms of the signs begin a formula where Japanese is set.
_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
# Controls that no spreadsheet keeps, and marks that turn the direction of what follows.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SEPARATORS = ";\t"


def guarded(text: str) -> str:
    r"""Return a text as a cell that is no formula.

    >>> guarded("=1+1"), guarded("1+1")
    ("'=1+1", '1+1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """Return the text that a cell was made of.

    >>> unguarded("'=1+1"), unguarded("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def shown(text: str) -> str:
    """Return a text with one kind of line end and without what no spreadsheet shows."""
    return _UNSHOWN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def write_cells(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file that spreadsheets open as it is meant."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        # With quotes around all cells none begins behind a separator of another country.
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(head)
        writer.writerows([guarded(cell) for cell in row] for row in rows)


def read_cells(path: Path, what: str = "sheet") -> Iterator[tuple[str, Record]]:
    """Yield the records of a CSV, JSON or Parquet file with where they stand; cells are as they were before guarding.

    `what` is what the file is to be, for who named another.

    Raises:
        DataError: the file is not there, or not what its name says.

    """
    if path.is_dir():
        todo = f"name the {what} in it, a file" + ("; --export N makes sheets of a dataset" if what == "sheet" else "")
        raise DataError(f"a folder where a {what} was expected", where=str(path), todo=todo)
    if not path.is_file():
        raise DataError("no such file", where=str(path), todo=f"check the path of the {what}")
    unit = "line" if path.suffix in (".csv", ".jsonl", ".ndjson") else "record"
    for number, record in records(_Saved(path.name, path)):
        yield (
            f"{path}, {unit} {number}",
            {
                name: unguarded(value) if isinstance(value, str) else value
                for name, value in record.items()
                if name or value not in ("", None)  # columns without a name that some spreadsheets add
            },
        )


@dataclass(frozen=True, slots=True)
class _Saved(LocalFile):
    """A file that may have been saved by a spreadsheet."""

    def open(self) -> BinaryIO:
        """Open the file for reading bytes, with commas between the cells where something else stood."""
        separator = self._separator() if self.path.suffix == ".csv" else None
        if separator is None:
            return self.path.open("rb")
        csv.field_size_limit(sys.maxsize)  # the default cuts off at 128 KiB
        content = io.StringIO(newline="")
        writer = csv.writer(content)
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            try:
                writer.writerows(csv.reader(file, delimiter=separator, strict=True))
            except csv.Error as error:
                raise DataError("broken CSV", where=str(self.path), found=str(error)) from error
        return io.BytesIO(content.getvalue().encode())

    def _separator(self) -> str | None:
        """Return what stands between the names of the columns, None where it is commas."""
        with self.path.open("rb") as file:
            head = file.readline(1 << 16).decode("utf-8", "replace")
        found = max(_SEPARATORS, key=head.count)
        return found if head.count(found) and "," not in head else None
