"""Terms of protected attributes in a text, as `care_terms.toml` lists them.

Many terms mean something else most of the time ("blind to", "Indian cuisine", "race car", "young plants"): those count
only where they are said of people ("is blind and", "an Indian voter", "young readers", "Christian values").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

from whoseboat.quality.terms import (
    COMMA,
    END,
    Found,
    Words,
    adjectives,
    context,
    plural,
    stated,
    words_for_people,
)

# Between what says something of somebody and a term, and between a term and people, stand at most so many words.
_MOST_BEFORE, _MOST_AFTER = 8, 3
_ENDS_OF_ADJECTIVES = (
    "able", "al", "ant", "ed", "ent", "ful", "ible", "ic", "ing", "ish", "ive", "less", "ly", "ous",
)  # fmt: skip
_TENS = "(?:twen|thir|for|fif|six|seven|eigh|nine)t"
_AGES = re.compile(
    rf"\b(?:(?:\d{{1,3}}|{_TENS}y|{_TENS}een|(?:thir|four|fif)teen)[- ]years?[- ]old"
    r"(?=\W*\Z|[.,;]| (?:and|or|who|with|user|reader|person|man|woman|boy|girl|student|child|kid|mother|father|parent"
    r"|adult|prefers|wants|values)\b)"
    r"|(?:user|who|he|she) is \d{2}(?=\W*\Z|[.,;]| (?:and|or|who|with)\b)"
    r"|aged (?:between )?\d{1,2}\b|(?:people|adults|users|readers|women|men|those) (?:over|under|above|below) \d{2}\b"
    rf"|in (?:their|his|her|my|your) (?:(?:early|mid|late)[ -])?(?:teens|{_TENS}ies|\d0'?s))",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A term as it may be written, and how it counts (see `care_terms.toml`)."""

    words: tuple[str, ...]
    mode: str
    found: Found


def protected_terms(text: str, words: Words | None = None) -> list[Found]:
    """Return the terms of protected attributes in an English text, each once, in the order they stand.

    >>> protected_terms("The user is a young Canadian who is blind to detail and prefers race cars.")
    [Found(category='age', term='young'), Found(category='nationality_origin', term='canadian')]
    """
    words = words or Words.of(text)
    found: dict[Found, None] = {}
    place = 0
    while place < len(words.words):
        entry = _entry_at(words, place)
        if entry is not None and entry.mode != "ignored":
            found[entry.found] = None
        place += len(entry.words) if entry else 1
    found |= dict.fromkeys(Found("age", match[0].lower()) for match in _AGES.finditer(text))
    return list(found)


def ignored_places(words: Words) -> set[int]:
    """Return the places of words that belong to a phrase listed as one that means nothing here."""
    return {
        place + further
        for place, word in enumerate(words.words)
        for entry in _entries().get(word, ())
        if entry.mode == "ignored" and words.has(entry.words, place)
        for further in range(len(entry.words))
    }


@cache
def _entries() -> dict[str, list[_Entry]]:
    """Return the terms by their first word, the longest first."""
    listed = [_Entry(tuple(phrase.split()), "ignored", Found("", phrase)) for phrase in stated()["ignored"]]
    for category, modes in stated()["protected"].items():
        for mode, terms in modes.items():
            listed += [entry for term in terms for entry in _written(term, mode, Found(category, term))]
    entries: dict[str, list[_Entry]] = {}
    for entry in sorted(listed, key=lambda entry: -len(entry.words)):
        entries.setdefault(entry.words[0], []).append(entry)
    return entries


def _written(term: str, mode: str, found: Found) -> Iterator[_Entry]:
    """Yield a term in the singular and, where it may be a noun, in the plural, which means people by itself."""
    words = tuple(term.split())
    yield _Entry(words, mode, found)
    if mode in ("anywhere", "nouns", "views"):
        yield _Entry((*words[:-1], plural(words[-1])), "anywhere", found)


@cache
def _described_by() -> frozenset[str]:
    """Return words that may stand between a term and whom it is said of: adjectives, and words of other terms."""
    of_terms = {
        word
        for entries in _entries().values()
        for entry in entries
        if entry.mode not in ("ignored", "countries")
        for word in entry.words
    }
    return adjectives() | of_terms


@cache
def _theirs() -> frozenset[str]:
    """Return words for people, those of terms that are such nouns too, and for what belongs to people."""
    nouns = {term for modes in stated()["protected"].values() for term in modes.get("nouns", ())}
    return words_for_people() | nouns | set(map(plural, nouns)) | set(stated()["belongings"])


@cache
def _before_countries() -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(phrase.split()) for phrase in stated()["context"]["from"])


def _entry_at(words: Words, place: int) -> _Entry | None:
    """Return the longest term that begins at a place and counts there."""
    for entry in _entries().get(words.words[place], ()):
        if words.has(entry.words, place) and _counts(entry.mode, words, place, place + len(entry.words)):
            return entry
    return None


def _counts(mode: str, words: Words, place: int, end: int) -> bool:
    """Say whether a term counts where it stands."""
    if mode in ("anywhere", "ignored"):
        return True
    if mode == "countries":
        return _is_origin(words, place)
    if mode == "before_people":
        return _is_before(words, end, words_for_people())
    if mode == "after_is":
        return _is_said_of_somebody(words, place, end)
    if mode == "views":
        is_noun = words.before(place, 1) in (("a",), ("an",)) and not _is_before(words, end, words_for_people())
        is_view = _is_before(words, end, context("of_views") | set(stated()["belongings"]))
        return is_view or (is_noun and _is_said_of_somebody(words, place, end))
    return _is_before(words, end, _theirs()) or _is_said_of_somebody(words, place, end)


def _is_origin(words: Words, place: int) -> bool:
    """Say whether "is from", "born in" or the like stands before a country."""
    before = words.before(place, 4)
    before = before[:-1] if before[-1:] == ("the",) else before
    return any(before[-size:] in _before_countries() for size in (2, 3))


def _is_before(words: Words, end: int, nouns: Collection[str]) -> bool:
    """Say whether one of these nouns follows, with nothing but adjectives before it."""
    for place in range(end, min(end + _MOST_AFTER, len(words.words))):
        if words.gaps[place] == END:
            return False
        word = words.words[place]
        if word in nouns:
            return True
        if word not in _described_by() and word not in ("and", "or"):
            return False
    return False


def _is_said_of_somebody(words: Words, place: int, end: int) -> bool:
    """Say whether "is" or the like stands before a term, with nothing but a description between, and no noun after."""
    if words.gaps[end] not in (END, COMMA):
        after = words.words[end]
        if after not in context("after"):
            return False
    for before in range(place - 1, max(place - 1 - _MOST_BEFORE, -1), -1):
        word = words.words[before]
        if words.gaps[before + 1] == END:
            return False
        if word in context("says_of"):
            return words.before(before, 1) not in (("that",), ("which",))  # said of things, as a rule
        if not _may_describe(word):
            return False
    return place <= _MOST_BEFORE  # a text may begin with a description


def _may_describe(word: str) -> bool:
    if word in context("between") or word in _described_by() or word in words_for_people():
        return True
    return word.endswith(_ENDS_OF_ADJECTIVES) and word not in context("preferring")
