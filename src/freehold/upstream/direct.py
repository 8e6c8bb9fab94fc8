"""HTTP/1.1 to a provider without a proxy: one asyncio protocol over httptools, one pool of connections for each provider.

Why it exists: aiohttp costs more than the rest of a call put together (see docs/decisions/0003-transport.md); it stays for providers behind a proxy.
Rules: a connection serves one request at a time and is kept only if the answer ended as framed; a caller that reads slowly slows the provider
down (reading pauses) instead of filling memory; closing gives the connection up at once.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httptools

from freehold.kernel.errors import UpstreamError
from freehold.kernel.snapshot import Provider

IDLE_S = 20.0
LAST_BYTES_S = 1.0
LONGEST_ANSWER = 64 * 1024 * 1024
_HIGH_WATER = 256 * 1024
_LONGEST_HEAD = 64 * 1024

Dial = Callable[[Callable[[], asyncio.Protocol]], Any]


class Pool:
    """Connections to one provider. `dial` opens one; it is handed in, so that resolving stays in one place."""

    def __init__(self, provider: Provider, dial: Dial) -> None:
        self.provider = provider
        self._dial = dial
        self._idle: deque[tuple[Connection, float]] = deque()  # the longest idle first
        self._sweeping: asyncio.TimerHandle | None = None
        self._all: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._loop = asyncio.get_running_loop()
        parts = urlsplit(provider.base_url)
        self.base = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self.root = f"{parts.scheme}://{parts.netloc}"
        self._head = f"Host: {parts.netloc}\r\nUser-Agent: freehold\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"

    async def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send one request to a path from the root and wait for the head of its answer, within the provider's deadlines."""
        connection = self._take() or await self._open()
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) if headers else ""
        data = body or b""
        head = f"{method} {path} HTTP/1.1\r\n{self._head}{extra}Content-Length: {len(data)}\r\n\r\n"
        timeouts = self.provider.timeouts
        try:
            await connection.request(head.encode("latin-1") + data, timeouts.first_byte, timeouts.total)
        except BaseException:
            connection.close()
            raise
        return Answer(self, connection)

    def give_back(self, connection: Connection) -> None:
        self._idle.append((connection, self._loop.time() + IDLE_S))
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(IDLE_S, self._sweep)

    def _sweep(self) -> None:
        """Close what nobody has needed for a while: the latest are taken first, so after a rush the others would lie there for ever."""
        now = self._loop.time()
        while self._idle and (self._idle[0][1] <= now or not self._idle[0][0].is_open):
            self._idle.popleft()[0].close()
        wait_s = self._idle[0][1] - now if self._idle else None
        self._sweeping = self._loop.call_later(wait_s, self._sweep) if wait_s is not None else None

    def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._idle.clear()
        for connection in list(self._all):
            connection.close()

    def _take(self) -> Connection | None:
        now = self._loop.time()
        while self._idle:
            connection, until = self._idle.pop()  # the latest is the least likely to have been closed by the other side
            if connection.is_open and until > now:
                return connection
            connection.close()
        return None

    async def _open(self) -> Connection:
        name = self.provider.name
        try:
            async with asyncio.timeout(self.provider.timeouts.connect):
                _, protocol = await self._dial(lambda: Connection(name))
        except ssl.SSLError:
            raise UpstreamError(
                f"The certificate of {name!r} is not trusted.",
                code="upstream.tls",
                hint="Set [network] ca_bundle if a company authority signed it.",
            ) from None
        except TimeoutError:
            raise UpstreamError(f"{name!r} did not answer in time.", code="upstream.timeout", status=504) from None
        except OSError:
            raise UpstreamError(f"{name!r} cannot be reached.", code="upstream.unreachable") from None
        opened: Connection = protocol
        self._all.add(opened)
        return opened


class Connection(asyncio.Protocol):
    """One connection and the answer that is being read from it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = self._head_size = 0
        self._is_paused = False
        self.has_head = self.is_complete = self.keeps_alive = False
        self._failure: UpstreamError | None = None
        self._is_handed_over = False
        self._give_back: Callable[[Connection], None] | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # --- what the pool and the answer do -----------------------------------------------------------------------

    async def request(self, data: bytes, first_byte_s: float, total_s: float) -> None:
        assert self._transport is not None
        self._reset()
        self._deadline = self._loop.time() + total_s
        self._transport.write(data)
        while not self.has_head:
            await self._wait(first_byte_s)

    async def next_part(self, silence_s: float) -> bytes | None:
        """The bytes that have come since the last time, or None at the end. Raises UpstreamError."""
        while not self._parts:
            if self.is_complete:
                return None
            await self._wait(silence_s)
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def finish(self, give_back: Callable[[Connection], None]) -> None:
        """Give the connection back now, or when the answer's last bytes come within a second."""
        if self._is_handed_over:
            return
        self._is_handed_over = True
        if self.is_complete:
            self._hand_over(give_back)
        else:
            self._give_back = give_back
            self._timer = self._loop.call_later(LAST_BYTES_S, self.close)

    def give_up(self) -> None:
        if not self._is_handed_over:
            self._is_handed_over = True
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _hand_over(self, give_back: Callable[[Connection], None]) -> None:
        if self.keeps_alive and self.is_open:
            give_back(self)
        else:
            self.close()

    async def _wait(self, limit_s: float) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        left = min(limit_s, self._deadline - self._loop.time())
        self._timer = self._loop.call_later(max(0.0, left), self._too_late)
        try:
            await self._waiter
        finally:
            self._timer.cancel()
            self._waiter = None

    def _too_late(self) -> None:
        self._fail(UpstreamError(f"{self._name!r} did not answer in time.", code="upstream.timeout", status=504))
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        self._failure = self._failure or error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._failure)

    # --- what the loop calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, by construction

    def data_received(self, data: bytes) -> None:
        if not self.has_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamError(f"{self._name!r} wants to change the protocol.", code="upstream.invalid_answer"))
            self.close()
        except httptools.HttpParserError:
            self._fail(UpstreamError(f"{self._name!r} does not speak HTTP.", code="upstream.invalid_answer"))
            self.close()
        if not self.has_head and self._head_size > _LONGEST_HEAD:
            self._fail(UpstreamError(f"{self._name!r} sent a head without end.", code="upstream.invalid_answer"))
            self.close()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.is_complete:
            return
        if (
            self.has_head
            and "content-length" not in self.headers
            and "transfer-encoding" not in self.headers
            and exc is None
        ):
            self.is_complete = True  # RFC 9112 §6.3: without a length the answer ends with the connection
            self._wake()
            return
        self._fail(UpstreamError(f"{self._name!r} broke the connection off.", code="upstream.cut"))

    # --- what the parser calls ---------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.status, self.has_head = status, True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)
        if self._size > _HIGH_WATER and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.has_head:
            self.keeps_alive = self._parser.should_keep_alive()
            self.is_complete = True
            if self._give_back is not None and self._timer is not None:
                self._timer.cancel()
                self._hand_over(self._give_back)


class Answer:
    """An answer whose head has arrived."""

    __slots__ = ("_connection", "_pool", "headers", "longest", "status")

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool, self._connection = pool, connection
        self.status, self.headers, self.longest = connection.status, connection.headers, LONGEST_ANSWER

    async def chunks(self) -> AsyncIterator[bytes]:
        silence = self._pool.provider.timeouts.silence
        size = 0
        while (part := await self._connection.next_part(silence)) is not None:
            size += len(part)
            if size > self.longest:
                raise self._endless()
            yield part

    async def whole(self) -> bytes:
        silence = self._pool.provider.timeouts.silence
        parts, size = [], 0
        while (part := await self._connection.next_part(silence)) is not None:
            size += len(part)
            if size > self.longest:
                raise self._endless()
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _endless(self) -> UpstreamError:
        return UpstreamError(
            f"{self._pool.provider.name!r} sent an answer without end.", code="upstream.invalid_answer"
        )

    def finish(self) -> None:
        """The answer is whole: keep the connection, now or when its last bytes (a chunked body's end) have come."""
        self._connection.finish(self._pool.give_back)

    def close(self) -> None:
        """Give the connection up at once, unless `finish` has been called."""
        self._connection.give_up()
