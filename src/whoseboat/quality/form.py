"""Whether personas have the form that is asked for: one sentence that starts "The user", of a usual length.

What a usable persona is stands in `whoseboat.personas`, by which a model's replies are judged; here it is asked again
of what was stored, since personas come from tables and from sources, too. It says the first thing that is wrong.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np

from whoseboat.metric import BOOTSTRAP, Bootstrap
from whoseboat.personas import persona_of
from whoseboat.quality.findings import Checked, CheckFigure, Finding
from whoseboat.quality.pairs import SIDES, CheckedPair
from whoseboat.quality.shares import Conversations, quantiles
from whoseboat.records import Message, Origin, Pair, Side

# The number of words, bad outside the bounds that replies have: fewer than 4 words cannot say a trait ("The user is
# kind." is the least), and above `personas.MOST_WORDS` (60) it is a story; personas by a 405B model have 14 to 32 (5 %
# to 95 %). Of scripts without spaces the bounds are of characters: they are in `whoseboat.personas`, too.
WORDS = "words"
# Words of what `persona_of` says is wrong, and the rule that it breaks. Lengths are not here: they are counted.
_OBJECTIONS = (
    ("declines to", "refusal"),
    ("speaks of itself", "refusal"),
    ("JSON", "remainder"),
    ("markup", "remainder"),
    ("sentences where one is wanted", "not_one_sentence"),
    ("descriptions where one is wanted", "not_one_sentence"),
    ("one line is wanted", "not_one_sentence"),
    ("does not start with", "not_the_user"),
    ("not finished", "unfinished"),
    ("about one of the responses", "about_a_response"),
)
_LENGTHS = re.compile(r"too (?:short|long)|has \d+ (?:words|characters)|is empty")
RULES = (*dict.fromkeys(rule for _, rule in _OBJECTIONS), "quotes", WORDS)
# Nearly all published personas begin so, and prompts ask for it; "A user", "This user" and "Users" are other forms.
# What begins with a letter of another script than Latin is in a language whose words for a user are not known here.
_START = re.compile(r"The user\b|\W*[^\W\u0000-\u024f]")
# What a template has where words were to be put in, besides the markup that is known as such.
_PLACEHOLDER = re.compile(r"\[[A-Za-z][A-Za-z _/-]{1,40}\]|\b(?:TRAIT|QUALITY|PERSONA|PREFERENCE)S?\b|\b_{2,}")
_QUOTES = "\"'“”‘’«»„「」『』"  # noqa: RUF001 - marks of all kinds
_NOTHING_QUOTED = Pair((Message("user", "-"),), "", "", Origin("", 0))


class Form:
    """Finds personas that are not one sentence about the user; says of each how many words it has.

    Some 30 microseconds a pair; two bytes of memory for each, and eight for its conversation.
    """

    def __init__(self, bootstrap: Bootstrap = BOOTSTRAP) -> None:
        self._conversations = Conversations(bootstrap)
        self._passed = {side: array("B") for side in SIDES}
        self._broken: dict[Side, Counter[str]] = {side: Counter() for side in SIDES}
        self._words: dict[Side, Counter[int]] = {side: Counter() for side in SIDES}

    def add(self, pair: CheckedPair) -> Iterable[Finding]:
        """Look at the two personas of a pair: a finding for each rule says whether it is broken; of words, how many."""
        self._conversations.add(pair)
        findings: list[Finding] = []
        for side in SIDES:
            persona = pair.persona(side)
            broken = broken_rules(persona)
            words = count_words(persona)
            self._passed[side].append(not broken)
            self._broken[side].update(broken.keys())
            self._words[side][words] += 1
            for rule in RULES:
                value = words if rule == WORDS else None
                findings.append(Finding(pair.id, pair.split, side, rule, value, rule in broken, broken.get(rule, "")))
        return findings

    def result(self) -> Checked:
        """Return the share of personas that break no rule, by side, how often each is broken, and lengths in words."""
        passed = {side: np.array(self._passed[side]) for side in SIDES}
        share = self._conversations.share
        figures = (
            *(CheckFigure("right form", side, share(passed[side])) for side in SIDES),
            CheckFigure("right form", "both", share(passed["chosen"] + passed["rejected"], 2)),
        )
        words = {side: quantiles([*counts.keys()], [*counts.values()]) for side, counts in self._words.items()}
        broken = {rule: {side: self._broken[side][rule] for side in SIDES} for rule in RULES}
        return Checked(figures, {"form": {"personas": len(self._conversations), "broken": broken, "words": words}})


def count_words(persona: str) -> int:
    """Return how many words a persona has, between spaces."""
    return len(persona.split())


def broken_rules(persona: str) -> dict[str, str]:
    """Return the rules of form that a persona breaks, and what is wrong in a few words: of `RULES`, mostly none.

    >>> broken_rules("The user is practical and prefers short steps.")
    {}
    >>> broken_rules("A practical user wants short steps.")
    {'not_the_user': 'A practical user wants'}
    """
    text = persona.strip()
    rule, why = _objection(text)
    broken = {rule: why} if rule else {}
    if not {"refusal", "remainder", "quotes", WORDS} & broken.keys() and not _START.match(text):
        broken["not_the_user"] = " ".join(text.split()[:4])[:60]
    placeholder = _PLACEHOLDER.search(text)
    if placeholder:
        broken.setdefault("remainder", placeholder[0])
    return broken


def _objection(text: str) -> tuple[str, str]:
    """Return the rule that the rules of replies say is broken, and how; empty where none is."""
    try:
        kept = persona_of(text, _NOTHING_QUOTED)
    except ValueError as error:
        said = str(error)
        if _LENGTHS.search(said):
            return WORDS, said
        return next((rule for words, rule in _OBJECTIONS if words in said), "remainder"), said
    return _taken_off(text, kept)


def _taken_off(text: str, kept: str) -> tuple[str, str]:
    """Return what is wrong with a text of which only a part would be kept; a full stop and spaces are no matter."""
    whole, part = (" ".join(one.split()).rstrip(".。").casefold() for one in (text, kept))
    if whole == part:
        return "", ""
    if whole.strip(_QUOTES + ".") == part.strip(_QUOTES + "."):
        return "quotes", "quotation marks around all of it"
    return "remainder", f"usable of it: {kept[:80]}"
