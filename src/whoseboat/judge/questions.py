"""What a judge is asked: questions, the templates that ask them, and the messages made of a case. Pure.

Templates are `judge_QUESTION*.jinja` for the form `choice` and `rubric_QUESTION*.jinja` for the form `rubric`, the
layout of judges that were trained on a task description, an instruction, responses and a score rubric. A directory of
one's own (`--prompts DIR`) holds those it wants instead of ours, and may hold `judge_repair*.jinja`, which is said to a
reply that cannot be read. As in `whoseboat.prompts` a template is two macros or plain text. They are given:

```
system   certainty                      the words for a certainty, none where it is not asked for
user     turns, conversation            the conversation, as messages and as text
         first, second                  the responses in the order they are shown; or `response`, where one is scored
         persona                        for questions about a user
         words                          for `whose_words`: what a person said
         fence                          letters that occur in none of these texts, the same whatever the order
         certainty
repair   problem, form, scale, certainty
```

Questions that compare personas are shown no conversation: there `first` and `second` are personas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources.abc import Traversable
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

from whoseboat.errors import DataError, unknown
from whoseboat.judge.verdicts import (
    CERTAINTIES,
    Case,
    Form,
    Order,
    Reading,
    Unreadable,
    read_choice,
    read_score,
)
from whoseboat.personas import spoken
from whoseboat.prompts import Messages, Template, conversation, home_of, load_template
from whoseboat.records import Message

# Which response is the better answer (no persona is shown); which serves this persona better; which it would pick.
PairQuestion = Literal["quality", "serves", "picks"]
# Which of two personas is preferred overall (nothing else is shown); which describes the person who said this better.
PersonaQuestion = Literal["persona_preference", "whose_words"]
Comparison = PairQuestion | PersonaQuestion
# From 1 to 5: how good the answer is (no persona is shown); how well it suits this persona.
ScoreQuestion = Literal["quality_score", "personalization_score"]
Question = Comparison | ScoreQuestion
PAIR_QUESTIONS: tuple[PairQuestion, ...] = get_args(PairQuestion)
PERSONA_QUESTIONS: tuple[PersonaQuestion, ...] = get_args(PersonaQuestion)
COMPARISONS: tuple[Comparison, ...] = (*PAIR_QUESTIONS, *PERSONA_QUESTIONS)
SCORE_QUESTIONS: tuple[ScoreQuestion, ...] = get_args(ScoreQuestion)
QUESTIONS: tuple[Question, ...] = (*COMPARISONS, *SCORE_QUESTIONS)
ABOUT_A_PERSONA = frozenset({"serves", "picks", "personalization_score"})
ABOUT_WORDS = frozenset({"whose_words"})

_PREFIXES: Mapping[Form, str] = {"choice": "judge", "rubric": "rubric"}
_REPAIR = "judge_repair."
# So much of a reply that cannot be read is shown to the model again.
_MOST_REPEATED = 2_000
# Half as many as the letters and digits of a fence.
_FENCE_BYTES = 4
_TRIED = Case("", (Message("user", "a request"),), "this", "that", "a persona", words="words")


@dataclass(frozen=True)
class Asked:
    """A question as it is asked: its template, and how a reply to it is read."""

    question: Question
    form: Form
    certainty: bool
    template: Template
    correction: Template
    is_own: bool

    @property
    def name(self) -> str:
        """The name of the template, with its version."""
        return self.template.name

    @property
    def is_scale(self) -> bool:
        """Whether single responses are scored."""
        return self.question in SCORE_QUESTIONS

    @cached_property
    def digest(self) -> str:
        """A hash of all text that is not the case's."""
        texts = [self.template.content, self.correction.content]
        return hashlib.blake2b(b"\0".join(texts), digest_size=16).hexdigest()

    @property
    def files(self) -> dict[str, bytes]:
        """The templates, by their path below `prompts/`."""
        return {f"prompts/{template.name}.jinja": template.content for template in (self.template, self.correction)}

    @property
    def response_format(self) -> dict[str, Any] | None:
        """The form of reply asked for where the server has it; feedback before a result needs none."""
        return None if self.form == "rubric" else _schema(is_scale=self.is_scale, certainty=self.certainty)

    def read(self, reply: str) -> Reading | Unreadable:
        """Read a reply; a certainty that was not asked for is none."""
        found = read_score(reply, self.form) if self.is_scale else read_choice(reply, self.form)
        return found if self.certainty or isinstance(found, Unreadable) else replace(found, certainty=None)

    def messages(self, case: Case, order: Order) -> Messages:
        """Return the request about a case; where single responses are scored, `order` is which of them.

        Raises:
            PromptError: the template cannot be rendered for this case.

        """
        return self.template.messages(_values(self.question, case, order, self.certainty))

    def repair(self, messages: Messages, reply: str, problem: str) -> Messages:
        """Return the request that asks once more, saying what was wrong with a reply."""
        shown = spoken(reply).strip()[:_MOST_REPEATED] or "(no answer)"
        said = self.correction.messages(
            {"problem": problem, **_fixed_of_repair(self.question, self.form, self.certainty)}
        )
        return [*messages, {"role": "assistant", "content": shown}, said[-1]]


def deliberate(asked: Asked, case: Case, order: Order) -> Generator[Messages, str, Reading | Unreadable]:
    """Ask a judge about a case; where its reply cannot be read, say what was wrong and ask once more."""
    messages = asked.messages(case, order)
    reply = yield messages
    found = asked.read(reply)
    if isinstance(found, Unreadable):
        found = asked.read((yield asked.repair(messages, reply, found.problem)))
    return found


def load(question: Question, form: Form = "choice", *, certainty: bool = False, prompts: Path | None = None) -> Asked:
    """Load the templates of a question from a directory, ours where it has none or none is named.

    Raises:
        UsageError: there is no such question.
        DataError: the directory holds no template of this form, one that no question has, or one that is not as it
            should be.

    """
    if question not in QUESTIONS:
        raise unknown("question", question, QUESTIONS)
    ours, home = home_of(None), home_of(prompts)
    if prompts is not None:
        _check_names(home, form)
    values = _values(question, _TRIED, 1, certainty)
    fixed = {"certainty": values["certainty"]}
    stem = f"{_PREFIXES[form]}_{question}."
    own = load_template(home, stem, fixed, values) if prompts is not None else None
    template = own or load_template(ours, stem, fixed, values)
    told = {"problem": "a problem", **_fixed_of_repair(question, form, certainty)}
    correction = load_template(home, _REPAIR, fixed, told) or load_template(ours, _REPAIR, fixed, told)
    assert template is not None  # noqa: S101 - shipped with the package
    assert correction is not None  # noqa: S101
    asked = Asked(question, form, certainty, template, correction, own is not None)
    _try(asked, home if own else ours)
    return asked


def check(case: Case, question: Question) -> None:
    """Check that a case has what is asked about.

    Raises:
        DataError: it lacks its second response, its persona, or the words it is about.

    """
    if question in COMPARISONS and case.second is None:
        lacking = "persona" if question in PERSONA_QUESTIONS else "response"
        raise DataError(f"a case without a second {lacking}", where=f"case {case.id}", expected=f"two, for {question}")
    if question in ABOUT_A_PERSONA and not (case.persona or "").strip():
        raise DataError("a case without a persona", where=f"case {case.id}", expected=f"one, for {question}")
    if question in ABOUT_WORDS and not (case.words or "").strip():
        raise DataError("a case without words of a person", where=f"case {case.id}", expected=f"some, for {question}")


def _check_names(home: Traversable, form: Form) -> None:
    """Raise DataError where a directory has no template of the form, or one whose name would pass unnoticed."""
    names = sorted(entry.name for entry in home.iterdir() if entry.name.endswith(".jinja"))
    ours = [name for name in names if name.startswith(tuple(f"{prefix}_" for prefix in _PREFIXES.values()))]
    stems = {_REPAIR, *(f"{prefix}_{question}." for prefix in _PREFIXES.values() for question in QUESTIONS)}
    expected = ", ".join(f"{_PREFIXES[form]}_{question}*.jinja" for question in QUESTIONS)
    lost = [name for name in ours if not name.startswith(tuple(stems))]
    if lost:
        raise DataError("a template of no question", where=str(home), expected=expected, found=", ".join(lost[:5]))
    if not any(name.startswith(f"{_PREFIXES[form]}_") and not name.startswith(_REPAIR) for name in ours):
        raise DataError(
            "the directory holds no template for a judge",
            where=str(home),
            expected=f"one or more of {expected}",
            found=", ".join(names[:5]) or "no template",
        )


def _try(asked: Asked, home: Traversable) -> None:
    """Raise DataError where a template does not show what it asks about."""
    told = _unmarked(asked, _TRIED)
    changed = {"response" if asked.is_scale else "first": replace(_TRIED, first="another one")}
    if not asked.is_scale:
        changed["second"] = replace(_TRIED, second="another one")
    if asked.question in ABOUT_A_PERSONA:
        changed["persona"] = replace(_TRIED, persona="another one")
    if asked.question in ABOUT_WORDS:
        changed["words"] = replace(_TRIED, words="others")
    unseen = [name for name, case in changed.items() if _unmarked(asked, case) == told]
    if unseen:
        raise DataError(
            "the template does not show all that it asks about",
            where=f"{home}/{asked.name}.jinja",
            expected=", ".join(f"{{{{ {name} }}}}" for name in unseen),
        )


def _unmarked(asked: Asked, case: Case) -> str:
    """Return what is asked about a case without the fence, which differs where a text does."""
    return str(asked.messages(case, 1)).replace(_values(asked.question, case, 1, asked.certainty)["fence"], "")


def _values(question: Question, case: Case, order: Order, certainty: bool) -> dict[str, Any]:
    """Return what the user message is given: only what is asked about, so that nothing else changes the request."""
    first, second = (case.first, case.second) if order == 1 else (case.second, case.first)
    shown = {"response": first} if question in SCORE_QUESTIONS else {"first": first, "second": second}
    if question in ABOUT_A_PERSONA:
        shown["persona"] = case.persona
    if question in ABOUT_WORDS:
        shown["words"] = case.words
    turns = () if question in PERSONA_QUESTIONS else case.prompt
    talk = {} if question in PERSONA_QUESTIONS else {"turns": turns, "conversation": conversation(turns)}
    texts = [*(turn.content for turn in turns), *(text or "" for text in shown.values())]
    return {
        **talk,
        **shown,
        "fence": fence(texts),
        "certainty": CERTAINTIES if certainty else (),
    }


def _fixed_of_repair(question: Question, form: Form, certainty: bool) -> dict[str, Any]:
    return {"form": form, "scale": question in SCORE_QUESTIONS, "certainty": CERTAINTIES if certainty else ()}


def fence(texts: Sequence[str]) -> str:
    """Return eight letters and digits that occur in none of these texts, the same for the same texts in any order.

    What is judged stands between marks that carry them, so that no text can close its mark and pass for another part.
    """
    digests = b"".join(sorted(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts))
    lower = [text.lower() for text in texts]
    for attempt in count():
        mark = hashlib.blake2b(digests + attempt.to_bytes(4), digest_size=_FENCE_BYTES).hexdigest()
        if not any(mark in text for text in lower):
            return mark
    raise AssertionError("the count has no end")


def _schema(*, is_scale: bool, certainty: bool) -> dict[str, Any]:
    name, values = ("score", [*"12345"]) if is_scale else ("choice", ["1", "2", "tie"])
    properties: dict[str, Any] = {name: {"type": "string", "enum": values}}
    if certainty:
        properties["certainty"] = {"type": "string", "enum": list(CERTAINTIES)}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
