"""The shared folder of a run: what is built, the parts that tasks made, and their answers. Any fsspec path.

```
SHARED/run.json               what is built, by how many tasks; written once
SHARED/cut/00002.jsonl        the pairs of some of the source's files, by task; on a disk (`whoseboat.scale.cutting`)
SHARED/parts/00003.json       the part of task 3 is whole: which attempt made it, and its files with their SHA-256
SHARED/parts/00003-1f2e3d4c/  that attempt: a dataset folder
SHARED/answers/00003/         what a language model answered to task 3
SHARED/failed/00003.json      what was wrong when task 3 was last tried
SHARED/work/00003/            what task 3 is at, and beside it the lock of who is at it; on a disk
SHARED/jobs.json              the jobs that were handed to Slurm
SHARED/joined.json            which dataset folder the parts were joined into
SHARED/logs/                  the executor's own: logs, marks of completion, scripts
```

A part's files are sent first and `00003.json` last, so that a part is whole or not there, also where two processes do
the same task. On a disk they do not: the second waits for the first, and finds its part. Locks are those of POSIX,
which end with the process that has them, whatever became of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from whoseboat import manifest
from whoseboat.errors import DataError, OutputError
from whoseboat.journal import LOCK, make_directory
from whoseboat.manifest import Manifest

_RUN, _JOBS, _JOINED = "run.json", "jobs.json", "joined.json"
_PARTS, _ANSWERS, _FAILED, _WORK, _LOGS = "parts", "answers", "failed", "work", "logs"


@dataclass(frozen=True)
class Shared:
    """A folder that every task sees: a path on a shared disk, or an address such as `hf://` or `s3://`.

    Raises:
        DataError: nothing here knows such an address.

    """

    address: str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            files, path = url_to_fs(self.address)
        except (ValueError, ImportError) as error:
            raise DataError(
                "the shared folder is at an address that cannot be used", where=self.address, found=str(error)
            ) from error
        return files, path.rstrip("/")

    @cached_property
    def directory(self) -> Path | None:
        """The folder where it is one on a disk, else None."""
        files, path = self._place
        protocols = files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)
        return Path(path) if "file" in protocols else None

    @property
    def logs(self) -> str:
        """Where the executor keeps its own files."""
        return f"{self.address.rstrip('/')}/{_LOGS}"

    # ---- what is built

    def begin(self, run: Mapping[str, Any]) -> None:
        """Write down what is built, or go on with the run that is there, if it is the same one.

        Raises:
            OutputError: another run is there, or it cannot be written.

        """
        present = self.run()
        if present is None:
            self._check_empty()
            self._write(_RUN, json.dumps(run, indent=1, sort_keys=True).encode() + b"\n")
            return
        differing = sorted(name for name in {*present, *run} if present.get(name) != run.get(name))
        if differing:
            raise OutputError(
                "the shared folder holds another run",
                where=self.address,
                expected="the same command as that run's, or a new folder",
                found="\n".join(
                    f"{name}: {_short(present.get(name))} there, {_short(run.get(name))} here" for name in differing
                ),
                todo="name another --shared, or remove that folder where its run is not wanted any more",
            )

    def _check_empty(self) -> None:
        found = [name.rpartition("/")[2] for name in self._names("")]
        if found:
            raise OutputError(
                "the shared folder holds other files",
                where=self.address,
                expected="an empty folder, or none",
                found=", ".join(sorted(found)[:5]),
                todo="name another --shared; nothing in it was touched",
            )

    def run(self) -> dict[str, Any] | None:
        """Return what is built here, None where nothing is.

        Raises:
            DataError: there is something that is no run of ours.

        """
        content = self._read(_RUN)
        if content is None:
            return None
        with suppress(ValueError):
            found = json.loads(content)
            if isinstance(found, dict) and "whoseboat_run" in found:
                return found
        raise DataError("not the run of a build", where=f"{self.address}/{_RUN}", todo="name another --shared")

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Be the one that launches tasks of this run.

        Raises:
            OutputError: another process is at it.

        """
        if self.directory is None:
            yield
            return
        with self.alone(self.directory / LOCK, wait=False) as is_alone:
            if not is_alone:
                raise OutputError(
                    "another process is at work in the shared folder",
                    where=self.address,
                    todo="wait for it, or name another --shared",
                )
            yield

    def note_jobs(self, jobs: Iterable[str]) -> None:
        """Write down which jobs were handed over."""
        self._write(_JOBS, json.dumps(list(jobs)).encode())

    def jobs(self) -> list[str]:
        """Return the jobs that were handed over last."""
        with suppress(ValueError):
            found = json.loads(self._read(_JOBS) or b"[]")
            return [str(job) for job in found] if isinstance(found, list) else []
        return []

    # ---- parts

    def done(self, tasks: int) -> list[int]:
        """Return the tasks whose part is whole."""
        self._place[0].invalidate_cache()
        there = {name.rpartition("/")[2] for name in self._names(_PARTS)}
        return [rank for rank in range(tasks) if f"{rank:05d}.json" in there]

    @contextmanager
    def at_work(self, rank: int) -> Iterator[Path]:
        """Give an empty directory for a task to work in, once no other process of this disk is at the same task.

        On a shared disk it is there, so that parts are moved and not copied.
        """
        if self.directory is None:
            with tempfile.TemporaryDirectory(prefix="whoseboat-task-") as directory:
                yield Path(directory)
            return
        above = self.directory / _WORK
        with self.alone(self.directory / _WORK / f"{rank:05d}.lock"):
            shutil.rmtree(above / f"{rank:05d}", ignore_errors=True)  # what a process left that was killed
            with self._explained():
                (above / f"{rank:05d}").mkdir()
            try:
                yield above / f"{rank:05d}"
            finally:
                shutil.rmtree(above / f"{rank:05d}", ignore_errors=True)

    @contextmanager
    def alone(self, lock: Path, *, wait: bool = True) -> Iterator[bool]:
        """Be the only process of this disk at something; without waiting, say whether it is so.

        Where the file system has no locks it is, as far as can be known.
        """
        with self._explained():
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                yield False
                return
            except OSError:  # a file system without locks
                pass
            yield True
        finally:
            os.close(file)

    def has_locks(self) -> bool:
        """Say whether files of the folder can be locked: those of a disk, but for some that are mounted from afar."""
        if self.directory is None:
            return False
        with self._explained():
            (self.directory / _WORK).mkdir(parents=True, exist_ok=True)
            file = os.open(self.directory / _WORK / "locks", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(file)
        return True

    def send(self, rank: int, part: Path, made: Manifest) -> None:
        """Put the folder that a task made in its place.

        Raises:
            OutputError: it cannot be written.

        """
        attempt = f"{rank:05d}-{secrets.token_hex(4)}"
        files, path = self._place
        about = {"attempt": attempt, "files": made.files, "manifest": _digest(part / manifest.FILE)}
        with self._explained():
            if self.directory:
                target = self.directory / _PARTS / attempt
                target.parent.mkdir(parents=True, exist_ok=True)
                part.rename(target)
            else:
                for name in (*made.files, manifest.FILE):
                    place = f"{path}/{_PARTS}/{attempt}/{name}"
                    files.makedirs(place.rpartition("/")[0], exist_ok=True)
                    files.put_file(str(part / name), place)
        self._write(f"{_PARTS}/{rank:05d}.json", json.dumps(about).encode())

    def fetch(self, rank: int, work: Path) -> tuple[Path, Manifest]:
        """Return the folder of a task's part, on a disk, and its manifest, once each file is as it was sent.

        Args:
            rank: the task.
            work: where it is put where the shared folder is no path of this machine.

        Raises:
            DataError: the part is not whole, or damaged.

        """
        try:
            about = json.loads(self._read(f"{_PARTS}/{rank:05d}.json") or b"")
            attempt, digests = str(about["attempt"]), {name: one["sha256"] for name, one in about["files"].items()}
            digests[manifest.FILE] = about["manifest"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(rank, f"{rank:05d}.json") from error
        folder = self.directory / _PARTS / attempt if self.directory else work / attempt
        for name, expected in digests.items():
            if not self.directory:
                self._fetch_file(f"{_PARTS}/{attempt}/{name}", folder / name)
            if not (folder / name).is_file() or _digest(folder / name) != expected:
                raise self._damaged(rank, f"{attempt}/{name}")
        return folder, Manifest.of(manifest.read_manifest(folder), str(folder))

    def _fetch_file(self, name: str, target: Path) -> None:
        files, path = self._place
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), self._explained(may_lack=True):
            files.get_file(f"{path}/{name}", str(target))

    def _damaged(self, rank: int, name: str) -> DataError:
        return DataError(
            f"the part of task {rank} is not as it was made",
            where=f"{self.address}/{_PARTS}/{name}",
            todo=f"remove {self.address}/{_PARTS}/{rank:05d}.json and run the same command again",
        )

    # ---- what went wrong

    def note_failure(self, rank: int, said: str) -> None:
        """Write down what was wrong with a task."""
        self._write(f"{_FAILED}/{rank:05d}.json", json.dumps({"task": rank, "said": said}).encode())

    def failures(self, ranks: Iterable[int]) -> dict[int, str]:
        """Return what was wrong with these tasks, of those that said so."""
        there = {name.rpartition("/")[2] for name in self._names(_FAILED)}
        found = {}
        for rank in ranks:
            content = self._read(f"{_FAILED}/{rank:05d}.json") if f"{rank:05d}.json" in there else None
            with suppress(ValueError, KeyError, TypeError):
                found[rank] = str(json.loads(content or b"")["said"])
        return found

    def forget(self, ranks: Iterable[int]) -> None:
        """Forget that tasks have failed, and the executor's marks that they are done, and joined, to do them again."""
        files, path = self._place
        names = [f"{folder}{rank:05d}{end}" for rank in ranks for folder, end in _MARKS]
        for name in [*names, f"{_LOGS}/join/completions/00000"]:
            with self._explained():
                if files.exists(f"{path}/{name}"):
                    files.rm_file(f"{path}/{name}")

    # ---- answers of language models

    @contextmanager
    def answers(self, rank: int, work: Path) -> Iterator[Path]:
        """Give the directory for the answers of a task; where it is no path of this machine, it is sent at the end.

        It is sent as well where the task fails; of a process that is killed, only a folder on a shared disk has them.
        """
        if self.directory:
            directory = self.directory / _ANSWERS / f"{rank:05d}"
            make_directory(directory)
            yield directory
            return
        below = f"{_ANSWERS}/{rank:05d}"
        local = work / "answers"
        local.mkdir(parents=True)
        before = {name.partition(f"/{below}/")[2] for name in self._names(below, deep=True)}
        for name in before:
            self._fetch_file(f"{below}/{name}", local / name)
        try:
            yield local
        finally:
            for file in sorted(path for path in local.rglob("*") if path.is_file() and path.name != LOCK):
                name = file.relative_to(local).as_posix()
                if name not in before or not name.endswith(".jsonl"):  # a segment is written by one process
                    self._write(f"{below}/{name}", file.read_bytes())

    def move_answers(self, journals: Path) -> None:
        """Move the answers of all tasks, which are on a disk, into one directory of journals."""
        if self.directory is None:
            return
        for segment in sorted((self.directory / _ANSWERS).glob("*/journals/*/*.jsonl")):
            directory = journals / segment.parent.name
            make_directory(directory)
            shutil.move(segment, directory / segment.name)

    # ---- the set

    def note_joined(self, out: Path, new: Path) -> None:
        """Write down the folder that the parts are joined into, and the SHA-256 of its manifest, which is in `new`."""
        self._write(_JOINED, json.dumps({"out": str(out), "manifest": _digest(new / manifest.FILE)}).encode())

    def is_joined(self, out: Path) -> bool:
        """Say whether the folder is what the parts were joined into."""
        content, path = self._read(_JOINED), out / manifest.FILE
        with suppress(ValueError):
            return path.is_file() and json.loads(content or b"") == {"out": str(out), "manifest": _digest(path)}
        return False

    def clear(self) -> None:
        """Remove the folder, where it is on a disk."""
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- files

    def _read(self, name: str) -> bytes | None:
        """Return what a file holds, None where there is none."""
        files, path = self._place
        try:
            with self._explained(may_lack=True):
                found: bytes = files.cat_file(f"{path}/{name}")
                return found
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        """Write a small file: on a disk whole or not at all, elsewhere as the service has it."""
        files, path = self._place
        with self._explained():
            if self.directory:
                target = self.directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
                partial.write_bytes(content)
                partial.rename(target)
            else:
                files.makedirs(f"{path}/{name}".rpartition("/")[0], exist_ok=True)
                files.pipe_file(f"{path}/{name}", content)

    def _names(self, below: str, *, deep: bool = False) -> list[str]:
        """Return the paths of what is in a folder, none where it is not there; hidden names and locks are left out."""
        files, path = self._place
        place = f"{path}/{below}".rstrip("/")
        try:
            with self._explained(may_lack=True):
                found = files.find(place) if deep else files.ls(place, detail=False)
        except FileNotFoundError:
            return []
        names = [str(name).rstrip("/") for name in found]
        return [name for name in names if not name.rpartition("/")[2].startswith(".") and not name.endswith(f"/{LOCK}")]

    @contextmanager
    def _explained(self, *, may_lack: bool = False) -> Iterator[None]:
        """Tell an error of the disk or service as one of ours, but that a file is not there where that may be."""
        try:
            yield
        except OSError as error:
            if may_lack and isinstance(error, FileNotFoundError):
                raise
            raise OutputError(
                "the shared folder cannot be read or written",
                where=self.address,
                found=str(error)[:300],
                todo="check the address, that the repo or bucket is there, your rights, and that every machine sees it",
            ) from error


# What says that a task failed, and the executor's mark that it is done.
_MARKS = ((f"{_FAILED}/", ".json"), (f"{_LOGS}/completions/", ""))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_SHOWN = 100
