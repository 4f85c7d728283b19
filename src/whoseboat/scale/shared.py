"""The shared folder of a run: what is built, the parts that tasks made, and their answers. Any fsspec path.

```
SHARED/run.json               what is built, by how many tasks; written once
SHARED/parts/00003.json       the part of task 3 is whole: which attempt made it, and its files with their SHA-256
SHARED/parts/00003-1f2e3d4c/  that attempt: a dataset folder
SHARED/answers/00003/         what a language model answered to task 3
SHARED/work/                  what tasks are at
SHARED/logs/                  the executor's own: logs, marks of completion, scripts
```

A part's files are sent first and `00003.json` last, so that a part is whole or not there, also where two processes do
the same task.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from whoseboat import manifest
from whoseboat.errors import DataError, OutputError
from whoseboat.manifest import Manifest

_RUN, _PARTS, _ANSWERS, _WORK, LOGS = "run.json", "parts", "answers", "work", "logs"


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

    @property
    def directory(self) -> Path | None:
        """The folder where it is one on a disk, else None."""
        files, path = self._place
        return (
            Path(path)
            if "file" in (files.protocol if isinstance(files.protocol, tuple) else [files.protocol])
            else None
        )

    @property
    def logs(self) -> str:
        """Where the executor keeps its own files."""
        return f"{self.address.rstrip('/')}/{LOGS}"

    # ---- what is built

    def begin(self, run: Mapping[str, Any]) -> None:
        """Write down what is built, or go on with the run that is there, if it is the same one.

        Raises:
            OutputError: another run is there, or it cannot be written.

        """
        text = json.dumps(run, indent=1, sort_keys=True) + "\n"
        present = self.run()
        if present is None:
            self._write(_RUN, text.encode())
            return
        wanted = json.loads(text)
        differing = sorted(name for name in {*present, *wanted} if present.get(name) != wanted.get(name))
        if differing:
            raise OutputError(
                "the shared folder holds another run",
                where=self.address,
                expected="the same command as that run's, or a new folder",
                found="; ".join(
                    f"{name}: {_short(present.get(name))} there, {_short(wanted.get(name))} here" for name in differing
                ),
                todo="name another --shared, or remove that folder where its run is not wanted any more",
            )

    def run(self) -> dict[str, Any] | None:
        """Return what is built here, None where nothing is.

        Raises:
            DataError: there is something that is no run of ours.

        """
        if not self._exists(_RUN):
            return None
        try:
            found = json.loads(self._read(_RUN))
            if isinstance(found, dict) and "whoseboat_run" in found:
                return found
        except ValueError:
            pass
        raise DataError("not the run of a build", where=f"{self.address}/{_RUN}", todo="name another --shared")

    # ---- parts

    def done(self, tasks: int) -> list[int]:
        """Return the tasks whose part is whole."""
        self._place[0].invalidate_cache()
        there = {str(name).rpartition("/")[2] for name in self._names(_PARTS)}
        return [rank for rank in range(tasks) if f"{rank:05d}.json" in there]

    @contextmanager
    def work(self) -> Iterator[Path]:
        """Give a directory for a task to work in: on the shared disk where there is one, so that parts are moved."""
        above = None
        if self.directory:
            above = self.directory / _WORK
            with self._explained():
                above.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="task-", dir=above) as directory:
            yield Path(directory)

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
        about = json.loads(self._read(f"{_PARTS}/{rank:05d}.json"))
        where = f"{_PARTS}/{about['attempt']}"
        folder = self.directory / where if self.directory else work / about["attempt"]
        files, path = self._place
        for name in (*about["files"], manifest.FILE):
            if not self.directory:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with self._explained():
                    files.get_file(f"{path}/{where}/{name}", str(folder / name))
            expected = about["manifest"] if name == manifest.FILE else about["files"][name]["sha256"]
            if not (folder / name).is_file() or _digest(folder / name) != expected:
                raise DataError(
                    f"the part of task {rank} is not as it was made",
                    where=f"{self.address}/{where}/{name}",
                    todo=f"remove {self.address}/{_PARTS}/{rank:05d}.json and run the same command again",
                )
        return folder, Manifest.of(manifest.read_manifest(folder), str(folder))

    # ---- answers of language models

    @contextmanager
    def answers(self, rank: int, work: Path) -> Iterator[Path]:
        """Give the directory for the answers of a task; where it is no path of this machine, it is sent at the end.

        It is sent as well where the task fails; of a process that is killed, only a folder on a shared disk has them.
        """
        if self.directory:
            directory = self.directory / _ANSWERS / f"{rank:05d}"
            directory.mkdir(parents=True, exist_ok=True)
            yield directory
            return
        files, path = self._place
        place, local = f"{path}/{_ANSWERS}/{rank:05d}", work / "answers"
        local.mkdir(parents=True)
        with self._explained():
            before = self._names(f"{_ANSWERS}/{rank:05d}", deep=True)
            for name in before:
                target = local / name.removeprefix(place).lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                files.get_file(name, str(target))
        try:
            yield local
        finally:
            with self._explained():
                for file in sorted(local.rglob("*.jsonl")):
                    sent = f"{place}/{file.relative_to(local).as_posix()}"
                    if sent not in before:
                        files.makedirs(sent.rpartition("/")[0], exist_ok=True)
                        files.put_file(str(file), sent)

    # ---- what is left

    def forget_marks(self, ranks: Iterable[int]) -> None:
        """Remove the executor's marks of completion of tasks whose part is not there, so that they are done again."""
        files, path = self._place
        with self._explained():
            for rank in ranks:
                mark = f"{path}/{LOGS}/completions/{rank:05d}"
                if files.exists(mark):
                    files.rm_file(mark)

    def clear(self) -> None:
        """Remove the folder, where it is on a disk."""
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- files

    def _exists(self, name: str) -> bool:
        files, path = self._place
        with self._explained():
            return bool(files.exists(f"{path}/{name}"))

    def _read(self, name: str) -> bytes:
        files, path = self._place
        with self._explained():
            found: bytes = files.cat_file(f"{path}/{name}")
            return found

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
        files, path = self._place
        with self._explained():
            if not files.exists(f"{path}/{below}"):
                return []
            found = files.find(f"{path}/{below}") if deep else files.ls(f"{path}/{below}", detail=False)
            return [str(name) for name in found]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                "the shared folder cannot be read or written",
                where=self.address,
                found=str(error)[:300],
                todo="check the address, your rights there, and that every machine sees it",
            ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(value: object) -> str:
    return json.dumps(value)[:80]
