"""The line between a worker and its supervisor: small messages both ways, and its end says that the other is gone.

Rules: a message is one line of JSON; neither side waits for the other, but for a moment where much is sent at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

Message = dict[str, Any]
_SEND_S = 5.0


class Line:
    """One end of it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._rest = b""
        self._is_over = False
        end.setblocking(False)

    def say(self, message: Message) -> bool:
        """Tell the other side; False if it does not take it."""
        data, until = memoryview(msgspec.json.encode(message) + b"\n"), time.monotonic() + _SEND_S
        while data:
            try:
                data = data[self._end.send(data) :]
            except BlockingIOError:
                if time.monotonic() > until:
                    return False
                select.select([], [self._end], [], 0.05)
            except OSError:
                return False
        return True

    def heard(self) -> list[Message]:
        """What the other side has said since."""
        found = []
        with contextlib.suppress(BlockingIOError):
            try:
                while data := self._end.recv(65_536):
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    found += [msgspec.json.decode(line, type=Message) for line in lines]
                self._is_over = True
            except ConnectionError:
                self._is_over = True
        return found

    def listen(self, hear: Callable[[Message], None], stop: asyncio.Event) -> None:
        """Hear whatever is said from here on, in the running loop; stop: set when the other side is gone."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            for message in self.heard():
                hear(message)
            if self._is_over:
                loop.remove_reader(self._end.fileno())
                stop.set()

        loop.add_reader(self._end.fileno(), read)

    def close(self) -> None:
        self._end.close()
