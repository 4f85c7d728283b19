"""Results of models as readers see them: names in words, marks on what rests on few conversations, footnotes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from whoseboat.model_manifest import Result

# Behind an interval that rests on too few conversations.
FEW = "†"
_QUESTIONS = {"quality": "quality", "serves": "what serves the persona", "picks": "which persona a response is for"}
_MARGINS = {"reward": "by reward", "normalised": "by likelihood per token"}
_WORDS = {"delta_pq": "ΔPQ", "own_over_shuffled": "net of own over shuffled personas"}
_AT_EQUAL_LENGTH = "_at_equal_length"
_FEW_IN_NOTES = re.compile(r"(?:; )?too few clusters \([\d,]+\): below \d+ no interval is to be trusted")


def in_words(name: str) -> str:
    """Return what a figure is called where people read it.

    >>> in_words("normalised_flip_accuracy_at_equal_length")
    'flip accuracy by likelihood per token, at equal length'
    >>> in_words("serves_win_rate")
    'win rate, what serves the persona'
    """
    kind = kind_of(name)
    said = _WORDS.get(kind, kind.replace("_", " "))
    first = name.partition("_")[0]
    if kind != name.removesuffix(_AT_EQUAL_LENGTH):
        said += f" {_MARGINS[first]}" if first in _MARGINS else f", {_QUESTIONS[first]}"
    return said + (", at equal length" if name.endswith(_AT_EQUAL_LENGTH) else "")


def kind_of(name: str) -> str:
    """Return what kind of figure it is: its name without what was scored or asked, and without which pairs.

    >>> kind_of("serves_net"), kind_of("reward_accuracy_at_equal_length"), kind_of("flip_accuracy")
    ('net', 'accuracy', 'flip_accuracy')
    """
    first, _, rest = name.removesuffix(_AT_EQUAL_LENGTH).partition("_")
    return rest if rest and (first in _MARGINS or first in _QUESTIONS) else name.removesuffix(_AT_EQUAL_LENGTH)


def given(result: Result) -> str:
    """Return which personas were given, and of which side."""
    return " ".join(filter(None, [result.persona, result.side and f"({result.side})"])) or "all"


def is_of_few(result: Result) -> bool:
    """Say whether a result has an interval, and too few conversations for it to be trusted."""
    from whoseboat.metric.figures import FEWEST_CLUSTERS

    return result.low is not None and result.clusters is not None and result.clusters < FEWEST_CLUSTERS


def few_in_words(results: Iterable[Result]) -> str:
    """Return what the mark of few conversations means, nothing where no result has it."""
    from whoseboat.metric.figures import FEWEST_CLUSTERS

    if not any(map(is_of_few, results)):
        return ""
    return f"{FEW} Fewer than {FEWEST_CLUSTERS} groups (conversations): too few for the interval to be trusted."


def footnotes(results: Iterable[Result]) -> list[str]:
    """Return the notes of results, each once; what the mark of few conversations says is not among them."""
    return list(dict.fromkeys(filter(None, map(note_of, results))))


def note_of(result: Result) -> str:
    """Return the note of a result, without what the mark of few conversations says."""
    return _FEW_IN_NOTES.sub("", result.note).removeprefix("; ") if is_of_few(result) else result.note
