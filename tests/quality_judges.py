"""Pairs whose personas a judge can read, and judges that do as they are told: providers like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from whoseboat.judge import Case, Comparison, Judged, Progress
from whoseboat.judge.verdicts import Order, Outcome, Reading, Unreadable, verdict_of
from whoseboat.metric import Figure
from whoseboat.personas import Unusable
from whoseboat.quality.findings import Checked
from whoseboat.quality.pairs import CheckedPair
from whoseboat.records import Message, root_of

SECRET = "https://ann:" + "kind-of-blue@example.org"
# What a judge says of a case in an order: a place, "?" for what is no verdict, "!" for a request that failed.
Say = Callable[[Case, Order], str]


def pair(number: int, **fields: Any) -> CheckedPair:  # noqa: ANN401
    """Return a pair; each persona ends with the word that its own response begins with."""
    said = fields.pop("said", f"Question {number:03}?")
    made: dict[str, Any] = {
        "id": f"id-{number:03}",
        "split": "train",
        "prompt": (Message("user", said),),
        "chosen": f"good{number:03} answer",
        "rejected": f"poor{number:03} answer",
        "chosen_persona": f"The user likes good{number:03}",
        "rejected_persona": f"The user likes poor{number:03}",
        "persona_engine": "toy-engine",
        "root": root_of(said),
    }
    return CheckedPair(**{**made, **fields})


def pairs(count: int, **fields: Any) -> list[CheckedPair]:  # noqa: ANN401
    """Return pairs of as many conversations."""
    return [pair(number, **fields) for number in range(count)]


@dataclass
class ScriptedJudge:
    """A judge that says what a function says; what it was asked is in `asked`."""

    say: Say
    name: str = "scripted"
    asked: list[tuple[str, Case]] = field(default_factory=list)

    def compare(
        self, cases: Iterable[Case], question: Comparison, on_progress: Callable[[Progress], None] | None = None
    ) -> Iterator[Judged]:
        """Say it of every case in both orders."""
        progress = Progress()
        for case in cases:
            self.asked.append((question, case))
            first = verdict_of(case, question, 1, _outcome(self.say(case, 1)))
            yield Judged(case, (first, verdict_of(case, question, 2, _outcome(self.say(case, 2)))))
            progress.cases += 1
            if on_progress is not None:
                on_progress(progress)


def _outcome(said: str) -> Outcome | Unusable:
    if said == "?":
        return Unreadable("the reply is none", f"see {SECRET}\nor not")
    return Unusable("http_500", "the server fell over") if said == "!" else Reading(said)


def shown(case: Case, order: Order) -> tuple[str, str]:
    """Return both texts as they are shown."""
    return (case.first, case.second or "") if order == 1 else (case.second or "", case.first)


def right(case: Case, order: Order) -> str:
    """Name the response the persona names, a tie where it names neither."""
    wanted = (case.persona or "").split()[-1]
    places = [place for place, text in zip("12", shown(case, order), strict=True) if text.split()[0] == wanted]
    return places[0] if places else "tie"


def longer(case: Case, order: Order) -> str:
    """Name the longer text, whoever asks."""
    first, second = map(len, shown(case, order))
    return "1" if first > second else "2" if second > first else "tie"


def figure(checked: Checked, name: str, side: str = "both", part: str = "") -> Figure:
    """Return the one figure of this name, side and part."""
    (found,) = [one.figure for one in checked.figures if (one.name, one.side, one.part) == (name, side, part)]
    return found


def value(checked: Checked, name: str, side: str = "both", part: str = "") -> float | None:
    """Return the value of a figure."""
    return figure(checked, name, side, part).value
