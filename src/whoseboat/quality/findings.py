"""What checks find: rows of `checks.parquet`, figures with intervals, and tables for `checks.json` and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from whoseboat.metric import Figure
from whoseboat.quality.pairs import CheckedPair

# `pair`: of both personas of a pair together; `set`: of the whole set (figures only).
FindingSide = Literal["chosen", "rejected", "pair"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found of one persona, or of a pair: a row of `checks.parquet`.

    Args:
        id: of the pair.
        split: of the pair.
        side: which persona, or `pair`.
        check: the check, in a word or two with underscores: `shared_words`, `accuracy`.
        value: what was measured; None where the check says yes or no alone.
        is_bad: whether it is something to look at.
        detail: what exactly, in a few words on one line, such as the matched term.

    """

    id: str
    split: str
    side: FindingSide
    check: str
    value: float | None = None
    is_bad: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CheckFigure:
    """A figure of a whole set, or of a part of it.

    Args:
        name: what is measured: `accuracy (strict)`.
        side: `chosen`, `rejected` or `both`.
        figure: the value with its interval by conversation.
        part: which part of the pairs, such as `equal length` or a part of the source; empty: all.
        judge: who judged; empty where something was counted.
        note: what a reader must know.

    """

    name: str
    side: Literal["chosen", "rejected", "both"]
    figure: Figure
    part: str = ""
    judge: str = ""
    note: str = ""


@dataclass(frozen=True)
class Checked:
    """What a check came to: figures, tables of plain data by name, and findings that needed all pairs."""

    figures: tuple[CheckFigure, ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)
    findings: Iterable[Finding] = ()


class TextCheck(Protocol):
    """A check that reads texts and asks nobody: it is shown every pair once, in the order they are stored."""

    def add(self, pair: CheckedPair) -> Iterable[Finding]:
        """Look at a pair and return what can be said of it already."""
        ...

    def result(self) -> Checked:
        """Return what can be said once all pairs were seen."""
        ...
