"""Reading data files: every format, every compression, and everything that can be wrong with a file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import os
import string
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whoseboat import hub
from whoseboat.errors import DataError, HubError
from whoseboat.files import (
    COMPRESSIONS,
    DEEPEST,
    FORMATS,
    HubFile,
    LocalFile,
    Record,
    columns_at,
    is_data,
    local_files,
    records,
    stem,
)

# No lone surrogates, which no file can store; no NUL, which CSV cannot.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
ROWS = st.lists(st.fixed_dictionaries({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}), min_size=1, max_size=6)


def encode(rows: list[Record], suffix: str) -> bytes:
    """Write rows in one of the formats."""
    if suffix in {".jsonl", ".ndjson"}:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if suffix == ".json":
        return json.dumps(rows, ensure_ascii=False).encode()
    if suffix == ".csv":
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue().encode()
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def compress(raw: bytes, suffix: str) -> bytes:
    """Compress bytes as a suffix says."""
    if suffix == ".gz":
        return gzip.compress(raw)
    if suffix == ".xz":
        return lzma.compress(raw)
    if suffix == ".zst":
        packed: bytes = pa.compress(raw, "zstd", asbytes=True)
        return packed
    return raw


def read(path: Path) -> list[tuple[int, Record]]:
    """Read all records of a file."""
    return list(records(LocalFile(path.name, path)))


def refusal(path: Path, raw: bytes) -> str:
    """Write a file, and return the error that reading it ends with."""
    path.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compression", ["", *COMPRESSIONS])
@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=25, deadline=None)
@given(rows=ROWS)
def test_what_was_written_is_read(suffix: str, compression: str, rows: list[Record]) -> None:
    """Every format, plain or compressed, gives back the rows written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{suffix}{compression}"
        path.write_bytes(compress(encode(rows, suffix), compression))
        if (suffix, compression) == (".parquet", ".zst"):  # read from its end, which zstd does not allow
            with pytest.raises(DataError, match="decompress it"):
                read(path)
            return
        assert [record for _, record in read(path)] == rows


def test_lines_count_as_an_editor_counts(tmp_path: Path) -> None:
    """Blank lines are passed over and counted, and a byte order mark is no part of the first record."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": 2}\n')
    assert read(path) == [(1, {"a": 1}), (3, {"a": 2})]


def test_json_array_with_a_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark before a JSON array is passed over."""
    path = tmp_path / "rows.json"
    path.write_bytes(b'\xef\xbb\xbf[{"a": 1.5}]')
    assert read(path) == [(1, {"a": 1.5})]


def test_json_file_of_lines(tmp_path: Path) -> None:
    """A `.json` file that starts with an object holds JSON lines."""
    path = tmp_path / "rows.json"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n')
    assert read(path) == [(1, {"a": 1}), (2, {"a": 2})]


def test_parquet_reads_only_the_columns_asked_for(tmp_path: Path) -> None:
    """Columns that nobody asks for are not read; the first record names them, so that an error can."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(encode([{"a": "1", "b": "2"}] * 2, ".parquet"))
    found = list(records(LocalFile(path.name, path), ["b", "c"]))
    assert found == [(1, {"a": None, "b": "2"}), (2, {"b": "2"})]


@pytest.mark.parametrize("suffix", FORMATS[:4])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_cut_off(tmp_path: Path, suffix: str, compression: str) -> None:
    """A compressed file that was cut off is refused, however much of it could be read."""
    rows = [{"a": f"{number * 7919 % 10007} {number**5}"} for number in range(5000)]
    packed = compress(encode(rows, suffix), compression)
    text = refusal(tmp_path / f"rows{suffix}{compression}", packed[: len(packed) // 2])
    assert "cut off" in text or "fetch it again" in text


def test_not_gzip(tmp_path: Path) -> None:
    """A file that is called gzip and is none is refused."""
    assert "gzip" in refusal(tmp_path / "rows.jsonl.gz", b'{"a": 1}\n')


def test_not_zstd(tmp_path: Path) -> None:
    """A file that is called zstd and is none is refused."""
    assert "cannot be read" in refusal(tmp_path / "rows.jsonl.zst", b'{"a": 1}\n')


def test_invalid_json_line(tmp_path: Path) -> None:
    """Invalid JSON is told with its line."""
    text = refusal(tmp_path / "rows.jsonl", b'{"a": 1}\n\n{"a": \n')
    assert "invalid JSON" in text
    assert "line 3" in text


def test_invalid_json_in_an_array(tmp_path: Path) -> None:
    """Invalid JSON inside an array is told with its line."""
    text = refusal(tmp_path / "rows.json", b'[\n{"a": 1},\n{"a": 2},\n{"a": oops}\n]')
    assert "invalid JSON" in text
    assert "line 4" in text


def test_array_cut_off(tmp_path: Path) -> None:
    """An array that never ends is refused with its last line."""
    assert "line 2" in refusal(tmp_path / "rows.json", b'[{"a": 1},\n{"a": 2}')


@pytest.mark.parametrize(("name", "raw"), [("rows.jsonl", b'{"a": 1}\n[1, 2]\n'), ("rows.json", b'[{"a": 1}, [1, 2]]')])
def test_no_object(tmp_path: Path, name: str, raw: bytes) -> None:
    """A record that is no object is refused with its number."""
    text = refusal(tmp_path / name, raw)
    assert "no record" in text
    assert " 2" in text


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("rows.jsonl", b'{"a": 1}\n{"a": "\xff"}\n'),
        ("rows.json", b'[{"a": "\xff"}]'),
        ("rows.csv", b"a,b\n1,\xff\n"),
    ],
)
def test_not_utf8(tmp_path: Path, name: str, raw: bytes) -> None:
    """Text that is not UTF-8 is refused as such."""
    assert "UTF-8" in refusal(tmp_path / name, raw)


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    """The line that is not UTF-8 is named."""
    assert "line 2" in refusal(tmp_path / "rows.jsonl", b'{"a": 1}\n{"a": "\xff"}\n')


@pytest.mark.parametrize("compression", ["", ".gz"])
def test_not_utf8_names_the_line_of_csv_however_far(tmp_path: Path, compression: str) -> None:
    """Thousands of lines are decoded at once, and yet the line is told, and the byte."""
    raw = b"a,b\n" + b"1,2\n" * 5_000 + b"3,caf\xe9\n" + b"4,5\n" * 5_000
    text = refusal(tmp_path / f"rows.csv{compression}", compress(raw, compression))
    assert "line 5002\n" in text
    assert "0xe9" in text
    assert "position" not in text


@pytest.mark.parametrize(
    ("name", "raw", "todo"),
    [
        ("rows.csv", b"a\n\xff\n", "UTF-8"),
        ("rows.jsonl", b'{"a": "\xff"}\n', "UTF-8"),
        ("rows.json", b'[{"a": "\xff"}]', "UTF-8"),
        ("rows.jsonl", b'{"a": \n', "mend that line"),
        ("rows.json", b'[{"a": }]', "mend it there"),
        ("rows.csv", b'a\n"b\n', "a quote"),
        ("rows.parquet", b"PAR1 nothing of the sort PAR1", "fetch it again"),
        ("rows.jsonl.gz", b"{}\n", "fetch it again"),
        ("rows.jsonl.xz", b"{}\n", "fetch it again"),
    ],
)
def test_a_damaged_file_says_what_to_do(tmp_path: Path, name: str, raw: bytes, todo: str) -> None:
    """Whatever is wrong with a file, there is something that mends it."""
    assert todo in refusal(tmp_path / name, raw).partition("what to do: ")[2]


def test_invalid_json_has_one_place(tmp_path: Path) -> None:
    """Line and column of the file, and none that counts from the line alone."""
    text = refusal(tmp_path / "rows.jsonl", b'{"a": 1}\n{"a": oops}\n')
    assert "rows.jsonl, line 2, column 7\n" in text
    assert "line 1" not in text
    assert "char" not in text
    text = refusal(tmp_path / "rows.jsonl", b'{"a": 1}\n{"a": 2\n')
    assert "rows.jsonl, line 2, column 8\n" in text  # behind the end


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("rows.csv", "rows.csv"),
        ("rows.csv.gz", "rows.csv.gz"),
        ("rows.parquet", "rows.parquet"),
        ("rows.jsonl", "rows.jsonl, line 3"),
        ("rows.json", "rows.json, record 3"),
    ],
)
def test_columns_are_told_by_the_file_or_by_a_record(name: str, where: str) -> None:
    """A column is missing in a header or a schema, which are the file's; in JSON each record names its own."""
    assert columns_at(LocalFile(name, Path(name)), 3) == where


def test_ragged_csv(tmp_path: Path) -> None:
    """A CSV line with another number of fields than the header is refused with its line."""
    text = refusal(tmp_path / "rows.csv", b"a,b\n1,2\n3\n")
    assert "line 3" in text
    assert "2 fields: a, b" in text
    assert "1 fields" in text


def test_broken_csv(tmp_path: Path) -> None:
    """A CSV quote that is never closed is refused."""
    assert "broken CSV" in refusal(tmp_path / "rows.csv", b'a,b\n1,"2\n')


def test_long_csv_field(tmp_path: Path) -> None:
    """A field may be longer than the limit of the csv module."""
    path = tmp_path / "rows.csv"
    path.write_text("a\n" + "x" * 200_000 + "\n", encoding="utf-8")
    assert len(read(path)[0][1]["a"]) == 200_000


def test_junk_parquet(tmp_path: Path) -> None:
    """A file that is called Parquet and is none is refused."""
    assert "Parquet" in refusal(tmp_path / "rows.parquet", b"PAR1 this is nothing of the sort PAR1")


def test_parquet_cut_off(tmp_path: Path) -> None:
    """A Parquet file without its end is refused."""
    raw = encode([{"a": "b"}] * 100, ".parquet")
    assert "Parquet" in refusal(tmp_path / "rows.parquet", raw[: len(raw) // 2])


@pytest.mark.parametrize("compression", ["", *COMPRESSIONS])
@pytest.mark.parametrize("suffix", FORMATS)
def test_empty(tmp_path: Path, suffix: str, compression: str) -> None:
    """An empty file is refused as such, compressed or not."""
    assert "empty" in refusal(tmp_path / f"rows{suffix}{compression}", compress(b"", compression))


def test_empty_array(tmp_path: Path) -> None:
    """An empty array holds no record."""
    assert "no record" in refusal(tmp_path / "rows.json", b"[]")


MANY = "1" * 5000


@pytest.mark.parametrize(
    ("name", "raw", "place"),
    [
        ("rows.jsonl", f'{{"a": 1}}\n{{"a": {"[" * 3000}{"]" * 3000}}}\n', "line 2"),
        ("rows.jsonl", f'{{"a": 1}}\n{{"a": {"[" * DEEPEST}{"]" * DEEPEST}}}\n', "line 2"),
        ("rows.jsonl", f'{{"a": 1}}\n{"[" * 3000}{"]" * 3000}\n', "line 2"),
        ("rows.jsonl", f'{{"a": 1}}\n{"[" * 900}{"]" * 900}\n', "line 2"),
        ("rows.jsonl", f'{{"a": 1}}\n{{"a": {MANY}}}\n', "line 2"),
        ("rows.json", f'[{{"a": 1}}, {{"a": {"[" * 3000}{"]" * 3000}}}]', "record 2"),
        ("rows.json", f'[{{"a": 1}}, {"[" * 3000}{"]" * 3000}]', "record 2"),
    ],
)
def test_json_beyond_what_can_be_read(tmp_path: Path, name: str, raw: str, place: str) -> None:
    """Nesting and numbers that no data have are refused with their place."""
    text = refusal(tmp_path / name, raw.encode())
    assert "beyond what can be read" in text
    assert place in text


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_json_as_deep_as_allowed(tmp_path: Path, name: str) -> None:
    """Nesting to the limit is read, and brackets inside a text are no nesting."""
    value = json.loads("[" * (DEEPEST - 1) + "]" * (DEEPEST - 1))
    rows = [{"a": value, "b": "[" * 9999}]
    (tmp_path / name).write_bytes(encode(rows, Path(name).suffix))
    assert read(tmp_path / name) == [(1, rows[0])]


@pytest.mark.parametrize("raw", [b"[" * 200_000, b'[{"a": ' + b"[" * 200_000])
def test_brackets_without_end_take_little_memory(tmp_path: Path, raw: bytes) -> None:
    """A small file of nothing but brackets is refused within 1 GiB of address space beyond what Python takes."""
    (tmp_path / "rows.json").write_bytes(raw)
    script = """
import resource, sys
from pathlib import Path
import ijson
from whoseboat.errors import DataError
from whoseboat.files import LocalFile, records
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30,) * 2)
try:
    list(records(LocalFile("rows.json", Path(sys.argv[1]))))
except DataError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "rows.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "beyond what can be read" in done.stdout, done.stderr


@pytest.mark.parametrize("number", [MANY, "1e999999"])
def test_number_too_large_in_an_array(tmp_path: Path, number: str) -> None:
    """A number that a JSON array's reader cannot hold is refused with its line."""
    text = refusal(tmp_path / "rows.json", f'[{{"a": 1}},\n{{"a": {number}}}]'.encode())
    assert "line 2" in text
    assert "overflow" in text
    assert "UTF-8" not in text


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    )
)
def test_any_json_value_is_read(value: object) -> None:
    """What stands in an array of objects is read as `json` reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        path.write_bytes(json.dumps([{"a": value}, {}, {"": value, "b": []}]).encode())
        assert [record for _, record in read(path)] == [{"a": value}, {}, {"": value, "b": []}]


def test_parquet_time_out_of_range(tmp_path: Path) -> None:
    """A value that Python cannot hold is refused with its record and column, and passed over where nobody asks."""
    path = tmp_path / "rows.parquet"
    times = pa.array([0, 2**60], pa.timestamp("us"))
    pq.write_table(pa.table({"a": ["x", "y"], "at": times}), path)
    text = refusal(path, path.read_bytes())
    assert "record 2, column 'at'" in text
    assert [record["a"] for _, record in records(LocalFile(path.name, path), ["a"])] == ["x", "y"]


def test_parquet_text_that_is_none(tmp_path: Path) -> None:
    """Bytes in a text column that are no UTF-8 are refused with their record."""
    path = tmp_path / "rows.parquet"
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    pq.write_table(pa.table({"a": text}), path)
    assert "record 1, column 'a'" in refusal(path, path.read_bytes())


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_columns_of_one_name(tmp_path: Path, name: str) -> None:
    """Two columns of one name are refused, for one would hide the other."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["1"]), pa.array(["2"])], ["a", "a"]), buffer)
    text = refusal(tmp_path / name, b"a,b,a\n1,2,3\n" if name == "rows.csv" else buffer.getvalue())
    assert "several columns of one name" in text
    assert "'a'" in text


def test_columns_without_a_name(tmp_path: Path) -> None:
    """A CSV file may have several columns without a name, as spreadsheets write them; nobody can ask for those."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,,\n1,2,3\n")
    assert read(path)[0][1]["a"] == "1"


def test_unknown_format(tmp_path: Path) -> None:
    """A file of another format is refused, and the known ones are told."""
    assert ".parquet" in refusal(tmp_path / "rows.xlsx", b"x")


def test_missing_directory(tmp_path: Path) -> None:
    """What is not there is named."""
    with pytest.raises(DataError, match="no such file or directory"):
        local_files(tmp_path / "nowhere")


def test_missing_file(tmp_path: Path) -> None:
    """A file that went away is refused."""
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "rows.jsonl")


def test_directory_without_data(tmp_path: Path) -> None:
    """A directory without data says what was looked for and what was found."""
    (tmp_path / "notes.txt").write_text("no data", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        local_files(tmp_path)
    assert "*.jsonl" in str(caught.value)
    assert "notes.txt" in str(caught.value)


def test_empty_directory(tmp_path: Path) -> None:
    """An empty directory is called one."""
    with pytest.raises(DataError) as caught:
        local_files(tmp_path)
    assert "an empty directory" in str(caught.value)


def test_files_of_a_directory(tmp_path: Path) -> None:
    """Data files are found in subdirectories, sorted; hidden ones and manifests are passed over."""
    for name in ("b/rows.csv", "a.jsonl.gz", ".cache/x.jsonl", "manifest.json", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in local_files(tmp_path)] == ["a.jsonl.gz", "b/rows.csv"]


def touch(folder: Path, *names: str) -> None:
    """Make empty files with the directories they are in."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_linked_directories(tmp_path: Path) -> None:
    """Links to directories are followed; loops end, and each directory is read once, by its own name if it has one."""
    touch(tmp_path, "far/deep/rows.jsonl", "near/b/rows.csv", "outside.jsonl")
    near = tmp_path / "near"
    (near / "a").symlink_to(near / "b")
    (near / "c").symlink_to(tmp_path / "far")
    (near / "b" / "up").symlink_to(near)
    (near / "b" / "out").symlink_to(tmp_path)
    (tmp_path / "far" / "again").symlink_to(tmp_path / "far")
    assert [file.name for file in local_files(near)] == ["b/rows.csv", "c/deep/rows.jsonl"]
    (tmp_path / "link").symlink_to(near)
    assert [file.name for file in local_files(tmp_path / "link")] == ["b/rows.csv", "c/deep/rows.jsonl"]


def test_link_to_nowhere(tmp_path: Path) -> None:
    """A data file that is a link to nothing is not passed over in silence."""
    touch(tmp_path, "a.jsonl")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone.jsonl")
    assert [file.name for file in local_files(tmp_path)] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("below", ["", "sets/mine/"])
def test_dataset_folder_of_ours(tmp_path: Path, below: str) -> None:
    """Of a dataset folder of ours only the pairs are data, wherever it lies."""
    ours = ("pairs/train-00000.parquet", "tailoring/train-00000.parquet", "extra.jsonl", "manifest.json")
    touch(tmp_path, *(below + name for name in ours))
    (tmp_path / below / "manifest.json").write_text('{"schema_version": "1.0.0"}', encoding="utf-8")
    assert [file.name for file in local_files(tmp_path)] == [f"{below}pairs/train-00000.parquet"]


@pytest.mark.parametrize("manifest", ["{}", "[", "[" * 100_000, "[]"])
def test_manifest_of_others(tmp_path: Path, manifest: str) -> None:
    """A manifest of something else changes nothing."""
    touch(tmp_path, "pairs/a.jsonl", "b.jsonl")
    (tmp_path / "manifest.json").write_text(manifest, encoding="utf-8")
    assert [file.name for file in local_files(tmp_path)] == ["b.jsonl", "pairs/a.jsonl"]


@pytest.mark.parametrize("single", [False, True])
def test_name_that_is_no_text(tmp_path: Path, single: bool) -> None:
    """A file whose name is not UTF-8 is refused at once, in a message that can be printed."""
    path = tmp_path / os.fsdecode(b"b\xff.jsonl")
    path.write_bytes(b"{}\n")
    with pytest.raises(DataError, match="not UTF-8") as caught:
        local_files(path if single else tmp_path)
    assert "b\\xff.jsonl" in str(caught.value)
    str(caught.value).encode()


def test_input_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name too long and a directory closed to us are the input's fault, and are told with their path."""
    with pytest.raises(DataError, match="the input cannot be read") as caught:
        local_files(tmp_path / ("n" * 300))
    assert "nnn" in str(caught.value)
    touch(tmp_path, "a.jsonl", "closed/b.jsonl")
    scan = os.scandir

    def closed(folder: str) -> object:
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match="the input cannot be read") as caught:
        local_files(tmp_path)
    assert str(tmp_path / "closed") in str(caught.value)


def test_hub_file_that_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the Hub while a file is read is told as one, in one line."""
    from httpx2 import Request, Response
    from huggingface_hub.errors import HfHubHTTPError

    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: object) -> int:
            raise HfHubHTTPError("500 Server Error\nmore", response=Response(500, request=Request("GET", "http://hub")))

    monkeypatch.setattr(hub, "open_dataset_file", lambda *_: Failing())
    with pytest.raises(HubError, match="the Hub did not answer") as caught:
        list(records(HubFile("rows.jsonl", "org/x", "c" * 40)))
    assert "more" not in str(caught.value)


@pytest.mark.parametrize("compression", ["", *COMPRESSIONS])
@pytest.mark.parametrize("suffix", FORMATS)
@given(name=st.text(string.ascii_lowercase + "-_0", min_size=1, max_size=8))
def test_stem(suffix: str, compression: str, name: str) -> None:
    """The stem is the name without the suffixes of format and compression."""
    assert stem(f"a/{name}{suffix}{compression}") == f"a/{name}"
    assert is_data(f"a/{name}{suffix}{compression}")
