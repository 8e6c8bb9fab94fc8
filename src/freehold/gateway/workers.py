"""Serve with several processes: one port, one supervisor, one ledger.

The supervisor has the state directory and nothing else to do: it forks the workers from what it has prepared, gives each an epoch of the ledger
and a name among the pools, and replaces one that dies. Rules: it never runs an event loop and never starts a thread, because it forks; a worker
that ends in order says so by its status, and every other is taken for dead: its calls are settled in its successor's epoch, and what it had leased
comes down to what it spent. A worker whose supervisor is gone drains and ends.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import uvloop
from prometheus_client import multiprocess

from freehold.gateway.app import assemble, drop_pools
from freehold.gateway.bereaved import inherit
from freehold.gateway.handover import DRAIN_S, Offer, Taken
from freehold.gateway.line import Line, Message
from freehold.gateway.logs import log, log_bug
from freehold.gateway.metrics import share_metrics
from freehold.gateway.preparing import Prepared, open_keys, revise
from freehold.gateway.reloading import (
    LOOK_EVERY_S,
    Reloading,
    Source,
    Watch,
    check_place,
    missing_of,
    refusing,
    spent_in,
    tell_refusal,
)
from freehold.gateway.seats import Seat, Seats
from freehold.gateway.seeding import POOLS, seed_all, seed_beside, settle_pools
from freehold.gateway.world import World
from freehold.kernel.errors import Bug, FreeholdError, OperatorError
from freehold.ledger.ledger import Ledger
from freehold.ledger.sqlite_pools import SqlitePools

ORDERLY, DISORDERLY = 0, 4  # how a worker ends: with every call of its epoch settled, or not
_KILL_AFTER_S = 10.0  # beyond the time that draining may take
_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_YOUNG_S = 1.0
_KEEPER_WAIT_S = 1.0
_ADOPT_S = 20.0  # how long workers may take to serve with another configuration
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)

Keep = Callable[[Line], Awaitable[None]]


class Turn(NamedTuple):
    """When and where a worker begins. is_first: of all; waits: says that it is prepared, and serves when it is told, because another serves yet."""

    is_first: bool
    waits: bool
    seat: Seat


Serve = Callable[
    [World, Reloading, Line, Turn], Awaitable[None]
]  # the world, what reloads it, the line to the supervisor


@dataclass(slots=True)
class _Worker:
    pid: int
    epoch: int
    line: Line
    place: int = -1  # among the seats
    began_s: float = field(default_factory=time.monotonic)
    is_prepared: bool = False  # it would serve, if it were told that it may
    is_told: bool = False
    is_ready: bool = False
    adopted: int = 0  # the last configuration that it was told of and serves with


class Supervisor:
    """Runs `count` workers on these listening sockets until it is told to stop. serve: what each does, a coroutine; keep: what one more child
    does, if there is anything.
    """

    def __init__(
        self,
        prepared: Prepared,
        source: Source,
        sockets: Sequence[socket.socket],
        count: int,
        *,
        serve: Serve,
        keep: Keep | None,
    ) -> None:
        self._prepared, self._source, self._sockets, self._count = prepared, source, sockets, count
        self._serve, self._keep = serve, keep
        self._watch = Watch(source)
        self._look_at = time.monotonic() + LOOK_EVERY_S
        self._asked: list[tuple[_Worker | None, str]] = []  # who asked for the configuration to be read anew
        self._reloads = 0
        self._had_terminal = os.isatty(2)
        self._pools_file = prepared.state / POOLS
        self._taken: Taken | None = None
        self._is_leaving = False
        self._offer: Offer | None = None  # its place, once it has it
        self._inherit_at = 0.0
        self._metrics = prepared.state / "metrics" / str(prepared.steward.run)  # counters go on with the run
        self._seats = Seats(2 * count)  # one that drains keeps its place while another has begun
        self._workers: dict[int, _Worker] = {}
        self._keeper: _Worker | None = None
        self._keeper_due = 0.0
        self._deaths = 0  # in a row, of young workers
        self._due: list[tuple[float, tuple[int, ...]]] = []  # when to replace whom
        self._was_ready = False

    def run(self, taken: Taken | None = None) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit code. taken: what was handed over by the one before, who waits to be told that this one serves."""
        self._taken = taken
        if not self._prepared.steward.is_heir:
            drop_pools(self._prepared.state)
            shutil.rmtree(self._metrics.parent, ignore_errors=True)
        self._metrics.mkdir(exist_ok=True, mode=0o700, parents=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        if self._keep is not None:
            self._keeper = self._fork_keeper()
        first = self._prepared.steward.open(self._prepared.facts)
        self._seed()
        self._fork(first, is_first=True)
        for _ in range(1, self._count):
            self._start(())
        if taken is None:
            self._offer_place()
        while True:
            found = signal.sigtimedwait(_SIGNALS, 0.1)
            number = found.si_signo if found is not None else None
            if number == signal.SIGHUP and (os.isatty(2) or not self._had_terminal):
                self._asked.append((None, "signal"))
            elif number not in (None, signal.SIGCHLD):
                return self._stop()
            self._bury()
            if not self._was_ready and not self._workers:
                log("workers_failed")
                return 1
            self._replace()
            self._hear()
            self._look()
            self._inherit()
            self._let_serve()
            if self._offer is not None and self._offer.is_taken():
                self._is_leaving = True
                return self._stop()

    def _let_serve(self) -> None:
        """Let workers serve that are prepared; where another serves yet, only when all are, and it has been told."""
        if self._taken is not None:
            if sum(worker.is_prepared for worker in self._workers.values()) < self._count:
                return
            self._taken.say_ready()
            self._taken = None
            self._offer_place()
        for worker in self._workers.values():
            if worker.is_prepared and not worker.is_told:
                worker.is_told = worker.line.say({"go": True})

    def _offer_place(self) -> None:
        steward = self._prepared.steward
        try:
            self._offer = Offer(self._prepared.state, self._sockets, steward.lend, steward.regain)
        except OSError as error:  # a full disk, say: it serves, and cannot be taken over
            log("not_offered", reason=type(error).__name__)

    def _seed(self) -> None:
        """Count what was spent before. No connection may go through a fork."""
        with closing(open_keys(self._prepared.state, self._prepared.snapshot.nodes)) as keys:
            if self._prepared.steward.is_heir:
                seed_beside(self._prepared, keys, self._count)
                return
            with closing(SqlitePools(self._pools_file, worker="before", workers=self._count)) as pools:
                seed_all(self._prepared, keys, pools)

    def _start(self, dead: tuple[int, ...]) -> None:
        """Begin an epoch, settle in it what dead ones left, and fork the worker that goes on with it."""
        ledger = self._prepared.steward.open(self._prepared.facts, after=dead)
        try:
            self._fork(ledger)
        except OSError:  # no process is to be had: what was settled in this epoch stays settled
            ledger.close()
            raise

    def _fork(self, ledger: Ledger, *, is_first: bool = False) -> None:
        mine, theirs = socket.socketpair()
        place = self._seats.free({worker.place for worker in self._workers.values()})
        try:
            pid = os.fork()
        except OSError:
            mine.close()
            theirs.close()
            raise
        if pid == 0:
            mine.close()
            self._be_worker(ledger, Line(theirs), Turn(is_first, self._taken is not None, Seat(self._seats, place)))
        theirs.close()
        self._workers[pid] = _Worker(pid, ledger.epoch, Line(mine), place, adopted=self._reloads)
        ledger.leave()
        log("worker", pid=pid, epoch=ledger.epoch)

    def _be_worker(self, ledger: Ledger, line: Line, turn: Turn) -> NoReturn:
        status = DISORDERLY
        try:
            self._be_child()
            share_metrics(self._metrics)
            ends: list[bool] = []
            ledger.when_ended(ends.append)
            ledger.answers.is_shared = True
            world = assemble(
                self._prepared,
                ledger,
                SqlitePools(
                    self._pools_file,
                    worker=str(ledger.epoch),
                    workers=self._count,
                    is_part=self._prepared.snapshot.nodes is not None,
                ),
            )
            _run(self._serve(world, Reloading(world, self._prepared, self._source), line, turn))
            status = ORDERLY if ends == [True] else DISORDERLY
        except FreeholdError as error:
            log("worker_failed", reason=error.code)
        except BaseException as error:  # the border: nothing of the supervisor's may run on in a worker
            log_bug(error)
        finally:
            os._exit(status)

    def _fork_keeper(self) -> _Worker:
        assert self._keep is not None
        mine, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            mine.close()
            try:
                self._be_child()
                self._close_sockets()
                _run(self._keep(Line(theirs)))
            except BaseException as error:  # the border, as above
                log_bug(error)
            finally:
                os._exit(0)
        theirs.close()
        return _Worker(pid, 0, Line(mine))

    def _be_child(self) -> None:
        """Forget the supervisor's signals and its lines to the others."""
        for worker in (*self._workers.values(), *([self._keeper] if self._keeper else [])):
            worker.line.close()
        if self._offer is not None:
            self._offer.close()
        if self._taken is not None:
            self._taken.line.close()  # the one before must see it when this supervisor dies
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor hears it, and says what is to be done
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _close_sockets(self) -> None:
        """Only workers accept: while they drain, whoever calls must be refused and not wait."""
        for sock in self._sockets:
            sock.close()

    def _bury(self) -> None:
        """Note who has died, and when to replace them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                break
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _hear(self) -> None:
        """Take in what the workers say."""
        for worker in self._workers.values():
            for message in worker.line.heard():
                match message:
                    case {"prepared": True}:
                        worker.is_prepared = True
                    case {"ready": True}:
                        worker.is_ready = self._was_ready = True
                    case {"reload": str(by)}:
                        self._asked.append((worker, by))
                    case {"adopted": int(number)}:
                        worker.adopted = number

    def _look(self) -> None:
        """Read the configuration anew if the file has changed, or somebody asked."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY_S
            if self._watch.is_changed() and self._prepared.snapshot.server.watch:
                self._asked.append((None, "file"))
        asked, self._asked = self._asked, []
        for worker, by in asked:
            said = self._reload(by)
            if worker is not None:
                worker.line.say(said)

    def _reload(self, by: str) -> Message:
        """Let all workers serve with what the file says now, or none; returns what is said to whoever asked."""
        before = self._prepared
        try:
            with refusing():
                check_place(before)
                text = self._source.text()
                revised = revise(before, self._source.read(text))
                self._seed_new(before, revised)
        except FreeholdError as error:
            tell_refusal(error, by)
            return _said(error)
        except Exception as bug:  # the border: whatever a file does to its reader, what serves goes on
            log_bug(bug)
            return _said(Bug("The file cannot be read.", code="bug", hint="The log says where it failed."))
        self._prepared = revised
        self._reloads += 1
        for worker in self._workers.values():
            worker.line.say({"adopt": text, "by": by, "number": self._reloads})
        until = time.monotonic() + _ADOPT_S
        while self._late() and time.monotonic() < until:
            select.select([], [], [], 0.01)
            self._bury()
            self._hear()
        for worker in self._late():  # it may not go on under what is no longer in force: another begins in its place
            log("worker_late", pid=worker.pid)
            os.kill(worker.pid, signal.SIGTERM)
        try:
            self._seed_new(before, revised)
        except (OperatorError, OSError, sqlite3.Error) as error:  # what was counted before the swap holds
            log("pools", reason=type(error).__name__)
        log("reloaded", policy=revised.snapshot.digest, by=by)
        return {"reloaded": revised.snapshot.digest, "changed": revised.snapshot.digest != before.snapshot.digest}

    def _late(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.adopted != self._reloads]

    def _seed_new(self, before: Prepared, revised: Prepared) -> None:
        """Count what budgets that are new have spent before. What a worker has not told yet may be counted twice, never not at all."""
        pools = SqlitePools(
            self._pools_file, worker=f"reload {self._reloads} {time.monotonic_ns()}", workers=self._count
        )
        for budget, start_ms, missing in missing_of(pools, before.snapshot, revised, spent_in(revised)):
            pools.report(budget.pool, start_ms, leased=missing, spent=missing)
        pools.close()

    def _ended(self, pid: int, status: int) -> None:
        if self._keeper is not None and pid == self._keeper.pid:
            self._keeper.line.close()
            self._keeper, self._keeper_due = None, time.monotonic() + _KEEPER_WAIT_S
            log("keeper_ended", pid=pid, status=status)
            return
        worker = self._workers.pop(pid, None)
        if worker is None:
            return
        worker.line.close()
        self._seats.leave(worker.place)
        multiprocess.mark_process_dead(pid, str(self._metrics))  # type: ignore[no-untyped-call]
        log("worker_ended", pid=pid, epoch=worker.epoch, status=status)
        try:
            with closing(open_keys(self._prepared.state, self._prepared.snapshot.nodes)) as keys:
                settle_pools(self._prepared, keys, worker.epoch)
        except (
            OperatorError,
            OSError,
            sqlite3.Error,
        ) as error:  # what it had leased stays leased: too little is spent, not too much
            log("pools", epoch=worker.epoch, reason=type(error).__name__)
        dead: tuple[int, ...] = (worker.epoch,)
        if status == ORDERLY:
            self._prepared.steward.seal(worker.epoch)
            dead = ()
        is_young = time.monotonic() - worker.began_s < _YOUNG_S
        self._deaths = self._deaths + 1 if is_young else 0
        self._due.append((time.monotonic() + _BACKOFF_S[min(self._deaths, len(_BACKOFF_S) - 1)], dead))

    def _replace(self) -> None:
        now = time.monotonic()
        if self._keep is not None and self._keeper is None and now >= self._keeper_due:
            self._keeper = self._fork_keeper()
        due = [dead for at, dead in self._due if at <= now]
        self._due = [(at, dead) for at, dead in self._due if at > now]
        for dead in due:
            try:
                self._start(dead)
            except (OperatorError, OSError) as error:  # a full disk, say: the others go on, and it is tried again
                log("worker_delayed", reason=type(error).__name__)
                self._due.append((now + _BACKOFF_S[-1] / 5, dead))

    def _stop(self) -> int:
        """Let every worker drain, and seal what ended in order; the next start settles the rest."""
        log("draining")
        self._close_sockets()
        if self._offer is not None:
            self._offer.close()
        if self._taken is not None:
            self._taken.give_up()
        drain_s = DRAIN_S if self._is_leaving else self._prepared.snapshot.server.drain
        until = time.monotonic() + drain_s + _KILL_AFTER_S
        for pid, worker in self._workers.items():
            if self._is_leaving:
                worker.line.say({"leave": True})
            os.kill(pid, signal.SIGTERM)
        while self._workers and time.monotonic() < until:
            self._collect()
            if self._is_leaving and signal.sigtimedwait((signal.SIGTERM, signal.SIGINT), 0) is not None:
                until = min(until, time.monotonic() + self._prepared.snapshot.server.drain)  # somebody is in a hurry
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        while self._workers:
            self._collect()
        if self._keeper is not None:
            self._keeper.line.close()
            os.kill(self._keeper.pid, signal.SIGTERM)
            os.waitpid(self._keeper.pid, 0)
        log("stopped")
        return 0

    def _collect(self) -> None:
        """Take in one worker that has ended, if there is one within a moment."""
        self._hear()
        for worker, _ in self._asked:
            if worker is not None:
                worker.line.say(_said(OperatorError("This Freehold is ending.", code="takeover.under_way")))
        self._asked = []
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                worker = self._workers.pop(pid)
                if os.waitstatus_to_exitcode(status) == ORDERLY:
                    self._prepared.steward.seal(worker.epoch)
                return
        select.select([], [], [], 0.02)

    def _inherit(self) -> None:
        """Take over what processes have left that were begun by another supervisor."""
        if time.monotonic() < self._inherit_at:
            return
        self._inherit_at = time.monotonic() + LOOK_EVERY_S
        try:
            inherit(self._prepared)
        except (OperatorError, OSError, sqlite3.Error) as error:  # it is tried again in a second
            log("inheriting", reason=type(error).__name__)


def _said(error: FreeholdError) -> Message:
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def _run(work: Awaitable[None]) -> None:
    async def whole() -> None:
        await work

    uvloop.run(whole())
