"""What a report says of an evaluation: models compared with a baseline, from `evaluation.json` and the verdicts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whoseboat import metric
from whoseboat.errors import DataError
from whoseboat.evaluation.table import _QUESTIONS as QUESTIONS
from whoseboat.evaluation.table import _TERMS as TERMS
from whoseboat.evaluation.table import NO_RANKING
from whoseboat.judge import ROUND_TRIP
from whoseboat.reporting import words
from whoseboat.reporting.charts import Chart, Table, shortened
from whoseboat.reporting.drawings import Mark, Point, Row, Scale, around_zero, scatter, stacked, whiskers
from whoseboat.reporting.sections import Content, Section, Tile, Titled

Plain = Mapping[str, Any]

_OUTCOMES = {"wins": "win", "ties": "tie", "losses": "loss", "missing": "missing"}
_SIDE_NAMES = {"both": "all", "chosen": "chosen", "rejected": "rejected"}
_BINS, _FEWEST_IN_BIN = 6, 5
_MOST_TILES, _MOST_ROWS = 12, 40
_COLUMNS = ("model", "case", "root", "question", "order", "choice", "said", "model_characters", "baseline_characters")
_CHOICES = {"model": "A", "baseline": "B", "tie": "tie", "unreadable": "unreadable"}


def read(folder: Path) -> Content:
    """Return what a report says of a folder that `evaluate` made.

    Raises:
        DataError: a file of it is missing, or is not what it should be.

    """
    path = folder / "evaluation.json"
    try:
        evaluation = json.loads(path.read_bytes())
        return content(evaluation, _lengths(folder / "verdicts.parquet"))
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "the evaluation cannot be read",
            where=str(path),
            expected="a folder that `whoseboat evaluate` made",
            found=f"{type(error).__name__}: {error}",
        ) from error


def content(evaluation: Plain, lengths: Mapping[tuple[str, str], Sequence[Point]]) -> Content:
    """Return what a report says of an evaluation."""
    sections = [
        _headline(evaluation),
        _outcomes(evaluation),
        _deltas(evaluation),
        _between(evaluation),
        _rests(evaluation, lengths),
        _inputs(evaluation),
    ]
    return Content(
        f"Comparison with {evaluation['baseline']}",
        f"{_models(evaluation)} compared with a baseline, by the verdicts of a judge in both orders. "
        + " ".join(f"{QUESTIONS[question].capitalize()}." for question in evaluation["questions"]),
        tuple(_facts(evaluation)),
        tuple(section for section in sections if section is not None),
        tuple(_warnings(evaluation)),
    )


def _models(evaluation: Plain) -> str:
    count = len(evaluation["models"])
    return "One model" if count == 1 else f"{count:,} models"


def _facts(evaluation: Plain) -> Iterator[tuple[str, str]]:
    yield "baseline", evaluation["baseline"]
    yield "judge", evaluation["judge"]["label"]
    yield "date", evaluation["date"]
    engines = evaluation.get("persona_engines") or ()
    if engines:
        yield "personas by", ", ".join(engines)


def _warnings(evaluation: Plain) -> Iterator[str]:
    if not evaluation["judge"]["may_rank_models"]:
        yield f"{ROUND_TRIP.capitalize()}. {NO_RANKING.replace('`', '')}"
    yield from evaluation.get("unreadable", ())


def _questions(evaluation: Plain) -> Iterator[tuple[str, str, Plain]]:
    for model, of in evaluation["models"].items():
        for question, found in of["questions"].items():
            yield model, question, found


def _row_name(model: str, question: str) -> str:
    return f"{shortened(model, 18)}: {question}"


def _figure(part: Plain, figure: Plain) -> Plain:
    """Return a figure, or none where it is withheld."""
    withheld = part.get("withheld")
    return {**figure, "value": None, "low": None, "high": None, "reason": withheld} if withheld else figure


def _mark(series: str, figure: Plain) -> tuple[Mark, ...]:
    if figure["value"] is None:
        return ()
    return (Mark(series, figure["value"], figure["low"], figure["high"]),)


def _headline(evaluation: Plain) -> Section:
    tiles = []
    for model, question, found in _questions(evaluation):
        figure = _figure(found, found["net"])
        over = f"{found['counts']['pairs']:,} cases, {found['counts']['missing']:,} missing"
        interval = words.interval(figure, signed=True)
        tiles.append(Tile(f"net of {_row_name(model, question)}", words.value(figure, signed=True), interval, over))
    more = f" The first {_MOST_TILES} of {len(tiles):,}; all stand below." if len(tiles) > _MOST_TILES else ""
    said = (
        "Net is wins less losses over all cases read: above 0 the judge prefers the model to the baseline." + more,
        "† Fewer than 20 conversations: too few for an interval to be trusted, be it wide or narrow.",
    )
    has_few = any(words.is_of_few(found["net"]) for _, _, found in _questions(evaluation))
    return Section(
        "headline", "Overview", "Headline figures", said if has_few else said[:1], tuple(tiles[:_MOST_TILES])
    )


def _outcomes(evaluation: Plain) -> Section:
    counted, nets, table = [], [], []
    for model, question, found in _questions(evaluation):
        parts = {"both": found, **found["by_side"]}
        marks: tuple[Mark, ...] = ()
        for side, part in parts.items():
            counts = {name: part["counts"][plural] for plural, name in _OUTCOMES.items()}
            counted.append((f"{_row_name(model, question)}, {_SIDE_NAMES[side]}", counts))
            net, rate = (_figure(part, part[measure]) for measure in ("net", "win_rate"))
            marks += _mark(side, net)
            bounds = (words.number(net["worst"], signed=True), words.number(net["best"], signed=True))
            table.append(
                (
                    f"{model}: {question}, {_SIDE_NAMES[side]}",
                    *(f"{count:,}" for count in counts.values()),
                    words.value(net, signed=True),
                    words.interval(net, signed=True),
                    " to ".join(bounds) if part["counts"]["missing"] and net["value"] is not None else "",
                    words.value(rate),
                    words.interval(rate),
                )
            )
        nets.append(Row(_row_name(model, question), marks, found.get("withheld", "")))
    head = ("", *_OUTCOMES.values(), "net", "95 % interval", "if missing", "win rate", "95 % interval")
    both = Table(head, tuple(table))
    said = "; ".join(f"{row[0]}: net {row[5]} {row[6]}" for row in table[:_MOST_ROWS])
    names = {name: name for name in _OUTCOMES.values()}
    charts = (
        Chart(
            "net",
            "Net by side",
            f"Net by model, question and side: {said}",
            both,
            whiskers(nets[:_MOST_ROWS], around_zero(nets, "net; above 0 the judge prefers the model"), _SIDE_NAMES),
        ),
        Chart(
            "outcomes",
            "Won, tied, lost, missing",
            f"Shares of outcomes as bars: {said}",
            both,
            stacked(counted[:_MOST_ROWS], names),
        ),
    )
    text = (
        "A case is tied unless both orders name the same response. Missing are cases of which an order could not be "
        "read; “if missing” has the net with all of them lost, and all won. The win rate is over decided cases.",
        *_cut(len(counted)),
    )
    return Section("outcomes", "Outcomes", "Outcomes by question and side", text, charts=charts)


def _cut(rows: int) -> Iterator[str]:
    if rows > _MOST_ROWS:
        yield f"Charts draw the first {_MOST_ROWS} of {rows:,} rows; tables have all."


def _deltas(evaluation: Plain) -> Section | None:
    rows, table = [], []
    for model, of in evaluation["models"].items():
        delta = of["delta_pq"]
        for side, part in {"both": delta, **delta["by_side"]}.items() if delta else ():
            for form in ("net", "paper"):
                for key, name in (("figure", "ΔPQ"), ("personalization", "personalization"), ("quality", "quality")):
                    figure = _figure(part, part[form][key])
                    signed = form == "net" or key == "figure"
                    label = f"{shortened(model, 24)}: {name} ({form})"
                    shown = words.value(figure, signed=signed), words.interval(figure, signed=signed)
                    table.append((label, _SIDE_NAMES[side], *shown, words.number(figure.get("n"))))
                    if side == "both" and form == "net":
                        rows.append(Row(label, _mark("both", figure), figure.get("reason", "")))
    if not rows:
        return None
    both = Table(("", "personas", "value", "95 % interval", "cases"), tuple(table), numbers=2)
    said = "; ".join(f"{row[0]}: {row[2]} {row[3]}" for row in table if row[1] == "all")
    title = "ΔPQ and what it is made of"
    drawn = whiskers(rows[:_MOST_ROWS], around_zero(rows, "gain over the baseline"))
    text = "ΔPQ is half of what is gained in personalization and in quality, whose figures stand beside it."
    chart = Chart("delta_pq", title, f"{title}: {said}", both, drawn)
    return Section("delta", "ΔPQ", title, (text, *_cut(len(rows))), charts=(chart,))


def _between(evaluation: Plain) -> Section | None:
    rows, table = [], []
    for one in evaluation["between_models"]:
        figure = _figure(one, one["difference"])
        name = f"{shortened(one['first'], 16)} less {shortened(one['second'], 16)}: {one['question']}"
        rows.append(Row(name, _mark("both", figure), figure.get("reason", "")))
        shown = words.value(figure, signed=True), words.interval(figure, signed=True)
        table.append((name, *shown, words.number(figure.get("n"))))
    if not rows:
        return None
    title = "Differences between models"
    said = f"{title}: " + "; ".join(f"{name} {value} {interval}" for name, value, interval, _ in table[:_MOST_ROWS])
    drawn = whiskers(rows[:_MOST_ROWS], around_zero(rows, "difference of nets"))
    chart = Chart(
        "between", title, said, Table(("", "difference", "95 % interval", "cases of both"), tuple(table)), drawn
    )
    text = "Not asked for beforehand, and there are many of them: their intervals are not corrected for that."
    return Section("between", "Between", title, (text, *_cut(len(rows))), charts=(chart,))


def _rests(evaluation: Plain, lengths: Mapping[tuple[str, str], Sequence[Point]]) -> Section:
    rows = []
    for model, question, found in _questions(evaluation):
        worst, equal, bias = found["worst_group"], found["at_equal_length"], found["position_bias"]
        figures = (worst["figure"] if worst else None, equal["figure"], equal["slope"], bias)
        cells = [words.value(one, signed=True) if one else "none" for one in figures]
        intervals = [words.interval(one, signed=True) if one else "" for one in figures]
        if found.get("withheld"):
            cells, intervals = [found["withheld"]] * 4, [""] * 4
        shown = (f"{cell} {interval}".strip() for cell, interval in zip(cells, intervals, strict=True))
        rows.append((f"{model}: {question}", str(worst["group"]) if worst else "none", *shown))
    head = ("", "lowest of sides or groups", "its net", "net at equal length", "slope of length", "takes the first")
    charts = []
    for question in evaluation["questions"]:
        lines = {shortened(model, 24): points for (model, of), points in lengths.items() if of == question and points}
        if lines:
            charts.append(_length_chart(question, lines))
    tables = (Titled("Lowest group, length and place", Table(head, tuple(rows), numbers=2)),)
    return Section("rests", "Rests on", "What the figures rest on", (TERMS,), charts=tuple(charts), tables=tables)


def _length_chart(question: str, lines: Mapping[str, Sequence[Point]]) -> Chart:
    title = f"Net by difference of lengths: {question}"
    table = tuple(
        (
            model,
            f"{point.place:+,.0f}".replace("-", "\u2212"),
            words.number(point.value, signed=True),
            f"[{words.number(point.low, signed=True)}, {words.number(point.high, signed=True)}]"
            if point.low is not None
            else "",
            point.said,
        )
        for model, points in lines.items()
        for point in points
    )
    said = f"{title}, in bins of as many cases each, for {', '.join(lines)}."
    head = ("model", "characters more than the baseline", "net", "95 % interval", "cases")
    drawn = scatter(dict(lines), Scale(-1.1, 1.1, 0.0, "net"), "characters more than the baseline")
    return Chart(f"length_{question}", title, said, Table(head, table), drawn)


def _inputs(evaluation: Plain) -> Section:
    rows = tuple(
        (model, f"{of['rows']:,}", f"{of['mean_characters']:,.0f}", *(f"{of[fault]:,}" for fault in _faults(of)))
        for model, of in evaluation["inputs"].items()
    )
    faults = _faults(next(iter(evaluation["inputs"].values())))
    files = tuple(
        (model, file["name"], f"{file['rows']:,}", file["sha256"][:16])
        for model, of in evaluation["inputs"].items()
        for file in of["files"]
    )
    tables = (
        Titled("Generations", Table(("model", "records", "characters on average", *faults), rows)),
        Titled(
            "Files", Table(("model", "file", "records", "SHA-256 begins"), files, numbers=2, notes=1), is_folded=True
        ),
    )
    said = tuple(f"{problem}." for problem in evaluation.get("problems", ()))
    return Section("inputs", "Inputs", "What was compared", said, tables=tables)


def _faults(of: Plain) -> tuple[str, ...]:
    return tuple(name for name in ("truncated", "empty", "repeating") if name in of)


def _lengths(table: Path) -> dict[tuple[str, str], list[Point]]:
    """Return net by difference of lengths, in bins, of each model and question, from the verdicts alone.

    Only cases that the judge was asked about and that could be read are in.
    """
    import pyarrow.parquet as pq

    cases: dict[tuple[str, str], dict[str, list[Plain]]] = defaultdict(lambda: defaultdict(list))
    with pq.ParquetFile(table) as parquet:
        for batch in parquet.iter_batches(columns=list(_COLUMNS)):
            for row in batch.to_pylist():
                cases[row["model"], row["question"]][row["case"]].append(row)
    return {key: _bins(of.values()) for key, of in cases.items()}


def _bins(cases: Any) -> list[Point]:  # noqa: ANN401 - an iterable of the rows of each case
    rows = []
    for verdicts in cases:
        first, *others = sorted(verdicts, key=lambda row: row["order"])
        choices = [_CHOICES[row["choice"]] for row in (first, *others)]
        if len(choices) != 2 or "unreadable" in choices or all(row["said"] is None for row in (first, *others)):
            continue
        outcome = metric.outcomes(choices[:1], choices[1:])[0]
        rows.append((first["model_characters"] - first["baseline_characters"], first["case"], first["root"], outcome))
    rows.sort()
    count = max(1, min(_BINS, len(rows) // _FEWEST_IN_BIN)) if rows else 0
    points = []
    for number in range(count):
        of_bin = rows[number * len(rows) // count : (number + 1) * len(rows) // count]
        net = metric.net([outcome for *_, outcome in of_bin], [root for _, _, root, _ in of_bin])
        place = sum(difference for difference, *_ in of_bin) / len(of_bin)
        points.append(Point(place, net.value, net.low, net.high, f"{net.n}"))
    return points
