"""Rows as tokens, no longer than a model takes: what is too long is dropped or cut, and counted either way.

By default prompts stay whole and a row that is too long is dropped. The paper cuts prompts at 128 tokens and rows at
512 (`PAPER`). A prompt is cut in its conversation, never in the text of a template: the oldest turns go first, then the
end of the last one; persona and system text stay. A reply that is cut does not end in the token that stops generation,
since nothing ends there; such rows are counted as `without_end`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from whoseboat.errors import DataError, UsageError
from whoseboat.records import Message, Side
from whoseboat.tailoring.refusals import Refusals
from whoseboat.tailoring.settings import TailoringRow
from whoseboat.tailoring.templates import RefusedText, Renderer


@dataclass(frozen=True, slots=True)
class Limits:
    """The most tokens: of a whole row, and of the conversation in its prompt (None: as many as there are).

    `cut` says what becomes of a row that is too long: its replies are cut, or it is dropped.

    Raises:
        UsageError: a number below 1.

    """

    row: int = 2048
    prompt: int | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        if self.row < 1 or (self.prompt is not None and self.prompt < 1):
            raise UsageError("a limit of tokens", expected="1 or more", found=f"{self.row}, {self.prompt}")


PAPER = Limits(row=512, prompt=128, cut=True)


@dataclass(frozen=True, slots=True)
class FittedRow:
    """A row as tokens. `other` is empty where only the preferred reply is trained on."""

    id: str
    root: str
    side: Side
    prompt: tuple[int, ...]
    preferred: tuple[int, ...]
    other: tuple[int, ...] = ()


@dataclass
class Fit:
    """How rows came out: given, with a prompt that was cut, with a reply cut (so without its end), and dropped.

    `cut` counts rows of which anything was cut.
    """

    rows: int = 0
    cut: int = 0
    cut_prompts: int = 0
    without_end: int = 0
    dropped: Refusals = field(default_factory=Refusals)

    @property
    def kept(self) -> int:
        """How many rows came out."""
        return self.rows - self.dropped.counts.total()


def fit(
    rows: Iterable[TailoringRow],
    renderer: Renderer,
    limits: Limits,
    *,
    with_other: bool,
    counts: Fit | None = None,
    may_be_none: bool = False,
) -> Iterator[FittedRow]:
    """Yield rows as tokens, in their order.

    Args:
        rows: what is to be trained on.
        renderer: makes text and tokens of them.
        limits: how long they may be.
        with_other: whether the other reply is trained on as well, as DPO does; SFT takes the preferred one alone.
        counts: where to count.
        may_be_none: rows that none comes out of are no error, as those to validate with.

    Raises:
        DataError: rows were given, and none came out.

    """
    counts = Fit() if counts is None else counts
    for row in rows:
        counts.rows += 1
        try:
            fitted = _fitted(row, renderer, limits, with_other, counts)
        except RefusedText as error:
            counts.dropped.add(error.reason, f"id {row.id}: {error.what}")
            continue
        if isinstance(fitted, str):
            counts.dropped.add(fitted, f"id {row.id}")
        else:
            yield fitted
    if counts.rows and not counts.kept and not may_be_none:
        raise DataError(
            "no row is left to train on",
            expected=f"rows of at most {limits.row} tokens",
            found=counts.dropped.in_words(),
            todo="set max_length to a larger number, or too_long=cut",
        )


def _fitted(row: TailoringRow, renderer: Renderer, limits: Limits, with_other: bool, counts: Fit) -> FittedRow | str:
    shortened = row
    if limits.prompt is not None:
        prompt = cut_conversation(row.prompt, limits.prompt, lambda text: len(renderer.text_ids(text)))
        shortened = replace(row, prompt=prompt) if prompt != row.prompt else row
    rendered = renderer.row(shortened)
    prompt_ids = renderer.prompt_ids(rendered.prompt)
    texts = [rendered.preferred, *([rendered.other] if with_other else [])]
    replies = [renderer.completion_ids(rendered.prompt, prompt_ids, text) for text in texts]
    room = limits.row - len(prompt_ids)
    too_long = any(len(reply) > room for reply in replies)
    if too_long and not limits.cut:
        return "too_long"
    if room < 1:
        return "no_room"
    counts.cut_prompts += shortened is not row
    counts.without_end += too_long
    counts.cut += shortened is not row or too_long
    return FittedRow(row.id, row.root, row.side, tuple(prompt_ids), *(tuple(reply[:room]) for reply in replies))


def cut_conversation(prompt: Sequence[Message], most: int, count: Callable[[str], int]) -> tuple[Message, ...]:
    """Return a conversation whose turns have at most so many tokens; what is short enough stays as it is.

    The oldest turns go first, and what is left begins with a user's. If the last one alone is too long, it keeps as
    much of its beginning as fits, at least one character. System text does not count and stays.

    Args:
        prompt: the conversation; its last turn is a user's.
        most: how many tokens.
        count: returns how many tokens a text has.

    """
    system = [message for message in prompt if message.role == "system"]
    turns = [message for message in prompt if message.role != "system"]
    lengths = [count(turn.content) for turn in turns]
    if sum(lengths) <= most:
        return tuple(prompt)
    start = 0
    while start < len(turns) - 1 and (sum(lengths[start:]) > most or turns[start].role != "user"):
        start += 1
    kept = turns[start:]
    if sum(lengths[start:]) > most:
        kept = [replace(kept[-1], content=_beginning(kept[-1].content, most, count))]
    return (*system, *kept)


def _beginning(text: str, most: int, count: Callable[[str], int]) -> str:
    """Return as much of the beginning of a text as has at most so many tokens."""
    low, high = 1, len(text)  # the first is short enough, or all there can be
    while low < high:
        middle = (low + high + 1) // 2
        if count(text[:middle]) <= most:
            low = middle
        else:
            high = middle - 1
    return text[:low]
