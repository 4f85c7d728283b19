"""Asking through the Batch API: round after round, each asking what the one before left open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import orjson

from whoseboat.asking import Asking, Item, Outcome, Task
from whoseboat.inference import Inference
from whoseboat.journal import Answer
from whoseboat.llm.batch import LIMITS, Batches, Limits, Request
from whoseboat.llm.budget import Budget, estimate_tokens
from whoseboat.llm.client import refused
from whoseboat.llm.replies import Fault, Remedy, Reply
from whoseboat.personas import Unusable
from whoseboat.records import Drop, Pair, Row
from whoseboat.spool import Spool

# A server that refuses the form of a reply says so with one of these.
_REFUSES_FORM = {"http_400", "http_422", "http_501"}
# Where others were answered, these tell of the one request, whatever the words.
_OF_ONE_REQUEST = {"http_400", "http_422"}
_UNANSWERED = Fault(Remedy.RETRY, "unanswered", "the batch ended without an answer to it")


def infer_by_batch(inference: Inference, items: Iterable[Pair | Drop], limits: Limits = LIMITS) -> Iterator[Row | Drop]:
    """Infer personas, asking for what the journal lacks in batches."""
    for item, outcomes in ask_by_batch(inference, lambda: Spool(items, inference.journal.directory.parent), limits):
        yield inference.finished(item, outcomes)


def ask_by_batch(
    asking: Asking[Item, Task, Outcome],
    put_by: Callable[[], AbstractContextManager[Iterable[Item]]],
    limits: Limits = LIMITS,
) -> Iterator[tuple[Item, list[Outcome | Unusable]]]:
    """Yield every item with the outcomes of its tasks, asking for what the journal lacks in batches, round after round.

    Args:
        asking: what is asked.
        put_by: called once no other process has the batches of this model in hand; gives the items, which are gone
            through again in every round.
        limits: what the Batch API takes.

    """
    rounds, journal, tally = _Round(asking), asking.journal, asking.tally
    used = tally.used_prompt_tokens, tally.used_completion_tokens
    with (
        Batches(asking.model, journal.directory, rounds.found, journal.sync, tally, limits) as batches,
        put_by() as items,
    ):
        batches.collect_open()
        rounds.settle()
        while True:
            batches.run(rounds.requests(items))
            if not rounds.settle():
                break
        tally.used_prompt_tokens, tally.used_completion_tokens = used  # what the rounds looked up is not counted twice
        for item in items:
            yield item, [asking.looked_up(task) for task in asking.tasks(item)]


class _Round:
    """What a round of batches asks, and what came of it; tokens are counted as batches come back."""

    def __init__(self, asking: Asking[Any, Any, Any]) -> None:
        self._asking = asking
        self._budget = Budget(asking.tally, asking.model)
        self._attempts: Counter[bytes] = Counter()
        self._faults: dict[bytes, Fault] = {}
        self._open: dict[bytes, int] = {}  # what is asked and not answered for good, and how long it is
        self._was_asked = self._is_spent = False
        # The form of reply asked for as long as the endpoint takes it.
        self._form = b"" if asking.form is None else b',"response_format":' + orjson.dumps(asking.form) + b"}"
        self._is_form_refused = False

    def requests(self, items: Iterable[Any]) -> Iterator[Request]:
        """Yield what has no answer yet, each request once, as far as the budget goes."""
        self._is_spent = False
        for item in items:
            for task in self._asking.tasks(item):
                wanted = self._asking.recalled(task)
                if not isinstance(wanted, tuple) or wanted[0] in self._open:
                    continue
                key, messages = wanted
                body = self._asking.body(messages)
                if not self._budget.reserve(body):
                    self._is_spent = True
                    return
                self._open[key] = len(body)
                self._was_asked = True
                yield Request(key.hex(), body[:-1] + self._form if self._form else body)

    def found(self, key: bytes, answer: Reply | Fault) -> None:
        """Keep what one request got; what may be asked again waits for the end of the round."""
        if self._asking.journal.get(key) is not None:
            return  # collected by a run that was interrupted while it did
        length = self._open.get(key, 0)
        tokens = answer.prompt_tokens or 0, answer.completion_tokens or 0
        if isinstance(answer, Reply) and answer.prompt_tokens is None:
            self._asking.tally.estimated += 1
            tokens = estimate_tokens(bytes(length)), estimate_tokens(answer.content.encode())
            length = 0
        if tokens[0]:
            self._budget.count(*tokens, length)
        if isinstance(answer, Reply):
            self._settle(key, Answer(answer.content, *tokens))
        elif answer.remedy is Remedy.FAIL or (self._asking.takes_cut_off and answer.content):
            self._settle(key, Answer(self._asking.told_by(answer), *tokens, failed=answer.reason))
        else:
            self._faults[key] = answer
            self._is_form_refused |= answer.remedy is Remedy.STOP and answer.reason in _REFUSES_FORM

    def settle(self) -> bool:
        """End a round: give up what was asked often enough; say whether anything was asked.

        Raises:
            WhoseboatError: the endpoint would refuse every further request, or the budget is spent.

        """
        was_asked, self._was_asked = self._was_asked, False
        self._budget.release_all()
        for key in list(self._open):
            self._give_up(key, self._faults.get(key, _UNANSWERED))
        if self._is_form_refused:
            self._form = b""
        self._open.clear()
        self._faults.clear()
        if self._is_spent and not was_asked:
            raise self._budget.spent()
        return was_asked

    def _give_up(self, key: bytes, fault: Fault) -> None:
        """Give up a request that nothing can be done about, or that was asked often enough."""
        if fault.remedy is Remedy.STOP:
            if self._form and fault.reason in _REFUSES_FORM:
                return  # asked again without the form
            if fault.reason not in _OF_ONE_REQUEST or not self._asking.tally.answered:
                raise refused(self._asking.model, fault)
            self._settle(key, Answer(fault.detail, failed=fault.reason))
            return
        self._attempts[key] += 1
        if self._attempts[key] < self._asking.model.max_attempts:
            self._asking.tally.retried += 1
        else:
            self._settle(key, Answer(fault.detail, failed=fault.reason), may_pass=True)

    def _settle(self, key: bytes, answer: Answer, *, may_pass: bool = False) -> None:
        """Keep what a request is answered with for good."""
        self._asking.keep(key, answer, may_pass=may_pass)
        self._open.pop(key, None)
        self._attempts.pop(key, None)
