"""HTTP/1.1 as far as one endpoint needs it: POST, connections kept open, a deadline, a largest answer, a proxy.

Of the transports measured on one core against a loopback server (9 KB bodies), aiohttp takes about 80 microseconds of a
request, this about 15, and everything else that is done for a request about 90. So the protocol is spoken here, over
the event loop's own connections, with httptools (the parser of uvicorn) reading what comes.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import re
import socket
import ssl
import unicodedata
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

import httptools

from whoseboat import __version__
from whoseboat.errors import UsageError

# A connection that was idle for so long may have been closed by the server before a request reaches it.
_STALE_SECONDS = 1.0
_PORTS = {"http": 80, "https": 443}
# What a head may have, and what an answer may have besides its body: sizes of chunks, trailers.
_LARGEST_HEAD, _LARGEST_FRAME = 64 << 10, 8 << 20
_HOST = re.compile(r"[A-Za-z0-9._~-]+")
# What may stand in a path as it is; a percent sign is taken for that of something encoded already.
_PATH = "/%:@!$&'()*+,;="
# What a proxy says when it may do better later.
_PROXY_LATER = {408, 425, 429}
_ABSENCE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN}


class WireError(OSError):
    """No whole answer came: the connection could not be made, or was lost, or did not speak HTTP."""


class UnreachableError(WireError):
    """Nobody was there: the name is none, or no server listens at the address."""


class TooLargeError(WireError):
    """The answer is larger than the largest that is taken."""


class RefusedError(WireError):
    """No connection is made, and none will be: no further attempt can mend that."""


@dataclass(slots=True)
class Response:
    """An answer: status, headers by lower-case name, body."""

    status: int
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class Wire:
    """Connections to one address; each carries one request at a time and is used again.

    Args:
        url: where every request goes.
        headers: sent with every request.
        deadline: seconds an exchange may take, connecting included.
        largest: bytes an answer may have.
        by_proxy: go by the proxy that the environment names.

    Raises:
        UsageError: an address, a header or a proxy of the environment that cannot be right.

    """

    def __init__(
        self, url: str, headers: Mapping[str, str], deadline: float, largest: int, *, by_proxy: bool = True
    ) -> None:
        self._url = _split(url, "the endpoint")
        self._host, self._port = _place_of(self._url, "the endpoint")
        self._deadline, self._largest = deadline, largest
        self._proxy = _proxy_of(self._url) if by_proxy else None
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._head = self._fixed_head(headers)
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self.reached = False  # whether anybody was ever there, even if no connection came of it

    async def look_up(self) -> None:
        """Look the host up, so that a name that is none shows at once.

        Raises:
            OSError: there is no such host, or nobody says so before the deadline.

        """
        host, port = _place_of(self._proxy, "the proxy") if self._proxy else (self._host, self._port)
        try:
            async with asyncio.timeout(self._deadline):
                await asyncio.get_running_loop().getaddrinfo(host, port)
        except TimeoutError as error:
            raise TimeoutError(f"looking {host} up took more than {self._deadline:g} s") from error

    async def post(self, body: bytes) -> Response:
        """Send a request and return the whole answer.

        Raises:
            TimeoutError: it did not come before the deadline.
            RefusedError: no connection can be made, now or later.
            UnreachableError: nobody was there to connect to.
            WireError: the connection could not be made or was lost.

        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline
        data = b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(body), body)
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable:
                self._open.discard(connection)  # the server has closed it
            else:
                was_idle = loop.time() - connection.idle_since
                try:
                    return await self._exchange(connection, data, until)
                except WireError:
                    if connection.answering or was_idle < _STALE_SECONDS:
                        raise
                    break  # the server has closed it meanwhile, which is no fault: a new one is made
        return await self._exchange(await self._connect(until), data, until)

    async def _exchange(self, connection: _Connection, data: bytes, until: float) -> Response:
        try:
            response = await connection.exchange(data, until)
        except BaseException:
            connection.abort()
            self._open.discard(connection)
            raise
        if connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()
            self._open.discard(connection)
        if response.status == 407 and self._proxy is not None:
            raise _refused_by(self._proxy, 407)
        return response

    async def _connect(self, until: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(until):
                if self._proxy is None:
                    _, connection = await loop.create_connection(
                        lambda: _Connection(self._largest), self._host, self._port, ssl=self._tls
                    )
                else:
                    connection = await self._connect_by_proxy(self._proxy, until)
        except TimeoutError:
            raise
        except WireError:
            self.reached = True
            raise
        except ssl.SSLCertVerificationError as error:
            raise RefusedError(
                f"the certificate of {self._host} is not trusted: {error.verify_message}"
                " (SSL_CERT_FILE may name the certificates of an authority of your own)"
            ) from error
        except OSError as error:
            by = f"the proxy {self._proxy.hostname}: " if self._proxy is not None else ""
            kind = UnreachableError if _is_absence(error) else WireError
            self.reached = self.reached or kind is WireError
            raise kind(f"{by}{type(error).__name__}: {error}") from error
        self._open.add(connection)
        self.reached = True
        return connection

    async def _connect_by_proxy(self, proxy: SplitResult, until: float) -> _Connection:
        """Connect to a proxy; for https, have it tunnel to the endpoint and speak TLS inside."""
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(
            lambda: _Connection(self._largest), *_place_of(proxy, "the proxy")
        )
        if self._tls is None:
            return connection
        authority = f"{_bracketed(self._host)}:{self._port}"
        asked = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{_proxy_key(proxy)}\r\n".encode()
        connection.tunnel = True
        try:
            response = await connection.exchange(asked, until)
            if not 200 <= response.status < 300:
                raise _refused_by(proxy, response.status)
            inner = _Connection(self._largest)
            secure = await loop.start_tls(transport, inner, self._tls, server_hostname=self._host)
            if secure is None:
                raise WireError("the connection was lost while TLS began")
        except BaseException:
            transport.abort()
            raise
        inner.connection_made(secure)
        return inner

    def _fixed_head(self, headers: Mapping[str, str]) -> bytes:
        """Return the head of every request up to its length."""
        host = _bracketed(self._host) + (f":{self._port}" if self._url.port else "")
        try:
            path = quote(self._url.path or "/", safe=_PATH, errors="surrogateescape")
        except UnicodeError as error:
            raise UsageError("the address of the endpoint holds half a character", found=str(error)) from error
        proxy_key = ""
        if self._proxy is not None and self._tls is None:
            path, proxy_key = f"http://{host}{path}", _proxy_key(self._proxy)
        lines = {
            "Host": host,
            "User-Agent": f"whoseboat/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            **headers,
        }
        for name, value in lines.items():
            if not value.isprintable() or not value.isascii():
                raise UsageError(f"the header {name} holds characters no header may hold")
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {path} HTTP/1.1\r\n{head}{proxy_key}".encode()

    def close(self) -> None:
        """Let go of every connection."""
        for connection in self._open:
            connection.abort()
        self._open.clear()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """One connection: a request is written, the parser calls back with the parts of its answer."""

    def __init__(self, largest: int) -> None:
        self.answering = False  # whether anything of the answer has come
        self.tunnel = False
        self.idle_since = 0.0
        self._largest = largest
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Response] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response = Response(0)
        self._parts: list[bytes] = []
        self._size = self._received = 0
        self._in_head = self._keep = True

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._keep and self._transport is not None and not self._transport.is_closing()

    async def exchange(self, data: bytes, until: float) -> Response:
        """Write a request and return the answer to it."""
        if not self.usable or self._transport is None:
            raise WireError("the connection was lost")
        loop = asyncio.get_running_loop()
        self.answering, self._in_head, self._received = False, True, 0
        waiting: asyncio.Future[Response] = loop.create_future()
        self._waiting = waiting
        timer = loop.call_at(until, self._expire)
        self._transport.write(data)
        try:
            return await waiting
        finally:
            timer.cancel()
            self._waiting = None

    def abort(self) -> None:
        """Close without waiting."""
        self._keep = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of a stream, it is a Transport

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self.abort()  # an answer nobody asked for: what follows would belong to another request
            return
        self.answering = True
        already = self._received
        self._received += len(data)
        try:
            if self._in_head and self._received > _LARGEST_HEAD:
                self._parser.feed_data(data[: _LARGEST_HEAD - already])
                data = data[_LARGEST_HEAD - already :]
                if self._in_head:
                    self._fail(TooLargeError(f"the head of the answer is larger than {_LARGEST_HEAD} bytes"))
                    return
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # of a 101, which has failed already
        except httptools.HttpParserError as error:
            self._fail(WireError(f"not HTTP: {error}"))
        if self._received - self._size > _LARGEST_HEAD + _LARGEST_FRAME:
            self._fail(TooLargeError(f"the answer is larger than {_LARGEST_FRAME} bytes besides its body"))

    def connection_lost(self, error: Exception | None) -> None:
        self._keep = False
        unmeasured = not {b"content-length", b"transfer-encoding"} & self._response.headers.keys()
        if error is None and self._response.status and unmeasured:
            self.on_message_complete()  # an answer without a length ends with the connection
        else:
            self._fail(WireError(f"the connection was lost{f': {error}' if error else ''}"))

    def on_message_begin(self) -> None:
        if self._waiting is None or self._waiting.done():
            self._keep = False  # more than the answer: what follows would belong to another request
            return
        self._response, self._parts, self._size = Response(0), [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._response.status = status = self._parser.get_status_code()
        if status >= 200:
            self._in_head = False
            if self.tunnel:
                self._finish()  # what follows is no body of this, or of no interest
        elif status == 101:
            self._fail(WireError("the server switches to another protocol (101)"))

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._largest:
            self._fail(TooLargeError(f"the answer is larger than {self._largest} bytes"))

    def on_message_complete(self) -> None:
        if 100 <= self._response.status < 200:
            self._response = Response(0)  # the answer itself is still to come
            return
        self._keep = self._keep and self._parser.should_keep_alive()
        self._finish()

    def _finish(self) -> None:
        response, self._response = self._response, Response(0)
        response.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(response)

    def _expire(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: OSError) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self.abort()


def _is_absence(error: OSError) -> bool:
    """Say whether an error over a connection means that nobody was there, at any address of the host."""
    return (
        isinstance(error, ConnectionRefusedError | socket.gaierror)
        or error.errno in _ABSENCE
        or str(error).startswith("Multiple exceptions")  # one for each address of the host; later faults are single
    )


def _split(url: str, what: str) -> SplitResult:
    """Take an address apart."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # which may be none
    except ValueError as error:
        raise UsageError(f"the address of {what} is none", found=str(error)) from error
    return parts


def _place_of(url: SplitResult, what: str) -> tuple[str, int]:
    """Return host and port of an address; a name in other than ASCII letters is encoded (IDNA)."""
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    if ":" in host:
        return host, port
    try:
        name = host.encode("idna")
        # The encoding replaces some letters by others, which would be another host.
        good = _HOST.fullmatch(name.decode()) and (
            host.isascii() or name.decode("idna") == unicodedata.normalize("NFC", host)
        )
    except UnicodeError:
        good = None
    if not good:
        raise UsageError(
            f"the host of {what} is no name of a host",
            found=repr(host),
            todo="give the name as it is registered, a name of other than ASCII letters in the form xn--...",
        )
    return name.decode(), port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _proxy_of(url: SplitResult) -> SplitResult | None:
    """Return the proxy the environment names for an address."""
    if urllib.request.proxy_bypass(url.hostname or ""):
        return None
    found = urllib.request.getproxies().get(url.scheme)
    if not found:
        return None
    proxy = _split(found if "//" in found else f"http://{found}", "the proxy")
    if proxy.scheme != "http":
        raise UsageError(
            "a proxy of a kind that is not spoken to",
            where=f"{url.scheme}_proxy in the environment",
            expected="http://HOST:PORT",
            found=f"{proxy.scheme}://{proxy.hostname or ''}",
            todo=f"name another, or add {url.hostname} to no_proxy",
        )
    _place_of(proxy, "the proxy")
    return proxy


def _refused_by(proxy: SplitResult, status: int) -> WireError:
    """Return the error for an answer of a proxy that is no tunnel."""
    if status == 407:
        return RefusedError(
            f"the proxy {proxy.hostname} wants a name and a password, or others (407):"
            " the environment may name it as http://USER:PASSWORD@HOST:PORT"
        )
    final = 400 <= status < 500 and status not in _PROXY_LATER
    return (RefusedError if final else WireError)(f"the proxy {proxy.hostname} answered {status} to CONNECT")


def _proxy_key(proxy: SplitResult) -> str:
    if proxy.username is None:
        return ""
    key = base64.b64encode(f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()).decode()
    return f"Proxy-Authorization: Basic {key}\r\n"
