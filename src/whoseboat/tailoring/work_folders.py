"""Where a model is trained before its folder is there: a hidden directory beside it, which one run at a time holds.

It is called `.NAME.training-DIGEST`, the digest being that of all the training depends on, so that a run goes on with
what another of the same recipe left, and with nothing else. What holds no checkpoint is removed when a run fails.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from whoseboat.errors import OutputError
from whoseboat.tailoring import stages

_LOCK = "lock"
_DIGITS = 12
# All that a directory of ours can hold: what holds anything else is not taken for one.
_OURS = frozenset({_LOCK, "sft", "dpo", "start", "start.part"})


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What runs of other recipes left of models of one name: their working directories, and the bytes in them."""

    folders: tuple[Path, ...]
    bytes: int


def of(out: Path, digest: str) -> Path:
    """Return the directory in which a recipe of this digest is trained for a folder."""
    return out.parent / f".{out.name}.training-{digest[:_DIGITS]}"


@contextmanager
def held(work: Path, is_main: bool) -> Iterator[None]:
    """Hold a working directory, so that no other run trains in it; of several processes the first one does.

    Where what is done meanwhile fails, it stays only if there is something to go on from.

    Raises:
        OutputError: another run holds it.

    """
    if not is_main:
        yield
        return
    with _locked(work):
        try:
            yield
        except BaseException:
            if not any(stages.has_progress(work / method) for method in ("sft", "dpo")):
                shutil.rmtree(work, ignore_errors=True)
            raise


def clear(work: Path) -> None:
    """Empty a working directory that this run holds."""
    for path in work.iterdir():
        if path.name != _LOCK:
            shutil.rmtree(path)


def unfinished(out: Path, work: Path) -> Unfinished | None:
    """Return what runs of other recipes left of models for a folder, None where there is nothing of the kind.

    Directories in which a run is under way are left out.

    Args:
        out: the folder to make.
        work: the directory of the present run.

    """
    found, size = [], 0
    for folder in _others(out, work):
        with _free(folder) as is_free:
            if is_free:
                found.append(folder)
                size += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Unfinished(tuple(found), size) if found else None


def remove_unfinished(out: Path, work: Path) -> None:
    """Remove what runs of other recipes left of models for a folder, but for directories in which one is under way."""
    for folder in _others(out, work):
        with _free(folder) as is_free:
            if is_free:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    with ExitStack() as held:
        lock = held.enter_context(_opened(work))
        while not _is_at(lock, work / _LOCK):  # another run removed the directory in between
            lock = held.enter_context(_opened(work))
        yield


@contextmanager
def _opened(work: Path) -> Iterator[BufferedWriter]:
    work.mkdir(parents=True, exist_ok=True)
    with (work / _LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                "another process trains this model", where=str(work), todo="wait for it, or name another --out"
            ) from error
        yield lock


def _is_at(lock: BufferedWriter, path: Path) -> bool:
    """Say whether a file that is open still stands at a path."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _others(out: Path, work: Path) -> list[Path]:
    """Return the working directories for a folder but that of the present run, known by name, owner and content."""
    named = re.compile(rf".*\.training-[0-9a-f]{{{_DIGITS}}}", re.DOTALL)
    beside = out.parent.glob(f".{glob.escape(out.name)}.training-{'?' * _DIGITS}")
    return sorted(path for path in beside if path != work and named.fullmatch(path.name) and _is_ours(path))


def _is_ours(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.geteuid():
            return False
        names = {entry.name for entry in path.iterdir()}
    except FileNotFoundError:  # its run has come to its end just now
        return False
    return _LOCK in names and names <= _OURS


@contextmanager
def _free(folder: Path) -> Iterator[bool]:
    """Say whether no run is under way in a directory; as long as that is asked for, none can begin."""
    try:
        lock = (folder / _LOCK).open("rb")
    except OSError:  # its run has come to its end just now
        yield False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a run holds it; or files cannot be locked here, and then nothing is known
            yield False
            return
        yield True
