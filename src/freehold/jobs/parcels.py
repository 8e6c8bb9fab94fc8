"""Lines that are handed in together at a provider's own batch endpoint: gathered, handed in, seen through, opened.

Rules: what is handed in stands in the batch's journal before it is, and among what lies at providers just before it leaves, so that whoever goes on
after a crash neither hands it in twice nor forgets it; each answer is in the journal before it counts; a line that came back without an answer is
asked again. Whatever becomes of one parcel, the batch goes on: its lines are asked one by one in the end.
What it does not know: where a parcel goes and what it costs: it is handed somebody who does.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from freehold.jobs.questions import Answer
from freehold.kernel.errors import FreeholdError, OperatorError, UpstreamError
from freehold.kernel.progress import Progress

AT_ONCE, MOST_BYTES = 16, 64 << 20  # parcels of one batch that are out, and what is kept in memory of them
_FIRST_LOOK_S, _LONGEST_LOOK_S, _PATIENCE_S, _SLICE_S = 0.5, 60.0, 1_200.0, 0.25
_SEEK_AGAIN_S = (2.0, 8.0, 20.0, 30.0)  # so long may a provider still be taking what it does not list yet
_LONGEST_SEEK_S, _SEEK_PAUSE_S = 3_600.0, 5.0
_READS = 3  # how often results are not understood, until they are given up
_GONE_S, _PASSING_S, _LEAVING_S = (
    300.0,
    3_600.0,
    10.0,
)  # how long what is not found, and other trouble, may pass; and when this has to end
_LONGEST_NAP_S, _BUSY_NAP_S = 30.0, 900.0  # after a parcel that was not taken
_SHARE = 8  # what is refused as it is goes again in so many parts
_REFUSED, _BUSY = frozenset({400, 413, 422}), frozenset({429, 503, 529})


class Described(NamedTuple):
    """A parcel before anything of it is under way. sent: what must be known of each line to open its answer."""

    parcel: str
    way: str
    sent: list[bytes]


class Packed(NamedTuple):
    """What is handed in. parts: by line, None for one that was refused; short: those of them that only lack money."""

    parts: list[Any]
    short: set[int]


class Seen(NamedTuple):
    """What came of the line in this place of its parcel. answer: None: nothing, so that it has to be asked again; place: None if that cannot be told."""

    place: int | None
    answer: Answer | None


class Post(Protocol):
    """Who hands parcels in; see `gateway.posting.Post`. Each may raise FreeholdError."""

    def most(self, way: str) -> tuple[int, int]: ...
    def is_current(self, way: str, run: Any) -> bool: ...
    async def describe(self, way: str, runs: Sequence[Any]) -> Described: ...
    async def pack(self, runs: Sequence[Any]) -> Packed: ...
    async def hand_in(self, parcel: Described, packed: Packed, runs: Sequence[Any]) -> str: ...
    async def find(self, way: str, parcel: str) -> str | None: ...
    async def clear(self, way: str, parcel: str) -> None: ...
    def finds(self, way: str) -> bool: ...
    async def look(self, way: str, about: str) -> Progress: ...
    async def cancel(self, way: str, about: str) -> None: ...
    async def drop(self, way: str, about: str, progress: Progress) -> None: ...
    async def recall(self, parcel: str, sent: Sequence[bytes]) -> None: ...
    async def settled(self) -> None: ...
    def forget(self, parcel: str) -> None: ...
    def open(
        self, way: str, parcel: str, about: str, progress: Progress, sent: Sequence[bytes]
    ) -> AsyncIterator[Seen]: ...
    def void(self, parcel: str, sent: bytes) -> None: ...
    def let_go(self, runs: Sequence[Any]) -> None: ...


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a journal says of a parcel: first all of it, in the end that it is over."""

    parcel: str
    way: str = ""
    places: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    sent: tuple[bytes, ...] = ()
    is_over: bool = False


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Note).decode


@dataclass(slots=True)
class Parcel:
    """A parcel that is out. places, names: of its lines; about: the provider's id of it, "" while nobody knows whether it has one, None if it never left."""

    parcel: str
    way: str
    places: tuple[int, ...]
    names: tuple[str, ...]
    sent: tuple[bytes, ...]
    about: str | None = None
    is_cancelled: bool = False

    @property
    def bytes(self) -> int:
        return sum(map(len, self.sent))

    def leave_out(self, refused: Container[int]) -> None:
        """Without the lines at these places in it."""
        is_kept = [at not in refused for at in range(len(self.places))]
        self.places, self.names, self.sent = (
            tuple(itertools.compress(self.places, is_kept)),
            tuple(itertools.compress(self.names, is_kept)),
            tuple(itertools.compress(self.sent, is_kept)),
        )


@dataclass(slots=True)
class _Waiting:
    """Lines that wait for others to go the same way."""

    runs: list[Any] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    bytes: int = 0


class Desk(Protocol):
    """What a batch's work lets its parcels do. why_stop: "" while it goes on; is_stopping: Freehold is."""

    def note(self, record: bytes) -> None:
        """Bring something into the journal."""

    def written(self, place: int, name: str, answer: Answer) -> None:
        """Bring a line's answer into the journal, and count it."""

    def leaves(self, parcel: Parcel) -> None:
        """Write down, on the disk, that a parcel is about to leave, or is there."""

    async def is_done(self, parcel: Parcel) -> None:
        """Nobody needs it there any more: what came of it is on the disk here."""

    def is_owned(self) -> bool:
        """Whether whoever asked is still to be answered; else nothing of it may leave."""

    def may_leave(self) -> bool:
        """Whether there is time enough to hand something in."""

    def why_stop(self) -> str: ...
    def is_stopping(self) -> bool: ...
    def left_s(self) -> float:
        """Until when parcels may be out."""


class Parcels:
    """The parcels of one batch."""

    def __init__(self, post: Post, desk: Desk, known: Iterable[Parcel] = (), *, tell: Callable[..., None]) -> None:
        self._post, self._desk, self._tell = post, desk, tell
        self._waiting: dict[str, _Waiting] = {}
        self._ready: deque[tuple[str, _Waiting]] = deque()  # full, and waiting for room
        self._names: set[str] = set()  # of parcels that were taken up or handed in
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: dict[asyncio.Task[None], _Waiting] = {}  # those that hand something in right now
        self._bytes = 0  # kept in memory of what is out
        self._most: dict[str, int] = {}  # by way: how many lines a parcel may have after one was refused
        self._is_left = False
        self.out: set[int] = set()  # lines that wait or are handed in
        self.failures = 0.0  # parcels of which nothing came, since the last of which something did
        self.turns = 0  # how often lines became free to be asked again
        self._packing = (
            asyncio.Lock()
        )  # one after the other, so that each knows whether another has the money that it lacks
        self._holding: set[str] = set()  # parcels that hold money, and may give some back
        self._busy: dict[str, int] = {}  # by way: how often in a row its provider was busy
        self.failure: BaseException | None = None
        self.alone: set[int] = set()  # lines that have to be asked one by one
        for parcel in known:
            self._names.add(parcel.parcel)
            self.out.update(parcel.places)
            self._begin(self._take_up(parcel))

    @property
    def are_out(self) -> bool:
        return bool(self._tasks or self._waiting or self._ready)

    @property
    def hold_money(self) -> bool:
        return bool(self._holding)

    @property
    def is_full(self) -> bool:
        """Whether no more lines should be set aside now."""
        return bool(self._ready)

    def add(self, place: int, name: str, size: int, answer: Answer) -> None:
        """Set a line aside; hand in what waits with it, if it is enough. One whose provider takes no parcels any more is asked alone."""
        way, run = answer.way, answer.aside
        most, most_bytes = self._most_of(way)
        if not most:
            self._post.let_go([run])
            self.alone.add(place)
            return
        waiting = self._waiting.get(way)
        if waiting is not None and waiting.bytes + size > most_bytes:
            self._hand_in(way)
        waiting = self._waiting.setdefault(way, _Waiting())
        waiting.runs.append(run)
        waiting.places.append(place)
        waiting.names.append(name)
        waiting.bytes += size
        self.out.add(place)
        if len(waiting.runs) >= most:
            self._hand_in(way)

    def _most_of(self, way: str) -> tuple[int, int]:
        try:
            most, most_bytes = self._post.most(way)
        except FreeholdError:
            return 0, 0
        return min(most, self._most.get(way, most)), most_bytes

    def hand_in_rest(self) -> None:
        for way in list(self._waiting):
            self._hand_in(way)

    def let_go(self) -> None:
        """End what waits and was never handed in."""
        for waiting in (*self._waiting.values(), *(waiting for _, waiting in self._ready)):
            self._post.let_go(waiting.runs)
            self.out.difference_update(waiting.places)
        self._waiting.clear()
        self._ready.clear()

    async def wait(self, timeout_s: float) -> None:
        """Until one is over, or a moment has passed. Raises what kept one from being written down."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self.failure is not None:
            raise self.failure

    async def leave(self) -> None:
        """Stop watching; what is out stays out. What is being handed in is, so that its calls have their end, unless whoever leaves is cut off."""
        self.let_go()
        self._is_left = True
        me = asyncio.current_task()
        is_cut = me is not None and me.cancelling() > 0
        for task in self._tasks:
            if is_cut or task not in self._leaving:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._leaving.values():  # of those that were cancelled before they could begin
            self._post.let_go(waiting.runs)
        for name in self._names:
            self._post.forget(name)

    # --- out ------------------------------------------------------------------------------------------------------

    def _is_ending(self) -> bool:
        return self._is_left or self._desk.is_stopping()

    def _hand_in(self, way: str) -> None:
        self._ready.append((way, self._waiting.pop(way)))
        self._go_on()

    def _go_on(self) -> None:
        """Hand in what is ready, as far as there is room."""
        while self._ready and not self._is_ending():
            if self._tasks and (len(self._tasks) >= AT_ONCE or self._bytes > MOST_BYTES):
                return
            way, waiting = self._ready.popleft()
            self._bytes += waiting.bytes
            self._leaving[self._begin(self._sent_off(way, waiting))] = waiting

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What went wrong is raised where the batch is worked on: it ends, and is taken up again."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()
        elif not self._is_left:
            self._go_on()

    async def _sent_off(self, way: str, waiting: _Waiting) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            parcel = await self._left(way, waiting)
        finally:
            del self._leaving[task]
            self._bytes -= waiting.bytes
            self._post.let_go(waiting.runs)
            waiting.runs.clear()
        if parcel is not None:
            await self._see_through(parcel)

    async def _left(self, way: str, waiting: _Waiting) -> Parcel | None:
        """Hand in what waits; None where nothing is out after that."""
        goes_on = (
            not self._is_ending() and not self._desk.why_stop() and self._desk.is_owned() and self._desk.may_leave()
        )
        current = [goes_on and self._post.is_current(way, run) for run in waiting.runs]
        runs = list(itertools.compress(waiting.runs, current))
        places = tuple(itertools.compress(waiting.places, current))
        names = tuple(itertools.compress(waiting.names, current))
        self.out.difference_update(set(waiting.places) - set(places))  # they are asked again, as things are now
        self.turns += len(runs) < len(waiting.runs)
        if not runs:
            return None
        described = await self._post.describe(way, runs)
        parcel = Parcel(described.parcel, way, places, names, tuple(described.sent))
        self._names.add(parcel.parcel)
        self._note(parcel)
        busy = self._busy.get(way, 0)
        try:
            async with self._packing:
                packed = await self._post.pack(runs)
                refused = {at for at, part in enumerate(packed.parts) if part is None}
                if len(refused) < len(places):
                    self._holding.add(parcel.parcel)
            # A refusal is told to whoever asks alone; but what lacks money waits for those that hold some.
            told = refused - packed.short if self._holding else refused
            self.turns += bool(told)
            self.alone.update(places[at] for at in told)
            self.out.difference_update(places[at] for at in refused)
            if len(refused) == len(places) or not self._desk.is_owned():
                await self._over(parcel)
                return None
            if refused:
                parcel.leave_out(refused)
                self._note(parcel)
            parcel.about = ""
            self._desk.leaves(parcel)
            parcel.about = await self._post.hand_in(described, packed, runs)
        except FreeholdError as error:
            await self._came_back(parcel, error, busy)
            return None
        self._desk.leaves(parcel)
        self._busy.pop(way, None)
        if way in self._most:
            self._most[way] *= 2
        self._tell(
            "parcel",
            parcel=parcel.parcel,
            way=way,
            state="handed in" if parcel.about else "unsure",
            lines=len(parcel.places),
        )
        return parcel

    def _note(self, parcel: Parcel) -> None:
        """Write down what is in a parcel; what was written of it before is void."""
        self._desk.note(_encode(Note(parcel.parcel, parcel.way, parcel.places, parcel.names, parcel.sent)))

    async def _came_back(self, parcel: Parcel, error: FreeholdError, busy: int) -> None:
        """It was not taken. What is wrong with one line may be why, or how many there are: then it goes again in parts. busy: how often in a row its provider
        had been busy when it left.
        """
        self._tell("parcel", parcel=parcel.parcel, way=parcel.way, reason=error.code)
        way, said = parcel.way, error.said if isinstance(error, UpstreamError) else error.status
        if said in _REFUSED:
            self.failures += 0.1
            if len(parcel.places) <= _SHARE:
                self.alone.update(parcel.places)
            else:
                self._most[way] = max(1, len(parcel.places) // _SHARE)
        elif said in _BUSY:
            self._busy[way] = max(self._busy.get(way, 0), busy + 1)  # those that came back together count once
            await self._nap(min(max(2.0 ** min(self._busy[way], 10), error.retry_after_s or 0.0), _BUSY_NAP_S))
        else:
            self.failures += 1
            await self._nap(min(2.0 ** min(self.failures, 5), _LONGEST_NAP_S))
        await self._over(parcel)

    async def _take_up(self, parcel: Parcel) -> None:
        """Go on with a parcel that another life of this batch began."""
        self._holding.add(parcel.parcel)
        await self._post.recall(parcel.parcel, parcel.sent)
        await self._see_through(parcel)

    async def _see_through(self, parcel: Parcel) -> None:
        self._bytes += parcel.bytes
        try:
            if not parcel.about and not await self._found(parcel):
                return
            progress = await self._watched(parcel)
            if progress is not None:
                await self._open(parcel, progress)
            elif not self._is_ending():
                self.alone.update(parcel.places)  # it may have been answered, and must not be paid for a third time
            if not self._is_ending():
                await self._over(parcel)
        finally:
            self._bytes -= parcel.bytes

    async def _found(self, parcel: Parcel) -> bool:
        """Learn where a parcel is. One that never came there costs nothing; one of which that cannot be told stays charged at the most that it can cost."""
        about, is_sure = None, True
        if parcel.about is not None:
            try:
                is_sure = self._post.finds(parcel.way)
                about = await self._sought(parcel) if is_sure else None
            except FreeholdError as error:
                self._tell("parcel", parcel=parcel.parcel, reason=error.code)
                is_sure = False
            if self._is_ending():
                return False
        if about:
            parcel.about = about
            self._desk.leaves(parcel)
            return True
        self.failures += parcel.about is not None
        if is_sure:
            for sent in parcel.sent:
                self._post.void(parcel.parcel, sent)
        else:
            self.alone.update(parcel.places)  # it may be there, and must not be paid for a third time
        await self._over(parcel)
        return False

    async def _sought(self, parcel: Parcel) -> str | None:
        """Where a parcel is, None if it never came there, which takes a while to be sure of. Raises FreeholdError if that cannot be told."""
        pauses, left_s = iter(_SEEK_AGAIN_S), _LONGEST_SEEK_S
        while not self._is_ending():
            try:
                found = await self._post.find(parcel.way, parcel.parcel)
                pause = next(pauses, None)
                if found is not None or pause is None:
                    return found
            except FreeholdError as error:
                self._tell("parcel", parcel=parcel.parcel, reason=error.code)
                pause, left_s = _SEEK_PAUSE_S, left_s - _SEEK_PAUSE_S
                if not _may_pass(error) or self._desk.why_stop() or left_s < 0:
                    raise
            await self._nap(pause)
        return None

    async def _watched(self, parcel: Parcel) -> Progress | None:
        """Look until it has ended; None if this ends first, or nobody knows what becomes of it: then it stays charged at the most that it can cost."""
        pause, last_s, missing_s = _FIRST_LOOK_S, -math.inf, 0.0
        while not self._is_ending():
            left_s = self._desk.left_s()
            if not parcel.is_cancelled and (self._desk.why_stop() or left_s <= 0):
                if last_s == -math.inf:
                    pause, last_s = _FIRST_LOOK_S, left_s - _PATIENCE_S
                parcel.is_cancelled = await self._is_cancelled(parcel)
            try:
                progress = await self._post.look(parcel.way, parcel.about or "")
                if progress.is_ended:
                    return progress
                missing_s = 0.0
            except FreeholdError as error:
                self._tell("parcel", parcel=parcel.parcel, reason=error.code)
                missing_s = missing_s + pause if error.code == "upstream.not_found" else 0.0
                if missing_s > self._patience_s(_GONE_S) or error.code == "upstream.gone":
                    break
            if left_s < last_s:
                break
            await self._nap(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_S)
        self.failures += not self._is_ending()
        return None

    def _patience_s(self, usual_s: float) -> float:
        """How long something may go wrong before it is given up."""
        is_late = self._desk.why_stop() or self._desk.left_s() <= 0
        return min(usual_s, _LEAVING_S) if is_late else usual_s

    async def _is_cancelled(self, parcel: Parcel) -> bool:
        """Ask for it to be cancelled; whether that need not be asked again."""
        try:
            await self._post.cancel(parcel.way, parcel.about or "")
        except FreeholdError as error:
            self._tell("parcel", parcel=parcel.parcel, reason=error.code)
            return not error.is_retryable
        return True

    async def _open(self, parcel: Parcel, progress: Progress) -> None:
        """Read its answers, a few times if need be. What cannot be read stays charged at the most that it can cost, and is asked on its own."""
        if progress.failure:
            self.failures += 1
            self._tell("parcel", parcel=parcel.parcel, way=parcel.way, reason=progress.failure)
        seen: set[int] = set()
        is_whole, waited_s, pause, reads = False, 0.0, 1.0, 0
        while True:
            try:
                is_whole = await self._read(parcel, progress, seen)
                break
            except OperatorError:
                raise  # nothing can be written down: the batch ends, and is taken up again
            except FreeholdError as error:
                self._tell("parcel", parcel=parcel.parcel, reason=error.code)
                reads, waited_s = reads + (error.code == "upstream.invalid_answer"), waited_s + pause
                most_s = self._patience_s(_GONE_S if error.code == "upstream.not_found" else _PASSING_S)
                if reads == _READS or waited_s > most_s or error.code == "upstream.gone":
                    break
            await self._nap(pause)
            pause = min(pause * 2, _LONGEST_LOOK_S)
            if self._is_ending():
                return
        self.failures = 0.0 if is_whole and not progress.failure else self.failures
        for place in set(range(len(parcel.places))) - seen:
            if is_whole:
                self._post.void(parcel.parcel, parcel.sent[place])
            if not (is_whole and progress.failure):
                self.alone.add(parcel.places[place])

    async def _read(self, parcel: Parcel, progress: Progress, seen: set[int]) -> bool:
        """Read all that came of it, and write it down; whether all could be read. Raises FreeholdError."""
        is_whole = True
        async for place, answer in self._post.open(
            parcel.way, parcel.parcel, parcel.about or "", progress, parcel.sent
        ):
            if place is None:
                is_whole = False
            elif place not in seen:
                seen.add(place)
                if answer is None:
                    self.alone.add(parcel.places[place])
                else:
                    self._desk.written(parcel.places[place], parcel.names[place], answer)
                    self.out.discard(parcel.places[place])
        return is_whole

    async def _over(self, parcel: Parcel) -> None:
        """What it came to is on the disk before anybody may forget it. Raises OperatorError, OSError."""
        await self._post.settled()
        self._desk.note(_encode(Note(parcel.parcel, is_over=True)))
        await self._desk.is_done(parcel)
        self._post.forget(parcel.parcel)
        self._names.discard(parcel.parcel)
        self.out.difference_update(parcel.places)
        self.turns += parcel.parcel in self._holding
        self._holding.discard(parcel.parcel)

    async def _nap(self, seconds: float) -> None:
        """Wait, but no longer than until there is something else to do."""
        why = self._desk.why_stop()
        while seconds > 0 and not self._is_ending() and self._desk.why_stop() == why:
            await asyncio.sleep(min(seconds, _SLICE_S))
            seconds -= _SLICE_S


def fold(found: dict[str, Parcel], record: bytes, lying: Mapping[str, str]) -> None:
    """Learn from a journal which parcels are not over. lying: where they lie, the provider's id by name."""
    note = _decode(record)
    if note.is_over:
        found.pop(note.parcel, None)
    else:
        about = lying.get(note.parcel)
        found[note.parcel] = Parcel(note.parcel, note.way, note.places, note.names, note.sent, about)


def _may_pass(error: FreeholdError) -> bool:
    return error.is_retryable and error.code != "upstream.gone"
