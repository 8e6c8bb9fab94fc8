"""Several nodes share a pool through a real Postgres: what they may lease together never exceeds the limit, whatever is said late or twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from freehold.kernel.errors import OperatorError
from freehold.ledger.database import Database
from freehold.ledger.pools import Part, Share
from freehold.ledger.postgres import Census, NodePools
from freehold.ledger.sqlite_pools import SqlitePools, aside_of
from servers import Postgres

D = Decimal
POOL, LIMIT = "organisation USD/total", Decimal(100)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    one = Database(postgres.fresh())
    yield one
    one.close()


def lease_aside(share: Share, aside: SqlitePools, far: NodePools, amount: Decimal) -> bool:
    short = share.short_of(amount)
    part, _ = far.lease(POOL, 0, short, LIMIT)
    done = aside.take_part(POOL, 0, part, short)
    share.absorb()
    return done


class Node:
    """One node: its own file, and a worker that draws on it."""

    def __init__(self, database: Database, folder: Path, name: str) -> None:
        self.far = NodePools(database, name, name)
        self.file = folder / f"{name}.db"
        self.near = SqlitePools(self.file, worker="1", workers=2, is_part=True)
        self.aside = SqlitePools(self.file, worker=aside_of("1"), workers=2, is_part=True)
        self.share = Share(self.near, POOL)

    def hold(self, amount: Decimal) -> bool:
        """As a call does: from what the node has, else the node asks for more."""
        if self.share.hold(amount, LIMIT):
            return True
        return self.ask(amount) and self.share.hold(amount, LIMIT)

    def ask(self, amount: Decimal) -> bool:
        return lease_aside(self.share, self.aside, self.far, amount)

    def tell(self) -> None:
        self.share.tell()
        version = self.far.parts().get((POOL, 0), Part(D(0), 0)).version
        part, use = self.near.give_back(POOL, 0, D(0), version)
        self.far.report({(POOL, 0): (part, use.spent)})


def test_nodes_spend_the_whole_and_no_more(database: Database, tmp_path: Path) -> None:
    nodes = [Node(database, tmp_path, name) for name in "abc"]
    spent = 0
    for _ in range(1000):
        took = 0
        for node in nodes:
            if node.hold(D(1)):
                node.share.settle(D(1), D(1))
                took += 1
            node.tell()
        spent += took
        if not took:
            break
    assert spent == 100
    assert nodes[0].far.use(POOL, 0) == (use := nodes[1].far.use(POOL, 0))
    assert (use.leased, use.spent) == (100, 100)


def test_what_is_said_late_changes_nothing(database: Database, tmp_path: Path) -> None:
    """A node has leased, and writes it down late: meanwhile it has given back what it did not know of."""
    a, b = Node(database, tmp_path, "a"), Node(database, tmp_path, "b")
    late, _ = a.far.lease(POOL, 0, D(60), LIMIT)
    assert late.amount >= 60
    a.tell()
    assert b.hold(D(90)), "it was given back"
    assert not a.aside.take_part(POOL, 0, late, D(20))
    assert not a.share.hold(D(20), LIMIT), "the late word is not believed"
    part = a.near.part(POOL, 0)
    said = {(POOL, 0): (Part(D(0), part.version), D(0))}
    a.far.report(said)
    assert a.ask(D(5))
    assert a.share.hold(D(5), LIMIT)
    a.far.report(said)
    assert a.far.use(POOL, 0).leased >= 95, "and a word that is repeated takes nothing from what was leased since"


def test_nodes_at_once(database: Database, tmp_path: Path) -> None:
    """Threads that hold, settle and tell as they please: never more than the limit is held or spent, and in the end nothing is lost."""
    nodes = [Node(database, tmp_path, name) for name in "ab"]
    trouble: list[str] = []
    spent = {node.file: D(0) for node in nodes}

    def work(node: Node, seed: int) -> None:
        rng, mine = random.Random(seed), SqlitePools(node.file, worker=f"w{seed}", workers=2, is_part=True)
        aside = SqlitePools(node.file, worker=aside_of(f"w{seed}"), workers=2, is_part=True)
        share, far = Share(mine, POOL), node.far
        for _ in range(60):
            amount = D(rng.randint(1, 8))
            held = share.hold(amount, LIMIT)
            if not held:
                held = lease_aside(share, aside, far, amount) and share.hold(amount, LIMIT)
            if held:
                cost = amount / rng.choice([1, 2, 4])
                share.settle(amount, cost)
                with lock:
                    spent[node.file] += cost
            if rng.random() < 0.3:
                share.tell()
        share.tell()
        mine.close()
        aside.close()

    def sync(node: Node) -> None:
        mine = SqlitePools(node.file, worker="sync", workers=2, is_part=True)
        while not stop.is_set():
            version = node.far.parts().get((POOL, 0), Part(D(0), 0)).version
            part, use = mine.give_back(POOL, 0, D(0), version)
            node.far.report({(POOL, 0): (part, use.spent)})
            if (used := node.far.use(POOL, 0)).leased > LIMIT or used.spent > LIMIT:
                trouble.append(str(used))
        mine.close()

    lock, stop = threading.Lock(), threading.Event()
    workers = [threading.Thread(target=work, args=(node, number)) for number, node in enumerate(nodes * 2)]
    syncs = [threading.Thread(target=sync, args=(node,)) for node in nodes]
    for thread in (*workers, *syncs):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    for thread in syncs:
        thread.join()
    for node in nodes:
        node.tell()
    assert not trouble
    total = sum(spent.values())
    assert D(60) < total <= LIMIT
    assert nodes[0].far.use(POOL, 0).spent == total


def test_a_node_that_will_not_come_back(database: Database, tmp_path: Path) -> None:
    """What it had leased stays taken until somebody says so; what it had spent is spent."""
    a, b = Node(database, tmp_path, "a"), Node(database, tmp_path, "b")
    assert a.far.greet() == 1
    assert b.far.greet() == 2
    assert a.hold(D(90))
    a.share.settle(D(30), D(30))
    a.tell()
    assert not b.hold(D(50))
    census = Census(database)
    assert [(one.id, one.is_there) for one in census.all()] == [("b", True), ("a", True)]
    assert not census.forget("a"), "it is there"

    async def age(db: Any) -> None:
        await db.execute("update freehold.node set seen = seen - interval '1 minute' where id = 'a'")

    database.run(age)
    assert census.forget("a")
    assert not census.forget("a")
    assert b.hold(D(50))
    assert b.far.use(POOL, 0).spent == 30


def test_when_nobody_answers(postgres: Postgres, tmp_path: Path) -> None:
    database = Database(postgres.fresh())
    node = Node(database, tmp_path, "a")
    assert node.hold(D(10))
    postgres.kill()
    try:
        with pytest.raises(OperatorError, match="does not answer") as refusal:
            node.far.lease(POOL, 0, D(1), LIMIT)
        assert refusal.value.code == "nodes.unavailable"
        assert "only-for-tests" not in refusal.value.text
    finally:
        postgres.start()
    node.tell()
    assert node.far.use(POOL, 0).leased == 10
    database.close()


def test_what_was_said_to_be_spent_is_spent_whatever_a_node_still_knows(database: Database, tmp_path: Path) -> None:
    """Its directory is gone, or an older one: the floor is what all have heard from it."""
    first = Node(database, tmp_path, "a")
    assert first.hold(D(60))
    first.share.settle(D(60), D(60))
    first.tell()
    first.far.report(
        {(POOL, 0): (first.near.part(POOL, 0)._replace(version=first.near.part(POOL, 0).version + 1), D(60))}
    )
    (tmp_path / "later").mkdir()
    again = Node(database, tmp_path / "later", "a")
    known = again.far.parts()[POOL, 0]
    assert known.spent == 60
    again.near.floor(POOL, 0, known.spent)
    again.near.floor(POOL, 0, known.spent)
    assert again.near.use(POOL, 0).spent == 60
    assert not again.hold(D(50))
    assert again.hold(D(40))
    other = Node(database, tmp_path, "b")
    assert not other.hold(D(1))


def test_what_is_over_is_forgotten(database: Database, tmp_path: Path) -> None:
    """Periods that have ended cost nobody anything any more; those that run, and those without an end, stay."""
    node, now_ms = Node(database, tmp_path, "a"), int(time.time() * 1000)
    day = 86_400_000
    pools = {("x USD/day", now_ms - 3 * day): 0, ("x USD/day", now_ms - day): 1, ("x USD/week", now_ms - 10 * day): 0, ("x USD/week", now_ms - 8 * day): 1, ("x USD/month", now_ms - 31 * day): 1, ("x USD/month", now_ms - 40 * day): 0, ("x USD/total", 0): 1}  # fmt: skip
    for pool, start_ms in pools:
        node.far.lease(pool, start_ms, D(1), LIMIT)
        node.near.report(pool, start_ms, leased=D(1), spent=D(1))
    stays = {at for at, is_kept in pools.items() if is_kept}
    assert set(node.far.parts()) == stays
    node.far.forget_ended()
    node.near.forget_ended(now_ms)
    assert set(node.near.shared()) == stays

    async def count(db: Any) -> Any:
        return await db.fetchval("select count(*) from freehold.use")

    assert database.run(count) == len(stays)
