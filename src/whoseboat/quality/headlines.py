"""Which figures of a check a card and a terminal show; `checks.json` and the report have all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whoseboat.quality.accuracy import EQUAL_LENGTH

# Figures that explain others, or say in more detail what another one says.
_DETAILS = frozenset(
    {
        "accuracy (paper)",
        "accuracy (consistent)",
        "coverage",
        "position bias",
        "accuracy (strict), own personas of the control",
        "accuracy (strict), shuffled personas",
        "taken over from the prompt",
        "taken over from its own response",
        "taken over from the other response",
        "words in the prompt",
        "words in its own response",
        "words in the other response",
        "both sides identical",
        "contrast clause",
        "own response is as long as wished",
    }
)


def is_headline(figure: Mapping[str, Any]) -> bool:
    """Say whether a figure is shown first: those of all pairs, and of pairs of equal length those of both sides."""
    if figure["name"] in _DETAILS:
        return False
    return not figure["part"] or (figure["part"] == EQUAL_LENGTH and figure["side"] == "both")
