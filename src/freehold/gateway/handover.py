"""Hand a running Freehold's place to its next version: the ports, the log and the budgets, and no call is dropped.

Rules: whoever comes has proven its configuration before it asks; the ports go over as they are, with whoever waits in their queues; the log goes
on in the same run, each process in epochs of its own; the old one accepts until the new one is ready, and then ends what it has begun. If the new
one dies before that, the old one goes on as if nobody had asked. Both know each other by a socket in the state directory, which is its owner's alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from freehold.gateway.logs import log
from freehold.kernel.errors import OperatorError

LOOK_EVERY_S = 0.1
DRAIN_S = 3_600.0  # how long what was begun may go on, where another serves already
_FILE = "handover.sock"
_WAIT_S = 10.0
_WORD_S = 5.0  # whoever comes says at once what it wants
READY_S = 180.0  # how long a successor may take to be ready, its model loaded
_SIZE = 65_536


@dataclass(frozen=True, slots=True)
class Taken:
    """What is handed over: the listening sockets, and the run of the log that goes on. line: to be told when this side serves."""

    sockets: tuple[socket.socket, socket.socket]
    run: int
    line: socket.socket

    def give_up(self) -> None:
        """The other side goes on as if nobody had asked."""
        self.line.close()

    def say_ready(self) -> None:
        """From here on the other side accepts nobody any more."""
        with contextlib.suppress(OSError):  # it has gone already
            self.line.sendall(b"ready")
        self.line.close()


def take(state: Path) -> Taken:
    """Ask whoever serves from a state directory for its place. Raises OperatorError `takeover.nobody`, `takeover.refused`."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(_WAIT_S)
    try:
        with _address(state) as address:
            line.connect(address)
    except OSError:
        line.close()
        raise OperatorError(
            f"Nobody serves from the state directory {str(state)!r}, so there is nothing to take over.",
            code="takeover.nobody",
            hint="Start without --take-over.",
        ) from None
    try:
        line.sendall(b"take")
        said, numbers, _, _ = socket.recv_fds(line, _SIZE, 2)
        run = msgspec.json.decode(said, type=int)
        data, admin = (socket.socket(fileno=number) for number in numbers)
    except (OSError, ValueError, msgspec.MsgspecError):
        line.close()
        raise OperatorError(
            "The Freehold that serves does not hand over its place.",
            code="takeover.refused",
            hint="Another may be taking it, or it is ending. Try again, or stop it and start without --take-over.",
        ) from None
    return Taken((data, admin), run, line)


class Offer:
    """Waits for a successor. Look at it now and then.

    lend: let the state directory go, and say which run goes on; regain: have it back, because whoever asked has died.
    """

    def __init__(
        self, state: Path, sockets: Sequence[socket.socket], lend: Callable[[], int], regain: Callable[[], None]
    ) -> None:
        self._numbers, self._lend, self._regain = [sock.fileno() for sock in sockets], lend, regain
        self._asking: socket.socket | None = None
        self._until_s = 0.0  # how long whoever asks has for its next word
        self._is_lent = False
        self._door = socket.socket(socket.AF_UNIX)
        self._door.setblocking(False)
        own = f"{_FILE}.{os.getpid()}"  # the one before has its door open until it has heard that this one is ready
        (state / own).unlink(missing_ok=True)
        with _address(state, own) as address:
            self._door.bind(address)
        (state / own).chmod(0o600)
        self._door.listen(1)
        (state / own).rename(state / _FILE)

    def is_taken(self) -> bool:
        """Whether somebody else serves now, so that this process may end what it has begun."""
        if self._asking is None:
            with contextlib.suppress(OSError):
                self._asking, _ = self._door.accept()
                self._asking.setblocking(False)
                self._until_s = time.monotonic() + _WORD_S
        if self._asking is None:
            return False
        try:
            said = self._asking.recv(16)
        except BlockingIOError:
            if time.monotonic() < self._until_s:
                return False
            said = b""
            self._end_silent(self._asking)
        except OSError:
            said = b""
        if said == b"take" and not self._is_lent and _peer(self._asking)[1] in (os.geteuid(), 0):
            self._hand_over(self._asking)
            return False
        if said == b"ready" and self._is_lent:
            log("handed_over")
            self.close()
            return True
        if self._is_lent:
            try:
                self._regain()
            except OperatorError:  # its children have the log yet, and end
                return False
            self._is_lent = False
            log("successor_lost")
        self._asking.close()
        self._asking = None
        return False

    def _hand_over(self, asking: socket.socket) -> None:
        try:
            run = self._lend()
        except (
            OperatorError,
            OSError,
            sqlite3.Error,
        ) as error:  # whoever asks hears it as a refusal, and may ask again
            log("not_handed_over", reason=type(error).__name__)
            asking.close()
            self._asking = None
            return
        self._is_lent, self._until_s = True, time.monotonic() + READY_S
        with contextlib.suppress(OSError):  # then it is gone, which is seen the next time
            socket.send_fds(asking, [msgspec.json.encode(run)], self._numbers)

    def _end_silent(self, asking: socket.socket) -> None:
        """End a successor that has had the log for minutes and is not ready: it hangs, and nobody can be replaced meanwhile."""
        pid, user = _peer(asking)
        if self._is_lent and pid > 1 and user == os.geteuid():
            log("successor_silent", pid=pid)
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Offer nothing any more. The file stays: it may be the successor's."""
        for one in (self._door, self._asking):
            if one is not None:
                one.close()


@contextmanager
def _address(state: Path, name: str = _FILE) -> Iterator[str]:
    """The address of the socket, however long the path is: the system takes a hundred bytes."""
    path = state / name
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    fd = os.open(state, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def _peer(line: socket.socket) -> tuple[int, int]:
    """Process and user of the other side; where the system does not say, nobody's process and our own user: the file's rights keep others out."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0, os.geteuid()
    pid, user, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid), int(user)
