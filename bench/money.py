"""`make bench-money`: what budgets and limits cost a call, with one key and with ten thousand; over several workers; what the way to a provider and the
exact cache cost; how long a file of a million lines takes to be checked; and a report over ten million receipts.

CPU microseconds on one core, the median of rounds, beside a yardstick of the same run (hashing 2 kB with SHA-256).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec

from freehold.content.answers import Again, AnswerCache, Room
from freehold.content.keyring import Keyring
from freehold.content.sealed import SealedStore
from freehold.gateway.limits import Throttle
from freehold.gateway.metrics import Metrics
from freehold.gateway.traffic import Need, Traffic
from freehold.jobs import lines
from freehold.kernel.classes import Zone
from freehold.kernel.clock import Clock
from freehold.kernel.limits import Budget, Limits, Rate, parse_budget
from freehold.kernel.snapshot import Provider, Target
from freehold.kernel.units import Usd
from freehold.ledger.budgets import Budgets
from freehold.ledger.pools import MemoryPools, Pools
from freehold.ledger.sqlite_pools import SqlitePools
from freehold.ledger.store import SLOT_MS, SqliteStore
from freehold.routing.plan import Fleet, shared
from freehold.upstream.health import Health

CALLS, ROUNDS = 10_000, 7
NOW_MS = 1_795_500_000_000
NEED = Need(2_000, 500)
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


def traffic(limits: Limits | None) -> Callable[[int], None]:
    """One attempt: two equals ordered, the way to the first taken, an answer heard that tells limits, and the way given back."""
    clock = Clock()
    health, throttle = Health(), Throttle(MemoryPools())
    way = Traffic(throttle, health, Metrics(), clock)
    group = (Target("a", "m"), Target("b", "m"))
    fleet = Fleet({}, {}, lambda target: health.vital(target, clock.monotonic_s()), random.Random(7).random)
    providers = {
        name: Provider(name, "http://127.0.0.1/v1", "127.0.0.1", False, Zone.INSIDE, "", limits=limits) for name in "ab"
    }
    told = {f"x-ratelimit-{what}-{of}": "900000" for what in ("limit", "remaining") for of in ("requests", "tokens")}

    def one(_: int) -> None:
        target = shared(group, fleet)[0]
        entering = way.enter(providers[target.provider], target, NEED, is_last=False)
        try:
            entering.send(None)
        except StopIteration as entered:
            health.heard(target, told, 0.1, now_s=clock.monotonic_s(), wall_s=clock.now_s())
            way.leave(entered.value, "ok", used=700)

    return one


def cached(folder: Path, *, is_hit: bool) -> Callable[[int], None]:
    """A question of 2 kB: its key made, and looked for. The answer has 2 kB too."""
    keyring = Keyring(folder / f"subjects{is_hit}.db", b"m" * 32)
    cache = AnswerCache(folder / f"cache{is_hit}.db", SealedStore(folder / f"content{is_hit}", keyring))
    encode = msgspec.json.Encoder(order="sorted").encode
    body = {"model": "w", "temperature": 0, "messages": [{"role": "user", "content": "x" * 2000}]}

    def key() -> bytes:
        return hmac.digest(keyring.key("key_1"), encode(["policy", "rules", "w", "public", body]), "sha256")

    if is_hit:
        cache.keep(
            key(), "key_1", Again({"call": "c"}, b"y" * 2000), Room("w", 10, 10**6), now_ms=NOW_MS, until_ms=NOW_MS * 2
        )

    def one(_: int) -> None:
        assert (cache.find(key(), NOW_MS) is not None) is is_hit

    return one


def checked(folder: Path) -> None:
    """A file of a million lines with one that is broken."""
    store = SealedStore(folder / "files", Keyring(folder / "owners.db", b"m" * 32))

    def parts() -> Iterator[bytes]:
        for at in range(1_000_000):
            body = {"model": "w", "messages": [{"role": "user", "content": f"What is the state of order {at}?"}]}
            line = json.dumps({"custom_id": f"r{at}", "method": "POST", "url": "/v1/chat/completions", "body": body})
            yield (line[:-1] if at == 654_321 else line).encode() + b"\n"

    began = time.perf_counter()
    about = store.keep("key_1", "file", parts(), until_ms=NOW_MS * 2)
    kept = time.perf_counter()
    checker, splitter = lines.Checker("/v1/chat/completions", 1 << 20), lines.Splitter(1 << 20)
    for chunk in store.read(about, NOW_MS):
        for number, raw in splitter.feed(chunk):
            checker.take(number, raw)
    (fault,) = checker.faults()
    seconds = time.perf_counter() - kept
    print(
        f"\nA file of {checker.total:,} lines, made and sealed in {kept - began:.1f} s, checked in {seconds:.1f} s: {fault.code} in line {fault.line:,}"
    )


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
        print("\nThe way to a provider: two equals ordered, taken, its limits heard, given back, CPU µs an attempt")
        print(f"- without limits of its own: {measure(traffic(None)):.1f}")
        print(f"- with three: {measure(traffic(LIMITS)):.1f}")
        print("\nThe exact cache, where a workload has it, CPU µs a call of 2 kB")
        print(f"- looked for in vain: {measure(cached(Path(name), is_hit=False)):.1f}")
        print(f"- given again: {measure(cached(Path(name), is_hit=True)):.1f}")
        checked(Path(name))
        report(Path(name))


if __name__ == "__main__":
    main()
