"""A build in tasks, from the call to the dataset folder: locally, on Slurm, on Ray or on Hugging Face Jobs.

A run has a shared folder (`whoseboat.scale.shared`). The same call after an interruption does only what is missing:
tasks whose part is whole are left alone, and what a language model answered to the others is not asked again. One
finishing step checks that every part is there, and joins them.

What holds for the whole run, of T tasks, W of them at the same time:

- The budget is divided by T: all tasks together stay within it, as far as one build does. A task that is begun anew
  after its process was lost has its share anew.
- Requests at once are divided by W, one for each task at least: never more than the larger of W and what was given.
- The share of failed rows is watched by each task: with R given, at most R of the rows, and 100 R + 1 rows more for
  each task, fail before the run has stopped. A task may stop where the whole would not have.
- How long a server asks to wait (429) is kept by each task by itself, as is what it learns of requests at once.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from whoseboat import manifest, pipeline
from whoseboat.cards.merging import take_apart
from whoseboat.contents import CARD
from whoseboat.errors import DataError, UsageError, WhoseboatError
from whoseboat.folder import check_free, whole_folder
from whoseboat.llm.settings import LanguageModel, cache_directory
from whoseboat.manifest import Manifest
from whoseboat.pipeline import Built, Wanted
from whoseboat.scale import cutting, executors
from whoseboat.scale.executors import Kind
from whoseboat.scale.joining import join
from whoseboat.scale.plan import Plan, plan_of
from whoseboat.scale.shared import Shared

_NAMED = 10
# How often it is looked which tasks are done: on a disk, and where that is a request.
_LOOK_SECONDS, _ASK_SECONDS = 0.5, 20.0


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

    The same call again does what is missing. A script that calls this starts processes that import it, so the call
    belongs below `if __name__ == "__main__":`.

    Args:
        source: name of a source.
        out: the folder to make; it appears whole or not at all.
        tasks: how many parts the work is cut into, by conversations.
        executor: `local`, `slurm`, `ray` or `jobs`.
        workers: how many tasks run at the same time: one for each core unless told, one where each starts a server of
            its own here, on a cluster all.
        executor_config: settings of the executor, as `datatrove` has them, such as `partition` and `time` of Slurm.
        shared: a folder that every task sees, a path or an fsspec address, which stays. Without it a hidden one beside
            `out`, which is removed at the end; answers of a language model then go to its cache.
        engine: what infers personas, as in `whoseboat.build`.
        personas: a table of personas, in place of an engine.
        overwrite: replace a dataset folder that is there.
        on_progress: called with the numbers of tasks done and of all tasks, by a thread of its own.
        wanted: which pairs, as in `whoseboat.build`.

    Returns:
        The folder; on Slurm what was launched, where tasks are missing yet: its last job joins the parts.

    Raises:
        UsageError: something that cannot be right.
        DataError: the input is missing or damaged.
        HubError: the Hub did not give what was asked for.
        OutputError: the folder cannot be written, the shared folder holds another run, or another process is at it.
        WhoseboatError: tasks did not come to their end; the same call does what is missing.

    """
    given, out = Path(out), Path(os.path.abspath(out))  # noqa: PTH100 - does not follow links
    kind, config = _executor(executor, executor_config or {})
    folder = Shared(_address(shared, out))
    _check_places(kind, folder, personas, wanted)
    workers = workers if workers is not None else _width(kind, tasks, engine)
    plan = plan_of(source, folder.address, tasks, workers, engine, personas, wanted, folder.run())
    _check_out(folder, out, overwrite=overwrite)
    with folder.launching():
        folder.begin(plan.told)
        missing = _missing(folder, tasks)
        if missing:
            if kind == "slurm":
                executors.check_queue(folder.jobs(), folder.address)
            folder.forget(missing)
            with _watched(folder, tasks, on_progress):
                jobs = _launch(kind, plan, out, config, overwrite=overwrite)
            if jobs:
                folder.note_jobs(jobs)
                return Launched(jobs, folder.address, out)
        made = finish(plan, out, overwrite=overwrite)
        if shared is None:
            if isinstance(engine, LanguageModel):
                folder.move_answers(cache_directory(engine.cache_dir) / "journals")
            folder.clear()
    return Built(given, made)


def run_task(plan: Plan, rank: int) -> Manifest | None:
    """Build the part of one task into the shared folder; return its manifest, None where it was there already.

    Raises:
        DataError: this machine does not see the shared folder of the run; and whatever a build raises.

    """
    folder = Shared(plan.shared)
    if folder.run() != plan.told:
        raise DataError(
            "the shared folder of the run is not seen here, or holds another run",
            where=plan.shared,
            expected="run.json of this run",
            found="no run.json" if folder.run() is None else "that of another run",
            todo="name a --shared that every machine sees: a shared disk, hf://, s3://",
        )
    plan.check_this_machine()
    with folder.at_work(rank) as work:
        if rank in folder.done(plan.tasks):
            return None
        with folder.answers(rank, work) as answers:
            built = pipeline.build(
                plan.source,
                work / "part",
                engine=plan.engine_of_task(answers),
                personas=plan.personas,
                task=cutting.task(plan, rank),
                **plan.wanted,
            )
        folder.send(rank, built.path, built.manifest)
    return built.manifest


def note_failure(plan: Plan, rank: int, error: Exception) -> None:
    """Write down in the shared folder what was wrong with a task, where this machine sees it."""
    said = str(error) if isinstance(error, WhoseboatError) else f"{type(error).__name__}: {error}"
    folder = Shared(plan.shared)
    with suppress(WhoseboatError, OSError):  # what cannot be told there is in the logs
        if folder.run() is not None:
            folder.note_failure(rank, said)


def finish(plan: Plan, out: Path, *, overwrite: bool = False) -> Manifest:
    """Join the parts of all tasks into the dataset folder; safe to repeat.

    Raises:
        DataError: a part is damaged, or the parts are not of one set.
        OutputError: the folder cannot be written.
        WhoseboatError: a part is missing.

    """
    folder = Shared(plan.shared)
    if folder.is_joined(out):
        cutting.forget(folder)
        return Manifest.of(manifest.read_manifest(out), str(out))
    missing = _missing(folder, plan.tasks)
    if missing:
        raise _unfinished(folder, plan.tasks, missing)
    with whole_folder(out, overwrite) as new, tempfile.TemporaryDirectory(prefix="whoseboat-") as work:
        parts = [folder.fetch(rank, Path(work)) for rank in range(plan.tasks)]
        made = join(parts, new)
        if overwrite:
            made = pipeline.with_words_of(pipeline.card_there(out), new, made)
        folder.note_joined(out, new)
    cutting.forget(folder)
    return made


def _width(kind: Kind, tasks: int, engine: str | LanguageModel | None) -> int:
    """Return how many tasks run at the same time where nobody says."""
    if kind != "local":
        return tasks
    has_servers = isinstance(engine, LanguageModel) and engine.serve is not None
    return 1 if has_servers else min(tasks, os.cpu_count() or 1)


def _check_out(folder: Shared, out: Path, *, overwrite: bool) -> None:
    """Say what stands in the way of the set before the work."""
    if not folder.is_joined(out):
        check_free(out, overwrite=overwrite)
    if overwrite:
        take_apart(pipeline.card_there(out), str(out / CARD))


def _address(shared: str | os.PathLike[str] | None, out: Path) -> str:
    if shared is None:
        return str(out.parent / f".{out.name}.tasks")
    address = os.fspath(shared)
    return address if "://" in address else os.path.abspath(address)  # noqa: PTH100 - does not follow links


def _missing(folder: Shared, tasks: int) -> list[int]:
    return sorted(set(range(tasks)) - set(folder.done(tasks)))


def _unfinished(folder: Shared, tasks: int, missing: list[int]) -> WhoseboatError:
    """Return the error that names the tasks without a part, and says what was wrong with the first that told."""
    named = ", ".join(map(str, missing[:_NAMED])) + (" ..." if len(missing) > _NAMED else "")
    said = folder.failures(missing)
    told = [f"task {rank}: {said[rank]}" for rank in sorted(said)[:1]]
    others = sum(text != said[min(said)] for text in said.values()) if said else 0
    return WhoseboatError(
        f"{len(missing)} of {tasks} tasks did not come to their end",
        where=folder.address,
        found="\n".join([f"no part of task {named}", *told, *([f"{others} failed otherwise"] if others else [])]),
        todo=("mend that" if said else "see that every machine sees the shared folder, and what the logs say")
        + f", and run the same command again: it does what is missing; logs: {folder.logs}",
    )


def _executor(executor: str, config: Mapping[str, Any]) -> tuple[Kind, Mapping[str, Any]]:
    executors.check(executor, config)
    kind: Kind = executor  # type: ignore[assignment]  # it was checked
    return kind, config


def _check_places(
    kind: Kind, folder: Shared, personas: str | os.PathLike[str] | None, wanted: Mapping[str, Any]
) -> None:
    """Refuse to send jobs away with names of files on this machine."""
    if kind != "jobs":
        return
    here = {"--shared": folder.directory, "--data-dir": wanted.get("data_dir"), "--personas": personas}
    for flag, path in here.items():
        if path is not None:
            raise UsageError(
                "jobs elsewhere see no folder of this machine",
                expected="--shared with an address, such as hf://buckets/NAME/FOLDER, and a source on the Hub",
                found=f"{flag} {os.fspath(path)}",
            )


def _launch(kind: Kind, plan: Plan, out: Path, config: Mapping[str, Any], *, overwrite: bool) -> tuple[str, ...]:
    """Run all tasks, or hand them to Slurm; return the ids of jobs that were handed over."""
    from whoseboat.scale.quiet import quiet
    from whoseboat.scale.steps import BuildPart, JoinParts

    folder = Shared(plan.shared)
    log = None
    if folder.directory is not None:
        Path(folder.logs).mkdir(parents=True, exist_ok=True)
        log = Path(folder.logs) / "launch.log"
    config = executors.with_secrets(kind, config, plan.engine)
    with _explained(kind, folder), quiet(log), executors.on_ray() if kind == "ray" else nullcontext():
        given = {"tasks": plan.tasks, "workers": plan.workers, "logging_dir": folder.logs}
        building = executors.make(kind, BuildPart(plan, go_on=kind == "local"), config, **given)
        if kind != "slurm":
            building.run()
            return ()
        joining = executors.make(
            kind,
            JoinParts(plan, out, overwrite=overwrite),
            {**config, "run_on_dependency_fail": True},  # it says which tasks are missing
            tasks=1,
            logging_dir=f"{folder.logs}/join",
            depends=building,
        )
        joining.run()
        return tuple(str(job) for job in (building.job_id, joining.job_id) if job not in (None, -1))


@contextmanager
def _explained(kind: Kind, folder: Shared) -> Iterator[None]:
    """Tell what an executor itself fails at: its tasks tell by the shared folder."""
    try:
        yield
    except WhoseboatError:
        raise
    except Exception as error:
        said = getattr(error, "stderr", None) or str(error) or type(error).__name__
        raise WhoseboatError(
            f"executor {kind!r} cannot run the tasks",
            where=folder.address,
            found=f"{type(error).__name__}: {said}"[:500],
            todo=f"mend that, and run the same command again; logs: {folder.logs}",
        ) from error


@contextmanager
def _watched(folder: Shared, tasks: int, on_progress: Callable[[int, int], None] | None) -> Iterator[None]:
    """Tell now and then how many tasks are done, while they are worked on, and at the end."""
    if on_progress is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        told, is_last = -1, False
        while True:
            with suppress(WhoseboatError):  # who cannot look now may later
                done = len(folder.done(tasks))
                if done != told:
                    on_progress(done, tasks)
                    told = done
            if is_last:
                return
            is_last = ended.wait(_LOOK_SECONDS if folder.directory else _ASK_SECONDS)

    thread = threading.Thread(target=watch, name="tasks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
