"""Reads a persona, however worded, and tells which of two responses such a user would prefer.

A persona is split at its contrast clause ("over ...", "rather than ..."): words before it are wanted, words after it
are not. Each word leans towards some axes of the responses (`reader.json`); the sum over words and axes, times the
difference of the responses, is the log-odds that the user prefers the first. The weights are those of a ridge-penalised
logistic regression on personas written by a large language model for public pairs (`scripts/fit_contrast.py`).
"""

from __future__ import annotations

import json
import math
import re
from importlib import resources

from whoseboat.contrast.axes import AXES
from whoseboat.contrast.scaling import difference

_CONTRAST = re.compile(
    r"\b(?:over|rather than|instead of|without|versus|compared (?:to|with)|as opposed to|not|avoiding|than)\b"
)
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
_ENDINGS = (
    *("ations", "ation", "ingly", "ments", "ment", "ness", "ings", "ing", "ies", "ied", "ers", "ed", "ly", "es"),
    *("s", "e", "y"),
)
# What every persona says, and so says nothing.
_EMPTY = frozenset(
    [
        "the",
        "a",
        "an",
        "user",
        "is",
        "are",
        "and",
        "or",
        "prefers",
        "preferring",
        "that",
        "of",
        "with",
        "to",
        "their",
        "for",
        "in",
        "on",
        "who",
        "be",
        "at",
        "by",
        "it",
    ]
)


def wishes(persona: str) -> list[tuple[str, int]]:
    """Return the words of a persona, reduced to stems, with 1 where they are wanted and -1 where they are not.

    Words joined by hyphens count as a whole and by their parts.
    """
    wanted, *unwanted = _CONTRAST.split(persona.lower(), maxsplit=1)
    found = []
    for text, sign in ((wanted, 1), *((text, -1) for text in unwanted)):
        for word in _WORD.findall(text):
            parts = [word, *word.split("-")] if "-" in word else [word]
            found += [(stem(part), sign) for part in parts if part not in _EMPTY]
    return found


def stem(word: str) -> str:
    """Cut a word's ending off, so that `detail`, `details` and `detailed` are one; crude, but fixed for good."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word


def squash(value: float) -> float:
    """Bound a difference, so that one extreme axis does not drown the others."""
    return math.tanh(value)


def _load_weights() -> dict[str, list[tuple[int, float]]]:
    text = (resources.files("whoseboat.contrast") / "reader.json").read_text(encoding="utf-8")
    return {
        word: [(AXES.index(axis), thousandths / 1000) for axis, thousandths in leanings.items()]
        for word, leanings in json.loads(text)["thousandths"].items()
    }


_WEIGHTS = _load_weights()


def preference(persona: str, first: str, second: str) -> float:
    """Return how strongly a user of this persona would prefer the first of two responses: a float in [-1, 1].

    The value is P(first) - P(second) under the reader's model; 0.0 when it knows no word of the persona, or when the
    responses are alike. Negative: the second.
    Swapping the responses negates it. It sees no prompt, only the style of the responses.

    >>> preference("The user is busy and prefers brief, direct answers.", "Yes.", "Well, it depends on much.") > 0
    True
    """
    differences = [squash(value) for value in difference(first, second)]
    log_odds = sum(
        sign * weight * differences[axis] for word, sign in wishes(persona) for axis, weight in _WEIGHTS.get(word, ())
    )
    return math.tanh(log_odds / 2)
