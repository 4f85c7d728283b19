"""Which adjectives personas use where the prompt speaks of an identity, beside those they use elsewhere.

A persona that is called blunt, timid or religious more often because a prompt names a group has learned it from the
name. Adjectives are those of a list (`care_terms.toml`), in what a persona says of the user and wants, not in what it
contrasts that with. The table is no test: among so many comparisons some stand out by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from whoseboat.metric import BOOTSTRAP, wilson
from whoseboat.quality.pairs import SIDES, CheckedPair
from whoseboat.quality.shares import digest
from whoseboat.quality.terms import Found, adjective
from whoseboat.quality.words import parts
from whoseboat.records import Side

# What fewer conversations show is left out: it would tell of single prompts. Of the rest the most frequent are told.
FEWEST_CONVERSATIONS = 5
MOST_PER_TERM = 25
ABOUT = (
    "Adjectives of personas (not of what they contrast) by terms of identities in the prompt; an empty term stands for "
    "all of its category. `count` of `of` personas have the adjective where the prompt has the term, `count_without` "
    "of `of_without` elsewhere; `ratio` is that of the two shares. `low` and `high`: Wilson's 95 % interval of `share`,"
    " the conversations with the term being its n. Of prompts and personas in English. Not a test: of so many "
    "comparisons some stand out by chance."
)


@dataclass(slots=True)
class _Group:
    """Pairs whose prompts have a term: how many, of which conversations, and how often personas have adjectives."""

    pairs: int = 0
    conversations: set[int] = field(default_factory=set)
    counts: Counter[tuple[Side, str]] = field(default_factory=Counter)
    conversations_of: dict[tuple[Side, str], set[int]] = field(default_factory=dict)


class AdjectivesByIdentity:
    """Counts adjectives of personas by the terms in prompts; memory grows with the pairs whose prompts have some."""

    def __init__(self) -> None:
        self._pairs = 0
        self._counts: Counter[tuple[Side, str]] = Counter()
        self._groups: dict[Found, _Group] = {}

    def add(self, pair: CheckedPair, terms: Iterable[Found]) -> None:
        """Count the adjectives of a pair whose prompt has these terms."""
        used = {
            (side, found)
            for side in SIDES
            for word in parts(pair.persona(side)).main
            if (found := adjective(word)) is not None
        }
        self._pairs += 1
        self._counts.update(used)
        conversation = digest(pair.root)
        for term in {*terms, *(Found(term.category, "") for term in terms)}:
            group = self._groups.setdefault(term, _Group())
            group.pairs += 1
            group.conversations.add(conversation)
            group.counts.update(used)
            for one in used:
                group.conversations_of.setdefault(one, set()).add(conversation)

    def table(self) -> dict[str, Any]:
        """Return the table as plain data, with how much of it was left out."""
        rows: list[dict[str, Any]] = []
        told = 0
        for term, group in sorted(self._groups.items(), key=lambda item: (item[0].category, item[0].term)):
            for side in SIDES:
                found = list(self._rows(term, group, side))
                told += len(found)
                rows += found[:MOST_PER_TERM]
        all_of_them = sum(len(group.counts) for group in self._groups.values())
        return {
            "about": ABOUT,
            "pairs": self._pairs,
            "rows": rows,
            "fewest_conversations": FEWEST_CONVERSATIONS,
            "left_out_too_few_conversations": all_of_them - told,
            "left_out_less_frequent": told - len(rows),
        }

    def _rows(self, term: Found, group: _Group, side: Side) -> Iterator[dict[str, Any]]:
        """Yield the adjectives of a side that enough conversations show, the most frequent first."""
        others = self._pairs - group.pairs
        for (of, word), count in sorted(group.counts.items(), key=lambda item: (-item[1], item[0])):
            conversations = len(group.conversations_of[of, word])
            if of != side or conversations < FEWEST_CONVERSATIONS:
                continue
            share, elsewhere = count / group.pairs, self._counts[of, word] - count
            low, high = wilson(share, len(group.conversations), BOOTSTRAP.confidence)
            yield {
                "category": term.category,
                "term": term.term,
                "side": side,
                "adjective": word,
                "count": count,
                "of": group.pairs,
                "conversations": conversations,
                "share": round(share, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "count_without": elsewhere,
                "of_without": others,
                "ratio": round(share / (elsewhere / others), 2) if elsewhere else None,
            }
