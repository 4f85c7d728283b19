"""Records of data files: JSON lines, JSON arrays, CSV and Parquet, plain or compressed, local or on the Hub.

A file is read as a stream. Whatever is wrong with it is told with its name and line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import os
import sys
import weakref
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from whoseboat import hub
from whoseboat.errors import DataError

Record = dict[str, Any]

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
COMPRESSIONS = (".gz", ".xz", ".zst")
# Files that describe a dataset folder and are no data of it.
_NOT_DATA = {"manifest.json", "dataset_infos.json", "dropped.parquet"}
# How deeply lists and objects of a JSON record may be nested. No data are; a file made to exhaust memory may be.
DEEPEST = 200
_LARGEST_MANIFEST = 2**24
_ARRAY = "an array of JSON objects: [{...}, ...]"


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


class Meter:
    """How much of the files has been read, for telling how much is left; set it to be told: `METER.set(Meter())`."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._size = 0
        self._raw: weakref.ref[BinaryIO] | None = None  # not to keep a file open that nobody reads any more

    def begin(self, name: str, raw: BinaryIO) -> None:
        """Note that a file is being read."""
        if not raw.seekable():
            return  # a pipe, say: nobody knows how long it is
        self._begun.add(name)
        self._raw = weakref.ref(raw)
        self._size = raw.seek(0, io.SEEK_END)
        raw.seek(0)

    def share(self, files: int) -> float:
        """Return the share that was read of so many files, as if all were of one size; 0 where nothing is known."""
        if self._raw is None or not files:
            return 0.0
        raw = self._raw()
        try:
            part = raw.tell() / self._size if raw is not None and self._size else 1.0
        except ValueError:  # it is read to its end, and closed
            part = 1.0
        return min(1.0, (len(self._begun) - 1 + part) / files)


METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


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

    Links to directories are followed, each directory read once. Of a dataset folder of ours only its pairs are data.

    Raises:
        DataError: nothing is there, no file of a known format, or something that cannot be looked at.

    """
    try:
        if path.is_file():
            names = [path.name]
            found = [LocalFile(path.name, path)]
        elif path.is_dir():
            names = sorted(entry.relative_to(path).as_posix() for entry in _files_below(path))
            found = [LocalFile(name, path / name) for name in names if is_data(name)]
        else:
            raise DataError("no such file or directory", where=str(path), todo="check the path given as --data-dir")
    except OSError as error:
        raise DataError(
            "the input cannot be read",
            where=_printable(str(error.filename or path)),
            found=error.strerror or str(error),
            todo="check the path given as --data-dir and its permissions",
        ) from error
    if not found:
        raise DataError(
            "no data file in this directory",
            where=str(path),
            expected=f"files named {', '.join('*' + suffix for suffix in FORMATS)} (plain, .gz, .xz or .zst)",
            found=", ".join(_printable(name) for name in names[:5]) or "an empty directory",
        )
    for file in found:
        if _printable(file.name) != file.name:
            raise DataError(
                "a file name that is not UTF-8 text",
                where=_printable(str(path)),
                found=_printable(file.name),
                todo="rename the file",
            )
    return found


def _files_below(top: Path) -> Iterator[Path]:
    """Yield the files below a directory; what is hidden is passed over, and so is a link back to where it stands in."""
    seen: set[tuple[int, int]] = {_identity(folder) for folder in top.resolve().parents}
    waiting = [top]
    for start in waiting:  # links to directories come last, so that a directory has its own name where it has one
        for name, subfolders, files in os.walk(start, onerror=_raise):
            folder = Path(name)
            if _identity(folder) in seen:
                subfolders.clear()
                continue
            seen.add(_identity(folder))
            ours = _is_ours(folder)
            subfolders[:] = sorted(
                sub for sub in subfolders if not sub.startswith(".") and (not ours or sub == "pairs")
            )
            waiting += [folder / sub for sub in subfolders if (folder / sub).is_symlink()]
            yield from (folder / file for file in files if not ours and _is_file(folder / file))


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _is_file(path: Path) -> bool:
    """Say whether a path is a file, or a link that leads nowhere, which is told when it is read."""
    return path.is_file() or not path.exists()


def _is_ours(folder: Path) -> bool:
    """Say whether a folder is a dataset folder of ours."""
    path = folder / "manifest.json"
    if not (folder / "pairs").is_dir() or not path.is_file() or path.stat().st_size > _LARGEST_MANIFEST:
        return False
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and "schema_version" in manifest


def _raise(error: OSError) -> None:
    raise error


def _printable(name: str) -> str:
    """Return a name with what is no text in it escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def records(file: DataFile, columns: Iterable[str] | None = None) -> Iterator[tuple[int, Record]]:
    """Yield the records of a file with their line (JSONL, CSV) or number, counted from 1.

    `columns` are all that will be asked of a record; other columns of a Parquet file are not read. The first record
    still names them, with None, so that it tells which columns there are.

    Raises:
        DataError: the file is of no known format, empty, cut off, damaged, not UTF-8, or breaks its format.
        HubError: the file cannot be fetched.

    """
    read = _READERS.get(_format(file.name))
    if read is None:
        raise DataError("not a data file of a known format", where=str(file), expected=f"one of {', '.join(FORMATS)}")
    on_hub = hub.explained(file.repo, file.commit) if isinstance(file, HubFile) else nullcontext()
    with _explained(file), on_hub, file.open() as raw:
        meter = METER.get()
        if meter is not None:
            meter.begin(file.name, raw)
        stream = _decompressed(raw, _suffixes(file.name))
        if not stream.peek(1):
            raise DataError("the file is empty", where=str(file), expected="at least one record")
        yield from read(stream, file, columns)


def columns_at(file: DataFile, number: int) -> str:
    """Return where the columns of a file are told, for its first record, which has this line or number.

    In JSON that is the record; a CSV file has a header, Parquet a schema, and these are of the file.
    """
    if _format(file.name) in (".csv", ".parquet"):
        return str(file)
    return f"{file}, {'record' if _format(file.name) == '.json' else 'line'} {number}"


def _suffixes(name: str) -> list[str]:
    suffixes = PurePosixPath(name).suffixes
    kept = suffixes[-2:] if suffixes and suffixes[-1] in COMPRESSIONS else suffixes[-1:]
    return kept if kept and kept[0] in FORMATS else []


def _format(name: str) -> str:
    return next(iter(_suffixes(name)), "")


def _decompressed(raw: BinaryIO, suffixes: list[str]) -> io.BufferedReader:
    if suffixes[-1] == ".gz":
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw)), 1 << 16)
    if suffixes[-1] == ".xz":
        return io.BufferedReader(cast(io.RawIOBase, lzma.LZMAFile(raw)), 1 << 16)
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
        raise DataError(
            "the file is cut off", where=str(file), found=hub.first_line(error), todo="fetch it again"
        ) from error
    except lzma.LZMAError as error:
        raise DataError(
            "the file is not whole xz data", where=str(file), found=str(error), todo="fetch it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            "the file is not whole gzip data", where=str(file), found=hub.first_line(error), todo="fetch it again"
        ) from error
    except UnicodeDecodeError as error:
        raise _not_text(str(file), error) from error
    except OSError as error:
        todo = "fetch it again" if file.name.endswith(".zst") else "check the path and its permissions"
        raise DataError("the file cannot be read", where=str(file), found=hub.first_line(error), todo=todo) from error


def _as_record(value: object, file: DataFile, number: int, unit: str) -> Record:
    if isinstance(value, dict):
        return value
    raise DataError(
        f"a {unit} that is no record",
        where=f"{file}, {unit} {number}",
        expected="a JSON object: {...}",
        found=_excerpt(json.dumps(value, ensure_ascii=False)),
    )


def _not_text(where: str, error: UnicodeDecodeError) -> DataError:
    """Return the error for bytes that are no text; where in what was decoded at once they stand helps nobody."""
    return DataError(
        "not UTF-8 text",
        where=where,
        found=f"the byte 0x{error.object[error.start]:02x}",
        todo="save the file as UTF-8",
    )


def _beyond(where: str, found: str) -> DataError:
    expected = f"at most {DEEPEST} levels of nesting, numbers of at most {sys.get_int_max_str_digits()} digits"
    return DataError("JSON beyond what can be read", where=where, expected=expected, found=found)


def _too_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


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
            raise _not_text(f"{file}, line {number}", error) from error
        except json.JSONDecodeError as error:
            # The decoder counts lines, too, of which this is the first and, behind its end, the second one.
            column = min(error.pos, len(error.doc.rstrip())) + 1
            raise DataError(
                "invalid JSON",
                where=f"{file}, line {number}, column {column}",
                expected="one JSON object per line",
                found=f"{_excerpt(error.doc.rstrip())} ({error.msg})",
                todo="mend that line or take it out; where the file ends there, fetch it again",
            ) from error
        except (ValueError, RecursionError) as error:
            raise _beyond(f"{file}, line {number}", hub.first_line(error)) from error
        if line.count(b"[") + line.count(b"{") > DEEPEST and _too_deep(value):
            raise _beyond(f"{file}, line {number}", "a deeper one")
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
        for number, value in enumerate(_items(ijson.basic_parse(_without_mark(stream), use_float=True)), start=1):
            yield number, _as_record(value, file, number, "record")
    except ijson.JSONError as error:
        found = hub.first_line(error)
        raise DataError(
            "not UTF-8 text" if "UTF8" in found else "invalid JSON",
            where=f"{file}, line {_line_of_json_error(file)} (after record {number})",
            expected=_ARRAY,
            found=found,
            todo="save the file as UTF-8" if "UTF8" in found else "mend it there; where the file ends, fetch it again",
        ) from error
    except _TooDeepError as error:
        raise _beyond(f"{file}, record {number + 1}", "a deeper one") from error
    if number == 0:
        raise DataError("no record in the file", where=str(file), expected=_ARRAY)


class _TooDeepError(Exception):
    """Lists and objects nested more deeply than `DEEPEST`."""


def _items(events: Iterable[tuple[str, Any]]) -> Iterator[object]:
    """Build the items of an array from a JSON parser's events.

    ijson's own builder takes memory by the square of the nesting, so a small file could take all there is.
    """
    outer: list[Any] = []  # what the container being filled stands in, and what that stands in
    container: Any = None
    key, is_object = "", False
    for event, value in events:
        if event == "map_key":
            key = value
            continue
        if event in ("end_map", "end_array"):
            value, container = container, outer.pop()
            is_object = isinstance(container, dict)
            if len(outer) == 1:
                yield value
            continue
        starts = event in ("start_map", "start_array")
        if starts:
            value = {} if event == "start_map" else []
        if is_object:
            container[key] = value
        elif len(outer) > 1:
            container.append(value)
        elif outer and not starts:
            yield value
        if starts:
            outer.append(container)
            container, is_object = value, event == "start_map"
            if len(outer) > DEEPEST + 1:
                raise _TooDeepError


def _without_mark(stream: io.BufferedReader) -> io.BufferedReader:
    if stream.peek(3).startswith(b"\xef\xbb\xbf"):
        stream.read(3)
    return stream


def _line_of_no_text(file: DataFile) -> int:
    """Find the first line that is not UTF-8 by reading the file once more: the reader decodes many lines at once."""
    line = 1
    with file.open() as raw:
        for part in _decompressed(raw, _suffixes(file.name)):
            try:
                part.decode()
            except UnicodeDecodeError:
                break
            line += 1
    return line


def _line_of_json_error(file: DataFile) -> int:
    """Find the line of the fault by reading the file once more, line by line: the reader does not count lines."""
    import ijson

    line = 1
    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events, use_float=True)
    with file.open() as raw:
        stream = _without_mark(_decompressed(raw, _suffixes(file.name)))
        try:
            while part := stream.readline(1 << 16):
                parser.send(part)
                events.clear()
                line += part.endswith(b"\n")
        except ijson.JSONError:
            pass
    return line


def _read_csv(stream: io.BufferedReader, file: DataFile, _: object) -> Iterator[tuple[int, Record]]:
    csv.field_size_limit(sys.maxsize)  # the default cuts off at 128 KiB, and responses can be longer
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    lines = csv.reader(text, strict=True)
    try:
        header = next(lines, [])
        _refuse_twins([name for name in header if name], f"{file}, line 1")
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
        raise DataError(
            "broken CSV",
            where=f"{file}, line {lines.line_num}",
            found=str(error),
            todo="look for a quote in that line, or before it, that is never closed, or not doubled within a field",
        ) from error
    except UnicodeDecodeError as error:
        raise _not_text(f"{file}, line {_line_of_no_text(file)}", error) from error
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
        _refuse_twins(present, str(file))
        wanted = None if columns is None else [name for name in present if name in set(columns)]
        unread = dict.fromkeys(present)
        number = 0
        for batch in parquet.iter_batches(batch_size=1000, columns=wanted):
            for value in _rows(batch, file, number):
                number += 1
                yield number, unread | value if number == 1 else value
    except pa.ArrowException as error:
        raise DataError(
            "not a whole Parquet file",
            where=str(file),
            found=hub.first_line(error),
            todo="fetch it again, or write it anew",
        ) from error


def _rows(batch: Any, file: DataFile, before: int) -> list[Record]:  # noqa: ANN401 - pyarrow has no types
    """Return the rows of a batch; `before` is how many records stand before it."""
    faults = (ValueError, OverflowError, LookupError)  # a time out of range, bytes that are no text, an unknown zone
    try:
        rows: list[Record] = batch.to_pylist()
    except faults:
        for row in range(batch.num_rows):
            for name in batch.schema.names:
                try:
                    batch.column(name)[row].as_py()
                except faults as error:
                    raise DataError(
                        "a value that cannot be read",
                        where=f"{file}, record {before + row + 1}, column {name!r}",
                        expected=f"a value of type {batch.schema.field(name).type}",
                        found=hub.first_line(error),
                    ) from error
        raise
    return rows


def _refuse_twins(names: Iterable[str], where: str) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise DataError(
            "several columns of one name",
            where=where,
            expected="each column to have a name of its own",
            found=", ".join(map(repr, twins[:5])),
            todo="rename or remove all but one",
        )


_READERS = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
