"""The next version takes the place of the one that serves: the port, the log and the budgets go over, and no call is dropped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from conftest import Freehold
from flow.test_reload import config
from flow.test_workers import ask, holds, wait_until_free, workers_of
from freehold.gateway.handover import take
from freehold.testing.standin import Behaviour, Standin

Make = Callable[..., Freehold]
ways = pytest.mark.parametrize(
    ("before", "after"),
    [((), ()), (("--workers", "2"), ("--workers", "3")), ((), ("--workers", "2")), (("--workers", "2"), ())],
    ids=["alone", "several", "alone-several", "several-alone"],
)


class Succession:
    """A Freehold and those that take its place, one after the other, in one directory."""

    def __init__(self, first: Freehold) -> None:
        self.each = [first]

    @property
    def now(self) -> Freehold:
        return self.each[-1]

    def next(self, *how: str, wait: bool = True) -> Freehold:
        """Start one that takes over, and wait until the one before accepts nobody any more."""
        old = self.now
        new = Freehold(old.folder, old.env, old.port, old.admin_port)
        self.each.append(new)
        new.start("--take-over", *how, wait=False)
        if wait:
            until = time.monotonic() + 30
            while old.output.count('"event": "handed_over"') < len(self.each) - 1:
                assert time.monotonic() < until, old.output
                assert new.process is not None
                assert new.process.poll() is None, old.output
                time.sleep(0.02)
        return new

    def end(self) -> None:
        for one in self.each:
            if one.process is not None and one.process.poll() is None:
                one.kill()


@pytest.fixture
def succeed(make_freehold: Make) -> Iterator[Callable[..., Succession]]:
    yield from successions(make_freehold)


def successions(make_freehold: Make) -> Iterator[Callable[..., Succession]]:
    """Begins them, and ends them all."""
    made: list[Succession] = []

    def begin(text: str, *how: str) -> Succession:
        made.append(Succession(make_freehold(text).start(*how)))
        return made[-1]

    yield begin
    for one in made:
        one.end()


class Callers:
    """Call again and again, each on a connection that is kept, as SDKs do; whatever goes wrong is noted."""

    def __init__(self, freehold: Freehold, key: str, count: int = 8) -> None:
        self._port, self._key, self._stop = freehold.port, key, threading.Event()
        self.seen: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _call(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        body = json.dumps({"model": "w", "stream": number % 3 == 0, "messages": [{"role": "user", "content": "x"}]})
        while not self._stop.is_set():
            try:
                connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {self._key}"})
                answer = connection.getresponse()
                text = answer.read()
                is_whole = b"[DONE]" in text or text.endswith(b"}")
                self.seen[str(answer.status) if is_whole else "cut"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.seen[type(error).__name__] += 1
                connection.close()
        connection.close()

    def end(self) -> Counter[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.seen


@ways
def test_no_call_is_dropped(
    succeed: Callable[..., Succession], inside: Standin, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    inside.usual = Behaviour(event_delay_s=0.02)
    line = succeed(config(inside, more='budget = "50 USD/total"\n'), *before)
    key = line.now.key("--class", "public")
    callers = Callers(line.now, key)
    for how in (after, before):
        time.sleep(0.5)
        old, new = line.now, line.next(*how)
        assert old.process is not None
        assert old.process.wait(20) == 0
        assert new.process is not None
        assert new.process.poll() is None
    time.sleep(0.5)
    seen = callers.end()
    assert set(seen) == {"200"}, seen
    assert line.now.stop() == 0
    receipts = holds(line.now)
    assert len(receipts) == seen["200"]
    assert {record["outcome"] for record in receipts} == {"ok"}
    runs = {entry["run"] for entry in parent(line.now) if entry["kind"] == "epoch_opened"}
    assert runs == {1}, "it was one run"


def parent(freehold: Freehold) -> list[dict[str, object]]:
    return [json.loads(one) for one in (freehold.state / "log/parent.log").read_text().splitlines()]


@ways
def test_a_long_stream_ends_where_it_began(
    succeed: Callable[..., Succession], inside: Standin, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    """It may take longer than a drain; both count in one budget meanwhile."""
    text = config(inside, more='budget = "0.001 USD/total"\n').replace("watch = false", "watch = false\ndrain = 0.5")
    line = succeed(text, *before)
    key = line.now.key("--class", "public")
    inside.usual = Behaviour(event_delay_s=2.0)
    got: list[bytes] = []

    def stream() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", line.now.port, timeout=30)
        body = {"model": "w", "stream": True, "max_tokens": 300, "messages": [{"role": "user", "content": "x"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {key}"})
        got.append(connection.getresponse().read())
        connection.close()

    thread = threading.Thread(target=stream)
    thread.start()
    while not inside.requests:
        time.sleep(0.01)
    old = line.now
    line.next(*after)
    status, said = ask(
        line.now, key, body={"model": "w", "max_tokens": 300, "messages": [{"role": "user", "content": "x"}]}
    )
    assert thread.is_alive()
    assert (status, said["error"]["code"]) == (429, "budget.exhausted"), "what the old one holds counts"
    thread.join()
    assert b"[DONE]" in got[0]
    assert old.process is not None
    assert old.process.wait(10) == 0
    inside.usual = Behaviour()
    until = time.monotonic() + 10
    while (
        ask(line.now, key, body={"model": "w", "max_tokens": 300, "messages": [{"role": "user", "content": "x"}]})[0]
        != 200
    ):
        assert time.monotonic() < until, "what it held and did not need comes back"
        time.sleep(0.2)
    assert line.now.stop() == 0
    assert sum(Decimal(record["cost_usd"] or 0) for record in holds(line.now)) <= Decimal("0.001")


@ways
def test_who_cannot_serve_takes_nothing(
    succeed: Callable[..., Succession],
    inside: Standin,
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[str, ...],
    after: tuple[str, ...],
) -> None:
    """A bad configuration, another port, or death at the worst moment: the one that serves goes on."""
    line = succeed(config(inside), *before)
    old, key = line.now, line.now.key("--class", "public")
    (old.folder / "freehold.toml").write_text("[nonsense]\n")
    run = old.run("up", "--no-hello", "--take-over", *after, check=False)
    assert (run.returncode, "code: config.invalid" in run.stderr) == (2, True), run.stderr
    (old.folder / "freehold.toml").write_text(config(inside))
    run = old.run("up", "--no-hello", "--take-over", "--port", "1", *after, check=False)
    assert "code: takeover.other_port" in run.stderr
    run = old.run("up", "--no-hello", *after, check=False)
    assert "code: ledger.locked" in run.stderr
    assert "--take-over" in run.stderr
    with socket.socket(socket.AF_UNIX) as curious, monkeypatch.context() as here:
        here.chdir(old.state)
        curious.connect("handover.sock")
        curious.sendall(b"GET / HTTP/1.1\r\n")
        curious.settimeout(5)
        assert curious.recv(10) == b""
    for _ in range(3):  # it has asked, and dies before it serves; a worker dies meanwhile
        taken = take(old.state)
        for pid in workers_of(old)[-1:] if before else ():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        for sock in (*taken.sockets, taken.line):
            sock.close()
        until = time.monotonic() + 20
        while ask(old, key)[0] != 200:
            assert time.monotonic() < until
    until = time.monotonic() + 10
    while old.output.count('"event": "successor_lost"') < 4:  # and the one that wanted another port
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(2.5)
    assert old.output.count('"event": "successor_lost"') == 4
    assert old.stop() == 0
    holds(old)
    assert len([entry for entry in parent(old) if entry["kind"] == "epoch_opened"]) == len(
        [entry for entry in parent(old) if entry["kind"] == "epoch_sealed"]
    )


@ways
def test_the_old_one_is_killed_while_it_ends(
    succeed: Callable[..., Succession], inside: Standin, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    """What it had begun is settled by its successor, once, at what it held."""
    line = succeed(config(inside, more='budget = "1 USD/total"\n'), *before)
    key = line.now.key("--class", "public")
    inside.usual = Behaviour(event_delay_s=5.0)
    connection = http.client.HTTPConnection("127.0.0.1", line.now.port, timeout=30)
    body = {"model": "w", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {key}"})
    while not inside.requests:
        time.sleep(0.01)
    old, new = line.now, line.next(*after)
    inside.usual = Behaviour()
    assert ask(new, key)[0] == 200
    for pid in workers_of(old):
        os.kill(pid, signal.SIGKILL)
    old.kill()
    connection.close()
    until = time.monotonic() + 15
    while not (lost := [record for record in new.settled(2) if record["outcome"] == "lost"]):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert len(lost) == 1
    assert ask(new, key)[0] == 200
    assert new.stop() == 0
    holds(new)


def test_there_must_be_somebody(make_freehold: Make, inside: Standin) -> None:
    freehold = make_freehold(config(inside))
    run = freehold.run("up", "--no-hello", "--take-over", check=False)
    assert (run.returncode, "code: takeover.nobody" in run.stderr) == (2, True)
    freehold.start().kill()
    run = freehold.run("up", "--no-hello", "--take-over", check=False)
    assert "code: takeover.nobody" in run.stderr, "a dead one hands over nothing"


def test_however_long_the_path_is(succeed: Callable[..., Succession], inside: Standin, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    line = succeed(config(inside))
    line.now.stop()
    line.each = [Freehold(folder, line.now.env)]
    (folder / "freehold.toml").write_text(config(inside))
    line.now.start()
    key = line.now.key("--class", "public")
    line.next()
    assert ask(line.now, key)[0] == 200


def test_killed_while_two_are_there(succeed: Callable[..., Succession], inside: Standin) -> None:
    """Both at once: whoever starts next finds everything."""
    line = succeed(config(inside))
    key = line.now.key("--class", "public")
    inside.usual = Behaviour(event_delay_s=5.0)
    body = json.dumps({"model": "w", "stream": True, "messages": [{"role": "user", "content": "x"}]})
    held = []
    for turn in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", line.now.port, timeout=30)
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
        held.append(connection)
        while len(inside.requests) <= turn:
            time.sleep(0.01)
        if turn == 0:
            line.next()
    for one in line.each:
        one.kill()
    for connection in held:
        connection.close()
    inside.usual = Behaviour()
    wait_until_free(line.now.state)
    again = Freehold(line.now.folder, line.now.env).start()
    line.each.append(again)
    assert Counter(record["outcome"] for record in again.settled(2)) == {"lost": 2}
    assert ask(again, key)[0] == 200
    assert again.stop() == 0
    holds(again)
    assert {entry["run"] for entry in parent(again) if entry["kind"] == "epoch_opened"} == {1, 2}


def test_a_caller_that_keeps_its_connection_sees_nothing_of_a_stop(make_freehold: Make, inside: Standin) -> None:
    """SIGTERM: its next answer says that it is the last one on this connection, and it gets one."""
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "public")
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=10)
    body = json.dumps({"model": "w", "messages": [{"role": "user", "content": "x"}]})
    for turn in range(2):
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()[-1:]) == (200, b"}")
        assert answer.getheader("connection") == (None, "close")[turn]
        if turn == 0:
            assert freehold.process is not None
            freehold.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
    connection.close()
    assert freehold.process is not None
    try:
        assert freehold.process.wait(10) == 0
    except subprocess.TimeoutExpired:
        pytest.fail("it did not end")
