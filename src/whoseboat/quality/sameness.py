"""Whether personas differ: duplicates, near-duplicates, both sides alike, distinct-n, and how many cover the set."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whoseboat.metric import BOOTSTRAP, Bootstrap
from whoseboat.quality.findings import Checked, CheckFigure, Finding
from whoseboat.quality.likeness import Integers, Texts
from whoseboat.quality.pairs import SIDES, CheckedPair
from whoseboat.quality.shares import Conversations, digest
from whoseboat.quality.words import tokens
from whoseboat.records import Side

# How alike personas are from which on they say the same, by pairs of adjacent words: one word exchanged in a persona of
# 20 words leaves 0.81, of 14 words 0.73, two words apart from each other in one of 25 words 0.71.
ALIKE = 0.7
# Distinct-n falls with the number of tokens; so it is told of so many, too: those of some 500 personas.
FIXED_TOKENS = 10_000
_MOST_SHOWN = 20
_MOST_CHARACTERS = 300
_COVERED_BY = (1, 10, 100)


class Sameness:
    """Counts personas that are the same, or nearly, after case, punctuation and white space are taken off.

    Every persona is looked at, no sample is drawn. Some 20 microseconds a pair, and once all were seen, some 40
    microseconds for each different persona. Memory grows with the different personas, by 4 bytes for each of their
    words and some 200 more, and by 150 bytes for every pair; what is worked out at the end needs some 1.4 kilobytes a
    persona for a while: a million different ones took 1.6 GB at most.
    """

    def __init__(self, bootstrap: Bootstrap = BOOTSTRAP) -> None:
        self._conversations = Conversations(bootstrap)
        self._ids: list[str] = []
        self._splits: list[str] = []
        # The number of the text of each persona, chosen and rejected in turn.
        self._texts = array("i")
        self._alike = array("B")
        self._same = array("B")
        self._numbers: dict[int, int] = {}
        self._vocabulary: dict[str, int] = {}
        # All words of all different texts in a row, as numbers, and where each text ends.
        self._words = array("i")
        self._ends = array("q")
        self._repeated: dict[int, str] = {}

    def add(self, pair: CheckedPair) -> Iterable[Finding]:
        """Compare the personas of both sides: one finding, how alike they are."""
        self._conversations.add(pair)
        self._ids.append(pair.id)
        self._splits.append(pair.split)
        words = {side: tokens(pair.persona(side)) for side in SIDES}
        for side in SIDES:
            self._texts.append(self._number(words[side], pair.persona(side)))
        found = _of_both(pair, words)
        self._alike.append(found.is_bad)
        self._same.append(self._texts[-1] == self._texts[-2])
        return [found]

    def _number(self, words: list[str], persona: str) -> int:
        """Return the number of a text, and keep its words where it is new."""
        key = digest(" ".join(words))
        number = self._numbers.setdefault(key, len(self._numbers))
        if number < len(self._ends):
            self._repeated.setdefault(number, persona)
            return number
        vocabulary = self._vocabulary
        self._words.extend(vocabulary.setdefault(word, len(vocabulary)) for word in words)
        self._ends.append(len(self._words))
        return number

    def result(self) -> Checked:
        """Return duplicates and near-duplicates of other conversations, distinct-n, and how few personas cover all."""
        if not self._ids:
            return Checked()
        roots = np.repeat(self._conversations.numbers, 2)
        uses = _Uses.of(np.array(self._texts, np.int64), roots)
        near = self._near(uses)
        tables = {
            "sameness": self._most_repeated(uses),
            "coverage": {name: _coverage(texts) for name, texts in self._by_side(uses).items()},
            "diversity": self._diversity(uses),
        }
        return Checked(tuple(self._figures(uses, near)), tables, self._findings(uses, near))

    def _near(self, uses: _Uses) -> _Near:
        texts = Texts.of(np.array(self._words, np.int64), np.array(self._ends, np.int64))
        likes = texts.alike(ALIKE, uses.groups)
        # What is a duplicate is told as such alone.
        likes[uses.is_shared] = -1
        values = np.zeros(len(likes))
        found = np.flatnonzero(likes >= 0)
        values[found] = texts.likeness(found, likes[found])
        return _Near(likes, values)

    def _figures(self, uses: _Uses, near: _Near) -> Iterator[CheckFigure]:
        share = self._conversations.share
        for name, flags in (
            ("duplicate of another conversation's", uses.is_shared[uses.texts]),
            ("near-duplicate of another conversation's", near.likes[uses.texts] >= 0),
        ):
            for place, side in enumerate(SIDES):
                yield CheckFigure(name, side, share(flags[place::2]))
        yield CheckFigure("both sides alike", "both", share(self._alike), note=f"{ALIKE} or more; identical ones too")
        yield CheckFigure("both sides identical", "both", share(self._same))

    def _findings(self, uses: _Uses, near: _Near) -> Iterator[Finding]:
        """Yield two findings for each persona: whether another conversation has it, too, and whether one alike to it.

        What is a duplicate is no near-duplicate as well. How alike the nearest is, where it is not near, is not known.
        """
        elsewhere = uses.elsewhere()
        likes = near.likes[uses.texts]
        first, second = uses.first()
        for place in range(len(uses.texts)):
            about = self._ids[place // 2], self._splits[place // 2], SIDES[place % 2]
            count, text = int(elsewhere[place]), likes[place]
            detail = f"{count} more in other conversations" if count else ""
            # Nothing found is no value: 0 would be a measure of which some are the worst.
            yield Finding(*about, "duplicate", count or None, count > 0, detail)
            if text < 0 or count:
                yield Finding(*about, "near_duplicate")
            else:
                like = int(first[text] if uses.roots[first[text]] != uses.roots[place] else second[text])
                value = round(float(near.values[uses.texts[place]]), 4)
                yield Finding(*about, "near_duplicate", value, True, f"like {self._ids[like // 2]} {SIDES[like % 2]}")

    def _by_side(self, uses: _Uses) -> dict[str, Integers]:
        return {"both": uses.texts, **{side: uses.texts[place::2] for place, side in enumerate(SIDES)}}

    def _most_repeated(self, uses: _Uses) -> list[dict[str, Any]]:
        """Return the most repeated personas, each as it was written where it was first seen again."""
        counts = np.bincount(uses.texts)
        most = sorted(self._repeated, key=lambda number: (-counts[number], number))[:_MOST_SHOWN]
        return [
            {
                "persona": self._repeated[number][:_MOST_CHARACTERS],
                "personas": int(counts[number]),
                "conversations": int(uses.conversations[number]),
            }
            for number in most
        ]

    def _diversity(self, uses: _Uses) -> dict[str, Any]:
        """Return distinct-1, -2 and -3 of all, and of a fixed number of tokens drawn by the hash of the ids."""
        hashes = np.fromiter((digest(name) for name in self._ids), np.uint64, len(self._ids))
        order = np.argsort(hashes, kind="stable")
        words, ends = np.array(self._words, np.int64), np.array(self._ends, np.int64)
        found: dict[str, Any] = {"fixed_tokens": FIXED_TOKENS}
        drawn = uses.texts.reshape(-1, 2)[order]
        for name, texts in {"both": drawn.ravel(), **dict(zip(SIDES, drawn.T, strict=True))}.items():
            lengths = np.diff(ends, prepend=0)[texts]
            total = int(lengths.sum())
            found[name] = {"tokens": total, "all": _distinct(words, ends, texts, None), "fixed": None}
            if total >= FIXED_TOKENS:
                enough = int(np.searchsorted(np.cumsum(lengths), FIXED_TOKENS)) + 1
                found[name]["fixed"] = _distinct(words, ends, texts[:enough], FIXED_TOKENS)
        return found


@dataclass(frozen=True, eq=False)
class _Uses:
    """Which persona has which text, and of which conversation it is; personas stand by pair, chosen and rejected.

    `conversations` counts those that have a text; `groups` is its conversation, or -1 where it is of several.
    """

    texts: Integers
    roots: Integers
    conversations: Integers
    groups: Integers

    @classmethod
    def of(cls, texts: Integers, roots: Integers) -> _Uses:
        """Count the conversations of each text."""
        both = np.unique(texts << 32 | roots)
        conversations = np.bincount(both >> 32)
        groups = np.empty(len(conversations), np.int64)
        groups[both >> 32] = both & (1 << 32) - 1
        return cls(texts, roots, conversations, np.where(conversations > 1, -1, groups))

    @property
    def is_shared(self) -> NDArray[np.bool_]:
        """Whether more than one conversation has a text."""
        return self.conversations > 1

    def elsewhere(self) -> Integers:
        """Return for each persona how many of other conversations have the same text."""
        _, inverse, here = np.unique(self.texts << 32 | self.roots, return_inverse=True, return_counts=True)
        found: Integers = np.bincount(self.texts)[self.texts] - here[inverse]
        return found

    def first(self) -> tuple[Integers, Integers]:
        """Return the place of the first persona with each text, and of the first of another conversation, else -1."""
        first, second = (np.full(len(self.conversations), -1, np.int64) for _ in range(2))
        # Of several numbers that are put into one place the last one stays.
        places = np.arange(len(self.texts))[::-1]
        first[self.texts[places]] = places
        places = places[self.roots[places] != self.roots[first[self.texts[places]]]]
        second[self.texts[places]] = places
        return first, second


@dataclass(frozen=True, eq=False)
class _Near:
    """For each text one of another conversation that is like it, -1 where there is none, and how alike both are."""

    likes: Integers
    values: NDArray[np.float64]


def alike(pair: CheckedPair) -> list[Finding]:
    """Return how alike the personas of both sides of a pair are: one finding, for which no other pair is needed."""
    return [_of_both(pair, {side: tokens(pair.persona(side)) for side in SIDES})]


def _of_both(pair: CheckedPair, words: Mapping[Side, Sequence[str]]) -> Finding:
    chosen, rejected = words["chosen"], words["rejected"]
    is_same = chosen == rejected
    value = 1.0 if is_same else _likeness(chosen, rejected)
    detail = "identical" if is_same else f"{value:.2f} of the pairs of adjacent words" if value >= ALIKE else ""
    return Finding(pair.id, pair.split, "pair", "sides_alike", round(value, 4), value >= ALIKE, detail)


def _likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of pairs of adjacent words that two different texts have in common."""
    first, second = set(pairwise(one)), set(pairwise(other))
    return len(first & second) / len(first | second) if first and second else 0.0


def _coverage(texts: Integers) -> dict[str, Any]:
    """Return how many different texts there are, how few cover how much, and how many they are worth.

    `effective` is the exponential of the entropy: so many personas, each as frequent, would be as hard to guess.
    """
    counts = np.sort(np.unique(texts, return_counts=True)[1])[::-1]
    rates = counts / counts.sum()
    effective = math.exp(max(0.0, -float(rates @ np.log(rates))))
    return {
        "personas": int(counts.sum()),
        "different": len(counts),
        "effective": round(effective, 1),
        **{f"share_of_top_{most}": round(float(rates[:most].sum()), 4) for most in _COVERED_BY},
    }


def _distinct(words: Integers, ends: Integers, texts: Integers, limit: int | None) -> dict[str, float]:
    """Return the share of runs of 1, 2 and 3 tokens that are different, over texts up to a number of tokens."""
    starts = np.concatenate([[0], ends[:-1]])[texts]
    lengths = ends[texts] - starts
    before = np.cumsum(lengths) - lengths
    flat = words[np.repeat(starts - before, lengths) + np.arange(lengths.sum())][:limit]
    owner = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)[:limit]
    found = {}
    keys = flat.astype(np.uint64)
    for size in (1, 2, 3):
        if size > 1:
            # Words as digits of a number: what overflows is the same as another by chance alone.
            keys = keys[:-1] * np.uint64(0x9E3779B97F4A7C15) + flat[size - 1 :].astype(np.uint64)
        inside = keys[owner[size - 1 :] == owner[: len(owner) - size + 1]]
        if len(inside):
            found[f"distinct_{size}"] = round(_different(inside) / len(inside), 4)
    return found


def _different(keys: NDArray[np.uint64]) -> int:
    """Count different numbers, by sorting: a table of them all would take far more memory."""
    ascending = np.sort(keys)
    return 1 + int((ascending[1:] != ascending[:-1]).sum())
