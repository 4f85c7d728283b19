"""Texts word by word, as the lists of `care_terms.toml` are compared with them; and the adjectives of personas.

Words are compared in lower case between their borders. A hyphen counts as a space within a term, while what is but a
part of a hyphenated word ("platform-agnostic") counts for nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*\+?")
# What stands between two words: nothing that parts them, a hyphen, a comma, or the end of a clause.
SPACE, HYPHEN, COMMA, END = " ", "-", ",", "."
_ENDS_CLAUSE = re.compile(r"[.!?;:()\n—]| - ")
# Fewer words than this may hold none of the most common ones.
_FEW_WORDS = 8
_ENGLISH_SHARE = 1 / 8
_BRITISH = (("ised", "ized"), ("sceptic", "skeptic"), ("our", "or"))


@dataclass(frozen=True, slots=True)
class Found:
    """A term: the category it stands for, and its words."""

    category: str
    term: str


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text in lower case; `gaps[i]` is what stands before word i, and the last one the end."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """Take a text apart."""
        text = text.lower().replace("’", "'")  # noqa: RUF001 - the typographic one
        words: list[str] = []
        gaps, end, kept = [END], 0, context("says_of")
        for match in _WORD.finditer(text):
            if words:
                gaps.append(_gap(text[end : match.start()]))
            words.append(match[0] if match[0] in kept else match[0].removesuffix("'s"))
            end = match.end()
        return cls(tuple(words), (*gaps, END) if words else (END,))

    def has(self, phrase: Sequence[str], place: int) -> bool:
        """Say whether words stand at a place, with nothing but spaces and hyphens between them, and free of others."""
        end = place + len(phrase)
        if self.words[place:end] != tuple(phrase) or self.gaps[place] == HYPHEN:
            return False
        if self.gaps[end] == HYPHEN and self.words[end] not in context("joined"):
            return False
        return all(gap in (SPACE, HYPHEN) for gap in self.gaps[place + 1 : end])

    def before(self, place: int, most: int) -> tuple[str, ...]:
        """Return the words before a place, at most so many."""
        return self.words[max(place - most, 0) : place]


def _gap(between: str) -> str:
    if between == " ":
        return SPACE
    if _ENDS_CLAUSE.search(between):
        return END
    if "," in between:
        return COMMA
    return HYPHEN if between in ("-", "‐", "‑") else SPACE  # noqa: RUF001 - typographic ones too


def is_english(text: Words, language: str | None) -> bool:
    """Say whether a text may be looked at: enough of its words are among the most common ones of English.

    One of a few words may hold none of them: it counts as English unless it is said or seen to be something else.
    """
    words, common = text.words, context("english")
    known = sum(word in common for word in words)
    if len(words) < _FEW_WORDS and language in (None, "en"):
        return known > 0 or all(map(str.isascii, words))
    return known >= len(words) * _ENGLISH_SHARE


@cache
def stated() -> dict[str, Any]:
    """Return what `care_terms.toml` states."""
    return tomllib.loads((resources.files("whoseboat.quality") / "care_terms.toml").read_text(encoding="utf-8"))


@cache
def context(name: str) -> frozenset[str]:
    """Return one of the lists of words that say how a term is to be taken."""
    return frozenset(stated()["context"][name].split())


@cache
def words_for_people() -> frozenset[str]:
    """Return words for people, in the singular and the plural."""
    return frozenset(form for word in stated()["people"] for form in (word, plural(word)))


def plural(word: str) -> str:
    """Return the regular plural of a noun, which is the regular third person of a verb, too."""
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else f"{word}s"


@cache
def adjectives() -> frozenset[str]:
    """Return the adjectives that personas use, as they are spelled in American English."""
    return frozenset(stated()["adjectives"]["words"])


def adjective(word: str) -> str | None:
    """Return the adjective a word is, in American spelling; None where it is none that is known here.

    >>> adjective("organised"), adjective("sceptical"), adjective("boat")
    ('organized', 'skeptical', None)
    """
    known = adjectives()
    if word in known:
        return word
    for british, american in _BRITISH:
        if british in word and (changed := word.replace(british, american)) in known:
            return changed
    return None
