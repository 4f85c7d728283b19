"""Agreement of people with a judge and with each other: coefficients against others' programs and hand-made figures."""

from __future__ import annotations

import csv
import doctest
import importlib
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

import whoseboat
from whoseboat.agreement.coefficients import (
    MOST_CATEGORIES,
    NO_PAIR,
    ONE_CATEGORY,
    Level,
    cohen_kappa,
    krippendorff_alpha,
    majority,
)
from whoseboat.metric import Bootstrap, Figure

FEW = Bootstrap(draws=300)
Z_SQUARE = 1.959963984540054**2
RATINGS = (1, 2, 3, 4, 5)

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), C: four observers, twelve units.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def close(found: float | None, wanted: float) -> bool:
    """Say whether a figure is there, and the one that is wanted but for rounding."""
    return found is not None and math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)


def write(path: Path, head: Sequence[str], *rows: Sequence[object], separator: str = ",") -> Path:
    """Write a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(head)
        writer.writerows(rows)
    return path


def figures(found: whoseboat.Agreement, **wanted: str) -> list[Figure]:
    """Return the figures that are so."""
    part = {"part": "", **wanted}
    return [one.figure for one in found.figures if all(getattr(one, name) == value for name, value in part.items())]


def figure(found: whoseboat.Agreement, **wanted: str) -> Figure:
    """Return the one figure that is so."""
    (one,) = figures(found, **wanted)
    return one


def says(error: pytest.ExceptionInfo[whoseboat.WhoseboatError], *parts: str) -> None:
    """Check that an error says these."""
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["coefficients", "spreadsheets"])
def test_examples_run(name: str) -> None:
    """What the docstrings show is what comes out."""
    found = doctest.testmod(importlib.import_module(f"whoseboat.agreement.{name}"))
    assert found.attempted > 0
    assert found.failed == 0


def test_kappa_worked_by_hand() -> None:
    """Of 50 cases both say yes to 20 and no to 15: 0.7 agree, 0.5 would by chance."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = cohen_kappa(first, second, bootstrap=FEW)
    assert close(found.value, (0.7 - 0.5) / 0.5)
    assert (found.n, found.clusters, found.missing, found.method) == (50, 50, 0, "bootstrap")
    assert found.low is not None
    assert found.high is not None
    assert 0.05 < found.low < 0.4 < found.high < 0.7


@pytest.mark.parametrize(("level", "wanted"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_as_published(level: Level, wanted: float) -> None:
    """The worked example of its author comes out, with the labels that are missing in it."""
    found = krippendorff_alpha(list(zip(*PUBLISHED, strict=True)), level=level, bootstrap=FEW)
    assert found.value is not None
    assert round(found.value, 3) == wanted
    assert (found.n, found.missing) == (11, 1)  # of one unit there is one label alone


@pytest.mark.parametrize("seed", range(4))
def test_kappa_as_another_program_has_it(seed: int) -> None:
    """Plain and weighted kappa are those of scikit-learn."""
    draw = np.random.default_rng(seed)
    numbers = draw.integers(1, 6, 60)
    first, second = numbers.tolist(), np.clip(numbers + draw.choice((-1, 0, 0, 0, 2), 60), 1, 5).tolist()
    plain = cohen_kappa(first, second, categories=RATINGS, bootstrap=FEW)
    assert close(plain.value, cohen_kappa_score(first, second))
    weighted = cohen_kappa(first, second, categories=RATINGS, level="ordinal", bootstrap=FEW)
    assert close(weighted.value, cohen_kappa_score(first, second, labels=list(RATINGS), weights="quadratic"))


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_as_another_program_has_it(seed: int, level: Level) -> None:
    """Alpha of labellers who leave items out is that of the library of its name."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(1, 6, 40)
    numbers = np.where(draw.random((4, 40)) < 0.6, truth, draw.integers(1, 6, (4, 40))).astype(float)
    numbers[draw.random((4, 40)) < 0.2] = np.nan
    table = [[None if math.isnan(label) else int(label) for label in labels] for labels in numbers.tolist()]
    wanted = krippendorff.alpha(numbers, level_of_measurement=level, value_domain=list(RATINGS))
    found = krippendorff_alpha(list(zip(*table, strict=True)), categories=RATINGS, level=level, bootstrap=FEW)
    assert close(found.value, wanted)


def test_all_alike_has_no_kappa() -> None:
    """Where one label alone occurs nothing is beyond chance: no figure, with the reason, and no NaN."""
    for found in (cohen_kappa(["a"] * 9, ["a"] * 9), krippendorff_alpha([["a", "a"]] * 9)):
        assert (found.value, found.low, found.high, found.n, found.reason) == (None, None, None, 9, ONE_CATEGORY)


def test_nothing_to_compare_has_no_figure() -> None:
    """Where no item has two labels there is no figure, and what is there counts as missing."""
    assert cohen_kappa(["a", None], [None, "b"]).reason == NO_PAIR
    found = krippendorff_alpha([["a"], [None, "b"], []])
    assert (found.value, found.reason, found.missing) == (None, NO_PAIR, 3)


def test_who_always_agrees_has_an_interval() -> None:
    """Where all agree the interval is that of the agreement by Wilson, on the scale of kappa."""
    labels = ["a", "b"] * 20
    found = cohen_kappa(labels, labels, bootstrap=FEW)
    assert (found.value, found.high, found.method) == (1.0, 1.0, "wilson")
    assert close(found.low, 1 - (1 - 40 / (40 + Z_SQUARE)) / 0.5)
    alpha = krippendorff_alpha([[label, label] for label in labels], bootstrap=FEW)
    assert (alpha.value, alpha.method) == (1.0, "wilson")
    assert close(alpha.low, 1 - (1 - 40 / (40 + Z_SQUARE)) / (2 * 40 * 40 / (80 * 79)))


def test_pairs_of_one_conversation_count_as_one() -> None:
    """Every pair ten times over, in a cluster: the same figure and the same interval, and no narrower one."""
    draw = np.random.default_rng(1)
    first = draw.integers(0, 2, 30).tolist()
    second = np.where(draw.random(30) < 0.8, first, draw.integers(0, 2, 30)).tolist()
    once = cohen_kappa(first, second, bootstrap=FEW)
    often = cohen_kappa(first * 10, second * 10, list(range(30)) * 10, bootstrap=FEW)
    assert (often.n, often.clusters) == (300, 30)
    for name in ("value", "low", "high"):
        assert close(getattr(often, name), getattr(once, name))


def test_few_conversations_are_told() -> None:
    """Below 20 clusters the figure says that its interval is not to be trusted."""
    found = cohen_kappa(["a", "b", "a", "b"], ["a", "b", "b", "b"], bootstrap=FEW)
    assert "too few clusters (4)" in found.note


def test_what_cannot_be_is_refused() -> None:
    """Labels that are none of the categories, too many of them, and columns of two lengths."""
    with pytest.raises(ValueError, match="expected labels of"):
        cohen_kappa([1, 6], [1, 2], categories=RATINGS)
    with pytest.raises(ValueError, match="different labels"):
        cohen_kappa(list(range(MOST_CATEGORIES + 1)), list(range(MOST_CATEGORIES + 1)))
    with pytest.raises(ValueError, match="in pairs"):
        cohen_kappa(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("labels", "wanted"), [(["1", "1", "2"], "1"), (["1", "2"], None), (["1"], "1"), (["1", "2", "tie"], None)]
)
def test_majority_is_more_than_half(labels: list[str], wanted: str | None) -> None:
    """The label that more than half of the labels are, and no other."""
    assert majority(labels) == wanted


ROWS = st.lists(
    st.tuples(st.sampled_from([*"abc", None]), st.sampled_from([*"abc", None]), st.integers(0, 5)), min_size=1
)


@settings(max_examples=60)
@given(ROWS, st.randoms())
def test_no_order_and_no_name_changes_a_figure(rows: list[tuple[str | None, str | None, int]], draw: Any) -> None:  # noqa: ANN401
    """Rows in another order, clusters and labels of other names, the two labellers changed about: the same figures."""
    bootstrap = Bootstrap(draws=100)
    first, second, clusters = (list(column) for column in zip(*rows, strict=True))
    found = cohen_kappa(first, second, clusters, bootstrap=bootstrap)
    alpha = krippendorff_alpha(list(zip(first, second, strict=True)), clusters, bootstrap=bootstrap)
    for one in (found, alpha):
        assert (one.value is None) == bool(one.reason)
        assert one.value is None or -1 <= one.value <= 1
        assert one.low is None or (one.high is not None and -1 <= one.low <= one.high <= 1)
    mixed = draw.sample(rows, len(rows))
    first, second, clusters = (list(column) for column in zip(*mixed, strict=True))
    names = [f"cluster {number}" for number in clusters]
    assert cohen_kappa(first, second, names, bootstrap=bootstrap) == found
    again = krippendorff_alpha(list(zip(second, first, strict=True)), names, bootstrap=bootstrap)
    for name in ("value", "low", "high"):
        one, other = getattr(alpha, name), getattr(again, name)
        assert one == other or close(one, other)


def test_labels_beside_those_of_a_judge(tmp_path: Path) -> None:
    """The table of a stranger: accuracy, kappa, the table of labels met, and accuracy by certainty, by hand."""
    rows = [("good", "good", "certain")] * 6 + [("good", "bad", "guessing")] * 2 + [("bad", "bad", "certain")] * 2
    found = whoseboat.agree(write(tmp_path / "labels.csv", ["human", "judge", "certainty"], *rows), bootstrap=FEW)
    accuracy = figure(found, of="judge against people", measure="accuracy")
    assert (accuracy.value, accuracy.n, accuracy.clusters) == (0.8, 10, 10)
    # By chance: people say good in 8 of 10, the judge in 6.
    by_chance = 0.8 * 0.6 + 0.2 * 0.4
    assert close(figure(found, measure="Cohen's kappa").value, (0.8 - by_chance) / (1 - by_chance))
    (met,) = found.confusions
    assert (met.rows, met.columns, met.labels) == ("judge", "people", ("bad", "good"))
    assert met.counts == ((2, 2), (0, 6))
    by_certainty = {one.part: (one.figure.value, one.figure.n) for one in found.figures if one.part}
    assert by_certainty == {"certainty: certain": (1.0, 8), "certainty: guessing": (0.0, 2)}
    assert list(by_certainty) == ["certainty: certain", "certainty: guessing"]  # the surest first


def test_labels_of_a_scale_are_weighted(tmp_path: Path) -> None:
    """Where labels are ratings, a kappa that counts near ones as near stands beside the plain one."""
    human, judge = [1, 2, 3, 4, 5, 5], [1, 2, 4, 4, 4, 5]
    rows = [{"human": one, "judge": float(other)} for one, other in zip(human, judge, strict=True)]
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = whoseboat.agree(path, bootstrap=FEW)
    wanted = cohen_kappa_score(human, judge, labels=list(RATINGS), weights="quadratic")
    assert close(figure(found, measure="weighted kappa").value, wanted)


def test_several_labellers_beside_a_judge(tmp_path: Path) -> None:
    """Each label, the majority, and each labeller by name; two labels of one item are one cluster."""
    said = {"i1": "aab", "i2": "bbb", "i3": "abb", "i4": "aaa"}
    judge = {"i1": "a", "i2": "a", "i3": "b", "i4": "a"}
    rows = [
        (item, who, label, judge[item])
        for item, labels in said.items()
        for who, label in zip(("Ann", "Bo", "Cy"), labels, strict=True)
    ]
    path = write(tmp_path / "labels.csv", ["item", "labeller", "human", "judge"], *rows)
    found = whoseboat.agree(path, bootstrap=FEW)
    accuracy = {
        one.who: (one.figure.value, one.figure.n, one.figure.clusters)
        for one in found.figures
        if one.measure == "accuracy"
    }
    assert accuracy["each label"] == (7 / 12, 12, 4)
    assert accuracy["majority"] == (3 / 4, 4, 4)
    assert accuracy["Ann"] == (2 / 4, 4, 4)
    alpha = figure(found, measure="Krippendorff's alpha")
    table = [[ord(labels[who]) for labels in said.values()] for who in range(3)]
    assert close(alpha.value, krippendorff.alpha(table, level_of_measurement="nominal"))
    assert {one.who for one in found.figures if one.of == "people among themselves"} == {
        "3 labellers",
        "Ann and Bo",
        "Ann and Cy",
        "Bo and Cy",
    }


def test_choices_without_a_key_say_how_far_people_agree(tmp_path: Path) -> None:
    """Two sheets, one per labeller, named by their files; choices in any case, and as letters."""
    one = write(tmp_path / "ann.csv", ["item", "choice"], ("p1", "1"), ("p2", "A"), ("p3", "TIE"), ("p4", ""))
    two = write(tmp_path / "bo.csv", ["item", "choice"], ("p1", "1"), ("p2", "2"), ("p3", "tie"), ("p4", "b"))
    found = whoseboat.agree([one, two], bootstrap=FEW)
    kappa = figure(found, who="ann and bo")
    assert close(kappa.value, cohen_kappa_score(["1", "1", "tie"], ["1", "2", "tie"]))
    assert figure(found, measure="Krippendorff's alpha").n == 3
    assert found.counts["pairs"] == {"items": 4, "answers": 7, "labellers": {"ann": 3, "bo": 4}}
    assert found.counts["unfilled"] == 1
    assert found.problems == ("1 row of the sheets has no answer and counts nowhere",)


def test_what_spreadsheets_make_of_a_sheet_is_read(tmp_path: Path) -> None:
    """A mark at the beginning, semicolons, numbers with .0, empty rows at the end and cells without a name."""
    text = "\ufeffItem;Choice;Labeller;\r\np1;1.0;Ann;\r\np1;1;Bo;\r\np2;tie;Ann;\r\np2;2;Bo;\r\n;;;\r\n"
    path = tmp_path / "sheet.csv"
    path.write_bytes(text.encode())
    found = whoseboat.agree(path, bootstrap=FEW)
    assert found.counts == {"pairs": {"items": 2, "answers": 4, "labellers": {"Ann": 2, "Bo": 2}}, "unfilled": 0}


def test_quality_of_one_labeller_has_means(tmp_path: Path) -> None:
    """Ratings without key: the mean of each scale with what it is over; what is empty counts nowhere."""
    head = ["item", "plausible", "applicable", "harmful", "overfitted"]
    path = write(tmp_path / "ann.csv", head, ("q1", 5, 4, 1, ""), ("q2", 4, 3, 1, 2), ("q3", "", "", "", ""))
    found = whoseboat.agree(path, bootstrap=FEW)
    means = {one.of: (one.figure.value, one.figure.n) for one in found.figures if one.measure == "mean"}
    assert means == {"plausible": (4.5, 2), "applicable": (3.5, 2), "harmful": (1.0, 2), "overfitted": (2.0, 1)}
    assert {one.measure for one in found.figures} == {"mean"}


def test_quality_of_two_labellers_has_agreement(tmp_path: Path) -> None:
    """Alpha of a scale, and weighted kappa of the two, as other programs have them."""
    head = ["item", "labeller", "plausible", "applicable", "harmful", "overfitted"]
    one, two = [5, 4, 2, 1, 3], [5, 5, 2, 2, 3]
    rows = [
        (f"q{number}", who, rating, 3, 1, 1)
        for who, ratings in (("Ann", one), ("Bo", two))
        for number, rating in enumerate(ratings)
    ]
    found = whoseboat.agree(write(tmp_path / "all.csv", head, *rows), bootstrap=FEW)
    weighted = figure(found, of="plausible", measure="weighted kappa")
    assert close(weighted.value, cohen_kappa_score(one, two, labels=list(RATINGS), weights="quadratic"))
    alpha = figure(found, of="plausible", measure="Krippendorff's alpha")
    assert close(alpha.value, krippendorff.alpha([one, two], level_of_measurement="ordinal", value_domain=RATINGS))
    assert figure(found, of="harmful", measure="Krippendorff's alpha").reason == ONE_CATEGORY


def evaluation(folder: Path, *rows: tuple[str, str, str, str, str | None]) -> Path:
    """Write the verdicts of an evaluation: model, case, and the choice in both orders, and a certainty."""
    folder.mkdir()
    table = [
        {
            "model": model,
            "case": case,
            "root": f"root {case}",
            "question": "serves",
            "order": order,
            "choice": choice,
            "certainty": sure,
        }
        for model, case, first, second, sure in rows
        for order, choice in ((1, first), (2, second))
    ]
    pq.write_table(pa.Table.from_pylist(table), folder / "verdicts.parquet")
    return folder


def test_people_beside_an_evaluation(tmp_path: Path) -> None:
    """Items are cases: a win counts in both orders, mixed verdicts are a tie, unreadable ones are missing."""
    folder = evaluation(
        tmp_path / "evaluation",
        ("tuned", "c1", "model", "model", "certain"),
        ("tuned", "c2", "baseline", "baseline", "unsure"),
        ("tuned", "c3", "model", "baseline", "unsure"),
        ("tuned", "c4", "model", "unreadable", None),
    )
    rows = [("c1", "model"), ("c2", "model"), ("c3", "tie"), ("c4", "model")]
    found = whoseboat.agree(write(tmp_path / "ann.csv", ["item", "choice"], *rows), against=folder, bootstrap=FEW)
    accuracy = figure(found, of="judge against people", measure="accuracy")
    assert (accuracy.value, accuracy.n, accuracy.missing) == (2 / 3, 3, 1)
    assert (accuracy.worst, accuracy.best) == (0.5, 0.75)
    decided = figure(found, measure="accuracy where both decide")
    assert (decided.value, decided.n) == (0.5, 2)
    parts = {one.part: one.figure.value for one in found.figures if one.part}
    assert parts == {"judge's certainty: certain": 1.0, "judge's certainty: unsure": 0.5}
    assert found.problems[0] == "no verdict of the judge could be read for 1 of 4 pairs"


def test_a_tie_of_either_decides_nothing(tmp_path: Path) -> None:
    """Of four labels people tie on one and the judge on another: where both decide they agree once in two."""
    rows = [("a", "a"), ("a", "b"), ("tie", "a"), ("b", "tie")]
    found = whoseboat.agree(write(tmp_path / "ann.csv", ["human", "judge"], *rows), bootstrap=FEW)
    decided = figure(found, measure="accuracy where both decide")
    assert (decided.value, decided.n) == (0.5, 2)
    assert figure(found, measure="accuracy").value == 0.25


def test_win_rate_is_corrected_by_what_people_say(tmp_path: Path) -> None:
    """Of 10 true wins the judge calls 9 so, of 10 true losses 8; its rate of 24 in 40 is then 0.4 / 0.7."""
    won = [True] * 9 + [False] + [True] * 2 + [False] * 8 + [True] * 13 + [False] * 7
    verdicts = [
        ("tuned", f"c{number}", *(("model", "model") if is_won else ("baseline", "baseline")), None)
        for number, is_won in enumerate(won)
    ]
    folder = evaluation(tmp_path / "evaluation", *verdicts)
    rows = [(f"c{number}", "model" if number < 10 else "baseline") for number in range(20)]
    found = whoseboat.agree(write(tmp_path / "ann.csv", ["item", "choice"], *rows), against=folder, bootstrap=FEW)
    observed = figure(found, of="tuned", measure="win rate")
    corrected = figure(found, of="tuned", measure="win rate corrected by people")
    assert (observed.value, observed.n) == (0.6, 40)
    assert close(corrected.value, 0.4 / 0.7)
    assert corrected.low is not None
    assert observed.low is not None
    assert corrected.low < observed.low
    assert "a corrected win rate holds if the items are a random sample of the evaluation's cases" in found.problems
    sheet = write(tmp_path / "bo.csv", ["item", "choice"], *rows[:5])
    alone = whoseboat.agree(sheet, against=folder, bootstrap=FEW)
    assert figures(alone, of="tuned") == []
    assert "no corrected win rate" in alone.problems[0]


def test_cases_of_several_models_need_their_name(tmp_path: Path) -> None:
    """A case that two models have is told by a column model, and refused without."""
    folder = evaluation(
        tmp_path / "evaluation", ("a", "c1", "model", "model", None), ("b", "c1", "baseline", "baseline", None)
    )
    with pytest.raises(whoseboat.DataError) as error:
        whoseboat.agree(write(tmp_path / "ann.csv", ["item", "choice"], ("c1", "model")), against=folder)
    says(error, "an item of several models", "a, b", "line 2")
    sheet = write(tmp_path / "bo.csv", ["item", "model", "choice"], ("c1", "a", "model"), ("c1", "b", "model"))
    found = whoseboat.agree(sheet, against=folder, bootstrap=FEW)
    assert figure(found, measure="accuracy").value == 0.5
    with pytest.raises(whoseboat.UsageError) as misuse:
        whoseboat.agree(sheet, against=folder, question="quality")
    says(misuse, "unknown question", "serves")


@pytest.mark.parametrize(
    ("head", "rows", "parts"),
    [
        (["item", "chioce"], [("p1", "1")], ["no column 'choice'", "rename 'chioce'"]),
        (["itm", "choice"], [("p1", "1")], ["no column 'item'", "rename 'itm'"]),
        (["item", "choice", "labeler"], [("p1", "1", "A")], ["no column 'labeller'", "rename 'labeler'"]),
        (["item", "plausible", "applicable", "harmful"], [("q", 1, 1, 1)], ["no column 'overfitted'"]),
        (["human", "jugde"], [("a", "b")], ["no column 'judge'", "rename 'jugde'"]),
        (["name", "answer"], [("a", "b")], ["neither a sheet nor a table of labels", "name, answer"]),
        (["item", "choice"], [("p1", "1"), ("p2", "both")], ["a choice that is none", "line 3, item 'p2'", "both"]),
        (["item", "choice"], [("", "1")], ["an answer without an item", "line 2"]),
        (["item", "choice", "certainty"], [("p1", "1", "sure")], ["a certainty that is none", "fairly certain"]),
        (["item", "choice", "labeller"], [("p", "1", "A"), ("p", "2", "A")], ["'A' labelled", "line 2", "line 3"]),
        (["item", "choice"], [], ["the sheet has no rows"]),
        (["item", "choice"], [("p1", ""), ("p2", " ")], ["nothing is filled in", "2 rows"]),
        (["item", "choice"], [("p1", "1")], ["nothing to compare with", "--key"]),
        (["human", "judge", "item"], [("a", "a", "i"), ("b", "b", "i")], ["labelled an item twice"]),
        (
            ["human", "judge", "item", "labeller"],
            [("a", "a", "i", "x"), ("b", "b", "i", "y")],
            ["two labels of the judge", "line 3"],
        ),
        (
            ["item", "plausible", "applicable", "harmful", "overfitted"],
            [("q1", 1, 2, 6, 1)],
            ["a rating that is none", "column 'harmful'", "found: 6"],
        ),
    ],
)
def test_faults_of_sheets_are_told(
    tmp_path: Path, head: list[str], rows: list[tuple[object, ...]], parts: list[str]
) -> None:
    """One clear message for each, with where it is and what to do."""
    with pytest.raises(whoseboat.DataError) as error:
        whoseboat.agree(write(tmp_path / "sheet.csv", head, *rows), bootstrap=FEW)
    says(error, *parts)


def test_too_many_labels_are_no_labels(tmp_path: Path) -> None:
    """A column of free text is refused, with some of it."""
    rows = [(f"text {number}", "good") for number in range(MOST_CATEGORIES)]
    with pytest.raises(whoseboat.DataError) as error:
        whoseboat.agree(write(tmp_path / "labels.csv", ["human", "judge"], *rows))
    says(error, "too many different labels", "text 0")


def test_what_does_not_go_together_is_misuse(tmp_path: Path) -> None:
    """No sheet, a missing file, a folder without verdicts, options of no use, tables and sheets at once."""
    sheet = write(tmp_path / "ann.csv", ["item", "choice"], ("p1", "1"))
    table = write(tmp_path / "labels.csv", ["human", "judge"], ("a", "a"))
    with pytest.raises(whoseboat.UsageError) as error:
        whoseboat.agree([])
    says(error, "no sheet was named")
    with pytest.raises(whoseboat.DataError) as absent:
        whoseboat.agree(tmp_path / "none.csv")
    says(absent, "no such file")
    settings_: dict[str, Any]
    for settings_, part in (
        ({"against": tmp_path}, "no verdicts of a judge"),
        ({"question": "serves"}, "--question is of use with --against only"),
    ):
        with pytest.raises(whoseboat.UsageError) as error:
            whoseboat.agree(sheet, **settings_)
        says(error, part)
    with pytest.raises(whoseboat.UsageError) as error:
        whoseboat.agree([sheet, table])
    says(error, "do not go together")
    with pytest.raises(whoseboat.UsageError) as error:
        whoseboat.agree(table, key=sheet)
    says(error, "need nothing else")
    folder = evaluation(tmp_path / "evaluation", ("tuned", "c1", "model", "model", None))
    with pytest.raises(whoseboat.UsageError) as error:
        whoseboat.agree(sheet, key=sheet, against=folder)
    says(error, "a key and an evaluation do not go together")


CELL = st.sampled_from(["item", "choice", "human", "judge", "1", "2", "tie", "a", "", '"', "'=", "\0", "\ufeff", "é"])


@given(st.text('\n;,\t"') | st.lists(st.lists(CELL), max_size=4), st.sampled_from([",", ";", "\t"]))
def test_no_file_ends_in_anything_but_a_clear_message(
    tmp_path_factory: pytest.TempPathFactory, content: str | list[list[str]], separator: str
) -> None:
    """Whatever stands in a file, there are figures or one of our errors."""
    text = content if isinstance(content, str) else "\n".join(separator.join(cells) for cells in content)
    path = tmp_path_factory.mktemp("fuzz") / "sheet.csv"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        found = whoseboat.agree(path, bootstrap=Bootstrap(draws=100))
    except whoseboat.DataError as error:
        assert str(path) in str(error) or "nothing to compare with" in str(error)
    else:
        assert found.figures


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "whoseboat", "agree", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_command_prints_figures_and_plain_data(tmp_path: Path) -> None:
    """A table for people, the same as JSON for programs, and texts of strangers without their controls."""
    rows = [("good", "good"), ("bad\x1b[31m", "good"), ("good", "good")]
    path = write(tmp_path / "labels.csv", ["human", "judge"], *rows)
    done = run(path)
    assert done.returncode == 0, done.stderr
    assert "judge against people" in done.stdout
    assert "0.67 [" in done.stdout
    assert "fewer than 20 conversations" in done.stdout
    assert "\x1b" not in done.stdout
    found = json.loads(run(path, "--json").stdout)
    assert found["figures"][0]["figure"]["value"] == 2 / 3
    assert found["counts"]["labels"]["items"] == 3


def test_command_exits_with_what_went_wrong(tmp_path: Path) -> None:
    """2 for misuse, 1 for a file that is none; one message, nothing on standard output."""
    path = write(tmp_path / "labels.csv", ["human", "judge"], ("a", "a"))
    for arguments, code in (
        ((path, "--out", tmp_path / "out"), 2),
        ((path, "--export", "3", "--out", tmp_path / "out", "--key", path), 2),
        ((path, "--export", "3"), 2),
        ((tmp_path / "none.csv",), 1),
        ((tmp_path, "--export", "3", "--out", tmp_path / "out"), 1),
    ):
        done = run(*arguments)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("whoseboat: ")
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert not (tmp_path / "out").exists()
