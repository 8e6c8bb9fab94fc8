"""Run batches: every line once, however often Freehold is killed.

A batch is checked whole before anything of it runs; then so many of its lines are asked at a time; each answer is in a journal, and with the
operating system, before it counts. Who takes a batch up again reads its journals and asks only for what is missing. When all lines have an
answer, or its time is over, or it was cancelled, the journals become its output and its errors, and no line is in neither.
Rules: what Freehold itself refuses for the moment (a rate, a place, a full disk) is asked again; a budget that others of this batch may give back
to is asked again when they have ended; what a provider fails at is asked again a few times. The loop is never kept for more than a moment.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from freehold.content.sealed import Journal, SealedStore
from freehold.jobs import lines
from freehold.jobs.records import ENDED, Batch, File, Records, Status
from freehold.kernel.clock import Clock
from freehold.kernel.errors import CallerError
from freehold.kernel.ids import make_id
from freehold.kernel.units import Tokens
from freehold.wire import strict

AT_ONCE, BATCHES_AT_ONCE = 32, 4
TRIES = 5  # of a line that a provider fails at
LONGEST_LINE = 32 * 1024 * 1024
_MOMENT_S, _LOOK_S, _NOTE_S = 0.002, 0.25, 0.5
_HEAD = struct.Struct(">Q?QQQQ")  # line, whether it is an answer, tokens: input, cached, output, reasoning
_NOT_NOW = ("limits.", "ledger.", "server.", "upstream.busy", "upstream.resting")


class Question(msgspec.Struct, frozen=True):
    """One call of a batch: whose, where to, with what; declared: headers that its caller gave for all."""

    owner: str
    path: str
    body: bytes
    declared: dict[str, str]


class Answer(msgspec.Struct, frozen=True):
    """What became of a call. code: of the error, "" for none; retry_after_s: when it may be asked again; tokens: None if not known."""

    status: int
    body: bytes
    call: str
    code: str = ""
    tokens: Tokens | None = None
    retry_after_s: float | None = None


Ask = Callable[[Question], Awaitable[Answer]]


@dataclass(slots=True)
class _Work:
    """A batch being run."""

    batch: Batch
    done: bytearray  # by line: whether its answer is in a journal
    journal: Journal
    in_flight: set[asyncio.Task[None]] = field(default_factory=set)
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # set whenever a line has ended
    asking: int = 0  # lines that are being asked right now, and do not wait
    failure: OSError | None = None  # an answer could not be written down
    noted_s: float = 0.0


class Runner:
    """Runs the batches of a state directory, as long as `run` is not cancelled. One at a time may; `stop` lets what is under way end first."""

    def __init__(
        self, records: Records, content: SealedStore, ask: Ask, clock: Clock, note: Callable[..., None]
    ) -> None:
        self._records, self._content, self._ask, self._clock, self._note = records, content, ask, clock, note
        self._running: dict[str, asyncio.Task[None]] = {}
        self._is_stopping = False

    async def run(self) -> None:
        """Take up what is open, the oldest first."""
        try:
            while not self._is_stopping:
                for about in self._records.open_batches():
                    if about not in self._running and len(self._running) < BATCHES_AT_ONCE:
                        self._running[about] = asyncio.ensure_future(self._take_up(about))
                await asyncio.sleep(_LOOK_S)
        finally:
            for task in list(self._running.values()):
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def stop(self) -> None:
        """Ask for nothing more, and wait for what is under way."""
        self._is_stopping = True
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _take_up(self, about: str) -> None:
        try:
            batch = self._records.batch(about)
            if batch is not None and batch.status not in ENDED:
                await self._work_on(batch)
        finally:
            del self._running[about]

    async def _work_on(self, batch: Batch) -> None:
        try:
            if batch.status == "validating":
                await self._check(batch)
            if batch.status not in ENDED:
                await self._go_on(batch)
        except CallerError as error:  # its input, or what was answered so far, is gone: erased, or over its time
            self._fail(batch, [lines.Fault(error.code, None, error.message)])
        except OSError as error:  # a full disk, say: everything is where it was, and is taken up again
            self._note("batch", batch=batch.id, reason=type(error).__name__)
            await asyncio.sleep(1.0)

    # --- before ---------------------------------------------------------------------------------------------------

    async def _check(self, batch: Batch) -> None:
        """Look at every line; one that is wrong is named, and nothing of the batch runs."""
        checker = lines.Checker(batch.endpoint)
        async for number, raw in self._input(batch):
            checker.take(number, raw)
        faults = await asyncio.to_thread(checker.faults)
        if faults:
            self._fail(batch, faults)
            return
        batch.total, batch.model = checker.total, checker.model
        self._to(batch, "in_progress")

    async def _input(self, batch: Batch) -> AsyncIterator[tuple[int, bytes]]:
        """The lines of the input, with pauses for whoever else has something to do."""
        file = self._records.file(batch.input_file, batch.owner, self._clock.now_s())
        if file is None:
            raise CallerError("The input file is not there (any more).", code="batch.no_input", status=404)
        async for found in _gently(lines.split(self._content.read(file.content, self._clock.now_ms()), LONGEST_LINE)):
            yield found

    def _fail(self, batch: Batch, faults: list[lines.Fault]) -> None:
        batch.faults, batch.total, batch.completed, batch.failed = faults, 0, 0, 0
        segments = self._records.segments(batch.id)
        self._to(batch, "failed")
        for about in segments:
            self._content.drop(about)

    def _to(self, batch: Batch, status: Status, new: list[File] | None = None) -> None:
        batch.status, batch.times = status, {**batch.times, status: int(self._clock.now_s())}
        self._records.put(batch, new or [])
        self._note("batch", batch=batch.id, status=batch.status, lines=batch.total)

    # --- while ----------------------------------------------------------------------------------------------------

    async def _go_on(self, batch: Batch) -> None:
        work = await self._work(batch)
        try:
            await self._feed(work)
            why = "" if all(work.done[1:]) else self._why_stop(work)
            if not why and not all(work.done[1:]):
                self._keep_count(work)
                return  # it is being stopped, and goes on when it is taken up again
        finally:
            for task in work.in_flight:
                task.cancel()
            await asyncio.gather(*work.in_flight, return_exceptions=True)
            work.journal.close()
        await self._finish(work, why)

    async def _work(self, batch: Batch) -> _Work:
        """What was answered already, and a new journal for what is to come."""
        batch.completed = batch.failed = 0
        batch.tokens = (0, 0, 0, 0)
        journal = self._content.begin_journal(batch.owner, "batch results", until_ms=self._until_ms(batch))
        work = _Work(batch, bytearray(batch.total + 1), journal)
        async for number, is_answer, tokens, _ in _gently(self._answered(batch)):
            _count(work, number, is_answer, tokens)
        self._records.add_segment(batch.id, journal.about)
        return work

    def _answered(self, batch: Batch) -> Iterator[tuple[int, bool, tuple[int, ...], bytes]]:
        """What stands in the journals: the line's place, whether it is an answer, its tokens, and what is written of it."""
        for about in self._records.segments(batch.id):
            for record in self._content.records(about, self._clock.now_ms()):
                number, is_answer, *tokens = _HEAD.unpack_from(record)
                yield number, is_answer, tuple(tokens), record[_HEAD.size :]

    def _until_ms(self, batch: Batch) -> int:
        return (batch.expires_s + batch.lifetime_s) * 1000

    async def _feed(self, work: _Work) -> None:
        """Ask for every line that has no answer, so many at once, until there is a reason to stop."""
        batch, place = work.batch, 0
        async for _, raw in self._input(batch):
            place += 1
            if place >= len(work.done) or work.done[place]:
                continue
            while len(work.in_flight) >= AT_ONCE:
                await self._wait(work)
            if self._is_stopping or self._why_stop(work):
                break
            task = asyncio.ensure_future(self._line(work, place, raw))
            work.in_flight.add(task)
            task.add_done_callback(work.in_flight.discard)
        while work.in_flight:
            await self._wait(work)

    async def _wait(self, work: _Work) -> None:
        await asyncio.wait(work.in_flight, timeout=_NOTE_S, return_when=asyncio.FIRST_COMPLETED)
        if work.failure is not None:
            raise work.failure
        if time.monotonic() - work.noted_s > _NOTE_S:
            self._keep_count(work)

    def _keep_count(self, work: _Work) -> None:
        """Let others see how far it is."""
        work.noted_s = time.monotonic()
        self._records.put(work.batch)

    def _why_stop(self, work: _Work) -> str:
        if work.batch.status == "cancelling":
            return "cancelled"
        return "expired" if self._clock.now_s() >= work.batch.expires_s else ""

    async def _line(self, work: _Work, place: int, raw: bytes) -> None:
        """Ask until there is an answer, and write it down."""
        line = lines.read(0, raw, work.batch.endpoint)
        question = Question(work.batch.owner, work.batch.endpoint, strict.encode(line.body), work.batch.declared)
        for tries in itertools.count():
            work.asking += 1
            try:
                answer = await self._ask(question)
            finally:
                work.asking -= 1
            wait_s = self._wait_for(work, answer, tries)
            if wait_s is None or self._clock.now_s() + wait_s >= work.batch.expires_s:
                break
            work.ended.clear()
            if self._is_stopping or self._why_stop(work):
                return  # it is asked again when the batch is taken up, or said to be cancelled
            try:
                async with asyncio.timeout(wait_s):
                    await (work.ended.wait() if answer.code == "budget.exhausted" else asyncio.sleep(wait_s))
            except TimeoutError:
                continue
        is_answer, tokens = answer.status == 200, answer.tokens or Tokens()
        counted = (tokens.prompt, tokens.cache_read, tokens.completion, tokens.reasoning)
        written = lines.answered(line.custom_id, answer.status, answer.call, answer.body)
        try:
            work.journal.append(_HEAD.pack(place, is_answer, *counted) + written)
        except OSError as error:
            work.failure = error
            return
        _count(work, place, is_answer, counted)
        work.ended.set()

    def _wait_for(self, work: _Work, answer: Answer, tries: int) -> float | None:
        """How long to wait before a line is asked again; None if its answer is final."""
        if answer.status == 200:
            return None
        if answer.code == "budget.exhausted":  # others hold money that they may not need
            return 30.0 if work.asking else None
        pause = min(2.0 ** min(tries, 6), 60.0) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        if answer.code.startswith(_NOT_NOW):
            return max(answer.retry_after_s or 0.0, min(pause, 5.0))
        if (answer.status >= 500 or answer.status in (408, 429)) and tries + 1 < TRIES:
            return max(answer.retry_after_s or 0.0, pause)
        return None

    # --- after ----------------------------------------------------------------------------------------------------

    async def _finish(self, work: _Work, why: str) -> None:
        """Make the output and the errors out of the journals; what was never asked is an error that says why."""
        batch = work.batch
        if not why:
            self._to(batch, "finalizing")
        files = [await self._gathered(work, why, is_output) for is_output in (True, False)]
        new = [file for file in files if file is not None]
        batch.output_file, batch.error_file = (file.id if file is not None else None for file in files)
        segments = self._records.segments(batch.id)
        self._to(batch, {"": "completed", "cancelled": "cancelled", "expired": "expired"}[why], new)  # type: ignore[arg-type]  # the three that there are
        for about in segments:
            self._content.drop(about)

    async def _gathered(self, work: _Work, why: str, is_output: bool) -> File | None:
        batch, now_s = work.batch, int(self._clock.now_s())
        until_s = now_s + batch.lifetime_s
        writer = self._content.begin(batch.owner, "file", until_ms=until_s * 1000)
        try:
            async for _, is_answer, _, written in _gently(self._answered(batch)):
                if is_answer is is_output:
                    writer.write(written + b"\n")
            if why and not is_output:
                await self._write_unasked(work, why, writer.write)
            if not writer.size:
                writer.abort()
                return None
            content = await asyncio.to_thread(writer.commit)
        except BaseException:
            writer.abort()
            raise
        kind = "output" if is_output else "error"
        about = make_id("file", self._clock.now_ms()).replace("_", "-")
        return File(
            about, batch.owner, "batch_output", f"{batch.id}_{kind}.jsonl", writer.size, now_s, until_s, content
        )

    async def _write_unasked(self, work: _Work, why: str, write: Callable[[bytes], None]) -> None:
        place = 0
        async for _, raw in self._input(work.batch):
            place += 1
            if place < len(work.done) and not work.done[place]:
                custom_id = lines.read(0, raw, work.batch.endpoint).custom_id
                write(lines.not_run(custom_id, f"batch_{why}", _UNASKED[why]) + b"\n")


T = TypeVar("T")


async def _gently(found: Iterable[T]) -> AsyncIterator[T]:
    """The same, with pauses for whoever else has something to do."""
    until = time.monotonic() + _MOMENT_S
    for one in found:
        yield one
        if time.monotonic() > until:
            await asyncio.sleep(0)
            until = time.monotonic() + _MOMENT_S


_UNASKED = {
    "cancelled": "This request was not executed because the batch was cancelled.",
    "expired": "This request could not be executed before the completion window expired.",
}


def _count(work: _Work, place: int, is_answer: bool, tokens: tuple[int, ...]) -> None:
    if place < len(work.done) and not work.done[place]:
        work.done[place] = 1
        batch = work.batch
        batch.completed, batch.failed = batch.completed + is_answer, batch.failed + (not is_answer)
        batch.tokens = tuple(before + more for before, more in zip(batch.tokens, tokens, strict=True))
