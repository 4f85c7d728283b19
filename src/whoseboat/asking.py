"""Answers to conversations: from the journal, else from the endpoint, and written to the journal before anything else.

A conversation gives messages, is sent the reply, and returns what came of it (`whoseboat.personas.converse` is one).
Who has something to ask says which conversations an item needs, by a class of `Asking`; all else is the same for all:
keys, journal, requests at once or by batches, tokens, failures, going on after an interruption.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import orjson

from whoseboat.errors import WhoseboatError
from whoseboat.journal import Answer, Journal
from whoseboat.llm.budget import Tally, estimate_tokens
from whoseboat.llm.client import Client
from whoseboat.llm.pool import Pool
from whoseboat.llm.replies import Fault, Remedy, Reply
from whoseboat.llm.settings import LanguageModel, cache_directory
from whoseboat.personas import UNUSABLE_REPLY, Unusable
from whoseboat.prompts import Messages, PromptError

Item = TypeVar("Item")
Task = TypeVar("Task")
Outcome = TypeVar("Outcome")

# A run is not stopped for its failures before so many would have come to their end.
_FEWEST = 100

Wanted = tuple[bytes, Messages]  # a request: its key in the journal, and its messages
Talk: TypeAlias = Generator[Messages, str, Outcome | Unusable]
Settling: TypeAlias = Generator[Wanted, Answer, Outcome | Unusable]


class Asking(ABC, Generic[Item, Task, Outcome]):
    """What every way of asking shares: the tasks of items, the conversation about a task, the journal.

    What a conversation returns is no tuple, which a request is.

    Args:
        model: the language model and how it is asked.
        journal: the answers so far.
        tally: where requests and tokens are counted.
        form: the form of reply asked for as long as the server takes it; the model's own parameters come before it.
        prompt: the name of the prompt, for what is told of one that cannot be rendered.

    """

    takes_cut_off = False  # a reply that is cut off fails as `cut_off`, its text as the detail, and is not asked again
    units = "rows"  # what fails or does not
    retried = "requests that were refused or got no usable reply"  # what --retry-failed asks again

    def __init__(
        self, model: LanguageModel, journal: Journal, tally: Tally, form: Mapping[str, Any] | None, prompt: str
    ) -> None:
        self.model, self.journal, self.tally, self._prompt = model, journal, tally, prompt
        self.form = None if "response_format" in model.parameters else form
        self._reasons: Counter[str] = Counter()
        self._ended = 0
        self._last = ""  # what the last failure said
        self._in_flight: dict[bytes, asyncio.Future[Answer]] = {}
        self._passing: dict[bytes, Answer] = {}

    @abstractmethod
    def tasks(self, item: Item) -> Sequence[Task]:
        """Return what is to be asked about an item; there may be nothing."""

    @abstractmethod
    def talk(self, task: Task) -> Talk[Outcome]:
        """Begin the conversation about a task."""

    def sample(self, task: Task) -> int:
        """Return which sample of its answers a task is: the same messages are asked once for each."""
        return 0

    def settle(self, task: Task) -> Settling[Outcome]:
        """Settle one task: requests go out, answers come in, and at the end the outcome.

        A conversation that ended without a usable reply in an earlier run is begun anew where that is wanted. The new
        one has keys of its own, and stands instead of the old one from then on.
        """
        for beginning in count():
            outcome, is_earlier = yield from self._converse(task, beginning)
            unusable = isinstance(outcome, Unusable) and outcome.reason == UNUSABLE_REPLY
            if not unusable or not (self._was_begun(task, beginning + 1) or (is_earlier and self.model.retry_failed)):
                return outcome
        raise AssertionError("the count has no end")

    def _converse(self, task: Task, beginning: int) -> Generator[Wanted, Answer, tuple[Outcome | Unusable, bool]]:
        """Have one conversation; return its outcome, and whether all of it is from earlier runs."""
        talk, sample = self.talk(task), self.sample(task)
        is_earlier = True
        try:
            messages = next(talk)
            while True:
                answer = yield self.key(messages, sample, beginning), messages
                is_earlier = is_earlier and answer.is_earlier
                if answer.failed:
                    return Unusable(answer.failed, answer.content), is_earlier
                self.tally.used_prompt_tokens += answer.prompt_tokens
                self.tally.used_completion_tokens += answer.completion_tokens
                messages = talk.send(answer.content)
        except PromptError as error:
            return Unusable("prompt", f"{self._prompt} cannot be rendered: {error}"), is_earlier
        except StopIteration as end:
            return end.value, is_earlier

    def _was_begun(self, task: Task, beginning: int) -> bool:
        first = next(self.talk(task))
        return self.journal.get(self.key(first, self.sample(task), beginning)) is not None

    def body(self, messages: Messages) -> bytes:
        """Return a request as JSON, without the form of its reply."""
        return orjson.dumps({"model": self.model.name, "messages": messages, **self.model.parameters})

    def key(self, messages: Messages, sample: int, beginning: int = 0) -> bytes:
        """Return the key of a request in the journal: a hash of its messages, where they go, and which sample it is."""
        parts = [self._place, sample.to_bytes(4), beginning.to_bytes(4)]
        for message in messages:
            role, content = message["role"], message["content"]
            parts += [role.encode(), _digest_of_system(content) if role == "system" else _digest(content)]
        return hashlib.blake2b(b"".join(parts), digest_size=16).digest()

    @cached_property
    def _place(self) -> bytes:
        """What answers depend on beside the messages, hashed."""
        return hashlib.blake2b(canonical(configuration(self.model)), digest_size=16).digest()

    def recall(self, key: bytes) -> Answer | None:
        """Return the answer there is, counted as one that was not asked for, None where there is none."""
        answer = self.journal.get(key) or self._passing.get(key)
        if answer is not None:
            self.tally.reused += not answer.failed
        return answer

    def keep(self, key: bytes, answer: Answer, *, may_pass: bool = False) -> Answer:
        """Write a new answer to the journal; a failure that may pass only at the end of a run that came to its end."""
        if may_pass:
            self._passing[key] = answer
        else:
            self.journal.put(key, answer)
        if answer.failed:
            self.tally.failed += 1
        else:
            self.tally.answered += 1
        return answer

    def end(self) -> None:
        """Write down the failures that may pass, so that a repeated run asks nothing; if all failed, keep none."""
        if self._ended > self._reasons.total():
            for key, answer in self._passing.items():
                self.journal.put(key, answer)

    def recalled(self, task: Task) -> Wanted | Outcome | Unusable:
        """Follow the journal as far as it goes: to the outcome, or to the first request it has no answer to."""
        settling = self.settle(task)
        try:
            wanted = next(settling)
            while (answer := self.journal.get(wanted[0]) or self._passing.get(wanted[0])) is not None:
                wanted = settling.send(answer)
        except StopIteration as end:
            outcome: Outcome | Unusable = end.value
            return outcome
        return wanted

    def looked_up(self, task: Task) -> Outcome | Unusable:
        """Settle one task all of whose answers are there; those of earlier runs are counted."""
        settling = self.settle(task)
        try:
            key, _ = next(settling)
            while (answer := self.journal.get(key) or self.recall(key)) is not None:
                self.tally.reused += answer.is_earlier and not answer.failed
                key, _ = settling.send(answer)
        except StopIteration as end:
            outcome: Outcome | Unusable = end.value
            return outcome
        raise AssertionError("an answer is not there")

    async def answered(self, client: Client, task: Task) -> Outcome | Unusable:
        """Settle one task, asking the endpoint for what the journal lacks."""
        settling = self.settle(task)
        try:
            wanted = next(settling)
            while True:
                wanted = settling.send(await self._answer(client, *wanted))
        except StopIteration as end:
            outcome: Outcome | Unusable = end.value
            return outcome

    async def _answer(self, client: Client, key: bytes, messages: Messages) -> Answer:
        """Return the journal's answer, else ask; the same request is never in flight twice."""
        known = self.recall(key)
        if known is not None:
            return known
        asked = self._in_flight
        if key in asked:
            return await asyncio.shield(asked[key])
        future = asked[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await client.ask(self.body(messages))
            tokens = reply.prompt_tokens or 0, reply.completion_tokens or 0
            if isinstance(reply, Reply):
                answer = self.keep(key, Answer(reply.content, *tokens))
            else:
                may_pass = reply.remedy is not Remedy.FAIL
                answer = self.keep(key, Answer(self.told_by(reply), *tokens, reply.reason), may_pass=may_pass)
            future.set_result(answer)
            return answer
        except WhoseboatError as error:
            future.set_exception(error)
            future.exception()  # looked at, so that nobody complains if no other waits for it
            raise
        finally:
            future.cancel()
            del asked[key]

    def told_by(self, fault: Fault) -> str:
        """Return what is kept of a fault: its detail, or what was said before it was cut off, where that is wanted."""
        return (self.takes_cut_off and fault.content) or fault.detail

    def count(self, failure: Unusable | None) -> None:
        """Count what has come to its end, failed or not.

        Raises:
            WhoseboatError: too many have failed.

        """
        self._ended += 1
        if failure is None:
            return
        self._reasons[failure.reason] += 1
        failed = self._reasons.total()
        self._last = failure.detail
        if failed > self.model.max_failure_rate * max(self._ended, _FEWEST):
            raise self._too_many(f"too many {self.units} failed")

    def check_any(self) -> None:
        """Check that not all that has come to its end failed, however little that was.

        Raises:
            WhoseboatError: all of it failed.

        """
        if self._ended and self._reasons.total() == self._ended:
            raise self._too_many(f"all {self.units} failed")

    def _too_many(self, what: str) -> WhoseboatError:
        return WhoseboatError(
            what,
            where=self.model.endpoint,
            expected=f"a share of at most {self.model.max_failure_rate:g} (--max-failure-rate)",
            found=f"{self._reasons.total()} of {self._ended} {self.units}: "
            + ", ".join(f"{count} {reason}" for reason, count in self._reasons.most_common())
            + f"; the last: {self._last}",
            todo=f"mend the cause and run the same command again: answers are kept; {self.retried} are asked again "
            "with --retry-failed",
        )


@lru_cache(maxsize=16)
def _digest_of_system(content: str) -> bytes:
    """Hash a system message: long, and the same for many requests."""
    return _digest(content)


def _digest(content: str) -> bytes:
    return hashlib.blake2b(content.encode(), digest_size=16).digest()


def ask_at_once(
    asking: Asking[Item, Task, Outcome], items: Iterable[Item]
) -> Iterator[tuple[Item, list[Outcome | Unusable]]]:
    """Yield every item with the outcomes of its tasks, asking for what the journal lacks many requests at once."""
    client = Client(asking.model, asking.tally, asking.form, takes_cut_off=asking.takes_cut_off)
    answered = partial(asking.answered, client)
    pool: Pool[Item, Task, Outcome | Unusable] = Pool(asking.tasks, answered, asking.model.concurrency, client)
    return pool.run(items)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would be asked about items that have something to ask: requests to send, and roughly their tokens.

    Of the tasks, `answered` have an outcome already, and `failed` have failed in an earlier run.
    """

    items: int
    requests: int
    answered: int
    failed: int
    prompt_tokens: int


def foresee(asking: Asking[Item, Task, Outcome], items: Iterable[Item]) -> Foreseen:
    """Count the requests a run would send, without sending one, and estimate their tokens from their length.

    Requests that ask once more after an unusable reply or a fault are not foreseen. Memory grows by about 100 bytes a
    request to send, since the same one is sent for several items only once.
    """
    seen: set[int] = set()
    with_tasks = asked = answered = failed = prompt_tokens = 0
    for item in items:
        tasks = asking.tasks(item)
        with_tasks += bool(tasks)
        for task in tasks:
            wanted = asking.recalled(task)
            if isinstance(wanted, Unusable):
                failed += 1
            elif not isinstance(wanted, tuple):
                answered += 1
            elif (short := int.from_bytes(wanted[0][:8])) not in seen:
                seen.add(short)
                asked += 1
                prompt_tokens += estimate_tokens(asking.body(wanted[1]))
    return Foreseen(with_tasks, asked, answered, failed, prompt_tokens)


def configuration(model: LanguageModel) -> dict[str, Any]:
    """Return what answers depend on beside the messages: endpoint, model and parameters."""
    return {"endpoint": model.endpoint, "model": model.name, "parameters": dict(model.parameters)}


def canonical(value: object) -> bytes:
    """Return JSON that is the same for the same value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def journal_directory(model: LanguageModel) -> Path:
    """Return the directory of the answers of this configuration."""
    digest = hashlib.blake2b(canonical(configuration(model)), digest_size=6).hexdigest()
    slug = "".join(letter if letter.isalnum() else "-" for letter in model.public_name.lower())[:60]
    return cache_directory(model.cache_dir) / "journals" / f"{slug}-{digest}"


def open_journal(model: LanguageModel) -> Journal:
    """Open the answers of this configuration.

    Raises:
        DataError: they were written by a version this program does not know.

    """
    return Journal(journal_directory(model), configuration(model), retry_failed=model.retry_failed)
