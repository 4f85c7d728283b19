"""What a report says of a dataset folder: of its rows from the manifest, of its personas from what checks found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from whoseboat.cards.datasets import _reasons as reasons_of
from whoseboat.cards.datasets import drawn_candidates, drawn_reasons, draws_ratio
from whoseboat.manifest import Manifest
from whoseboat.reporting import words
from whoseboat.reporting.charts import Chart, Table
from whoseboat.reporting.drawings import (
    Mark,
    Row,
    Scale,
    around_zero,
    bars,
    grouped,
    histogram,
    outlines,
    stacked,
    two_sided,
    whiskers,
)
from whoseboat.reporting.sections import Content, Section, Tile, Titled

Plain = Mapping[str, Any]

SIDES = ("both", "chosen", "rejected")
_FLAGGED_SIDES: tuple[str, ...] = ("chosen", "rejected", "pair")
_SIDE_NAMES = {"both": "both sides", "chosen": "chosen personas", "rejected": "rejected personas", "pair": "the pair"}
_ACCURACIES = ("accuracy (strict)", "accuracy (paper)", "accuracy (consistent)", "flip accuracy", "coverage")
_HEADLINES = ("accuracy (strict)", "specificity", "flip accuracy", "preference (net)")
_OUTCOMES = {"wins": "win", "ties": "tie", "losses": "loss", "missing": "missing"}
_MOST_WORDS, _MOST_WORDS_IN_TABLE, _MOST_PARTS, _MOST_REASONS = 15, 60, 16, 12
_RATIOS = {-3.0: "1/8 or\nless", -2.0: "1/4", -1.0: "1/2", 0.0: "1", 1.0: "2", 2.0: "4", 3.0: "8 or\nmore"}
# Tables that are drawn, or whose figures are.
_WITH_CHARTS = frozenset({"accuracy", "preference", "reasons", "saliency"})
_MOST_ROWS = 20
_FIGURE_HEAD = ("figure", "side", "part", "value", "95 % interval", "if missing", "n", "conversations", "note")
_PART, _IF_MISSING, _NOTE = 2, 5, 8


def figures(manifest: Manifest, checks: Plain | None = None) -> tuple[Chart, ...]:
    """Return the charts of a dataset folder, those that there is something for.

    Args:
        manifest: what the folder is.
        checks: what its `checks.json` holds; None where it was not checked.

    """
    return content(manifest, checks).charts


def content(manifest: Manifest, checks: Plain | None) -> Content:
    """Return what a report says of a dataset folder."""
    found = checks or {}
    sections = [
        _headline(manifest, found),
        _accuracy(found),
        _preference(found),
        _words(found),
        _lengths(manifest),
        _drops(manifest),
        _flags(found),
        _others(found),
        _cost(manifest, found),
    ]
    return Content(
        f"{manifest.source.title} with inferred personas",
        _lead(manifest),
        tuple(_facts(manifest, found)),
        tuple(section for section in sections if section is not None),
        tuple(_warnings(manifest)),
    )


# ---- what stands on top


def _lead(manifest: Manifest) -> str:
    pairs = sum(manifest.rows["pairs"].values())
    made = {
        True: "by a language model",
        False: "by an offline heuristic; no language model was used",
        None: "elsewhere",
    }[manifest.uses_language_model]
    return (
        f"{pairs:,} preference pairs, each with two personas that were inferred {made}: of a user who would prefer the "
        "chosen response, and of one who would prefer the rejected one. They are hypotheses, not people."
    )


def _facts(manifest: Manifest, checks: Plain) -> Iterator[tuple[str, str]]:
    yield "name", manifest.name
    yield "engine", manifest.engine
    yield "splits", ", ".join(f"{split} {count:,}" for split, count in manifest.rows["pairs"].items() if count)
    if manifest.version:
        yield "version", manifest.version
    yield "built", manifest.built_at[:10]
    yield "data", manifest.data_digest[:16]
    judge = checks.get("judge") or {}
    if checks:
        yield "judge", str(judge.get("label") or judge.get("name") or "none")
        yield "judged", f"{checks.get('judged', 0):,} of {checks.get('pairs', 0):,} pairs"


def _warnings(manifest: Manifest) -> Iterator[str]:
    if manifest.selection.include_unsafe:
        yield "Unsafe responses are in this set, also as targets. Texts can be offensive, dangerous or disturbing."
    elif manifest.kept_from_tailoring:
        yield (
            f"{manifest.kept_from_tailoring:,} pairs are of red-team material or have a response labelled unsafe. "
            "Texts can be offensive, dangerous or disturbing."
        )


def _headline(manifest: Manifest, checks: Plain) -> Section:
    pairs = sum(manifest.rows["pairs"].values())
    dropped = sum(manifest.dropped.values())
    tiles = [Tile("pairs", f"{pairs:,}", note=f"of {manifest.read:,} candidates; {dropped:,} left behind")]
    by_name = {figure["name"]: figure for figure in _of(checks, side="both")}
    shown = [by_name[name] for name in _HEADLINES if name in by_name]
    tiles += [_tile(figure) for figure in shown]
    said = () if checks else (words.NOT_CHECKED,)
    if any(words.is_of_few(figure) for figure in shown):
        said = ("† Fewer than 20 conversations: too few for an interval to be trusted, be it wide or narrow.",)
    return Section("headline", "Overview", "Headline figures", said, tuple(tiles))


def _tile(figure: Plain) -> Tile:
    signed = words.is_signed(figure["name"])
    missing = f"; {figure['missing']:,} missing" if figure.get("missing") else ""
    judged = f"; {figure['judge']}" if figure.get("judge") else ""
    over = f"{figure.get('n', 0):,} cases, {figure.get('clusters', 0):,} conversations{missing}{judged}"
    return Tile(figure["name"], words.value(figure, signed=signed), words.interval(figure, signed=signed), over)


# ---- figures of a judge


def _accuracy(checks: Plain) -> Section:
    title = "Do personas lead back to their responses?"
    section = Section("accuracy", "Accuracy", title, missing=words.NOT_CHECKED)
    skipped = _skipped(checks, "accuracy")
    wanted = [name for name in _ACCURACIES if _of(checks, name)]
    if skipped or not wanted:
        return Section("accuracy", "Accuracy", title, missing=skipped) if skipped else section
    said = (
        "A judge is shown the prompt, both responses and one persona, in both orders, and says which response that "
        "user would pick. Strict: right in both orders; paper: each order counts by itself; consistent: of those that "
        "both orders agree on. Flip accuracy: both personas of a pair lead to their own response.",
        "Personas of one side resemble each other, so a judge can be right often without heeding what is special to a "
        "persona. Specificity is what is lost when each persona is replaced by another pair's of the same side: 0 "
        "means that the judge found nothing in a persona that another pair's did not tell it.",
        "Responses are of equal length where the shorter one lacks at most a tenth of the longer one's characters.",
        *_judge_notes(checks, wanted),
    )
    charts = [
        _by_side("accuracy", "Accuracy by side", checks, wanted, Scale(0, 1, name="share of cases")),
        _by_part("specificity", "Specificity by part and side", checks, "specificity"),
        _by_part("accuracy_by_part", "Strict accuracy by part and side", checks, "accuracy (strict)"),
    ]
    return Section("accuracy", "Accuracy", title, said, charts=tuple(chart for chart in charts if chart))


def _by_side(name: str, title: str, checks: Plain, names: Sequence[str], scale: Scale) -> Chart:
    found = [(one, _of(checks, one)) for one in names]
    rows = [Row(one, _marks(of)) for one, of in found]
    said = f"{title}, as dots with intervals of 95 %. " + "; ".join(
        f"{one}: " + ", ".join(f"{figure['side']} {words.value(figure)}" for figure in of) for one, of in found
    )
    table = _table((figure for _, of in found for figure in of), notes_are_told=name == "accuracy")
    return Chart(name, title, said, table, whiskers(rows, scale, _NAMES))


_NAMES = {"both": "both", "chosen": "chosen", "rejected": "rejected"}


def _by_part(name: str, title: str, checks: Plain, figure_name: str) -> Chart | None:
    """Return a chart of one figure: all pairs, those of equal length, and parts of the source, by side."""
    found = [figure for figure in checks.get("figures", ()) if figure["name"] == figure_name]
    parts = list(dict.fromkeys(figure.get("part", "") for figure in found))[:_MOST_PARTS]
    if not found:
        return None
    rows = []
    for part in parts:
        of_part = [figure for figure in found if figure.get("part", "") == part]
        reason = next((figure.get("reason", "") for figure in of_part), "")
        rows.append(Row(_part_name(part), _marks(of_part), reason))
    signed = words.is_signed(figure_name)
    scale = around_zero(rows, f"{figure_name}; 0: nothing gained") if signed else Scale(0, 1, name=figure_name)
    of_all = [figure for figure in found if not figure.get("part") and figure["side"] == "both"] or found[:1]
    value, interval = words.value(of_all[0], signed=signed), words.interval(of_all[0], signed=signed)
    said = f"{title}, as dots with intervals of 95 %, for {len(parts)} parts; of all pairs {value} {interval}"
    shown = [figure for figure in found if figure.get("part", "") in parts]
    return Chart(name, title, said, _table(shown, notes_are_told=True), whiskers(rows, scale, _NAMES))


def _part_name(part: str) -> str:
    return part.removeprefix("source: ") if part else "all pairs"


def _marks(found: Sequence[Plain]) -> tuple[Mark, ...]:
    by_side = {figure["side"]: figure for figure in found}
    return tuple(
        Mark(side, by_side[side]["value"], by_side[side].get("low"), by_side[side].get("high"))
        for side in SIDES
        if side in by_side and by_side[side].get("value") is not None
    )


def _preference(checks: Plain) -> Section:
    title = "Which persona is preferred by itself?"
    skipped = _skipped(checks, "preference")
    of_reasons = [figure for figure in checks.get("figures", ()) if figure["name"].startswith("reasons (")]
    found = [figure for figure in checks.get("figures", ()) if figure["name"].startswith("preference (")]
    if not found and not of_reasons:
        return Section("preference", "Preference", title, missing=skipped or words.NOT_CHECKED)
    rows, tables = [], checks.get("tables", {})
    if found and "counts" in tables.get("preference", {}):
        rows.append(("chosen or rejected persona", _outcomes(tables["preference"]["counts"])))
    for kind, counts in tables.get("reasons", {}).get("counts", {}).items():
        rows.append((f"own or another's persona: {kind}", _outcomes(counts)))
    said = [
        "A judge compares two personas without seeing prompt or responses, in both orders: a win is the chosen persona "
        "in both. Being preferred is no merit of a persona; it says whether users of one side are seen as better.",
    ]
    if of_reasons:
        said.append(
            "Where people's own words are known: a win is the persona inferred from their choice, against another's."
        )
    return Section(
        "preference",
        "Preference",
        title,
        tuple(said),
        tiles=tuple(_tile(figure) for figure in found if "missing" not in figure["name"]),
        charts=(_outcome_chart("preference", "Outcomes of comparing personas", rows),) if rows else (),
        tables=(Titled("Figures", _table([*found, *of_reasons]), is_folded=True),),
        missing=skipped if not found else "",
    )


def _outcomes(counts: Plain) -> dict[str, int]:
    return {name: int(counts.get(plural, 0)) for plural, name in _OUTCOMES.items()}


def _outcome_chart(name: str, title: str, rows: Sequence[tuple[str, dict[str, int]]]) -> Chart:
    names = {"win": "win", "tie": "tie", "loss": "loss", "missing": "missing"}
    table = Table(
        ("", *names, "all"),
        tuple((row, *(f"{parts[one]:,}" for one in names), f"{sum(parts.values()):,}") for row, parts in rows),
    )
    said = f"{title}. " + "; ".join(
        f"{row}: " + ", ".join(f"{parts[one]:,} {one}" for one in names) for row, parts in rows
    )
    return Chart(name, title, said, table, stacked(rows, names))


# ---- words

_BARS_ARE = (
    "Bars are z of the weighted log-odds (with a Dirichlet prior): how much more often personas of one side hold a "
    "word than those of the other. Only words are drawn that a test by conversation finds; about 5 % of these are "
    "chance."
)


def _words(checks: Plain) -> Section:
    title = "Which words tell the sides apart?"
    saliency = checks.get("tables", {}).get("saliency")
    if not saliency:
        return Section("words", "Words", title, missing=words.NOT_CHECKED)
    charts: list[Chart] = []
    titles = {"main": "Words of personas", "clause": "Words of what they contrast it with: over, rather than"}
    said = []
    for part, head in titles.items():
        found = saliency.get(part, {}).get("words", [])
        telling = [row for row in found if row.get("is_discovery", True)]
        if telling:
            charts.append(_word_chart("words" if part == "main" else f"words_{part}", head, telling))
        else:
            said.append(f"{head}: none of {len(found):,} tested tells the sides apart.")
    if charts:
        said.insert(0, _BARS_ARE)
    return Section("words", "Words", title, tuple(said), charts=tuple(charts))


def _word_chart(name: str, title: str, found: Sequence[Plain]) -> Chart:
    ordered = sorted(found, key=lambda row: (-row["z"], row["word"]))
    chosen = [row for row in ordered if row["z"] > 0]
    rejected = [row for row in reversed(ordered) if row["z"] < 0]
    drawn = [[(_form(row), float(row["z"])) for row in side[:_MOST_WORDS]] for side in (rejected, chosen)]
    heads = ("rejected personas", "chosen personas")
    told = [", ".join(word for word, _ in side) or "none" for side in drawn]
    said = f"{title}, as bars to two sides. Rejected personas: {told[0]}. Chosen personas: {told[1]}."
    rows = [*chosen[:_MOST_WORDS_IN_TABLE], *reversed(rejected[:_MOST_WORDS_IN_TABLE])]
    head = ("word", "chosen personas", "rejected personas", "share chosen", "log-odds", "z", "q")
    table = Table(head, tuple(tuple(_word_cells(row)) for row in rows))
    return Chart(name, title, said, table, two_sided(drawn[0], drawn[1], heads))


def _form(row: Plain) -> str:
    return str(row.get("form") or row["word"])


def _word_cells(row: Plain) -> Iterator[str]:
    yield _form(row)
    for name in ("chosen", "rejected"):
        yield words.number(row.get(name))
    yield words.number(row.get("p_chosen"))
    for name in ("log_odds", "z"):
        value = row.get(name)
        yield "" if value is None else f"{value:+.2f}".replace("-", "\u2212")
    q = row.get("q")
    yield "" if q is None else "< 0.001" if q < 0.001 else f"{q:.3f}"


# ---- what the manifest tells


def _lengths(manifest: Manifest) -> Section:
    title = "How long are personas and responses?"
    if not manifest.lengths:
        return Section("lengths", "Lengths", title, missing="The manifest of this folder tells no lengths.")
    longer = manifest.lengths["longer"]
    pairs = sum(longer.values())
    shares = ", ".join(f"{name} in {100 * longer[name] / pairs:.1f} %" for name in ("chosen", "rejected", "neither"))
    said = (
        f"Of {pairs:,} pairs the longer response is: {shares} (characters). Who always takes the longer one scores as "
        "much: read accuracy beside it.",
    )
    charts = [_persona_lengths(manifest.lengths["persona_words"])]
    if draws_ratio(manifest):
        charts.insert(0, _ratio(manifest.lengths["length_ratio"]))
    return Section("lengths", "Lengths", title, said, charts=tuple(charts))


def _ratio(ratio: Mapping[str, int]) -> Chart:
    steps = sorted((float(step), count) for step, count in ratio.items())
    drawn = [(step, count, "chosen" if step > 0 else "rejected" if step < 0 else "neither") for step, count in steps]
    rows = tuple((f"2^{step:g}".replace("-", "\u2212"), f"{count:,}") for step, count in steps)
    title = "Which response is longer"
    told = {series: sum(count for _, count, of in drawn if of == series) for series in ("chosen", "rejected")}
    said = f"{title}, as a histogram of the ratio of lengths: the chosen one in {told['chosen']:,} pairs, the rejected "
    said += f"one in {told['rejected']:,}, the others about the same."
    table = Table(("length of chosen / rejected response", "pairs"), rows)
    name = "chosen / rejected response, characters"
    return Chart("length_ratio", title, said, table, histogram(drawn, _RATIOS, 0.42, name, "pairs"))


def _persona_lengths(by_side: Mapping[str, Mapping[str, int]]) -> Chart:
    lines = {side: {int(count): pairs for count, pairs in by_side[side].items()} for side in ("chosen", "rejected")}
    counted = sorted({*lines["chosen"], *lines["rejected"]})
    rows = tuple((str(one), *(f"{lines[side].get(one, 0):,}" for side in lines)) for one in counted)
    names = {"chosen": "chosen personas", "rejected": "rejected personas"}
    title = "Words in a persona"
    said = f"{title}, as lines by side: from {counted[0]} to {counted[-1]} words."
    table = Table(("words", *names.values()), rows)
    return Chart("persona_lengths", title, said, table, outlines(lines, names, "words", "personas"))


def _drops(manifest: Manifest) -> Section:
    found = drawn_reasons(manifest)
    shown = [(words.plain_name(name), count) for name, count in found]
    if len(shown) > _MOST_REASONS:
        rest = shown[_MOST_REASONS - 1 :]
        shown = [*shown[: _MOST_REASONS - 1], (f"{len(rest)} other reasons", sum(count for _, count in rest))]
    head = ("became", "means", "candidates")
    meanings = {name: meaning for name, meaning, _ in reasons_of(manifest)}
    rows = [("rows", "a pair with two personas", f"{found[0][1]:,}")]
    rows += [(words.plain_name(name), meanings.get(name, ""), f"{count:,}") for name, count in found[1:]]
    skipped = manifest.dropped.get("not_sampled")
    if skipped:
        rows.append(("not sampled", "not among those drawn at random: nothing is wrong with it", f"{skipped:,}"))
    title = f"What became of {drawn_candidates(manifest)}"
    said = f"{title}, as bars: " + ", ".join(f"{count:,} {name}" for name, count in shown) + "."
    chart = Chart("drops", title, said, Table(head, tuple(rows), numbers=2), bars(shown))
    text = "A pair with one failed side is left behind whole. Each has a row in dropped.parquet that says why."
    return Section("drops", "Drops", "What was left behind, and why", (text,), charts=(chart,))


def _flags(checks: Plain) -> Section:
    title = "What checks flag"
    counts = {name: dict(_bad_and_all(of)) for name, of in (checks.get("counts") or {}).items()}
    if not counts:
        return Section("flags", "Flags", title, missing=words.NOT_CHECKED)
    flagged = {
        name: {side: of[side][0] for side in _FLAGGED_SIDES if side in of}
        for name, of in counts.items()
        if any(bad for bad, _ in of.values())
    }
    ordered = sorted(flagged.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    head = ("check", "side", "looked at", "flagged", "share")
    rows = tuple(
        (words.plain_name(name), side, "" if all_ is None else f"{all_:,}", f"{bad:,}", _share(bad, all_))
        for name, of in sorted(counts.items())
        for side, (bad, all_) in of.items()
    )
    said = "A flag is a reason to look, not a verdict; the explorer below opens what is flagged, the worst first."
    if not ordered:
        said = f"Nothing is flagged by {len(counts):,} checks."
    drawn = [(words.plain_name(name), of) for name, of in ordered]
    told = "; ".join(f"{name}: " + ", ".join(f"{count:,} {side}" for side, count in of.items()) for name, of in drawn)
    table = Table(head, rows, numbers=2)
    chart = Chart("flags", "Flags by check and side", f"Flags as bars. {told}.", table, grouped(drawn, _SIDE_NAMES))
    folded = () if drawn else (Titled("What was looked at", table, is_folded=True),)
    return Section("flags", "Flags", title, (said,), charts=(chart,) if drawn else (), tables=folded)


def _bad_and_all(of: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, int | None]]]:
    for side, count in of.items():
        if isinstance(count, Mapping):
            yield side, (int(count.get("bad", 0)), int(count.get("looked_at", 0)))
        else:
            yield side, (int(count), None)


def _share(part: int, whole: int | None) -> str:
    return "" if not whole else f"{100 * part / whole:.1f} %"


def _others(checks: Plain) -> Section | None:
    """Return what else was measured, and a table of all figures."""
    found = checks.get("figures", ())
    if not found:
        return None
    told = {*_ACCURACIES, "specificity"}
    shares = [
        figure["name"]
        for figure in found
        if figure["name"] not in told
        and not figure["name"].startswith(("preference (", "reasons (", "position bias", "accuracy (strict),"))
        and not figure.get("part")
        and figure.get("value") is not None
        and all(0 <= figure[end] <= 1 for end in ("value", "low", "high") if figure.get(end) is not None)
    ]
    names = list(dict.fromkeys(shares))[:_MOST_PARTS]
    scale = Scale(0, 1, name="share")
    charts = (_by_side("other_figures", "Shares by side", checks, names, scale),) if names else ()
    tables = (Titled("All figures", _table(found), is_folded=True), *_plain_tables(checks.get("tables", {})))
    return Section("others", "More", "What else was measured", charts=charts, tables=tables)


def _plain_tables(tables: Mapping[str, Any], within: str = "") -> Iterator[Titled]:
    """Yield what checks wrote as lists or mappings of flat rows, and has no chart of its own."""
    for name, value in tables.items():
        title = words.plain_name(f"{within}{name}")
        if not within and name in _WITH_CHARTS:
            continue
        rows = list(value.items()) if isinstance(value, Mapping) else [("", row) for row in value or ()]
        if rows and all(isinstance(row, Mapping) and _is_flat(row) for _, row in rows):
            table = _plain_table(rows[:_MOST_ROWS])
            more = f": the first {_MOST_ROWS} of {len(rows):,}" if len(rows) > _MOST_ROWS else ""
            yield Titled(f"{title[:1].upper()}{title[1:]}{more}", table, is_folded=True)
        elif isinstance(value, Mapping) and not within:
            inner = {key: one for key, one in value.items() if isinstance(one, Mapping | list)}
            yield from _plain_tables(inner, f"{name}: ")


def _is_flat(row: Mapping[str, Any]) -> bool:
    return bool(row) and not any(isinstance(value, Mapping | list) for value in row.values())


def _plain_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """Return rows with the columns that any has; names of rows first where they have some."""
    columns = list(dict.fromkeys(column for _, row in rows for column in row))
    named = any(name for name, _ in rows)
    texts = [all(row.get(column) is None or isinstance(row.get(column), str) for _, row in rows) for column in columns]
    ordered = [
        column for wanted in (True, False) for column, is_text in zip(columns, texts, strict=True) if is_text is wanted
    ]
    cells = tuple(
        (*((words.plain_name(name),) if named else ()), *(_cell(row.get(column)) for column in ordered))
        for name, row in rows
    )
    head = (*(("",) if named else ()), *(words.plain_name(column) for column in ordered))
    return Table(head, cells, numbers=int(named) + sum(texts))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return words.number(value) if isinstance(value, int | float) else str(value if value is not None else "")


def _cost(manifest: Manifest, checks: Plain) -> Section:
    pairs = sum(manifest.rows["pairs"].values())
    tiles = [Tile("time", f"{manifest.seconds:,.1f} s", note="to build the folder")]
    if manifest.seconds > 0:
        tiles.append(Tile("pairs per second", f"{pairs / manifest.seconds:,.0f}", note=f"{pairs:,} pairs"))
    if manifest.uses_language_model:
        if manifest.cost is not None:
            per = 1000 * manifest.cost / pairs if pairs else 0
            tiles.append(Tile("cost", f"${manifest.cost:,.2f}", note=f"${per:,.2f} per 1,000 pairs"))
        tokens = manifest.tokens
        sent = f"{tokens.get('prompt', 0):,} prompt, {tokens.get('completion', 0):,} completion"
        tiles.append(Tile("tokens", f"{sum(tokens.values()):,}", note=sent))
    tiles += _cost_of_judge(checks.get("judge") or {})
    rows = tuple((words.plain_name(name), f"{count:,}") for name, count in manifest.requests.items())
    tables = (Titled("Requests to the language model", Table(("requests", "number"), rows)),) if rows else ()
    said = {
        True: "Cost is of every answer in the set, those of earlier runs included."
        if manifest.cost is not None
        else "No price is known for the model, so no cost.",
        False: "No language model was used, so nothing was paid.",
        None: "What made the personas elsewhere is not known here.",
    }[manifest.uses_language_model]
    return Section("cost", "Cost", "What it took", (said,), tuple(tiles), tables=tables)


def _cost_of_judge(judge: Plain) -> Iterator[Tile]:
    """Yield what the checks took, where their judge is a language model."""
    tokens = judge.get("tokens")
    if not isinstance(tokens, Mapping):
        return
    if judge.get("cost") is not None:
        yield Tile("cost of the checks", f"${judge['cost']:,.2f}", note="of the judge's verdicts")
    sent = f"{tokens.get('prompt', 0):,} prompt, {tokens.get('completion', 0):,} completion"
    yield Tile("tokens of the checks", f"{sum(tokens.values()):,}", note=sent)


# ---- tables


def _of(checks: Plain, name: str | None = None, side: str | None = None) -> list[Plain]:
    """Return the figures over all pairs, of a name and a side."""
    return [
        figure
        for figure in checks.get("figures", ())
        if not figure.get("part")
        and (name is None or figure["name"] == name)
        and (side is None or figure["side"] == side)
    ]


def _skipped(checks: Plain, name: str) -> str:
    why = checks.get("tables", {}).get(name, {}).get("skipped", "")
    return f"Not made: {why}." if why else ""


def _judge_notes(checks: Plain, names: Sequence[str]) -> Iterator[str]:
    """Yield what a reader must know of the judge, each note once."""
    notes = dict.fromkeys(
        str(figure.get("note"))
        for figure in checks.get("figures", ())
        if figure["name"] in names and figure.get("note")
    )
    yield from (f"{note[:1].upper()}{note[1:]}." for note in list(notes)[:3] if "too few clusters" not in note)


def _table(found: Iterable[Plain], *, notes_are_told: bool = False) -> Table:
    """Return figures as a table, without the columns that say nothing of any of them, or the same note of all."""
    rows = [tuple(_cells(figure)) for figure in found]
    in_column = [{row[column] for row in rows} for column in range(len(_FIGURE_HEAD))]
    dropped = {column for column in (_IF_MISSING, _NOTE) if in_column[column] <= {""}}
    dropped |= {_PART} if in_column[_PART] <= {_part_name("")} else set()
    dropped |= {_NOTE} if notes_are_told and len(in_column[_NOTE]) == 1 else set()
    kept = [column for column in range(len(_FIGURE_HEAD)) if column not in dropped]
    cells = tuple(tuple(row[column] for column in kept) for row in rows)
    head = tuple(_FIGURE_HEAD[column] for column in kept)
    return Table(head, cells, numbers=3 - (_PART in dropped), notes=int(_NOTE not in dropped))


def _cells(figure: Plain) -> Iterator[str]:
    signed = words.is_signed(figure["name"])
    yield figure["name"]
    yield figure["side"]
    yield _part_name(figure.get("part") or "")
    yield words.value(figure, signed=signed)
    yield words.interval(figure, signed=signed)
    worst, best = figure.get("worst"), figure.get("best")
    bounds = f"{words.number(worst, signed=signed)} to {words.number(best, signed=signed)}"
    yield bounds if figure.get("missing") and worst is not None else ""
    yield words.number(figure.get("n"))
    yield words.number(figure.get("clusters"))
    yield str(figure.get("note") or "")
