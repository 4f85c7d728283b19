"""The source of a run, cut once for all its tasks: by its files, and by conversations.

```
SHARED/cut/00002/00005.jsonl   of the third share of the files, the pairs of task 5, in their order
SHARED/cut/00002/sizes.json    bytes of each of these; written last
SHARED/cut/00002.lock          held by who is at it
```

Files are shared out, neighbours together, into as many shares as there are tasks (or files, where these are fewer).
Whoever comes to a share that nobody has cut or is at, cuts it: it reads the files and puts each pair by for its task.
So every file is read once, whatever the number of tasks, and a task reads what is its own. A share appears whole or not
at all; who is killed at one leaves it to the others, and the next call finds what was cut.

It is done where that gives the same pairs as reading all: each record makes its pairs by itself, no random subset is
wanted, and no table of personas is held against all of them. Caps come after, in each task, since they count the pairs
of one prompt. And it needs a shared folder on a disk. Elsewhere each task reads the source as a whole.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from whoseboat import sources
from whoseboat.errors import DataError, OutputError
from whoseboat.pipeline import wanted_of
from whoseboat.records import Drop, Pair
from whoseboat.scale.plan import Plan
from whoseboat.scale.shared import Shared
from whoseboat.sources import ByFile
from whoseboat.spool import of_line, to_line
from whoseboat.tasks import task_of

_CUT, _SIZES = "cut", "sizes.json"
_BYTES_AT_ONCE = 8_000_000
_WAIT_SECONDS = 0.2


def pairs_of_task(plan: Plan, rank: int) -> Iterator[Pair | Drop] | None:
    """Return what the source has for a task, in its order; None where the task is to read all of it.

    Shares of the source that nobody has cut yet are cut here; those that others are at are waited for.

    Raises:
        DataError: the input is missing or damaged, or what was cut is.
        OutputError: the shared folder cannot be written.

    """
    folder = Shared(plan.shared)
    by_file = _by_file(plan)
    if folder.directory is None or by_file is None:
        return None
    above = folder.directory / _CUT
    shares = _shares(by_file.files, plan.tasks)
    missing = [(rank + step) % len(shares) for step in range(len(shares))]  # each task begins at another one
    while missing:
        for share in list(missing):
            with folder.alone(above / f"{share:05d}.lock", wait=False) as is_alone:
                if is_alone:
                    if not _is_cut(above / f"{share:05d}"):
                        _cut(plan, by_file, shares[share], above / f"{share:05d}")
                    missing.remove(share)
        if missing:
            time.sleep(_WAIT_SECONDS)
    return by_file.across(_put_by(above, len(shares), rank))


def forget(folder: Shared) -> None:
    """Remove what was cut: no task needs it any more."""
    if folder.directory is not None:
        shutil.rmtree(folder.directory / _CUT, ignore_errors=True)


def _by_file(plan: Plan) -> ByFile | None:
    """Return the source file by file, None where all tasks must see all of it, or nothing is gained."""
    request, selection = wanted_of(**plan.wanted)
    if plan.tasks == 1 or plan.personas is not None or selection.limit is not None:
        return None
    by_file = sources.read(plan.source, request).by_file
    return by_file if by_file is not None and len(by_file.files) > 1 else None


def _shares(files: Sequence[str], tasks: int) -> list[Sequence[str]]:
    """Return the files in shares of neighbours, so that shares one after the other have the files in their order."""
    count = min(tasks, len(files))
    ends = [len(files) * number // count for number in range(count + 1)]
    return [files[start:end] for start, end in pairwise(ends)]


def _is_cut(share: Path) -> bool:
    return (share / _SIZES).is_file()


def _cut(plan: Plan, by_file: ByFile, files: Sequence[str], target: Path) -> None:
    """Read some files, and put each pair by for its task."""
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    pairs = by_file.read(frozenset(files))
    if files[0] == by_file.files[0]:
        pairs = sources.refuse_when_nothing_fits(pairs, plan.source, is_all=False)
    try:
        part.mkdir(parents=True)
        sizes, waiting, held = [0] * plan.tasks, defaultdict[int, list[bytes]](list), 0
        for item in pairs:
            line = to_line(item)
            waiting[task_of(item, plan.tasks)].append(line)
            held += len(line)
            if held > _BYTES_AT_ONCE:
                _append(part, waiting, sizes)
                held = 0
        _append(part, waiting, sizes)
        (part / _SIZES).write_text(json.dumps(sizes), encoding="utf-8")
        try:
            part.rename(target)
        except OSError:
            if not _is_cut(target):  # where there are no locks, another process may have been quicker
                raise
    except OSError as error:
        raise OutputError(
            "the source cannot be cut for the tasks",
            where=str(target),
            found=error.strerror or str(error),
            todo="free some room: it takes as much as the source's pairs as JSON lines",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _append(part: Path, waiting: dict[int, list[bytes]], sizes: list[int]) -> None:
    """Write what waits; files are not all open at once, since there may be many."""
    for rank, lines in waiting.items():
        with (part / f"{rank:05d}.jsonl").open("ab") as file:
            sizes[rank] += file.write(b"".join(lines))
    waiting.clear()


def _put_by(above: Path, shares: int, rank: int) -> Iterator[Pair | Drop]:
    """Yield what was put by for a task."""
    for share in range(shares):
        path = above / f"{share:05d}" / f"{rank:05d}.jsonl"
        try:
            expected = json.loads(path.with_name(_SIZES).read_text(encoding="utf-8"))[rank]
            if (path.stat().st_size if expected or path.exists() else 0) != expected:
                raise ValueError("not as long as it was written")
            if expected:
                with path.open("rb") as file:
                    yield from map(of_line, file)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                "what was cut of the source is not as it was written",
                where=str(path),
                found=f"{type(error).__name__}: {error}",
                todo=f"remove {above} and run the same command again",
            ) from error
