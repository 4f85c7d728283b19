"""Folders that reports are tested on: a set whose texts are hostile, and what checks might have found of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import whoseboat
from whoseboat import metric
from whoseboat.manifest import Manifest, read_manifest
from whoseboat.quality.pairs import read_pairs
from whoseboat.quality.rewritten import rewrite

Plain = dict[str, Any]
Found = tuple[str, str, str, float | None, bool, str]  # id, side, check, value, is it bad, detail

# Whatever of these is read as markup shows itself: a dialog, a global name, a request, or an element.
HOSTILE = (
    "<script>window.attacked = 1; alert(1)</script>",
    '"><img src="https://attack.invalid/a.png" onerror="window.attacked = 2">',
    "</script><script>window.attacked = 3</script>",
    "<!-- <script> -->",
    "' onmouseover='window.attacked = 4",
    "]]> &lt;b&gt; &amp; {{ 7 * 7 }} {% raw %} `code` $x$ \\u003cb\\u003e",
    "<svg onload=window.attacked=5><style>body{display:none}</style>",
    "javascript:window.attacked=6",
    "\u2028line\u2029ends \u202eturned round",
)


def dataset(home: Path, pairs: int = 30, name: str = "set", *, long: int = 0) -> Path:
    """Build a set of so many pairs in which hostile texts stand wherever texts can."""
    rows, personas = [], []
    for number in range(pairs):
        text = HOSTILE[number % len(HOSTILE)]
        rows.append(
            {
                "prompt": f"Question {number} about {'boats' if number % 3 else 'trains'}: {text}",
                "chosen": f"A calm answer, number {number}. {text} {'and on ' * long}",
                "rejected": f"Brief {number}! {text}",
            }
        )
        personas.append(
            {
                "row": number,
                "chosen_persona": f"The user is thorough and likes {text} number {number}.",
                "rejected_persona": f"The user is hasty and likes brevity {number}. {text}",
            }
        )
    for file, table in (("rows.jsonl", rows), ("personas.jsonl", personas)):
        (home / file).write_text("".join(f"{json.dumps(row)}\n" for row in table), encoding="utf-8")
    out = home / name
    whoseboat.build("table", out, data_dir=home / "rows.jsonl", personas=home / "personas.jsonl", name=HOSTILE[1][:30])
    return out


def manifest(folder: Path) -> Manifest:
    """Return the manifest of a dataset folder."""
    return Manifest.of(read_manifest(folder))


def figure(name: str, side: str, outcomes: Iterable[str], part: str = "", note: str = "") -> Plain:
    """Return the accuracy over outcomes as `checks.json` has it."""
    of = metric.accuracy(list(outcomes)).to_dict()
    told = "; ".join(text for text in (note, of.pop("note")) if text)
    return {"name": name, "side": side, "part": part, "judge": HOSTILE[0], "note": told, **of}


def found_of(folder: Path) -> list[Found]:
    """Return findings: every pair is measured, every fifth persona is flagged, and every seventh pair as a whole."""
    found: list[Found] = []
    for number, pair in enumerate(read_pairs(folder)):
        for side in ("chosen", "rejected"):
            is_bad = number % 5 == 0
            found.append((pair.id, side, "accuracy", 0.0 if is_bad else 1.0, is_bad, HOSTILE[0] if is_bad else ""))
        found.append((pair.id, "chosen", "words", float(number), number > 20, ""))
        if number % 7 == 0:
            found.append((pair.id, "pair", "sides_alike", None, True, HOSTILE[1]))
    return found


def checks_of(folder: Path, found: Iterable[Found]) -> Plain:
    """Return what `checks.json` might hold."""
    pairs = sum(manifest(folder).rows["pairs"].values())
    figures = []
    for part in ("", "equal length", f"source: {HOSTILE[2]}"):
        for number, side in enumerate(("chosen", "rejected", "both")):
            outcomes = ["win"] * (17 + number) + ["loss"] * 8 + ["tie"] * 2
            figures += [figure(name, side, outcomes, part) for name in ("accuracy (strict)", "accuracy (paper)")]
            of = metric.specificity(outcomes, ["win"] * 9 + ["loss"] * (18 + number)).figure.to_dict()
            about = {"name": "specificity", "side": side, "part": part, "judge": "made up"}
            figures.append({**of, **about})
        figures.append(figure("flip accuracy", "both", ["win"] * 12 + ["loss"] * 15, part))
    figures.append(metric.net(["win", "loss", "tie"] * 9).to_dict() | {"name": "preference (net)", "side": "both"})
    figures.append(figure("right form", "chosen", ["win"] * 25 + ["loss"]))
    words = [
        {"word": word, "form": word, "chosen": 9, "rejected": 3, "p_chosen": 0.75, "log_odds": z / 4, "z": z, "q": 0.01,
         "is_discovery": True}
        for word, z in (("calm", 6.0), (HOSTILE[0], 4.0), ("简洁", 3.0), ("brief", -5.0), ("a&b\"c'", -3.5))
    ]  # fmt: skip
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for _, side, check, _, is_bad, _ in found:
        of_side = counts.setdefault(check, {}).setdefault(side, {"looked_at": 0, "bad": 0})
        of_side["looked_at"] += 1
        of_side["bad"] += is_bad
    return {
        "schema_version": "1.0.0",
        "data_digest": manifest(folder).data_digest,
        "pairs": pairs,
        "judged": pairs,
        "judge": {"name": "made-up", "label": HOSTILE[0]},
        "figures": figures,
        "tables": {
            "saliency": {"main": {"words": words}, "clause": {"words": []}},
            "preference": {"counts": {"wins": 9, "ties": 9, "losses": 9, "missing": 1}},
            "sameness": [{"persona": HOSTILE[1], "personas": 3}],
        },
        "counts": counts,
    }


def check(folder: Path, changes: Mapping[str, Any] | None = None, more: Iterable[Found] = ()) -> Plain:
    """Put made-up findings into a folder, as `whoseboat check` would; return what its `checks.json` holds."""
    found = [*found_of(folder), *more]
    splits = {pair.id: pair.split for pair in read_pairs(folder)}
    rows = [
        {
            "id": id_,
            "split": splits[id_],
            "side": side,
            "check": name,
            "value": value,
            "is_bad": is_bad,
            "detail": detail,
        }
        for id_, side, name, value, is_bad, detail in found
    ]
    text = pa.string()
    schema = pa.schema(
        [*((name, text) for name in ("id", "split", "side", "check")), ("value", pa.float64()), ("is_bad", pa.bool_()),
         ("detail", text)]
    )  # fmt: skip
    table = folder.parent / "checks.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), table)
    checks = checks_of(folder, found) | dict(changes or {})
    rewrite(folder, manifest(folder), {"checks.parquet": table, "checks.json": json.dumps(checks).encode()})
    return checks


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
