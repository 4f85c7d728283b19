"""Pairs and drops put by in a temporary file, to be gone through more than once without holding them in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from whoseboat.journal import cannot_write, make_directory
from whoseboat.records import Drop, Message, Origin, Pair, Reason


def to_line(item: Pair | Drop) -> bytes:
    """Return an item as a line of bytes."""
    return (b"P" if isinstance(item, Pair) else b"D") + orjson.dumps(item) + b"\n"


def of_line(line: bytes) -> Pair | Drop:
    """Return the item of a line."""
    record = orjson.loads(line[1:])
    return _pair(record) if line.startswith(b"P") else _drop(record)


class Spool:
    """Items on disk, in their order; a context manager that removes the file at its end.

    Args:
        items: read once, to their end.
        directory: where the file is made.

    """

    def __init__(self, items: Iterable[Pair | Drop], directory: Path) -> None:
        make_directory(directory)
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed at the end of the context
        for item in items:
            try:
                self._file.write(to_line(item))
            except OSError as error:
                raise cannot_write(directory, error) from error

    def __iter__(self) -> Iterator[Pair | Drop]:
        """Yield the items as they were."""
        self._file.seek(0)
        yield from map(of_line, self._file)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _pair(record: dict[str, Any]) -> Pair:
    del record["id"]  # it follows from the content
    prompt = tuple(Message(**message) for message in record.pop("prompt"))
    reasons = tuple(Reason(**reason) for reason in record.pop("reasons"))
    personas = record.pop("personas")
    record["personas"] = tuple(personas) if personas else None
    return Pair(prompt=prompt, reasons=reasons, origin=Origin(**record.pop("origin")), **record)


def _drop(record: dict[str, Any]) -> Drop:
    return Drop(origin=Origin(**record.pop("origin")), **record)
