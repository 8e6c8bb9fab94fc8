"""What becomes of lines that are handed in together, whoever hands them in: each ends once, and none is forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from freehold.jobs import parcels
from freehold.jobs.parcels import Described, Packed, Parcel, Parcels, Seen, read
from freehold.jobs.questions import Answer
from freehold.kernel.errors import UpstreamError
from freehold.kernel.progress import Progress

DONE = Progress(is_ended=True)


class Script:
    """A post and a desk that do as they are told, and remember what they were asked. Runs are numbers."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.ends: Counter[int] = Counter()  # by run: how often it ended
        self.found: list[str | None] = []
        self.journal: list[bytes] = []
        self.taken = asyncio.Event()
        self.taken.set()
        self.about = "b1"
        self.looks = DONE
        self.note_fails = False
        self.why = ""
        self.answers: dict[int, Answer] = {}
        self.lying: dict[str, str] = {}
        self.parcel = 0

    # as a post
    def most(self, _way: str) -> tuple[int, int]:
        return 4, 1_000

    def is_current(self, _way: str, _run: Any) -> bool:
        return True

    def describe(self, way: str, runs: Sequence[Any]) -> Described:
        self.parcel += 1
        return Described(f"p{self.parcel}", way, [b"%d" % run for run in runs])

    async def pack(self, runs: Sequence[Any]) -> Packed:
        return list(runs)

    async def hand_in(self, parcel: Described, _packed: Packed, runs: Sequence[Any]) -> str:
        self.told.append(("hand in", parcel.parcel))
        try:
            await self.taken.wait()
        finally:
            self.ends.update(runs)
        return self.about

    async def find(self, _way: str, parcel: str) -> str | None:
        self.told.append(("find", parcel))
        return self.found.pop(0)

    async def clear(self, way: str, parcel: str) -> None: ...

    def finds(self, _way: str) -> bool:
        return True

    async def look(self, _way: str, _about: str) -> Progress:
        return self.looks

    async def cancel(self, way: str, about: str) -> None: ...
    async def drop(self, way: str, about: str, progress: Progress) -> None: ...
    async def recall(self, parcel: str, sent: Sequence[bytes]) -> None: ...
    def forget(self, parcel: str) -> None: ...

    async def open(
        self, _way: str, _parcel: str, _about: str, _progress: Progress, sent: Sequence[bytes]
    ) -> AsyncIterator[Seen]:
        for place, _ in enumerate(sent):
            yield Seen(place, Answer(200, b"{}", "c"))

    def void(self, parcel: str, sent: bytes) -> None:
        self.told.append(("void", parcel, sent))

    def let_go(self, runs: Sequence[Any]) -> None:
        self.ends.update(run for run in runs if not self.ends[run])

    # as a desk
    def note(self, record: bytes) -> None:
        if self.note_fails:
            raise OSError("full")
        self.journal.append(record)

    def written(self, place: int, _name: str, answer: Answer) -> None:
        self.answers[place] = answer

    def leaves(self, parcel: Parcel) -> None:
        self.lying[parcel.parcel] = parcel.about or ""

    def is_done(self, parcel: Parcel) -> None:
        self.lying.pop(parcel.parcel, None)

    never_left = is_done

    def why_stop(self) -> str:
        return self.why

    def is_stopping(self) -> bool:
        return False

    def left_s(self) -> float:
        return 1_000.0


def begun(script: Script, known: Sequence[Parcel] = ()) -> Parcels:
    return Parcels(script, script, known, tell=lambda *_, **__: None)


def aside(run: int) -> Answer:
    return Answer(0, b"", "c", aside=run, way="cloud")


async def over(made: Parcels) -> None:
    async with asyncio.timeout(10):
        while made.are_out:
            await made.wait(0.1)


async def test_every_line_of_many_is_answered_once() -> None:
    script = Script()
    made = begun(script)
    await asyncio.gather(*(made.add(at, f"r{at}", 300, aside(at)) for at in range(200)))
    await made.hand_in_rest()
    await over(made)
    assert sorted(script.answers) == list(range(200))
    assert set(script.ends.values()) == {1}
    assert not made.out
    assert not script.lying
    assert script.parcel == -(-200 // 3), "no more in one than it may hold: three of 300 bytes in 1,000"
    assert read(script.journal, {}) == []


async def test_no_more_is_kept_than_may_be_out() -> None:
    """While none is taken, lines wait outside; when this ends, all of them have their end, once."""
    script = Script()
    script.taken.clear()
    made = begun(script)
    adding = [asyncio.ensure_future(made.add(at, f"r{at}", 100, aside(at))) for at in range(200)]
    await asyncio.sleep(0.2)
    assert len(script.told) == parcels.AT_ONCE
    assert len(made.out) == (parcels.AT_ONCE + 1) * 4
    for task in adding:
        task.cancel()
    await asyncio.gather(*adding, return_exceptions=True)
    leaving = asyncio.ensure_future(made.leave())
    await asyncio.sleep(0.1)
    assert not leaving.done(), "what is being handed in is"
    script.taken.set()
    await leaving
    assert dict(script.ends) == dict.fromkeys(range(200), 1)
    assert len(script.lying) == parcels.AT_ONCE, "and is taken up by whoever comes next"


async def test_a_journal_that_takes_no_more() -> None:
    script = Script()
    script.note_fails = True
    made = begun(script)
    for at in range(4):
        await made.add(at, f"r{at}", 100, aside(at))
    with pytest.raises(OSError, match="full"):
        await over(made)
    await made.leave()
    assert dict(script.ends) == dict.fromkeys(range(4), 1)
    assert script.told == [], "nothing leaves that is not written down"


async def test_one_that_nobody_knows_of_costs_nothing_only_when_that_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "_SEEK_AGAIN_S", (0.01, 0.01, 0.01))
    script = Script()
    script.about, script.found = "", [None, None, None, None]
    made = begun(script)
    await made.add(7, "r7", 100, aside(7))
    await made.hand_in_rest()
    await over(made)
    assert [one[0] for one in script.told] == ["hand in", *["find"] * 4, "void"]
    assert (made.out, script.answers, made.failures) == (set(), {}, 1)
    script.told.clear()
    script.found = [None, None, "b2"]
    await made.add(7, "r7", 100, aside(8))
    await made.hand_in_rest()
    await over(made)
    assert [one[0] for one in script.told] == ["hand in", *["find"] * 3]
    assert list(script.answers) == [7]


async def test_one_that_never_left_is_not_looked_for() -> None:
    """Killed before its bytes could leave: it costs nothing, at once."""
    script = Script()
    known = Parcel("p9", "cloud", (1, 2), ("r1", "r2"), (b"1", b"2"))
    made = begun(script, [known])
    assert made.out == {1, 2}
    await over(made)
    assert script.told == [("void", "p9", b"1"), ("void", "p9", b"2")]
    assert not made.out


async def test_where_nobody_can_tell_it_stays_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "_SEEK_PAUSE_S", 1_800.0)
    monkeypatch.setattr(Parcels, "_nap", lambda *_: asyncio.sleep(0))
    script = Script()

    async def find(_way: str, _parcel: str) -> str | None:
        raise UpstreamError("down", code="upstream.failed")

    monkeypatch.setattr(script, "find", find)
    made = begun(script, [Parcel("p9", "cloud", (1,), ("r1",), (b"1",), about="")])
    await over(made)
    assert (script.told, made.out) == ([], set())
