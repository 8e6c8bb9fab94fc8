"""Share connections out between workers that accept on one socket, so that none has twice as many as another.

Left to the kernel, whoever happens to be awake takes the next connection: of 32 over four workers, one was seen with 13 and one with 3, and the calls
of the 13 wait. Rules: the counts stand in memory that the workers share; a worker that has more than the fewest waits before it accepts one more, the longer the
more it has above them; and after a quarter of a second it accepts whoever waits, so that nobody who calls depends on a worker that hangs.
What it does not know: HTTP, what a worker is.
"""

from __future__ import annotations

import asyncio
import math
import mmap
import socket
from collections.abc import Callable
from typing import Protocol, cast

_NOBODY = -1
_PAUSE_S = 0.002  # for each connection above the fewest
_LONGEST_PAUSE_S = 0.02
_PATIENCE_S = 0.25  # then whoever has the fewest hangs
_AT_ONCE = 64  # accepted in its place
_NO_ROOM_S = 0.1  # after an error: no descriptor is left, say


class Seats:
    """How many connections each of `count` workers holds. One is made before any fork."""

    def __init__(self, count: int) -> None:
        self.held = memoryview(mmap.mmap(-1, 4 * count)).cast("i")
        for place in range(count):
            self.held[place] = _NOBODY

    def take(self) -> int:
        """A place that nobody has; the last, if there is none."""
        free = (place for place, held in enumerate(self.held) if held == _NOBODY)
        place = next(free, len(self.held) - 1)
        self.held[place] = 0
        return place

    def leave(self, place: int) -> None:
        self.held[place] = _NOBODY


class Seat:
    """One worker's own count. Only it writes there, while it lives."""

    def __init__(self, seats: Seats, place: int) -> None:
        self._held, self._place, self._count, self._is_open = seats.held, place, 0, True

    def entered(self) -> None:
        self._count += 1
        self._note()

    def left(self) -> None:
        self._count -= 1
        self._note()

    def close(self) -> None:
        """It accepts nobody any more, and is not counted."""
        self._is_open = False
        self._held[self._place] = _NOBODY

    def _note(self) -> None:
        if self._is_open:
            self._held[self._place] = self._count

    def excess(self) -> int:
        """How many more than the worker that has the fewest."""
        return self._count - min((held for held in self._held if held != _NOBODY), default=self._count)


class Guest(Protocol):
    """What a connection's protocol is asked for here: to take leave."""

    def shutdown(self) -> None: ...


class Door:
    """Accepts on a shared listening socket and makes a protocol of each connection; of asyncio's servers it has what uvicorn asks for."""

    def __init__(self, sock: socket.socket, seat: Seat, make: Callable[[], asyncio.Protocol]) -> None:
        self._sock, self._seat, self._make = sock, seat, make
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._coming: set[asyncio.Task[object]] = set()
        self._is_closed = False
        self._patient_until = math.inf  # while connections wait and others should take them
        sock.setblocking(False)
        self._loop.add_reader(sock, self._knock)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._seat.close()
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._sock)
        self._sock.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._coming, return_exceptions=True)

    def _knock(self) -> None:
        excess = self._seat.excess()
        if excess <= 0:
            self._patient_until = math.inf
            self._accept(1)
            return
        self._patient_until = min(self._patient_until, self._loop.time() + _PATIENCE_S)
        self._wait(min(_LONGEST_PAUSE_S, excess * _PAUSE_S))

    def _wait(self, pause_s: float) -> None:
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(pause_s, self._after_pause)

    def _after_pause(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._knock)
        self._accept(_AT_ONCE if self._loop.time() >= self._patient_until else 1)

    def _accept(self, most: int) -> None:
        for _ in range(most):
            try:
                connection, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._patient_until = math.inf
                return
            except OSError:
                self._wait(_NO_ROOM_S)
                return
            connection.setblocking(False)
            self._seat.entered()
            task = asyncio.ensure_future(self._let_in(connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _let_in(self, connection: socket.socket) -> None:
        try:
            _, protocol = await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:  # it has gone again, before it had a protocol
            connection.close()
            self._seat.left()
            return
        if self._is_closed:  # it came in while those who were in were told to leave
            cast("Guest", protocol).shutdown()
