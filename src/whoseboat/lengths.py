"""How long responses and personas are: counted as rows are written, told and drawn in the card."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from whoseboat.dataset import Record

# The longest persona told apart from longer ones, in words.
MOST_WORDS = 60
# A response 2**3 times as long as the other, and any longer, are in one bin; bins are half a power of two wide.
_STEPS_PER_DOUBLING, _MOST_STEPS = 2, 6


@dataclass
class Lengths:
    """Counts of lengths; memory does not grow with the rows."""

    chosen_persona_words: Counter[int] = field(default_factory=Counter)
    rejected_persona_words: Counter[int] = field(default_factory=Counter)
    length_ratio_steps: Counter[int] = field(default_factory=Counter)
    longer: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count a row of `pairs`."""
        self.chosen_persona_words[_words(record["chosen_persona"])] += 1
        self.rejected_persona_words[_words(record["rejected_persona"])] += 1
        chosen, rejected = len(record["chosen"][-1]["content"]), len(record["rejected"][-1]["content"])
        self.longer["neither" if chosen == rejected else "chosen" if chosen > rejected else "rejected"] += 1
        steps = round(_STEPS_PER_DOUBLING * math.log2(chosen / rejected)) if chosen and rejected else 0
        self.length_ratio_steps[max(-_MOST_STEPS, min(steps, _MOST_STEPS))] += 1

    def as_json(self) -> dict[str, Any]:
        """Return the counts for the manifest.

        `persona_words` by side, then number of words (60: that or more); `length_ratio`, by the logarithm of chosen
        over rejected response in characters, base 2, in steps of a half (-3 and 3: that or more); `longer`, by which
        response is the longer one.
        """
        return {
            "persona_words": {
                "chosen": _sorted(self.chosen_persona_words),
                "rejected": _sorted(self.rejected_persona_words),
            },
            "length_ratio": {
                f"{steps / _STEPS_PER_DOUBLING:g}": self.length_ratio_steps[steps]
                for steps in range(-_MOST_STEPS, _MOST_STEPS + 1)
            },
            "longer": {name: self.longer[name] for name in ("chosen", "rejected", "neither")},
        }


def _words(persona: str) -> int:
    return min(persona.count(" ") + 1, MOST_WORDS)


def _sorted(counts: Counter[int]) -> dict[str, int]:
    return {str(words): count for words, count in sorted(counts.items())}
