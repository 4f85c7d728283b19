"""Figures in words for a report: with intervals, and with signs where a figure has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Plain = Mapping[str, Any]

NOT_CHECKED = "Not checked: run `whoseboat check` on this folder, and make the report again."
_SIGNED = ("specificity", "preference (net)", "position bias", "net", "δpq", "difference", "slope", "excess", "over ")


def is_signed(name: str) -> bool:
    """Say whether a figure goes from -1 to 1 and means nothing gained at 0."""
    return name.lower().startswith(_SIGNED)


def number(value: float | int | None, *, signed: bool = False) -> str:
    """Return a number for a reader."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    shown = f"{value:+.3f}" if signed else f"{value:,.3f}"
    return "0.000" if shown in ("+0.000", "-0.000") else shown.replace("-", "\u2212")


def interval(figure: Plain, *, signed: bool = False) -> str:
    """Return the interval of a figure, empty where there is none."""
    if figure.get("value") is None or figure.get("low") is None or figure.get("high") is None:
        return ""
    few = "\u00a0†" if is_of_few(figure) else ""
    return f"[{number(figure['low'], signed=signed)},\u00a0{number(figure['high'], signed=signed)}]{few}"


def is_of_few(figure: Plain) -> bool:
    """Say whether its interval is of too few conversations to be trusted."""
    return "too few clusters" in str(figure.get("note") or "")


def value(figure: Plain, *, signed: bool = False) -> str:
    """Return the value of a figure, or why there is none."""
    if figure.get("value") is None:
        return str(figure.get("reason") or "none")
    return number(figure["value"], signed=signed)


def plain_name(name: str) -> str:
    """Return the name of a reason or a check as words."""
    return name.replace("_", " ")


def size(count: int) -> str:
    """Return a number of bytes for a reader."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3)):,} kB"
