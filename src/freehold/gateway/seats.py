"""Share connections out between workers that accept on one socket, so that none has twice as many as another.

Left to the kernel, whoever happens to be awake takes the next connection: of 32 over four workers, one was seen with 13 and one with 3, and the calls
of the 13 wait. Rules: the counts stand in memory that the workers share; a worker that has some more than the fewest waits a few milliseconds for it,
the longer the more it has above it; and if the fewest did not come five times in a row, because it hangs, nobody waits for it for a while.
What it does not know: HTTP, what a worker is, how busy a connection is.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable, Set
from typing import Protocol, cast

_NOBODY = -1
_SLACK = 2  # connections above the fewest at which nobody waits
_STEP_S = 0.001  # how often who waits looks whether it still has to
_PAUSE_S = 0.002  # for each connection above the fewest
_LONGEST_PAUSE_S = 0.02
_STRIKES = 5  # in a row, and the fewest is taken to hang
_HURRY_S = 5.0  # for so long
_NO_ROOM_S = 0.1  # after an error: no descriptor is left, say


class Seats:
    """How many connections each of several workers holds, at its place. Made before any fork; who has which place is the supervisor's to say."""

    def __init__(self, count: int) -> None:
        self.held = memoryview(mmap.mmap(-1, 4 * count)).cast("i")
        for place in range(count):
            self.held[place] = _NOBODY

    def free(self, taken: Set[int]) -> int:
        """The first place that is nobody's; the last, to be shared, where each is somebody's."""
        return next((place for place in range(len(self.held)) if place not in taken), len(self.held) - 1)

    def leave(self, place: int) -> None:
        self.held[place] = _NOBODY


class Seat:
    """One worker's own count, from when it accepts until it does not. Only it writes there, while it lives."""

    def __init__(self, seats: Seats, place: int) -> None:
        self._held, self._place, self._count, self._is_open = seats.held, place, 0, False

    def open(self) -> None:
        self._is_open = True
        self._note()

    def close(self) -> None:
        self._is_open = False
        self._held[self._place] = _NOBODY

    def entered(self) -> None:
        self._count += 1
        self._note()

    def left(self) -> None:
        self._count -= 1
        self._note()

    def _note(self) -> None:
        if self._is_open:
            self._held[self._place] = self._count

    def fewest(self) -> tuple[int, int]:
        """What the worker with the fewest connections holds, and where it sits."""
        return min(((held, place) for place, held in enumerate(self._held) if held != _NOBODY), default=(self._count, self._place))  # fmt: skip

    def excess(self) -> int:
        return self._count - self.fewest()[0]


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
        self._fewest = (0, 0)
        self._waits_until = self._hurries_until = 0.0
        self._strikes = 0
        sock.setblocking(False)
        self._loop.add_reader(sock, self._knock)
        seat.open()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._seat.close()
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._sock)
        while self._takes_one():
            continue
        self._sock.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._coming, return_exceptions=True)

    def _knock(self) -> None:
        """Somebody waits. Accept, or let whoever has the fewest go first."""
        now, excess = self._loop.time(), self._seat.excess()
        if excess <= _SLACK or now < self._hurries_until:
            self._takes_one()
            return
        self._fewest = self._seat.fewest()
        self._waits_until = now + min(_LONGEST_PAUSE_S, excess * _PAUSE_S)
        self._sleep(_STEP_S)

    def _sleep(self, pause_s: float) -> None:
        if self._pause is None:
            self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(pause_s, self._look)

    def _look(self) -> None:
        """After a moment of waiting: go on with it, or accept."""
        must_wait = self._seat.excess() > _SLACK
        if must_wait and self._loop.time() < self._waits_until:
            self._sleep(_STEP_S)
            return
        self._pause = None
        self._loop.add_reader(self._sock, self._knock)
        was_in_vain = self._takes_one() and must_wait and self._seat.fewest() == self._fewest
        self._strikes = self._strikes + 1 if was_in_vain else 0
        if self._strikes >= _STRIKES:
            self._strikes, self._hurries_until = 0, self._loop.time() + _HURRY_S

    def _takes_one(self) -> bool:
        """Whether somebody waited, and has been let in."""
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError:
            if not self._is_closed:
                self._sleep(_NO_ROOM_S)
            return False
        connection.setblocking(False)
        self._seat.entered()
        task = asyncio.ensure_future(self._let_in(connection))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)
        return True

    async def _let_in(self, connection: socket.socket) -> None:
        try:
            _, protocol = await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:  # it has gone again, before it had a protocol
            connection.close()
            self._seat.left()
            return
        if self._is_closed:  # it came in while those who were in were told to leave
            cast("Guest", protocol).shutdown()
