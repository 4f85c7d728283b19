"""Labels of people beside the truth, beside a judge's and beside each other's: all figures of agreement."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from whoseboat import metric
from whoseboat.agreement.coefficients import Level, cohen_kappa, krippendorff_alpha, majority
from whoseboat.agreement.judged import TIE
from whoseboat.agreement.keys import SIDES, KeyRow, row_of
from whoseboat.agreement.marks import RATINGS, SCALES, SURENESS, Mark
from whoseboat.metric import Bootstrap, Figure, Outcome

# Each label of each person counts once; or the label that more than half of an item's are.
EACH, MAJORITY = "each label", "majority"
# Above so many labellers what any two have in common is left to alpha.
MOST_IN_PAIRS = 5
PEOPLE_TRUTH, JUDGE_TRUTH = "people against the truth", "judge against the truth"
JUDGE_PEOPLE, AMONG = "judge against people", "people among themselves"
_RATING_WORDS = tuple(map(str, RATINGS))


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of agreement.

    Args:
        sheet: `pairs`, `quality` or `labels`: what people filled in.
        of: who is compared with whom; of quality, the scale.
        who: which people: `each label`, `majority`, a labeller, or two.
        measure: `accuracy` (a tie is right where both tie), `accuracy where both decide`, `Cohen's kappa`, `weighted
            kappa` (by the square of the distance), `Krippendorff's alpha` or `mean`.
        figure: the value with its interval by conversation.
        part: which part of the items, such as `certainty: unsure`; empty: all.

    """

    sheet: str
    of: str
    who: str
    measure: str
    figure: Figure
    part: str = ""


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often which label met which: a row per label of `rows`, a column per label of `columns`."""

    sheet: str
    of: str
    who: str
    rows: str
    columns: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass
class Item:
    """What people, the truth and a judge say of one item. All labels are of one kind."""

    name: str
    root: str
    labels: dict[str, str] = field(default_factory=dict)  # by labeller
    certainties: dict[str, str] = field(default_factory=dict)
    truth: str | None = None
    judge: str | None = None
    judge_certainty: str | None = None
    side: str | None = None
    model: str = ""


@dataclass(frozen=True)
class _Compared:
    """Two columns of labels: the first is right where it is as the second is."""

    root: str
    first: str | None
    second: str
    certainty: str | None = None
    side: str | None = None
    judge_certainty: str | None = None


def of_choices(sheet: str, items: Sequence[Item], labels: Sequence[str], bootstrap: Bootstrap) -> list[Measured]:
    """Return the figures of choices, or of labels of any kind; `labels` are all there may be."""
    found: list[Measured] = []
    for of, who, rows in _comparisons(items):
        found += _compare(sheet, of, who, rows, labels, bootstrap)
    found += _among(sheet, AMONG, [(item.root, item.labels) for item in items], labels, _level(labels), bootstrap)
    return found


def _comparisons(items: Sequence[Item]) -> Iterator[tuple[str, str, list[_Compared]]]:
    """Yield what is compared with what, the judge as one, and of people all, their majority, and each by name."""
    has_truth, has_judge = (any(getattr(item, name) is not None for item in items) for name in ("truth", "judge"))
    if has_truth:
        for who, rows in _of_people(items):
            yield PEOPLE_TRUTH, who, [_Compared(i.root, label, i.truth or "", sure, i.side) for i, label, sure in rows]
    if has_truth and has_judge:
        yield JUDGE_TRUTH, "", [_Compared(item.root, item.judge, item.truth or "", None, item.side) for item in items]
    if has_judge:
        for who, rows in _of_people(items):
            compared = [_Compared(i.root, i.judge, label, sure, i.side, i.judge_certainty) for i, label, sure in rows]
            yield JUDGE_PEOPLE, who, compared


def _of_people(items: Sequence[Item]) -> Iterator[tuple[str, list[tuple[Item, str, str | None]]]]:
    """Yield labels of people with their items, for all, for their majority, and for each of several."""
    each = [(item, label, item.certainties.get(who)) for item in items for who, label in item.labels.items()]
    labellers = sorted({who for item in items for who in item.labels})
    if len(labellers) == 1:
        yield labellers[0], each
        return
    yield EACH, each
    voted = ((item, majority(list(item.labels.values()))) for item in items if len(item.labels) > 1)
    agreed: list[tuple[Item, str, str | None]] = [(item, label, None) for item, label in voted if label]
    if agreed:
        yield MAJORITY, agreed
    for who in labellers:
        yield who, [(item, item.labels[who], item.certainties.get(who)) for item in items if who in item.labels]


def _compare(
    sheet: str, of: str, who: str, rows: Sequence[_Compared], labels: Sequence[str], bootstrap: Bootstrap
) -> Iterator[Measured]:
    roots = [row.root for row in rows]
    yield Measured(sheet, of, who, "accuracy", _accuracy(rows, bootstrap))
    if TIE in {label for row in rows for label in (row.first, row.second)}:
        decided = metric.win_rate([_outcome(row, may_tie=True) for row in rows], roots, bootstrap)
        yield Measured(sheet, of, who, "accuracy where both decide", decided)
    first, second = [row.first for row in rows], [row.second for row in rows]
    yield Measured(
        sheet, of, who, "Cohen's kappa", cohen_kappa(first, second, roots, categories=labels, bootstrap=bootstrap)
    )
    if _level(labels) == "ordinal":
        weighted = cohen_kappa(first, second, roots, categories=_RATING_WORDS, level="ordinal", bootstrap=bootstrap)
        yield Measured(sheet, of, who, "weighted kappa", weighted)
    yield from _by_part(sheet, of, who, rows, bootstrap)


def _level(labels: Sequence[str]) -> Level:
    """Return whether labels are a scale: more than two, and all of them ratings."""
    return "ordinal" if len(labels) > 2 and set(labels) <= set(_RATING_WORDS) else "nominal"


def _by_part(sheet: str, of: str, who: str, rows: Sequence[_Compared], bootstrap: Bootstrap) -> Iterator[Measured]:
    """Yield the accuracy by side and by certainty, where there are several to tell apart."""
    parts: tuple[tuple[str, Callable[[_Compared], str | None]], ...] = (
        ("side", lambda row: row.side),
        ("certainty", lambda row: row.certainty),
        ("judge's certainty", lambda row: row.judge_certainty),
    )
    for name, part_of in parts:
        groups: dict[str, list[_Compared]] = defaultdict(list)
        for row in rows:
            value = part_of(row)
            if value is not None:
                groups[value].append(row)
        for value in sorted(groups, key=_by_sureness):
            yield Measured(sheet, of, who, "accuracy", _accuracy(groups[value], bootstrap), f"{name}: {value}")


def _by_sureness(value: str) -> tuple[int, str]:
    """Return what parts are ordered by: certainties the surest first, others by name."""
    return SURENESS.index(value) if value in SURENESS else len(SURENESS), value


def _accuracy(rows: Sequence[_Compared], bootstrap: Bootstrap) -> Figure:
    return metric.accuracy([_outcome(row, may_tie=False) for row in rows], [row.root for row in rows], bootstrap)


def _outcome(row: _Compared, *, may_tie: bool) -> Outcome:
    """Return whether the first label is as the second; a tie of either says nothing where `may_tie`."""
    if row.first is None:
        return "missing"
    if may_tie and TIE in (row.first, row.second):
        return "tie"
    return "win" if row.first == row.second else "loss"


def _among(
    sheet: str,
    of: str,
    items: Sequence[tuple[str, Mapping[str, Any]]],
    categories: Sequence[Any],
    level: Level,
    bootstrap: Bootstrap,
) -> Iterator[Measured]:
    """Yield how far people agree with each other; nothing where no item has two labels.

    Args:
        sheet: what was filled in.
        of: what the figures are said to be of.
        items: per item its conversation, and its labels by labeller.
        categories: all labels there may be.
        level: whether they are a scale.
        bootstrap: draws, confidence and seed.

    """
    shared = [(root, labels) for root, labels in items if len(labels) > 1]
    if not shared:
        return
    # Labels of a scale may be words of numbers; a scale has all of them, whichever occur.
    scale = _RATING_WORDS if level == "ordinal" and isinstance(categories[0], str) else categories
    labellers = sorted({who for _, labels in shared for who in labels})
    alpha = krippendorff_alpha(
        [list(labels.values()) for _, labels in shared],
        [root for root, _ in shared],
        categories=scale,
        level=level,
        bootstrap=bootstrap,
    )
    yield Measured(sheet, of, f"{len(labellers)} labellers", "Krippendorff's alpha", alpha)
    for one, other in combinations(labellers, 2) if len(labellers) <= MOST_IN_PAIRS else ():
        both = [(root, labels[one], labels[other]) for root, labels in shared if one in labels and other in labels]
        if both:
            roots, first, second = (list(column) for column in zip(*both, strict=True))
            kappa = cohen_kappa(first, second, roots, categories=scale, level=level, bootstrap=bootstrap)
            measure = "weighted kappa" if level == "ordinal" else "Cohen's kappa"
            yield Measured(sheet, of, f"{one} and {other}", measure, kappa)


def of_quality(marks: Sequence[Mark], key: Mapping[str, KeyRow] | None, bootstrap: Bootstrap) -> Iterator[Measured]:
    """Yield the figures of ratings of quality: the mean of each scale, and how far people agree on it."""
    rows = {mark.item: None if key is None else row_of(key, mark.item, "quality", mark.where) for mark in marks}
    roots = {item: item if row is None else row.root for item, row in rows.items()}
    for scale in SCALES:
        rated = [mark for mark in marks if scale in mark.scores]
        if not rated:
            continue
        parts: dict[str, list[Mark]] = {"": rated}
        for side in SIDES:
            of_side = [mark for mark in rated if getattr(rows[mark.item], "side", None) == side]
            parts |= {f"side: {side}": of_side} if of_side else {}
        for part, of_part in parts.items():
            clusters = [roots[mark.item] for mark in of_part]
            mean = metric.mean_score([mark.scores[scale] for mark in of_part], clusters, bootstrap)
            yield Measured("quality", scale, EACH, "mean", mean, part)
        by_item: dict[str, dict[str, int]] = defaultdict(dict)
        for mark in rated:
            by_item[mark.item][mark.labeller] = mark.scores[scale]
        items = [(roots[item], labels) for item, labels in by_item.items()]
        yield from _among("quality", scale, items, RATINGS, "ordinal", bootstrap)


def confusions_of(sheet: str, items: Sequence[Item], labels: Sequence[str]) -> Iterator[Confusion]:
    """Yield how often which label met which, for everything that is compared."""
    for of, who, rows in _comparisons(items):
        met = Counter((row.first, row.second) for row in rows)
        counts = tuple(tuple(met[one, other] for other in labels) for one in labels)
        first, second = of.split(" against ")
        yield Confusion(sheet, of, who, first, second.removeprefix("the "), tuple(labels), counts)
