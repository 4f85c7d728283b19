"""Keeps what `datatrove` says of its work out of the terminal: it is in the files of its logs.

Its module of logging writes to `sys.stderr` whenever a task begins or ends. Turning that aside for the whole process
would swallow what the program itself says there, so the module is given another `sys` for a while.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datatrove.utils.logging as of_datatrove
from datatrove.executor.local import LocalPipelineExecutor


@contextmanager
def quiet(log: Path | None = None) -> Iterator[None]:
    """Let `datatrove` write to a file, or nowhere, what it would write to the terminal."""
    before = of_datatrove.sys
    with Path(log or os.devnull).open("a", encoding="utf-8") as file:
        of_datatrove.sys = SimpleNamespace(stderr=file)
        of_datatrove.setup_default_logger()
        try:
            yield
        finally:
            of_datatrove.sys = before
            of_datatrove.setup_default_logger()


class QuietLocalExecutor(LocalPipelineExecutor):  # type: ignore[misc]  # datatrove has no types
    """Runs tasks on this machine; what it has to say is in the logs."""

    def _launch_run_for_rank(self, rank: int, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - datatrove has no types
        if self.workers > 1:  # in a process of its own, which the one that started it ends where the user interrupts
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        with quiet():
            return super()._launch_run_for_rank(rank, *given, **named)
