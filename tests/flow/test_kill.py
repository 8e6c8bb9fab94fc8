"""kill -9 under load, at many moments: after restart every call that was sent has exactly one terminal receipt, and the log verifies."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from conftest import Freehold
from freehold.testing.standin import Behaviour, Standin
from ledger.audits import audit

ROUNDS = 6


def load(freehold: Freehold, key: str, stop: threading.Event) -> None:
    body = {"model": "open", "messages": [{"role": "user", "content": "x"}]}
    while not stop.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=5)
        try:
            for at in range(50):
                connection.request(
                    "POST",
                    "/v1/chat/completions",
                    json.dumps(body | {"stream": at % 3 == 0}),
                    {"Authorization": f"Bearer {key}"},
                )
                connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            stop.wait(0.05)
        finally:
            connection.close()


def test_killed_under_load(make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin) -> None:
    freehold = make_freehold(two_zones, CLOUD="sk-1")
    key = freehold.key("--class", "public")
    inside.usual = Behaviour(event_delay_s=0.001)
    rng = random.Random(7)
    for _ in range(ROUNDS):
        freehold.start()
        stop = threading.Event()
        threads = [threading.Thread(target=load, args=(freehold, key, stop)) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.1, 0.6))
        freehold.kill()
        stop.set()
        for thread in threads:
            thread.join()
    freehold.start()
    assert freehold.stop() == 0
    report = audit(freehold.state)
    assert report.holds, report.findings
    records = freehold.records()
    intended = {record["call"] for record in records if record["kind"] == "intent"}
    terminal = Counter(record["call"] for record in records if record["kind"] == "settled")
    assert set(terminal) >= intended
    assert set(terminal.values()) == {1}
    outcomes = Counter(record["outcome"] for record in records if record["kind"] == "settled")
    assert outcomes["lost"] > 0, "the kills did hit calls under way"
    assert outcomes["ok"] > 0
    received = len(inside.requests)
    sent = sum(1 for record in records if record["kind"] == "intent")
    assert received <= sent, "nothing arrived that was not written first"
    assert freehold.usage()["total"]["calls"] == len(terminal)


def test_sigterm_drains(make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin) -> None:
    """A call under way is finished; the exit is clean."""
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    key = freehold.key()
    inside.usual = Behaviour(delay_s=0.3)
    found: list[int] = []

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=10)
        connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps({"model": "closed", "messages": [{"role": "user", "content": "x"}]}),
            {"Authorization": f"Bearer {key}"},
        )
        found.append(connection.getresponse().status)
        connection.close()

    thread = threading.Thread(target=call)
    thread.start()
    while not inside.requests:
        time.sleep(0.01)
    assert freehold.stop() == 0
    thread.join()
    assert found == [200]
    assert freehold.records()[-1]["kind"] == "closed"


def test_a_drain_that_ends_by_its_limit_says_so(
    make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin
) -> None:
    """Who still waits gets a 503 that may be sent again, in the caller's dialect, and a receipt that says that the call was cut off."""
    patient = two_zones.replace(
        "first_byte = 0.5, silence = 0.5, total = 5.0", "first_byte = 30.0, silence = 30.0, total = 60.0"
    )
    freehold = make_freehold(patient + "\n[server]\ndrain = 1.0\n", CLOUD="sk-1").start()
    key = freehold.key()
    inside.usual = Behaviour(delay_s=30)
    found: dict[str, tuple[int, str | None, dict[str, Any]]] = {}

    def call(path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=20)
        body = {"model": "closed", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        found[path] = answer.status, answer.getheader("retry-after"), json.loads(answer.read())
        connection.close()

    threads = [threading.Thread(target=call, args=(path,)) for path in ("/v1/chat/completions", "/v1/messages")]
    for thread in threads:
        thread.start()
    while len(inside.requests) < 2:
        time.sleep(0.01)
    assert freehold.stop() == 0
    for thread in threads:
        thread.join()
    assert {answer[:2] for answer in found.values()} == {(503, "1")}
    assert found["/v1/chat/completions"][2]["error"]["code"] == "server.draining"
    assert found["/v1/messages"][2]["error"]["type"] == "overloaded_error"
    assert [record["outcome"] for record in freehold.settled()] == ["cancelled"] * 2
