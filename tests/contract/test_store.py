"""One suite for every index over the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from freehold.kernel.errors import CallerError
from freehold.ledger.database import Database
from freehold.ledger.postgres import PostgresStore
from freehold.ledger.store import SqliteStore, Store, catch_up
from servers import Postgres

Make = Callable[[], Store]


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[Store] = []
    database = Database(request.getfixturevalue("postgres").fresh()) if request.param == "postgres" else None

    def one() -> Store:
        index = (
            SqliteStore(tmp_path / "index.db")
            if database is None
            else PostgresStore(database, "node", tmp_path / "log")
        )
        made.append(index)
        return made[-1]

    yield one
    for store in made:
        store.close()
    if database is not None:
        database.close()


def receipt(call: str, **more: Any) -> dict[str, Any]:
    tokens = {"input": 3, "cache_read": 2, "cache_write": 0, "output": 4, "reasoning": 1, "audio_in": 0, "audio_out": 0}
    base = {
        "kind": "settled",
        "call": call,
        "at_ms": 1_795_500_000_000,
        "key": "k",
        "workload": "w",
        "model": "m",
        "target": "a/m",
        "zone": "inside",
        "class": "public",
        "outcome": "ok",
        "tokens": tokens,
        "cost_usd": "0.1",
    }
    return base | more


def write_log(folder: Path, *receipts: dict[str, Any], segment: int = 1) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / f"{segment:08d}.jsonl").open("ab") as file:
        for one in receipts:
            file.write(json.dumps(one, separators=(",", ":")).encode() + b"\n")


def test_sums_are_exact(make: Make, tmp_path: Path) -> None:
    """A thousand times a tenth is a hundred, and 1e-12 is not lost."""
    write_log(tmp_path / "log", *(receipt(f"c{at}") for at in range(1000)), receipt("tiny", cost_usd="0.000000000001"))
    store = make()
    assert catch_up(store, tmp_path / "log") == 1001
    (row,) = store.usage(())
    assert (row.calls, row.input_tokens, row.output_tokens, row.cost_usd) == (
        1001,
        5005,
        5005,
        Decimal("100.000000000001"),
    )


def test_a_receipt_counts_once_whoever_reads_it(make: Make, tmp_path: Path) -> None:
    write_log(tmp_path / "log", receipt("a"), receipt("b"))
    one, other = make(), make()
    assert catch_up(other, tmp_path / "log") == 2
    assert one.add([receipt("a")], "00000001.jsonl", 0, 10) is False
    write_log(tmp_path / "log", receipt("c"), segment=2)
    assert catch_up(one, tmp_path / "log") == 1
    assert one.usage(())[0].calls == 3


def test_several_segments_may_grow_at_once(make: Make, tmp_path: Path) -> None:
    """Each worker has one, and each is read from where it was left."""
    store = make()
    for at in range(4):
        for segment in (1, 2, 3):
            write_log(tmp_path / "log", receipt(f"{segment}-{at}", cost_usd="0.1"), segment=segment)
        assert catch_up(store, tmp_path / "log") == 3
        assert catch_up(store, tmp_path / "log") == 0
    assert store.usage(())[0].cost_usd == Decimal("1.2")


def test_amounts_of_any_fineness_are_exact(make: Make, tmp_path: Path) -> None:
    """Whole nano-dollars, parts of them, below them, large ones, and ones that are taken back."""
    amounts = [
        "0",
        "123456789.123456789123456789",
        "-0.000000000000000001",
        "1e-30",
        "-0.25",
        "99999999999",
        "0.3333333333333333333333",
    ]
    write_log(tmp_path / "log", *(receipt(f"c{at}", cost_usd=text) for at, text in enumerate(amounts)))
    store = make()
    catch_up(store, tmp_path / "log")
    (row,) = store.usage(("day",))
    with localcontext(prec=60):
        assert row.cost_usd == sum(map(Decimal, amounts))
    assert row.unpriced == 0


def test_a_day_begins_where_the_organisation_is(make: Make, tmp_path: Path) -> None:
    late = 1_795_500_000_000 - 7 * 3_600_000  # 23:00 UTC on the 23rd
    write_log(tmp_path / "log", receipt("a", at_ms=late), receipt("b", at_ms=late + 3_600_000))
    store = make()
    catch_up(store, tmp_path / "log")
    assert [row.group["day"] for row in store.usage(("day",))] == ["2026-11-23", "2026-11-24"]
    assert [row.group["day"] for row in store.usage(("day",), zone=ZoneInfo("Asia/Kolkata"))] == ["2026-11-24"]
    assert [row.group["month"] for row in store.usage(("month",))] == ["2026-11"]


def test_a_half_written_line_is_read_later(make: Make, tmp_path: Path) -> None:
    write_log(tmp_path / "log", receipt("a"))
    path = tmp_path / "log" / "00000001.jsonl"
    line = json.dumps(receipt("b"), separators=(",", ":")).encode() + b"\n"
    path.write_bytes(path.read_bytes() + line[:20])
    store = make()
    assert catch_up(store, tmp_path / "log") == 1
    path.write_bytes(path.read_bytes() + line[20:])
    assert catch_up(store, tmp_path / "log") == 1


def test_groups_times_and_unknown_prices(make: Make, tmp_path: Path) -> None:
    day = 86_400_000
    write_log(
        tmp_path / "log",
        receipt("a"),
        receipt("b", cost_usd=None, at_ms=1_795_500_000_000 + day),
        receipt("c", outcome="refused", cost_usd=None, target=None, workload=None),
    )
    store = make()
    catch_up(store, tmp_path / "log")
    rows = {(row.group["day"], row.group["outcome"]): row for row in store.usage(("day", "outcome"))}
    assert rows[("2026-11-25", "ok")].unpriced == 1
    assert rows[("2026-11-24", "refused")].unpriced == 0, "what was refused has no price to know"
    assert store.usage((), since_ms=1_795_500_000_000 + 900_000)[0].calls == 1
    assert store.usage(("workload",))[0].group == {"workload": ""}
    with pytest.raises(CallerError):
        store.usage(("call; drop table receipt",))


def test_an_empty_log_is_no_usage(make: Make, tmp_path: Path) -> None:
    store = make()
    assert catch_up(store, tmp_path / "nothing") == 0
    assert store.usage(("model",)) == []


def test_lengths_are_of_calls_whose_tokens_are_known(make: Callable[[], Store], tmp_path: Path) -> None:
    """Together by their size, exactly summed; what was refused, guessed, given again or only corrected is left out."""
    small = {"input": 3, "cache_read": 2, "cache_write": 0, "output": 4, "reasoning": 1, "audio_in": 0, "audio_out": 0}
    large = {**small, "input": 900, "output": 300}
    write_log(
        tmp_path / "log",
        receipt("1"),
        receipt("2", tokens={**small, "input": 5}),
        receipt("3", tokens=large),
        receipt("4", workload="v", tokens=large),
        receipt("5", outcome="refused"),
        receipt("6", is_estimate=True),
        receipt("7", corrects="1"),
        receipt("8", cached="1"),
        receipt("9", tokens={**small, "output": 0, "reasoning": 0}),
    )
    store = make()
    catch_up(store, tmp_path / "log")
    found = [(one.workload, one.calls, one.input, one.output, one.cached) for one in store.lengths()]
    assert found == [("v", 1, 902, 301, 2), ("w", 2, 5 + 7, 5 + 5, 4), ("w", 1, 902, 301, 2)]


def test_no_name_stops_the_index(make: Make, tmp_path: Path) -> None:
    """Whatever a caller makes up: what comes after it is read too."""
    write_log(
        tmp_path / "log",
        receipt("a", model="x\0y"),
        receipt("b", model="\ud7ff\uffff\u202e"),
        receipt("c"),
    )
    store = make()
    assert catch_up(store, tmp_path / "log") == 3
    assert sum(row.calls for row in store.usage(("model",))) == 3


def test_what_is_known_uses_up_no_numbers(postgres: Postgres, tmp_path: Path) -> None:
    """A number for each kind, however often it is seen."""
    database = Database(postgres.fresh())
    store = PostgresStore(database, "node", tmp_path / "log")
    for at in range(20):
        write_log(tmp_path / "log", receipt(f"a{at}"), receipt(f"b{at}", model=f"m{at % 2}"))
        catch_up(store, tmp_path / "log")

    async def last(db: Any) -> Any:
        return await db.fetchval("select last_value from freehold.kind_id_seq")

    assert database.run(last) == 3
    database.close()


def test_a_directory_that_was_restored_uses_numbers_again(postgres: Postgres, tmp_path: Path) -> None:
    """Its new segments have the names of others, and are read from their beginning."""
    database = Database(postgres.fresh())
    write_log(tmp_path / "log", *(receipt(f"before{at}") for at in range(5)))
    assert catch_up(PostgresStore(database, "node", tmp_path / "log"), tmp_path / "log") == 5
    (tmp_path / "log" / "00000001.jsonl").unlink()
    write_log(tmp_path / "log", receipt("after"))
    again = PostgresStore(database, "node", tmp_path / "log")
    assert catch_up(again, tmp_path / "log") == 1
    assert catch_up(again, tmp_path / "log") == 0
    assert again.usage(())[0].calls == 6
    database.close()
