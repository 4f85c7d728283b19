"""The offline reader of `contrast` as a judge, for who names it: what it says is no evidence of quality."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from whoseboat.errors import UsageError, unknown
from whoseboat.judge.progress import Estimate, Progress, reporter
from whoseboat.judge.questions import ABOUT_A_PERSONA, COMPARISONS, Comparison, Question, ScoreQuestion, check
from whoseboat.judge.verdicts import ORDERS, Case, Judged, Order, Reading, Scored, verdict_of

READER = "contrast-reader"


@dataclass(frozen=True)
class ReaderJudge:
    """The offline reader of `contrast` as a judge: no language model, and blind to everything but style.

    Personas of the engine `contrast` are worded from the axes it reads by: of these its verdicts say that they can be
    read back, and no more. So it is never the default, its verdicts bear a name of their own (`judge_label`), and no
    model is ranked by it.
    """

    name = READER
    may_rank_models = False

    def compare(
        self,
        cases: Iterable[Case],
        question: Comparison,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Judged]:
        """Return an iterator of every case with its verdicts in both orders; they always agree.

        Raises:
            UsageError: the question is not about a persona and two responses, or there is none of the name.
            DataError: a case lacks its second response or its persona.

        """
        if question not in COMPARISONS:
            raise unknown("question", question, COMPARISONS)
        if question not in ABOUT_A_PERSONA:
            raise UsageError(
                "the reader of contrast reads personas beside two responses; this question does not show both",
                expected=", ".join(other for other in COMPARISONS if other in ABOUT_A_PERSONA),
                found=question,
                todo="name a language model as the judge",
            )
        return self._compare(cases, question, on_progress)

    def _compare(
        self, cases: Iterable[Case], question: Comparison, on_progress: Callable[[Progress], None] | None
    ) -> Iterator[Judged]:
        progress, report = Progress(), reporter(on_progress)
        report(progress, True)
        for case in cases:
            check(case, question)
            first, second = (verdict_of(case, question, order, _read_by_contrast(case, order)) for order in ORDERS)
            progress.cases += 1
            yield Judged(case, (first, second))
            report(progress, False)
        report(progress, True)

    def rate(
        self,
        cases: Iterable[Case],
        question: ScoreQuestion,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Scored]:
        """Refuse: the reader compares responses and knows no scale.

        Raises:
            UsageError: always.

        """
        raise UsageError(
            "the reader of contrast compares responses and gives no scores",
            found=question,
            todo="name a language model as the judge",
        )

    def estimate(self, cases: Iterable[Case], question: Question) -> Estimate:
        """Count the cases: nothing is asked of anybody."""
        return Estimate(sum(1 for _ in cases), 0, 0, 0, 0, 0, 0.0)

    def about(self, *asked: Question) -> dict[str, Any]:
        """Return what a manifest or card tells of the judge."""
        from whoseboat.contrast import VERSION

        return {"judge": READER, "contrast_version": VERSION, "may_rank_models": self.may_rank_models}

    def files(self, *asked: Question) -> dict[str, bytes]:
        """Return no templates: none were used."""
        return {}


def _read_by_contrast(case: Case, order: Order) -> Reading:
    """Say which response the reader finds the persona to prefer, as they are shown; a tie where it is neither."""
    from whoseboat.contrast import preference

    first, second = (case.first, case.second or "") if order == 1 else (case.second or "", case.first)
    preferred = preference(case.persona or "", first, second)
    return Reading("1" if preferred > 0 else "2" if preferred < 0 else "tie")
