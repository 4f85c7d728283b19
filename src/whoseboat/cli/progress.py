"""How long work goes, on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from whoseboat.pipeline import Progress

_LOG_EVERY_SECONDS = 5.0
_WIDE, _MEDIUM = 120, 100
# Lines of work whose end is known: on a terminal somebody waits, in a log they are to be few.
_LINE_EVERY_SECONDS = {True: 5.0, False: 30.0}
_LINE_EVERY_SHARE = 0.05
_BESIDE = 14  # columns of the spinner, the time and the spaces between
_NOT_DRAWN = "not_sampled"  # what a build calls a pair that `--limit` left out
_SHORTEST = 0.5  # seconds between two lines, and until it can be told how much time is left


class Pace:
    """When a line is due of work whose end is known, and how much time is left.

    A line is due a twentieth of the work after the last one, or half a minute after it (on a terminal five seconds),
    and at the end; never two within half a second.
    """

    def __init__(self) -> None:
        self._every = _LINE_EVERY_SECONDS[sys.stderr.isatty()]
        self._began: tuple[float, float] | None = None  # when, and how much was done then
        self._told = (time.monotonic(), 0.0)

    def is_due(self, done: float, of: float | None) -> bool:
        """Say whether a line is due, and take it as told where it is."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, done
        moved, since = done - self._told[1], now - self._told[0]
        is_far = of is not None and moved >= _LINE_EVERY_SHARE * of and since >= _SHORTEST
        is_due = is_far or since >= self._every or (done == of and moved > 0)
        if is_due:
            self._told = now, done
        return is_due

    def left(self, done: float, of: float | None) -> str:
        """Return how much time is left, nothing where that is not known yet or nothing is left."""
        if self._began is None or of is None or done >= of:
            return ""
        seconds, moved = time.monotonic() - self._began[0], done - self._began[1]
        if moved <= 0 or seconds < _SHORTEST:
            return ""
        return f"about {timedelta(seconds=round(seconds / moved * (of - done)))} left"


@contextmanager
def build_progress() -> Iterator[Callable[[Progress], None]]:
    """Show how a build goes on standard error: a live line on a terminal, a plain line now and then in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.table import Column
    from rich.text import Text

    shown: list[Progress] = []
    started = time.monotonic()

    console = Console(stderr=True)
    bar_width = 20 if console.width >= _WIDE else 8 if console.width >= _MEDIUM else 0
    room = console.width - bar_width - _BESIDE

    class Counts(ProgressColumn):
        """The counts as they are at the moment of drawing, not of the last row; as many as there is room for."""

        max_refresh = None

        def render(self, task: object) -> Text:
            line = build_line(shown[0], time.monotonic() - started, room) if shown else "reading"
            return Text(line)

    if console.is_terminal:
        counts = Counts(Column(no_wrap=True, overflow="ellipsis"))
        bars = (BarColumn(bar_width=bar_width),) if bar_width else ()
        with Bar(
            SpinnerColumn(), *bars, counts, TimeElapsedColumn(), console=console, refresh_per_second=4, transient=True
        ) as bar:
            task = bar.add_task("", total=None)

            def draw(progress: Progress) -> None:
                if not shown:
                    shown.append(progress)
                bar.update(task, completed=progress.read, total=progress.expected)

            yield draw
        return

    ended = threading.Event()

    def log() -> None:
        while not ended.wait(_LOG_EVERY_SECONDS):
            if shown:
                typer.echo(build_line(shown[0], time.monotonic() - started), err=True)

    thread = threading.Thread(target=log, name="progress", daemon=True)
    thread.start()
    try:
        yield lambda progress: shown.append(progress) if not shown else None
    finally:
        ended.set()
        thread.join()


def build_line(progress: Progress, seconds: float, room: int | None = None) -> str:
    """Say in a line how far a build is; where there is little room, what matters least is left out."""
    parts = _parts(progress, seconds)
    while room is not None and len(parts) > 1 and len(_joined(parts)) > room:
        parts.remove(max(parts, key=lambda part: part[0]))
    return _joined(parts)


def _joined(parts: Sequence[tuple[int, str]]) -> str:
    return ", ".join(text for _, text in parts)


def _parts(progress: Progress, seconds: float) -> list[tuple[int, str]]:
    """Return what is to be told in its order, each with how soon it is left out: the largest number first."""
    rate = progress.read / max(seconds, 1e-9)
    not_drawn = progress.dropped[_NOT_DRAWN]
    parts = [
        (0, f"{progress.read:,} rows"),
        (1, f"{progress.rows:,} kept"),
        (3, f"{progress.dropped.total() - not_drawn:,} dropped"),
    ]
    parts += [(4, f"{not_drawn:,} not drawn")] if not_drawn else []
    tally = progress.tally
    asked = tally.answered + tally.failed
    if asked or tally.reused or tally.retried:
        parts += [(5, f"{tally.answered:,} answered")]
        counts = ((2, "failed", tally.failed), (7, "reused", tally.reused))
        parts += [(place, f"{count:,} {name}") for place, name, count in counts if count]
        parts += [(8, f"{asked / max(seconds, 1e-9):,.0f} requests/s"), (9, f"{tally.tokens:,} tokens")]
        parts += [(2, f"${tally.cost:,.2f}")] if tally.prices else []
    else:
        parts += [(8, f"{rate:,.0f} rows/s")]
    expected = progress.expected
    if expected and progress.read:
        left = timedelta(seconds=round(max(expected - progress.read, 0) / rate))
        parts += [(2, f"about {left} left")]
    if tally.note:
        parts.append((10, tally.note))
    return parts
