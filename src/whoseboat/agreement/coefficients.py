"""Agreement beyond chance, with intervals by cluster: Cohen's kappa, and Krippendorff's alpha for several labellers.

Both are 1 - observed / expected disagreement, and both disagreements are computed of sums over pairs: how often a label
of one met a label of the other. So clusters are drawn again by what they add to these sums, exactly as for rates (see
`whoseboat.metric.resampling`), and the interval is the same: BCa, widened as Student's t is.

Where the clusters do not differ, as where all agree, the draws are all one point. Then the agreement's interval by
Wilson's formula stands in, put on the coefficient's scale by the expected disagreement as observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np

from whoseboat.metric import BOOTSTRAP, Bootstrap, Figure, wilson
from whoseboat.metric.resampling import Array, Clusters, Resample, bca, resample

# nominal: labels are the same or not; ordinal: they have an order, and near ones disagree less.
Level = Literal["nominal", "ordinal"]
Label = Hashable
_OneKind = TypeVar("_OneKind", bound=Hashable)

ONE_CATEGORY = "all labels are the same, so there is no agreement beyond chance to measure"
NO_PAIR = "nothing has two labels"
MOST_CATEGORIES = 30
# Expected disagreements and differences below this are zero but for rounding.
_ROUNDING = 1e-12
# The column that counts pairs or items; the others count pairs of labels.
_COUNT = "count"

# Sums of shape (..., categories, categories) to observed and expected disagreement, each of shape (...).
_Disagreements = Callable[[Array], tuple[Array, Array]]


def cohen_kappa(
    first: Sequence[Label | None],
    second: Sequence[Label | None],
    clusters: Clusters = None,
    *,
    categories: Sequence[Any] | None = None,
    level: Level = "nominal",
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Figure:
    """Return Cohen's kappa of two labellers: 1 where they always agree, 0 where they do as often as by chance.

    Pairs of which either has no label are left out and counted as missing.

    Args:
        first: the labels of the one, None where there is none
        second: those of the other, pair by pair
        clusters: per pair the label of its cluster; None: every pair is its own
        categories: all labels there may be, for an ordinal scale in its order; without them those that occur, sorted
        level: nominal; or ordinal, where disagreements count by the square of their distance in the categories
        bootstrap: draws, confidence and seed

    >>> round(cohen_kappa(["a", "a", "b", "b"], ["a", "b", "b", "b"]).value, 6)
    0.5
    >>> cohen_kappa(["a", "a"], ["a", "a"]).reason
    'all labels are the same, so there is no agreement beyond chance to measure'

    Raises:
        ValueError: lengths differ, there are too many categories, or a label is none of those named.

    """
    places = _places([*first, *second], categories)
    if len(first) != len(second):
        raise ValueError(f"expected labels in pairs, found {len(first)} and {len(second)}")
    rows = [row for row in range(len(first)) if first[row] is not None and second[row] is not None]
    met = np.zeros((len(rows), len(places), len(places)))
    for number, row in enumerate(rows):
        met[number, places[first[row]], places[second[row]]] = 1
    distance = _squares(len(places)) if level == "ordinal" else 1.0 - np.eye(len(places))

    def disagreements(sums: Array) -> tuple[Array, Array]:
        total = sums.sum(axis=(-1, -2))
        by_chance = sums.sum(axis=-1)[..., :, None] * sums.sum(axis=-2)[..., None, :]
        return _shares((distance * sums).sum(axis=(-1, -2)), total), _shares(
            (distance * by_chance).sum(axis=(-1, -2)), total**2
        )

    figure = _figure(met, _of_rows(clusters, rows), disagreements, bootstrap)
    return replace(figure, missing=len(first) - len(rows))


def krippendorff_alpha(
    items: Sequence[Sequence[Label | None]],
    clusters: Clusters = None,
    *,
    categories: Sequence[Any] | None = None,
    level: Level = "nominal",
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Figure:
    """Return Krippendorff's alpha: as kappa, for any number of labellers, who need not all have labelled everything.

    Items with fewer than two labels say nothing of agreement; they are left out and counted as missing.

    Args:
        items: per item the labels it got, in any order; None, or nothing, where a labeller gave none
        clusters: per item the label of its cluster; None: every item is its own
        categories: as for `cohen_kappa`
        level: nominal; or ordinal, where labels are as far apart as there are labels between them
        bootstrap: draws, confidence and seed

    >>> round(krippendorff_alpha([["a", "a"], ["a", "b"], ["b", "b"]]).value, 6)
    0.444444

    Raises:
        ValueError: there are too many categories, or a label is none of those named.

    """
    places = _places([label for labels in items for label in labels], categories)
    given = [[places[label] for label in labels if label is not None] for labels in items]
    rows = [row for row, labels in enumerate(given) if len(labels) > 1]
    met = np.zeros((len(rows), len(places), len(places)))
    for number, row in enumerate(rows):
        met[number] = _coincidences(given[row], len(places))

    def disagreements(sums: Array) -> tuple[Array, Array]:
        labels = sums.sum(axis=-1)
        total = labels.sum(axis=-1)
        distance = _ranks_apart(labels) if level == "ordinal" else 1.0 - np.eye(len(places))
        by_chance = labels[..., :, None] * labels[..., None, :]
        observed = _shares((distance * sums).sum(axis=(-1, -2)), total)
        return observed, _shares((distance * by_chance).sum(axis=(-1, -2)), total * (total - 1))

    figure = _figure(met, _of_rows(clusters, rows), disagreements, bootstrap)
    return replace(figure, missing=len(items) - len(rows))


def majority(labels: Collection[_OneKind]) -> _OneKind | None:
    """Return the label that more than half of the labels are; None where there is none.

    >>> majority(["1", "1", "2"]), majority(["1", "2"])
    ('1', None)
    """
    counts = Counter(labels).most_common(1)
    return counts[0][0] if counts and 2 * counts[0][1] > len(labels) else None


def _places(labels: Sequence[Label | None], categories: Sequence[Any] | None) -> dict[Any, int]:
    """Return the place of each category."""
    occur = {label for label in labels if label is not None}
    known = sorted(occur, key=lambda label: (str(type(label)), label)) if categories is None else list(categories)
    places = {label: place for place, label in enumerate(known)}
    strange = next((label for label in occur if label not in places), None)
    if strange is not None:
        raise ValueError(f"expected labels of {known}, found {strange!r:.60}")
    if len(places) > MOST_CATEGORIES:
        raise ValueError(f"expected at most {MOST_CATEGORIES} different labels, found {len(places)}")
    return places


def _of_rows(clusters: Clusters, rows: Sequence[int]) -> Clusters:
    if clusters is None:
        return None
    labels = list(clusters)
    return [labels[row] for row in rows]


def _coincidences(labels: Sequence[int], categories: int) -> Array:
    """Return how often labels of one item meet: every two of different labellers, weighted to one per label."""
    counts = np.bincount(labels, minlength=categories).astype(float)
    return (np.outer(counts, counts) - np.diag(counts)) / (len(labels) - 1)


def _squares(categories: int) -> Array:
    """Return the squared distances of places on a scale, 1 at most."""
    places = np.arange(categories)
    result: Array = ((places[:, None] - places) / max(1, categories - 1)) ** 2
    return result


def _ranks_apart(labels: Array) -> Array:
    """Return the squared distances of categories by how many labels lie between them, 1 at most.

    Args:
        labels: how many labels there are of each category, of shape (..., categories)

    """
    middle = np.cumsum(labels, axis=-1) - labels / 2
    square = (middle[..., :, None] - middle[..., None, :]) ** 2
    return _shares(square, square.max(axis=(-1, -2), keepdims=True, initial=0.0))


def _shares(part: Array, of: Array) -> Array:
    """Return part over whole, NaN where there is no whole."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(of > _ROUNDING, part / of, np.nan)


def _figure(met: Array, clusters: Clusters, disagreements: _Disagreements, bootstrap: Bootstrap) -> Figure:
    """Return 1 - observed / expected disagreement with its interval.

    Args:
        met: per pair or item how often labels met, of shape (pairs, categories, categories)
        clusters: per pair the label of its cluster
        disagreements: observed and expected disagreement of sums of `met`
        bootstrap: draws, confidence and seed

    """
    pairs, categories = met.shape[:2]
    if not pairs:
        return Figure(None, None, None, 0, 0, "none", reason=NO_PAIR)
    cells = met.reshape(pairs, -1)
    columns = {_COUNT: np.ones(pairs), **{f"{number}": column for number, column in enumerate(cells.T)}}
    resampled = resample(columns, clusters, bootstrap)
    count = int(resampled.copies.sum())

    def coefficient(sums: Array) -> Array:
        observed, expected = disagreements(sums[..., 1:].reshape(*sums.shape[:-1], categories, categories))
        return 1.0 - _shares(observed, expected)

    value = float(coefficient(resampled.observed))
    if np.isnan(value):
        return Figure(None, None, None, pairs, count, "none", reason=ONE_CATEGORY)
    left_out = resampled.left_out(coefficient)
    known = left_out[np.isfinite(left_out)]
    if not len(known) or np.ptp(known) < _ROUNDING:
        low, high = _by_wilson(resampled, disagreements, categories)
        return Figure(value, low, high, pairs, count, "wilson")
    low, high = bca(value, coefficient(resampled.drawn), left_out, resampled.copies, count, bootstrap.confidence)
    return Figure(value, low, high, pairs, count)


def _by_wilson(resampled: Resample, disagreements: _Disagreements, categories: int) -> tuple[float, float]:
    """Return the interval of the agreement, on the scale of the coefficient; -1 and 1 at most."""
    observed, expected = disagreements(resampled.observed[1:].reshape(categories, categories))
    agreed = min(1.0, max(0.0, 1.0 - float(observed)))
    ends = wilson(agreed, resampled.effective(_COUNT), resampled.confidence)
    low, high = (1.0 - (1.0 - end) / float(expected) for end in ends)
    return max(-1.0, low), min(1.0, high)
