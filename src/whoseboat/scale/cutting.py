"""The source of a run, cut once for all its tasks: by its files, and by conversations.

```
SHARED/cut/00002.jsonl   the pairs of the third share of the files: pieces, each of one task, in their order
SHARED/cut/00002.json    where each task's pieces are; written last
SHARED/cut/00002.lock    held by who is at it
```

Files are shared out, neighbours together, into as many shares as there are tasks (or files, where these are fewer).
Whoever comes to a share that nobody has cut or is at, cuts it: it reads the files and puts each pair by for its task.
So every file is read once, whatever the number of tasks, and a task reads what is its own. A share appears whole or not
at all; who is killed at one leaves it to the others, and the next call finds what was cut.

It is done where that gives the same pairs as reading all: each record makes its pairs by itself, no random subset is
wanted, and no table of personas is held against all of them. Caps come after, in each task, since they count the pairs
of one prompt. And it needs a shared folder on a disk that has locks. Elsewhere each task reads the source as a whole.
"""

from __future__ import annotations

import errno
import io
import json
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from whoseboat import sources
from whoseboat.errors import DataError, OutputError
from whoseboat.pipeline import wanted_of
from whoseboat.records import Drop, Pair
from whoseboat.scale.plan import Plan
from whoseboat.scale.shared import Shared
from whoseboat.sources import Reading
from whoseboat.spool import of_line, to_line
from whoseboat.tasks import Task, task_of

_CUT = "cut"
_BYTES_AT_ONCE = 8_000_000
_WAIT_SECONDS = 0.2
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def task(plan: Plan, rank: int) -> Task:
    """Return a task with what the source has for it, in its order; without, where it is to read all of the source.

    Shares of the source that nobody has cut yet are cut here; those that others are at are waited for.

    Raises:
        DataError: the input is missing or damaged, or what was cut is.
        OutputError: the shared folder cannot be written.

    """
    folder, whole = Shared(plan.shared), Task(rank, plan.tasks)
    reading = _reading(plan)
    by_file = reading.by_file if reading is not None else None
    if folder.directory is None or reading is None or by_file is None or not folder.has_locks():
        return whole
    above, seconds = folder.directory / _CUT, 0.0
    shares = _shares(by_file.files, plan.tasks)
    missing = [(rank + step) % len(shares) for step in range(len(shares))]  # each task begins at another one
    while missing:
        for share in list(missing):
            with folder.alone(above / f"{share:05d}.lock", wait=False) as is_alone:
                if is_alone:
                    if not _index(above, share).is_file():
                        started = time.monotonic()
                        if share == 0:
                            _check_begin(reading)
                        _cut(plan.tasks, by_file.read(frozenset(shares[share])), above, share)
                        seconds += time.monotonic() - started
                    missing.remove(share)
        if missing:
            time.sleep(_WAIT_SECONDS)
    return replace(whole, pairs=by_file.across(_put_by(above, len(shares), rank)), seconds=seconds)


def forget(folder: Shared) -> None:
    """Remove what was cut: no task needs it any more."""
    if folder.directory is not None:
        shutil.rmtree(folder.directory / _CUT, ignore_errors=True)


def _reading(plan: Plan) -> Reading | None:
    """Return the source, None where each task is to see all of it: it must, or it gains nothing by a cut."""
    request, selection = wanted_of(**plan.wanted)
    if plan.tasks == 1 or plan.personas is not None or selection.limit is not None:
        return None
    reading = sources.read(plan.source, request)
    return reading if reading.by_file is not None and len(reading.by_file.files) > 1 else None


def _shares(files: Sequence[str], tasks: int) -> list[Sequence[str]]:
    """Return the files in shares of neighbours, so that shares one after the other have the files in their order."""
    count = min(tasks, len(files))
    ends = [len(files) * number // count for number in range(count + 1)]
    return [files[start:end] for start, end in pairwise(ends)]


def _check_begin(reading: Reading) -> None:
    """Refuse a source that does not fit, as a build of one piece does: that is told by its first rows, of all files."""
    next(iter(reading.pairs), None)


def _index(above: Path, share: int) -> Path:
    return above / f"{share:05d}.json"


def _cut(tasks: int, pairs: Iterable[Pair | Drop], above: Path, share: int) -> None:
    """Put each pair of some files by for its task. Who is here is alone at this share."""
    for left in above.glob(f"{share:05d}.*.part"):
        left.unlink(missing_ok=True)  # by a process that was killed
    part = above / f"{share:05d}.{secrets.token_hex(4)}.part"
    try:
        with part.open("wb") as file:
            pieces, waiting, held = [list[list[int]]() for _ in range(tasks)], defaultdict[int, list[bytes]](list), 0
            for item in pairs:
                line = to_line(item)
                waiting[task_of(item, tasks)].append(line)
                held += len(line)
                if held > _BYTES_AT_ONCE:
                    _write(file, waiting, pieces)
                    held = 0
            _write(file, waiting, pieces)
            size = file.tell()
        part.replace(above / f"{share:05d}.jsonl")
        part.write_text(json.dumps({"bytes": size, "pieces": pieces}), encoding="utf-8")
        part.replace(_index(above, share))
    except OSError as error:
        raise OutputError(
            "the source cannot be cut for the tasks",
            where=str(part),
            found=error.strerror or str(error),
            todo="free some room: it takes as much as the source's pairs as JSON lines"
            if error.errno in _NO_ROOM
            else "see that this folder can be written",
        ) from error
    finally:
        with suppress(OSError):  # where it cannot be removed, that it could not be written was said
            part.unlink(missing_ok=True)


def _write(file: io.BufferedIOBase, waiting: dict[int, list[bytes]], pieces: list[list[list[int]]]) -> None:
    """Write what waits, and note where: the begin of each piece and its length, in bytes."""
    for rank in sorted(waiting):
        piece = b"".join(waiting[rank])
        pieces[rank].append([file.tell(), len(piece)])
        file.write(piece)
    waiting.clear()


def _put_by(above: Path, shares: int, rank: int) -> Iterator[Pair | Drop]:
    """Yield what was put by for a task."""
    for share in range(shares):
        path = above / f"{share:05d}.jsonl"
        try:
            index = json.loads(_index(above, share).read_bytes())
            with path.open("rb") as file:
                if file.seek(0, io.SEEK_END) != index["bytes"]:
                    raise ValueError("not as long as it was written")
                for begin, length in index["pieces"][rank]:
                    file.seek(begin)
                    yield from map(of_line, io.BytesIO(file.read(length)))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                "what was cut of the source is not as it was written",
                where=str(path),
                found=f"{type(error).__name__}: {error}",
                todo=f"remove {above} and run the same command again",
            ) from error
