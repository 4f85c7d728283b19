"""Personas of one set by several models, side by side: the figures of each, and differences on the pairs they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from whoseboat import metric
from whoseboat.metric import Figure
from whoseboat.quality.findings import Finding
from whoseboat.quality.pairs import SIDES, CheckedPair

_ACCURACY = "accuracy"
_OUTCOMES: Mapping[float | None, str] = {1.0: "win", 0.5: "tie", 0.0: "loss", None: "missing"}


@dataclass(frozen=True)
class Scored:
    """Whether a judge found the right response, of each persona that it was asked about.

    `outcomes` is by the pair's id and the side; `roots` by id.
    """

    name: str
    engine: str
    roots: Mapping[str, str]
    outcomes: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, name: str, engine: str, pairs: Sequence[CheckedPair], findings: Iterable[Finding]) -> Scored:
        """Return what the findings of the check `accuracy` say."""
        outcomes = {(one.id, str(one.side)): _OUTCOMES[one.value] for one in findings if one.check == _ACCURACY}
        return cls(name, engine, {pair.id: pair.root for pair in pairs}, outcomes)


@dataclass(frozen=True)
class Difference:
    """How much more often the right response was found by the personas of one folder than by those of the first.

    The figure is over the pairs that were judged in both, with its paired interval by conversation.
    """

    name: str
    than: str
    side: str
    figure: Figure


@dataclass(frozen=True)
class Comparison:
    """Folders side by side: their names, a row per figure that any of them has, and differences of accuracy.

    Each of `rows` has `name`, `side`, `part` and `figures`: one per folder in the order of `names`, None where it has
    none.
    """

    names: tuple[str, ...]
    engines: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers and words."""
        return asdict(self)


def compare(folders: Sequence[tuple[Mapping[str, Any], Scored]]) -> Comparison:
    """Put folders side by side.

    Args:
        folders: of each what its `checks.json` holds, and what a judge found of its personas.

    """
    names = _names([scored for _, scored in folders])
    keys = dict.fromkeys(
        (figure["name"], figure["side"], figure["part"]) for checks, _ in folders for figure in checks["figures"]
    )
    by_key = [
        {(figure["name"], figure["side"], figure["part"]): figure for figure in checks["figures"]}
        for checks, _ in folders
    ]
    rows = [
        {"name": name, "side": side, "part": part, "figures": [found.get((name, side, part)) for found in by_key]}
        for name, side, part in keys
    ]
    first, *others = [scored for _, scored in folders]
    differences, notes = [], list(_notes([checks for checks, _ in folders]))
    for name, scored in zip(names[1:], others, strict=True):
        shared = sorted(first.outcomes.keys() & scored.outcomes.keys())
        if not shared:
            notes.append(f"{name} and {names[0]} have no judged pair in common: no difference can be told.")
            continue
        differences += _differences(first, names[0], scored, name, shared)
    return Comparison(
        tuple(names), tuple(scored.engine for _, scored in folders), tuple(rows), tuple(differences), tuple(notes)
    )


def _names(scored: Sequence[Scored]) -> list[str]:
    """Return a name for each folder; folders of the same name are numbered."""
    names = [one.name for one in scored]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]


def _notes(checks: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if any(one["judge"]["label"] != one["judge"]["name"] for one in checks):
        yield "At least one of them is a round trip: personas of the heuristic, read by the heuristic."


def _differences(
    first: Scored, first_name: str, other: Scored, name: str, shared: Sequence[tuple[str, str]]
) -> list[Difference]:
    found = []
    for side in ("both", *SIDES):
        keys = [key for key in shared if side in ("both", key[1])]
        if keys:
            roots = [first.roots[id_] for id_, _ in keys]
            own, base = [other.outcomes[key] for key in keys], [first.outcomes[key] for key in keys]
            found.append(Difference(name, first_name, side, metric.specificity(own, base, roots).figure))
    return found
