"""How far a judge is, and what it would ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from whoseboat.llm.budget import Tally

_REPORT_SECONDS = 0.2
_Told = TypeVar("_Told")


@dataclass(slots=True)
class Progress:
    """How far a judge is: cases that have come to their end, and how many of their verdicts are none."""

    cases: int = 0
    unreadable: int = 0
    failed: int = 0
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class Estimate:
    """What judging would ask, and roughly its tokens and dollars (None: no price).

    `requests` would be sent; of the verdicts wanted, `answered` are there already, and `failed` have failed in an
    earlier run.
    """

    cases: int
    requests: int
    answered: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


def reporter(on_progress: Callable[[_Told], None] | None) -> Callable[[_Told, bool], None]:
    """Return a function that reports where that is due: a few times a second, and whenever it has to."""
    last = 0.0

    def report(progress: _Told, must: bool) -> None:
        nonlocal last
        if on_progress is not None and (must or time.monotonic() - last >= _REPORT_SECONDS):
            last = time.monotonic()
            on_progress(progress)

    return report
