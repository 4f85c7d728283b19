"""A build cut into tasks: each keeps the conversations that are its own.

Conversations go to tasks by a hash of their root, the normalised first user turn. So all that may meet (duplicates,
pairs of one prompt, rows of one split) meets in one task, and what comes out is the same whatever the number of tasks.
Where records do not need one another, files of the source are read once for all tasks (`whoseboat.scale.cutting`).
Rules that reach across conversations, such as random subsets, see every record, as in a build of one piece: there a
task reads what it does not keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from whoseboat.errors import UsageError
from whoseboat.records import Drop, Pair, Row, root_of
from whoseboat.redaction import redact

Item = TypeVar("Item", bound=Pair | Row | Drop)


@dataclass(frozen=True, slots=True)
class Task:
    """One of `of` tasks, counted from 0.

    `pairs` are those of the source that are the task's own, where they were put by, and `seconds` what that took of
    the task's time; else the source is read.

    Raises:
        UsageError: there is no such task.

    """

    rank: int
    of: int
    pairs: Iterable[Pair | Drop] | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.of < 1 or not 0 <= self.rank < self.of:
            raise UsageError(
                "no such task", expected="0 to the number of tasks less one", found=f"{self.rank} of {self.of}"
            )

    def keeps(self, item: Pair | Row | Drop) -> bool:
        """Say whether a pair is this task's, by its conversation; of what is no pair, by where it stood."""
        return task_of(item, self.of) == self.rank


def task_of(item: Pair | Row | Drop, tasks: int) -> int:
    """Return which of so many tasks keeps an item."""
    return 0 if tasks == 1 else _number(_name(item)) % tasks


def of_task(items: Iterable[Item], task: Task) -> Iterator[Item]:
    """Yield what a task keeps."""
    return filter(task.keeps, items)


def _name(item: Pair | Row | Drop) -> str:
    if isinstance(item, Drop):
        origin = item.origin
        return f"{origin.file}\0{origin.split}\0{origin.line}"
    prompt = item.prompt if isinstance(item, Pair) else item.pair.prompt
    first = next(message.content for message in prompt if message.role == "user")
    return root_of(redact(first)[0])  # pairs that differ in a secret alone are duplicates, and have to meet


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, person=b"task").digest())
