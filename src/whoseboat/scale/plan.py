"""What a run builds, by how many tasks: the same for every task, and written down without secrets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from whoseboat import __version__
from whoseboat.errors import UsageError
from whoseboat.llm.settings import LanguageModel

# Settings of a language model that decide its answers; the others may change between two calls of one run.
_OF_ANSWERS = ("name", "parameters", "samples", "batch")


@dataclass(frozen=True)
class Plan:
    """A build cut into tasks.

    Args:
        source: what is read.
        shared: the address of the folder that every task sees.
        tasks: how many parts there are.
        workers: how many tasks run at the same time, at most.
        engine: what infers personas, as in `whoseboat.build`.
        personas: a table of personas, in place of an engine.
        wanted: which pairs, as in `whoseboat.build`.

    Raises:
        UsageError: a number that cannot be right.

    """

    source: str
    shared: str
    tasks: int
    workers: int
    engine: str | LanguageModel | None = None
    personas: str | None = None
    wanted: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tasks", "workers"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} takes a number", expected="1 or more", found=str(getattr(self, name)))

    def told(self) -> dict[str, Any]:
        """Return what makes two runs the same one, as plain data."""
        return {
            "whoseboat_run": 1,
            "code_version": __version__,
            "source": self.source,
            "tasks": self.tasks,
            "engine": _told_engine(self.engine),
            "personas": _digest(self.personas),
            "wanted": {
                name: _plain(value) for name, value in sorted(self.wanted.items()) if value not in (None, (), {})
            },
        }

    def engine_of_task(self, answers: Path) -> str | LanguageModel | None:
        """Return the engine as a task asks it: its share of the budget and of the requests at once.

        Money and tokens are divided by the tasks, so that all of them together stay within what was given, but for a
        few replies each; requests at once by the tasks that run at the same time.
        """
        if not isinstance(self.engine, LanguageModel):
            return self.engine
        model = self.engine
        return replace(
            model,
            cache_dir=answers,
            concurrency=max(1, model.concurrency // min(self.workers, self.tasks)),
            max_cost=None if model.max_cost is None else model.max_cost / self.tasks,
            max_tokens=None if model.max_tokens is None else max(1, model.max_tokens // self.tasks),
        )


def _told_engine(engine: str | LanguageModel | None) -> Any:  # noqa: ANN401 - a name, or settings
    if not isinstance(engine, LanguageModel):
        return engine
    return {name: _plain(getattr(engine, name)) for name in _OF_ANSWERS} | {
        "endpoint": engine.endpoint,
        "prompts": _plain(engine.prompts),
    }


def _digest(path: str | None) -> str | None:
    return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
