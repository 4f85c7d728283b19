"""`whoseboat build --tasks N`: its settings, how far it is, and what is said of jobs that were handed over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from whoseboat.errors import UsageError, printable

if TYPE_CHECKING:
    from whoseboat.llm.settings import LanguageModel
    from whoseboat.pipeline import Built, Wanted
    from whoseboat.scale.running import Launched


@dataclass(frozen=True)
class InTasks:
    """How a build is cut, and where its tasks run; without a number of tasks it is not."""

    tasks: int | None = None
    executor: str | None = None
    workers: int | None = None
    executor_config: Path | None = None
    shared: str | None = None

    def __post_init__(self) -> None:
        if self.tasks is None:
            given = [name for name in ("executor", "workers", "executor_config", "shared") if getattr(self, name)]
            if given:
                flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
                raise UsageError(f"{flags}: of use with a build in tasks only", todo="say how many: --tasks N")

    def build(
        self,
        source: str,
        out: Path,
        *,
        engine: str | LanguageModel | None,
        personas: Path | None,
        overwrite: bool,
        wanted: Wanted,
    ) -> Built | Launched:
        """Build a set in tasks, and show how far it is."""
        from huggingface_hub.utils.tqdm import disable_progress_bars

        from whoseboat.scale.executors import read_config
        from whoseboat.scale.running import build_in_tasks

        disable_progress_bars()  # of files sent to hf://
        config: dict[str, Any] = read_config(self.executor_config) if self.executor_config else {}
        with _progress() as on_progress:
            return build_in_tasks(
                source,
                out,
                tasks=self.tasks or 0,
                executor=self.executor or "local",
                workers=self.workers,
                executor_config=config,
                shared=self.shared,
                engine=engine,
                personas=personas,
                overwrite=overwrite,
                on_progress=on_progress,
                **wanted,
            )


def show_launched(launched: Launched, as_json: bool) -> None:
    """Say which jobs were handed over, and how the run goes on."""
    if as_json:
        typer.echo(json.dumps({"jobs": launched.jobs, "shared": launched.shared, "path": str(launched.out)}))
        return
    building, *joining = launched.jobs
    last = f"; job {printable(joining[-1])} joins them into {launched.out}" if joining else ""
    typer.echo(f"handed over: job {printable(building)} builds the tasks{last}")
    typer.echo(f"parts and logs: {launched.shared}")
    typer.echo("once the jobs have ended, the same command again does what is missing, and joins")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show on standard error how many tasks are done: a live line on a terminal, a plain line at each step in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda done, tasks: typer.echo(f"{done:,} of {tasks:,} tasks done", err=True)
        return
    columns = (SpinnerColumn(), BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=console, refresh_per_second=4, transient=True) as bar:
        shown = bar.add_task("reading the source", total=None)
        yield lambda done, tasks: bar.update(
            shown, completed=done, total=tasks, description=f"{done:,} of {tasks:,} tasks done"
        )
