"""Stored answers: what receipts say of an id, in memory and through the index, also one that an older version made."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freehold.kernel.classes import Class
from freehold.kernel.units import Tokens
from freehold.ledger import answers
from freehold.ledger.answers import Answers, Issued
from freehold.ledger.store import SqliteStore, catch_up
from ledger.test_ledger import intent, open_ledger, receipt


def made(call: str, about: str = "resp_1", **more: Any) -> Any:
    return msgspec.structs.replace(receipt(call), **{"answer_id": about, "endpoint": "responses", **more})


async def settle(state: Path, *receipts: Any) -> None:
    """Write receipts in an epoch of their own."""
    ledger = open_ledger(state)
    for one in receipts:
        ledger.intend(intent(one.call))
        ledger.settle(one)
    ledger.close()


@pytest.fixture(params=["memory", "index"])
def remembered(request: pytest.FixtureRequest) -> int:
    return 10_000 if request.param == "memory" else 0


async def issued(state: Path, *receipts: Any, remembered: int, monkeypatch: pytest.MonkeyPatch) -> Issued | None:
    """What is known of `resp_1` after these receipts: from memory, or where memory holds nothing."""
    monkeypatch.setattr(answers, "_REMEMBERED", remembered)
    ledger = open_ledger(state)
    for one in receipts:
        ledger.intend(intent(one.call))
        ledger.settle(one)
    try:
        await asyncio.sleep(0)  # receipts reach the log with the loop's next turn
        return await ledger.answers.find("resp_1")
    finally:
        ledger.close()


async def test_a_correction_counts_once(tmp_path: Path, remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made("call_1", cost_usd="5", tokens=Tokens(), is_estimate=True)
    poll = made("call_2", cost_usd="0", tokens=Tokens(), booked_ms=1)
    final = made("call_3", cost_usd="-4", tokens=Tokens(input=3, output=2), booked_ms=1)
    again = made("call_4", cost_usd="0", tokens=Tokens(), booked_ms=1)
    pending = await issued(tmp_path / "a", first, poll, remembered=remembered, monkeypatch=monkeypatch)
    assert pending is not None
    assert (pending.cost, pending.tokens, pending.is_estimate) == (Decimal(5), Tokens(), True)
    known = await issued(tmp_path / "b", first, poll, final, again, remembered=remembered, monkeypatch=monkeypatch)
    assert known is not None
    assert (known.cost, known.tokens, known.is_estimate) == (Decimal(1), Tokens(input=3, output=2), False)
    assert known.missing(Tokens(input=4, output=1)) == Tokens(input=1, output=-1)


@pytest.mark.parametrize("other", [{"key": "key_2"}, {"target": "b/m"}])
async def test_an_id_that_was_given_out_twice_is_nobodys(
    tmp_path: Path, remembered: int, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    both = made("call_1"), made("call_2", class_="restricted", **other)
    found = await issued(tmp_path, *both, remembered=remembered, monkeypatch=monkeypatch)
    assert found is not None
    assert (found.key, found.class_) == ("", Class.RESTRICTED)


async def test_the_highest_class_stays(tmp_path: Path, remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    both = made("call_1", class_="restricted"), made("call_2", class_="public", booked_ms=1)
    found = await issued(tmp_path, *both, remembered=remembered, monkeypatch=monkeypatch)
    assert found is not None
    assert found.class_ is Class.RESTRICTED


async def test_a_memory_that_is_full_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_REMEMBERED", 2)
    known = Answers(tmp_path)
    (tmp_path / "log").mkdir()
    for at in range(3):
        known.note({**made(f"call_{at}", f"resp_{at}").fields(), "at_ms": at})
    assert [await known.find(f"resp_{at}") is not None for at in range(3)] == [False, True, True]


async def test_an_index_of_an_older_version_is_built_anew(tmp_path: Path) -> None:
    await settle(tmp_path, made("call_1"), receipt("call_2"))
    with sqlite3.connect(tmp_path / "index.db") as old:
        old.execute("create table receipt (call text primary key, at_ms integer)")
        old.execute("insert into receipt values ('call_0', 1)")
        old.execute("create table place (one integer, segment text, offset integer)")
        old.execute("insert into place values (1, '99999999.log', 12345)")
    store = SqliteStore(tmp_path / "index.db")
    assert catch_up(store, tmp_path / "log") == 2
    assert [row.calls for row in store.usage(())] == [2]
    assert len(store.answers("resp_1")) == 1
    store.close()
    again = SqliteStore(tmp_path / "index.db")
    assert catch_up(again, tmp_path / "log") == 0
    again.close()


async def test_a_correction_is_counted_when_its_call_was_made(tmp_path: Path) -> None:
    """A month that has been closed keeps its sum right: what a later call corrects stands beside what it corrects."""
    await settle(
        tmp_path, made("call_1", cost_usd="5", is_estimate=True), made("call_2", cost_usd="-4", booked_ms=1000)
    )
    store = SqliteStore(tmp_path / "index.db")
    catch_up(store, tmp_path / "log")
    assert [(row.group["day"], row.cost_usd) for row in store.usage(("day",))] == [
        ("1970-01-01", Decimal(-4)),
        ("2023-11-14", Decimal(5)),
    ]
    store.close()
