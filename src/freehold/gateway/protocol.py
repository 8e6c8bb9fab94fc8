"""uvicorn's protocol with a deadline for the head of a request: a caller that sends a byte a second is cut off."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_DEADLINE_S = 20.0
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class DeadlineProtocol(HttpToolsProtocol):
    """Closes a connection whose request head is not complete in time. The clock runs from its first byte."""

    _head_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is None and self._is_in_head() and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_DEADLINE_S, self._give_up)

    def on_headers_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_done = True
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        self._head_done = False
        super().on_message_begin()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    _head_done = False

    def _is_in_head(self) -> bool:
        return not self._head_done

    def _give_up(self) -> None:
        if self._is_in_head() and not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()
