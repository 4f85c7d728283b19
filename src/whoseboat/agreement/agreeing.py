"""How far people agree with the truth, with a judge and with each other, from what they filled in."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from whoseboat import metric
from whoseboat.agreement.coefficients import MOST_CATEGORIES, majority
from whoseboat.agreement.comparing import Confusion, Item, Measured, confusions_of, of_choices, of_quality
from whoseboat.agreement.judged import BASELINE, CHOICES, MODEL, OUTCOMES, TIE, Choices, kind_of, read_choices
from whoseboat.agreement.keys import SIDES, KeyRow, read_key, row_of
from whoseboat.agreement.marks import PLACES, Beside, Mark, Sheets, read_sheets
from whoseboat.errors import DataError, UsageError
from whoseboat.metric import BOOTSTRAP, Bootstrap

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Agreement:
    """What `agree` found: figures, tables of labels met, counts, and in sentences what a reader should know."""

    figures: tuple[Measured, ...]
    confusions: tuple[Confusion, ...] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return asdict(self)


def agree(
    sheets: Sequence[PathLike] | PathLike,
    *,
    key: PathLike | None = None,
    against: PathLike | None = None,
    question: str | None = None,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Agreement:
    """Say how far people agree with the truth, with a judge and with each other.

    Args:
        sheets: what people filled in: sheets of `export_sheets`, or tables with the columns `human` and `judge`.
        key: the key of the sheets, which says what stood first.
        against: a folder with the judge's verdicts: a dataset folder that was checked; or an evaluation, where items
            are its cases and choices `model`, `baseline` or `tie`.
        question: of an evaluation, which question people answered.
        bootstrap: draws, confidence and seed of the intervals.

    Raises:
        UsageError: the files do not go together.
        DataError: a file is not what it should be, or nothing can be said of it.

    """
    paths = [Path(sheets)] if isinstance(sheets, str | os.PathLike) else [Path(sheet) for sheet in sheets]
    of_evaluation = against is not None and kind_of(Path(against)) == "evaluation"
    if of_evaluation and key is not None:
        raise UsageError(
            "a key and an evaluation do not go together",
            found="sheets with a key are of the dataset's own responses; the evaluation is of models' responses",
            todo="leave out --key: items are then the evaluation's cases, and choices model, baseline or tie",
        )
    if question is not None and against is None:
        raise UsageError("--question is of use with --against only", found=question)
    found = read_sheets(paths, CHOICES if of_evaluation else PLACES)
    if found.beside and (key is not None or against is not None):
        raise UsageError(
            "tables with the columns human and judge need nothing else", todo="leave out --key and --against"
        )
    choices = None if against is None else read_choices(Path(against), question)
    rows = None if key is None else read_key(Path(key))
    if choices is not None and rows is None and not of_evaluation:
        raise UsageError(
            "the judge's verdicts cannot be told to belong to items without the key", todo="name it: --key KEY.csv"
        )
    return _agreement(found, rows, choices, bootstrap)


def _agreement(
    found: Sheets, key: Mapping[str, KeyRow] | None, choices: Choices | None, bootstrap: Bootstrap
) -> Agreement:
    figures: list[Measured] = []
    confusions: list[Confusion] = []
    problems: list[str] = []
    if found.beside:
        items, labels = _items_beside(found.beside)
        figures += of_choices("labels", items, labels, bootstrap)
        confusions += confusions_of("labels", items, labels)
    if found.pairs:
        items, labels = _items(found.pairs, key, choices)
        figures += of_choices("pairs", items, labels, bootstrap)
        confusions += confusions_of("pairs", items, labels)
        problems += _about_judge(items, choices)
        if choices is not None and choices.of == "evaluation":
            corrected, without = _corrected(items, choices, bootstrap)
            figures += corrected
            problems += without
    if found.quality:
        figures += of_quality(found.quality, key, bootstrap)
        if choices is not None and not found.pairs:
            problems.append("no sheet of pairs was given, so the judge's verdicts were compared with nothing")
    if not figures:
        raise DataError(
            "nothing to compare with",
            expected="two labellers of one item; or --key, which knows the truth; or --against FOLDER",
            found="one labeller, and no key",
        )
    counts = _counts(found)
    if found.unfilled:
        rows = "1 row of the sheets has" if found.unfilled == 1 else f"{found.unfilled:,} rows of the sheets have"
        problems.append(f"{rows} no answer and count{'s' * (found.unfilled == 1)} nowhere")
    return Agreement(tuple(figures), tuple(confusions), counts, tuple(problems))


def _counts(found: Sheets) -> dict[str, Any]:
    marks: Mapping[str, Sequence[Mark | Beside]] = {
        "pairs": found.pairs,
        "quality": found.quality,
        "labels": found.beside,
    }
    counted = {
        name: {
            "items": len({(mark.item, getattr(mark, "model", "")) for mark in of}),
            "answers": len(of),
            "labellers": dict(sorted(Counter(mark.labeller for mark in of).items())),
        }
        for name, of in marks.items()
        if of
    }
    return {**counted, "unfilled": found.unfilled}


def _items_beside(rows: Iterable[Beside]) -> tuple[list[Item], tuple[str, ...]]:
    """Return items of a table of labels, and the labels that occur."""
    items: dict[str, Item] = {}
    for row in rows:
        item = items.setdefault(row.item, Item(row.item, row.root, judge=row.judge))
        if (item.judge, item.root) != (row.judge, row.root):
            raise DataError(
                f"one item, and two labels of the judge or two roots: {row.item!r}",
                where=row.where,
                expected=f"judge {item.judge!r}, root {item.root!r}, as in an earlier row",
                found=f"judge {row.judge!r}, root {row.root!r}",
            )
        item.labels[row.labeller] = row.human
        if row.certainty is not None:
            item.certainties[row.labeller] = row.certainty
    labels = {label for item in items.values() for label in (*item.labels.values(), item.judge) if label is not None}
    if len(labels) > MOST_CATEGORIES:
        raise DataError(
            "too many different labels",
            expected=f"at most {MOST_CATEGORIES}: names of categories, or a scale",
            found=f"{len(labels)}, such as {', '.join(sorted(labels)[:3])}",
        )
    return list(items.values()), tuple(sorted(labels))


def _items(
    marks: Iterable[Mark], key: Mapping[str, KeyRow] | None, choices: Choices | None
) -> tuple[list[Item], tuple[str, ...]]:
    """Return items of pair sheets, and the labels there may be.

    With the key labels are the sides of responses, and no places, so that they mean the same on every sheet.
    """
    items: dict[tuple[str, str], Item] = {}
    models: dict[str, list[str]] = defaultdict(list)
    of_evaluation = choices is not None and choices.of == "evaluation"
    for model, case in choices.chosen if choices is not None and of_evaluation else ():
        models[case].append(model)
    for mark in marks:
        name = _place(mark, models.get(mark.item, [])) if of_evaluation else (mark.item, "")
        row = None if key is None else row_of(key, mark.item, "pairs", mark.where)
        if name not in items:
            items[name] = _item(name, row, choices)
        items[name].labels[mark.labeller] = mark.choice if row is None else row.response(mark.choice)
        if mark.certainty is not None:
            items[name].certainties[mark.labeller] = mark.certainty
    if of_evaluation:
        return list(items.values()), (MODEL, BASELINE, TIE)
    return list(items.values()), ("1", "2", TIE) if key is None else (*SIDES, TIE)


def _item(name: tuple[str, str], row: KeyRow | None, choices: Choices | None) -> Item:
    if row is not None:
        place = row.id, row.side
        judge = None if choices is None else choices.chosen.get(place)
        return Item(name[0], row.root, truth=row.side, judge=judge, side=row.side)
    if choices is not None:
        sure = choices.certainties.get(name)
        judge = choices.chosen[name]
        return Item(name[1], choices.roots[name], judge=judge, judge_certainty=sure, model=name[0])
    return Item(name[0], name[0])


def _place(mark: Mark, models: Sequence[str]) -> tuple[str, str]:
    """Return the model and case of an evaluation that an item is; `models` are those that have the case.

    Raises:
        DataError: there is no such case, or it is one of several models.

    """
    named = sorted(model for model in models if mark.model in ("", model))
    if len(named) == 1:
        return named[0], mark.item
    raise DataError(
        f"an item the evaluation does not know: {mark.item!r}" if not named else "an item of several models",
        where=mark.where,
        expected="a value of the column case of verdicts.parquet; and a column model, where there are several",
        found=", ".join(named),
    )


def _corrected(items: Sequence[Item], choices: Choices, bootstrap: Bootstrap) -> tuple[list[Measured], list[str]]:
    """Return the win rate of each model over all its cases, corrected for the judge's error on the items.

    What more than half of the people say is taken for the truth. Beside it, in sentences, why there is none, and what a
    reader must believe.
    """
    figures, problems = [], []
    for model in sorted({item.model for item in items}):
        of_model = [item for item in items if item.model == model]
        truth = [OUTCOMES[majority(list(item.labels.values()))] for item in of_model]  # no majority: left out
        try:
            errors = metric.audit(truth, [OUTCOMES[item.judge] for item in of_model])
        except ValueError:
            problems.append(f"{model}: no corrected win rate, which takes items where people prefer either of the two")
            continue
        places = [place for place in choices.chosen if place[0] == model]
        outcomes, roots = [OUTCOMES[choices.chosen[place]] for place in places], [choices.roots[one] for one in places]
        rate = metric.corrected_win_rate(outcomes, errors, roots, bootstrap)
        figures += [
            Measured("pairs", model, "", "win rate", rate.observed),
            Measured("pairs", model, "", "win rate corrected by people", rate.figure),
        ]
    if figures:
        problems.append("a corrected win rate holds if the items are a random sample of the evaluation's cases")
    return figures, problems


def _about_judge(items: Sequence[Item], choices: Choices | None) -> Iterator[str]:
    """Say who the judge is, where that is known, and of how many items it says nothing.

    Raises:
        DataError: it is all of them.

    """
    if choices is None:
        return
    if choices.judge:
        yield f"the judge: {choices.judge}"
    silent = sum(item.judge is None for item in items)
    if silent == len(items):
        raise DataError(
            "the judge has no verdict on any of the items",
            expected="the folder of the dataset that the sheets were written from, checked",
            todo="check the folders given as --against and --key",
        )
    if silent:
        yield f"no verdict of the judge could be read for {silent:,} of {len(items):,} pairs"
