"""The runner: every line is asked until it has an answer, and none is lost, doubled or asked for again, wherever it is cut off."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.content.keyring import Keyring
from freehold.content.sealed import SealedStore
from freehold.jobs.records import ENDED, Batch, File, Records
from freehold.jobs.runner import AT_ONCE, TRIES, Answer, Ask, Question, Runner
from freehold.kernel.clock import Clock
from freehold.kernel.units import Tokens

CHAT = "/v1/chat/completions"
USED = Tokens(input=3, cache_read=2, output=5, reasoning=1)


class Office:
    """A state directory with a runner over it, and a clock that can be set."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ahead_s = folder, 0.0
        self.keyring = Keyring(folder / "subjects.db", b"m" * 32)
        self.content = SealedStore(folder / "content", self.keyring)
        self.records = Records(folder / "jobs.db")
        self.told: list[dict[str, Any]] = []
        self.clock = Clock(now_s=lambda: time.time() + self.ahead_s)

    def upload(self, raw: bytes, owner: str = "key_1") -> File:
        now = int(self.clock.now_s())
        content = self.content.keep(owner, "file", [raw], until_ms=(now + 10**6) * 1000)
        file = File(f"file-{content}", owner, "batch", "in.jsonl", len(raw), now, now + 10**6, content)
        self.records.add_file(file)
        return file

    def begin(self, count: int, *, raw: bytes | None = None, window_s: int = 3600, owner: str = "key_1") -> Batch:
        text = b"\n".join(
            json.dumps(
                {"custom_id": f"r{at}", "method": "POST", "url": CHAT, "body": {"model": "m", "at": at}}
            ).encode()
            for at in range(count)
        )
        now = int(self.clock.now_s())
        file = self.upload(raw if raw is not None else text, owner)
        batch = Batch(
            id=f"batch_{file.content[:8]}", owner=owner, input_file=file.id, content=file.content, endpoint=CHAT, window="1h",
            created_s=now, expires_s=now + window_s,
        )  # fmt: skip
        self.records.put(batch)
        return batch

    def runner(self, ask: Ask) -> Runner:
        return Runner(
            self.records,
            self.content,
            ask,
            clock=self.clock,
            longest_line=10_000,
            note=lambda event, **facts: self.told.append(facts),
        )

    async def run(self, ask: Ask, batch: Batch) -> Batch:
        """Until the batch has ended."""
        task = asyncio.ensure_future(self.runner(ask).run())
        try:
            async with asyncio.timeout(30):
                while (found := self.records.batch(batch.id)) is None or found.status not in ENDED:
                    await asyncio.sleep(0.01)
                    if task.done():
                        task.result()
            return found
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def written(self, about: str | None) -> dict[str, Any]:
        """A file that a batch made, by custom_id; none may stand there twice."""
        if about is None:
            return {}
        file = self.records.file(about, "key_1", self.clock.now_s())
        assert file is not None
        raw = b"".join(self.content.read(file.content, self.clock.now_ms()))
        assert len(raw) == file.size
        found = [json.loads(line) for line in raw.splitlines()]
        assert len({one["custom_id"] for one in found}) == len(found)
        return {one["custom_id"]: one for one in found}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    one = Office(tmp_path)
    yield one
    one.records.close()
    one.keyring.close()


def good(question: Question) -> Answer:
    at = json.loads(question.body)["at"]
    return Answer(200, json.dumps({"said": at}).encode(), f"call_{at}", tokens=USED)


async def answer(question: Question) -> Answer:
    await asyncio.sleep(0)
    return good(question)


async def test_every_line_has_its_answer(office: Office) -> None:
    batch = await office.run(answer, office.begin(200))
    assert (batch.status, batch.total, batch.completed, batch.failed) == ("completed", 200, 200, 0)
    found = office.written(batch.output_file)
    assert {one["response"]["body"]["said"] for one in found.values()} == set(range(200))
    assert batch.error_file is None
    assert batch.tokens == (200 * 5, 200 * 2, 200 * 6, 200), (
        "input with what was read from a cache, and output with what was thought"
    )
    assert list(batch.times) == ["in_progress", "finalizing", "completed"]
    assert len(list((office.folder / "content").iterdir())) == 2, "the input and the output; no journal is left"


async def test_no_more_at_once_than_it_may(office: Office) -> None:
    under_way, most = 0, 0

    async def ask(question: Question) -> Answer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return good(question)

    await office.run(ask, office.begin(300))
    assert most == AT_ONCE


async def test_a_bad_file_runs_nothing(office: Office) -> None:
    asked: list[Question] = []

    async def ask(question: Question) -> Answer:
        asked.append(question)
        return good(question)

    raw = b"\n".join([json.dumps({"custom_id": f"r{at}", "method": "POST", "url": CHAT, "body": {"model": "m", "at": at}}).encode() for at in range(50)])  # fmt: skip
    batch = await office.run(ask, office.begin(0, raw=raw + b"\n{broken"))
    assert batch.status == "failed"
    assert [(fault.code, fault.line) for fault in batch.faults] == [("invalid_json_line", 51)]
    assert asked == []


async def test_what_a_provider_fails_at_is_asked_again_and_then_told(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of its own a few times, refusals of the caller's words once."""
    tries: Counter[int] = Counter()
    monkeypatch.setattr("freehold.jobs.runner.random.uniform", lambda low, high: 0.001)

    async def ask(question: Question) -> Answer:
        at = json.loads(question.body)["at"]
        tries[at] += 1
        if at == 0:
            return Answer(502, b'{"error":{"message":"down"}}', "call_x", "upstream.failed")
        if at == 1 and tries[at] < 3:
            return Answer(429, b"{}", "call_x", "upstream.rate_limited")
        if at == 2:
            return Answer(400, b'{"error":{"message":"no"}}', "call_x", "upstream.rejected")
        return good(question)

    batch = await office.run(ask, office.begin(4))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 2, 2)
    assert dict(tries) == {0: TRIES, 1: 3, 2: 1, 3: 1}
    errors = office.written(batch.error_file)
    assert {name: one["response"]["status_code"] for name, one in errors.items()} == {"r0": 502, "r2": 400}
    assert errors["r2"]["response"]["body"]["error"]["message"] == "no"


async def test_what_freehold_refuses_for_now_is_asked_until_it_may(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: Counter[int] = Counter()
    monkeypatch.setattr("freehold.jobs.runner.random.uniform", lambda low, high: 0.0001)
    codes = ["limits.calls", "ledger.unavailable", "upstream.busy", "upstream.resting", "server.draining"]

    async def ask(question: Question) -> Answer:
        at = json.loads(question.body)["at"]
        refused[at] += 1
        if refused[at] <= 12:
            return Answer(429, b"{}", "", codes[refused[at] % len(codes)])
        return good(question)

    batch = await office.run(ask, office.begin(10))
    assert (batch.completed, batch.failed) == (10, 0)


async def test_a_budget_is_used_to_its_end_and_no_further(office: Office) -> None:
    """Each holds three and needs one: 40 fit into 40 only if those that were refused are asked again when others have given back."""
    left = 40

    async def ask(question: Question) -> Answer:
        nonlocal left
        if left < 3:
            return Answer(429, b"{}", "", "budget.exhausted")
        left -= 3
        await asyncio.sleep(0.001)
        left += 2
        return good(question)

    batch = await office.run(ask, office.begin(100))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 38, 62)
    assert left == 2


async def test_wherever_it_is_cut_off_nothing_is_lost_or_asked_for_again(office: Office) -> None:
    """The process ends after every so many answers; what is in a journal is not asked for again, what was under way is."""
    asked: Counter[int] = Counter()
    batch = office.begin(150)
    answered_in_all = lives = 0
    for _ in range(40):
        lives += 1
        answered = 0
        cut = asyncio.Event()

        async def ask(question: Question, cut: asyncio.Event = cut) -> Answer:
            nonlocal answered
            at = json.loads(question.body)["at"]
            asked[at] += 1
            await asyncio.sleep(0.0001 * (at % 7))
            if answered >= 7:
                cut.set()
                await asyncio.sleep(60)  # until it is killed
            answered += 1
            return good(question)

        task = asyncio.ensure_future(office.runner(ask).run())
        waits = [asyncio.ensure_future(cut.wait()), asyncio.ensure_future(_ended(office, batch))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in (task, *waits):
            one.cancel()
        await asyncio.gather(task, *waits, return_exceptions=True)
        answered_in_all += answered
        found = office.records.batch(batch.id)
        assert found is not None
        if found.status in ENDED:
            break
    assert (found.status, found.total, found.completed, found.failed) == ("completed", 150, 150, 0)
    assert found.tokens == (150 * 5, 150 * 2, 150 * 6, 150), "counted once"
    assert len(office.written(found.output_file)) == 150
    assert answered_in_all == 150, "what had its answer was never asked for again"
    assert lives > 15


async def _ended(office: Office, batch: Batch) -> None:
    while (found := office.records.batch(batch.id)) is None or found.status not in ENDED:
        await asyncio.sleep(0.005)


async def test_half_a_record_is_asked_for_again(office: Office) -> None:
    """A process that was killed while it wrote leaves half a record; what stands before it counts."""
    batch = office.begin(20)
    cut = asyncio.Event()

    async def ask(question: Question) -> Answer:
        if json.loads(question.body)["at"] >= 10:
            cut.set()
            await asyncio.sleep(60)
        return good(question)

    task = asyncio.ensure_future(office.runner(ask).run())
    await cut.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (about,) = office.records.segments(batch.id)
    path = office.folder / "content" / about
    path.write_bytes(path.read_bytes()[:-5])
    again: list[int] = []

    async def rest(question: Question) -> Answer:
        again.append(json.loads(question.body)["at"])
        return good(question)

    found = await office.run(rest, batch)
    assert (found.completed, len(again)) == (20, 11)
    assert len(office.written(found.output_file)) == 20


async def test_a_cancelled_batch_keeps_what_it_has(office: Office) -> None:
    batch = office.begin(100)

    async def ask(question: Question) -> Answer:
        at = json.loads(question.body)["at"]
        if at == 40:
            office.records.ask_to_cancel(batch, int(office.clock.now_s()))
        await asyncio.sleep(0.6 if at > 40 else 0)
        return good(question)

    found = await office.run(ask, batch)
    assert found.status == "cancelled"
    output, errors = office.written(found.output_file), office.written(found.error_file)
    assert len(output) + len(errors) == 100
    assert found.completed == len(output) >= 40
    assert {one["error"]["code"] for one in errors.values()} == {"batch_cancelled"}
    assert {"cancelling", "cancelled"} <= set(found.times)


async def test_what_is_not_done_in_time_is_told_so(office: Office) -> None:
    batch = office.begin(100)

    async def ask(question: Question) -> Answer:
        if json.loads(question.body)["at"] == 20:
            office.ahead_s = 4000
        return good(question)

    found = await office.run(ask, batch)
    assert found.status == "expired"
    output, errors = office.written(found.output_file), office.written(found.error_file)
    assert (len(output) + len(errors), {one["error"]["code"] for one in errors.values()}) == (100, {"batch_expired"})


async def test_an_erased_key_takes_its_batch_with_it(office: Office) -> None:
    batch = office.begin(50)
    office.keyring.erase("key_1", 0)
    found = await office.run(answer, batch)
    assert (found.status, [fault.code for fault in found.faults]) == ("failed", ["content.gone"])


async def test_a_disk_that_is_full_is_waited_out(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that cannot be written down are asked for again when there is room, and those that were are not."""
    real, written, asked = os.write, 0, Counter[int]()

    def write(fd: int, data: bytes) -> int:
        nonlocal written
        written += 1
        if 30 <= written < 34:
            raise OSError(28, "No space left on device")
        return real(fd, data)

    async def ask(question: Question) -> Answer:
        asked[json.loads(question.body)["at"]] += 1
        return good(question)

    monkeypatch.setattr("freehold.content.sealed.os.write", write)
    found = await office.run(ask, office.begin(100))
    assert (found.completed, len(office.written(found.output_file))) == (100, 100)
    assert sum(asked.values()) < 100 + AT_ONCE + 1
    assert any(facts.get("reason") == "OSError" for facts in office.told)


async def test_stopping_lets_what_is_under_way_end(office: Office) -> None:
    batch = office.begin(100)
    gate = asyncio.Event()
    asked = 0

    async def ask(question: Question) -> Answer:
        nonlocal asked
        asked += 1
        await gate.wait()
        return good(question)

    runner = office.runner(ask)
    task = asyncio.ensure_future(runner.run())
    while asked < AT_ONCE:
        await asyncio.sleep(0.01)
    stopping = asyncio.ensure_future(runner.stop())
    await asyncio.sleep(0.05)
    gate.set()
    await stopping
    await task
    assert asked == AT_ONCE
    found = office.records.batch(batch.id)
    assert found is not None
    assert (found.status, found.completed) == ("in_progress", AT_ONCE)


async def test_an_erased_key_asks_no_more(office: Office) -> None:
    """Erased while its batch runs, and made anew by another call of the same key: what was read before is not sent any more."""
    asked = 0

    async def ask(question: Question) -> Answer:
        nonlocal asked
        asked += 1
        if asked == 50:
            office.keyring.erase("key_1", 0)
            office.keyring.key("key_1")
        await asyncio.sleep(0.001)
        return good(question)

    found = await office.run(ask, office.begin(400))
    assert (found.status, [fault.code for fault in found.faults]) == ("failed", ["content.gone"])
    assert asked <= 50 + AT_ONCE


async def test_a_deleted_input_is_kept_until_its_batch_has_ended(office: Office) -> None:
    """Its owner does not see it any more; the batch goes on, and at its end nothing of it is left."""
    batch = office.begin(100)

    async def ask(question: Question) -> Answer:
        if json.loads(question.body)["at"] == 10:
            file = office.records.file(batch.input_file, "key_1", office.clock.now_s())
            assert file is not None
            assert not office.records.drop_file(file), "it is needed"
            office.records.ask_to_cancel(batch, int(office.clock.now_s()))
        await asyncio.sleep(0.6 if json.loads(question.body)["at"] > 10 else 0)
        return good(question)

    found = await office.run(ask, batch)
    assert found.status == "cancelled"
    assert len(office.written(found.output_file)) + len(office.written(found.error_file)) == 100
    assert len(list((office.folder / "content").iterdir())) == 2


async def test_what_was_answered_is_given_out_whatever_becomes_of_the_input(office: Office) -> None:
    batch = office.begin(100)

    async def ask(question: Question) -> Answer:
        if json.loads(question.body)["at"] == 40:
            office.content.drop(batch.content)
            office.ahead_s = 4000
        return good(question)

    found = await office.run(ask, batch)
    assert (found.status, [fault.code for fault in found.faults]) == ("failed", ["content.gone"])
    assert len(office.written(found.output_file)) >= 40


async def test_one_owner_holds_up_nobody_else(office: Office) -> None:
    """Six batches of one that may ask for nothing now, and one of another: it is done at once."""
    for _ in range(6):
        office.begin(5, owner="key_2")
    mine = office.begin(20)

    async def ask(question: Question) -> Answer:
        return (
            Answer(429, b"{}", "", "limits.calls", retry_after_s=60.0) if question.owner == "key_2" else good(question)
        )

    assert (await office.run(ask, mine)).status == "completed"


async def test_a_database_that_fails_is_asked_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failed = office.records.open_batches, 0

    def open_batches() -> list[str]:
        nonlocal failed
        failed += 1
        if failed <= 1:
            raise sqlite3.OperationalError("disk I/O error")
        return real()

    monkeypatch.setattr(office.records, "open_batches", open_batches)
    assert (await office.run(answer, office.begin(5))).status == "completed"
    assert {"reason": "OperationalError"} in office.told


async def test_a_bug_in_one_line_is_told_and_loses_nothing(office: Office) -> None:
    failed = False

    async def ask(question: Question) -> Answer:
        nonlocal failed
        if json.loads(question.body)["at"] == 7 and not failed:
            failed = True
            raise RuntimeError
        return good(question)

    found = await office.run(ask, office.begin(50))
    assert (found.status, found.completed) == ("completed", 50)
    assert any(facts.get("reason") == "RuntimeError" for facts in office.told)


async def test_fewer_are_asked_where_there_is_no_room(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider with two places: after a while hardly anybody is refused."""
    monkeypatch.setattr("freehold.jobs.runner.random.uniform", lambda low, high: 0.001)
    under_way = refused = 0

    async def ask(question: Question) -> Answer:
        nonlocal under_way, refused
        if under_way >= 2:
            refused += 1
            return Answer(503, b"{}", "", "upstream.busy", retry_after_s=0.001)
        under_way += 1
        await asyncio.sleep(0.002)
        under_way -= 1
        return good(question)

    found = await office.run(ask, office.begin(300))
    assert (found.completed, found.failed) == (300, 0)
    assert refused < 3000


def test_what_belongs_to_another_is_not_there(office: Office) -> None:
    file, batch = office.upload(b"x", owner="key_2"), office.begin(1)
    now = office.clock.now_s()
    assert office.records.file(file.id, "key_1", now) is None
    assert office.records.file(file.id, "key_2", now) is not None
    assert office.records.file(file.id, "key_2", now + 10**7) is None, "its time is over"
    assert office.records.batch(batch.id, "key_2") is None
    assert office.records.files("key_1", now) != office.records.files("key_2", now)
