"""Shares of pairs with their intervals by conversation, of counts that are held in a few bytes a pair."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whoseboat.metric import BOOTSTRAP, Bootstrap, Figure
from whoseboat.metric.resampling import Statistic, Term, resample
from whoseboat.quality.pairs import CheckedPair

# What a column of counts may be: of each pair, how many of its personas, words and so on.
Counts = Sequence[int] | NDArray[np.generic]
LEVELS = (5, 25, 50, 75, 95, 99)
_SHARE = Statistic((Term(1.0, "found", "among"),))


class Conversations:
    """The conversation of every pair that was shown, in eight bytes each."""

    def __init__(self, bootstrap: Bootstrap = BOOTSTRAP) -> None:
        self._roots = array("Q")
        self._bootstrap = bootstrap
        self._numbers: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._roots)

    def add(self, pair: CheckedPair) -> None:
        """Note the conversation of the next pair."""
        self._roots.append(digest(pair.root))
        self._numbers = None

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The number of each pair's conversation."""
        if self._numbers is None:
            self._numbers = np.unique(np.array(self._roots, np.uint64), return_inverse=True)[1]
        return self._numbers

    def share(self, found: Counts, among: Counts | int = 1, nothing: str = "there is no pair") -> Figure:
        """Return how many were found of how many there are, with the interval by conversation.

        Args:
            found: per pair, in the order they were added, how many were found.
            among: per pair, how many there are; a number: so many of each.
            nothing: the reason to give where there are none at all.

        """
        if not len(self):
            return Figure(None, None, None, 0, 0, "none", reason=nothing)
        all_of = np.full(len(self), among) if isinstance(among, int) else np.asarray(among)
        # Summed by conversation beforehand: there are far fewer of them than of calls of this.
        sums = {
            name: np.bincount(self.numbers, np.asarray(counts, np.float64))
            for name, counts in (("found", found), ("among", all_of))
        }
        resampled = resample(sums, None, self._bootstrap)
        return resampled.figure(_SHARE, resampled.total("among"), nothing)


def digest(text: str) -> int:
    """Return a text as a number of eight bytes; that two of a million texts have the same one is a chance of 3e-8."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def quantiles(values: Counts, weights: Counts | None = None) -> dict[str, float]:
    """Return the quantiles of values as plain numbers, by name; each is a value that occurs.

    Args:
        values: numbers; empty where there are none, which gives no quantiles.
        weights: how often each value occurs; None: once.

    >>> quantiles([1, 2, 3])["p50"]
    2.0

    """
    table = np.asarray(values, np.float64)
    if weights is not None:
        table = np.repeat(table, np.asarray(weights, np.int64))
    if not len(table):
        return {}
    found = np.percentile(table, LEVELS, method="inverted_cdf")
    return {f"p{level}": round(float(value), 4) for level, value in zip(LEVELS, found, strict=True)}
