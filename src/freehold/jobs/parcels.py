"""Lines that are handed in together at a provider's own batch endpoint: gathered, handed in, seen through, opened.

Rules: what is handed in stands in the batch's journal before it is, and the provider's id of it after, so that whoever goes on after a crash neither
hands it in twice nor forgets it; each answer is in the journal before it counts; a line that came back without an answer is asked again.
What it does not know: where a parcel goes and what it costs: it is handed somebody who does.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from freehold.jobs.questions import Answer
from freehold.kernel.errors import CallerError, FreeholdError
from freehold.kernel.progress import Progress

_TRIES = 8
AT_ONCE = 16  # parcels of one batch, handed in and not yet answered
_FIRST_LOOK_S, _LONGEST_LOOK_S, _PATIENCE_S, _SLICE_S = 0.5, 60.0, 1_200.0, 0.25


class Described(NamedTuple):
    """A parcel before anything of it is under way. sent: what must be known of each line to open its answer."""

    parcel: str
    way: str
    sent: list[bytes]


Packed = list[Any]  # by line: what is handed in of it, None for one that was refused


class Seen(NamedTuple):
    """What came of the line in this place of its parcel; None: nothing, so that it has to be asked again."""

    place: int
    answer: Answer | None


class Post(Protocol):
    """Who hands parcels in; see `gateway.posting.Post`. Each may raise FreeholdError."""

    def most(self, way: str) -> tuple[int, int]: ...
    def describe(self, way: str, runs: Sequence[Any]) -> Described: ...
    async def pack(self, runs: Sequence[Any]) -> Packed: ...
    async def hand_in(self, parcel: Described, packed: Packed, runs: Sequence[Any]) -> str: ...
    async def find(self, way: str, parcel: str) -> str | None: ...
    def is_known(self, way: str) -> bool: ...
    async def look(self, way: str, about: str) -> Progress: ...
    async def cancel(self, way: str, about: str) -> None: ...
    async def drop(self, way: str, about: str, progress: Progress) -> None: ...
    async def recall(self, parcel: str, sent: Sequence[bytes]) -> None: ...
    def forget(self, parcel: str) -> None: ...
    def open(
        self, way: str, parcel: str, about: str, progress: Progress, sent: Sequence[bytes]
    ) -> AsyncIterator[Seen]: ...
    def void(self, parcel: str, sent: bytes) -> None: ...
    def let_go(self, runs: Sequence[Any]) -> None: ...


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a journal says of a parcel: first all of it, then under which id its provider has it (about), then that it is over."""

    parcel: str
    way: str = ""
    places: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    sent: tuple[bytes, ...] = ()
    about: str = ""
    is_over: bool = False


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Note).decode


@dataclass(slots=True)
class Parcel:
    """A parcel that is out. places, names: of its lines; about: the provider's id of it, "" while nobody knows whether it has one."""

    parcel: str
    way: str
    places: tuple[int, ...]
    names: tuple[str, ...]
    sent: tuple[bytes, ...]
    about: str = ""
    is_cancelled: bool = False


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

    def why_stop(self) -> str: ...
    def is_stopping(self) -> bool: ...
    def left_s(self) -> float:
        """Until when parcels may be out."""


class Parcels:
    """The parcels of one batch."""

    def __init__(self, post: Post, desk: Desk, known: Iterable[Parcel] = (), *, tell: Callable[..., None]) -> None:
        self._post, self._desk, self._tell = post, desk, tell
        self._waiting: dict[str, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[str, Parcel] = {}  # by name: what a provider has
        self.out: set[int] = set()  # lines that wait or are handed in
        self.failures = 0  # parcels of which nothing came
        self.failure: BaseException | None = None
        self.alone: set[int] = set()  # lines that have to be asked one by one
        for parcel in known:
            self.out.update(parcel.places)
            self._begin(self._take_up(parcel))

    @property
    def are_out(self) -> bool:
        return bool(self._tasks or self._waiting)

    async def add(self, place: int, name: str, size: int, answer: Answer) -> None:
        """Set a line aside; hand in what waits with it, if it is enough."""
        way = answer.way
        most, most_bytes = self._post.most(way)
        waiting = self._waiting.setdefault(way, _Waiting())
        if waiting.runs and waiting.bytes + size > most_bytes:
            await self._hand_in(way)
            waiting = self._waiting.setdefault(way, _Waiting())
        waiting.runs.append(answer.aside)
        waiting.places.append(place)
        waiting.names.append(name)
        waiting.bytes += size
        self.out.add(place)
        if len(waiting.runs) >= most:
            await self._hand_in(way)

    async def hand_in_rest(self) -> None:
        for way in list(self._waiting):
            await self._hand_in(way)

    def let_go(self) -> None:
        """End what waits and was never handed in."""
        for waiting in self._waiting.values():
            self._post.let_go(waiting.runs)
            self.out.difference_update(waiting.places)
        self._waiting.clear()

    async def wait(self, timeout_s: float) -> None:
        """Until one is over, or a moment has passed. Raises what kept one from being written down."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self.failure is not None:
            raise self.failure

    async def abandon(self) -> None:
        """Nobody may read what comes back: take back what is out, as far as its providers let."""
        for parcel in list(self._known.values()):
            with contextlib.suppress(FreeholdError):
                await self._post.cancel(parcel.way, parcel.about)
                await self._post.drop(parcel.way, parcel.about, await self._post.look(parcel.way, parcel.about))

    async def leave(self) -> None:
        """Stop watching; what is out stays out."""
        self.let_go()
        if not self._desk.is_stopping():  # else what is being handed in is, and the rest stops by itself
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- out ------------------------------------------------------------------------------------------------------

    async def _hand_in(self, way: str) -> None:
        waiting = self._waiting.pop(way)
        while len(self._tasks) >= AT_ONCE and not self._desk.is_stopping():
            await self.wait(1.0)
        self._begin(self._sent_off(way, waiting))

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What went wrong is raised where the batch is worked on: it ends, and is taken up again."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()

    async def _sent_off(self, way: str, waiting: _Waiting) -> None:
        described = self._post.describe(way, waiting.runs)
        places, names = tuple(waiting.places), tuple(waiting.names)
        parcel = Parcel(described.parcel, way, places, names, tuple(described.sent))
        self._desk.note(_encode(Note(parcel.parcel, way, places, names, parcel.sent)))
        packed = await self._post.pack(waiting.runs)
        refused = {place for place, part in zip(places, packed, strict=True) if part is None}
        self.alone |= refused  # where such a refusal has its ways
        self.out -= refused
        if len(refused) == len(places):
            self._over(parcel)
            return
        try:
            taken = await self._post.hand_in(described, packed, waiting.runs)
        except FreeholdError as error:
            self.failures += 1
            self._tell("parcel", parcel=parcel.parcel, way=way, reason=error.code)
            await self._nap(2.0**self.failures)
            self._over(parcel)
            return
        parcel.about = taken
        self._desk.note(_encode(Note(parcel.parcel, about=taken)))
        self._tell("parcel", parcel=parcel.parcel, way=way, state="handed in", lines=len(places) - len(refused))
        await self._see_through(parcel)

    async def _take_up(self, parcel: Parcel) -> None:
        """Go on with a parcel that another life of this batch began."""
        await self._post.recall(parcel.parcel, parcel.sent)
        if not parcel.about:
            try:
                found = await self._found(parcel)
            except FreeholdError:
                if (
                    not self._desk.is_stopping()
                ):  # nobody can tell any more: it stays charged at the most that it can cost
                    self._over(parcel)
                return
            if found is None:
                if self._post.is_known(parcel.way):
                    for sent in parcel.sent:
                        self._post.void(parcel.parcel, sent)
                self._over(parcel)
                return
            parcel.about = found
            self._desk.note(_encode(Note(parcel.parcel, about=found)))
        await self._see_through(parcel)

    async def _found(self, parcel: Parcel) -> str | None:
        """Where a parcel is, None if it never came there; until that can be told, the batch waits. Raises FreeholdError if it never can."""
        while True:
            try:
                return await self._post.find(parcel.way, parcel.parcel)
            except FreeholdError as error:
                self._tell("parcel", parcel=parcel.parcel, reason=error.code)
                is_final = isinstance(error, CallerError) or error.code == "upstream.gone"
                if is_final or self._desk.is_stopping() or self._desk.why_stop():
                    raise
                await self._nap(5.0)

    async def _see_through(self, parcel: Parcel) -> None:
        self._known[parcel.parcel] = parcel
        try:
            ended = await self._watched(parcel)
        except FreeholdError as error:
            if error.code != "upstream.gone":
                raise
            ended = (
                None  # its provider is not configured any more: what is out stays charged at the most that it can cost
            )
        if self._desk.is_stopping() and ended is None:
            return
        if ended is not None:
            await self._open(parcel, ended)
        self._over(parcel)

    async def _watched(self, parcel: Parcel) -> Progress | None:
        """Look until it has ended; None if Freehold stops, or nobody knows what becomes of it."""
        pause, last_s = _FIRST_LOOK_S, -math.inf
        while not self._desk.is_stopping():
            if not parcel.is_cancelled and (self._desk.why_stop() or self._desk.left_s() <= 0):
                parcel.is_cancelled, last_s = True, self._desk.left_s() - _PATIENCE_S
                await self._patiently(lambda: self._post.cancel(parcel.way, parcel.about))
                pause = _FIRST_LOOK_S
            progress: Progress | None = await self._patiently(lambda: self._post.look(parcel.way, parcel.about))
            if progress is not None and progress.is_ended:
                return progress
            if self._desk.left_s() < last_s:
                return None
            await self._nap(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_S)
        return None

    async def _open(self, parcel: Parcel, progress: Progress) -> None:
        if progress.failure:
            self.failures += 1
            self._tell("parcel", parcel=parcel.parcel, way=parcel.way, reason=progress.failure)
        unanswered = []
        async for seen in self._post.open(parcel.way, parcel.parcel, parcel.about, progress, parcel.sent):
            if seen.answer is None:
                unanswered.append(seen.place)
                if not progress.failure:
                    self.alone.add(parcel.places[seen.place])
                continue
            self._desk.written(parcel.places[seen.place], parcel.names[seen.place], seen.answer)
        for place in unanswered:
            self._post.void(parcel.parcel, parcel.sent[place])
        await self._patiently(lambda: self._post.drop(parcel.way, parcel.about, progress))

    def _over(self, parcel: Parcel) -> None:
        self._desk.note(_encode(Note(parcel.parcel, is_over=True)))
        self._known.pop(parcel.parcel, None)
        self._post.forget(parcel.parcel)
        self.out.difference_update(parcel.places)

    async def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Ask a provider until it answers, for a while; None if it does not, or refuses."""
        for tries in range(_TRIES):
            try:
                return await ask()
            except CallerError:
                raise
            except FreeholdError as error:
                self._tell("parcel", reason=error.code)
                if error.code == "upstream.gone":
                    raise
                if self._desk.is_stopping() or not error.is_retryable:
                    break
                await self._nap(min(2.0**tries, 30.0))
        return None

    async def _nap(self, seconds: float) -> None:
        while seconds > 0 and not self._desk.is_stopping():
            await asyncio.sleep(min(seconds, _SLICE_S))
            seconds -= _SLICE_S
            if self._desk.why_stop():
                return


def read(records: Iterable[bytes]) -> list[Parcel]:
    """The parcels that are not over, from what a journal says of them."""
    found: dict[str, Parcel] = {}
    for raw in records:
        note = _decode(raw)
        if note.is_over:
            found.pop(note.parcel, None)
        elif note.about:
            if note.parcel in found:
                found[note.parcel].about = note.about
        else:
            found[note.parcel] = Parcel(note.parcel, note.way, note.places, note.names, note.sent)
    return list(found.values())
