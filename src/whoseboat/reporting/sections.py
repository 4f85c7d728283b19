"""What a report is made of: sections with figures in words, charts and tables."""

from __future__ import annotations

from dataclasses import dataclass

from whoseboat.reporting.charts import Chart, Table


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure that stands by itself: its name, its value, its interval, and what it is over."""

    name: str
    value: str
    interval: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Titled:
    """A table with its title; where it is long it is folded."""

    title: str
    table: Table
    is_folded: bool = False


@dataclass(frozen=True)
class Section:
    """A section: its key for links, its name in the navigation, its title, and what stands in it.

    `missing` says why there is nothing, where there is nothing.
    """

    key: str
    name: str
    title: str
    said: tuple[str, ...] = ()
    tiles: tuple[Tile, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Titled, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Content:
    """Everything of a report but its rows: titles, facts in words, and sections."""

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = ()

    @property
    def charts(self) -> tuple[Chart, ...]:
        """All charts, in their order."""
        return tuple(chart for section in self.sections for chart in section.charts)
