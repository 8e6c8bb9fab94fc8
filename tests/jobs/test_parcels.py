"""What becomes of lines that are handed in together, whoever hands them in: each ends once, and none is forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from freehold.jobs import parcels
from freehold.jobs.parcels import Described, Packed, Parcel, Parcels, Seen, fold
from freehold.jobs.questions import Answer
from freehold.kernel.errors import FreeholdError, UpstreamError
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
        self.owned = True
        self.poor: set[int] = set()  # runs that lack money
        self.refusals: list[FreeholdError] = []
        self.unread: list[FreeholdError] = []
        self.unseen: list[FreeholdError] = []

    # as a post
    def most(self, _way: str) -> tuple[int, int]:
        return 4, 1_000

    def is_current(self, _way: str, _run: Any) -> bool:
        return True

    async def describe(self, way: str, runs: Sequence[Any]) -> Described:
        self.parcel += 1
        return Described(f"p{self.parcel}", way, [b"%d" % run for run in runs])

    async def pack(self, runs: Sequence[Any]) -> Packed:
        short = {at for at, run in enumerate(runs) if run in self.poor}
        return Packed([None if at in short else run for at, run in enumerate(runs)], short)

    async def settled(self) -> None:
        self.told.append(("settled",))

    async def hand_in(self, parcel: Described, _packed: Packed, runs: Sequence[Any]) -> str:
        self.told.append(("hand in", parcel.parcel))
        try:
            await self.taken.wait()
            if self.refusals:
                raise self.refusals.pop()
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
        self.told.append(("look",))
        if self.unseen:
            raise self.unseen.pop()
        return self.looks

    async def cancel(self, way: str, about: str) -> None: ...
    async def drop(self, way: str, about: str, progress: Progress) -> None: ...
    async def recall(self, parcel: str, sent: Sequence[bytes]) -> None: ...
    def forget(self, parcel: str) -> None: ...

    async def open(
        self, _way: str, _parcel: str, _about: str, _progress: Progress, sent: Sequence[bytes]
    ) -> AsyncIterator[Seen]:
        for place, _ in enumerate(sent):
            if self.unread:
                raise self.unread.pop()
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

    async def is_done(self, parcel: Parcel) -> None:
        self.lying.pop(parcel.parcel, None)

    def is_owned(self) -> bool:
        return self.owned

    def may_leave(self) -> bool:
        return True

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
    for at in range(200):
        made.add(at, f"r{at}", 300, aside(at))
    made.hand_in_rest()
    await over(made)
    assert sorted(script.answers) == list(range(200))
    assert set(script.ends.values()) == {1}
    assert not made.out
    assert not script.lying
    assert script.parcel == -(-200 // 3), "no more in one than it may hold: three of 300 bytes in 1,000"
    known: dict[str, Parcel] = {}
    for record in script.journal:
        fold(known, record, {})
    assert known == {}


async def test_no_more_is_out_than_may_be() -> None:
    """While none is taken the rest waits, and says so; when this ends, all of them have their end, once."""
    script = Script()
    script.taken.clear()
    made = begun(script)
    for at in range(parcels.AT_ONCE * 4 + 6):
        assert not made.is_full or at > parcels.AT_ONCE * 4 + 3
        made.add(at, f"r{at}", 100, aside(at))
    await asyncio.sleep(0.05)
    assert len(script.told) == parcels.AT_ONCE
    assert made.is_full
    leaving = asyncio.ensure_future(made.leave())
    await asyncio.sleep(0.1)
    assert not leaving.done(), "what is being handed in is"
    script.taken.set()
    await leaving
    assert dict(script.ends) == dict.fromkeys(range(parcels.AT_ONCE * 4 + 6), 1)
    assert len(script.lying) == parcels.AT_ONCE, "and is taken up by whoever comes next"


async def test_whoever_is_cut_off_ends_what_never_began() -> None:
    script = Script()
    made = begun(script)
    made.add(1, "r1", 100, aside(1))

    async def cut() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            made.hand_in_rest()
            await made.leave()

    task = asyncio.ensure_future(cut())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert dict(script.ends) == {1: 1}


async def test_what_waits_for_room_goes_when_there_is_some() -> None:
    script = Script()
    script.looks = Progress(is_ended=False)
    made = begun(script)
    for at in range(parcels.AT_ONCE * 4 + 4):
        made.add(at, f"r{at}", 100, aside(at))
    await asyncio.sleep(0.05)
    assert made.is_full
    script.owned = False
    script.looks = DONE
    await over(made)
    assert len(script.answers) == parcels.AT_ONCE * 4
    handed = [one for one in script.told if one[0] == "hand in"]
    assert len(handed) == parcels.AT_ONCE, "nothing leaves when its owner was erased meanwhile"
    assert not made.out


async def test_a_journal_that_takes_no_more() -> None:
    script = Script()
    script.note_fails = True
    made = begun(script)
    for at in range(4):
        made.add(at, f"r{at}", 100, aside(at))
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
    made.add(7, "r7", 100, aside(7))
    made.hand_in_rest()
    await over(made)
    assert [one[0] for one in script.told] == ["hand in", *["find"] * 4, "void", "settled"], (
        "on the disk before it is over"
    )
    assert (made.out, script.answers, made.failures) == (set(), {}, 1)
    script.told.clear()
    script.found = [None, None, "b2"]
    made.add(7, "r7", 100, aside(8))
    made.hand_in_rest()
    await over(made)
    assert [one[0] for one in script.told] == ["hand in", *["find"] * 3, "look", "settled"]
    assert list(script.answers) == [7]


async def test_one_that_never_left_is_not_looked_for() -> None:
    """Killed before its bytes could leave: it costs nothing, at once."""
    script = Script()
    known = Parcel("p9", "cloud", (1, 2), ("r1", "r2"), (b"1", b"2"))
    made = begun(script, [known])
    assert made.out == {1, 2}
    await over(made)
    assert script.told == [("void", "p9", b"1"), ("void", "p9", b"2"), ("settled",)]
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
    assert (script.told, made.out, made.alone) == ([("settled",)], set(), {1}), "and is not handed in a third time"


def trouble(code: str, *, said: int = 0, is_retryable: bool = True) -> UpstreamError:
    error = UpstreamError("trouble", code=code)
    error.said, error.is_retryable = said, is_retryable
    return error


@pytest.fixture
def no_naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    naps: list[float] = []

    async def nap(_self: Parcels, seconds: float) -> None:
        naps.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(Parcels, "_nap", nap)
    return naps


async def test_results_are_waited_for_and_then_given_up(no_naps: list[float]) -> None:
    """For an hour if that may pass, for minutes if they are not there, a few times if nobody understands them; what is read before counts."""
    for code, least, most in (
        ("upstream.failed", 3_500, 3_700),
        ("upstream.key_refused", 3_500, 3_700),
        ("upstream.not_found", 240, 370),
        ("upstream.invalid_answer", 3, 4),
    ):
        no_naps.clear()
        script = Script()
        script.unread = [trouble(code) for _ in range(10_000)]
        made = begun(script, [Parcel("p9", "cloud", (1, 2), ("r1", "r2"), (b"1", b"2"), about="b")])
        await over(made)
        assert least <= sum(no_naps) <= most, code
        assert (made.alone, script.answers, made.out) == ({1, 2}, {}, set())
        assert ("void", "p9", b"1") not in script.told, "it stays charged"
    script = Script()
    script.unread = [trouble("upstream.failed") for _ in range(30)]
    made = begun(script, [Parcel("p9", "cloud", (1, 2), ("r1", "r2"), (b"1", b"2"), about="b")])
    await over(made)
    assert sorted(script.answers) == [1, 2]
    script = Script()
    script.why, script.unread = "cancelled", [trouble("upstream.failed") for _ in range(10_000)]
    no_naps.clear()
    made = begun(script, [Parcel("p9", "cloud", (1,), ("r1",), (b"1",), about="b")])
    await over(made)
    assert sum(no_naps) < 30, "whoever cancelled does not wait for an hour"


async def test_one_that_is_not_found_is_waited_for_too(no_naps: list[float]) -> None:
    script = Script()
    script.unseen = [trouble("upstream.not_found", is_retryable=False) for _ in range(6)]
    made = begun(script, [Parcel("p9", "cloud", (1,), ("r1",), (b"1",), about="b")])
    await over(made)
    assert list(script.answers) == [1]
    no_naps.clear()
    script = Script()
    script.unseen = [trouble("upstream.not_found", is_retryable=False) for _ in range(10_000)]
    made = begun(script, [Parcel("p9", "cloud", (1,), ("r1",), (b"1",), about="b")])
    await over(made)
    assert 240 <= sum(no_naps) <= 400
    assert (script.answers, made.failures, made.alone) == ({}, 1, {1}), "and is not handed in again"


async def test_a_busy_provider_is_waited_for_and_costs_no_discount(no_naps: list[float]) -> None:
    script = Script()
    script.refusals = [trouble("upstream.rate_limited", said=429) for _ in range(20)]
    script.taken.clear()
    made = begun(script)
    for at in range(20):
        made.add(at, f"r{at}", 1_000, aside(at))
        made.hand_in_rest()
    await asyncio.sleep(0.05)
    script.taken.set()
    await over(made)
    assert made.failures == 0
    assert no_naps[:16] == [2.0] * 16, "those that come back together are one time that it was busy"
    no_naps.clear()
    script.refusals = [trouble("upstream.unreachable") for _ in range(20)]
    for at in range(20):
        made.add(at, f"r{at}", 1_000, aside(100 + at))
        made.hand_in_rest()
    await over(made)
    assert made.failures == 20
    assert max(no_naps) <= 30, "however many fail at once"
    made.add(1, "r1", 1_000, aside(999))
    made.hand_in_rest()
    await over(made)
    assert made.failures == 0, "one that came through is a new beginning"


async def test_a_busy_provider_is_asked_ever_more_rarely(no_naps: list[float]) -> None:
    script = Script()
    made = begun(script)
    for _ in range(12):
        script.refusals = [trouble("upstream.rate_limited", said=503)]
        made.add(1, "r1", 1_000, aside(1))
        made.hand_in_rest()
        await over(made)
    assert no_naps[:4] == [2.0, 4.0, 8.0, 16.0]
    assert no_naps[-1] == 900.0


async def test_a_line_that_was_left_out_is_in_one_parcel_alone() -> None:
    """Whoever goes on after a restart finds it in the parcel that it went with in the end, so that the other frees nobody's line."""
    script = Script()
    script.looks, script.poor = Progress(is_ended=False), {2}
    made = begun(script)
    made.add(1, "r1", 100, aside(1))
    made.add(2, "r2", 100, aside(2))
    made.hand_in_rest()
    await asyncio.sleep(0.05)
    script.poor = set()
    made.add(2, "r2", 100, aside(3))
    made.hand_in_rest()
    await asyncio.sleep(0.05)
    known: dict[str, Parcel] = {}
    for record in script.journal:
        fold(known, record, script.lying)
    assert {name: parcel.places for name, parcel in known.items()} == {"p1": (1,), "p2": (2,)}
    await made.leave()


async def test_a_second_parcel_waits_for_the_money_of_a_first_that_is_on_its_way() -> None:
    script = Script()
    script.taken.clear()
    script.poor = {5, 6, 7, 8}
    made = begun(script)
    for at in range(1, 9):
        made.add(at, f"r{at}", 100, aside(at))
    await asyncio.sleep(0.05)
    assert (made.out, made.alone) == ({1, 2, 3, 4}, set())
    turns = made.turns
    script.taken.set()
    await over(made)
    assert made.turns > turns
    assert made.alone == set()


async def test_two_that_both_lack_money_do_not_wait_for_each_other() -> None:
    script = Script()
    script.poor = set(range(1, 9))
    made = begun(script)
    for at in range(1, 9):
        made.add(at, f"r{at}", 100, aside(at))
    await over(made)
    assert (made.out, made.alone) == (set(), set(range(1, 9)))


async def test_one_wrong_line_makes_no_parcels_of_one() -> None:
    script = Script()
    script.refusals = [trouble("upstream.rejected", said=400)]
    made = begun(script)
    made.add(0, "r0", 100, aside(0))
    made.hand_in_rest()
    await over(made)
    assert made.alone == {0}
    for at in range(1, 9):
        made.add(at, f"r{at}", 100, aside(at))
    await over(made)
    assert script.parcel == 3


async def test_what_lacks_money_waits_for_what_is_out() -> None:
    """While a parcel is out it may give money back; with none out, a refusal is final, and told by whoever asks alone."""
    script = Script()
    script.looks, script.poor = Progress(is_ended=False), {2}
    made = begun(script)
    made.add(1, "r1", 100, aside(1))
    made.hand_in_rest()
    await asyncio.sleep(0.05)
    made.add(2, "r2", 100, aside(2))
    made.hand_in_rest()
    await asyncio.sleep(0.05)
    assert (made.out, made.alone) == ({1}, set())
    turns = made.turns
    script.looks = DONE
    await over(made)
    assert made.turns > turns, "now it may be asked again"
    made.add(2, "r2", 100, aside(2))
    made.hand_in_rest()
    await over(made)
    assert made.alone == {2}
