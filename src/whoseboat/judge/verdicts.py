"""What is judged, and what a judge said of it: records, and the reading of replies. Pure, strict, never a guess.

A reply is read after what a model thought is taken off it. In the form `choice` it is one of these, and nothing more:

```
1   2   tie                                  in any case, with white space, a pair of " and one full stop around it
{"choice": "1", "certainty": "certain"}      the choice a string or a number; the certainty may be left out
```

and for a score 1 to 5 in place of the choice, and `score` in place of the word. In the form `rubric` it is any text
that ends with `[RESULT]` and A, B or tie, or a score, with `[RESULT]` nowhere else.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from whoseboat.personas import Unusable, spoken
from whoseboat.records import Message, one_line, root_of
from whoseboat.redaction import redact

Form = Literal["choice", "rubric"]
FORMS: tuple[Form, ...] = ("choice", "rubric")
Order = Literal[1, 2]
ORDERS: tuple[Order, Order] = (1, 2)
Choice = Literal["A", "B", "tie", "unreadable"]
Response = Literal["A", "B"]

# The words a judge is given for how sure it is, the surest first.
CERTAINTIES = ("certain", "fairly certain", "unsure", "guessing")
_MOST_SHOWN = 200

_CHOICES = {"1": "1", "2": "2", "tie": "tie"}
_RUBRIC_CHOICES = {"a": "1", "b": "2", "tie": "tie"}
_SCORES = {score: score for score in "12345"}
_BARE = re.compile(r'(?:"([0-9]|tie)"|([0-9]|tie))\.?', re.IGNORECASE | re.ASCII)
_RESULT = "[RESULT]"
_RUBRIC = re.compile(r"[ \t]*(A|B|tie|Tie|TIE|[1-5])")


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to judge: a conversation and one or two responses to it; or two personas.

    Args:
        id: what the caller knows it by.
        prompt: the conversation as the user had it: without the persona, which it would give away. For questions that
            compare personas it is empty: they show none.
        first: the response that verdicts call A; or the persona, where two of them are compared.
        second: the response they call B; none where single responses are scored.
        persona: the persona that is asked about, where one is.
        root: what clusters cases; without it the first user turn, normalised.
        words: what a person said, where that is asked about.

    Raises:
        ValueError: there is no turn of a user.
        UnicodeEncodeError: a text holds a lone surrogate, which no request can carry; a ValueError too.

    """

    id: str
    prompt: tuple[Message, ...]
    first: str
    second: str | None = None
    persona: str | None = None
    root: str = ""
    words: str | None = None

    def __post_init__(self) -> None:
        for text in (*(message.content for message in self.prompt), self.first, self.second, self.persona, self.words):
            (text or "").encode()
        if not self.root:
            said = next((message.content for message in self.prompt if message.role == "user"), None)
            if said is None:
                raise ValueError("the prompt has no turn of a user")
            object.__setattr__(self, "root", root_of(said))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of the two responses of a case in one order.

    `choice` is relative to the case, never to what was shown first: "A" is its first response. `said` is what the judge
    said of the places: "1" is what was shown first; None where nothing could be read. In order 1 the case's first
    response is shown first, in order 2 its second. `certainty` is one of `CERTAINTIES`, None where it was not asked for
    or could not be read. `failed` is the reason in a word where a request got no answer; its choice is "unreadable",
    too. `detail` says more of what was unreadable or failed, on one line.
    """

    case: str
    question: str
    order: Order
    choice: Choice
    said: str | None
    certainty: str | None = None
    failed: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """What a judge said of one response of a case: 1 to 5, None where nothing could be read or the request failed."""

    case: str
    question: str
    response: Response
    score: int | None
    certainty: str | None = None
    failed: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A case and its verdicts: one in each order."""

    case: Case
    verdicts: tuple[Verdict, Verdict]


@dataclass(frozen=True, slots=True)
class Scored:
    """A case and the scores of its responses."""

    case: Case
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says: a place ("1", "2" or "tie") or a score ("1" to "5"), and a certainty where there is one."""

    said: str
    certainty: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply that is no verdict, and what is wrong with it in words a model can be told."""

    problem: str
    reply: str

    @property
    def detail(self) -> str:
        """What is wrong, with the beginning of the reply; keys are taken out first: half of one would not be known."""
        return f"{self.problem}: {redact(self.reply)[0][:_MOST_SHOWN]}"


Outcome = Reading | Unreadable


def read_choice(reply: str, form: Form = "choice") -> Reading | Unreadable:
    """Read which of two responses a reply chooses."""
    if form == "rubric":
        return _read_rubric(reply, _RUBRIC_CHOICES, "A, B or tie")
    return _read_plain(reply, "choice", _CHOICES, "1, 2 nor tie")


def read_score(reply: str, form: Form = "choice") -> Reading | Unreadable:
    """Read the score from 1 to 5 a reply gives."""
    if form == "rubric":
        return _read_rubric(reply, _SCORES, "a whole number from 1 to 5")
    return _read_plain(reply, "score", _SCORES, "a whole number from 1 to 5 nor JSON that holds one")


def _read_plain(reply: str, name: str, known: Mapping[str, str], wanted: str) -> Reading | Unreadable:
    text = spoken(reply).strip()
    if not text:
        return Unreadable("the reply is empty", reply)
    if text.startswith("{"):
        return _read_json(text, name, known)
    bare = _BARE.fullmatch(text)
    said = known.get((bare[1] or bare[2]).lower()) if bare else None
    return Reading(said) if said else Unreadable(f"the reply is neither {wanted}", text)


def _read_json(text: str, name: str, known: Mapping[str, str]) -> Reading | Unreadable:
    """Read a JSON object that holds a choice or a score, perhaps a certainty, and each once."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return Unreadable("the reply is broken JSON", text)
    record: dict[str, Any] = dict(pairs)
    if len(record) != len(pairs) or name not in record or not record.keys() <= {name, "certainty"}:
        return Unreadable(f'the JSON is no object of one "{name}" and at most a "certainty"', text)
    value = record[name]
    said = value.strip().lower() if isinstance(value, str) else str(value) if type(value) is int else ""
    if said not in known:
        return Unreadable(f'the "{name}" is none that was asked for', text)
    return Reading(known[said], _certainty(record.get("certainty")))


def _certainty(value: object) -> str | None:
    """Return a certainty of the list, None for anything else."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word in CERTAINTIES else None


def _read_rubric(reply: str, known: Mapping[str, str], wanted: str) -> Reading | Unreadable:
    text = spoken(reply).strip()
    _, mark, result = text.rpartition(_RESULT)
    found = _RUBRIC.fullmatch(result) if text.count(_RESULT) == 1 else None
    if found and found[1].lower() in known:
        return Reading(known[found[1].lower()])
    if not mark:
        return Unreadable(f"there is no {_RESULT} in it", text)
    return Unreadable(f"it does not end with the one {_RESULT} and {wanted}", text)


def relative(said: str, order: Order) -> Choice:
    """Return which response of the case a judge chose, from the place it named and the order they were shown in."""
    if said == "tie":
        return "tie"
    return "A" if (said == "1") == (order == 1) else "B"


def verdict_of(case: Case, question: str, order: Order, outcome: Outcome | Unusable) -> Verdict:
    """Return the verdict that came of asking about a case in one order."""
    if isinstance(outcome, Unusable):
        return Verdict(case.id, question, order, "unreadable", None, None, outcome.reason, one_line(outcome.detail))
    if isinstance(outcome, Unreadable):
        return Verdict(case.id, question, order, "unreadable", None, detail=one_line(outcome.detail))
    return Verdict(case.id, question, order, relative(outcome.said, order), outcome.said, outcome.certainty)


def score_of(case: Case, question: str, order: Order, outcome: Outcome | Unusable) -> Score:
    """Return the score that came of asking about one response of a case: in order 1 its first."""
    response = relative("1", order)
    assert response in ("A", "B")  # noqa: S101 - which of the two it is
    if isinstance(outcome, Unusable):
        return Score(case.id, question, response, None, None, outcome.reason, one_line(outcome.detail))
    if isinstance(outcome, Unreadable):
        return Score(case.id, question, response, None, detail=one_line(outcome.detail))
    return Score(case.id, question, response, int(outcome.said), outcome.certainty)


@dataclass(frozen=True, slots=True)
class CertaintyRow:
    """How often verdicts of one certainty were right, and ties, of `n`; the certainty is None where it was unreadable.

    A tie is right where the truth is a tie.
    """

    certainty: str | None
    n: int
    right: int
    ties: int


def accuracy_by_certainty(verdicts: Iterable[tuple[Verdict, Choice]]) -> list[CertaintyRow]:
    """Count, for each certainty, how many verdicts were right, the surest first.

    Verdicts that could not be read or failed are left out: they have neither a choice nor a certainty.

    Args:
        verdicts: each with what would have been right.

    """
    n: Counter[str | None] = Counter()
    right: Counter[str | None] = Counter()
    ties: Counter[str | None] = Counter()
    for verdict, truth in verdicts:
        if verdict.choice != "unreadable":
            n[verdict.certainty] += 1
            right[verdict.certainty] += verdict.choice == truth
            ties[verdict.certainty] += verdict.choice == "tie"
    return [CertaintyRow(word, n[word], right[word], ties[word]) for word in (*CERTAINTIES, None) if n[word]]
