"""What a judge chose, from a folder that holds its verdicts: a checked dataset, or an evaluation."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from whoseboat import metric
from whoseboat.agreement.keys import SIDES
from whoseboat.errors import DataError, UsageError, unknown
from whoseboat.files import LocalFile, records
from whoseboat.judge import CERTAINTIES
from whoseboat.metric import Outcome

CHECKS, VERDICTS = "checks.parquet", "verdicts.parquet"
# The check whose value says whether a judge, shown a persona, found the response it was inferred from.
ACCURACY = "accuracy"
# What people choose between in an evaluation.
MODEL, BASELINE, TIE = "model", "baseline", "tie"
CHOICES: Mapping[str, str] = {name: name for name in (MODEL, BASELINE, TIE)}
_OUTCOMES: Mapping[Outcome, str | None] = {"win": MODEL, "loss": BASELINE, "tie": TIE, "missing": None}
# The other way round: of the model, by what was chosen.
OUTCOMES: Mapping[str | None, Outcome] = {choice: outcome for outcome, choice in _OUTCOMES.items()}
_VERDICTS = {MODEL: "A", BASELINE: "B", TIE: "tie"}

# What is judged: pair and side of the persona, or model and case.
Place = tuple[str, str]


@dataclass(frozen=True)
class Choices:
    """What a judge chose, by what it judged; None where it could not be read.

    `of` is what the folder is; `judge` is what its verdicts are called, where it says so. `roots` are conversations,
    and `certainties` how sure the judge was, of its two verdicts the less sure one, where these are known.
    """

    of: Literal["dataset", "evaluation"]
    chosen: Mapping[Place, str | None]
    judge: str = ""
    roots: Mapping[Place, str] = field(default_factory=dict)
    certainties: Mapping[Place, str] = field(default_factory=dict)


def kind_of(folder: Path) -> Literal["dataset", "evaluation"]:
    """Return which of the two a folder is, by its file.

    Raises:
        UsageError: it is neither.

    """
    if (folder / VERDICTS).is_file():
        return "evaluation"
    if (folder / CHECKS).is_file():
        return "dataset"
    raise UsageError(
        "no verdicts of a judge in the folder given as --against",
        where=str(folder),
        expected=f"{CHECKS} (a dataset folder that was checked) or {VERDICTS} (an evaluation)",
    )


def read_choices(folder: Path, question: str | None = None) -> Choices:
    """Return what the judge of a folder chose.

    Args:
        folder: a dataset folder with its checks, or an evaluation.
        question: of an evaluation, which one the people answered; without it the one it asked.

    Raises:
        UsageError: the folder is neither, or the question was not asked.
        DataError: there is no verdict in it.

    """
    if kind_of(folder) == "evaluation":
        return _of_evaluation(folder, question)
    if question is not None:
        raise UsageError("--question is of use with an evaluation only", found=question)
    return _of_checks(folder)


def judged_ids(folder: Path) -> frozenset[str] | None:
    """Return the ids of the pairs a judge was asked about in the checks of a dataset; None where no judge was."""
    chosen = _chosen_in_checks(folder) if (folder / CHECKS).is_file() else {}
    return frozenset(id_ for id_, _ in chosen) or None


def _chosen_in_checks(folder: Path) -> dict[Place, str | None]:
    return {
        (row["id"], row["side"]): _response(row["value"], row["side"])
        for row in _rows(folder / CHECKS, ("id", "side", "check", "value"))
        if row["check"] == ACCURACY and row["side"] in SIDES
    }


def _of_checks(folder: Path) -> Choices:
    chosen = _chosen_in_checks(folder)
    if not chosen:
        raise DataError(
            "no judge was asked in these checks",
            where=str(folder / CHECKS),
            expected=f"rows of the check {ACCURACY!r}",
            todo="check the folder with a judge first",
        )
    return Choices("dataset", chosen, _judge_of(folder / "checks.json"))


def _judge_of(path: Path) -> str:
    """Return what the verdicts of a folder are called, by the file that tells of them; empty where it does not."""
    try:
        return str(json.loads(path.read_bytes())["judge"]["label"])
    except (OSError, ValueError, KeyError, TypeError):  # verdicts alone will do: only their name is not known
        return ""


def _response(value: float | None, side: str) -> str | None:
    """Return the response a judge took for a persona's, from how right that was."""
    if value is None:
        return None
    other = SIDES[side == SIDES[0]]
    return TIE if 0 < value < 1 else side if value == 1 else other


def _of_evaluation(folder: Path, question: str | None) -> Choices:
    columns = ("model", "case", "root", "question", "order", "choice", "certainty")
    rows = list(_rows(folder / VERDICTS, columns))
    asked = sorted({row["question"] for row in rows})
    if question is not None and question not in asked:
        raise unknown("question", question, asked)
    if question is None and len(asked) > 1:
        raise UsageError(
            "the evaluation asked several questions",
            where=str(folder),
            found=", ".join(asked),
            todo="say which one people answered: --question",
        )
    verdicts: dict[Place, dict[int, Any]] = defaultdict(dict)
    for row in rows:
        if row["question"] == (question or asked[0]):
            verdicts[row["model"], row["case"]][row["order"]] = row
    whole = {place: orders for place, orders in verdicts.items() if orders.keys() >= {1, 2}}
    if not whole:
        raise DataError("no verdict in this evaluation", where=str(folder / VERDICTS))
    first, second = ([_VERDICTS.get(of[n]["choice"], "unreadable") for of in whole.values()] for n in (1, 2))
    outcomes = metric.outcomes(first, second)
    sure = {place: word for place, orders in whole.items() if (word := _less_sure(orders[1], orders[2])) is not None}
    return Choices(
        "evaluation",
        {place: _OUTCOMES[outcome] for place, outcome in zip(whole, outcomes, strict=True)},
        _judge_of(folder / "evaluation.json"),
        {place: orders[1]["root"] for place, orders in whole.items()},
        sure,
    )


def _less_sure(*rows: Mapping[str, Any]) -> str | None:
    words = [row["certainty"] for row in rows]
    return None if any(word not in CERTAINTIES for word in words) else max(words, key=CERTAINTIES.index)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for number, row in records(LocalFile(path.name, path), columns):
        if number == 1:
            missing = [name for name in columns if name not in row]
            if missing:
                raise DataError("a file without columns of ours", where=str(path), expected=", ".join(missing))
        yield row
