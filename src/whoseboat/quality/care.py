"""Whether personas may be published: what they say of protected attributes and of harm, and contacts in any text.

This is a list of words and patterns that finds candidates for a look; it is no classifier. A finding says which words
were met, not that a persona is wrong; and who says something harmful in other words is not found. English only:
personas in other languages are counted as not looked at. Contacts are found in texts of any language.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from whoseboat.metric import BOOTSTRAP, Bootstrap
from whoseboat.quality.attributes import protected_terms
from whoseboat.quality.contacts import Contact, contacts_in
from whoseboat.quality.findings import Checked, CheckFigure, Finding, FindingSide
from whoseboat.quality.identities import AdjectivesByIdentity
from whoseboat.quality.intents import harmful_intents
from whoseboat.quality.pairs import SIDES, CheckedPair
from whoseboat.quality.shares import Conversations
from whoseboat.quality.terms import Found, Words, is_english
from whoseboat.records import Side

PROTECTED, HARMFUL, CONTACT = "protected_attribute", "harmful_intent", "contact"
# Of so many terms or contacts a finding tells; and of so many terms of a category the table does.
_MOST_IN_DETAIL = 5
_MOST_TERMS = 10
# The texts that are searched for contacts, by the side of a finding.
_COLUMNS: Mapping[FindingSide, tuple[str, ...]] = {
    "chosen": ("chosen", "chosen_persona"),
    "rejected": ("rejected", "rejected_persona"),
    "pair": ("prompt",),
}
_CALLED = {PROTECTED: "names a protected attribute", HARMFUL: "states a harmful intent"}
_ABOUT = (
    "Words and patterns that find candidates for a look, in English; not a classifier. Counts are of personas; of "
    "contacts they are of texts."
)


class Care:
    """Finds personas that name protected attributes or state a harmful intent, and contacts in any text of a pair."""

    def __init__(self, bootstrap: Bootstrap = BOOTSTRAP) -> None:
        self._conversations = Conversations(bootstrap)
        self._is_english = {side: array("B") for side in SIDES}
        self._flagged = {check: {side: array("B") for side in SIDES} for check in _CALLED}
        self._has_contact = array("B")
        self._terms: Counter[tuple[str, Found, Side]] = Counter()
        self._categories: Counter[tuple[str, str, Side]] = Counter()
        self._contacts: Counter[tuple[str, str]] = Counter()
        self._foreign_prompts = 0
        self._adjectives = AdjectivesByIdentity()

    def add(self, pair: CheckedPair) -> Iterable[Finding]:
        """Look at the texts of a pair; findings say what was met, contacts masked. What is not in English has none."""
        self._conversations.add(pair)
        by_side = {side: found_in(pair.persona(side), pair.language) for side in SIDES}
        for side, found in by_side.items():
            self._is_english[side].append(found is not None)
            for check in _CALLED:
                self._count(check, side, found[check] if found else [])
        contacts = contacts_of(pair)
        self._has_contact.append(bool(contacts))
        self._contacts.update({(column, one.kind) for column, found_there in contacts.items() for one in found_there})
        self._look_at_prompt(pair, all(by_side.values()))
        return [*_of_personas(pair, by_side), *_of_contacts(pair, contacts)]

    def result(self) -> Checked:
        """Return the shares of personas flagged, by side, and of pairs with contacts; and the tables."""
        share = self._conversations.share
        foreign = {side: len(values) - sum(values) for side, values in self._is_english.items()}
        figures = [
            CheckFigure(
                name,
                side,
                share(
                    np.array(self._flagged[check][side]), np.array(self._is_english[side]), "no persona is in English"
                ),
                note=f"{foreign[side]:,} personas that are not in English were not looked at" if foreign[side] else "",
            )
            for check, name in _CALLED.items()
            for side in SIDES
        ]
        figures.append(CheckFigure("has a contact in a text", "both", share(np.array(self._has_contact))))
        adjectives = {**self._adjectives.table(), "prompts_not_in_english": self._foreign_prompts}
        return Checked(tuple(figures), {"care": self._table(foreign), "adjectives_by_identity": adjectives})

    def _count(self, check: str, side: Side, found: list[Found]) -> None:
        self._flagged[check][side].append(bool(found))
        self._terms.update((check, one, side) for one in found)
        self._categories.update({(check, one.category, side) for one in found})

    def _look_at_prompt(self, pair: CheckedPair, is_english_persona: bool) -> None:
        """Count the adjectives of the personas by the terms in what the user said."""
        said = "\n".join(message.content for message in pair.prompt if message.role == "user")
        words = Words.of(said)
        if not is_english(words, pair.language):
            self._foreign_prompts += 1
        elif is_english_persona:
            self._adjectives.add(pair, protected_terms(said, words))

    def _table(self, foreign: dict[Side, int]) -> dict[str, Any]:
        by_category: dict[str, Any] = {check: list(self._by_category(check)) for check in _CALLED}
        contacts = [
            {"column": column, "kind": kind, "texts": count} for (column, kind), count in sorted(self._contacts.items())
        ]
        looked_at = {side: sum(values) for side, values in self._is_english.items()}
        return {"about": _ABOUT, "looked_at": looked_at, "not_in_english": foreign, **by_category, CONTACT: contacts}

    def _by_category(self, check: str) -> Iterator[dict[str, Any]]:
        """Yield the categories of a check with the personas of each side, and the terms met most often."""
        for category in sorted({category for of, category, _ in self._categories if of == check}):
            terms: Counter[str] = Counter()
            for (of, found, _), count in self._terms.items():
                if of == check and found.category == category:
                    terms[found.term] += count
            most = sorted(terms.items(), key=lambda item: (-item[1], item[0]))[:_MOST_TERMS]
            yield {
                "category": category,
                **{side: self._categories[check, category, side] for side in SIDES},
                "terms": [{"term": term, "count": count} for term, count in most],
                "other_terms": len(terms) - len(most),
            }


def found_in(persona: str, language: str | None = None) -> dict[str, list[Found]] | None:
    """Return what a persona names or states, by check; None where it is not in English.

    Args:
        persona: the sentence.
        language: code of the language of its pair, None where that is not known.

    """
    words = Words.of(persona)
    if not is_english(words, language):
        return None
    return {PROTECTED: protected_terms(persona, words), HARMFUL: harmful_intents(persona, words)}


def contacts_of(pair: CheckedPair) -> dict[str, tuple[Contact, ...]]:
    """Return the contacts in the texts of a pair, masked, by column; columns without any are left out."""
    found: dict[str, tuple[Contact, ...]] = {
        "prompt": contacts_in("\n".join(message.content for message in pair.prompt))
    }
    for side in SIDES:
        found |= {side: contacts_in(pair.response(side)), f"{side}_persona": contacts_in(pair.persona(side))}
    return {column: contacts for column, contacts in found.items() if contacts}


def told(contacts: Iterable[object]) -> str:
    """Return some contacts or terms in a few words."""
    names = [str(one) for one in contacts]
    more = f" and {len(names) - _MOST_IN_DETAIL} more" if len(names) > _MOST_IN_DETAIL else ""
    return ", ".join(names[:_MOST_IN_DETAIL]) + more


def findings(pair: CheckedPair) -> list[Finding]:
    """Return what `Care` finds of a pair, without counting it."""
    by_side = {side: found_in(pair.persona(side), pair.language) for side in SIDES}
    return [*_of_personas(pair, by_side), *_of_contacts(pair, contacts_of(pair))]


def _of_personas(pair: CheckedPair, by_side: dict[Side, dict[str, list[Found]] | None]) -> Iterator[Finding]:
    for side, found in by_side.items():
        for check, terms in (found or {}).items():
            detail = told(f"{one.category}: {one.term}" for one in terms)
            yield Finding(pair.id, pair.split, side, check, None, bool(terms), detail)


def _of_contacts(pair: CheckedPair, contacts: dict[str, tuple[Contact, ...]]) -> Iterator[Finding]:
    """Yield a finding for each side, of its response and its persona, and one for the prompt."""
    for side in _COLUMNS:
        found = [f"{column}: {told(contacts[column])}" for column in _COLUMNS[side] if column in contacts]
        yield Finding(pair.id, pair.split, side, CONTACT, None, bool(found), "; ".join(found))
