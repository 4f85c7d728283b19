"""Whether personas lead back to the response they were inferred from: the accuracy of persona inference.

A judge is given prompt, both responses and one persona, and says which response that user picks. How often it is right
says little by itself, since personas of one side resemble each other; so the same cases are put to it with personas
shuffled within source and side, and what is lost then is *specificity*. A judge that ignores personas has none, and
turns no pair round (*flip accuracy*).

A pair costs 8 requests at most: two sides, in two orders, with its own persona and with another pair's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from whoseboat import metric
from whoseboat.judge import Case, Comparer, Comparison
from whoseboat.metric import BOOTSTRAP, Bootstrap, Figure
from whoseboat.quality import judged
from whoseboat.quality.donors import Donor, donors
from whoseboat.quality.findings import Checked, CheckFigure, Finding
from whoseboat.quality.judged import Answer, OnProgress
from whoseboat.quality.pairs import SIDES, CheckedPair
from whoseboat.records import Side

QUESTION: Comparison = "picks"
EQUAL_LENGTH = "equal length"
# Responses are of equal length where the shorter one lacks at most this share of the longer one's characters.
_SHARE_APART = 0.1
_MOST_PARTS = 12
_FORMS = {"paper": "accuracy (paper)", "strict": "accuracy (strict)", "consistent": "accuracy (consistent)"}
_PLACES = {"coverage": "coverage", "position_bias": "position bias"}
_CONTROL = {
    "figure": "specificity",
    "true": "accuracy (strict), own personas of the control",
    "shuffled": "accuracy (strict), shuffled personas",
}
_IN_WORDS = {"loss": "took the other response in both orders"}


@dataclass(frozen=True, slots=True)
class _Told:
    """A pair with what a judge said of its sides, chosen first: with its own personas, and with another pair's."""

    pair: CheckedPair
    own: tuple[Answer, Answer]
    shuffled: tuple[Answer, Answer] | None

    @property
    def root(self) -> str:
        return judged.root(self.pair)


def check(
    pairs: Sequence[CheckedPair],
    judge: Comparer,
    on_progress: OnProgress = None,
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Checked:
    """Return how often a judge picks the response each persona was inferred from, in three forms, and its specificity.

    Figures are per side and of both, of all pairs, of those with responses of equal length, and by part of the source
    where there are several; a part without pairs has none. Whatever is unreadable has a finding that says so.

    Args:
        pairs: what is checked.
        judge: who picks.
        on_progress: told how far the judge is, as `judge.compare` tells it, and of how many cases.
        bootstrap: how intervals are made.

    Raises:
        WhoseboatError: the judge cannot go on, as `judge.compare` says.

    """
    if not pairs:
        return judged.skipped("accuracy", "there is no pair to check")
    given = donors(pairs, judged.root)
    asked = _cases(pairs, given)
    told = _told(pairs, given, judged.ask(judge, QUESTION, asked, on_progress))
    label, note = judged.label(judge, pairs), judged.note(judge, pairs)
    parts = _parts(told)
    figures = [
        replace(figure, judge=label, note=note)
        for part, of_part in parts.items()
        for figure in _figures(part, of_part, bootstrap)
    ]
    table = {
        "judge": label,
        "question": QUESTION,
        "pairs": len(pairs),
        "requests": judged.requests([(asked, QUESTION)]),
        "own": _counts(told, is_own=True),
        "shuffled": _counts(told, is_own=False),
        "donors": _about_donors(pairs, given),
        "parts": {part: len(of_part) for part, of_part in parts.items() if part},
        "parts_of_source_not_told": max(0, len(_of_source(told)) - _MOST_PARTS),
    }
    return Checked(tuple(figures), {"accuracy": table}, list(_findings(told)))


def questions(pairs: Sequence[CheckedPair]) -> list[tuple[list[Case], Comparison]]:
    """Return what is put to the judge: cases with their question, for `judge.estimate` to say what they cost."""
    asked = judged.to_ask(_cases(pairs, donors(pairs, judged.root)))
    return [(asked, QUESTION)] if asked else []


def requests(pairs: Sequence[CheckedPair]) -> int:
    """Return how many requests a language model is sent, at most: 8 for a pair, 4 for one that has no donor."""
    return judged.requests(questions(pairs))


def _cases(pairs: Sequence[CheckedPair], given: Sequence[Donor | None]) -> list[Case]:
    """Return the cases pair by pair: both sides with their own personas, then both with those of the donor."""
    return [
        _case(pair, side, source.persona(side), name)
        for pair, donor in zip(pairs, given, strict=True)
        for source, name in ((pair, "own"), *(((donor.pair, "shuffled"),) if donor else ()))
        for side in SIDES
    ]


def _case(pair: CheckedPair, side: Side, persona: str, name: str) -> Case:
    other: Side = "rejected" if side == "chosen" else "chosen"
    return Case(
        f"{pair.id} {side} {name}", pair.prompt, pair.response(side), pair.response(other), persona, judged.root(pair)
    )


def _told(pairs: Sequence[CheckedPair], given: Sequence[Donor | None], answers: Sequence[Answer]) -> list[_Told]:
    left = iter(answers)
    return [
        _Told(pair, (next(left), next(left)), (next(left), next(left)) if donor else None)
        for pair, donor in zip(pairs, given, strict=True)
    ]


# ---- parts


def _parts(told: Sequence[_Told]) -> dict[str, list[_Told]]:
    """Return all pairs, those of equal length, and the largest parts of the source where it has several."""
    parts = {"": list(told), EQUAL_LENGTH: [one for one in told if _is_of_equal_length(one.pair)]}
    of_source = _of_source(told)
    if len(of_source) > 1:
        for name, _ in sorted(of_source.items(), key=lambda item: (-item[1], item[0]))[:_MOST_PARTS]:
            parts[f"source: {name}"] = [one for one in told if _name_of_part(one.pair) == name]
    return parts


def _of_source(told: Sequence[_Told]) -> Counter[str]:
    return Counter(_name_of_part(one.pair) for one in told)


def _name_of_part(pair: CheckedPair) -> str:
    return "not stated" if pair.source_split is None else pair.source_split


def _is_of_equal_length(pair: CheckedPair) -> bool:
    lengths = sorted((len(pair.chosen), len(pair.rejected)))
    return lengths[1] - lengths[0] <= _SHARE_APART * lengths[1]


# ---- figures


def _figures(part: str, told: Sequence[_Told], bootstrap: Bootstrap) -> Iterator[CheckFigure]:
    """Yield the figures of a part: per side and of both, then what takes both sides of a pair; none of no pairs."""
    if not told:
        return
    for side, places in (("chosen", (0,)), ("rejected", (1,)), ("both", (0, 1))):
        roots = [one.root for one in told for _ in places]
        own = [one.own[place] for one in told for place in places]
        for name, figure in (*_forms(own, roots, bootstrap), *_control(told, places, bootstrap)):
            yield CheckFigure(name, side, figure, part)  # type: ignore[arg-type]  # one of the three above
    chosen, rejected = (judged.outcomes([one.own[place] for one in told]) for place in (0, 1))
    flips = metric.flip_accuracy(chosen, rejected, [one.root for one in told], bootstrap)
    yield CheckFigure("flip accuracy", "both", flips, part)


def _forms(answers: Sequence[Answer], roots: Sequence[str], bootstrap: Bootstrap) -> Iterator[tuple[str, Figure]]:
    first, second = [answer.first for answer in answers], [answer.second for answer in answers]
    found = metric.pi_accuracy(first, second, roots, bootstrap)
    yield from ((name, getattr(found, form)) for form, name in {**_FORMS, **_PLACES}.items())


def _control(told: Sequence[_Told], places: Sequence[int], bootstrap: Bootstrap) -> Iterator[tuple[str, Figure]]:
    """Yield specificity, and what it is the difference of, over the pairs that have a donor."""
    both = [(one.own[place], one.shuffled[place], one.root) for one in told if one.shuffled for place in places]
    if not both:
        reason = "no pair has a donor of another conversation"
        yield "specificity", Figure(None, None, None, 0, 0, "none", reason=reason)
        return
    own, shuffled, roots = zip(*both, strict=True)
    found = metric.specificity(judged.outcomes(own), judged.outcomes(shuffled), roots, bootstrap)
    yield from ((name, getattr(found, kind)) for kind, name in _CONTROL.items())


# ---- tables and findings


def _counts(told: Sequence[_Told], *, is_own: bool) -> dict[Side, dict[str, int]]:
    """Count what the answers come to, side by side."""
    answered = [one.own if is_own else one.shuffled for one in told]
    return {side: judged.counts([both[place] for both in answered if both]) for place, side in enumerate(SIDES)}


def _about_donors(pairs: Sequence[CheckedPair], given: Sequence[Donor | None]) -> dict[str, Any]:
    """Count the pairs that have no donor, or one of another part, and donors that say the same of their user."""
    found = [(pair, donor) for pair, donor in zip(pairs, given, strict=True) if donor]
    return {
        "pairs_without": len(pairs) - len(found),
        "pairs_with_one_of_another_part": sum(not donor.is_of_part for _, donor in found),
        "pairs_with_one_of_the_same_words": {
            side: sum(pair.persona(side) == donor.pair.persona(side) for pair, donor in found) for side in SIDES
        },
    }


def _findings(told: Sequence[_Told]) -> Iterator[Finding]:
    for one in told:
        for side, answer in zip(SIDES, one.own, strict=True):
            is_wrong = answer.outcome == "loss"
            detail = answer.in_words or _IN_WORDS.get(answer.outcome, "")
            yield Finding(one.pair.id, one.pair.split, side, "accuracy", answer.value, is_wrong, detail)
