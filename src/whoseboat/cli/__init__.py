"""The `whoseboat` command: parses arguments, shows progress, prints; everything else is elsewhere."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from whoseboat import __version__
from whoseboat.cli.agree_command import agree
from whoseboat.cli.build_command import build
from whoseboat.cli.cache_commands import cache
from whoseboat.cli.check_command import check
from whoseboat.cli.evaluate_commands import evaluate, power
from whoseboat.cli.release_commands import list_versions, publish, show_diff, takedown
from whoseboat.cli.report_command import report
from whoseboat.cli.score_commands import score
from whoseboat.cli.source_commands import list_sources
from whoseboat.cli.train_commands import generate, merge, train
from whoseboat.errors import WhoseboatError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(build)
app.command()(check)
app.command()(train)
app.command()(merge)
app.command()(generate)
app.command()(score)
app.command()(evaluate)
app.command()(power)
app.command()(report)
app.command()(agree)
app.command("sources")(list_sources)
app.command()(publish)
app.command("versions")(list_versions)
app.command("diff")(show_diff)
app.command()(takedown)
app.add_typer(cache, name="cache")


def main() -> NoReturn:
    """Run the command; exit with 2 for misuse, 1 for failure, 130 when interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except WhoseboatError as error:
        typer.echo(f"whoseboat: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(143)  # raised where the program is, so that what is half-written is removed


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"whoseboat {__version__}")
        raise typer.Exit


@app.callback()
def whoseboat(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Make preference data say for whom."""
