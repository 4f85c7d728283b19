"""`whoseboat report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whoseboat.cli.arguments import interruptible


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder, or one that evaluate made.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; the folder is left as it is then.  [default: DIR/report.html]"),
    ] = None,
) -> None:
    """Write a report: one page that opens from disk and needs no network."""
    from whoseboat.reporting.words import size
    from whoseboat.reporting.writing import report as write

    with interruptible():
        made = write(directory, out)
    if made.pairs:
        sampled = "" if made.shown == made.pairs else f" of {made.pairs:,}, the worst by each check among them"
        typer.echo(f"pairs to go through: {made.shown:,}{sampled}")
    if made.charts:
        typer.echo(f"charts: {len(made.charts)} in {directory / 'assets'}; card and manifest are up to date")
    typer.echo(f"written to {made.path} ({size(made.size)})")
