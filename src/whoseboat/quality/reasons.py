"""Whether personas agree with people's own words: what they said of their choice, or of themselves.

Where a source publishes such words, its set has a config `reasons`. A judge is given the words and two personas, the
one inferred from that person's choice and one inferred from somebody else's in another conversation, and says which
describes the person better. Words on a choice may name what the conversation was about, which the other persona knows
nothing of: agreement on them may rest on the subject in part.

A reason costs 2 requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whoseboat.errors import DataError
from whoseboat.files import LocalFile, records
from whoseboat.judge import Case, Comparer, Comparison
from whoseboat.metric import BOOTSTRAP, Bootstrap
from whoseboat.quality import judged
from whoseboat.quality.donors import donors
from whoseboat.quality.findings import Checked, CheckFigure, Finding
from whoseboat.quality.judged import Answer, OnProgress
from whoseboat.quality.pairs import CheckedPair

QUESTION: Comparison = "whose_words"
KINDS = ("choice", "self-description")
_COLUMNS = ("id", "kind", "text", "by")
_IN_WORDS = {"loss": "somebody else's persona describes the person better, in both orders"}
_NOTES = {
    "choice": "a win is the persona of this choice in both orders; the words may name the subject as well",
    "self-description": "a win is the persona of this person's choice in both orders",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Words of a person about a pair, and who said them, where that is known."""

    pair: CheckedPair
    kind: str
    text: str
    by: str | None

    @property
    def person(self) -> str:
        """What clusters reasons: the person, or the conversation where the person is not known."""
        return f"by {self.by}" if self.by else f"in {judged.root(self.pair)}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A reason as it is put to a judge."""

    reason: Reason
    case: Case


def check(
    folder: Path,
    pairs: Sequence[CheckedPair],
    judge: Comparer,
    on_progress: OnProgress = None,
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Checked:
    """Return how often the inferred persona describes a person better than somebody else's, by kind of words.

    Where the set has no words on these pairs, or the judge is the reader of contrast, the table says why the check was
    skipped.

    Args:
        folder: the dataset folder.
        pairs: its pairs that are checked.
        judge: who compares.
        on_progress: told how far the judge is, as `judge.compare` tells it, and of how many cases.
        bootstrap: how intervals are made.

    Raises:
        DataError: the config `reasons` lacks a column, or cannot be read.
        WhoseboatError: the judge cannot go on, as `judge.compare` says.

    """
    if not _files(folder):
        return judged.skipped("reasons", "the set has no config reasons: its source publishes no words of people")
    why = judged.unable(judge)
    if why:
        return judged.skipped("reasons", why)
    found = read_reasons(folder, pairs)
    asked = _asked(found, pairs)
    if not asked:
        why = "there is nobody else's persona to compare with" if found else "no words on the pairs that are checked"
        return judged.skipped("reasons", why, reasons=len(found))
    answers = judged.ask(judge, QUESTION, [one.case for one in asked], on_progress)
    both = list(zip(asked, answers, strict=True))
    label = judged.label(judge, pairs)
    table = {
        "judge": label,
        "question": QUESTION,
        "reasons": len(found),
        "without_another_persona": len(found) - len(asked),
        "people_known": len({one.reason.by for one in asked if one.reason.by}),
        "requests": judged.requests([([one.case for one in asked], QUESTION)]),
        "counts": {kind: judged.counts(_of_kind(both, kind)[1]) for kind in _kinds(asked)},
    }
    figures = [figure for kind in _kinds(asked) for figure in _figures(kind, both, label, bootstrap)]
    return Checked(tuple(figures), {"reasons": table}, [_finding(one.reason, answer) for one, answer in both])


def questions(folder: Path, pairs: Sequence[CheckedPair]) -> list[tuple[list[Case], Comparison]]:
    """Return what is put to the judge: cases with their question, for `judge.estimate` to say what they cost."""
    asked = [one.case for one in _asked(read_reasons(folder, pairs), pairs)]
    return [(asked, QUESTION)] if asked else []


def requests(folder: Path, pairs: Sequence[CheckedPair]) -> int:
    """Return how many requests a language model is sent, at most: 2 for each reason of these pairs."""
    return judged.requests(questions(folder, pairs))


def read_reasons(folder: Path, pairs: Sequence[CheckedPair]) -> list[Reason]:
    """Return people's words on these pairs as the config `reasons` of a dataset folder has them; none where it is not.

    Raises:
        DataError: a column is missing, a kind is unknown, or a file cannot be read.

    """
    wanted = {pair.id: pair for pair in pairs}
    found = []
    for path in _files(folder):
        for number, record in records(LocalFile(f"reasons/{path.name}", path), _COLUMNS):
            _check(record, f"{path}, record {number}")
            if record["id"] in wanted and record["text"].strip():
                found.append(Reason(wanted[record["id"]], record["kind"], record["text"], record.get("by") or None))
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("reasons/*.parquet"))


def _check(record: Mapping[str, Any], where: str) -> None:
    missing = [name for name in _COLUMNS[:3] if name not in record]
    if missing:
        raise DataError("reasons without columns of ours", where=where, expected=", ".join(missing))
    odd = [name for name in _COLUMNS if not isinstance(record.get(name), str) and (name != "by" or record.get(name))]
    if odd:
        raise DataError("a reason that holds no text", where=where, expected="text", found=f"none in {', '.join(odd)}")
    if record["kind"] not in KINDS:
        expected = " or ".join(KINDS)
        raise DataError("an unknown kind of reason", where=where, expected=expected, found=repr(record["kind"])[:80])


def _asked(found: Sequence[Reason], pairs: Sequence[CheckedPair]) -> list[_Asked]:
    """Return the cases: words with the persona of the person's choice, and with somebody else's."""
    other = _others(found, pairs)
    return [
        _Asked(one, _case(one, other[one.pair.id].chosen_persona, number))
        for number, one in enumerate(found)
        if one.pair.id in other
    ]


def _case(reason: Reason, other: str, number: int) -> Case:
    name = f"{reason.pair.id} {reason.kind} {number}"
    return Case(name, (), reason.pair.chosen_persona, other, root=reason.person, words=reason.text)


def _others(found: Sequence[Reason], pairs: Sequence[CheckedPair]) -> dict[str, CheckedPair]:
    """Return for each pair one of another person in another conversation, whose persona is other words."""
    people = {pair.id: {pair.user_id} if pair.user_id else set() for pair in pairs}
    for reason in found:
        people[reason.pair.id] |= {reason.by} if reason.by else set()

    def group(pair: CheckedPair) -> str:
        known = min(people[pair.id], default="")
        return f"by {known}" if known else f"in {judged.root(pair)}"

    def fits(pair: CheckedPair, donor: CheckedPair) -> bool:
        is_apart = judged.root(pair) != judged.root(donor) and people[pair.id].isdisjoint(people[donor.id])
        return is_apart and pair.chosen_persona != donor.chosen_persona

    given = donors(pairs, group, fits)
    return {pair.id: donor.pair for pair, donor in zip(pairs, given, strict=True) if donor}


def _kinds(asked: Sequence[_Asked]) -> list[str]:
    there = Counter(one.reason.kind for one in asked)
    return [kind for kind in KINDS if there[kind]]


def _of_kind(both: Sequence[tuple[_Asked, Answer]], kind: str) -> tuple[list[str], list[Answer]]:
    """Return who said it, and the answers, of one kind of words."""
    of_kind = [(one.reason.person, answer) for one, answer in both if one.reason.kind == kind]
    return [person for person, _ in of_kind], [answer for _, answer in of_kind]


def _figures(
    kind: str, both: Sequence[tuple[_Asked, Answer]], label: str, bootstrap: Bootstrap
) -> Iterator[CheckFigure]:
    people, answers = _of_kind(both, kind)
    for figure in judged.comparison_figures(
        "reasons", answers, people, side="chosen", part=kind, judge=label, bootstrap=bootstrap
    ):
        yield replace(figure, note=_NOTES[kind])


def _finding(reason: Reason, answer: Answer) -> Finding:
    said = answer.in_words or _IN_WORDS.get(answer.outcome, "")
    detail = f"{reason.kind}: {said}" if said else reason.kind
    is_bad = answer.outcome == "loss"
    return Finding(reason.pair.id, reason.pair.split, "chosen", "reasons", answer.value, is_bad, detail)
