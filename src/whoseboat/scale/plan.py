"""What a run builds, by how many tasks: the same for every task on every machine, and written down without secrets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from whoseboat import __version__, engines, sources
from whoseboat.errors import DataError, UsageError
from whoseboat.files import local_files
from whoseboat.llm.settings import LanguageModel
from whoseboat.pipeline import wanted_of
from whoseboat.published import Pseudonyms

# Settings of a language model that decide its answers; the others may change between two calls of one run.
_OF_ANSWERS = ("name", "parameters", "samples", "batch", "endpoint", "prompts")


@dataclass(frozen=True)
class Plan:
    """A build cut into tasks; `plan_of` makes one.

    Args:
        source: what is read.
        shared: the address of the folder that every task sees.
        tasks: how many parts there are.
        workers: how many tasks run at the same time, at most.
        engine: what infers personas, as in `whoseboat.build`.
        personas: a table of personas, in place of an engine.
        wanted: which pairs, as in `whoseboat.build`.
        told: what makes two runs the same one, as plain data.
        pseudonyms: what tells the key of pseudonyms from others, where the source needs one.

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
    told: Mapping[str, Any] = field(default_factory=dict)
    pseudonyms: str | None = None

    def __post_init__(self) -> None:
        for name in ("tasks", "workers"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} takes a number", expected="1 or more", found=str(getattr(self, name)))

    def engine_of_task(self, answers: Path) -> str | LanguageModel | None:
        """Return the engine as a task asks it: its share of the budget and of the requests at once.

        Money and tokens are divided by the tasks, so that all of them together stay within what was given; requests
        at once by the tasks that run at the same time, but no task has less than one.
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

    def check_this_machine(self) -> None:
        """Check that this machine builds what the others do.

        Raises:
            DataError: another version, or another key of pseudonyms.

        """
        there = str(self.told.get("code_version"))
        if there != __version__:
            raise DataError(
                "tasks of one run need one version of whoseboat", expected=there, found=f"{__version__} on this machine"
            )
        if self.pseudonyms != _pseudonyms(self.source):
            raise DataError(
                "this machine has another key of pseudonyms than the one the run was started on",
                todo="set WHOSEBOAT_PSEUDONYM_KEY to the same secret on all of them",
            )


def plan_of(
    source: str,
    shared: str,
    tasks: int,
    workers: int,
    engine: str | LanguageModel | None,
    personas: str | os.PathLike[str] | None,
    wanted: Mapping[str, Any],
    earlier: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan of a build, with nothing in it that another machine or working directory takes otherwise.

    The source is opened, so that what is wrong with it is said before the work, and a dataset on the Hub is read at
    one commit by all tasks.

    Args:
        source: as in `Plan`, as are the further ones.
        shared: the shared folder.
        tasks: how many.
        workers: how many at once.
        engine: what infers personas.
        personas: or a table of them.
        wanted: which pairs.
        earlier: what is told of the run in the shared folder; where it is of this set, its commit is read again.

    Raises:
        UsageError: arguments that cannot be right.
        DataError: the input is missing or damaged.
        HubError: the Hub did not give what was asked for.

    """
    if personas is not None and engine is not None:
        raise UsageError("both an engine and personas were given", expected="one of them")
    engine, wanted = _same_anywhere(engine), _placed(wanted)
    engines.find(engine if engine not in (None, "published") else "contrast")  # a key that lacks is told now
    request, selection = wanted_of(**wanted)
    if request.data_dir is None and request.revision is None:
        request = replace(request, revision=_commit_of(earlier or {}, source, request.repo))
    provenance = sources.read(source, request).provenance
    if request.data_dir is None:
        request = replace(request, revision=provenance.revision)
        wanted["revision"] = provenance.revision
    plan = Plan(source, shared, tasks, workers, engine, _absolute(personas), wanted)
    told = {
        "whoseboat_run": 1,
        "code_version": __version__,
        "source": source,
        "tasks": tasks,
        "request": _plain(asdict(request)),
        "selection": _plain(asdict(selection)),
        "files": _seen(request.data_dir),
        "engine": {name: _plain(getattr(engine, name)) for name in _OF_ANSWERS}
        if isinstance(engine, LanguageModel)
        else engine,
        "personas": None if personas is None else hashlib.sha256(_content(Path(personas))).hexdigest(),
    }
    return replace(plan, told=json.loads(json.dumps(told)), pseudonyms=_pseudonyms(source))


def _commit_of(earlier: Mapping[str, Any], source: str, repo: str | None) -> str | None:
    """Return the commit that the run in the shared folder reads, where it reads the same dataset."""
    request = earlier.get("request") or {}
    return request.get("revision") if (earlier.get("source"), request.get("repo")) == (source, repo) else None


def _same_anywhere(engine: str | LanguageModel | None) -> str | LanguageModel | None:
    """Return the engine with what it would else take from the environment or the files of this machine."""
    if not isinstance(engine, LanguageModel):
        return engine
    prices = engine.prices
    return replace(
        engine,
        base_url=engine.endpoint if engine.serve is None else None,
        prompts=_absolute(engine.prompts),
        price_in=prices.prompt if prices else None,
        price_out=prices.completion if prices else None,
    )


def _placed(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is wanted with paths that hold in any working directory."""
    placed = dict(wanted)
    if placed.get("data_dir") is not None:
        placed["data_dir"] = _absolute(placed["data_dir"])
    placed["exclude"] = [
        str(_absolute(place)) if Path(place).is_dir() else os.fspath(place) for place in placed.get("exclude") or ()
    ]
    return placed


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.path.abspath(path)  # noqa: PTH100 - does not follow links


def _seen(data_dir: Path | None) -> list[list[object]] | None:
    """Return names, sizes and times of the files that are read, so that a source that has changed is noticed."""
    if data_dir is None:
        return None
    stats = [(file.name, file.path.stat()) for file in local_files(data_dir)]
    return [[name, about.st_size, about.st_mtime_ns] for name, about in stats]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            "the file of personas cannot be read",
            where=str(path),
            found=error.strerror or str(error),
            todo="check the path given as --personas",
        ) from error


def _pseudonyms(source: str) -> str | None:
    """Return what tells the key of pseudonyms from others, and nothing of it; None where the source needs none."""
    return Pseudonyms("whoseboat run").of("key") if "pseudonym" in sources.find(source).users else None


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
