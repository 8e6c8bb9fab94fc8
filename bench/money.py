"""`make bench-money`: what budgets and limits cost a call, with one key and with ten thousand; over several workers; and a report over ten million receipts.

CPU microseconds on one core, the median of rounds, beside a yardstick of the same run (hashing 2 kB with SHA-256).
"""

from __future__ import annotations

import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from freehold.gateway.limits import Throttle
from freehold.kernel.limits import Budget, Limits, Rate, parse_budget
from freehold.kernel.units import Usd
from freehold.ledger.budgets import Budgets
from freehold.ledger.pools import MemoryPools, Pools
from freehold.ledger.sqlite_pools import SqlitePools
from freehold.ledger.store import SLOT_MS, SqliteStore

CALLS, ROUNDS = 10_000, 7
NOW_MS = 1_795_500_000_000
LIMITS = Limits(Rate(1_000_000, 60), Rate(10**12, 60), 1_000)


def measure(work: Callable[[int], None]) -> float:
    """Median CPU microseconds of one call."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for at in range(CALLS):
            work(at)
        times.append((time.process_time() - began) / CALLS * 1e6)
    return statistics.median(times)


def calls(pools: Pools, keys: int) -> Callable[[int], None]:
    """One call: held in four budgets (key, workload, department, organisation), let through three limits of two scopes, settled and given back."""
    budgets, throttle = Budgets(pools), Throttle(pools)
    above = tuple(
        parse_budget(f"1000000000 {unit}/month", scope)
        for unit, scope in (("USD", "workload:w"), ("tokens", "department:d"), ("USD", "organisation"))
    )
    own: list[tuple[tuple[Budget, ...], list[tuple[str, Limits]]]] = [
        ((parse_budget("1000000000 USD/day", f"key:{at}"), *above), [(f"key:{at}", LIMITS), ("workload:w", LIMITS)])
        for at in range(keys)
    ]
    worst, cost = Usd(Decimal("0.0123")), Usd(Decimal("0.000456"))

    def one(at: int) -> None:
        held, limits = own[at % keys]
        now_ns = at * 1_000_000
        ticket = throttle.admit(limits, 2_000, now_ns=now_ns)
        hold = budgets.reserve(held, worst, 2_000, now_ms=NOW_MS)
        budgets.settle(hold, cost, 700)
        throttle.leave(ticket, 700, now_ns=now_ns)

    return one


def report(folder: Path) -> None:
    """Usage over ten million receipts: a thousand keys, forty workloads, a month."""
    store, draw = SqliteStore(folder / "index.db"), random.Random(7)
    kinds = [
        {
            "department": f"d{at % 5}",
            "workload": f"w{at % 40}",
            "key": f"k{at}",
            "model": f"m{at % 7}",
            "target": f"t{at % 9}",
            "zone": "inside",
            "class": "public",
            "outcome": "ok",
        }
        for at in range(1_000)
    ]
    tokens = dict.fromkeys(("input", "cache_read", "cache_write", "output", "reasoning", "audio_in", "audio_out"), 0)
    place = count = 0
    began = time.perf_counter()
    for slot in range(2_880):
        receipts = [
            {
                **kind,
                "at_ms": NOW_MS + slot * SLOT_MS,
                "tokens": {**tokens, "input": 500, "output": 200},
                "cost_usd": f"0.{draw.randrange(10**9):09d}",
            }
            for kind in kinds
            for _ in range(4)
        ]
        store.add(receipts, "00000001.jsonl", place, place + 1)
        place, count = place + 1, count + len(receipts)
    print(f"\n{count:,} receipts were added up in {time.perf_counter() - began:.0f} s")
    print(f"A report over {count:,} receipts (of 1,000 keys, in a month's quarters of an hour)")
    for by in (("workload", "model"), ("department", "workload", "model"), ("day", "workload"), ("key",)):
        began = time.perf_counter()
        rows = store.usage(by)
        print(f"- by {', '.join(by)}: {len(rows)} rows in {time.perf_counter() - began:.1f} s")
    store.close()


def main() -> None:
    data = b"x" * 2048
    print(f"yardstick: SHA-256 of 2 kB: {measure(lambda _: hashlib.sha256(data).digest() and None):.1f} µs\n")
    print("Held in four budgets, let through six limits, settled and given back, CPU µs a call")
    for keys in (1, 10_000):
        print(f"- alone, {keys:,} key{'s' * (keys > 1)}: {measure(calls(MemoryPools(), keys)):.1f}")
    with tempfile.TemporaryDirectory() as name:
        pools = SqlitePools(Path(name) / "pools.db", worker="1", workers=4)
        print(f"- one of four workers: {measure(calls(pools, 1)):.1f}")
        pools.close()
        report(Path(name))


if __name__ == "__main__":
    main()
