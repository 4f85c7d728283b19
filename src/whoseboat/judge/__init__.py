"""Judging responses: pairs in both orders, or single ones on a scale, by a language model.

>>> from whoseboat import LanguageModel, judge
>>> judging = judge.find(LanguageModel("Qwen/Qwen3-32B"))  # doctest: +SKIP
>>> for judged in judging.compare(cases, "serves"):  # doctest: +SKIP
...     print(judged.case.id, [verdict.choice for verdict in judged.verdicts])

Verdicts are relative to the case: "A" is its first response, whatever was shown first. What is no verdict is asked for
once more, then counted as unreadable, and never guessed. Both judges give verdicts lazily, in the order of the cases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from whoseboat.errors import UsageError
from whoseboat.judge.model_judge import ModelJudge
from whoseboat.judge.progress import Estimate, Progress
from whoseboat.judge.questions import (
    PAIR_QUESTIONS,
    PERSONA_QUESTIONS,
    QUESTIONS,
    SCORE_QUESTIONS,
    Comparison,
    PairQuestion,
    PersonaQuestion,
    Question,
    ScoreQuestion,
)
from whoseboat.judge.reader_judge import READER, ReaderJudge
from whoseboat.judge.verdicts import (
    CERTAINTIES,
    FORMS,
    Case,
    CertaintyRow,
    Choice,
    Form,
    Judged,
    Score,
    Scored,
    Verdict,
    accuracy_by_certainty,
    read_choice,
    read_score,
)
from whoseboat.llm.settings import LanguageModel

__all__ = [
    "CERTAINTIES",
    "FORMS",
    "PAIR_QUESTIONS",
    "PERSONA_QUESTIONS",
    "QUESTIONS",
    "READER",
    "ROUND_TRIP",
    "SCORE_QUESTIONS",
    "Case",
    "CertaintyRow",
    "Choice",
    "Comparer",
    "Comparison",
    "Estimate",
    "Form",
    "Judge",
    "Judged",
    "ModelJudge",
    "PairQuestion",
    "PersonaQuestion",
    "Progress",
    "Question",
    "ReaderJudge",
    "Score",
    "ScoreQuestion",
    "Scored",
    "Verdict",
    "accuracy_by_certainty",
    "find",
    "judge_label",
    "read_choice",
    "read_score",
]

ROUND_TRIP = "reader round-trip"
# Names that the offline engine signs personas with.
_CONTRAST = re.compile(r"contrast(-\d+)?")

Judge = ModelJudge | ReaderJudge


class Comparer(Protocol):
    """Whoever compares two responses or personas in both orders: both judges, and what stands in for them."""

    @property
    def name(self) -> str:
        """What the judge is called in datasets and cards."""
        ...

    def compare(
        self,
        cases: Iterable[Case],
        question: Comparison,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Judged]:
        """Return an iterator of every case with its verdicts in both orders, in the order of the cases."""
        ...


def find(
    judge: str | LanguageModel,
    *,
    form: Form = "choice",
    certainty: bool = False,
    prompts: Path | str | None = None,
) -> Judge:
    """Return the judge that is a language model, or the reader of contrast by its name, `contrast-reader`.

    Args:
        judge: who judges; there is no default.
        form: see `ModelJudge`, as for what follows.
        certainty: ask for a certainty in words.
        prompts: a directory of templates of one's own.

    Raises:
        UsageError: there is none of this name, or a setting does not go with it.

    """
    if isinstance(judge, LanguageModel):
        return ModelJudge(judge, form, certainty, prompts)
    if judge != READER:
        raise UsageError(
            f"unknown judge {judge!r}",
            expected=f"a language model, or {READER}",
            todo="name a language model (in Python: whoseboat.LanguageModel(...))",
        )
    if certainty or prompts is not None or form != "choice":
        raise UsageError(f"{READER} is asked nothing, so it has neither form, prompts nor certainty")
    return ReaderJudge()


def judge_label(judge: Comparer, persona_engine: str | Collection[str]) -> str:
    """Return what verdicts are called: by the judge, or a round trip where the reader reads personas of `contrast`.

    Args:
        judge: who judged.
        persona_engine: what made the personas, as datasets have it in `persona_engine`; one or several.

    """
    engines = [persona_engine] if isinstance(persona_engine, str) else persona_engine
    is_round_trip = isinstance(judge, ReaderJudge) and any(_CONTRAST.fullmatch(engine) for engine in engines)
    return ROUND_TRIP if is_round_trip else judge.name
