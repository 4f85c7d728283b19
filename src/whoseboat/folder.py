"""A folder that appears whole or not at all: written beside its place under a hidden name, then renamed.

It is written in a working directory `.NAME.partial-XXXXXXXX` beside its place:

```
lock    names the folder being written; the process that writes it holds a lock on it
new/    the folder being written
old/    for a moment: the folder it replaces
```

A working directory whose lock nobody holds is that of a process that was killed. The next call for the same place puts
back what it was about to replace, keeps what is not ours, and clears the rest away.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path

from whoseboat import manifest
from whoseboat.errors import DataError, OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def whole_folder(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty directory to write into; on success it becomes `out`, on any error it is gone.

    A folder at `out` is replaced only when `overwrite` is set and it is ours: it has a manifest of ours. It stands
    until the new one is complete. Files in it that its manifest does not own are moved into the new one.

    Raises:
        OutputError: there is something at `out` that may not be replaced, no permission, or no room on the disk.

    """
    with _explained(out):
        out = _place(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        _clear_after_the_killed(out)
        check_free(out, overwrite=overwrite)
        work, lock = _begin(out)
    try:
        with _explained(out, within=work):
            yield work / "new"
        with _explained(out):
            check_free(out, overwrite=overwrite)
            _swap(work, out)
    finally:
        _clear(work, out)
        lock.close()


def _place(out: Path) -> Path:
    """Return the absolute path, with a name at its end."""
    out = out.absolute()
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise OutputError(
            "the output folder's path is no UTF-8 text: no library would read the files in it",
            where=str(out),
            todo="name another --out",
        ) from error
    return out.resolve() if out.name in ("", "..") else out


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a place where no folder may be made.

    Raises:
        OutputError: there is something that may not be replaced.

    """
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not out.is_dir():
        raise OutputError("the output is there and is no folder", where=str(out), todo="name another --out")
    if os.path.ismount(out):  # it cannot be renamed: better to say so now than after the work
        raise OutputError(
            "the output folder is the root of a disk or a mount point",
            where=str(out),
            todo=f"name a folder in it: --out {out / 'NAME'}",
        )
    if not any(out.iterdir()):
        return
    if not _is_ours(out):
        raise OutputError(
            "the output folder holds other files",
            where=str(out),
            expected=f"a folder of ours (with a {manifest.FILE} of ours), an empty one or none",
            found=", ".join(sorted(entry.name for entry in out.iterdir())[:5]),
            todo="name another --out; nothing in it was touched",
        )
    if not overwrite:
        raise OutputError(
            "the output folder is there already",
            where=str(out),
            todo="name another, or replace it: --overwrite (in Python: overwrite=True)",
        )


def _is_ours(folder: Path) -> bool:
    try:
        manifest.read_manifest(folder)
    except DataError:
        return False
    return True


def _label(out: Path) -> bytes:
    """Return what stands in the lock file of a working directory for this folder."""
    return b"whoseboat writes " + os.fsencode(out.name) + b"\n"


def _begin(out: Path) -> tuple[Path, FileIO]:
    """Make a working directory for a folder, and lock it."""
    with ExitStack() as undo:
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
        undo.callback(shutil.rmtree, work, ignore_errors=True)
        lock = undo.enter_context((work / "lock").open("xb", buffering=0))
        with suppress(OSError):  # where files cannot be locked, none is ever taken for that of a killed process
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(_label(out))  # only now: without it nobody else touches the directory
        (work / "new").mkdir()
        undo.pop_all()
        return work, lock


def _clear_after_the_killed(out: Path) -> None:
    """Clear away the working directories for this folder that processes left which are gone."""
    for work in out.parent.glob(f".{glob.escape(out.name)}.partial-*"):
        with suppress(OSError):  # no file to lock, or one that is locked
            about = work.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
                continue
            with (work / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if lock.read() == _label(out):
                    _clear(work, out)


def _swap(work: Path, out: Path) -> None:
    """Put the new folder in its place, with the files in the old one that are not ours; or leave all as it was."""
    new, old = work / "new", work / "old"
    moves = [(new, out)]
    if out.is_dir() and any(out.iterdir()):
        kept = _not_owned(out, new)
        _check_no_clash(kept, new, out)
        moves = [(out, old), (new, out), *((old / name, out / name) for name in kept)]
    begun = []
    try:
        for source, target in moves:
            begun.append((source, target))
            _move(source, target)
    except BaseException:
        for source, target in reversed(begun):
            if os.path.lexists(target) and not os.path.lexists(source):
                target.rename(source)
        raise


def _not_owned(folder: Path, other: Path) -> list[str]:
    """Return what in a folder of ours its manifest does not own.

    A directory without any owned file is one entry, unless `other`, where it is to go, has such a directory as well.
    """
    owned = _owned(folder)
    parents = {name[:end] for name in owned for end in range(len(name)) if name[end] == "/"}

    def walk(below: str) -> Iterator[str]:
        for entry in sorted(os.scandir(folder / below), key=lambda entry: entry.name):
            name = below + entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder and (name in parents or _is_folder(other / name)):
                yield from walk(f"{name}/")
            elif is_folder or name not in owned:
                yield name

    return list(walk(""))


def _owned(folder: Path) -> set[str]:
    return {*manifest.read_manifest(folder)["files"], manifest.FILE}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _check_no_clash(kept: Collection[str], new: Path, out: Path) -> None:
    clashes = [name for name in kept if os.path.lexists(new / name)]
    if clashes:
        raise OutputError(
            "a file that is not ours stands where one of the new folder belongs",
            where=str(out),
            found=", ".join(clashes[:5]),
            todo="move it elsewhere, or name another --out; nothing was touched",
        )


def link(source: Path, target: Path) -> None:
    """Put a file in another place: the same file where the disk allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _clear(work: Path, out: Path) -> None:
    """Remove a working directory; an old folder in it goes back to its place, unless it was replaced."""
    new, old = work / "new", work / "old"
    shutil.rmtree(new, ignore_errors=True)
    with suppress(OSError):
        if _is_folder(old) and _is_ours(old):
            if not os.path.lexists(out):
                old.rename(out)
            elif _is_ours(out) and _keep(old, out):
                old.rename(new)  # in one step: half removed, it would no longer be known as ours
                shutil.rmtree(new)
        if [entry.name for entry in work.iterdir()] == ["lock"]:
            (work / "lock").unlink()
            work.rmdir()


def _keep(old: Path, out: Path) -> bool:
    """Move what is not ours from a replaced folder into the new one; return whether all of it could be moved."""
    for name in _not_owned(old, out):
        if not os.path.lexists(out / name):
            _move(old / name, out / name)
    return not _not_owned(old, out)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


@contextmanager
def _explained(out: Path, within: Path | None = None) -> Iterator[None]:
    """Tell an error of the operating system as one of the output.

    With `within`, what others do is watched: only a full disk, and files below that directory, are the output's.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(
                "no room left on the disk",
                where=str(out.parent),
                found=str(error),
                todo="free some, or name an --out on another disk; nothing was left behind",
            ) from error
        if within is not None and not _names_file_in(error, within):
            raise
        raise OutputError(
            "the output folder cannot be written",
            where=str(out),
            found=error.strerror or str(error),
            todo="check the path and its permissions, or name another --out",
        ) from error


def _names_file_in(error: OSError, directory: Path) -> bool:
    return isinstance(error.filename, str | os.PathLike) and Path(error.filename).is_relative_to(directory)
