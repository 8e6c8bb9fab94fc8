"""Several processes behind one port: every limit holds over all of them, and one that is killed takes nothing with it."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from conftest import NO_ENGINE, Freehold, clean_env
from freehold.testing.standin import Behaviour, Standin
from ledger.audits import audit

CHAT = {"model": "w", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}


def config(cloud: Standin, workload: str) -> str:
    return (
        NO_ENGINE
        + f'[providers.cloud]\nbase_url = "{cloud.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
        + '[workloads.w]\nclass = "public"\ntargets = ["cloud/m"]\n'
        + workload
    )


def ask(
    freehold: Freehold, key: str, path: str = "/v1/chat/completions", body: Any = CHAT, method: str = "POST"
) -> tuple[int, Any]:
    """On a connection of its own, so that any worker may get it."""
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=30)
    try:
        connection.request(
            method, path, json.dumps(body) if body is not None else None, {"Authorization": f"Bearer {key}"}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def workers_of(freehold: Freehold) -> list[int]:
    assert freehold.process is not None
    pid = freehold.process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_free(state: Path) -> None:
    """Until no process has the state directory: workers whose supervisor was killed drain and end."""
    with (state / "lock").open("rb") as file:
        until = time.monotonic() + 20
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)


def wait_for_workers(freehold: Freehold, count: int) -> list[int]:
    until = time.monotonic() + 30
    while len(found := workers_of(freehold)) != count:
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def holds(freehold: Freehold) -> list[dict[str, Any]]:
    """The log verifies, and every call that was sent has one end; returns the receipts."""
    report = audit(freehold.state)
    assert report.findings == []
    records = freehold.records()
    terminal = Counter(record["call"] for record in records if record["kind"] == "settled")
    assert set(terminal) >= {record["call"] for record in records if record["kind"] == "intent"}
    assert set(terminal.values()) <= {1}
    return [record for record in records if record["kind"] == "settled"]


def test_a_budget_holds_over_all_workers(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """A thousand at once over four processes: not more is spent, and what idle workers had leased comes back to the others."""
    freehold = make_freehold(config(outside, 'budget = "0.02 USD/total"\n')).start("--workers", "4")
    key = freehold.key("--class", "public")
    with ThreadPoolExecutor(48) as pool:
        statuses = Counter(pool.map(lambda _: ask(freehold, key)[0], range(1000)))
    assert set(statuses) == {200, 429}
    refused, until = 0, time.monotonic() + 30
    while refused < 3:  # what a worker has leased ahead comes back within two seconds
        status, _ = ask(freehold, key)
        refused = refused + 1 if status == 429 else 0
        if refused:
            time.sleep(1.2)
        assert time.monotonic() < until
    assert len({record["epoch"] for record in freehold.records() if record["kind"] == "intent"}) > 1, (
        "several took part"
    )
    assert freehold.stop() == 0
    spent = sum(Decimal(record["cost_usd"] or 0) for record in holds(freehold))
    assert Decimal("0.019") < spent <= Decimal("0.02")
    assert Decimal(freehold.usage()["total"]["cost_usd"]) == spent


def test_workers_that_are_killed_while_they_hold_money(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """Their calls are settled at what they held; all together never exceed the budget, also after a restart; and nobody is left behind."""
    outside.usual = Behaviour(delay_s=0.02)
    freehold = make_freehold(config(outside, 'budget = "0.05 USD/total"\n')).start("--workers", "3")
    key, stop, rng = freehold.key("--class", "public"), threading.Event(), random.Random(5)

    def load() -> None:
        while not stop.is_set():
            ask(freehold, key)

    threads = [threading.Thread(target=load, daemon=True) for _ in range(12)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        time.sleep(rng.uniform(0.2, 0.5))
        os.kill(rng.choice(wait_for_workers(freehold, 3)), signal.SIGKILL)
    wait_for_workers(freehold, 3)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert freehold.stop() == 0
    receipts = holds(freehold)
    assert sum(Decimal(record["cost_usd"] or 0) for record in receipts) <= Decimal("0.05")
    assert Counter(record["outcome"] for record in receipts)["lost"] > 0
    assert len(outside.requests) <= sum(record["kind"] == "intent" for record in freehold.records())
    freehold.start("--workers", "2")
    for _ in range(1000):
        if ask(freehold, key)[0] == 429:
            break
    freehold.kill()
    wait_until_free(freehold.state)
    freehold.start("--workers", "2")
    while ask(freehold, key)[0] == 200:
        pass  # what one worker had leased ahead, and nobody had spent
    freehold.stop()
    spent = sum(Decimal(record["cost_usd"] or 0) for record in holds(freehold))
    assert Decimal("0.049") < spent <= Decimal("0.05"), "what was spent is known after every kind of end"


@pytest.mark.parametrize("limit", ['calls = "20/hour"', 'tokens = "8000/hour"'])
def test_a_rate_holds_over_all_workers(make_freehold: Callable[..., Freehold], outside: Standin, limit: str) -> None:
    freehold = make_freehold(config(outside, f"limits = {{ {limit} }}\n")).start("--workers", "4")
    key = freehold.key("--class", "public")
    with ThreadPoolExecutor(32) as pool:
        statuses = Counter(pool.map(lambda _: ask(freehold, key)[0], range(300)))
    if limit.startswith("calls"):
        assert statuses == {200: 20, 429: 280}
    else:
        used = sum(sum(record["tokens"].values()) for record in freehold.settled(300))
        assert statuses[429] > 0
        assert used <= 8000
    assert statuses[200] == len(outside.requests)


def test_so_many_at_once_over_all_workers(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """And a worker that is killed gives its places back."""
    freehold = make_freehold(config(outside, "limits = { concurrent = 4 }\n")).start("--workers", "3")
    key = freehold.key("--class", "public")
    outside.usual = Behaviour(delay_s=1.0)
    with ThreadPoolExecutor(24) as pool:
        statuses = Counter(pool.map(lambda _: ask(freehold, key)[0], range(24)))
    assert statuses == {200: 4, 429: 20}
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, freehold, key) for _ in range(4)]
        time.sleep(0.4)
        for pid in workers_of(freehold):
            os.kill(pid, signal.SIGKILL)
        assert [one.result()[0] for one in asked] == [0] * 4
    outside.usual = Behaviour()
    until = time.monotonic() + 15
    while ask(freehold, key)[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.1)
    outside.usual = Behaviour(delay_s=0.5)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: ask(freehold, key)[0], range(4))) == [200] * 4


def test_any_worker_knows_what_another_did(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """Keys, revocations, stored responses and their corrections, metrics: as with one process."""
    text = (
        config(outside, "")
        + f'[providers.store]\nbase_url = "{outside.base_url}"\ndialect = "openai-responses"\nzone = "inside"\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
    )
    freehold = make_freehold(text).start("--workers", "4")
    key = freehold.key("--class", "public")
    status, made = ask(
        freehold, key, "/v1/responses", {"model": "store/m", "input": "x", "background": True, "max_output_tokens": 50}
    )
    assert status == 200
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ask(freehold, key, f"/v1/responses/{made['id']}", None, "GET"), range(40)))
    assert {status for status, _ in found} == {200}
    receipts = [record for record in freehold.settled(41) if record["endpoint"].startswith("responses")]
    assert sum(record["cost_usd"] not in (None, "0") and record["booked_ms"] is not None for record in receipts) == 1, (
        "corrected once"
    )
    for _ in range(20):
        assert ask(freehold, key)[0] == 200
    with urlopen(f"http://127.0.0.1:{freehold.admin_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    count = sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("freehold_calls_total{"))
    assert count == 61
    made_id = json.loads(freehold.run("keys", "list", "--json").stdout)["keys"][-1]["id"]
    freehold.run("keys", "revoke", made_id)
    until = time.monotonic() + 10  # a second where the machine has nothing else to do
    while {ask(freehold, key)[0] for _ in range(12)} != {401}:
        assert time.monotonic() < until


def test_a_restart_drops_no_call_that_is_under_way(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    freehold = make_freehold(config(outside, "")).start("--workers", "3")
    key = freehold.key("--class", "public")
    outside.usual = Behaviour(delay_s=0.6)
    with ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(ask, freehold, key) for _ in range(9)]
        time.sleep(0.3)
        began = time.monotonic()
        assert freehold.stop() == 0
        assert [one.result()[0] for one in asked] == [200] * 9
    assert time.monotonic() - began < 5
    assert ask(freehold, key)[0] == 0
    assert all(record["kind"] != "opened" or record["policy"] for record in freehold.records())
    holds(freehold)


def test_what_cannot_start_says_so_and_ends(
    make_freehold: Callable[..., Freehold], outside: Standin, tmp_path: Path
) -> None:
    freehold = make_freehold(config(outside, "")).start("--workers", "2")
    again = Freehold(freehold.folder, clean_env())
    again.start("--workers", "2", wait=False)
    assert again.process is not None
    assert again.process.wait(20) == 2
    assert "Another Freehold already uses" in again.output
    assert freehold.stop() == 0


def sockets_of(pid: int) -> int:
    return sum(os.readlink(one).startswith("socket:") for one in Path(f"/proc/{pid}/fd").iterdir())


def test_workers_share_connections_out(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """Kept connections, one opened after the other: left to the kernel, one worker has most of them; and who takes a dead one's place has its share of the next."""
    freehold = make_freehold(config(outside, "")).start("--workers", "3")

    def shares() -> list[int]:
        """How 30 more are shared out, at the third try at the latest: a worker that is late on a busy machine is left alone for five seconds."""
        found = [0]
        for _ in range(3):
            before = {pid: sockets_of(pid) for pid in wait_for_workers(freehold, 3)}
            held = []
            for _ in range(30):
                held.append(http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=30))
                held[-1].request("GET", "/healthz")
                held[-1].getresponse().read()
            found = [sockets_of(pid) - had for pid, had in before.items()]
            for one in held:
                one.close()
            if min(found) >= 5:
                break
            time.sleep(6.0)
        return found

    assert min(found := shares()) >= 5, found
    os.kill(workers_of(freehold)[0], signal.SIGKILL)
    time.sleep(0.5)
    assert min(found := shares()) >= 5, found
