"""uvicorn's protocol, with two things that ASGI has no word for: a deadline for a request to arrive, and cancelling a call when its caller leaves.

Rules: a request whose head and body are not complete in time gets 408 and its connection is closed, so that a caller that sends a byte a second
costs a timer and nothing else. The application finds its connection in the scope under SCOPE_KEY.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SCOPE_KEY = "freehold.connection"
HEAD_DEADLINE_S = 20.0
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class FreeholdProtocol(HttpToolsProtocol):
    """One connection of the data plane. `deadline_s` bounds how long a request may take to arrive, from its first byte."""

    deadline_s = HEAD_DEADLINE_S
    serving: asyncio.Task[None] | None = None  # the call under way, to be cancelled when the caller leaves
    _timer: asyncio.TimerHandle | None = None
    _is_arriving = False

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._is_arriving = True  # even a head that has only begun
        super().data_received(data)
        if self._is_arriving and self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.deadline_s, self._give_up)

    def on_headers_complete(self) -> None:
        self._is_arriving = True
        super().on_headers_complete()
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
