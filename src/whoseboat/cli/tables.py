"""Tables of figures on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer

from whoseboat.errors import printable

_WIDTH_OF_FILES = 160


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose figures stay on one line; names, in the first column, break where there is no room."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(head):
        is_name = place == 0
        table.add_column(Text(printable(name)), overflow="fold", no_wrap=not is_name, min_width=8 if is_name else None)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    console = Console(width=_WIDTH_OF_FILES)
    with console.capture() as text:
        console.print(table)
    for line in text.get().splitlines():
        typer.echo(line.rstrip())


def tell_of_few(rows: Iterable[Sequence[str]]) -> None:
    """Say what the marks in a table mean, where it has some."""
    from whoseboat.metric.figures import FEWEST_CLUSTERS

    if any(cell.endswith("]*") for row in rows for cell in row):
        typer.echo(f"* fewer than {FEWEST_CLUSTERS} conversations: too few for the interval to be trusted")
