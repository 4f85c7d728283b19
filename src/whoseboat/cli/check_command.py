"""`whoseboat check`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from whoseboat.cli import judges
from whoseboat.cli.arguments import interruptible, parameters
from whoseboat.cli.tables import print_table, tell_of_few
from whoseboat.errors import UsageError, printable
from whoseboat.llm.settings import LanguageModel
from whoseboat.manifest import CHECKS

if TYPE_CHECKING:
    from whoseboat.judge import Estimate, Form
    from whoseboat.quality.checking import Progress, Settings
    from whoseboat.quality.comparison import Comparison

_EVERY_SECONDS = 5.0
_READER = "contrast-reader"


def check(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Dataset folders; several are compared with the first.")
    ],
    judge: Annotated[
        str | None, typer.Option(help="contrast-reader: the offline reader.  [default, unless --judge-model is given]")
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="A language model that judges.")] = None,
    judge_base_url: judges.BaseUrl = None,
    sample: Annotated[
        int | None,
        typer.Option(help="Pairs that are judged, drawn by their ids.  [default: 20,000; a language model: 500]"),
    ] = None,
    form: judges.TheForm = "choice",
    prompts: judges.Prompts = None,
    batch: judges.Batch = False,
    parameter: judges.Parameter = None,
    concurrency: judges.Concurrency = 64,
    deadline: judges.Deadline = 120.0,
    max_attempts: judges.MaxAttempts = 5,
    max_failure_rate: judges.MaxFailureRate = 0.1,
    max_cost: judges.MaxCost = None,
    max_tokens: judges.MaxTokens = None,
    price_in: judges.PriceIn = None,
    price_out: judges.PriceOut = None,
    retry_failed: judges.RetryFailed = False,
    cache_dir: judges.CacheDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and what it would cost; send nothing.")
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Show every figure, not the headlines alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print checks.json of each folder, and the comparison.")] = (
        False
    ),
) -> None:
    """Check personas: whether they lead back to their response, say something of their own, and may be published.

    What is found is written into each folder: checks.parquet, checks.json, card and manifest.
    """
    chosen = judges.chosen(
        judge,
        judge_model,
        default=_READER,
        base_url=judge_base_url,
        batch=batch,
        parameters=parameters(parameter or []),
        concurrency=concurrency,
        deadline=deadline,
        max_attempts=max_attempts,
        max_failure_rate=max_failure_rate,
        max_cost=max_cost,
        max_tokens=max_tokens,
        price_in=price_in,
        price_out=price_out,
        retry_failed=retry_failed,
        cache_dir=cache_dir,
    )
    settings: Settings = {"sample": sample, "form": cast("Form", form), "prompts": prompts}
    from whoseboat.quality import checking

    with interruptible():
        if dry_run:
            if not isinstance(chosen, LanguageModel):
                raise UsageError("--dry-run: the offline reader costs nothing", todo="name a --judge-model")
            _show_estimate(checking.estimate_check(folders, judge=chosen, **settings), as_json)
            return
        before = {str(path): _judged_before(path) for path in folders}
        done = checking.check(folders, judge=chosen, on_progress=_telling(), **settings)
    if as_json:
        found = [one.checks for one in done.folders]
        compared = asdict(done.comparison) if done.comparison else None
        typer.echo(json.dumps({"folders": found, "comparison": compared}, ensure_ascii=False))
        return
    comparison = done.comparison
    for note in comparison.notes if comparison and not comparison.differences else ():
        typer.echo(printable(note))
    for one in done.folders:
        _show(str(one.path), one.checks, show_all)
        earlier = before[str(one.path)]
        if earlier not in ("", one.checks["judge"]["label"]):
            typer.echo(printable(f"in place of an earlier check, judged by {earlier}"))
    if comparison and comparison.differences:
        _show_comparison(comparison, show_all)


def _judged_before(folder: Path) -> str:
    """Return who judged an earlier check of a folder, empty where there was none that can be read."""
    try:
        return str(json.loads((folder / CHECKS).read_bytes())["judge"]["label"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _telling() -> Callable[[Progress], None]:
    """Return what tells on standard error how it goes, a line now and then."""
    last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < _EVERY_SECONDS:
            return
        last = time.monotonic()
        of = f" of {progress.expected:,}" if progress.expected else ""
        tally = progress.tally
        parts = [f"{progress.at}: {progress.done:,}{of} {'pairs' if progress.at == 'reading' else 'cases judged'}"]
        parts += [f"{tally.answered:,} answered, {tally.tokens:,} tokens"] if tally.answered else []
        parts += [f"{tally.reused:,} reused"] if tally.reused else []
        parts += [f"${tally.cost:,.2f}"] if tally.prices and tally.answered else []
        typer.echo(", ".join([*parts, *([tally.note] if tally.note else [])]), err=True)

    return tell


def _show_estimate(found: Estimate, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(f"{found.cases:,} cases: {found.requests:,} requests to send, {found.answered:,} answered already")
    typer.echo(f"about {found.prompt_tokens:,} prompt and {found.completion_tokens:,} completion tokens (estimated)")
    typer.echo(f"about ${found.cost:,.2f}" if found.cost is not None else "no price known: --price-in and --price-out")
    typer.echo("nothing was sent; thinking of a model and requests asked again come on top")


def _show(path: str, checks: Mapping[str, Any], show_all: bool) -> None:
    from whoseboat.quality.headlines import is_headline

    judge = checks["judge"]
    typer.echo(printable(f"{path}: {checks['pairs']:,} pairs, {checks['judged']:,} of them judged by {judge['label']}"))
    figures = [figure for figure in checks["figures"] if show_all or is_headline(figure)]
    # By whom, in the head and not in a column: the longest names have their room in 80 columns then.
    for head, is_judged in (("judged", True), ("counted", False)):
        of_head = [figure for figure in figures if bool(figure["judge"]) is is_judged]
        rows = [(_name(figure), figure["side"], _value(figure), f"{figure['n']:,}") for figure in of_head]
        if rows:
            print_table((head, "side", "value", "n"), rows)
            tell_of_few(rows)
    bad = [
        (name, side, f"{counts['bad']:,}", f"{counts['looked_at']:,}")
        for name, sides in checks["counts"].items()
        for side, counts in sides.items()
        if counts["bad"]
    ]
    if bad:
        print_table(("to look at", "side", "found", "looked at"), bad)
    for name, table in checks["tables"].items():
        if isinstance(table, dict) and table.get("skipped"):
            typer.echo(printable(f"{name}: left out. {table['skipped']}"))
    typer.echo(printable(f"written to {path}: checks.parquet, checks.json, README.md, manifest.json"))


def _show_comparison(found: Comparison, show_all: bool) -> None:
    from whoseboat.quality.headlines import is_headline

    typer.echo("")
    for note in found.notes:
        typer.echo(printable(note))
    typer.echo("side by side")
    rows = [
        (_name(row), row["side"], *(_value(figure) if figure else "none" for figure in row["figures"]))
        for row in found.rows
        if show_all or is_headline(row)
    ]
    print_table(("figure", "side", *found.names), rows)
    differences = [
        (f"{one.name} less {one.than}", one.side, _value(one.figure.to_dict()), f"{one.figure.n:,}")
        for one in found.differences
    ]
    print_table(("accuracy (strict), same pairs", "side", "difference", "n"), differences)
    tell_of_few([*rows, *differences])


def _name(figure: Mapping[str, Any]) -> str:
    return f"{figure['name']}, {figure['part']}" if figure["part"] else str(figure["name"])


def _value(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "none"
    few = "*" if _is_of_few(figure) else ""
    interval = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]{few}"
    return f"{figure['value']:.3f}{interval}"


def _is_of_few(figure: Mapping[str, Any]) -> bool:
    """Say whether the figure's own note, which may stand after others, says that its conversations are too few."""
    return "too few clusters" in (figure.get("note") or "")
