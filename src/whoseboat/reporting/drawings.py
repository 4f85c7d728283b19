"""How charts are drawn: figures with whiskers, bars, bars on two sides, histograms. Each function returns a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whoseboat.reporting.charts import POINTS, Axes, Canvas, Drawing, Drawn, Palette, shortened

_LETTER = 7.0  # about the width of a letter, in points
_MOST_LEFT = 320.0
_LONGEST_NAME = 43
_LONGEST_IN_KEY = 30
_LINE_OF_KEY = 20.0
_RIGHT = 18.0
_NARROW_LEFT = 14.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A value with its interval, of one of the series."""

    series: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a chart: its name, and its marks; `reason` says why it has none."""

    name: str
    marks: tuple[Mark, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """What values are drawn on: from, to, where nothing is gained or lost, and what they are."""

    low: float
    high: float
    zero: float | None = None
    name: str = ""
    is_share: bool = False


def around_zero(rows: Sequence[Row], name: str) -> Scale:
    """Return a scale that holds all marks of rows with their intervals, and 0."""
    marks = [mark for row in rows for mark in row.marks]
    ends = [end for mark in marks for end in (mark.value, mark.low, mark.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = 0.08 * (high - low or 1)
    return Scale(low - room, high + room, 0.0, name)


# Of each series its colour and its form, so that they are told apart in grey, too.
_FORMS = {"chosen": "o", "rejected": "s", "both": "D", "pair": "D", "win": "o", "loss": "s", "tie": "D", "missing": "v"}
_MORE_FORMS = ("o", "s", "D", "^", "v", "P", "X")


def whiskers(rows: Sequence[Row], scale: Scale, names: dict[str, str] | None = None) -> Drawing:
    """Draw values as dots and their intervals as whiskers, a row for each name; `names` are those of the series."""
    series = _series(rows)

    def draw(canvas: Canvas) -> Drawn:
        step = 17.0
        heights = [max(1, len(row.marks)) * step + (24 if canvas.is_narrow else 12) for row in rows]
        left = _NARROW_LEFT if canvas.is_narrow else _left(canvas, [row.name for row in rows])
        labels = [(names or {}).get(name, name) for name in series]
        key = 26 + _more_of_key(canvas, labels, left) if len(series) > 1 else 8
        height = sum(heights) + key + 44
        with canvas.figure(height) as drawn:
            axes = canvas.axes(drawn, left, 44, _RIGHT, key)
            axes.set_ylim(sum(heights), 0)
            _scale(axes, canvas, scale)
            top = 0.0
            for row, room in zip(rows, heights, strict=True):
                _name_row(axes, canvas, row.name, top, room)
                first = top + (26 if canvas.is_narrow else (room - max(1, len(row.marks)) * step) / 2 + step / 2)
                if not row.marks:
                    axes.text(
                        0.5,
                        first,
                        canvas.text(row.reason or "none", 60),
                        transform=axes.get_yaxis_transform(),
                        color=canvas.palette.soft,
                        ha="center",
                        va="center",
                    )
                for number, mark in enumerate(row.marks):
                    _mark(axes, canvas, mark, first + number * step)
                top += room
                if row is not rows[-1]:
                    axes.axhline(top, color=canvas.palette.line, linewidth=0.6)
            _key(drawn, canvas, labels, series, left)
        return drawn

    return draw


def bars(rows: Sequence[tuple[str, int]], first_stands_out: bool = True, series: str = "other") -> Drawing:
    """Draw counts as bars, each with its number at its end."""

    def draw(canvas: Canvas) -> Drawn:
        most = max((count for _, count in rows), default=0) or 1
        room = 40.0 if canvas.is_narrow else 26.0
        with canvas.figure(room * len(rows) + 12) as drawn:
            left = _NARROW_LEFT if canvas.is_narrow else _left(canvas, [name for name, _ in rows])
            axes = canvas.axes(drawn, left, 4, 70, 8)
            axes.set(xlim=(0, most), ylim=(room * len(rows), 0), xticks=[])
            axes.set_yticks([])
            for number, (name, count) in enumerate(rows):
                top = number * room
                _name_row(axes, canvas, name, top, room)
                middle = top + (30 if canvas.is_narrow else room / 2)
                stands_out = first_stands_out and number == 0
                colour = canvas.palette.chosen if stands_out else getattr(canvas.palette, series)
                axes.barh(middle, count, height=13, color=colour, linewidth=0)
                _beside(axes, canvas, count, middle, f"{count:,}")
        return drawn

    return draw


def stacked(rows: Sequence[tuple[str, dict[str, int]]], names: dict[str, str]) -> Drawing:
    """Draw the shares of what each row is made of as one bar of full length, the numbers of rows beside it."""

    def draw(canvas: Canvas) -> Drawn:
        room = 42.0 if canvas.is_narrow else 28.0
        left = _NARROW_LEFT if canvas.is_narrow else _left(canvas, [name for name, _ in rows])
        key = 30 + _more_of_key(canvas, list(names.values()), left)
        with canvas.figure(room * len(rows) + key + 34) as drawn:
            axes = canvas.axes(drawn, left, 34, 62, key)
            axes.set(xlim=(0, 1), ylim=(room * len(rows), 0))
            _share_ticks(axes, canvas, (0, 0.25, 0.5, 0.75, 1))
            for number, (name, parts) in enumerate(rows):
                top, whole, start = number * room, sum(parts.values()), 0.0
                _name_row(axes, canvas, name, top, room)
                middle = top + (30 if canvas.is_narrow else room / 2)
                for part in names:
                    share = parts.get(part, 0) / whole if whole else 0
                    axes.barh(
                        middle,
                        share,
                        left=start,
                        height=15,
                        color=_colour(canvas.palette, part),
                        edgecolor=canvas.palette.paper,
                        linewidth=1,
                    )
                    start += share
                _beside(axes, canvas, 1, middle, f"{whole:,}")
            _key(drawn, canvas, list(names.values()), list(names), left, is_area=True)
        return drawn

    return draw


def grouped(rows: Sequence[tuple[str, dict[str, int]]], names: dict[str, str]) -> Drawing:
    """Draw counts of several series as bars one below the other, each with its number at its end."""

    def draw(canvas: Canvas) -> Drawn:
        step, above = 17.0, 24.0 if canvas.is_narrow else 0.0
        heights = [len(parts) * step + 12 + above for _, parts in rows]
        most = max((count for _, parts in rows for count in parts.values()), default=0) or 1
        left = _NARROW_LEFT if canvas.is_narrow else _left(canvas, [name for name, _ in rows])
        of_series = [part for part in names if any(part in parts for _, parts in rows)]
        key = 28 + _more_of_key(canvas, [names[part] for part in of_series], left)
        with canvas.figure(sum(heights) + key + 8) as drawn:
            axes = canvas.axes(drawn, left, 4, 70, key)
            axes.set(xlim=(0, most), ylim=(sum(heights), 0), xticks=[])
            axes.set_yticks([])
            top = 0.0
            for (name, parts), room in zip(rows, heights, strict=True):
                _name_row(axes, canvas, name, top, room)
                for number, (part, count) in enumerate(parts.items()):
                    middle = top + above + 6 + (number + 0.5) * step
                    axes.barh(middle, count, height=12, color=_colour(canvas.palette, part), linewidth=0)
                    _beside(axes, canvas, count, middle, f"{count:,}")
                top += room
            _key(drawn, canvas, [names[part] for part in of_series], of_series, left, is_area=True)
        return drawn

    return draw


def two_sided(
    left_words: Sequence[tuple[str, float]], right_words: Sequence[tuple[str, float]], heads: tuple[str, str]
) -> Drawing:
    """Draw two lists of words as bars that go to the left and to the right, the strongest first."""

    def draw(canvas: Canvas) -> Drawn:
        rows = max(len(left_words), len(right_words))
        room, above = 21.0, 30.0
        most = max((abs(value) for _, value in (*left_words, *right_words)), default=0) or 1
        longest = 14 if canvas.is_narrow else 28
        with canvas.figure(rows * room + above + 10) as drawn:
            axes = canvas.axes(drawn, 8, 6, 8, above)
            reach = most * (2.3 if canvas.is_narrow else 1.9)
            axes.set(xlim=(-reach, reach), ylim=(rows * room, 0), xticks=[])
            axes.set_yticks([])
            for words, sign, series in ((left_words, -1, "rejected"), (right_words, 1, "chosen")):
                for number, (word, value) in enumerate(words):
                    middle = (number + 0.5) * room
                    axes.barh(middle, sign * abs(value), height=13, color=_colour(canvas.palette, series), linewidth=0)
                    axes.annotate(
                        canvas.text(word, longest),
                        (sign * abs(value), middle),
                        (5 * sign, 0),
                        textcoords="offset points",
                        va="center",
                        ha="left" if sign > 0 else "right",
                        color=canvas.palette.ink,
                        annotation_clip=False,
                    )
            axes.axvline(0, color=canvas.palette.soft, linewidth=0.8)
            for place, head, at in ((-1, heads[0], "right"), (1, heads[1], "left")):
                axes.annotate(
                    canvas.text(head, 26 if canvas.is_narrow else 60),
                    (0, 0),
                    (8 * place, 12),
                    textcoords="offset points",
                    ha=at,
                    va="bottom",
                    fontsize=POINTS,
                    color=canvas.palette.soft,
                    annotation_clip=False,
                )
        return drawn

    return draw


def histogram(
    steps: Sequence[tuple[float, int, str]], ticks: dict[float, str], width: float, name: str, across: str
) -> Drawing:
    """Draw counts by steps of a quantity as columns; each step has its series."""

    def draw(canvas: Canvas) -> Drawn:
        with canvas.figure(250) as drawn:
            axes = canvas.axes(drawn, 52, 62, 12, 16)
            places = [place for place, _, _ in steps]
            colours = [_colour(canvas.palette, series) for _, _, series in steps]
            axes.bar(places, [count for _, count, _ in steps], width=width, color=colours, linewidth=0)
            axes.set_xticks(list(ticks), list(ticks.values()))
            _counts_up(axes, canvas, across)
            axes.set_xlabel(name, fontsize=POINTS, color=canvas.palette.soft, labelpad=6)
        return drawn

    return draw


def outlines(lines: dict[str, dict[int, int]], names: dict[str, str], name: str, across: str) -> Drawing:
    """Draw how often each number occurs in each series, as lines over the same numbers."""

    def draw(canvas: Canvas) -> Drawn:
        labels = [names[series] for series in lines]
        more = _more_of_key(canvas, labels, 52)
        with canvas.figure(270 + more) as drawn:
            axes = canvas.axes(drawn, 52, 50, 12, 34 + more)
            numbers = [number for counts in lines.values() for number in counts]
            for series, counts in lines.items():
                over = range(min(numbers) - 1, max(numbers) + 2)
                axes.plot(
                    over,
                    [counts.get(number, 0) for number in over],
                    drawstyle="steps-mid",
                    linewidth=2,
                    color=_colour(canvas.palette, series),
                    linestyle="-" if series == "chosen" else (0, (4, 1.5)),
                )
            _counts_up(axes, canvas, across)
            axes.xaxis.get_major_locator().set_params(integer=True, nbins=6 if canvas.is_narrow else 12)
            axes.set_xlabel(name, fontsize=POINTS, color=canvas.palette.soft, labelpad=6)
            _key(drawn, canvas, labels, list(lines), 52, is_area=True)
        return drawn

    return draw


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a scatter with a whisker: where it is, its value and interval, and what stands beside it."""

    place: float
    value: float | None
    low: float | None
    high: float | None
    said: str = ""


def scatter(lines: dict[str, Sequence[Point]], scale: Scale, name: str) -> Drawing:
    """Draw values with whiskers over a quantity, in as many forms as there are lines."""

    def draw(canvas: Canvas) -> Drawn:
        key = 34 + _more_of_key(canvas, list(lines), 52)
        with canvas.figure(270 + key) as drawn:
            axes = canvas.axes(drawn, 52, 50, 16, key)
            axes.set_ylim(scale.low, scale.high)
            axes.axhline(0, color=canvas.palette.soft, linewidth=0.8)
            for number, points in enumerate(lines.values()):
                _points(axes, canvas, number, points, with_counts=len(lines) == 1)
            axes.tick_params(labelcolor=canvas.palette.soft)
            axes.yaxis.grid(True, color=canvas.palette.line, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.margins(x=0.06)
            axes.xaxis.get_major_locator().set_params(nbins=4 if canvas.is_narrow else 8)
            axes.set_xlabel(name, fontsize=POINTS, color=canvas.palette.soft, labelpad=6)
            axes.set_ylabel(scale.name, fontsize=POINTS, color=canvas.palette.soft)
            _key(drawn, canvas, list(lines), [f"#{number}" for number in range(len(lines))], 52)
        return drawn

    return draw


def _points(axes: Axes, canvas: Canvas, number: int, points: Sequence[Point], *, with_counts: bool) -> None:
    colour, form = _numbered(canvas.palette, number)
    for point in points:
        if point.value is None:
            continue
        if point.low is not None and point.high is not None:
            axes.plot([point.place] * 2, [point.low, point.high], color=colour, linewidth=1.6)
        axes.plot(point.place, point.value, marker=form, color=colour, markersize=7)
        beside = {"textcoords": "offset points", "color": canvas.palette.soft, "fontsize": POINTS - 2}
        if with_counts:
            axes.annotate(point.said, (point.place, point.value), (6, 4), annotation_clip=False, **beside)


def _numbered(palette: Palette, number: int) -> tuple[str, str]:
    colours = (palette.chosen, palette.rejected, palette.ink, palette.other)
    return colours[number % len(colours)], _MORE_FORMS[number % len(_MORE_FORMS)]


def _series(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(mark.series for row in rows for mark in row.marks))


def _colour(palette: Palette, series: str) -> str:
    of = {"pair": "ink", "win": "chosen", "loss": "rejected", "missing": "other", "neither": "other"}
    return str(getattr(palette, of.get(series, series)))


def _left(canvas: Canvas, names: Sequence[str]) -> float:
    """Return how much room names need at the left."""
    return min(_MOST_LEFT, 20 + _LETTER * max((len(canvas.text(name, _LONGEST_NAME)) for name in names), default=0))


def _name_row(axes: Axes, canvas: Canvas, name: str, top: float, room: float) -> None:
    """Write the name of a row: beside it, or above it where it is narrow, there on ground that hides lines."""
    place = {"xycoords": axes.get_yaxis_transform(), "va": "center", "color": canvas.palette.ink}
    if canvas.is_narrow:
        ground = {"facecolor": canvas.palette.paper, "edgecolor": "none", "pad": 1.5}
        text = canvas.text(name, 46)
        axes.annotate(text, (0, top + 12), annotation_clip=False, bbox=ground, **place)
        return
    text = canvas.text(name, _LONGEST_NAME)
    beside = {"xytext": (-12, 0), "textcoords": "offset points", "ha": "right"}
    axes.annotate(text, (0, top + room / 2), annotation_clip=False, **beside, **place)


def _mark(axes: Axes, canvas: Canvas, mark: Mark, at: float) -> None:
    if mark.value is None:
        return
    colour = _colour(canvas.palette, mark.series)
    if mark.low is not None and mark.high is not None:
        axes.plot([mark.low, mark.high], [at, at], color=colour, linewidth=2, solid_capstyle="butt")
        for end in (mark.low, mark.high):
            axes.plot([end, end], [at - 3.5, at + 3.5], color=colour, linewidth=1.4)
    axes.plot(mark.value, at, marker=_FORMS.get(mark.series, "o"), color=colour, markersize=7.5, clip_on=False)


def _beside(axes: Axes, canvas: Canvas, value: float, at: float, text: str) -> None:
    axes.annotate(
        text,
        (value, at),
        (6, 0),
        textcoords="offset points",
        va="center",
        color=canvas.palette.ink,
        annotation_clip=False,
    )


def _scale(axes: Axes, canvas: Canvas, scale: Scale) -> None:
    axes.set_xlim(scale.low, scale.high)
    axes.set_yticks([])
    axes.xaxis.get_major_locator().set_params(nbins=4 if canvas.is_narrow else 8)
    axes.xaxis.grid(True, color=canvas.palette.line, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelcolor=canvas.palette.soft)
    if scale.zero is not None:
        axes.axvline(scale.zero, color=canvas.palette.soft, linewidth=1)
    axes.set_xlabel(scale.name, fontsize=POINTS, color=canvas.palette.soft, labelpad=4)


def _share_ticks(axes: Axes, canvas: Canvas, ticks: Sequence[float]) -> None:
    axes.set_yticks([])
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.tick_params(labelcolor=canvas.palette.soft)


def _counts_up(axes: Axes, canvas: Canvas, across: str) -> None:
    axes.yaxis.grid(True, color=canvas.palette.line, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.yaxis.get_major_locator().set_params(nbins=4, integer=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(labelcolor=canvas.palette.soft)
    axes.set_ylabel(across, fontsize=POINTS, color=canvas.palette.soft)


def _key(
    drawn: Drawn, canvas: Canvas, names: Sequence[str], series: Sequence[str], left: float, is_area: bool = False
) -> None:
    """Say at the top which form and colour is which series; nothing where there is one alone."""
    if len(series) < 2:
        return
    from matplotlib.lines import Line2D

    width, height = canvas.width, drawn.get_figheight() * 72
    above = (30 if canvas.title else 0) + 12.0
    for name, one, (across, line) in zip(names, series, _places_in_key(canvas, names, left), strict=True):
        down = above + _LINE_OF_KEY * line
        if one.startswith("#"):
            colour, form = _numbered(canvas.palette, int(one[1:]))
        else:
            colour, form = _colour(canvas.palette, one), "s" if is_area else _FORMS.get(one, "o")
        mark = Line2D([(across + 6) / width], [1 - down / height], marker=form, color=colour, ls="", markersize=8)
        drawn.add_artist(mark)
        text = canvas.text(name, _LONGEST_IN_KEY)
        drawn.text((across + 17) / width, 1 - down / height, text, va="center", color=canvas.palette.ink)


def _more_of_key(canvas: Canvas, names: Sequence[str], left: float) -> float:
    """Return how much room a key needs below its first line."""
    return _LINE_OF_KEY * max((line for _, line in _places_in_key(canvas, names, left)), default=0)


def _places_in_key(canvas: Canvas, names: Sequence[str], left: float) -> list[tuple[float, int]]:
    """Return for each name of a key how far from the left it stands, and in which line, counted from 0."""
    start = 8.0 if canvas.is_narrow else left
    across, line, places = start, 0, list[tuple[float, int]]()
    for name in names:
        needed = 36 + _LETTER * len(shortened(name, _LONGEST_IN_KEY))
        if across > start and across + needed > canvas.width:
            across, line = start, line + 1
        places.append((across, line))
        across += needed
    return places
