"""Workers that accept on one socket share its connections out, and nobody who calls depends on one that hangs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing

from freehold.gateway.seats import Door, Seat, Seats


class Held(asyncio.Protocol):
    """A connection that says nothing, counted at its worker's seat."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def shutdown(self) -> None:
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.seat.left()


def listening() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.listen(1024)
    return sock


def door_of(sock: socket.socket, seat: Seat) -> Door:
    return Door(sock.dup(), seat, lambda: Held(seat))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.005)


def called(sock: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(sock.getsockname()) for _ in range(count)]


def test_a_place_is_one_workers_while_it_drains() -> None:
    """Two workers, each replaced while it still drains: four places, each given once; one that is left is given again."""
    seats, taken = Seats(4), set[int]()
    for expected in range(4):
        taken.add(seats.free(taken))
        assert taken == set(range(expected + 1))
    assert seats.free(taken) == 3  # more than there are: shared, not refused
    assert seats.free(taken - {1}) == 1


def test_connections_are_shared_out() -> None:
    async def play() -> list[int]:
        with closing(listening()) as sock:
            seats = Seats(4)
            doors = [door_of(sock, Seat(seats, place)) for place in range(4)]
            callers = called(sock, 100)
            await until(lambda: sum(seats.held) == 100)  # of four open doors
            found = list(seats.held)
            for one in (*callers, *doors):
                one.close()
            return found

    assert max(found := asyncio.run(play())) - min(found) <= 4, found


def test_who_has_more_lets_the_others_go_first() -> None:
    async def play() -> list[int]:
        with closing(listening()) as sock:
            seats = Seats(2)
            first, second = Seat(seats, 0), Seat(seats, 1)
            one = door_of(sock, first)
            callers = called(
                sock, 30
            )  # nobody else accepts yet: they wait for the other, and then come in all the same
            await until(lambda: seats.held[0] == 30)
            other = door_of(sock, second)
            callers += called(sock, 20)
            await until(lambda: sum(seats.held) == 50)
            found = list(seats.held)
            for done in (*callers, one, other):
                done.close()
            return found

    assert asyncio.run(play())[1] >= 15


def test_a_worker_that_hangs_keeps_nobody_waiting() -> None:
    async def play() -> int:
        with closing(listening()) as sock:
            seats = Seats(2)
            seat = Seat(seats, 0)
            Seat(seats, 1).open()  # it holds nothing, and never accepts
            door = door_of(sock, seat)
            callers = called(sock, 500)
            await until(lambda: seats.held[0] == 500)
            for one in callers:
                one.close()
            await until(lambda: seats.held[0] == 0)
            door.close()
            return seats.held[0]

    assert asyncio.run(play()) == -1, "a door that is closed is not counted"


def test_a_closed_door_accepts_nobody() -> None:
    async def play() -> None:
        with closing(listening()) as sock:
            seats = Seats(1)
            door = door_of(sock, Seat(seats, 0))
            door.close()
            door.close()
            (caller,) = called(sock, 1)
            with closing(caller), closing(sock.accept()[0]):
                pass  # it was left to whoever else listens

    asyncio.run(play())


def test_who_comes_in_at_the_last_moment_is_told_to_leave() -> None:
    """A connection that was accepted and had no protocol yet when the door closed was told nothing, and kept a worker from ending for its whole drain."""

    async def play() -> bytes:
        with closing(listening()) as sock:
            seats = Seats(1)
            seat, doors = Seat(seats, 0), list[Door]()

            def make() -> Held:
                doors[0].close()  # while it is let in
                return Held(seat)

            doors.append(door := Door(sock.dup(), seat, make))
            (caller,) = called(sock, 1)
            await until(lambda: seats.held[0] == -1)
            await door.wait_closed()
            caller.setblocking(False)
            with closing(caller):
                return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(caller, 1), 10)

    assert asyncio.run(play()) == b""
