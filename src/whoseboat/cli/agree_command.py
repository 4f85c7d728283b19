"""`whoseboat agree`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from whoseboat.cli.arguments import interruptible
from whoseboat.cli.tables import print_table
from whoseboat.errors import UsageError, printable

if TYPE_CHECKING:
    from whoseboat.agreement.agreeing import Agreement
    from whoseboat.agreement.comparing import Confusion, Measured
    from whoseboat.agreement.sheets import Exported, Wanted
    from whoseboat.metric import Figure


def agree(
    sheets: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHEET...",
            help="What people filled in: sheets, or tables with the columns human and judge (CSV, JSONL, Parquet). "
            "With --export the dataset folder.",
        ),
    ],
    key: Annotated[Path | None, typer.Option(help="The key.csv of the sheets: what stood first.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="The judge's verdicts: a dataset folder that was checked; or an evaluation, where items are its "
            "cases and choices model, baseline or tie."
        ),
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="Of an evaluation that asked several, the one people answered.")
    ] = None,
    export: Annotated[
        int | None, typer.Option(metavar="N", help="Write blind sheets of this many items, with their key apart.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to make with --export.")] = None,
    kind: Annotated[str | None, typer.Option(help="quality, pairs or both.  [default: both]")] = None,
    seed: Annotated[int, typer.Option(help="Of the items drawn, or of the intervals.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace sheets that are there, if nobody filled them in.")
    ] = False,
    include_unsafe: Annotated[
        bool,
        typer.Option(
            "--include-unsafe",
            help="With --export: draw pairs of red-team material and unsafe responses, too; people must have agreed.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare people with a judge, the truth and each other; --export writes the sheets they fill in."""
    with interruptible():
        if export is not None:
            stray = {"--key": key, "--against": against, "--question": question}
            _refuse({name for name, value in stray.items() if value is not None}, "without --export")
            done = _export(sheets, export, out, kind, seed, overwrite=overwrite, include_unsafe=include_unsafe)
            _show_exported(done, as_json)
            return
        given = {
            "--out": out is not None,
            "--kind": kind is not None,
            "--overwrite": overwrite,
            "--include-unsafe": include_unsafe,
        }
        _refuse({name for name, is_given in given.items() if is_given}, "with --export N")
        from whoseboat.agreement import agreeing
        from whoseboat.metric import Bootstrap

        found = agreeing.agree(sheets, key=key, against=against, question=question, bootstrap=Bootstrap(seed=seed))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False))
    else:
        _show(found)


def _refuse(given: set[str], use: str) -> None:
    if given:
        raise UsageError(f"{', '.join(sorted(given))}: of use {use} only")


def _export(
    folders: Sequence[Path],
    items: int,
    out: Path | None,
    kind: str | None,
    seed: int,
    *,
    overwrite: bool,
    include_unsafe: bool,
) -> Exported:
    from whoseboat.agreement.sheets import export_sheets

    if len(folders) != 1:
        raise UsageError(
            "sheets are made of one dataset", expected="whoseboat agree DATASET_FOLDER --export N --out DIRECTORY"
        )
    if out is None:
        raise UsageError("no folder to make was named", todo="name one: --out DIRECTORY")
    return export_sheets(
        folders[0],
        out,
        items=items,
        kind=cast("Wanted", kind or "both"),
        seed=seed,
        overwrite=overwrite,
        include_unsafe=include_unsafe,
    )


def _show_exported(done: Exported, as_json: bool) -> None:
    from whoseboat.agreement.gate import MATERIAL, UNTOLD
    from whoseboat.agreement.keys import FILE
    from whoseboat.agreement.sheets import FOR_LABELLERS

    if as_json:
        found = {"path": str(done.path), "items": done.items, "left_out": done.left_out, "unsafe": done.unsafe}
        typer.echo(json.dumps(found))
        return
    sheets = " and ".join(f"{kind}_sheet.csv ({count:,} items)" for kind, count in done.items.items())
    typer.echo(printable(f"{done.path / FOR_LABELLERS}: {sheets} and instructions.md, to hand out"))
    typer.echo(printable(f"{done.path / FILE}: the key; keep it from those who fill in the sheets"))
    for why, count in done.left_out.items():
        asked = " (--include-unsafe draws them)" if why == MATERIAL else ""
        typer.echo(f"not drawn: {count:,} pairs that {why}{asked}")
    items = sum(done.items.values())
    if done.unsafe is None:
        typer.echo(f"{UNTOLD}; the instructions warn of all {items:,} items")
    elif done.unsafe:
        typer.echo(
            f"of red-team material, or with a response labelled unsafe: {done.unsafe:,} of {items:,} items; "
            "the instructions say so"
        )


def _show(found: Agreement) -> None:
    """Print the figures, how often labels met, and what a reader should know."""
    from whoseboat.agreement.comparing import MAJORITY
    from whoseboat.metric.figures import FEWEST_CLUSTERS

    figures = [one for one in found.figures if not one.part or _is_of_all(one, found.figures)]
    confusions = [one for one in found.confusions if _is_of_all(one, found.confusions)]
    rows = list(_rows(figures))
    print_table(("of", "measure", "value", "n", "missing"), rows)
    typer.echo("intervals of 95 %, by conversation where the key or a column root tells it, else by item")
    if any(one.measure == "accuracy" for one in figures):
        typer.echo("accuracy: the same label; a tie is right where both tie")
    if any(one.who == MAJORITY for one in figures):
        typer.echo(f"{MAJORITY}: what more than half of the labels of an item say; items without one are left out")
    if any("*" in row[2] for row in rows):
        typer.echo(f"* fewer than {FEWEST_CLUSTERS} conversations: too few for the interval to be trusted")
    for reason in dict.fromkeys(one.figure.reason for one in figures if one.figure.reason):
        typer.echo(f"none: {reason}")
    for confusion in confusions:
        _show_confusion(confusion)
    for problem in found.problems:
        typer.echo(printable(problem))
    if len(figures) < len(found.figures) or len(confusions) < len(found.confusions):
        typer.echo("--json has the parts and tables of the majority and of each labeller, too")


def _is_of_all(one: Measured | Confusion, of: Sequence[Measured | Confusion]) -> bool:
    """Say whether something is of all labels together, or of the one labeller there is."""
    from whoseboat.agreement.comparing import EACH

    return one.who in ("", EACH) or all(other.who != EACH for other in of if other.of == one.of)


def _rows(figures: Sequence[Measured]) -> Iterator[tuple[str, ...]]:
    for one in figures:
        missing = f"{one.figure.missing:,}" if one.figure.missing else ""
        name = ", ".join(part for part in (one.of, one.who, one.part) if part)
        yield name, one.measure, _value(one.figure), f"{one.figure.n:,}", missing


def _value(figure: Figure) -> str:
    if figure.value is None:
        return "none"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]{'*' if figure.note else ''}"


def _show_confusion(found: Confusion) -> None:
    who = f" ({found.who})" if found.who else ""
    typer.echo()
    typer.echo(printable(f"{found.of}{who}: rows {found.rows}, columns {found.columns}"))
    head = ("", *found.labels)
    print_table(head, [(label, *map(str, counts)) for label, counts in zip(found.labels, found.counts, strict=True)])
