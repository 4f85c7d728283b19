"""One request to a chat completions endpoint, until it is answered or given up.

A deadline covers an attempt from its first byte to its last, so that a server which drips its answer is cut off too.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

import orjson

from whoseboat.errors import WhoseboatError, printable
from whoseboat.llm import replies
from whoseboat.llm.budget import Budget, Reservation, Tally, estimate_tokens
from whoseboat.llm.pace import Pace
from whoseboat.llm.replies import Fault, Remedy, Reply
from whoseboat.llm.serving import Server
from whoseboat.llm.settings import LanguageModel, cache_directory, without_key
from whoseboat.llm.wire import RefusedError, TooLargeError, UnreachableError, Wire

# Waits between attempts: doubled each time, half of it by chance, so that those who failed together do not return so.
# A server that limits the rate without saying for how long counts by the minute, as a rule.
_FIRST_WAIT, _FIRST_WAIT_LIMITED, _LONGEST_WAIT = 0.5, 2.0, 30.0
# A server that asks for a longer pause than this will not answer in this run.
_LONGEST_PAUSE = 3600.0
_LARGEST_ANSWER = 8 << 20
# So many attempts that find nobody there end a run that has never reached anybody: no later one is likely to.
_ABSENCES = 3
_LOST = "connection_lost"
# How often a request looks whether the server it waits for is healthy.
_LOOK_SECONDS = 0.1
# A server that refuses the form of a reply says so with one of these.
_REFUSES_FORM = {"http_400", "http_422", "http_501"}
# Where others were answered, these tell of the one request, whatever the words.
_OF_ONE_REQUEST = {"http_400", "http_422"}


class Client:
    """Asks one endpoint; an asynchronous context manager.

    Where the model names a command that starts a server, it is started for the first request. As long as it is not
    healthy all requests wait; those that were lost as it died are sent again, which is no attempt of theirs.

    Args:
        model: which endpoint and model, and how patiently.
        tally: where requests and tokens are counted.
        response_format: the form of reply asked for as long as the server takes it.
        takes_cut_off: a reply that is cut off is what was asked for, and not asked for again.

    """

    def __init__(
        self,
        model: LanguageModel,
        tally: Tally,
        response_format: Mapping[str, Any] | None = None,
        *,
        takes_cut_off: bool = False,
    ) -> None:
        self._model, self._tally, self._takes_cut_off = model, tally, takes_cut_off
        self._key = model.key()
        self._server = None if model.serve is None else _server(model, model.serve)
        self._pace = Pace(model.concurrency)
        self._budget = Budget(tally, model)
        self._form = b"" if response_format is None else b',"response_format":' + orjson.dumps(response_format) + b"}"
        self._wire = self._wire_to(self._server.base_url if self._server else model.endpoint)
        self._absences = 0

    def _wire_to(self, base_url: str) -> Wire:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._url = f"{base_url}/chat/completions"
        return Wire(self._url, headers, self._model.deadline, _LARGEST_ANSWER, by_proxy=self._server is None)

    async def ask(self, body: bytes) -> Reply | Fault:
        """Send a request, and again where that may help; return the reply, or the fault the request ends with.

        Raises:
            WhoseboatError: no request can succeed (no server there, wrong key, unknown model, ...), or the budget is
                spent.

        """
        attempts = 0
        plain = False
        while True:
            generation = await self._healthy()
            started, reservation = await self._admitted(body)
            form = b"" if plain else self._form
            answered = False
            try:
                answer = await self._attempt(body[:-1] + form if form else body)
                answered = isinstance(answer, Reply)
            finally:
                self._pace.finish(answered=answered)
            self._budget.release(reservation)
            if isinstance(answer, Reply):
                if plain:
                    self._form = b""  # it was the form the server did not take: no request asks for it from now on
                return self._counted(answer, body)
            if answer.prompt_tokens is not None:
                self._budget.count(answer.prompt_tokens, answer.completion_tokens or 0, len(body))
            if form and answer.remedy is Remedy.STOP and answer.reason in _REFUSES_FORM:
                plain = True  # perhaps it is the form it does not know
                continue
            if answer.reason == _LOST and await self._has_died(generation):
                self._tally.retried += 1
                continue
            if self._takes_cut_off and answer.content:
                return replace(answer, remedy=Remedy.FAIL)
            attempts += 1
            if answer.remedy is Remedy.STOP and answer.reason in _OF_ONE_REQUEST and self._tally.answered:
                return replace(answer, remedy=Remedy.FAIL)
            if answer.remedy is Remedy.STOP:
                raise refused(self._model, answer)
            if self._is_hopeless(answer, attempts):
                raise unreachable(self._model, answer.detail)
            if answer.remedy is Remedy.FAIL or attempts >= self._model.max_attempts:
                return answer
            await self._wait(answer, attempts, started)

    async def _admitted(self, body: bytes) -> tuple[float, Reservation]:
        """Wait for a place until the budget lets one more request through; raise when it never will."""
        while True:
            started = await self._pace.start()
            in_flight = self._pace.running - 1
            reservation = self._budget.reserve(body)
            if reservation is not None:
                return started, reservation
            self._pace.finish(answered=False)
            if not in_flight:
                raise self._budget.spent()
            await asyncio.sleep(0.01)

    async def _healthy(self) -> int:
        """Wait until the server is healthy, where it is this run's own; return how often it has died."""
        server = self._server
        if server is None:
            return 0
        server.start()
        while not server.is_healthy:
            server.check()
            self._tally.note = server.waited_for
            await asyncio.sleep(_LOOK_SECONDS)
        if not self._url.startswith(server.base_url):  # its first port was taken by another meanwhile
            self._wire = self._wire_to(server.base_url)
        return server.generation

    async def _has_died(self, generation: int) -> bool:
        """Say whether a connection was lost since the server died, which is this run's own; if so, it lives again."""
        if self._server is None:
            return False
        self._server.doubt(generation)
        return await self._healthy() != generation

    async def _attempt(self, body: bytes) -> Reply | Fault:
        try:
            response = await self._wire.post(body)
        except UnreachableError as error:
            self._absences += 1
            return Fault(Remedy.WAIT, _LOST, f"{error}"[:300])
        except TimeoutError:
            return Fault(Remedy.WAIT, "deadline", f"no whole answer within {self._model.deadline:g} s")
        except TooLargeError as error:
            return Fault(Remedy.RETRY, "too_large", str(error))
        except RefusedError as error:
            return Fault(Remedy.STOP, "connection_refused", str(error))
        except OSError as error:
            return Fault(Remedy.WAIT, _LOST, f"{error}"[:300])
        if 300 <= response.status < 400:
            place = without_key(response.headers.get(b"location", b"").decode(errors="replace"), self._key)
            return Fault(Remedy.STOP, "redirect", f"redirected to {place[:200]}")
        body_read = response.body
        if response.status != 200:  # what it says is shown, and kept
            body_read = without_key(body_read.decode(errors="replace"), self._key).encode()
        retry_after = response.headers.get(b"retry-after")
        return replies.read(response.status, body_read, retry_after.decode("latin-1") if retry_after else None)

    def _is_hopeless(self, fault: Fault, attempts: int) -> bool:
        """Say whether nobody was ever there, as often as this request or others asked."""
        if self._wire.reached or not self._absences or fault.reason != _LOST:
            return False
        return self._absences >= _ABSENCES or attempts >= self._model.max_attempts

    async def _wait(self, fault: Fault, attempts: int, started: float) -> None:
        """Wait before the next attempt; under pressure all requests do."""
        self._tally.retried += 1
        first = _FIRST_WAIT_LIMITED if fault.reason == "rate_limited" else _FIRST_WAIT
        longest = min(_LONGEST_WAIT, first * 2 ** (attempts - 1))
        seconds = longest * random.uniform(0.5, 1)  # noqa: S311 - jitter
        if fault.remedy is Remedy.WAIT:
            self._pace.ease(started)
        if fault.retry_after is not None:
            if fault.retry_after > _LONGEST_PAUSE:
                raise WhoseboatError(
                    f"the endpoint asks to wait for {fault.retry_after / 60:.0f} minutes",
                    where=self._model.endpoint,
                    found=fault.detail,
                    todo="run the same command again then; what was answered is kept",
                )
            seconds = fault.retry_after + random.uniform(0, 0.1)  # noqa: S311 - jitter
        if fault.reason == "rate_limited" or fault.retry_after is not None:
            self._tally.note = f"paused for {seconds:.0f} s: {printable(fault.detail[:60])}"
            self._pace.pause(seconds)
        else:
            await asyncio.sleep(seconds)

    def _counted(self, reply: Reply, body: bytes) -> Reply:
        """Count the tokens of a reply; estimate them where the server does not say."""
        if reply.prompt_tokens is None:
            self._tally.estimated += 1
            reply = Reply(reply.content, estimate_tokens(body), estimate_tokens(reply.content.encode()))
        self._budget.count(reply.prompt_tokens or 0, reply.completion_tokens or 0, len(body))
        self._tally.note = ""
        return reply

    async def __aenter__(self) -> Client:
        try:
            await self._wire.look_up()
        except OSError as error:
            raise unreachable(self._model, f"the host cannot be found: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.close()
        if self._server is not None:
            self._server.stop()
            if self._server.never_failed:
                self._server.log.unlink(missing_ok=True)


def _server(model: LanguageModel, command: str) -> Server:
    """Return the server that a model's command starts; its log is among the answers that are kept."""
    log = cache_directory(model.cache_dir) / "servers" / f"{secrets.token_hex(4)}.log"
    return Server(command, log=log, wait_seconds=model.serve_wait)


def refused(model: LanguageModel, fault: Fault) -> WhoseboatError:
    """Return the error for a fault no request can do better than."""
    hints = {
        "http_401": "check the key" if model.key() else "the endpoint wants a key: set OPENAI_API_KEY",
        "http_404": "check the model, and --base-url: the address up to /v1",
        "redirect": "give the address it redirects to as --base-url",
        "connection_refused": "check the certificate of the endpoint, or the proxy the environment names",
    }
    return WhoseboatError(
        "the endpoint refused, and would refuse every further request",
        where=model.endpoint,
        found=fault.detail,
        todo=hints.get(fault.reason, "check the key, the model and its parameters")
        + "; run the same command again to go on from here",
    )


def unreachable(model: LanguageModel, found: str) -> WhoseboatError:
    """Return the error for an endpoint where no request of a run found anybody."""
    return WhoseboatError(
        "the endpoint cannot be reached",
        where=model.endpoint,
        found=found,
        todo="is the server running, and is this its address (--base-url, up to /v1)? Then run the same command again",
    )
