"""A server of a language model that a run starts for itself: on a free port, watched, started again, ended at the end.

```python
with served("vllm serve Qwen/Qwen3-8B", log=Path("server.log")) as base_url:
    ...
```

A build does so where a `LanguageModel` names a command (`serve`): when the first request is to be sent, and not before,
so that a run with nothing left to ask waits for no model.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from whoseboat.errors import OutputError, UsageError, WhoseboatError, printable
from whoseboat.llm import keeper

HOST = "127.0.0.1"
WAIT_SECONDS = 1800.0  # the largest models take so long to load
# Before a server that died is started again; so many times and no more.
PAUSES = (1.0, 5.0, 15.0)
# What a server has to end by itself.
_PATIENCE_SECONDS = 10.0
_LOOK_SECONDS, _PROBE_SECONDS = 0.2, 5.0
# A server that runs and does not answer for so long is taken for one that died.
_SILENT_SECONDS = 60.0
_PORTS_TRIED = 3
_PORT_TAKEN = re.compile(r"(?i)address (?:is )?already in use|EADDRINUSE|only one usage of each socket address")
# What is shown of a log.
_TAIL_BYTES, _TAIL_LINES, _LONGEST_LINE = 16 << 10, 12, 300
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SHELL_WORDS = frozenset(["|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1", "&>"])
_SECRET = re.compile(r"(?i)(?:\A|[-_])(?:key|secret|password|passwd|token|authorization)\Z")
_SHORTEST_SECRET = 8
_NO_PORT = "write {port} where the command takes its port; without it, --host and --port are added"


def words(command: str) -> list[str]:
    """Return the words of a command that starts a server; no shell reads it.

    Raises:
        UsageError: it is empty, or holds what it must not: a port, a secret, words for a shell.

    """
    try:
        found = shlex.split(command)
    except ValueError as error:
        raise UsageError("--serve is no command", found=f"{error}: {_hidden(command)}") from error
    if not found:
        raise UsageError("--serve names no command", expected='such as "vllm serve MODEL"')
    _check_secrets(found)
    if _SHELL_WORDS & set(found):
        raise UsageError(
            "--serve holds words for a shell; the command is started without one",
            found=", ".join(sorted(_SHELL_WORDS & set(found))),
            todo="put them into a script, and name that",
        )
    if not _has_port(found) and any(word == "--port" or word.startswith("--port=") for word in found):
        raise UsageError("--serve names a port; a free one is chosen", found=_hidden(command), todo=_NO_PORT)
    return found


def told(command: str) -> str:
    """Return a command as answers are kept under it: the program by its name, so that it may be anywhere."""
    program, *rest = words(command)
    return shlex.join([Path(program).name, *rest])


@contextmanager
def served(
    command: str, *, log: Path, wait_seconds: float = WAIT_SECONDS, pauses: Sequence[float] | None = None
) -> Iterator[str]:
    """Start a server, give its address up to `/v1` once it is healthy, and end it.

    Args:
        command: how it is started; `{port}` in it is replaced, else `--host 127.0.0.1 --port PORT` added.
        log: what it writes goes to the end of this file.
        wait_seconds: how long it may take until it is healthy.
        pauses: seconds before it is started again, once for each time it may die; without it `PAUSES`.

    Raises:
        UsageError: the command cannot be right.
        OutputError: the log cannot be written.
        WhoseboatError: the server died while it started, or never got healthy.

    """
    server = Server(command, log=log, wait_seconds=wait_seconds, pauses=pauses)
    try:
        server.start()
        while not server.is_healthy:
            server.check()
            time.sleep(_LOOK_SECONDS / 2)
        yield server.base_url
    finally:
        server.stop()


class Server:
    """A server that a thread starts and watches; see `served` for the arguments.

    `generation` counts its deaths: what was asked of an earlier one has no answer.
    """

    def __init__(
        self, command: str, *, log: Path, wait_seconds: float = WAIT_SECONDS, pauses: Sequence[float] | None = None
    ) -> None:
        self._words, self._told = words(command), told(command)
        self.log, self._wait_seconds = log, wait_seconds
        self._pauses = PAUSES if pauses is None else pauses
        self._port = _free_port()
        self.generation = 0
        self._was_healthy = False
        self._failure: Exception | None = None
        self._death = ""
        self._healthy, self._doubted, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The name of its program."""
        return Path(self._words[0]).name

    @property
    def base_url(self) -> str:
        """Its address up to `/v1`; it stays as it is once the server was healthy."""
        return f"http://{HOST}:{self._port}/v1"

    @property
    def waited_for(self) -> str:
        """What is waited for while it is not healthy."""
        if self._death:
            return f"{self.name} is started again, since {self._death}; see {self.log}"
        return f"waiting for {self.name} to be healthy"

    @property
    def never_failed(self) -> bool:
        """Whether it never died, so that nobody will look into its log."""
        return not self._death and self._failure is None

    @property
    def is_healthy(self) -> bool:
        """Whether requests can be sent to it."""
        return self._healthy.is_set()

    def start(self) -> None:
        """Begin to start it, where that has not begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="server", daemon=True)
            self._thread.start()

    def check(self) -> None:
        """Check that the server is, or may yet become, healthy.

        Raises:
            Exception: why there is none, and will be none.

        """
        if self._failure is not None:
            raise self._failure

    def doubt(self, generation: int) -> None:
        """Say that a connection to it was lost: it is not healthy until it was looked at."""
        if generation == self.generation:
            self._healthy.clear()
            self._doubted.set()
            self._woken.set()

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self._stopping.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # ---- what the thread does

    def _watch(self) -> None:
        try:
            for pause in self._pauses:
                self._death = self._run() or self._death
                if self._stopping.wait(pause):
                    return
            self._death = self._run() or self._death
            if not self._stopping.is_set():
                raise self._fault(f"the server died {len(self._pauses) + 1} times", self._death, "see why it dies")
        except Exception as error:  # noqa: BLE001 - raised where somebody waits for the server
            self._failure = error

    def _run(self) -> str:
        """Run the server until it dies; return how, and nothing where it was ended."""
        for _ in range(_PORTS_TRIED):
            before = self.log.stat().st_size if self.log.exists() else 0
            with self._process() as process:
                died = self._await_health(process) or self._follow(process)
            self._healthy.clear()
            self.generation += 1
            if self._was_healthy or self._stopping.is_set():
                return died
            if not _PORT_TAKEN.search(self._log_from(before)):
                break
            self._port = _free_port()
        raise self._fault("the server died while it started", died, f"mend the command; {_NO_PORT}")

    @contextmanager
    def _process(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start the server by a keeper, which ends it when this process has ended, too."""
        program = shutil.which(self._words[0])
        if program is None:
            raise UsageError(
                "--serve names a program that is not here",
                where=self._told,
                found=f"no {self._words[0]!r} that can be run",
                todo="install it, or give its path",
            )
        command = [program, *(word.replace("{port}", str(self._port)) for word in self._words[1:])]
        if not _has_port(self._words):
            added = {"--host": HOST, "--port": str(self._port)}
            command += [part for flag, value in added.items() if not _is_among(flag, command) for part in (flag, value)]
        keeping = [sys.executable, "-I", "-S", keeper.__file__, str(_PATIENCE_SECONDS), *command]
        with self._open_log() as log:
            process = subprocess.Popen(  # noqa: S603 - the user's own command, and no shell
                keeping, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            yield process
        finally:
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(2 * _PATIENCE_SECONDS)
            if process.poll() is None:
                process.kill()
                process.wait()

    def _await_health(self, process: subprocess.Popen[bytes]) -> str:
        """Wait until the server is healthy; return how it died where it did.

        Raises:
            WhoseboatError: it never got healthy.

        """
        until = time.monotonic() + self._wait_seconds
        while not self._stopping.wait(_LOOK_SECONDS):
            if process.poll() is not None:
                return _how_it_ended(process.returncode)
            if _is_healthy(self._port):
                self._was_healthy = True
                self._healthy.set()
                return ""
            if time.monotonic() > until:
                raise self._fault(
                    "the server never got healthy",
                    f"it runs, and did not answer within {self._wait_seconds:g} s",
                    "give it longer (--serve-wait SECONDS) where it only loads slowly",
                    expected="200 to GET /health, or to GET /v1/models",
                )
        return ""

    def _follow(self, process: subprocess.Popen[bytes]) -> str:
        """Watch a healthy server; return how it died, and nothing where it is to end."""
        answered = time.monotonic()
        while not self._stopping.is_set():
            self._woken.wait(_LOOK_SECONDS)
            self._woken.clear()
            if process.poll() is not None:
                return _how_it_ended(process.returncode)
            if not self._doubted.is_set():
                answered = time.monotonic()
                continue
            self._doubted.clear()
            if _is_healthy(self._port):
                self._healthy.set()
                continue
            self._healthy.clear()
            self._doubted.set()
            if time.monotonic() - answered > _SILENT_SECONDS:
                return f"it ran, and did not answer for {_SILENT_SECONDS:g} s"
        return ""

    # ---- its log

    def _open_log(self) -> IO[bytes]:
        """Open the log, for this user alone: servers write down what they are asked."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab")
        except OSError as error:
            raise OutputError(
                "the log of the server cannot be written", where=str(self.log), found=error.strerror or str(error)
            ) from error

    def _log_from(self, place: int) -> str:
        with self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(place, end - _TAIL_BYTES))
            return log.read().decode(errors="replace")

    def _tail(self) -> str:
        """Return the last lines of the log, without secrets."""
        text = _hidden(_CONTROL_SEQUENCE.sub("", self._log_from(0)))
        lines = [printable(line.rstrip())[:_LONGEST_LINE] for line in text.splitlines() if line.strip()]
        return "\n".join(lines[-_TAIL_LINES:])

    def _fault(self, what: str, how: str, todo: str, expected: str = "") -> WhoseboatError:
        tail = self._tail()
        return WhoseboatError(
            what,
            where=self._told,
            expected=expected,
            found=f"{how}; " + (f"the last it wrote:\n{tail}" if tail else "it wrote nothing"),
            todo=f"{todo}; all it wrote: {self.log}; then run the same command again, what was answered is kept",
        )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port


def _is_healthy(port: int) -> bool:
    """Say whether a server says that it is healthy, or, where it has no word for that, lists its models."""
    import http.client  # not before it is needed: settings are read by every command

    status = 0
    for path in ("/health", "/v1/models"):
        connection = http.client.HTTPConnection(HOST, port, timeout=_PROBE_SECONDS)  # by no proxy
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if status not in (404, 405):
            break
    return status == 200


def _how_it_ended(code: int) -> str:
    with suppress(ValueError):
        if code > 128:
            return f"it was ended by {signal.Signals(code - 128).name}"
    return f"it ended with exit code {code}"


def _has_port(command: Sequence[str]) -> bool:
    return any("{port}" in word for word in command)


def _is_among(flag: str, command: Sequence[str]) -> bool:
    return any(word == flag or word.startswith(f"{flag}=") for word in command)


def _check_secrets(command: Sequence[str]) -> None:
    """Refuse a secret in a command: others can read it, and answers are kept under its words."""
    from whoseboat.redaction import find

    flags = [word.partition("=")[0] for word in command if word.startswith("-") or "=" in word]
    found = [flag for flag in flags if _SECRET.search(flag)] + [match.kind for match in find(shlex.join(command))]
    if found:
        raise UsageError(
            "--serve holds what looks like a secret; what stands in a command can be read by others",
            found=", ".join(found),
            todo="give it by the environment, which the server gets as well: HF_TOKEN, VLLM_API_KEY",
        )


def _hidden(text: str) -> str:
    """Return a text without what looks like a secret, or is one of the environment."""
    from whoseboat.redaction import redact

    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, f"[{name}]")
    return redact(text)[0]
