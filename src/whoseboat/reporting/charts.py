"""Charts: one description, drawn by matplotlib for a page, wide and narrow, and as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

Axes = Any  # matplotlib ships no types
Drawn = Any

WIDE, NARROW = 860, 350
POINTS = 12.5
_PNG_DOTS = 144


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a chart: letters, lines, and of two sides that any colour vision tells apart."""

    ink: str
    soft: str
    line: str
    chosen: str
    rejected: str
    both: str
    other: str
    tie: str
    paper: str


ON_PAPER = Palette("#1c2430", "#55606e", "#c9d0d8", "#0072b2", "#cc7700", "#1c2430", "#8c8c8c", "#c3c9d1", "#ffffff")
# Colours that stand for names: a page replaces them by its own, which follow light and dark.
_NAMES = ("ink", "soft", "line", "chosen", "rejected", "both", "other", "tie", "card")
STANDING_FOR = {f"#0a0b{number:02x}": f"var(--{name})" for number, name in enumerate(_NAMES, start=1)}
_FOR_PAGES = Palette(*STANDING_FOR)


@dataclass(frozen=True)
class Table:
    """Figures as text: a head, and rows under it. Columns from `numbers` on are numbers, but the last `notes`."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1
    notes: int = 0

    def is_number(self, column: int) -> bool:
        """Say whether a column holds numbers."""
        return self.numbers <= column < len(self.head) - self.notes


@dataclass
class Canvas:
    """What a chart is drawn on: its width, its colours, and how letters beyond the font are shown."""

    width: int
    palette: Palette
    is_png: bool = False
    title: str = ""
    texts: dict[str, str] = field(default_factory=dict)  # what stands for a text the font cannot draw

    @property
    def is_narrow(self) -> bool:
        """Whether there is no room for names beside what they name."""
        return self.width <= NARROW

    def text(self, text: str, width: int = 40) -> str:
        """Return a text on one line, cut, so that matplotlib can draw it.

        The page gets the very letters later, in place of others that are about as wide. In a PNG, letters beyond the
        font are question marks.
        """
        line = shortened(text, width)
        if all(map(_can_draw, line)):
            return line
        if self.is_png:
            return "".join(letter if _can_draw(letter) else "?" for letter in line)
        stand_in = f"Q{len(self.texts):03d}Q" + "m" * max(0, len(line) - 5)
        self.texts[stand_in] = line
        return stand_in

    @contextmanager
    def figure(self, height: float) -> Iterator[Drawn]:
        """Give an empty figure of this height; its title is drawn where it is to stand alone."""
        from matplotlib.figure import Figure

        above = 30 if self.title else 0
        drawn = Figure(figsize=(self.width / 72, (height + above) / 72), dpi=72)
        drawn.patch.set_alpha(1 if self.is_png else 0)
        if self.title:
            top = 1 - 6 / (height + above)
            drawn.text(
                8 / self.width, top, self.text(self.title, 90), va="top", fontsize=POINTS + 1, color=self.palette.ink
            )
        yield drawn

    def axes(self, drawn: Drawn, left: float, bottom: float, right: float, top: float) -> Axes:
        """Return axes in a figure with these margins in points, nothing drawn on them yet."""
        width, height = self.width, drawn.get_figheight() * 72
        top += 30 if self.title else 0
        place = (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
        axes = drawn.add_axes(place)
        axes.patch.set_alpha(0)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=POINTS, labelcolor=self.palette.ink, pad=6)
        return axes


Drawing = Callable[[Canvas], Drawn]


@dataclass(frozen=True)
class Chart:
    """A chart: its name, what it shows, the same in words and as a table, and how it is drawn."""

    name: str
    title: str
    said: str
    table: Table
    draw: Drawing = field(repr=False)

    @property
    def path(self) -> str:
        """Where its PNG lies in a dataset folder."""
        return f"assets/{self.name}.png"


def draw_png(directory: Path, charts: Sequence[Chart]) -> list[Path]:
    """Write the PNG of every chart into a directory, and return their paths; the same figures give the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for chart in charts:
        paths.append(directory / f"{chart.name}.png")
        paths[-1].write_bytes(png(chart))
    return paths


def pngs(charts: Sequence[Chart]) -> Mapping[str, bytes]:
    """Return the PNG of every chart by its place in a dataset folder."""
    return {chart.path: png(chart) for chart in charts}


def png(chart: Chart) -> bytes:
    """Return a chart as PNG, without date or version of any program in it."""
    with _settings():
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        drawn = chart.draw(Canvas(WIDE, ON_PAPER, is_png=True, title=chart.title))
        FigureCanvasAgg(drawn)
        file = io.BytesIO()
        drawn.savefig(file, format="png", dpi=_PNG_DOTS, metadata={"Software": None})
    return file.getvalue()


def svg(chart: Chart, width: int) -> str:
    """Return a chart as SVG for a page, text as text, colours as those of the page."""
    from whoseboat.reporting.vectors import for_page

    with _settings():
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        canvas = Canvas(width, _FOR_PAGES)
        drawn = chart.draw(canvas)
        FigureCanvasSVG(drawn)
        file = io.BytesIO()
        drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    of = f"{chart.name}-{'narrow' if canvas.is_narrow else 'wide'}"
    return for_page(file.getvalue(), of, chart.said, STANDING_FOR, canvas.texts)


def shortened(text: str, width: int) -> str:
    """Return a text on one line of so many characters."""
    from whoseboat.errors import printable

    line = printable(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 1] + "…"


@contextmanager
def _settings() -> Iterator[None]:
    """Let matplotlib draw the same whatever its user's settings are; a dollar begins no formula."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {"svg.fonttype": "none", "svg.hashsalt": "whoseboat", "text.parse_math": False, "font.size": POINTS}
        )
        yield


def _can_draw(letter: str) -> bool:
    return letter.isascii() or ord(letter) in _letters()


@cache
def _letters() -> frozenset[int]:
    """Return the letters that the font matplotlib brings can draw."""
    from matplotlib import font_manager, ft2font

    font = ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))
    return frozenset(font.get_charmap())
