"""What the tests of single sources share: rows to files as published, files to items, hostile values."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from loopback_hub import LoopbackHub

from whoseboat import sources
from whoseboat.files import Record
from whoseboat.records import Drop, Origin, Pair
from whoseboat.sources import Request

Row = dict[str, Any]
Item = Pair | Drop

_TEXT = st.one_of(st.text(max_size=12), st.sampled_from(["\ud800", "", " ", "N/A", "7", "1e999", "nan", "\x00", "3\n"]))
_SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(-4, 11), st.just(10**400), st.floats(), st.floats(-3, 10), _TEXT
)
# Whatever JSON can hold, and some more: NaN, infinities, halves of surrogate pairs.
HOSTILE = st.recursive(
    _SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXT, inner, max_size=4)),
    max_leaves=8,
)


def hostile_rows(good: Row, *, within: dict[str, st.SearchStrategy[Any]] | None = None) -> st.SearchStrategy[Row]:
    """Return rows in which any of the columns of a good one hold something else, or are not there."""
    columns = {
        name: st.one_of(st.just(value), HOSTILE, *([within[name]] if within and name in within else []))
        for name, value in good.items()
    }
    return st.fixed_dictionaries({}, optional=columns)


def turns(contents: st.SearchStrategy[Any] = HOSTILE) -> st.SearchStrategy[Any]:
    """Return lists that look like conversations."""
    role = st.one_of(st.sampled_from(["user", "assistant", "system"]), HOSTILE)
    return st.lists(st.fixed_dictionaries({}, optional={"role": role, "content": contents}), max_size=4)


def numbered(rows: Iterable[Row]) -> Iterator[tuple[Record, Origin]]:
    """Return rows with where they stand."""
    for row, record in enumerate(rows):
        yield record, Origin("rows.jsonl", row + 1, "rows", row)


def file_bytes(name: str, rows: list[Row]) -> bytes:
    """Return a file of rows in the format its name tells."""
    if name.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return bytes(sink.getvalue().to_pybytes())
    lines = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    raw = lines.encode()
    return gzip.compress(raw, mtime=0) if name.endswith(".gz") else lzma.compress(raw) if name.endswith(".xz") else raw


def write(path: Path, *rows: Row) -> Path:
    """Write a file of rows in the format its name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_bytes(path.name, list(rows)))
    return path


def items(source: str, path: Path, **options: str) -> list[Item]:
    """Read a source from disk; where it can be read file by file, check that this gives the same."""
    reading = sources.read(source, Request(data_dir=path, options=options))
    found = list(reading.pairs)
    if (by_file := reading.by_file) is not None:
        one_by_one = [item for name in by_file.files for item in by_file.read([name])]
        assert list(by_file.across(one_by_one)) == found
    return found


def pairs(source: str, path: Path, **options: str) -> list[Pair]:
    """Read a source from disk; everything in it is a pair."""
    found = items(source, path, **options)
    assert all(isinstance(item, Pair) for item in found), found
    return [item for item in found if isinstance(item, Pair)]


def reasons(found: Iterable[Item]) -> Counter[str]:
    """Return how many items are `kept`, and how many were dropped for which reason."""
    return Counter("kept" if isinstance(item, Pair) else item.reason for item in found)


def real_files(folder: str) -> Path:
    """Return a folder of real files; skip the test where there is none."""
    data = os.environ.get("WHOSEBOAT_TEST_DATA")
    if not data or not (Path(data) / folder).is_dir():
        pytest.skip(f"WHOSEBOAT_TEST_DATA names no directory with {folder}/")
    return Path(data) / folder


def build_from_hub(hub: LoopbackHub, folder: Path, *arguments: str) -> Row:
    """Build in a process that knows only this Hub, with its token; return the manifest.

    What the Hub holds of the source is found at the revision the source is read at by default.
    """
    source = sources.find(arguments[0])
    if source.revision and ("dataset", source.repo) in hub.repos:
        hub.tag(source.repo, source.revision, hub.repos["dataset", source.repo].branches["main"])
    command = [sys.executable, "-m", "whoseboat", "build", *arguments, "--out", str(folder / "out"), "--json"]
    environment = {**os.environ, **hub.environment(folder / "home"), "HF_TOKEN": hub.token}
    environment["WHOSEBOAT_PSEUDONYM_KEY"] = "a key of this test"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    manifest: Row = json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    return manifest
