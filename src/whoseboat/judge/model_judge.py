"""A language model that judges: client, journal, budget and Batch API are those that infer personas.

A verdict that was given is not asked for again, whatever became of the run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from whoseboat.asking import Asking, Talk, ask_at_once, foresee, journal_directory, open_journal
from whoseboat.errors import UsageError, unknown
from whoseboat.journal import Journal, cannot_write, make_directory
from whoseboat.judge import questions
from whoseboat.judge.progress import Estimate, Progress, reporter
from whoseboat.judge.questions import (
    COMPARISONS,
    QUESTIONS,
    SCORE_QUESTIONS,
    Asked,
    Comparison,
    Question,
    ScoreQuestion,
    check,
    deliberate,
)
from whoseboat.judge.verdicts import (
    FORMS,
    ORDERS,
    Case,
    Form,
    Judged,
    Order,
    Outcome,
    Scored,
    Unreadable,
    score_of,
    verdict_of,
)
from whoseboat.llm.budget import Tally
from whoseboat.llm.settings import LanguageModel
from whoseboat.personas import Unusable
from whoseboat.records import Message

# What a verdict takes on the average; feedback before a result takes more, thinking is not foreseen.
_COMPLETION_TOKENS: dict[Form, int] = {"choice": 10, "rubric": 200}

Settled = Iterator[tuple[Case, list[Outcome | Unusable]]]


@dataclass(frozen=True, slots=True)
class Ruling:
    """One verdict to ask for: a case and the order it is shown in, or which of its responses is scored."""

    case: Case
    order: Order


class Judging(Asking[Case, Ruling, Outcome]):
    """The verdicts to ask for about a case."""

    units = "verdicts"
    retried = "requests that were refused"

    def __init__(self, model: LanguageModel, journal: Journal, tally: Tally, asked: Asked) -> None:
        super().__init__(model, journal, tally, asked.response_format, asked.name)
        self._asked = asked

    def tasks(self, item: Case) -> list[Ruling]:
        """Return both orders of a case, or its responses.

        Raises:
            DataError: the case lacks what is asked about.

        """
        check(item, self._asked.question)
        return [Ruling(item, order) for order in (ORDERS if item.second is not None else ORDERS[:1])]

    def talk(self, task: Ruling) -> Talk[Outcome]:
        """Begin to ask for one verdict."""
        return deliberate(self._asked, task.case, task.order)


@dataclass(frozen=True)
class ModelJudge:
    """A language model that judges.

    Args:
        model: the language model and how it is asked; its budget is that of all questions this judge is asked.
        form: `choice`: a verdict and nothing else; `rubric`: feedback, then a result, for judges trained on that.
        certainty: ask for a certainty in words, too; in the form `choice` only.
        prompts: a directory of templates of one's own (see `whoseboat.judge.questions`); without it the model's.
        tally: where requests and tokens are counted.

    Raises:
        UsageError: something that cannot be right, or the endpoint needs a key and none is set.

    """

    model: LanguageModel
    form: Form = "choice"
    certainty: bool = False
    prompts: Path | str | None = None
    tally: Tally = field(default_factory=Tally, compare=False)
    # What was asked is what is told of it, whatever becomes of the directory meanwhile.
    _loaded: dict[Question, Asked] = field(default_factory=dict, init=False, repr=False, compare=False)

    may_rank_models = True

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown("form of verdicts", self.form, FORMS)
        if self.certainty and self.form == "rubric":
            raise UsageError("the rubric form has no place for a certainty", todo="ask for it in the form choice")
        if self.model.samples > 1:
            raise UsageError(
                "a judge gives one verdict in each order", expected="1 sample", found=str(self.model.samples)
            )
        self.model.key()
        self.tally.prices = self.model.prices

    @property
    def name(self) -> str:
        """What the judge is called in datasets and cards."""
        return self.model.public_name

    def compare(
        self,
        cases: Iterable[Case],
        question: Comparison,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Judged]:
        """Return an iterator of every case with its verdicts in both orders, in the order of the cases.

        Cases are read as verdicts come, a window of them ahead. Answers are kept: after an interruption, or once a
        budget was spent, the same call goes on where the other one stopped.

        Args:
            cases: what is to be judged.
            question: which response is better (`quality`, without the persona), which serves the persona better
                (`serves`), or which the persona would pick (`picks`); of two personas, which is preferred
                (`persona_preference`), or which describes the person who said something (`whose_words`).
            on_progress: called at the start, a few times a second while cases come, and at the end; with one object.

        Raises:
            UsageError: there is no such question.
            DataError: a prompt is not as it should be, or a case lacks what is asked about.
            OutputError: the journal cannot be written.
            WhoseboatError: the endpoint refuses every request, too many verdicts fail, or the budget is spent.

        """
        asked = self._load(question, COMPARISONS)
        return (
            Judged(case, (verdict_of(case, question, 1, first), verdict_of(case, question, 2, second)))
            for case, (first, second) in self._settled(asked, cases, on_progress)
        )

    def rate(
        self,
        cases: Iterable[Case],
        question: ScoreQuestion,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Scored]:
        """Return an iterator of every case with a score from 1 to 5 for each of its responses; else as `compare`.

        Args:
            cases: what is to be judged, each with one response or two.
            question: how good the response is (`quality_score`, without the persona), or how well it suits the persona
                (`personalization_score`).
            on_progress: as for `compare`.

        """
        asked = self._load(question, SCORE_QUESTIONS)
        return (
            Scored(case, tuple(score_of(case, question, order, outcome) for order, outcome in zip(ORDERS, outcomes)))  # noqa: B905 - a case may have one response only
            for case, outcomes in self._settled(asked, cases, on_progress)
        )

    def estimate(self, cases: Iterable[Case], question: Question) -> Estimate:
        """Count the requests judging would send, without sending one, and estimate their tokens from their length.

        Requests that ask once more after a reply that cannot be read, or a fault, are not foreseen; thinking of a model
        is not either.
        """
        asked = self._load(question, QUESTIONS)
        with open_journal(self.model) as journal:
            found = foresee(Judging(self.model, journal, Tally(), asked), cases)
        completion_tokens = found.requests * _COMPLETION_TOKENS[self.form]
        prices = self.model.prices
        cost = prices.cost(found.prompt_tokens, completion_tokens) if prices else None
        return Estimate(
            found.items, found.requests, found.answered, found.failed, found.prompt_tokens, completion_tokens, cost
        )

    def about(self, *asked: Question) -> dict[str, Any]:
        """Return what a manifest or card tells of the judge and of the questions it was asked.

        Tokens and cost are those of every answer the verdicts were made of; nothing of it names a machine or holds a
        secret.
        """
        loaded = {question: self._load(question, QUESTIONS) for question in asked}
        tally, prices = self.tally, self.model.prices
        return {
            "judge": "openai-batch" if self.model.batch else "openai",
            "endpoint": self.model.kind,
            "model": self.model.public_name,
            "parameters": dict(self.model.parameters),
            "form": self.form,
            "certainty": self.certainty,
            "prompts": {
                question: {"name": found.name, "digest": found.digest, "own": found.is_own}
                for question, found in loaded.items()
            },
            "dollars_per_million_tokens": asdict(prices) if prices else None,
            "tokens": {"prompt": tally.used_prompt_tokens, "completion": tally.used_completion_tokens},
            "cost": round(tally.used_cost, 6) if prices else None,
            "requests": {
                "answered": tally.answered,
                "reused": tally.reused,
                "failed": tally.failed,
                "retried": tally.retried,
                "without_token_count": tally.estimated,
            },
            "may_rank_models": self.may_rank_models,
        }

    def files(self, *asked: Question) -> dict[str, bytes]:
        """Return the templates of questions, by the path they have in a folder."""
        found: dict[str, bytes] = {}
        for question in asked:
            found.update(self._load(question, QUESTIONS).files)
        return found

    def _load(self, question: Question, among: Collection[str]) -> Asked:
        if question not in among:
            raise unknown("question", question, among)
        if question not in self._loaded:
            directory = self.prompts if self.prompts is not None else self.model.prompts
            place = Path(directory) if directory is not None else None
            self._loaded[question] = questions.load(question, self.form, certainty=self.certainty, prompts=place)
        return self._loaded[question]

    def _settled(self, asked: Asked, cases: Iterable[Case], on_progress: Callable[[Progress], None] | None) -> Settled:
        """Yield cases with what was answered; failures are counted, and too many end it."""
        model = self.model
        # A cache that cannot be written shows before anything is asked.
        make_directory(journal_directory(model))
        progress, report = Progress(tally=self.tally), reporter(on_progress)
        report(progress, True)
        with open_journal(model) as journal:
            judging = Judging(model, journal, self.tally, asked)
            for case, outcomes in _asked_of(judging, cases):
                for outcome in outcomes:
                    failure = outcome if isinstance(outcome, Unusable) else None
                    judging.count(failure)
                    progress.failed += failure is not None
                    progress.unreadable += isinstance(outcome, Unreadable)
                progress.cases += 1
                yield case, outcomes
                report(progress, False)
            judging.end()
        report(progress, True)
        judging.check_any()


def _asked_of(judging: Judging, cases: Iterable[Case]) -> Settled:
    if not judging.model.batch:
        return ask_at_once(judging, cases)
    from whoseboat import batching

    return batching.ask_by_batch(judging, lambda: _PutBy(cases, judging.journal.directory.parent))


class _PutBy:
    """Cases on disk, gone through in every round of batches; a context manager that removes the file at its end."""

    def __init__(self, cases: Iterable[Case], directory: Path) -> None:
        make_directory(directory)
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed at the end of the context
        for case in cases:
            try:
                self._file.write(orjson.dumps(case) + b"\n")
            except OSError as error:
                raise cannot_write(directory, error) from error

    def __iter__(self) -> Iterator[Case]:
        self._file.seek(0)
        for line in self._file:
            record = orjson.loads(line)
            yield Case(prompt=tuple(Message(**message) for message in record.pop("prompt")), **record)

    def __enter__(self) -> _PutBy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
