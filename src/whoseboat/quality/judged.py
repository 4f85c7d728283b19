"""What a judge says of cases in both orders, as checks need it: asked once, counted, put in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from whoseboat import metric
from whoseboat.judge import ROUND_TRIP, Case, Choice, Comparer, Comparison, Judged, Progress, ReaderJudge, judge_label
from whoseboat.metric import BOOTSTRAP, Bootstrap, Figure, Outcome
from whoseboat.quality.findings import Checked, CheckFigure
from whoseboat.quality.pairs import CheckedPair
from whoseboat.records import Side
from whoseboat.redaction import redact

# Told how far the judge is, and how many cases it is asked about in all.
OnProgress = Callable[[Progress, int], None] | None
# How many requests a case costs: one in each order.
_ORDERS = 2
_VALUES: dict[Outcome, float | None] = {"win": 1.0, "tie": 0.5, "loss": 0.0, "missing": None}
_READ_BACK = "personas made by contrast and read by contrast: that they can be read back, and no more"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge said of a case: A is what the case has first; `problem` says what could not be read."""

    first: Choice
    second: Choice
    problem: str = ""
    is_asked: bool = True

    @property
    def outcome(self) -> Outcome:
        """What both orders come to: a win where A was named in both."""
        if "unreadable" in (self.first, self.second):
            return "missing"
        if self.first != self.second:
            return "tie"
        return {"A": "win", "B": "loss"}.get(self.first, "tie")  # type: ignore[return-value]  # of these three

    @property
    def value(self) -> float | None:
        """What it is worth: 1, a half, 0, or nothing where it is missing."""
        return _VALUES[self.outcome]

    @property
    def in_words(self) -> str:
        """Why it is neither a win nor a loss; empty where it is one."""
        if self.outcome != "tie":
            return self.problem
        if not self.is_asked:
            return "the same words, so nobody was asked"
        if self.first == self.second:
            return "a tie in both orders"
        if "tie" in (self.first, self.second):
            return "a tie in one order"
        return f"took what was shown {'first' if self.first == 'A' else 'second'} in both orders"


# What is the same text in both places.
_SAME = Answer("tie", "tie", is_asked=False)


def ask(judge: Comparer, question: Comparison, cases: Sequence[Case], on_progress: OnProgress = None) -> list[Answer]:
    """Return a judge's answers, case by case; of two texts that are the same nobody is asked."""
    wanted = to_ask(cases)
    if not wanted:
        return [_SAME] * len(cases)
    tell = None if on_progress is None else partial(_tell, on_progress, len(wanted))
    asked = judge.compare(wanted, question, tell)
    # The judge is heard out: what it has to say of all requests comes at its end.
    found = iter([_answer(judged) for _, judged in zip(wanted, asked, strict=True)])
    return [next(found) if case.first != case.second else _SAME for case in cases]


def _tell(on_progress: Callable[[Progress, int], None], cases: int, progress: Progress) -> None:
    on_progress(progress, cases)


def to_ask(cases: Sequence[Case]) -> list[Case]:
    """Return the cases a judge is asked about: of two texts that are the same nobody is asked."""
    return [case for case in cases if case.first != case.second]


def requests(questions: Sequence[tuple[Sequence[Case], Comparison]]) -> int:
    """Return how many requests a language model is sent for cases, at most: what is the same is asked once."""
    return _ORDERS * sum(len(to_ask(cases)) for cases, _ in questions)


def outcomes(answers: Sequence[Answer]) -> list[Outcome]:
    """Return what the answers come to."""
    return [answer.outcome for answer in answers]


def root(pair: CheckedPair) -> str:
    """Return what clusters a pair; its id where its first user turn says nothing."""
    return pair.root or f"pair {pair.id}"


def label(judge: Comparer, pairs: Sequence[CheckedPair]) -> str:
    """Return what a judge's figures on these personas are called."""
    return judge_label(judge, {pair.persona_engine for pair in pairs})


def note(judge: Comparer, pairs: Sequence[CheckedPair]) -> str:
    """Return what a reader must know of figures by this judge, empty where there is nothing."""
    return _READ_BACK if label(judge, pairs) == ROUND_TRIP else ""


def unable(judge: Comparer) -> str:
    """Return why a judge cannot compare personas with each other; empty where it can."""
    if not isinstance(judge, ReaderJudge):
        return ""
    return f"{judge.name} reads a persona beside two responses, and here there are none: name a language model as judge"


def skipped(name: str, why: str, **more: Any) -> Checked:  # noqa: ANN401 - plain data
    """Return the result of a check that was not made."""
    return Checked(tables={name: {"skipped": why, **more}})


def counts(answers: Sequence[Answer]) -> dict[str, int]:
    """Count what answers come to; `ties` by what lies behind them, and what could not be read."""
    found = Counter(outcomes(answers))
    ties = [answer for answer in answers if answer.outcome == "tie"]
    said = [(answer.first, answer.second) for answer in ties if answer.is_asked]
    return {
        "wins": found["win"],
        "ties": found["tie"],
        "losses": found["loss"],
        "missing": found["missing"],
        "ties_said_in_both_orders": said.count(("tie", "tie")),
        "ties_by_taking_the_first_shown": said.count(("A", "B")),
        "ties_by_taking_the_second_shown": said.count(("B", "A")),
        "ties_of_the_same_words": len(ties) - len(said),
    }


def comparison_figures(
    name: str,
    answers: Sequence[Answer],
    clusters: Sequence[str],
    *,
    side: Side | None = None,
    part: str = "",
    judge: str = "",
    bootstrap: Bootstrap = BOOTSTRAP,
) -> list[CheckFigure]:
    """Return the figures of which of two personas was named: net, win rate, ties, missing, and the bias of places."""
    found = outcomes(answers)
    figures = {
        "net": metric.net(found, clusters, bootstrap),
        "win rate": metric.win_rate(found, clusters, bootstrap),
        "ties": _share(found, "tie", clusters, bootstrap),
        "missing": _share(found, "missing", clusters, bootstrap),
    }
    asked = [(answer, cluster) for answer, cluster in zip(answers, clusters, strict=True) if answer.is_asked]
    if asked:
        first, second = [answer.first for answer, _ in asked], [answer.second for answer, _ in asked]
        of_places = metric.pi_accuracy(first, second, [cluster for _, cluster in asked], bootstrap)
        figures["position bias"] = of_places.position_bias
    return [CheckFigure(f"{name} ({what})", side or "both", figure, part, judge) for what, figure in figures.items()]


def _share(found: Sequence[Outcome], wanted: Outcome, clusters: Sequence[str], bootstrap: Bootstrap) -> Figure:
    """Return the share of one outcome: over what was read, or of those missing over all."""
    is_over_all = wanted == "missing"
    turned: list[Outcome] = [
        "missing" if one == "missing" and not is_over_all else "win" if one == wanted else "loss" for one in found
    ]
    return metric.accuracy(turned, clusters, bootstrap)


def _answer(judged: Judged) -> Answer:
    first, second = judged.verdicts
    unread = next((verdict for verdict in judged.verdicts if verdict.choice == "unreadable"), None)
    if unread is None:
        return _read(first.choice, second.choice)
    said = redact(unread.detail)[0]
    problem = f"{unread.failed}: {said}" if unread.failed and said else said or unread.failed or "no reply"
    return Answer(first.choice, second.choice, problem)


@lru_cache(maxsize=None)  # noqa: UP033 - nine of them stand for all
def _read(first: Choice, second: Choice) -> Answer:
    return Answer(first, second)
