"""What budgets had spent before a process began to count, out of the log: at a start, at a hand-over, and for what a process leaves that has ended.

Rules: a start that has everything counts anew from the receipts. One that goes on beside others takes what they count as they count it; where nobody
who lives counts in a budget (it came with the new configuration), it is counted from the receipts, and for each of the others there is a row of its
own, which becomes what its calls came to when it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from freehold.gateway.preparing import Prepared
from freehold.identity.keys import Keys
from freehold.kernel.limits import Budget, period_start_ms
from freehold.kernel.snapshot import Snapshot
from freehold.ledger.budgets import seed
from freehold.ledger.pools import Pools
from freehold.ledger.sqlite_pools import SqlitePools, aside_of, counted_for
from freehold.ledger.steward import records_in
from freehold.ledger.store import SqliteStore, UsageRow, catch_up

POOLS = "pools.db"
Spent = tuple[Budget, int, Decimal]  # in the period that began then
Amounts = dict[tuple[str, int], Decimal]  # by pool and period
_ZERO = Decimal(0)


def seed_all(prepared: Prepared, keys: Keys, pools: Pools) -> None:
    """Count in new pools what was spent before: ask when a crash's receipts are written."""
    seed(pools, spent_before(prepared, keys))


def seed_beside(prepared: Prepared, keys: Keys, workers: int) -> None:
    """Count in pools that others use what nobody counts who lives."""
    file, store = prepared.state / POOLS, SqliteStore(prepared.state / "index.db")
    pools = SqlitePools(file, worker="before", workers=workers)
    try:
        catch_up(store, prepared.state / "log")
        spent, places = (
            _spent(prepared.snapshot, prepared.clock.now_ms(), _budgets(prepared.snapshot, keys), store),
            store.places(),
        )
        living = {epoch: _of_epoch(prepared, keys, epoch, places) for epoch in prepared.steward.beside}
        for budget, start_ms, amount in spent:
            if pools.is_counted(budget.pool, start_ms):
                continue
            pools.forget_seeds(budget.pool, start_ms)
            for epoch, (ended, whole) in living.items():
                now = whole.get((budget.pool, start_ms), _ZERO)
                pools.report_for(counted_for(str(epoch)), budget.pool, start_ms, leased=now, spent=now)
                amount -= ended.get((budget.pool, start_ms), _ZERO)
            seed(pools, [(budget, start_ms, max(_ZERO, amount))])
    finally:
        pools.close()
        store.close()


def spent_before(prepared: Prepared, keys: Keys) -> list[Spent]:
    """What every budget had already spent in its running period, from the receipts."""
    budgets = _budgets(prepared.snapshot, keys)
    if not budgets:
        return []
    store = SqliteStore(prepared.state / "index.db")
    try:
        catch_up(store, prepared.state / "log")
        return _spent(prepared.snapshot, prepared.clock.now_ms(), budgets, store)
    finally:
        store.close()


def _budgets(snapshot: Snapshot, keys: Keys) -> list[Budget]:
    of_keys = (budget for key in keys.all() if key.revoked_ms is None for budget in key.budgets)
    return [*snapshot.budgets, *of_keys]


def _spent(snapshot: Snapshot, now_ms: int, budgets: Sequence[Budget], store: SqliteStore) -> list[Spent]:
    known: dict[tuple[str, int], list[UsageRow]] = {}
    spent = []
    for budget in budgets:
        start = period_start_ms(budget.period, now_ms, snapshot.organisation.zone)
        kind, _, name = budget.scope.partition(":")
        if (kind, start) not in known:
            known[kind, start] = store.usage((kind,) if name else (), since_ms=start)
        rows = [row for row in known[kind, start] if not name or row.group[kind] == name]
        tokens = sum(row.input_tokens + row.output_tokens for row in rows)
        money = sum((row.cost_usd for row in rows), Decimal(0))
        spent.append((budget, start, Decimal(tokens) if budget.unit == "tokens" else money))
    return spent


def settle_pools(prepared: Prepared, keys: Keys, epoch: int) -> None:
    """Bring down what the process of an epoch had leased, or was counted for it. Raises OperatorError, OSError, sqlite3.Error: it stays leased then, so too little is spent, not too much."""
    file: Path = prepared.state / POOLS
    if not file.is_file():
        return
    name = str(epoch)
    pools = SqlitePools(file, worker=name, workers=2)
    try:
        pools.drop(aside_of(name))
        rows = [(worker, *row) for worker in (name, counted_for(name)) for row in pools.leased(worker)]
        spent = _of_epoch(prepared, keys, epoch, {})[1] if rows else {}
        for worker, pool, start_ms in rows:
            amount = spent.get((pool, start_ms), _ZERO)
            pools.report_for(worker, pool, start_ms, leased=amount, spent=amount)
    finally:
        pools.close()


def _of_epoch(prepared: Prepared, keys: Keys, epoch: int, places: dict[str, int]) -> tuple[Amounts, Amounts]:
    """What the calls of an epoch have come to: those that have ended up to a place of its log, and all, those that have not at what they held."""
    snapshot, path = prepared.snapshot, prepared.state / "log" / f"{epoch:08d}.jsonl"
    by_key = {key.id: key.budgets for key in keys.all()}
    ended: list[dict[str, Any]] = []
    known: list[dict[str, Any]] = []  # of those, what an index has read
    open_: dict[str, dict[str, Any]] = {}
    for record, behind in records_in(path):
        if record["kind"] == "intent":
            open_[record["call"]] = record
        elif record["kind"] == "settled":
            open_.pop(record["call"], None)
            ended.append(record)
            if behind <= places.get(path.name, 0):
                known.append(record)
    return _amounts(known, by_key, snapshot), _amounts([*ended, *open_.values()], by_key, snapshot)


def _amounts(records: Iterable[dict[str, Any]], by_key: dict[str, tuple[Budget, ...]], snapshot: Snapshot) -> Amounts:
    found: Amounts = {}
    for record in records:
        workload = snapshot.workloads.get(record["workload"] or "")
        for budget in (*by_key.get(record["key"], ()), *snapshot.budgets_of(workload)):
            start = period_start_ms(budget.period, record["at_ms"], snapshot.organisation.zone)
            found[budget.pool, start] = found.get((budget.pool, start), _ZERO) + _amount(record, budget)
    return found


def _amount(record: dict[str, Any], budget: Budget) -> Decimal:
    """What a receipt came to, or what an attempt without a receipt held."""
    if budget.unit == "tokens":
        tokens = record.get("tokens")
        return Decimal(sum(tokens.values()) if tokens is not None else record.get("held_tokens") or 0)
    return Decimal(record.get("cost_usd" if "tokens" in record else "held_usd") or 0)
