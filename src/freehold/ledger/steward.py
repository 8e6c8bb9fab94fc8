"""Who has a state directory: its lock, its parent log, and what dead processes left open.

Rules: one steward at a time. It opens an epoch for each process that serves (itself, or its workers), settles in a new one what a dead one left,
and seals an epoch only when every call of it has its end; so whatever is killed, and when, the next look finds what is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel.errors import OperatorError
from freehold.ledger import log as logs
from freehold.ledger.answers import Answers
from freehold.ledger.epochs import Epochs
from freehold.ledger.files import secret_file, take_lock
from freehold.ledger.ledger import Ledger, NowMs, Seals, SubjectKey
from freehold.ledger.rotation import signer_in_force

_WAIT_S = 5.0


class Steward:
    """Take with `Steward(state, now_ms)`, which raises OperatorError `ledger.locked` if another process has it, `ledger.broken` if a log cannot be read."""

    def __init__(self, state: Path, now_ms: NowMs, run: int | None = None) -> None:
        """run: the one that another process has begun and hands over; epochs of it may still be written."""
        self._turn = threading.RLock()  # where it inherits in a thread, nobody else may write the parent log meanwhile
        self._own = set[int]()  # epochs that were begun here
        self.is_lent = False
        self._state, self._folder, self._now_ms = state, state / "log", now_ms
        self._owed: list[int] = []  # epochs to be sealed, in this order
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_fd = take_lock(state, wait_s=_WAIT_S if run is not None else 0.0)
        try:
            self._signer = signer_in_force(state)
            self._epochs = Epochs(self._folder, self._signer, run)
            if (
                run is None and self.beside
            ):  # one that was taken over from still ends its calls, and its successor is gone
                self._epochs = Epochs(self._folder, self._signer, self._epochs.run - 1)
            self.is_heir = run is not None or bool(self.beside)  # others may still write in this run
            self._answers = Answers(state)
        except BaseException:
            self.close()
            raise

    @property
    def left_open(self) -> tuple[int, ...]:
        """Epochs that are not sealed: those of dead processes, and those of workers that live."""
        return tuple(sorted(self._epochs.open))

    @property
    def run(self) -> int:
        """The run of the log that goes on, or has begun."""
        return self._epochs.run

    @property
    def bereft(self) -> tuple[int, ...]:
        """Epochs that others have begun and that nobody writes any more."""
        others = (epoch for epoch in self.left_open if epoch not in self._own)
        return tuple(epoch for epoch in others if not logs.is_written(self._folder / f"{epoch:08d}.jsonl"))

    @property
    def beside(self) -> tuple[int, ...]:
        """Epochs that others have begun and still write."""
        others = (epoch for epoch in self.left_open if epoch not in self._own)
        return tuple(epoch for epoch in others if logs.is_written(self._folder / f"{epoch:08d}.jsonl"))

    def lend(self) -> int:
        """Let another process be the steward of this run; returns the run. What is sealed here from now on, it seals."""
        with self._turn:
            self.is_lent = True
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)  # for all that have inherited it, too
        return self._epochs.run

    def regain(self) -> None:
        """Be the steward again, after the other has gone. Raises OperatorError `ledger.locked` if it has not."""
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _lent() from None
        with self._turn:
            self._epochs = Epochs(self._folder, self._signer, self._epochs.run)
            self.is_lent = False

    def inherit(self, facts: Mapping[str, Any]) -> list[int]:
        """Settle and seal what processes have left that were not begun here; returns their epochs."""
        with self._turn:
            if self.is_lent or not (dead := self.bereft):
                return []
            if self.unsettled(dead):
                self.open(facts, after=dead).close()
            else:
                for epoch in dead:
                    self.seal(epoch)
            return list(dead)

    def open(
        self, facts: Mapping[str, Any], *, after: Iterable[int] | None = None, subject_key: SubjectKey | None = None
    ) -> Ledger:
        """Begin an epoch, settle in it what dead ones left, and seal those.

        facts: what the first record says of the configuration (at least its digest), for whoever audits the log; after: the dead epochs, if not given
        all that are open, or none where others still write (`inherit` finds those that they leave); subject_key: the keys under which commitments are made.
        """
        if self.is_lent:
            raise _lent()
        if after is None:
            after = () if self.is_heir else self.left_open  # whoever has the lock alone has everything
        dead = tuple(epoch for epoch in after if epoch in self._epochs.open)  # what was sealed meanwhile is whole
        unsettled = self.unsettled(dead)
        log = logs.Log(self._folder, *self._epochs.begin(self._now_ms()))
        self._own.add(log.epoch)
        keys = subject_key or _derived(secret_file(self._state / "commitment.key"))
        seals = Seals(self._folder, self._signer, keys)
        ledger = Ledger(log, seals, self._now_ms, self._answers, lambda is_whole: self._ended(log.epoch, is_whole))
        ledger.begin(facts, unsettled)
        for epoch in dead:
            self.seal(epoch)
        return ledger

    def unsettled(self, epochs: Iterable[int]) -> list[dict[str, Any]]:
        """The last intent of every call that was sent in these epochs and has no end, neither there nor in a later one."""
        found: dict[str, dict[str, Any]] = {}
        dead = tuple(epochs)
        for epoch in dead:
            for record in records_of(self._folder / f"{epoch:08d}.jsonl"):
                if record["kind"] == "intent":
                    found[record["call"]] = record
                elif record["kind"] == "settled":
                    found.pop(record["call"], None)
        later = (path for path in logs.segments(self._folder) if found and int(path.stem) > min(dead))
        for path in later:  # whoever settled them may have died before it could seal
            for line, _ in logs.lines(path):
                if b'"kind":"settled"' in line:
                    found.pop(msgspec.json.decode(line, type=_Settled).call, None)
        return list(found.values())

    def _ended(self, epoch: int, is_whole: bool) -> None:
        if is_whole:
            self.seal(epoch)

    def seal(self, epoch: int) -> None:
        """Say that an epoch is over, and what it came to. Every call of it has its end. Where another process is the steward, it sees that itself.

        What cannot be written now is owed, and comes first the next time: sealed out of order, the end of a call could lie in a sealed epoch
        and its beginning in an open one, and the next start would end it again.
        """
        self._owed.append(epoch)
        if self.is_lent:
            return
        with self._turn, contextlib.suppress(OperatorError, OSError):
            while self._owed:
                self._epochs.seal(self._owed[0], self._now_ms())
                self._owed.pop(0)

    def close(self) -> None:
        """Let the state directory go. Safe to call twice."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


class _Settled(msgspec.Struct):
    call: str


def _lent() -> OperatorError:
    """Two stewards at once would write two parent logs into one file."""
    return OperatorError(
        "Another Freehold is taking this one's place, and has the log.",
        code="ledger.locked",
        hint="It ends by itself: the other one serves in a moment, or gives the log back.",
    )


def records_of(path: Path) -> Iterable[dict[str, Any]]:
    """The records of a segment whose process is dead; half a line at its end is cut off. Raises OperatorError."""
    if path.is_file():
        logs.cut_torn_line(path)
    return (record for record, _ in records_in(path))


def records_in(path: Path) -> Iterable[tuple[dict[str, Any], int]]:
    """The whole records of a segment, which may still be written, each with the offset behind it. Raises OperatorError."""
    if not path.is_file():
        return
    for line, behind in logs.lines(path):
        try:
            yield msgspec.json.decode(line, type=dict[str, Any]), behind
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise OperatorError(
                f"The log {path.name} holds a line that is no record.",
                code="ledger.broken",
                hint="Restore it from a backup; Freehold never rewrites a log.",
            ) from None


def _derived(secret: bytes) -> SubjectKey:
    """Keys of subjects out of one secret, where there is no keyring."""
    return lambda subject: hmac.digest(secret, subject.encode(), "sha256")
