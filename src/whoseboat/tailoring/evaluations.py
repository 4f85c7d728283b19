"""Figures of an evaluation (`whoseboat evaluate`) as cards of models show them.

A figure goes into a model's card only where it is shown to be that model's: the files of generations that the
evaluation names stand beside its folder, or where the command is run, and say who wrote them. Who names the model by
what the evaluation calls it answers for that instead.

Judges that rank no models, such as the offline reader, say nothing of a model against another one. Of one model they
may say how much better it serves the personas of its own prompts than it does where it was told those of others: that
is `own_over_shuffled`, for which both files have to be the model's, whichever of them was the baseline.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from whoseboat.errors import DataError, UsageError, unknown
from whoseboat.evaluation.evaluating import KIND
from whoseboat.judge import READER
from whoseboat.manifest import read_manifest
from whoseboat.model_manifest import ModelManifest, Result, TrainedOn

_FILE = "evaluation.json"
_OWN = "own_over_shuffled"
_MEASURES = ("net", "win_rate")
Plain = Mapping[str, Any]


def results_of(
    folder: str | os.PathLike[str],
    made: ModelManifest,
    dataset: TrainedOn,
    *,
    split: str = "test",
    called: str | None = None,
) -> tuple[Result, ...]:
    """Return the figures that an evaluation has of a model.

    Args:
        folder: what `whoseboat evaluate` made.
        made: the model's manifest.
        dataset: the set whose prompts were answered.
        split: the part of it.
        called: what the evaluation calls the model; without it, that is found out by the files of generations.

    Raises:
        DataError: the folder is no evaluation, nothing shows that its figures are of this model, or its judge ranks no
            models and two were compared.
        UsageError: the evaluation has no model of that name.

    """
    path = Path(folder)
    found = _read(path)
    writers = {name: _writers(about, path) for name, about in found["inputs"].items()}
    name = _name_in(found, made, writers, called, path)
    sign = _sign_of_control(found, name) if writers[name] == writers[found["baseline"]] == {made.name} else 0
    is_control = sign != 0
    if not found["judge"]["may_rank_models"] and not is_control:
        raise DataError(
            "the judge of this evaluation ranks no models, so its comparison of two goes into no card",
            where=str(path),
            expected="a language model as judge; or one model's answers for true personas against its own for "
            "shuffled ones, judged with --cases, both files beside the folder",
            found=f"judge {found['judge']['label']}, {name} against {found['baseline']}",
        )
    if found.get("unreadable"):
        raise DataError(
            "the evaluation could not be read well enough for figures, so it goes into no card",
            where=str(path),
            found=str(found["unreadable"][0])[:200],
            todo="evaluate again with a judge that can be read",
        )
    kinds = found["inputs"][found["baseline"] if sign < 0 else name]["persona_kinds"]
    shared = {
        "persona": next(iter(kinds)) if len(kinds) == 1 else "",
        "judge": found["judge"]["label"] if found["judge"]["may_rank_models"] else READER,
        "against": "" if is_control else found["baseline"],
        "dataset": dataset.repo or dataset.name,
        "config": dataset.config,
        "split": split,
        "revision": dataset.revision,
    }
    results = list(_results(found["models"][name], shared, sign))
    if not results:
        raise DataError("the evaluation has no figure of the model", where=str(path), found=name)
    return tuple(results)


def _read(path: Path) -> Plain:
    """Return what an evaluation says.

    Raises:
        DataError: it is none.

    """
    if not path.is_dir() or read_manifest(path).get("kind") != KIND:
        raise DataError(
            "no folder of an evaluation", where=str(path), expected="a folder as `whoseboat evaluate` makes it"
        )
    try:
        found: Plain = json.loads((path / _FILE).read_text(encoding="utf-8"))
        for name in ("judge", "models", "inputs", "baseline", "rules"):
            found[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("the evaluation cannot be read", where=str(path / _FILE), found=str(error)) from error
    return found


def _name_in(found: Plain, made: ModelManifest, writers: Mapping[str, set[str]], called: str | None, path: Path) -> str:
    """Return what an evaluation calls the model."""
    names: list[str] = list(found["models"])
    if called is not None:
        if called not in names:
            raise unknown("model in the evaluation", called, names)
        if writers[called] - {made.name}:
            raise DataError(
                "the answers are those of another model",
                where=f"{path}, {called}",
                expected=made.name,
                found=", ".join(sorted(writers[called])),
            )
        return called
    own = [name for name in names if writers[name] == {made.name}]
    if len(own) == 1:
        return own[0]
    if own:
        raise UsageError(
            "the evaluation has several models by this name's answers", found=", ".join(own), todo="--as NAME"
        )
    raise DataError(
        "nothing shows that figures of the evaluation are of this model",
        where=str(path),
        expected=f"beside it, or here, the files of generations that it names, written by {made.name}",
        found="; ".join(f"{name}: {', '.join(sorted(writers[name])) or 'not found'}" for name in names),
        todo="run this where the files are, or say what the evaluation calls the model: --as NAME",
    )


def _writers(about: Plain, folder: Path) -> set[str]:
    """Return the models that wrote the files of generations; none where a file is not there or does not say so."""
    found: set[str] = set()
    for file in about["files"]:
        name = Path(str(file["name"])).name
        places = [place / name for place in (folder.resolve().parent, Path.cwd())]
        path = next((place for place in places if _is_same(place, str(file["sha256"]))), None)
        if path is None:
            return set()
        found |= _writers_in(path)
    return found


def _is_same(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def _writers_in(path: Path) -> set[str]:
    """Return who wrote the rows of a file of `whoseboat generate`; a row that does not say so is nobody's."""
    found = set()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            found.add(str(row.get("model", "")) if isinstance(row, dict) else "")
    return found


def _sign_of_control(found: Plain, name: str) -> int:
    """Return 1 where answers for true personas are compared with those for shuffled ones, -1 the other way round.

    Both have to be judged by the personas of the pairs; else it is 0.
    """
    kinds = [list(found["inputs"][one]["persona_kinds"]) for one in (name, found["baseline"])]
    if not found["rules"]["cases"]:
        return 0
    return {"true": 1, "shuffled": -1}[kinds[0][0]] if sorted(kinds) == [["shuffled"], ["true"]] else 0


def _results(model: Plain, shared: Mapping[str, Any], sign: int) -> Iterator[Result]:
    """Yield the figures of each question, over both sides and by side, then ΔPQ; of a control what is of a persona."""
    is_control = sign != 0
    for question, about in model["questions"].items():
        if is_control and question == "quality":
            continue  # quality is judged without a persona: it says nothing of whose it was
        for side, part in (("both", about), *about["by_side"].items()):
            for measure in _MEASURES[:1] if is_control else _MEASURES:
                name = f"{question}_{_OWN if is_control else measure}"
                yield _result(name, _turned(part[measure], sign), side, part["withheld"], shared)
    delta = model["delta_pq"]
    if delta and not is_control:
        yield _result("delta_pq", delta["net"]["figure"], "both", delta["withheld"], shared)


def _turned(figure: Plain, sign: int) -> Plain:
    """Return a net as it is, or as it is of the other one of both."""
    if sign >= 0 or figure["value"] is None:
        return figure
    low, high = (None if end is None else 0 - end for end in (figure["high"], figure["low"]))
    return {**figure, "value": 0 - figure["value"], "low": low, "high": high}


def _result(name: str, figure: Plain, side: str, withheld: str, shared: Mapping[str, Any]) -> Result:
    note = withheld or figure["reason"] or figure["note"]
    return Result(
        name,
        None if withheld else figure["value"],
        figure["n"],
        None if withheld else figure["low"],
        None if withheld else figure["high"],
        clusters=figure["clusters"],
        missing=figure["missing"],
        side=side,
        note=note,
        **shared,
    )
