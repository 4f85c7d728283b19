"""A build in tasks, from the call to the dataset folder: locally, on Slurm, on Ray or on Hugging Face Jobs.

A run has a shared folder (`whoseboat.scale.shared`). The same call after an interruption does only what is missing:
tasks whose part is whole are left alone, and what a language model answered to the others is not asked again. One
finishing step checks that every part is there, and joins them.

What holds for the whole run: the budget, divided by the tasks, is overspent by a few replies of each task at most; the
share of failed requests is watched by each task, and so holds for all; requests at once are divided by the tasks that
run at the same time. Pauses that a server asks for (429) are kept by each task by itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from whoseboat import pipeline
from whoseboat.errors import DataError, UsageError, WhoseboatError
from whoseboat.folder import check_free, whole_folder
from whoseboat.llm.settings import LanguageModel
from whoseboat.manifest import Manifest
from whoseboat.pipeline import Built, Wanted
from whoseboat.scale import executors
from whoseboat.scale.executors import Kind
from whoseboat.scale.joining import join
from whoseboat.scale.plan import Plan
from whoseboat.scale.shared import Shared
from whoseboat.tasks import Task

_NAMED = 10


@dataclass(frozen=True)
class Launched:
    """A run that goes on elsewhere: the ids of its jobs, and where it leaves its parts."""

    jobs: tuple[str, ...]
    shared: str
    out: Path


def build_in_tasks(
    source: str,
    out: str | os.PathLike[str],
    *,
    tasks: int,
    executor: str = "local",
    workers: int | None = None,
    executor_config: Mapping[str, Any] | None = None,
    shared: str | os.PathLike[str] | None = None,
    engine: str | LanguageModel | None = None,
    personas: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **wanted: Unpack[Wanted],
) -> Built | Launched:
    """Build a dataset folder as `whoseboat.build` does, by several tasks; rows, ids, personas and digest are the same.

    Args:
        source: name of a source.
        out: the folder to make; it appears whole or not at all.
        tasks: how many parts the work is cut into, by conversations.
        executor: `local`, `slurm`, `ray` or `jobs`.
        workers: how many tasks run at the same time: one for each core unless told, on a cluster all.
        executor_config: settings of the executor, as `datatrove` has them, such as `partition` and `time` of Slurm.
        shared: a folder that every task sees, a path or an fsspec address; without it a hidden one beside `out`, which
            is removed at the end.
        engine: what infers personas, as in `whoseboat.build`.
        personas: a table of personas, in place of an engine.
        overwrite: replace a dataset folder that is there.
        on_progress: called with the numbers of tasks done and of all tasks, at the start and at the end.
        wanted: which pairs, as in `whoseboat.build`.

    Returns:
        The folder; on Slurm what was launched, where tasks are missing yet: its last job joins the parts.

    Raises:
        UsageError: something that cannot be right.
        DataError: the input is missing or damaged, or the shared folder is not seen by all.
        OutputError: the folder cannot be written, or the shared folder holds another run.
        WhoseboatError: tasks did not come to their end; the same call does what is missing.

    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 - does not follow links
    kind, config = _executor(executor, executor_config or {}, shared)
    place = str(shared) if shared is not None else str(out.parent / f".{out.name}.tasks")
    width = workers or (min(tasks, os.cpu_count() or 1) if kind == "local" else tasks)
    plan = Plan(source, place, tasks, width, engine, None if personas is None else os.fspath(personas), dict(wanted))
    check_free(out, overwrite=overwrite)  # what stands in the way is said before the work
    folder = Shared(place)
    folder.begin(plan.told())
    missing = _missing(folder, tasks)
    _tell(on_progress, tasks - len(missing), tasks)
    if missing:
        folder.forget_marks(missing)
        jobs = _launch(kind, plan, out, config, overwrite=overwrite)
        if jobs:
            return Launched(jobs, place, out)
    made = finish(plan, out, overwrite=overwrite)
    _tell(on_progress, tasks, tasks)
    if shared is None:
        folder.clear()
    return Built(out, made)


def run_task(plan: Plan, rank: int) -> Manifest | None:
    """Build the part of one task into the shared folder; return its manifest, None where it was there already.

    Raises:
        DataError: this machine does not see the shared folder of the run; and whatever a build raises.

    """
    folder = Shared(plan.shared)
    if folder.run() != plan.told():
        raise DataError(
            "the shared folder of the run is not seen here, or holds another run",
            where=plan.shared,
            expected="run.json of this run",
            found="no run.json" if folder.run() is None else "that of another run",
            todo="name a --shared that every machine sees: a shared disk, hf://, s3://",
        )
    if rank in folder.done(plan.tasks):
        return None
    with folder.work() as work, folder.answers(rank, work) as answers:
        built = pipeline.build(
            plan.source,
            work / "part",
            engine=plan.engine_of_task(answers),
            personas=plan.personas,
            task=Task(rank, plan.tasks),
            **plan.wanted,
        )
        folder.send(rank, built.path, built.manifest)
    return built.manifest


def finish(plan: Plan, out: Path, *, overwrite: bool = False) -> Manifest:
    """Join the parts of all tasks into the dataset folder; safe to repeat.

    Raises:
        DataError: a part is missing or damaged.
        OutputError: the folder cannot be written.

    """
    folder = Shared(plan.shared)
    missing = _missing(folder, plan.tasks)
    if missing:
        raise _unfinished(plan, missing)
    with whole_folder(out, overwrite) as new, tempfile.TemporaryDirectory(prefix="whoseboat-") as work:
        parts = [folder.fetch(rank, Path(work)) for rank in range(plan.tasks)]
        return join(parts, new)


def _missing(folder: Shared, tasks: int) -> list[int]:
    return sorted(set(range(tasks)) - set(folder.done(tasks)))


def _unfinished(plan: Plan, missing: list[int]) -> WhoseboatError:
    named = ", ".join(map(str, missing[:_NAMED])) + (" ..." if len(missing) > _NAMED else "")
    return DataError(
        f"{len(missing)} of {plan.tasks} tasks did not come to their end",
        where=plan.shared,
        found=f"no part of task {named}",
        todo=f"see {Shared(plan.shared).logs}, mend the cause, and run the same command again: it does what is missing",
    )


def _executor(
    executor: str, config: Mapping[str, Any], shared: str | os.PathLike[str] | None
) -> tuple[Kind, Mapping[str, Any]]:
    executors.check(executor, config)
    kind: Kind = executor  # type: ignore[assignment]  # it was checked
    if kind == "jobs" and (shared is None or "://" not in os.fspath(shared)):
        raise UsageError(
            "jobs elsewhere see no folder of this machine",
            expected="--shared with an address, such as hf://buckets/NAME/FOLDER",
            found="no --shared" if shared is None else os.fspath(shared),
        )
    return kind, config


def _launch(kind: Kind, plan: Plan, out: Path, config: Mapping[str, Any], *, overwrite: bool) -> tuple[str, ...]:
    """Run all tasks, or hand them to Slurm; return the ids of jobs that were handed over."""
    from whoseboat.scale.steps import BuildPart, JoinParts

    logs = Shared(plan.shared).logs
    if kind == "ray":
        executors.connect_to_ray()
    given = {"tasks": plan.tasks, "workers": plan.workers, "logging_dir": logs}
    building = executors.make(kind, BuildPart(plan), config, **given)
    if kind != "slurm":
        building.run()
        return ()
    joining = executors.make(
        kind,
        JoinParts(plan, out, overwrite=overwrite),
        config,
        tasks=1,
        logging_dir=f"{logs}/join",
        depends=building,
    )
    joining.run()
    return tuple(str(job) for job in (building.job_id, joining.job_id) if job not in (None, -1))


def _tell(on_progress: Callable[[int, int], None] | None, done: int, tasks: int) -> None:
    if on_progress is not None:
        on_progress(done, tasks)
