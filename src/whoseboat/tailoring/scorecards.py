"""Figures put into a model folder: manifest and card, in one step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from whoseboat import cards
from whoseboat.folder import link, whole_folder
from whoseboat.manifest import FILE, describe_files
from whoseboat.model_manifest import ModelManifest, Refusals, Result
from whoseboat.tailoring import model_folder
from whoseboat.tailoring.margins import FIGURES, MARGINS
from whoseboat.tailoring.model_folder import CARD, ModelFolder

_NAMES = frozenset(
    f"{margin}_{name}{end}" for margin in MARGINS for name in FIGURES for end in ("", "_at_equal_length")
)


def into_card(
    folder: str | os.PathLike[str],
    results: Sequence[Result] = (),
    refusals: Sequence[Refusals] | None = None,
    *,
    refusals_missing: str = "",
) -> ModelFolder:
    """Put figures by likelihood and refusal rates into a model folder, whole or not at all.

    Earlier figures by likelihood on the same split go where new ones come; of those of judges the ones go that are had
    anew. What people wrote into the card stays.

    Args:
        folder: a model folder of ours; its weights are not copied.
        results: `whoseboat.tailoring.scoring.Scores.results`, or `whoseboat.tailoring.evaluations.results_of`.
        refusals: `whoseboat.tailoring.harm.refusals`; None: those that are there stay.
        refusals_missing: why there are no refusal rates, where none are there.

    Raises:
        DataError: it is no model folder of ours, or its card cannot be read.
        OutputError: it cannot be written; it is as it was then.

    """
    found = model_folder.read(folder)
    path, made = found.path.resolve(), found.manifest
    rates = made.refusals if refusals is None else tuple(refusals)
    new_manifest = replace(
        made,
        results=(*_kept(made, results), *results),
        refusals=rates,
        refusals_missing="" if rates else refusals_missing or made.refusals_missing,
        evaluated=datetime.now(UTC).date().isoformat() if results else made.evaluated,
    )
    with whole_folder(path, overwrite=True) as new:
        for name in _owned(path, made):
            link(path / name, new / name)
        present = path / CARD
        card = cards.model_card(new_manifest)
        if present.is_file():
            card = cards.merge(card, None, present.read_text(encoding="utf-8"))
        (new / CARD).write_text(card, encoding="utf-8")
        new_manifest = replace(new_manifest, files=describe_files(new))
        (new / FILE).write_text(new_manifest.to_json(), encoding="utf-8")
    return ModelFolder(found.path, new_manifest)


def _kept(made: ModelManifest, results: Sequence[Result]) -> list[Result]:
    """Return the results that the new ones do not replace."""
    scored = {(one.dataset, one.config, one.split) for one in results if not one.judge}
    judged = {_of_what(one) for one in results if one.judge}
    return [
        one
        for one in made.results
        if (one.judge or one.name not in _NAMES or (one.dataset, one.config, one.split) not in scored)
        and _of_what(one) not in judged
    ]


def _of_what(one: Result) -> tuple[str, ...]:
    """Return what tells a figure from others, but for its value."""
    return (one.name, one.side, one.persona, one.judge, one.against, one.dataset, one.config, one.split)


def _owned(path: Path, made: ModelManifest) -> list[str]:
    """Return the files of the folder that are its own, but for card and manifest; names are those on the disk."""
    names = [entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file()]
    return [name for name in names if name in made.files and name not in (CARD, FILE)]
