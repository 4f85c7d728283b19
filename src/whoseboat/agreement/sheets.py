"""Blind sheets for people to fill in, made of a dataset folder, with their key apart.

```
for_labellers/instructions.md     what is asked, and what each point of the scales means
for_labellers/quality_sheet.csv   personas, each with the response it was inferred from
for_labellers/pairs_sheet.csv     personas, each with both responses
key.csv                           what is behind each item: not to be handed out
manifest.json                     what the folder is, and which files belong to it
```

Which items are drawn depends on the seed and the ids alone. Where a judge was asked about a part of the dataset, which
was drawn by the ids, too, pairs are drawn from that part: elsewhere there is nothing to compare people with. Sides and
the order of responses are balanced, then shuffled. No conversation occurs twice, on one sheet or on both: a persona
with its response on the one would give away the pair on the other.

Pairs that the safety gate kept out of `tailoring` are not drawn unless asked for: people did not choose to read them.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from whoseboat import __version__, manifest
from whoseboat.agreement.gate import MATERIAL, UNTOLD, Gate, gate_of
from whoseboat.agreement.instructions import instructions_for
from whoseboat.agreement.judged import judged_ids
from whoseboat.agreement.keys import FILE, SIDES, KeyRow, SheetKind, write_key
from whoseboat.agreement.marks import SCALES
from whoseboat.agreement.spreadsheets import LONGEST_CELL, shown, write_cells
from whoseboat.errors import DataError, OutputError, UsageError, unknown
from whoseboat.folder import whole_folder
from whoseboat.prompts import conversation
from whoseboat.quality.pairs import CheckedPair, read_pairs
from whoseboat.records import Side

PathLike = str | os.PathLike[str]
Wanted = Literal["quality", "pairs", "both"]

KIND = "sheets"
SCHEMA_VERSION = "1.0.0"
FOR_LABELLERS = "for_labellers"
_IF_AGREED = "with people who agreed to read them, --include-unsafe"
HEADS: Mapping[SheetKind, tuple[str, ...]] = {
    "quality": ("item", "persona", "prompt", "response", *SCALES, "comment"),
    "pairs": ("item", "persona", "prompt", "response_1", "response_2", "choice", "certainty", "comment"),
}


@dataclass(frozen=True)
class Exported:
    """A folder of sheets that was made: items by sheet, and why pairs could not be on one.

    `unsafe` is how many items, of all sheets together, are of red-team material or have a response labelled unsafe;
    None where the dataset does not tell them from others.
    """

    path: Path
    items: Mapping[str, int]
    left_out: Mapping[str, int]
    unsafe: int | None = 0


@dataclass(frozen=True, slots=True)
class _Item:
    """A pair on a sheet, by one of its personas."""

    pair: CheckedPair
    key: KeyRow

    def cells(self) -> list[str]:
        """Return the row of the sheet, with nothing filled in."""
        side = cast(Side, self.key.side)
        texts = [self.pair.persona(side), conversation(self.pair.prompt)]
        sides: tuple[str, ...] = (self.key.response_1,)
        if self.key.kind == "pairs":
            sides += (self.key.response("2"),)
        texts += [self.pair.response(cast(Side, one)) for one in sides]
        cells = [self.key.item, *map(shown, texts)]
        return cells + [""] * (len(HEADS[cast(SheetKind, self.key.kind)]) - len(cells))


def export_sheets(
    dataset: PathLike,
    out: PathLike,
    *,
    items: int,
    kind: Wanted = "both",
    seed: int = 0,
    overwrite: bool = False,
    include_unsafe: bool = False,
) -> Exported:
    """Write sheets for people to fill in, of pairs drawn at random from a dataset folder, at most one per conversation.

    Args:
        dataset: a dataset folder.
        out: the folder to make.
        items: how many items a sheet has.
        kind: `quality` (are personas plausible, applicable, harmful, overfitted), `pairs` (which response suits the
            persona better) or `both`.
        seed: which pairs are drawn, and how they are shuffled.
        overwrite: replace sheets of ours that are there, if none of them was filled in.
        include_unsafe: draw pairs of red-team material and with responses labelled unsafe, too: those that the safety
            gate keeps out of `tailoring`. The instructions warn of them.

    Raises:
        UsageError: an argument cannot be right, the dataset has too few conversations, or was built with unsafe
            responses and `include_unsafe` is not given.
        DataError: it is no dataset folder.
        OutputError: the folder cannot be written, or holds a sheet that was filled in.

    """
    if items < 1:
        raise UsageError("--export is out of range", expected="1 or more items", found=str(items))
    if kind not in get_args(Wanted):
        raise unknown("kind of sheet", kind, get_args(Wanted))
    kinds: tuple[SheetKind, ...] = ("pairs", "quality") if kind == "both" else (kind,)
    _check_unfilled(Path(out))
    gate = gate_of(Path(dataset))
    if gate.is_untold and not include_unsafe:
        raise UsageError(UNTOLD, where=str(dataset), todo=f"build it without them; {_IF_AGREED}")
    judged = None if kind == "quality" else judged_ids(Path(dataset))
    wanted = items * len(kinds)
    pairs, left_out = _drawn(read_pairs(Path(dataset)), wanted, seed, _Unfit(judged, gate, include_unsafe))
    if len(pairs) < wanted:
        raise UsageError(
            f"too few conversations for {' and '.join(kinds)} sheets of {items} items",
            where=str(dataset),
            expected=f"{wanted:,}: each conversation is on one sheet, once",
            found=f"{len(pairs):,}" + "".join(f"; {count:,} pairs {why}" for why, count in sorted(left_out.items())),
            todo=_todo(len(pairs) // len(kinds), left_out),
        )
    sheets = {one: _items(pairs[number * items : (number + 1) * items], one, seed) for number, one in enumerate(kinds)}
    unsafe = None if gate.is_untold else sum(pair.id in gate.kept for pair in pairs)
    drawn = {"dataset": Path(dataset).name, "items": items, "seed": seed, "include_unsafe": include_unsafe}
    with whole_folder(Path(out), overwrite) as folder:
        _write(folder, sheets, drawn, unsafe)
    return Exported(Path(out), {one: len(of) for one, of in sheets.items()}, left_out, unsafe)


def _todo(possible: int, left_out: Mapping[str, int]) -> str:
    """Return what to do where too few conversations are left for sheets of the items wanted."""
    smaller = [f"--export {possible}, or less"] if possible else []
    return "; ".join([*smaller, *([_IF_AGREED] if MATERIAL in left_out else [])])


def _check_unfilled(out: Path) -> None:
    """Refuse to replace a sheet that is not as it was written: somebody's work may be in it.

    Raises:
        OutputError: there is one.

    """
    if not (out / manifest.FILE).is_file():
        return
    try:
        files = manifest.read_manifest(out)["files"]
    except DataError:
        return  # not ours: it is not replaced
    for name, about in files.items():
        path = out / name
        is_sheet = name.startswith(f"{FOR_LABELLERS}/") and path.suffix == ".csv"
        if is_sheet and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != about["sha256"]:
            raise OutputError(
                "a sheet was filled in, or changed: it is not replaced",
                where=str(path),
                todo="move it elsewhere, or name another --out",
            )


def _hash(seed: int, *texts: str) -> bytes:
    data = json.dumps([seed, *texts]).encode()
    return hashlib.blake2b(data, digest_size=16, person=b"sheets").digest()


def _drawn(
    pairs: Iterable[CheckedPair], wanted: int, seed: int, unfit: Callable[[CheckedPair], str]
) -> tuple[list[CheckedPair], dict[str, int]]:
    """Return so many pairs of different conversations at random, in random order, and why others cannot be drawn.

    Args:
        pairs: all there are.
        wanted: how many to draw.
        seed: which ones.
        unfit: says why a pair cannot be drawn; empty where it can.

    """
    best: dict[str, tuple[bytes, CheckedPair]] = {}
    waiting: list[tuple[int, str]] = []  # the conversations in `best`, the last of them first
    left_out: Counter[str] = Counter()
    for pair in pairs:
        reason = unfit(pair)
        if reason:
            left_out[reason] += 1
            continue
        # The conversations with the smallest numbers are drawn, and of each the pair with the smallest.
        number = -int.from_bytes(_hash(seed, "conversation", pair.root))
        place = _hash(seed, "pair", pair.id)
        if pair.root in best:
            best[pair.root] = min(best[pair.root], (place, pair), key=lambda one: one[0])
        elif len(waiting) < wanted or number > waiting[0][0]:
            best[pair.root] = (place, pair)
            heapq.heappush(waiting, (number, pair.root))
            if len(waiting) > wanted:
                del best[heapq.heappop(waiting)[1]]
    return [best[root][1] for _, root in sorted(waiting, reverse=True)], dict(left_out)


@dataclass(frozen=True)
class _Unfit:
    """Says why a pair cannot be on a sheet.

    `judged` are the ids of those a judge was asked about; None: any will do.
    """

    judged: Collection[str] | None
    gate: Gate
    include_unsafe: bool

    def __call__(self, pair: CheckedPair) -> str:
        """Return why; empty where it can."""
        if pair.id in self.gate.kept and not self.include_unsafe:
            return MATERIAL
        if self.judged is not None and pair.id not in self.judged:
            return "the judge was not asked about"
        if pair.chosen.strip() == pair.rejected.strip():
            return "have two responses of the same text"
        texts: Collection[str] = (conversation(pair.prompt), pair.chosen, pair.rejected)
        # One less: a guard may stand before the text.
        return f"have a text beyond {LONGEST_CELL:,} characters" if max(map(len, texts)) >= LONGEST_CELL else ""


def _items(pairs: Iterable[CheckedPair], kind: SheetKind, seed: int) -> list[_Item]:
    """Return the items of a sheet in its order, which is that of their names: hashes, so random and without a hint."""
    found = []
    for number, pair in enumerate(pairs):
        side = SIDES[number % 2]
        # Of each side's items half have the persona's own response first; of quality there is but that one.
        response_1 = side if kind == "quality" or number % 4 < 2 else SIDES[1 - number % 2]
        item = f"{kind[0]}-{_hash(seed, kind, pair.id)[:6].hex()}"
        root = hashlib.blake2b(pair.root.encode(), digest_size=12).hexdigest()
        found.append(_Item(pair, KeyRow(item, kind, pair.id, pair.split, side, response_1, root)))
    return sorted(found, key=lambda one: one.key.item)


def _write(
    folder: Path, sheets: Mapping[SheetKind, list[_Item]], drawn: Mapping[str, object], unsafe: int | None
) -> None:
    handed_out = folder / FOR_LABELLERS
    handed_out.mkdir()
    for kind, items in sheets.items():
        write_cells(handed_out / f"{kind}_sheet.csv", HEADS[kind], (item.cells() for item in items))
    told = instructions_for(tuple(sheets), unsafe, sum(map(len, sheets.values())))
    (handed_out / "instructions.md").write_text(told, encoding="utf-8")
    write_key(folder / FILE, [item.key for items in sheets.values() for item in items])
    about = {"schema_version": SCHEMA_VERSION, "code_version": __version__, "kind": KIND, "drawn": dict(drawn)}
    text = json.dumps({**about, "files": manifest.describe_files(folder)}, indent=2, ensure_ascii=False)
    (folder / manifest.FILE).write_text(text + "\n", encoding="utf-8")
