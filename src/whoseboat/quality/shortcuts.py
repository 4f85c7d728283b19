"""How far length alone tells which response was chosen, and which side a persona is of.

Where the longer response is mostly the chosen one, a persona that does no more than ask for length looks right as
often: figures of a judge mean little there unless they hold at equal length too.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whoseboat.contrast.reader import wishes
from whoseboat.metric import BOOTSTRAP, Bootstrap, states_length_wish
from whoseboat.quality.findings import Checked, CheckFigure, Finding
from whoseboat.quality.form import count_words
from whoseboat.quality.pairs import SIDES, CheckedPair
from whoseboat.quality.shares import Conversations
from whoseboat.records import Side


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Stems of the words of `states_length_wish` that say which way: whole ones, and how others begin.
_SHORT = _set_of("short shorter few fewer quick")
_SHORT_BEGINNINGS = tuple(
    _set_of("brief brevi concis succinct ters compact to-the-point snapp no-nonsens time-consc minimal summar")
)
_LONG = _set_of("long longer many full fuller")
_LONG_BEGINNINGS = tuple(
    _set_of(
        "length verbos detail in-depth thorough comprehensiv elaborat extensiv exhaustiv expansiv well-develop complet"
    )
)
# Long and short that say nothing of answers.
_OF_OTHER_THINGS = re.compile(
    r"\b(?:long|short)(?:er)?[- ](?:term|lived|sighted|standing|stor|film|run|notice|hair)\w*", re.IGNORECASE
)
_NONE = "no persona says which length it wants"


class Shortcuts:
    """Counts how often length alone is right; it says nothing of single personas.

    Some 40 microseconds a pair; 13 bytes of memory for each, those of its conversation included.
    """

    def __init__(self, bootstrap: Bootstrap = BOOTSTRAP) -> None:
        self._conversations = Conversations(bootstrap)
        # 1 where that of the chosen side is longer, -1 where it is shorter, 0 where both are equally long.
        self._responses = array("b")
        self._personas = array("b")
        # 1 where the persona of a side wants length, -1 where it wants brevity, 0 where it does not say.
        self._wishes = {side: array("b") for side in SIDES}

    def add(self, pair: CheckedPair) -> Iterable[Finding]:
        """Compare the lengths of the two sides of a pair; returns no findings."""
        self._conversations.add(pair)
        self._responses.append(_sign(len(pair.chosen) - len(pair.rejected)))
        self._personas.append(_sign(count_words(pair.chosen_persona) - count_words(pair.rejected_persona)))
        for side in SIDES:
            self._wishes[side].append(length_wish(pair.persona(side)))
        return []

    def result(self) -> Checked:
        """Return how often length tells the side, of responses and of personas, and whether wishes go with it."""
        if not len(self._conversations):
            return Checked()
        responses, personas = (np.array(signs, np.int64) for signs in (self._responses, self._personas))
        figures = [
            self._longer("the chosen response is the longer one", responses, "characters"),
            self._longer("the chosen persona is the longer one", personas, "words"),
        ]
        table: dict[str, Any] = {"responses": _counts(responses), "personas": _counts(personas), "wishes": {}}
        for side in SIDES:
            signs = responses if side == "chosen" else -responses
            wished = np.array(self._wishes[side], np.int64)
            chance = _by_chance(wished, signs)
            figures.append(self._heeded(side, wished, signs, chance))
            table["wishes"][side] = {"long": _count(wished > 0), "short": _count(wished < 0), "by_chance": chance}
        return Checked(tuple(figures), {"shortcuts": table})

    def _longer(self, name: str, signs: NDArray[np.int64], unit: str) -> CheckFigure:
        """Return how often that of the chosen side is the longer one, a tie being half of it."""
        figure = self._conversations.share(signs + 1, 2)
        value = figure.value or 0.0
        rule = "the longer one is right" if value >= 0.5 else "the shorter one is right"
        # Two points for each pair, so that half of a tie is a whole number; `n` says pairs.
        figure = replace(figure, n=len(signs))
        note = f"by {unit}, half of each tie; to say that {rule} gives {max(value, 1 - value):.1%}"
        return CheckFigure(name, "both", figure, note=note)

    def _heeded(
        self, side: Side, wished: NDArray[np.int64], signs: NDArray[np.int64], chance: float | None
    ) -> CheckFigure:
        """Return how often a persona that wants length or brevity is of the response that has it."""
        says = wished != 0
        figure = self._conversations.share(np.where(says, 1 + wished * signs, 0), 2 * says, _NONE)
        figure = replace(figure, n=_count(says))
        note = "" if chance is None else f"half of each tie; {chance:.1%} if wishes were dealt out anew among the side"
        return CheckFigure("own response is as long as wished", side, figure, note=note)


def length_wish(persona: str) -> int:
    """Return 1 where a persona wants long answers, -1 where it wants short ones, 0 where it does not say; English only.

    Words after "over", "rather than", "without" and the like are those it does not want. It errs where a word of
    length is about something else, such as attention to detail.

    >>> length_wish("The user is busy and prefers brief replies over detail."), length_wish("The user likes cats.")
    (-1, 0)
    """
    if not states_length_wish(persona):
        return 0
    wanted = 0
    for stem, sign in wishes(_OF_OTHER_THINGS.sub(" ", persona)):
        if stem in _LONG or stem.startswith(_LONG_BEGINNINGS):
            wanted += sign
        elif stem in _SHORT or stem.startswith(_SHORT_BEGINNINGS):
            wanted -= sign
    return _sign(wanted)


def _by_chance(wished: NDArray[np.int64], signs: NDArray[np.int64]) -> float | None:
    """Return how often wishes would be heeded if those of a side fell to its pairs at random; None without any."""
    says = _count(wished != 0)
    return float(0.5 + wished.sum() * signs.mean() / (2 * says)) if says else None


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _count(flags: NDArray[np.bool_]) -> int:
    return int(flags.sum())


def _counts(signs: NDArray[np.int64]) -> dict[str, int]:
    return {"chosen_longer": _count(signs > 0), "rejected_longer": _count(signs < 0), "equal": _count(signs == 0)}
