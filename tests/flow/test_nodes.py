"""Two real nodes on a real Postgres: one set of keys, one budget, one index; and what becomes of them while it is away."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from conftest import Freehold
from flow.test_reload import config, wait_for
from flow.test_workers import CHAT, ask, holds, workers_of
from freehold.kernel.units import Secret
from freehold.ledger.database import Database
from freehold.testing.standin import Behaviour, Standin
from servers import Postgres

Make = Callable[..., Freehold]
SECRET = "0123456789abcdef" * 4
NODES = '[nodes]\npostgres = "env:FREEHOLD_POSTGRES"\nsecret = "env:FREEHOLD_NODES_SECRET"\n'


class Pair:
    """Two nodes with the same configuration, each with a directory of its own."""

    def __init__(self, make: Make, text: str, address: str, *how: str) -> None:
        env = {"FREEHOLD_POSTGRES": address, "FREEHOLD_NODES_SECRET": SECRET}
        self.nodes = [make(text + NODES + f'name = "node {number}"\n', **env) for number in (1, 2)]
        for node in self.nodes:
            node.start(*how)

    @property
    def a(self) -> Freehold:
        return self.nodes[0]

    @property
    def b(self) -> Freehold:
        return self.nodes[1]

    def key(self, *about: str) -> dict[str, Any]:
        """Made at the first, and known at both."""
        made: dict[str, Any] = json.loads(self.a.run("keys", "create", "--name", "k", "--json", *about).stdout)
        for node in self.nodes:
            until = time.monotonic() + 5
            while ask(node, made["key"], "/v1/models", None, "GET")[0] != 200:
                assert time.monotonic() < until
                time.sleep(0.05)
        return made

    def exhaust(self, key: str) -> None:
        """Ask until both refuse, also after what each has and does not need has come back to the other."""
        refused, until = 0, time.monotonic() + 60
        while refused < 6:
            assert time.monotonic() < until
            status, _ = ask(self.nodes[refused % 2], key)
            assert status in (200, 429)
            refused = refused + 1 if status == 429 else 0
            time.sleep(1.1 if refused else 0)

    def spent(self) -> Decimal:
        return sum((Decimal(one["cost_usd"] or 0) for node in self.nodes for one in node.settled()), Decimal(0))

    def usage(self) -> dict[str, Any]:
        """Over all nodes, once the index has caught up."""
        until, count = time.monotonic() + 15, sum(len(node.settled()) for node in self.nodes)
        while True:
            found = self.a.usage()["total"]
            if found["calls"] >= count or time.monotonic() > until:
                return found
            time.sleep(0.1)


@pytest.fixture
def pair(make_freehold: Make, inside: Standin, postgres: Postgres) -> Iterator[Callable[..., Pair]]:
    def begin(more: str = "", *how: str, dialect: str = "openai-chat") -> Pair:
        text = config(inside, more=more).replace("retries = 0", f'retries = 0\ndialect = "{dialect}"')
        return Pair(make_freehold, text, postgres.fresh().value, *how)

    yield begin
    if not postgres.ensure():
        postgres.pause(on=False)


both = pytest.mark.parametrize("how", [(), ("--workers", "2")], ids=["alone", "several"])


@both
def test_a_budget_holds_over_all_nodes(pair: Callable[..., Pair], how: tuple[str, ...]) -> None:
    """A thousand at once over two nodes: not more is spent, nearly all of it is, and the index of all says the same as the receipts."""
    two = pair('budget = "0.01 USD/total"\n', *how)
    key = two.key("--class", "public")["key"]
    with ThreadPoolExecutor(32) as pool:
        statuses = Counter(pool.map(lambda number: ask(two.nodes[number % 2], key)[0], range(1000)))
    assert set(statuses) == {200, 429}
    two.exhaust(key)
    spent = two.spent()
    assert Decimal("0.009") < spent <= Decimal("0.01")
    assert all(len(node.settled()) for node in two.nodes)
    found = two.usage()
    assert Decimal(found["cost_usd"]) == spent
    assert found["calls"] == sum(len(node.settled()) for node in two.nodes)
    assert two.a.run("usage", "--here", "--json").stdout != two.b.run("usage", "--here", "--json").stdout
    for node in two.nodes:
        assert node.stop() == 0
        holds(node)


@both
def test_a_key_that_is_revoked_anywhere_is_refused_everywhere(pair: Callable[..., Pair], how: tuple[str, ...]) -> None:
    two = pair("", *how)
    made = two.key("--class", "public")
    assert ask(two.b, made["key"])[0] == 200
    assert two.a.run("keys", "revoke", made["id"]).returncode == 0
    for node in two.nodes:
        until = time.monotonic() + 10  # two seconds where the machine has nothing else to do
        while [ask(node, made["key"])[0] for _ in range(6)] != [401] * 6:
            assert time.monotonic() < until
            time.sleep(0.1)
    listed = json.loads(two.b.run("keys", "list", "--json").stdout)["keys"]
    assert [(one["id"], one["revoked"] is None) for one in listed] == [(made["id"], False)]
    assert two.b.run("keys", "revoke", made["id"], check=False).returncode == 1


@both
@pytest.mark.parametrize("trouble", ["dead", "hangs"])
def test_while_postgres_is_away(
    pair: Callable[..., Pair], postgres: Postgres, trouble: str, how: tuple[str, ...]
) -> None:
    """Calls go on within what a node has; then they are refused; without a budget they go on; and when it is back, everything counts, once."""
    two = pair('budget = "0.02 USD/total"\n[workloads.free]\nclass = "public"\ntargets = ["cloud/m"]\n', *how)
    made = two.key("--class", "public")
    key, free = made["key"], {"model": "free", "messages": [{"role": "user", "content": "x"}]}
    for node in two.nodes * 2:
        assert ask(node, key)[0] == 200
    postgres.kill() if trouble == "dead" else postgres.pause()
    for node in two.nodes:
        wait_for(node, '"state": "away"')
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda number: ask(two.nodes[number % 2], key)[0], range(60)))
    assert set(statuses) <= {200, 503, 429}
    for node in two.nodes:
        status, said = ask(node, key, body={**CHAT, "max_tokens": 4000})
        assert (status, said["error"]["code"]) == (503, "nodes.unavailable"), "what would need more is not guessed"
    assert SECRET not in json.dumps(said)
    assert ask(two.b, key, body=free)[0] == 200
    during = two.spent()
    assert during <= Decimal("0.02")
    postgres.ensure() if trouble == "dead" else postgres.pause(on=False)
    for node in two.nodes:
        wait_for(node, '"state": "back"')
    until = time.monotonic() + 20
    while ask(two.a, key)[0] != 200 or ask(two.b, key)[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.2)
    for _ in range(500):
        if ask(two.a, key)[0] == 429:
            break
    assert two.spent() <= Decimal("0.02")
    assert Decimal(two.usage()["cost_usd"]) == two.spent()
    for node in two.nodes:
        assert node.stop() == 0
        holds(node)


def test_a_node_that_is_killed_counts_once(pair: Callable[..., Pair], inside: Standin) -> None:
    """Its calls under way are settled at its next start at what they held; the budget of all knows, and what it only had leased comes back."""
    two = pair('budget = "0.02 USD/total"\n', "--workers", "2")
    key = two.key("--class", "public")["key"]
    inside.usual = Behaviour(delay_s=0.05)
    stop = threading.Event()

    def load(number: int) -> None:
        while not stop.is_set():
            ask(two.nodes[number % 2], key)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    for pid in workers_of(two.a):
        os.kill(pid, signal.SIGKILL)
    two.a.kill()
    time.sleep(0.5)
    two.a.start("--workers", "2")
    time.sleep(0.5)
    os.kill(workers_of(two.b)[-1], signal.SIGKILL)
    time.sleep(1.0)
    stop.set()
    for thread in threads:
        thread.join()
    inside.usual = Behaviour()
    two.exhaust(key)
    assert Decimal("0.0185") < two.spent() <= Decimal("0.02")
    assert Decimal(two.usage()["cost_usd"]) == two.spent()
    for node in two.nodes:
        assert node.stop() == 0
        holds(node)


def test_a_node_starts_while_postgres_is_away(pair: Callable[..., Pair], postgres: Postgres) -> None:
    """It knows the keys that it knew, serves what needs no budget, and guesses nothing."""
    two = pair('budget = "0.02 USD/total"\n[workloads.free]\nclass = "public"\ntargets = ["cloud/m"]\n')
    key = two.key("--class", "public")["key"]
    assert ask(two.a, key)[0] == 200
    assert two.a.stop() == 0
    postgres.kill()
    two.a.start()
    assert ask(two.a, key, body={"model": "free", "messages": [{"role": "user", "content": "x"}]})[0] == 200
    assert ask(two.a, key)[0] == 503
    run = two.a.run("keys", "create", "--name", "late", check=False)
    assert (run.returncode, "code: nodes.unavailable" in run.stderr) == (2, True)
    assert "Traceback" not in run.stderr
    postgres.start()
    until = time.monotonic() + 20
    while ask(two.a, key)[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert Decimal(two.usage()["cost_usd"]) == two.spent()


def test_an_answer_that_another_node_has_made_is_known(pair: Callable[..., Pair]) -> None:
    """And it is its maker's alone, wherever it is asked for."""
    two = pair(dialect="openai-responses")
    key, other = two.key("--class", "public")["key"], two.key("--class", "public")["key"]
    status, made = ask(two.a, key, "/v1/responses", {"model": "w", "input": "x"})
    assert status == 200
    until = time.monotonic() + 10
    while (status := ask(two.b, key, f"/v1/responses/{made['id']}", None, "GET")[0]) == 404:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert status == 200
    assert ask(two.b, other, f"/v1/responses/{made['id']}", None, "GET")[0] == 404


def test_who_is_there(pair: Callable[..., Pair]) -> None:
    two = pair()
    until = time.monotonic() + 10
    while len(found := json.loads(two.a.run("nodes", "list", "--json").stdout)["nodes"]) < 2:
        assert time.monotonic() < until
    assert {(one["name"], one["is_there"]) for one in found} == {("node 1", True), ("node 2", True)}
    assert two.a.run("nodes", "forget", found[0]["id"], check=False).returncode == 1, "it is there"
    assert "node 2" in two.b.run("nodes", "list").stdout


def test_nodes_need_a_database_and_a_secret(make_freehold: Make, postgres: Postgres) -> None:
    for env, words in (
        ({"FREEHOLD_POSTGRES": "mysql://x"}, "address of Postgres"),
        ({"FREEHOLD_POSTGRES": postgres.fresh().value, "FREEHOLD_NODES_SECRET": "short"}, "shorter than 32"),
        ({"FREEHOLD_POSTGRES": postgres.fresh().value}, "FREEHOLD_NODES_SECRET is not set"),
    ):
        freehold = make_freehold(
            "[engine]\nenabled = false\n" + NODES,
            **{"FREEHOLD_NODES_SECRET": SECRET, **env} if "NODES" not in words else env,
        )
        run = freehold.run("check", check=False)
        assert run.returncode == 2
        assert words in run.stdout + run.stderr
        assert postgres.password not in run.stdout + run.stderr


def limited(*limits: str) -> str:
    return f"limits = {{ {', '.join(limits)} }}\n"


@both
def test_a_rate_holds_over_all_nodes(pair: Callable[..., Pair], how: tuple[str, ...]) -> None:
    """Forty an hour, however many ask where: never more, and hardly fewer."""
    two = pair(limited('calls = "40/hour"'), *how)
    key = two.key("--class", "public")["key"]
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(lambda number: ask(two.nodes[number % 2], key)[0], range(120)))
    assert set(statuses) == {200, 429}
    two.exhaust(key)
    assert (
        38 <= sum(len([one for one in node.settled() if one["outcome"] == "ok"]) for node in two.nodes) <= 41
    )  # one comes back in 90 s


def test_tokens_that_were_not_used_come_back_to_all(pair: Callable[..., Pair]) -> None:
    two = pair(limited('tokens = "3000/hour"'))
    key = two.key("--class", "public")["key"]
    big = {**CHAT, "max_tokens": 1500}
    assert ask(two.a, key, body=big)[0] == 200
    until = time.monotonic() + 10
    while (
        ask(two.b, key, body=big)[0] != 200
    ):  # what the first did not use is known to the second within a second or two
        assert time.monotonic() < until
        time.sleep(0.2)


def test_places_hold_over_all_nodes(pair: Callable[..., Pair], inside: Standin) -> None:
    """Three at once: not one more, and who waits a little gets the place that another node gave back."""
    two = pair(limited("concurrent = 3"))
    key = two.key("--class", "public")["key"]
    inside.usual = Behaviour(delay_s=0.3)

    def call(number: int) -> int:
        status, _ = ask(two.nodes[number % 2], key)
        return status

    with ThreadPoolExecutor(10) as pool:
        statuses = Counter(pool.map(call, range(60)))
    assert set(statuses) == {200, 429}
    ends = sorted(
        (one["at_ms"], one["at_ms"] - one["duration_ms"])
        for node in two.nodes
        for one in node.settled()
        if one["outcome"] == "ok"
    )
    busy = max(sum(1 for end, begin in ends if begin + 30 < at < end - 30) for _, at in ends for at in (at + 60,))
    assert busy <= 3
    inside.usual = Behaviour()
    until, well = time.monotonic() + 10, 0
    while well < 10:
        assert time.monotonic() < until
        well = well + 1 if ask(two.nodes[well % 2], key)[0] == 200 else 0


def test_limits_while_postgres_is_away(pair: Callable[..., Pair], postgres: Postgres) -> None:
    """They are no money: each node keeps its share of them."""
    two = pair(limited('calls = "40/hour"', "concurrent = 4"))
    key = two.key("--class", "public")["key"]
    assert ask(two.a, key)[0] == 200
    postgres.kill()
    for node in two.nodes:
        wait_for(node, '"state": "away"')
    for node in two.nodes:
        found = Counter(ask(node, key)[0] for _ in range(30))
        assert set(found) == {200, 429}
        assert 18 <= found[200] <= 24


def test_a_node_that_has_never_heard_of_keys_is_not_ready(
    make_freehold: Make, inside: Standin, postgres: Postgres
) -> None:
    """503, not 401: no key is wrong because nobody knows which are right; and it is ready once it has heard."""
    env = {"FREEHOLD_POSTGRES": postgres.fresh().value, "FREEHOLD_NODES_SECRET": SECRET}
    first = make_freehold(config(inside) + NODES, **env)
    key = first.key("--class", "public")
    postgres.pause()
    fresh = make_freehold(config(inside) + NODES, **env)
    fresh.start(wait=False)
    until = time.monotonic() + 20
    while ask(fresh, key)[0] != 503:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert ask(fresh, key)[1]["error"]["code"] == "nodes.unavailable"
    postgres.pause(on=False)
    fresh.wait()
    assert ask(fresh, key)[0] == 200


def test_keys_are_believed_for_so_long_and_no_longer(pair: Callable[..., Pair], postgres: Postgres) -> None:
    """A node that is cut off may have missed a revocation: how long it goes on is a setting."""
    two = pair()
    key = two.key("--class", "public")["key"]
    assert ask(two.a, key)[0] == 200
    postgres.kill()
    with sqlite3.connect(two.a.state / "shared.db") as db:
        db.execute("update step set at_ms = at_ms - ?", (86_401_000,))
        db.execute("update key set name = name")  # as any change does, it makes the node look
    db.close()
    until = time.monotonic() + 10
    while (found := ask(two.a, key))[0] != 503:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert found[1]["error"]["code"] == "nodes.unavailable"
    assert ask(two.b, key)[0] == 200, "its copy is of a moment ago"


def test_what_was_leased_for_a_caller_that_left_goes_back(pair: Callable[..., Pair], inside: Standin) -> None:
    two = pair(limited("concurrent = 1"))
    key = two.key("--class", "public")["key"]
    inside.usual = Behaviour(delay_s=0.5)
    body = json.dumps({"model": "w", "messages": [{"role": "user", "content": "x"}]})
    for number in range(12):
        connection = http.client.HTTPConnection("127.0.0.1", two.a.port, timeout=10)
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
        time.sleep(0.002 * number)
        connection.close()
    inside.usual = Behaviour()
    until = time.monotonic() + 10
    while ask(two.b, key)[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_node_of_an_older_version_does_not_start(pair: Callable[..., Pair]) -> None:
    """The others go on; it would guess what it cannot read."""
    two = pair()
    assert two.a.stop() == 0

    async def later(db: Any) -> None:
        await db.execute("update freehold.step set seen = seen + 1 where room = 'ledger'")

    database = Database(Secret(two.a.env["FREEHOLD_POSTGRES"], "env:FREEHOLD_POSTGRES"))
    database.run(later)
    database.close()
    two.a.start(wait=False)
    assert two.a.process is not None
    assert two.a.process.wait(20) == 2
    assert "code: state.newer" in two.a.output
