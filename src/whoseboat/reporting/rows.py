"""The rows that a report lets its reader go through: texts cut at stated lengths, with what checks found of them."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whoseboat.dataset import SPLITS
from whoseboat.errors import DataError
from whoseboat.quality.pairs import CheckedPair, read_pairs
from whoseboat.records import Message

# Beyond so many pairs a report holds a sample.
MOST = 10_000
# Of the worst by each check so many are in the sample.
WORST_OF_EACH = 50
# How much of a text is shown, in characters; a prompt is cut at its beginning, since its end is answered.
LONGEST: Mapping[str, int] = {"prompt": 2_000, "response": 2_000, "persona": 600, "detail": 200}
SIDES = ("chosen", "rejected", "pair")
_COLUMNS = ("id", "side", "check", "value", "is_bad", "detail")
_ROWS_AT_ONCE = 50_000
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(slots=True)
class Measured:
    """What is known of a check from its findings: how many, which are bad, and which end of its values is worse."""

    name: str
    findings: int = 0
    bad: int = 0
    values: int = 0
    sum_of_bad: float = 0.0
    bad_values: int = 0
    sum_of_others: float = 0.0
    sides: set[str] = field(default_factory=set)

    @property
    def low_is_worse(self) -> bool:
        """Whether low values are the worse ones: where those of what is bad are lower on average."""
        others = self.values - self.bad_values
        if not self.bad_values or not others:
            return False
        return self.sum_of_bad / self.bad_values < self.sum_of_others / others


@dataclass(frozen=True)
class Explorer:
    """The rows of a report as text for its page, and what is to be said of them."""

    data: str
    shown: int
    pairs: int
    is_checked: bool

    @property
    def is_sample(self) -> bool:
        """Whether there are more pairs than are shown."""
        return self.shown < self.pairs


def explorer(folder: Path, pairs: int, *, most: int = MOST) -> Explorer:
    """Return the rows of a dataset folder for a report, all of them or a sample.

    The sample holds the worst by each check, and for the rest the pairs with the smallest hashes of their ids. Memory
    grows with the ids of the set, not with its texts.

    Raises:
        DataError: it is no dataset folder, or a file in it is damaged.

    """
    table = folder / "checks.parquet"
    checks = _measured(table) if table.is_file() else {}
    wanted = None if pairs <= most else _sample(folder, table, checks, most)
    rows = [pair for pair in read_pairs(folder) if wanted is None or pair.id in wanted]
    checks = {name: one for name, one in checks.items() if one.bad or one.values}  # by others nothing can be found
    names = list(checks)
    findings = _findings(table, names, {pair.id for pair in rows}) if checks else {}
    parts = sorted({pair.source_split or "" for pair in rows})
    data = {
        "sides": SIDES,
        "splits": [split for split in SPLITS if any(pair.split == split for pair in rows)],
        "parts": parts,
        "checks": [
            {"name": one.name, "bad": one.bad, "lowIsWorse": one.low_is_worse, "sides": sorted(one.sides)}
            for one in checks.values()
        ],
        "rows": [_row(pair, parts, findings.get(pair.id, [])) for pair in rows],
    }
    return Explorer(as_script(data), len(rows), pairs, bool(checks))


def as_script(data: object) -> str:
    """Return data as JSON that ends no element of a page, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter, escaped in _ESCAPED.items():
        text = text.replace(letter, escaped)
    return text


def _row(pair: CheckedPair, parts: Sequence[str], findings: list[list[Any]]) -> list[Any]:
    return [
        pair.id,
        pair.split,
        parts.index(pair.source_split or ""),
        _prompt(pair.prompt),
        _cut(pair.chosen, "response"),
        _cut(pair.rejected, "response"),
        _cut(pair.chosen_persona, "persona"),
        _cut(pair.rejected_persona, "persona"),
        findings,
    ]


def _cut(text: str, kind: str) -> str | list[str | int]:
    """Return a text, or where it is longer than is shown its beginning and how long it is."""
    longest = LONGEST[kind]
    return text if len(text) <= longest else [text[:longest], len(text)]


def _prompt(messages: Sequence[Message]) -> list[list[Any]]:
    """Return the turns of a prompt from its end, as many as there is room for, in their order.

    Each is its role and its text; the first has as third how many characters before it are not shown, if any.
    """
    room, turns = LONGEST["prompt"], list[list[Any]]()
    left = sum(len(message.content) for message in messages)
    for message in reversed(messages):
        if room <= 0:
            break
        shown = message.content[-room:]
        turns.append([message.role, shown])
        room, left = room - len(shown), left - len(shown)
    turns.reverse()
    if left:
        turns[0].append(left)
    return turns


def _batches(table: Path, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
    """Yield the columns of the findings, some thousand rows at a time.

    Raises:
        DataError: it is no such table.

    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(table) as parquet:
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
                yield {name: batch.column(name).to_pylist() for name in columns}
    except (pa.ArrowException, KeyError, OSError) as error:
        raise DataError(
            "the findings of checks cannot be read",
            where=str(table),
            expected=f"Parquet with the columns {', '.join(_COLUMNS)}",
            found=f"{type(error).__name__}: {error}",
            todo="check the folder again: whoseboat check",
        ) from error


def _measured(table: Path) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    for batch in _batches(table, ("check", "side", "value", "is_bad")):
        for check, side, value, is_bad in zip(*batch.values(), strict=True):
            one = found.setdefault(check, Measured(check))
            one.findings += 1
            one.bad += is_bad
            one.sides.add(side)
            if value is not None and value == value:  # not a NaN
                one.values += 1
                if is_bad:
                    one.bad_values += 1
                    one.sum_of_bad += value
                else:
                    one.sum_of_others += value
    return dict(sorted(found.items()))


def _sample(folder: Path, table: Path, checks: Mapping[str, Measured], most: int) -> set[str]:
    """Return the ids of so many pairs: the worst by each check, then those whose ids have the smallest hashes."""
    of_each = max(1, min(WORST_OF_EACH, most // (2 * len(checks)))) if checks else 0
    wanted = set(_worst(table, checks, of_each)) if checks else set()
    wanted = set(sorted(wanted)[:most])
    others = (id_ for id_ in _ids(folder) if id_ not in wanted)
    return wanted | set(heapq.nsmallest(most - len(wanted), others, key=_hash))


def _worst(table: Path, checks: Mapping[str, Measured], count: int) -> Iterator[str]:
    """Yield the ids of the worst findings of each check, bad ones first."""
    heaps: dict[str, list[tuple[bool, float, str]]] = defaultdict(list)
    for batch in _batches(table, ("id", "check", "value", "is_bad")):
        for id_, check, value, is_bad in zip(*batch.values(), strict=True):
            if not is_bad and value is None:
                continue
            size = 0.0 if value is None or value != value else value
            key = (bool(is_bad), -size if checks[check].low_is_worse else size, id_)
            heap = heaps[check]
            if len(heap) < count:
                heapq.heappush(heap, key)
            elif key > heap[0]:
                heapq.heapreplace(heap, key)
    for heap in heaps.values():
        yield from (id_ for _, _, id_ in heap)


def _ids(folder: Path) -> Iterator[str]:
    import pyarrow.parquet as pq

    for split in SPLITS:
        for path in sorted(folder.glob(f"pairs/{split}-*.parquet")):
            with pq.ParquetFile(path) as parquet:
                for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=["id"]):
                    yield from batch.column("id").to_pylist()


def _hash(id_: str) -> bytes:
    return hashlib.blake2b(id_.encode(), digest_size=16, person=b"report").digest()


def _findings(table: Path, names: Sequence[str], ids: set[str]) -> dict[str, list[list[Any]]]:
    """Return what was found of these pairs: check and side by their places, value, whether it is bad, detail.

    That a check had nothing to say of a persona is not shown.
    """
    found: dict[str, list[list[Any]]] = defaultdict(list)
    places = {name: place for place, name in enumerate(names)}
    sides = {side: place for place, side in enumerate(SIDES)}
    for batch in _batches(table, _COLUMNS):
        for id_, side, check, value, is_bad, detail in zip(*batch.values(), strict=True):
            if id_ in ids and check in places and side in sides and (is_bad or value is not None or detail):
                short = None if value is None or value != value else round(value, 4)
                text = (detail or "")[: LONGEST["detail"]]
                found[id_].append([places[check], sides[side], short, int(bool(is_bad)), text])
    return found
