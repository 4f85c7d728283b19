"""Where tasks run: executors of `datatrove`, with settings from a file of the user's."""

from __future__ import annotations

import inspect
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from whoseboat import __version__
from whoseboat.errors import DataError, OutputError, UsageError, unknown
from whoseboat.llm.settings import LanguageModel

Kind = Literal["local", "slurm", "ray", "jobs"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_CLASSES: Mapping[Kind, tuple[str, str]] = {
    "local": ("whoseboat.scale.quiet", "QuietLocalExecutor"),
    "slurm": ("datatrove.executor.slurm", "SlurmPipelineExecutor"),
    "ray": ("datatrove.executor.ray", "RayPipelineExecutor"),
    "jobs": ("datatrove.executor.jobs", "JobsPipelineExecutor"),
}
# What the command itself says.
_GIVEN = frozenset({"self", "pipeline", "tasks", "workers", "logging_dir", "skip_completed", "depends"})
_DEFAULTS: Mapping[Kind, Mapping[str, Any]] = {
    "local": {},
    # What depends on a job that failed is taken out of the queue, where it would wait for ever.
    "slurm": {"job_name": "whoseboat", "mail_type": "NONE", "sbatch_args": {"kill-on-invalid-dep": "yes"}},
    "ray": {},
    "jobs": {"dependencies": [f"whoseboat[scale]=={__version__}", "datatrove[io]"]},
}


def check(kind: str, config: Mapping[str, Any]) -> None:
    """Refuse settings that an executor does not have, or lacks.

    Raises:
        UsageError: there is no such executor, it is not installed, or it takes no such setting.

    """
    if kind not in KINDS:
        raise unknown("executor", kind, KINDS)
    parameters = inspect.signature(_class(kind).__init__).parameters
    offered = [name for name in parameters if name not in _GIVEN]
    for name in config:
        if name in _GIVEN:
            raise UsageError(f"{name!r} of an executor is not set in a file", todo="--tasks, --workers, --shared")
        if name not in offered:
            raise unknown(f"setting of executor {kind!r}", name, offered)
    missing = [
        name
        for name in offered
        if parameters[name].default is inspect.Parameter.empty and name not in {**_DEFAULTS[kind], **config}
    ]
    if missing:
        raise UsageError(
            f"executor {kind!r} needs settings",
            expected=", ".join(missing),
            todo="write them into a YAML file: --executor-config FILE",
        )


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings of an executor from a YAML file.

    Raises:
        DataError: it cannot be read, or is no mapping.

    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(
            "the settings of the executor cannot be read", where=str(path), found=" ".join(str(error).split())[:200]
        ) from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise DataError("settings of an executor are no mapping", where=str(path), expected="lines `partition: gpu`")
    return found


def with_secrets(kind: Kind, config: Mapping[str, Any], engine: object) -> dict[str, Any]:
    """Return settings with the key of a language model's endpoint, where an executor takes it with nothing written.

    Slurm hands the environment on; nodes of Ray have their own.
    """
    key = os.environ.get("OPENAI_API_KEY")
    if kind != "jobs" or not isinstance(engine, LanguageModel) or not key:
        return dict(config)
    return {**config, "secrets": {"OPENAI_API_KEY": key, **(config.get("secrets") or {})}}


def make(kind: Kind, step: object, config: Mapping[str, Any], **given: Any) -> Any:  # noqa: ANN401 - datatrove has no types
    """Return an executor of one step.

    Args:
        kind: which.
        step: what it runs.
        config: settings of its own, as `check` takes them.
        given: `tasks`, `workers`, `logging_dir`, `depends`.

    """
    settings = {**_DEFAULTS[kind], **config, **given}
    if kind == "slurm":
        settings["sbatch_args"] = {**_DEFAULTS[kind]["sbatch_args"], **(config.get("sbatch_args") or {})}
    return _class(kind)(pipeline=[step], **settings)


def check_queue(jobs: Sequence[str], shared: str) -> None:
    """Refuse to hand tasks to Slurm that it has yet.

    Raises:
        OutputError: one of the jobs has not ended.

    """
    if not jobs:
        return
    try:
        said = subprocess.run(  # noqa: S603 - ids of jobs, as Slurm gave them
            ["squeue", "--noheader", "--format=%A %T", "--jobs", ",".join(jobs)],  # noqa: S607 - as datatrove finds sbatch
            capture_output=True,
            text=True,
            check=False,  # of jobs that ended long ago it says that there are none
        )
    except OSError:
        return
    if said.returncode == 0 and said.stdout.strip():
        raise OutputError(
            "the jobs of this run are in Slurm's queue yet",
            where=shared,
            found=", ".join(sorted(set(said.stdout.splitlines()))[:5]),
            todo="wait until they have ended, or cancel them: scancel JOB",
        )


@contextmanager
def on_ray() -> Iterator[None]:
    """Be connected to the cluster that `RAY_ADDRESS` names, else to one on this machine, started if there is none."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


def _class(kind: Kind) -> Any:  # noqa: ANN401 - datatrove has no types
    module, name = _CLASSES[kind]
    try:
        if kind == "ray":
            import_module("ray")
        return getattr(import_module(module), name)
    except ImportError as error:
        raise UsageError(
            f"executor {kind!r} needs a package that is not installed",
            found=str(error),
            todo="pip install 'whoseboat[scale]'" + (" ray" if kind == "ray" else ""),
        ) from error
