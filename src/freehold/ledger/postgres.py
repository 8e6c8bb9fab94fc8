"""What nodes share of the ledger: an index over all their logs, and how much of each pool every node has leased.

Rules: each node's log stays its own; what it adds to the index is counted with the place up to which it was read, in one transaction, so that
nothing counts twice and nothing is missing, whenever the connection breaks. A node's part of a pool is said absolutely. What all nodes have leased
never exceeds the limit; a node that is gone keeps what it had, until somebody says that it will not come back.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel.errors import CallerError
from freehold.kernel.lengths import Length
from freehold.kernel.limits import Rate
from freehold.kernel.units import Secret
from freehold.ledger.database import Connection, Database
from freehold.ledger.pools import NO_PART, NOTHING, Pace, Part, Use, granted_of, paced, repaid
from freehold.ledger.store import (
    GROUPS,
    KINDS,
    OF_ANSWER,
    SLOT_MS,
    TIMES,
    UsageRow,
    kind_of,
    label_slots,
    note_length,
    used,
)

STEPS = (
    """
    create table freehold.place (segment text primary key, "offset" bigint not null);
    create table freehold.kind (id serial primary key, department text not null, workload text not null, key text not null, model text not null,
      target text not null, zone text not null, class text not null, outcome text not null,
      unique (department, workload, key, model, target, zone, class, outcome));
    create table freehold.tally (kind integer not null, slot bigint not null, calls bigint not null, input bigint not null, output bigint not null,
      cost numeric not null, unpriced bigint not null, primary key (kind, slot));
    create table freehold.length (workload text not null, prompt integer not null, answer integer not null, calls bigint not null,
      input bigint not null, output bigint not null, cached bigint not null, primary key (workload, prompt, answer));
    create table freehold.answer (id text not null, call text not null, said text not null, primary key (id, call));
    create table freehold.node (id text primary key, name text not null, seen timestamptz not null);
    create table freehold.pool (pool text not null, start_ms bigint not null, primary key (pool, start_ms));
    create table freehold.use (pool text not null, start_ms bigint not null, node text not null, leased numeric not null, spent numeric not null,
      version bigint not null, primary key (pool, start_ms, node));
    create table freehold.mark (pool text not null, start_ms bigint not null, mark text not null, primary key (pool, start_ms, mark));
    create table freehold.rate (name text primary key, arrival numeric not null);
    """,
    """
    alter table freehold.kind alter column id type bigint;
    alter sequence freehold.kind_id_seq as bigint;
    alter table freehold.tally alter column kind type bigint;
    create index use_of_node on freehold.use (node, start_ms);
    """,
)
_ZERO = Decimal(0)
_THERE = "30 seconds"  # since a node greeted the others
_GIVEN = (
    f"unnest({', '.join(f'${number}::text[]' for number in range(1, len(KINDS) + 1))}) as given ({', '.join(KINDS)})"
)
_FIND_KINDS = f"select id, {', '.join(KINDS)} from freehold.kind join {_GIVEN} using ({', '.join(KINDS)})"  # noqa: S608 - fixed names
_ADD_KINDS = (
    f"insert into freehold.kind ({', '.join(KINDS)}) select {', '.join(KINDS)} from {_GIVEN} on conflict do nothing"  # noqa: S608 - fixed names
)
# Of a period that is not over, by its length: the name of a pool says which, and what has none begins at 0.
_IS_CURRENT = (
    "(start_ms = 0 or start_ms >= (extract(epoch from now()) * 1000)::bigint - case when pool like '%/day' then 172800000 "
    "when pool like '%/week' then 777600000 else 2851200000 end)"
)


class PostgresStore:
    """The index of all nodes. node: the id of this one, which its segments are named by; folder: where they lie, if it adds any."""

    def __init__(self, database: Database, node: str, folder: Path | None = None) -> None:
        self._database, self._node, self._folder = database, node, folder
        self._names: dict[str, str] = {}
        database.bring_up("ledger", STEPS)

    def places(self) -> dict[str, int]:
        async def read(db: Connection) -> Any:
            return await db.fetch(
                'select segment, "offset" from freehold.place where segment like $1', f"{self._node}/%"
            )

        found = {}
        for name, offset in map(tuple, self._database.run(read)):
            segment = name.split("/")[1]
            if name == self._named(segment):
                found[segment] = offset
        return found

    def _named(self, segment: str) -> str:
        """What a segment is known by: by its beginning too, because a state directory that was restored uses numbers again."""
        if segment not in self._names:
            try:
                with Path(self._folder or "", segment).open("rb") as file:
                    first = file.readline()
            except OSError:
                first = b""
            name = f"{self._node}/{segment}/{hashlib.sha256(first).hexdigest()[:16]}"
            if not first.endswith(b"\n"):
                return name
            self._names[segment] = name
        return self._names[segment]

    def add(self, receipts: Iterable[dict[str, Any]], segment: str, before: int, after: int) -> bool:
        given = list(receipts)

        async def write(db: Connection) -> bool:
            name = self._named(segment)
            await db.execute("insert into freehold.place values ($1, 0) on conflict do nothing", name)
            if await db.fetchval('select "offset" from freehold.place where segment = $1 for update', name) != before:
                return False
            await _count(db, given)
            await db.execute('update freehold.place set "offset" = $2 where segment = $1', name, after)
            return True

        return self._database.run(write)

    def answers(self, answer_id: str) -> list[dict[str, Any]]:
        async def read(db: Connection) -> Any:
            return await db.fetch("select said from freehold.answer where id = $1 order by call", answer_id)

        return [msgspec.json.decode(row[0], type=dict[str, Any]) for row in self._database.run(read)]

    def lengths(self) -> list[Length]:
        async def read(db: Connection) -> Any:
            return await db.fetch(
                "select workload, calls, input, output, cached from freehold.length order by workload, prompt, answer"
            )

        return [Length(*row) for row in self._database.run(read)]

    def usage(
        self,
        by: tuple[str, ...],
        since_ms: int | None = None,
        until_ms: int | None = None,
        zone: datetime.tzinfo = datetime.UTC,
    ) -> list[UsageRow]:
        for name in by:
            if name not in GROUPS:
                raise CallerError(f"{name!r} is not a group; use {', '.join(GROUPS)}.", code="usage.unknown_group")
        slots = ((since_ms or 0) // SLOT_MS, until_ms // SLOT_MS if until_ms is not None else 2**62)
        times = tuple(name for name in by if name in TIMES)

        async def read(db: Connection) -> tuple[list[dict[str, str]], Any, Any]:
            found = await db.fetch("select distinct slot from freehold.tally where slot >= $1 and slot < $2", *slots)
            labels, numbers = label_slots([row[0] for row in found], times, zone)
            rows = await db.fetch(
                "select kind, label, sum(calls), sum(input), sum(output), sum(cost), sum(unpriced) from freehold.tally "
                "join unnest($1::bigint[], $2::integer[]) as time (slot, label) using (slot) group by 1, 2",
                list(numbers),
                list(numbers.values()),
            )
            kinds = await db.fetch(f"select id, {', '.join(KINDS)} from freehold.kind")  # noqa: S608 - fixed names
            return labels, rows, kinds

        labels, rows, kinds = self._database.run(read)
        named = {row[0]: dict(zip(KINDS, row[1:], strict=False)) for row in map(tuple, kinds)}
        groups: dict[tuple[str, ...], UsageRow] = {}
        for kind, label, calls, prompt, completion, cost, unpriced in map(tuple, rows):
            known = named[kind] | labels[label]
            group = tuple(known[name] for name in by)
            row = groups.setdefault(group, UsageRow(dict(zip(by, group, strict=True))))
            row.calls += int(calls)
            row.input_tokens += int(prompt)
            row.output_tokens += int(completion)
            with localcontext(prec=60):
                row.cost_usd += cost
            row.unpriced += int(unpriced)
        return [groups[group] for group in sorted(groups)]

    def close(self) -> None:
        """The database is whoever's made it."""


async def _count(db: Connection, receipts: list[dict[str, Any]]) -> None:
    """Add receipts to the sums, in one order for all nodes, so that none waits for another that waits for it."""
    wanted = sorted({_storable(kind_of(receipt)) for receipt in receipts})
    kinds = await _kinds(db, wanted)
    if missing := [kind for kind in wanted if kind not in kinds]:  # a number is used up by each that is tried
        await db.execute(_ADD_KINDS, *map(list, zip(*missing, strict=True)))
        kinds |= await _kinds(db, missing)
    answers: list[tuple[str, str, str]] = []
    tallies: dict[tuple[int, int], list[Any]] = {}
    lengths: dict[tuple[str, int, int], list[int]] = {}
    for receipt in receipts:
        slot = (receipt.get("booked_ms") or receipt["at_ms"]) // SLOT_MS
        sums = tallies.setdefault((kinds[_storable(kind_of(receipt))], slot), [0, 0, 0, _ZERO, 0])
        with localcontext(prec=60):
            for place, more in enumerate(used(receipt)):
                sums[place] += more
        note_length(lengths, receipt)
        if receipt.get("answer_id"):
            said = msgspec.json.encode({field: receipt[field] for field in OF_ANSWER}).decode()
            answers.append((*_storable((receipt["answer_id"],)), receipt["call"], said))
    await db.executemany("insert into freehold.answer values ($1, $2, $3) on conflict do nothing", sorted(answers))
    await db.executemany(
        "insert into freehold.tally as t values ($1, $2, $3, $4, $5, $6, $7) on conflict (kind, slot) do update set calls = t.calls + excluded.calls, "
        "input = t.input + excluded.input, output = t.output + excluded.output, cost = t.cost + excluded.cost, unpriced = t.unpriced + excluded.unpriced",
        [(*at, *tallies[at]) for at in sorted(tallies)],
    )
    await db.executemany(
        "insert into freehold.length as l values ($1, $2, $3, $4, $5, $6, $7) on conflict (workload, prompt, answer) do update set "
        "calls = l.calls + excluded.calls, input = l.input + excluded.input, output = l.output + excluded.output, cached = l.cached + excluded.cached",
        [(*at, *lengths[at]) for at in sorted(lengths)],
    )


async def _kinds(db: Connection, wanted: list[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """The numbers of those of these kinds that are known."""
    if not wanted:
        return {}
    rows = await db.fetch(_FIND_KINDS, *map(list, zip(*wanted, strict=True)))
    return {tuple(row)[1:]: row[0] for row in rows}


def _storable(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Without the one character that Postgres does not take: one name that a caller made up may not stop the index of everybody."""
    return tuple(text.replace("\0", "\N{REPLACEMENT CHARACTER}") for text in texts)


def usage_of_all(url: Secret, groups: tuple[str, ...], span: tuple[int, int], zone: datetime.tzinfo) -> list[UsageRow]:
    """What all nodes have served. Raises OperatorError `nodes.unavailable`."""
    database = Database(url)
    try:
        return PostgresStore(database, "").usage(groups, *span, zone)
    finally:
        database.close()


class NodePools:
    """How much of each pool this node may lease to its workers. name: what people call it."""

    def __init__(self, database: Database, node: str, name: str) -> None:
        self._database, self._node, self._name = database, node, name
        database.bring_up("ledger", STEPS)

    def greet(self) -> int:
        """Say that this node is there; returns how many are."""

        async def write(db: Connection) -> int:
            await db.execute(
                "insert into freehold.node values ($1, $2, now()) on conflict (id) do update set name = excluded.name, seen = excluded.seen",
                self._node,
                self._name,
            )
            found: int = await db.fetchval(
                f"select count(*) from freehold.node where seen > now() - interval '{_THERE}'"  # noqa: S608 - a constant
            )
            return found

        return self._database.run(write)

    def lease(self, pool: str, start_ms: int, least: Decimal, limit: Decimal) -> tuple[Part, bool]:
        """Lease at least so much more, if it fits below the limit of all nodes; returns what this node has in all, and whether that is more."""

        async def take(db: Connection) -> tuple[Part, bool]:
            await db.execute("insert into freehold.pool values ($1, $2) on conflict do nothing", pool, start_ms)
            await db.execute("select 1 from freehold.pool where pool = $1 and start_ms = $2 for update", pool, start_ms)
            rows = await db.fetch(
                "select node, leased, version, spent from freehold.use where pool = $1 and start_ms = $2",
                pool,
                start_ms,
            )
            nodes = max(2, len({row[0] for row in rows} | {self._node}))
            granted = granted_of(limit - sum((row[1] for row in rows), _ZERO), least, nodes)
            own = next((Part(*tuple(row)[1:]) for row in rows if row[0] == self._node), NO_PART)
            if not granted:
                return own, False
            after = Part(own.amount + granted, own.version + 1, own.spent)
            await db.execute(
                "insert into freehold.use values ($1, $2, $3, $4, 0, $5) on conflict (pool, start_ms, node) do update "
                "set leased = excluded.leased, version = excluded.version",
                *(pool, start_ms, self._node, after.amount, after.version),
            )
            return after, True

        return self._database.run(take)

    def parts(self) -> dict[tuple[str, int], Part]:
        """What this node has of each pool."""

        async def read(db: Connection) -> Any:
            return await db.fetch(
                f"select pool, start_ms, leased, version, spent from freehold.use where node = $1 and {_IS_CURRENT}",  # noqa: S608 - fixed words
                self._node,
            )

        return {(row[0], row[1]): Part(*tuple(row)[2:]) for row in self._database.run(read)}

    def forget_ended(self) -> None:
        """Drop the counters of periods that are over."""

        async def write(db: Connection) -> None:
            for table in ("use", "mark", "pool"):
                await db.execute(f"delete from freehold.{table} where not {_IS_CURRENT}")  # noqa: S608 - fixed words

        self._database.run(write)

    def report(self, said: dict[tuple[str, int], tuple[Part, Decimal]]) -> None:
        """Say what this node has of each pool and how much is spent, absolutely: what it no longer has, others may lease. A part counts only if nothing
        was leased since the version before it.
        """

        async def write(db: Connection) -> None:
            await db.executemany(
                "insert into freehold.use values ($1, $2, $3, $4, $5, $6) on conflict (pool, start_ms, node) do update set spent = excluded.spent, "
                "leased = case when freehold.use.version = excluded.version - 1 then excluded.leased else greatest(freehold.use.leased, excluded.spent) end, "
                "version = greatest(freehold.use.version, excluded.version)",
                [
                    (pool, start, self._node, part.amount, spent, part.version)
                    for (pool, start), (part, spent) in sorted(said.items())
                ],
            )

        self._database.run(write)

    def use(self, pool: str, start_ms: int) -> Use:
        """What all nodes have of a pool."""

        async def read(db: Connection) -> Any:
            return await db.fetchrow(
                "select sum(leased), sum(spent) from freehold.use where pool = $1 and start_ms = $2", pool, start_ms
            )

        leased, spent = self._database.run(read)
        return Use(leased, spent) if leased is not None else NOTHING

    def pace(self, name: str, rate: Rate, amount: int) -> Pace:
        """Take an amount of a rate of all nodes, or nothing, by the database's clock."""

        async def take(db: Connection) -> Pace:
            before, now_ns = await _arrival(db, name)
            arrival, pace = paced(before, rate, amount, now_ns)
            await db.execute("update freehold.rate set arrival = $2 where name = $1", name, Decimal(arrival))
            return pace

        return self._database.run(take)

    def repay(self, given: Sequence[tuple[str, Rate, int]]) -> None:
        """Give back what was taken of rates and not used; less than nothing: what was used beyond it."""

        async def give(db: Connection) -> None:
            for name, rate, amount in sorted(given, key=lambda one: one[0]):
                before, now_ns = await _arrival(db, name)
                arrival = Decimal(repaid(before, rate, amount, now_ns))
                await db.execute("update freehold.rate set arrival = $2 where name = $1", name, arrival)

        self._database.run(give)

    def is_first(self, pool: str, start_ms: int, mark: str) -> bool:
        """Set a mark on a pool; False if any node has set it before."""

        async def write(db: Connection) -> bool:
            done = await db.execute(
                "insert into freehold.mark values ($1, $2, $3) on conflict do nothing", pool, start_ms, mark
            )
            return bool(done.endswith(" 1"))

        return self._database.run(write)


class Seen(msgspec.Struct, frozen=True):
    """A node as the others know it. seen: when it greeted them last (UTC); is_there: whether that was a moment ago."""

    id: str
    name: str
    seen: datetime.datetime
    is_there: bool

    def as_data(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "seen": self.seen.isoformat(timespec="seconds"),
            "is_there": self.is_there,
        }


class Census:
    """Who shares the database, for whoever looks at it from outside."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.bring_up("ledger", STEPS)

    def all(self) -> list[Seen]:
        """Every node, the one that was seen last first."""

        async def read(db: Connection) -> Any:
            return await db.fetch(
                f"select id, name, seen at time zone 'utc', seen > now() - interval '{_THERE}' from freehold.node order by seen desc, id"  # noqa: S608 - a constant
            )

        return [Seen(row[0], row[1], row[2].replace(tzinfo=datetime.UTC), row[3]) for row in self._database.run(read)]

    def forget(self, node: str) -> bool:
        """Say that a node will not come back: what it had leased and not spent is free; False if there is none that is silent."""

        async def write(db: Connection) -> bool:
            done = await db.execute(
                f"delete from freehold.node where id = $1 and seen <= now() - interval '{_THERE}'",  # noqa: S608 - a constant
                node,
            )
            if not done.endswith(" 1"):
                return False
            await db.execute("update freehold.use set leased = spent, version = version + 1 where node = $1", node)
            return True

        return self._database.run(write)

    def close(self) -> None:
        self._database.close()


async def _arrival(db: Connection, name: str) -> tuple[int, int]:
    """(The theoretical arrival time of a rate, the time now), in nanoseconds; nobody else changes it until the transaction ends."""
    await db.execute("insert into freehold.rate values ($1, 0) on conflict do nothing", name)
    row = await db.fetchrow(
        "select arrival, extract(epoch from clock_timestamp()) * 1000000000 from freehold.rate where name = $1 for update",
        name,
    )
    return int(row[0]), int(row[1])
