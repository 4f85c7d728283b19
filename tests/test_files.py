"""Reading data files: every format, every compression, and everything that can be wrong with a file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import string
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whoseboat.errors import DataError
from whoseboat.files import COMPRESSIONS, FORMATS, LocalFile, Record, is_data, local_files, records, stem

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
    """Columns that nobody asks for are not read."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(encode([{"a": "1", "b": "2"}], ".parquet"))
    assert list(records(LocalFile(path.name, path), ["b", "c"])) == [(1, {"b": "2"})]


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


@pytest.mark.parametrize("compression", ["", *COMPRESSIONS])
@pytest.mark.parametrize("suffix", FORMATS)
@given(name=st.text(string.ascii_lowercase + "-_0", min_size=1, max_size=8))
def test_stem(suffix: str, compression: str, name: str) -> None:
    """The stem is the name without the suffixes of format and compression."""
    assert stem(f"a/{name}{suffix}{compression}") == f"a/{name}"
    assert is_data(f"a/{name}{suffix}{compression}")
