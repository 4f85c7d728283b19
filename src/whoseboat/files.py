"""Records of data files: JSON lines, JSON arrays, CSV and Parquet, plain or compressed, local or on the Hub.

A file is read as a stream. Whatever is wrong with it is told with its name and line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from whoseboat import hub
from whoseboat.errors import DataError

Record = dict[str, Any]

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
COMPRESSIONS = (".gz", ".zst")
# Files that describe a dataset folder and are no data of it.
_NOT_DATA = {"manifest.json", "dataset_infos.json", "dropped.parquet"}


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine; `name` is how it is called in records, relative to the directory it was found in."""

    name: str
    path: Path

    def open(self) -> BinaryIO:
        """Open the file for reading bytes."""
        return self.path.open("rb")

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a dataset repo at one commit."""

    name: str
    repo: str
    commit: str

    def open(self) -> BinaryIO:
        """Open the file for reading bytes; only what is read is fetched."""
        return hub.open_dataset_file(self.repo, self.commit, self.name)

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit[:12]}/{self.name}"


DataFile = LocalFile | HubFile


def stem(name: str) -> str:
    """Return the name of a data file without its suffixes: `a/b.jsonl.gz` becomes `a/b`."""
    return name.removesuffix("".join(_suffixes(name)))


def is_data(name: str) -> bool:
    """Say whether a name is that of a data file this module reads."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return _format(name) in FORMATS and path.name not in _NOT_DATA and not hidden


def local_files(path: Path) -> list[LocalFile]:
    """Return the data files of a directory, those in its subdirectories included, sorted; or the one file named.

    Raises:
        DataError: nothing is there, or no file of a known format.

    """
    if path.is_file():
        return [LocalFile(path.name, path)]
    if not path.is_dir():
        raise DataError("no such file or directory", where=str(path), todo="check the path given as --data-dir")
    names = sorted(entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file())
    found = [LocalFile(name, path / name) for name in names if is_data(name)]
    if not found:
        raise DataError(
            "no data file in this directory",
            where=str(path),
            expected=f"files named {', '.join('*' + suffix for suffix in FORMATS)} (plain, .gz or .zst)",
            found=", ".join(names[:5]) or "an empty directory",
        )
    return found


def records(file: DataFile, columns: Iterable[str] | None = None) -> Iterator[tuple[int, Record]]:
    """Yield the records of a file with their line (JSONL, CSV) or number, counted from 1.

    `columns` are all that will be asked of a record; other columns of a Parquet file are not read.

    Raises:
        DataError: the file is of no known format, empty, cut off, damaged, not UTF-8, or breaks its format.
        HubError: the file cannot be fetched.

    """
    read = _READERS.get(_format(file.name))
    if read is None:
        raise DataError("not a data file of a known format", where=str(file), expected=f"one of {', '.join(FORMATS)}")
    with _explained(file), file.open() as raw:
        stream = _decompressed(raw, _suffixes(file.name))
        if not stream.peek(1):
            raise DataError("the file is empty", where=str(file), expected="at least one record")
        yield from read(stream, file, columns)


def _suffixes(name: str) -> list[str]:
    suffixes = PurePosixPath(name).suffixes
    kept = suffixes[-2:] if suffixes and suffixes[-1] in COMPRESSIONS else suffixes[-1:]
    return kept if kept and kept[0] in FORMATS else []


def _format(name: str) -> str:
    return next(iter(_suffixes(name)), "")


def _decompressed(raw: BinaryIO, suffixes: list[str]) -> io.BufferedReader:
    if suffixes[-1] == ".gz":
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw)), 1 << 16)
    if suffixes[-1] == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw), "zstd"), 1 << 16)
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw), 1 << 16)


@contextmanager
def _explained(file: DataFile) -> Iterator[None]:
    """Turn what readers raise over damaged files into one clear error."""
    try:
        yield
    except EOFError as error:
        raise DataError("the file is cut off", where=str(file), found=str(error), todo="fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError("the file is not whole gzip data", where=str(file), found=str(error)) from error
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8 text", where=str(file), found=str(error)) from error
    except OSError as error:
        todo = "fetch it again" if file.name.endswith(".zst") else "check the path and its permissions"
        raise DataError("the file cannot be read", where=str(file), found=str(error), todo=todo) from error


def _as_record(value: object, file: DataFile, number: int, unit: str) -> Record:
    if isinstance(value, dict):
        return value
    raise DataError(
        f"a {unit} that is no record",
        where=f"{file}, {unit} {number}",
        expected="a JSON object: {...}",
        found=_excerpt(json.dumps(value, ensure_ascii=False)),
    )


def _excerpt(text: str, width: int = 80) -> str:
    return repr(text if len(text) <= width else text[:width] + "...")


def _read_json_lines(stream: io.BufferedReader, file: DataFile, _: object) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(stream, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode())
        except UnicodeDecodeError as error:
            raise DataError("not UTF-8 text", where=f"{file}, line {number}", found=str(error)) from error
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(
                "invalid JSON",
                where=f"{file}, line {number}",
                expected="one JSON object per line",
                found=f"{_excerpt(line.decode(errors='replace').rstrip())} ({error})",
            ) from error
        yield number, _as_record(value, file, number, "line")


def _read_json(
    stream: io.BufferedReader, file: DataFile, columns: Iterable[str] | None
) -> Iterator[tuple[int, Record]]:
    """Read an array of objects; a `.json` file that starts with an object holds JSON lines."""
    import ijson

    if stream.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        yield from _read_json_lines(stream, file, columns)
        return
    number = 0
    try:
        for number, value in enumerate(ijson.items(_without_mark(stream), "item", use_float=True), start=1):
            yield number, _as_record(value, file, number, "record")
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise DataError(
            "invalid JSON",
            where=f"{file}, {_place_of_json_error(file)} (after record {number})",
            expected="an array of JSON objects: [{...}, ...]",
            found=str(error).splitlines()[0],
        ) from error
    if number == 0:
        raise DataError("no record in the file", where=str(file), expected="an array of JSON objects: [{...}, ...]")


def _without_mark(stream: io.BufferedReader) -> io.BufferedReader:
    if stream.peek(3).startswith(b"\xef\xbb\xbf"):
        stream.read(3)
    return stream


def _place_of_json_error(file: DataFile) -> str:
    """Find the line of the fault by reading the file once more, whole: the streaming reader does not count lines."""
    with file.open() as raw:
        text = _decompressed(raw, _suffixes(file.name)).read().decode("utf-8-sig", errors="replace")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}"
    except RecursionError:
        return "nested too deeply"
    return "not UTF-8 text"


def _read_csv(stream: io.BufferedReader, file: DataFile, _: object) -> Iterator[tuple[int, Record]]:
    csv.field_size_limit(sys.maxsize)  # the default cuts off at 128 KiB, and responses can be longer
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    lines = csv.reader(text, strict=True)
    try:
        header = next(lines, [])
        for fields in lines:
            if not fields:
                continue
            if len(fields) != len(header):
                raise DataError(
                    "a line with another number of fields than the header",
                    where=f"{file}, line {lines.line_num}",
                    expected=f"{len(header)} fields: {', '.join(header)}",
                    found=f"{len(fields)} fields",
                )
            yield lines.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise DataError("broken CSV", where=f"{file}, line {lines.line_num}", found=str(error)) from error
    finally:
        text.detach()  # the stream is closed by whoever opened it


def _read_parquet(
    stream: io.BufferedReader, file: DataFile, columns: Iterable[str] | None
) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not stream.seekable():
        raise DataError(
            "a Parquet file is read from its end, which a zstd stream does not allow",
            where=str(file),
            todo="decompress it; Parquet is compressed inside",
        )
    try:
        parquet = pq.ParquetFile(stream, pre_buffer=False)
        present = parquet.schema_arrow.names
        wanted = None if columns is None else [name for name in present if name in set(columns)]
        number = 0
        for batch in parquet.iter_batches(batch_size=1000, columns=wanted):
            for value in batch.to_pylist():
                number += 1
                yield number, value
    except pa.ArrowException as error:
        raise DataError("not a whole Parquet file", where=str(file), found=str(error).splitlines()[0]) from error


_READERS = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
