"""What is not trained on or not tried, counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "empty_reply": "the chosen or the rejected response is empty",
    "empty_prompt": "the user says nothing",
    "identical_responses": "chosen and rejected response are the same",
    "kept_from_tailoring": "the safety gate keeps the pair out of `tailoring`: its rejected response may be unsafe",
    "malformed": "the row does not have the form its layout documents",
    "missing_turn": "a turn of the conversation is missing",
    "no_donor": "too many pairs of its source begin alike, so none is left to take a persona from",
    "no_human_persona": "no person wrote a persona for it",
    "no_persona": "there is no persona for it",
    "no_retrieved": "no persona of a similar pair is there for it",
    "no_room": "the prompt alone is as long as a row may be",
    "refused_by_template": "the chat template does not take its conversation",
    "root_elsewhere": "its first user turn occurs in another split or half, which comes first",
    "special_token": "a text holds what the tokenizer takes for a control token",
    "too_long": "it has more tokens than a row may have",
}


class Refusals:
    """Counts by reason, and where the first of each reason stood. One object may be filled by several steps."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, reason: str, where: str) -> None:
        """Count one."""
        self.counts[reason] += 1
        self.first.setdefault(reason, where)

    def in_words(self) -> str:
        """Return all counts in a sentence, the most frequent first.

        >>> refused = Refusals()
        >>> refused.add("empty_reply", "Mnemonic/test, row 0")
        >>> refused.in_words()
        '1 empty_reply (the chosen or the rejected response is empty; first: Mnemonic/test, row 0)'
        """
        told = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(
            f"{count:,} {reason} ({REASONS.get(reason, 'see there')}; first: {self.first[reason]})"
            for reason, count in told
        )

    def counted(self) -> str:
        """Return the counts alone, the most frequent first.

        >>> refused = Refusals()
        >>> refused.add("empty_reply", "Mnemonic/test, row 0")
        >>> refused.counted()
        '1 empty reply'
        """
        told = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in told)
