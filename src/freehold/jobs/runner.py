"""Run batches: every line is answered once, however often Freehold is killed.

A batch is checked whole before anything of it runs; then so many of its lines are asked at a time; each answer is in a journal, and with the
operating system, before it counts. Who takes a batch up again reads its journals and asks only for what is missing. When all lines have an
answer, or its time is over, or it was cancelled, the journals become its output and its errors, and no line is in neither.
Rules: what Freehold itself refuses for the moment (a rate, a place, a full disk) is asked again; a budget that others of this batch may give back
to is asked again when they have ended; what a provider fails at is asked again a few times. The loop is never kept for more than a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from freehold.content.sealed import Journal, SealedStore, Writer
from freehold.jobs import lines
from freehold.jobs import parcels as posted
from freehold.jobs.clearing import Clearing
from freehold.jobs.parcels import Parcel, Parcels, Post
from freehold.jobs.questions import Answer, Ask, Question
from freehold.jobs.records import ENDED, Batch, File, Lying, Records, Status
from freehold.kernel.clock import Clock
from freehold.kernel.errors import CallerError
from freehold.kernel.ids import make_id
from freehold.kernel.units import Tokens
from freehold.wire import strict

AT_ONCE, MOST_BYTES = 32, 64 * 1024 * 1024  # of one batch, under way
BATCHES_AT_ONCE, OF_ONE_OWNER = 64, 2  # that have something to ask
_RESTING_TOO = 512  # with those that only wait
TRIES = 5  # of a line that a provider fails at
_MOMENT_S, _LOOK_S, _NOTE_S, _AGAIN_S = 0.002, 0.25, 0.5, 1.0
_HEAD = struct.Struct(
    ">Q?QQQQ"
)  # line (0: what is said of a parcel), whether it is an answer, tokens: input, cached, output, reasoning
_POSTS = 2.9  # parcels of one batch of which nothing may come, until its lines are asked one by one
_LONGEST_REST_S = 60.0
_REST = 20  # times as long as it takes to go through the lines, until that is done again for some that came back
_NOT_NOW = ("limits.", "ledger.", "server.", "upstream.busy", "upstream.resting")


@dataclass(slots=True)
class _Work:
    """A batch being run."""

    batch: Batch
    generation: bytes | None  # of its owner's key
    done: bytearray  # by line: whether its answer is in a journal
    journal: Journal | None = None
    in_flight: set[asyncio.Task[None]] = field(default_factory=set)
    bytes: int = 0  # of lines under way
    width: float = AT_ONCE  # how many lines are asked at once: fewer where providers are busy
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # set whenever a line has ended
    asking: int = 0  # lines that are being asked right now, and do not wait
    failure: BaseException | None = None  # an answer could not be written down
    noted_s: float = 0.0
    counted: tuple[int, int, int] = (-1, -1, -1)  # as others know it
    poor: set[str] = field(default_factory=set)  # models whose lines wait for money that is out
    waited_s: float = 0.0  # for lines to end, while lines were gone through
    parcels: Parcels | None = None


class _Desk:
    """What a batch's work lets its parcels do."""

    def __init__(self, runner: Runner, work: _Work) -> None:
        self._runner, self._work = runner, work

    def note(self, record: bytes) -> None:
        self._runner.write_down(self._work, _HEAD.pack(0, False, 0, 0, 0, 0) + record)

    def written(self, place: int, name: str, answer: Answer) -> None:
        self._runner.keep(self._work, place, name, answer)

    def leaves(self, parcel: Parcel) -> None:
        records, now_s = self._runner.records, int(self._runner.clock.now_s())
        records.lay(Lying(parcel.parcel, self._work.batch.id, parcel.way, parcel.about or "", now_s))

    async def is_done(self, parcel: Parcel) -> None:
        if self._work.journal is not None:
            await asyncio.to_thread(self._work.journal.sync)
        self._runner.records.done(parcel.parcel)

    def is_owned(self) -> bool:
        return self._runner.is_owned(self._work)

    def may_leave(self) -> bool:
        return self._runner.may_leave(self._work)

    def why_stop(self) -> str:
        return self._runner.why_stop(self._work)

    def is_stopping(self) -> bool:
        return self._runner.is_stopping

    def left_s(self) -> float:
        """Parcels may be out for three quarters of the window; what they do not answer is asked one by one."""
        return self._runner.until_s(self._work.batch, 0.75) - self._runner.clock.now_s()


class Runner:
    """Runs the batches of a state directory, as long as `run` is not cancelled. One at a time may; `stop` lets what is under way end first.

    longest_line: in bytes; note: told of what happens, in names and numbers.
    """

    def __init__(
        self,
        records: Records,
        content: SealedStore,
        ask: Ask,
        *,
        clock: Clock,
        longest_line: int,
        note: Callable[..., None],
    ) -> None:
        self.records, self._content, self._ask, self.clock = records, content, ask, clock
        self._post: Post | None = None
        self._clearing: Clearing | None = None
        self._longest_line, self._note = longest_line, note
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}  # batch → its owner, and the work
        self._resting: set[str] = set()  # batches that wait for their parcels alone
        self.is_stopping = False

    def post_with(self, post: Post) -> None:
        """Hand lines in at providers' own batch endpoints too."""
        self._post = post
        self._clearing = Clearing(self.records, post, self.clock, self._note)

    async def run(self) -> None:
        """Take up what is open: the oldest first, but so many of one owner at a time, so that nobody holds up everybody."""
        try:
            while not self.is_stopping:
                try:
                    self._take_up_more()
                    if self._clearing is not None:
                        self._clearing.step()
                except Exception as error:  # the border: a database that fails now may not in a second
                    self._note("batches", reason=type(error).__name__)
                    await asyncio.sleep(_AGAIN_S)
                await asyncio.sleep(_LOOK_S)
            await self.stop()
        finally:
            tasks = [task for _, task in self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._clearing is not None:
                await self._clearing.close()

    def _take_up_more(self) -> None:
        owners = Counter(owner for about, (owner, _) in self._running.items() if about not in self._resting)
        for about in self.records.open_batches():
            busy = len(self._running) - len(self._resting)
            if about in self._running or busy >= BATCHES_AT_ONCE or len(self._running) >= _RESTING_TOO:
                continue
            batch = self.records.batch(about)
            if batch is not None and owners[batch.owner] < OF_ONE_OWNER:
                owners[batch.owner] += 1
                self._running[about] = batch.owner, asyncio.ensure_future(self._work_on(batch))

    async def stop(self) -> None:
        """Ask for nothing more, and wait for what is under way."""
        self.is_stopping = True
        await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)

    async def _work_on(self, batch: Batch) -> None:
        try:
            if batch.status == "validating":
                await self._check(batch)
            if batch.status not in ENDED:
                await self._go_on(batch)
        except CallerError as error:  # its input, or what was answered so far, is gone: erased, or damaged
            await self._fail(batch, [lines.Fault(error.code, None, error.message)])
        except Exception as error:  # the border: a full disk, say; everything is where it was, and is taken up again
            self._note("batch", batch=batch.id, reason=type(error).__name__)
            await asyncio.sleep(_AGAIN_S)
        finally:
            del self._running[batch.id]

    # --- before ---------------------------------------------------------------------------------------------------

    async def _check(self, batch: Batch) -> None:
        """Look at every line; one that is wrong is named, and nothing of the batch runs."""
        checker = lines.Checker(batch.endpoint, self._longest_line)
        async for number, raw in self._input(batch):
            checker.take(number, raw)
        faults = await asyncio.to_thread(checker.faults)
        if faults:
            await self._fail(batch, faults)
            return
        batch.total, batch.model = checker.total, checker.model
        self._to(batch, "in_progress")

    async def _input(self, batch: Batch) -> AsyncIterator[tuple[int, bytes]]:
        """The lines of the input, with pauses for whoever else has something to do."""
        splitter, pause = lines.Splitter(self._longest_line), _Pause()
        for chunk in self._content.read(batch.content, self.clock.now_ms()):
            for found in splitter.feed(chunk):
                yield found
                await pause.if_due()
            await pause.if_due()
        for found in splitter.close():
            yield found

    async def _fail(self, batch: Batch, faults: list[lines.Fault]) -> None:
        """End a batch that cannot go on. What was answered so far is given out, if it can be read."""
        batch.faults, files = faults, []
        segments = self.records.segments(batch.id)
        if segments:
            with contextlib.suppress(CallerError):
                files = [await self._gathered(batch, is_output=is_output) for is_output in (True, False)]
        new = [file for file in files if file is not None]
        batch.output_file, batch.error_file = (file.id if file is not None else None for file in files or (None, None))
        self._end(batch, "failed", new)

    def _end(self, batch: Batch, status: Status, new: list[File]) -> None:
        """A batch is over: its journals are in its files now, and its input is only needed by its owner."""
        segments = self.records.segments(batch.id)
        self._to(batch, status, new)
        for about in segments:
            self._content.drop(about)
        if not self.records.has_file_of(batch):
            self._content.drop(batch.content)

    def _to(self, batch: Batch, status: Status, new: list[File] | None = None) -> None:
        batch.status, batch.times = status, {**batch.times, status: int(self.clock.now_s())}
        self.records.put(batch, new or [])
        self._note("batch", batch=batch.id, status=batch.status, lines=batch.total)

    # --- while ----------------------------------------------------------------------------------------------------

    async def _go_on(self, batch: Batch) -> None:
        work = await self._work(batch)
        try:
            await self._ask_all(work)
            why = "" if all(work.done[1:]) else self.why_stop(work)
            if not why and not all(work.done[1:]):
                self._keep_count(work)
                return  # it is being stopped, and goes on when it is taken up again
        finally:
            for task in work.in_flight:
                task.cancel()
            await asyncio.gather(*work.in_flight, return_exceptions=True)
            if work.parcels is not None:
                await work.parcels.leave()
            if work.journal is not None:
                work.journal.close()
        await self._finish(work, why)

    async def _ask_all(self, work: _Work) -> None:
        """Ask for every line, and again for those that came back from a parcel without an answer, until there is a reason to stop."""
        while True:
            began_s, parcels = time.monotonic(), work.parcels
            turns = parcels.turns if parcels is not None else 0
            work.waited_s = 0.0
            work.poor.clear()
            await self._feed(work)
            if parcels is None:
                return
            if self.is_stopping or self.why_stop(work):
                parcels.let_go()
            parcels.hand_in_rest()
            took_s = time.monotonic() - began_s - work.waited_s
            again_s = time.monotonic() + min(_AGAIN_S + _REST * took_s, _LONGEST_REST_S)
            self._resting.add(work.batch.id)
            try:
                while parcels.are_out and not self.is_stopping:
                    await parcels.wait(_NOTE_S)
                    self._keep_count(work)
                    self._check_owner(work)
                    if self.why_stop(work):
                        parcels.let_go()
                    elif parcels.is_full and not self.may_leave(work):
                        parcels.let_go()  # there is no room for them any more while there is time
                        break
                    elif time.monotonic() > again_s and _are_missing(work) and parcels.turns > turns:
                        break
            finally:
                self._resting.discard(work.batch.id)
            if self.is_stopping or (not parcels.are_out and (self.why_stop(work) or all(work.done[1:]))):
                return

    async def _work(self, batch: Batch) -> _Work:
        """What was answered already, and what is out."""
        batch.completed = batch.failed = 0
        batch.tokens = (0, 0, 0, 0)
        work, pause = _Work(batch, self._content.generation(batch.owner), bytearray(batch.total + 1)), _Pause()
        lying = {one.name: one.about for one in self.records.lying(batch.id) if not one.is_done}
        known: dict[str, Parcel] = {}
        for number, is_answer, tokens, written in self._written(batch):
            if number:
                _count(work, number, is_answer, tokens)
            else:
                posted.fold(known, written, lying)
            await pause.if_due()
        if self._post is not None:
            for name in lying.keys() - known.keys():
                self.records.done(name)  # it is over; what its journal says of it may have been lost with the power
            work.parcels = Parcels(self._post, _Desk(self, work), known.values(), tell=self._note)
        return work

    def write_down(self, work: _Work, record: bytes) -> None:
        """Bring an answer into the journal of this life of the batch. Raises OSError."""
        if work.journal is None:
            until_ms = (work.batch.expires_s + work.batch.lifetime_s) * 1000
            work.journal = self._content.begin_journal(work.batch.owner, "batch results", until_ms=until_ms)
            self.records.add_segment(work.batch.id, work.journal.about)
        work.journal.append(record)

    def _answered(self, batch: Batch) -> Iterator[tuple[int, bool, tuple[int, ...], bytes]]:
        """Every line that has its answer; one that is there twice, once."""
        seen = bytearray(batch.total + 1)
        for found in self._written(batch):
            if 0 < found[0] < len(seen) and not seen[found[0]]:
                seen[found[0]] = 1
                yield found

    def _written(self, batch: Batch) -> Iterator[tuple[int, bool, tuple[int, ...], bytes]]:
        """What stands in the journals: the line's place (0: what is said of a parcel), whether it is an answer, its tokens, and what is written of it."""
        for about in self.records.segments(batch.id):
            for record in self._content.records(about, self.clock.now_ms()):
                number, is_answer, *tokens = _HEAD.unpack_from(record)
                yield number, is_answer, tuple(tokens), record[_HEAD.size :]

    async def _feed(self, work: _Work) -> None:
        """Ask for every line that has no answer, so many at once, until there is a reason to stop."""
        batch, place = work.batch, 0
        async for _, raw in self._input(batch):
            place += 1
            if (
                place >= len(work.done)
                or work.done[place]
                or (work.parcels is not None and _waits(work.parcels, place))
            ):
                continue
            while work.in_flight and (len(work.in_flight) >= int(work.width) or work.bytes + len(raw) > MOST_BYTES):
                await self._wait(work)
            self._check_owner(work)
            if self.is_stopping or self.why_stop(work):
                break
            task = asyncio.ensure_future(self._line(work, place, raw))
            work.in_flight.add(task)
            task.add_done_callback(work.in_flight.discard)
        while work.in_flight:
            await self._wait(work)

    def is_owned(self, work: _Work) -> bool:
        """Whether the key that the batch is for was not erased since."""
        return self._content.generation(work.batch.owner) == work.generation

    def _check_owner(self, work: _Work) -> None:
        if not self.is_owned(work):
            raise CallerError("The key of this batch was erased.", code="content.gone", status=404)

    async def _wait(self, work: _Work) -> None:
        began_s = time.monotonic()
        await asyncio.wait(work.in_flight, timeout=_NOTE_S, return_when=asyncio.FIRST_COMPLETED)
        work.waited_s += time.monotonic() - began_s
        if work.failure is not None:
            raise work.failure
        if time.monotonic() - work.noted_s > _NOTE_S:
            self._keep_count(work)
            self._check_owner(work)

    def _keep_count(self, work: _Work) -> None:
        """Let others see how far it is."""
        work.noted_s, batch = time.monotonic(), work.batch
        batch.handed_in = len(work.parcels.out) if work.parcels is not None else 0
        counts = (batch.completed, batch.failed, batch.handed_in)
        known = self.records.batch(batch.id)
        if counts != work.counted or (known is not None and known.status != batch.status):
            self.records.put(batch)
            work.counted = counts

    def why_stop(self, work: _Work) -> str:
        if work.batch.status == "cancelling":
            return "cancelled"
        return "expired" if self.clock.now_s() >= work.batch.expires_s else ""

    async def _line(self, work: _Work, place: int, raw: bytes) -> None:
        """Ask until there is an answer, and write it down."""
        work.bytes += len(raw)
        try:
            await self._answer(work, place, lines.read(0, raw, work.batch.endpoint, self._longest_line))
        except Exception as error:  # the border: the work ends, and the batch is taken up again
            work.failure = error
        finally:
            work.bytes -= len(raw)
            work.ended.set()

    async def _answer(self, work: _Work, place: int, line: lines.Line) -> None:
        body, model = strict.encode(line.body), str(line.body.get("model"))
        if model in work.poor:
            return
        question = Question(
            work.batch.owner, work.batch.endpoint, body, work.batch.declared, self._may_post(work, place)
        )
        for tries in itertools.count():
            work.asking += 1
            try:
                answer = await self._ask(question)
            finally:
                work.asking -= 1
            if answer.aside is not None and work.parcels is not None:
                work.parcels.add(place, line.custom_id, len(body), answer)
                return
            if (
                answer.code == "budget.exhausted"
                and not work.asking
                and work.parcels is not None
                and work.parcels.hold_money
            ):
                work.poor.add(model)  # they are asked again when a parcel is over
                return
            wait_s = self._wait_for(work, answer, tries)
            if wait_s is None or self.clock.now_s() + wait_s >= work.batch.expires_s:
                break
            work.ended.clear()
            if self.is_stopping or self.why_stop(work):
                return  # it is asked again when the batch is taken up, or said to be cancelled
            try:
                async with asyncio.timeout(wait_s):
                    await (work.ended.wait() if answer.code == "budget.exhausted" else asyncio.sleep(wait_s))
            except TimeoutError:
                continue
        self.keep(work, place, line.custom_id, answer)
        work.width = min(AT_ONCE, work.width + 1 / work.width)

    def keep(self, work: _Work, place: int, custom_id: str, answer: Answer) -> None:
        """Write a line's answer down, and count it. Raises OSError."""
        is_answer, tokens = answer.status == 200, answer.tokens or Tokens()
        counted = (tokens.prompt, tokens.cache_read, tokens.completion, tokens.reasoning)
        written = lines.answered(custom_id, answer.status, answer.call, answer.body)
        self.write_down(work, _HEAD.pack(place, is_answer, *counted) + written)
        _count(work, place, is_answer, counted)

    def until_s(self, batch: Batch, share: float) -> float:
        """When a share of a batch's window is over."""
        return batch.created_s + (batch.expires_s - batch.created_s) * share

    def may_leave(self, work: _Work) -> bool:
        """Lines are handed in together in the first half of the window."""
        return self.clock.now_s() < self.until_s(work.batch, 0.5)

    def _may_post(self, work: _Work, place: int) -> bool:
        """Lines are handed in together while there is time, unless nothing came of it a few times."""
        parcels = work.parcels
        if parcels is None or parcels.failures >= _POSTS or place in parcels.alone:
            return False
        return self.may_leave(work)

    def _wait_for(self, work: _Work, answer: Answer, tries: int) -> float | None:
        """How long to wait before a line is asked again; None if its answer is final."""
        if answer.status == 200:
            return None
        if answer.code == "budget.exhausted":  # others hold money that they may not need
            return 30.0 if work.asking else None
        pause = min(2.0 ** min(tries, 6), 60.0) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        if answer.code.startswith(_NOT_NOW):
            work.width = max(1.0, work.width / 2)
            return max(answer.retry_after_s or 0.0, min(pause, 5.0))
        if (answer.status >= 500 or answer.status in (408, 429)) and tries + 1 < TRIES:
            return max(answer.retry_after_s or 0.0, pause)
        return None

    # --- after ----------------------------------------------------------------------------------------------------

    async def _finish(self, work: _Work, why: str) -> None:
        """Make the output and the errors out of the journals; what was never asked is an error that says why."""
        batch = work.batch
        batch.handed_in = 0
        if not why:
            self._to(batch, "finalizing")
        files = [
            await self._gathered(batch),
            await self._gathered(batch, is_output=False, unasked=work.done if why else b"", why=why),
        ]
        new = [file for file in files if file is not None]
        batch.output_file, batch.error_file = (file.id if file is not None else None for file in files)
        self._end(batch, _ENDS[why], new)

    async def _gathered(
        self, batch: Batch, *, is_output: bool = True, unasked: bytes | bytearray = b"", why: str = ""
    ) -> File | None:
        """The file of all answers, or of all errors; None if there are none. unasked: by line, 0 for one that was never asked; why: why not."""
        now_s, pause = int(self.clock.now_s()), _Pause()
        until_s = now_s + batch.lifetime_s
        writer = self._content.begin(batch.owner, "file", until_ms=until_s * 1000)
        try:
            for _, is_answer, _, written in self._answered(batch):
                if is_answer is is_output:
                    writer.write(written + b"\n")
                await pause.if_due()
            if unasked:
                await self._write_unasked(batch, unasked, why, writer)
            if not writer.size:
                writer.abort()
                return None
            writer.end()
            await asyncio.to_thread(writer.sync)
            content = writer.name_it()
        except BaseException:
            writer.abort()
            raise
        kind = "output" if is_output else "error"
        about = make_id("file", self.clock.now_ms()).replace("_", "-")
        return File(
            about, batch.owner, "batch_output", f"{batch.id}_{kind}.jsonl", writer.size, now_s, until_s, content
        )

    async def _write_unasked(self, batch: Batch, done: bytes | bytearray, why: str, writer: Writer) -> None:
        place = 0
        async for _, raw in self._input(batch):
            place += 1
            if place < len(done) and not done[place]:
                custom_id = lines.read(0, raw, batch.endpoint, self._longest_line).custom_id
                writer.write(lines.not_run(custom_id, f"batch_{why}", _UNASKED[why]) + b"\n")


class _Pause:
    """Lets others run whenever this has gone on for a moment."""

    def __init__(self) -> None:
        self._until = time.monotonic() + _MOMENT_S

    async def if_due(self) -> None:
        if time.monotonic() > self._until:
            await asyncio.sleep(0)
            self._until = time.monotonic() + _MOMENT_S


_ENDS: dict[str, Status] = {"": "completed", "cancelled": "cancelled", "expired": "expired"}
_UNASKED = {
    "cancelled": "This request was not executed because the batch was cancelled.",
    "expired": "This request could not be executed before the completion window expired.",
}


def _waits(parcels: Parcels, place: int) -> bool:
    """Whether a line is out, or would have to wait for room with others."""
    return place in parcels.out or (parcels.is_full and place not in parcels.alone)


def _are_missing(work: _Work) -> bool:
    """Whether there are lines without an answer that are not out either."""
    batch, parcels = work.batch, work.parcels
    return parcels is not None and batch.total - batch.completed - batch.failed > len(parcels.out)


def _count(work: _Work, place: int, is_answer: bool, tokens: tuple[int, ...]) -> None:
    if place < len(work.done) and not work.done[place]:
        work.done[place] = 1
        batch = work.batch
        batch.completed, batch.failed = batch.completed + is_answer, batch.failed + (not is_answer)
        batch.tokens = tuple(before + more for before, more in zip(batch.tokens, tokens, strict=True))
