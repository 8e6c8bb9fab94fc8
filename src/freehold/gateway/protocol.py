"""uvicorn's protocol, with two things that ASGI has no word for: a deadline for a request to arrive, and cancelling a call when its caller leaves.

Rules: a request whose head and body are not complete in time gets 408 and its connection is closed, so that a caller that sends a byte a second
costs a timer and nothing else. Who is told to leave is told so in an answer, where there is one to come: a connection that is closed while its caller writes looks like a lost call. The application finds its connection in the scope under SCOPE_KEY.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from freehold.gateway.seats import Seat

SCOPE_KEY = "freehold.connection"
HEAD_DEADLINE_S = 20.0
LINGER_S = 1.0
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class FreeholdProtocol(HttpToolsProtocol):
    """One connection of the data plane. `deadline_s` bounds how long a request may take to arrive, from its first byte."""

    deadline_s = HEAD_DEADLINE_S
    seat: Seat | None = None  # where the worker counts its connections
    serving: asyncio.Task[None] | None = None  # the call under way, to be cancelled when the caller leaves
    _timer: asyncio.TimerHandle | None = None
    _is_arriving = False
    _is_leaving = False
    _answered_s = 0.0  # when it was last answered, or made

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._answered_s = self.loop.time()
        super().connection_made(transport)

    def shutdown(self) -> None:
        """Take leave: what is under way ends, and the next answer says that it is the last. Whoever was just answered may be asking already."""
        self._is_leaving = True
        if self.cycle is None or self.cycle.response_complete:
            self._leave_later()
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        self._answered_s = self.loop.time()
        super().on_response_complete()
        if self._is_leaving and not self.transport.is_closing():
            self._leave_later()

    def _leave_later(self) -> None:
        """Close, a moment after the last answer, unless something has come by then."""
        left_s = self._answered_s + LINGER_S - self.loop.time()
        if left_s > 0:
            self.loop.call_later(left_s, self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        if not self._is_arriving and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._is_arriving = True  # even a head that has only begun
        super().data_received(data)
        if self._is_arriving and self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.deadline_s, self._give_up)

    def on_headers_complete(self) -> None:
        self._is_arriving = True
        super().on_headers_complete()
        if self._is_leaving and self.cycle is not None:
            self.cycle.keep_alive = False
        cast("dict[str, object]", self.scope)[SCOPE_KEY] = self  # the task that reads it starts in the next turn

    def on_message_complete(self) -> None:
        self._is_arriving = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.seat is not None:
            self.seat.left()
        super().connection_lost(exc)
        if self.serving is not None:
            self.serving.cancel()

    def go_on(self) -> None:
        """Something of a long body has come: the time for the rest begins anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self.loop.call_later(self.deadline_s, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        if self._is_arriving and not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()
