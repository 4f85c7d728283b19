"""Pairs as checks look at them, with what does not matter filled in."""

from __future__ import annotations

from collections.abc import Sequence

from whoseboat.quality.findings import Checked, CheckFigure, Finding, TextCheck
from whoseboat.quality.pairs import CheckedPair
from whoseboat.records import Message


def pair(
    chosen_persona: str,
    rejected_persona: str,
    *,
    name: str = "1",
    prompt: str | tuple[Message, ...] = "?",
    chosen: str = "Yes.",
    rejected: str = "No.",
    root: str | None = None,
) -> CheckedPair:
    """Return a pair; each name is a conversation of its own where no root is given."""
    return CheckedPair(
        id=name,
        split="train",
        prompt=(Message("user", prompt),) if isinstance(prompt, str) else prompt,
        chosen=chosen,
        rejected=rejected,
        chosen_persona=chosen_persona,
        rejected_persona=rejected_persona,
        persona_engine="written",
        root=name if root is None else root,
    )


def run(check: TextCheck, pairs: Sequence[CheckedPair]) -> tuple[list[Finding], Checked]:
    """Show a check all pairs; return all that it finds."""
    findings = [finding for one in pairs for finding in check.add(one)]
    checked = check.result()
    return [*findings, *checked.findings], checked


def figure(checked: Checked, name: str, side: str = "both") -> CheckFigure:
    """Return the one figure of a name and a side."""
    (found,) = [one for one in checked.figures if (one.name, one.side) == (name, side)]
    return found


def value(findings: Sequence[Finding], check: str, side: str = "chosen") -> float | None:
    """Return the value of the one finding of a check and a side."""
    (found,) = [one.value for one in findings if (one.check, one.side) == (check, side)]
    return found
