"""What may go wrong while one Freehold takes another's place: whoever serves goes on, nothing counts twice, and nothing is lost."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from conftest import NO_ENGINE, Freehold
from flow.test_handover import Succession, successions
from flow.test_reload import config
from flow.test_workers import ask, holds, workers_of
from freehold.testing.standin import Behaviour, Standin

Succeed = Callable[..., Succession]
SMALL = {"model": "w", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
SPENT = 'budget = "0.0005 USD/total"\n'


@pytest.fixture
def succeed(make_freehold: Callable[..., Freehold]) -> Iterator[Succeed]:
    yield from successions(make_freehold)


class Streams:
    """Calls that take a while."""

    def __init__(self, freehold: Freehold, key: str, inside: Standin, count: int) -> None:
        self.got: list[bytes] = []
        self._threads = [threading.Thread(target=self._one, args=(freehold.port, key)) for _ in range(count)]
        before = len(inside.requests)
        for thread in self._threads:
            thread.start()
        wait(lambda: len(inside.requests) >= before + count)

    def _one(self, port: int, key: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = {"model": "w", "stream": True, "max_tokens": 300, "messages": [{"role": "user", "content": "x"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {key}"})
        self.got.append(connection.getresponse().read())
        connection.close()

    def end(self) -> None:
        for thread in self._threads:
            thread.join()
        assert all(b"[DONE]" in one for one in self.got)


def wait(is_so: Callable[[], object], deadline_s: float = 30.0) -> None:
    until = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def said(freehold: Freehold, event: str) -> int:
    return freehold.output.count(f'"event": "{event}"')


def ended(freehold: Freehold) -> int:
    assert freehold.process is not None
    return freehold.process.wait(30)


def spend_all(freehold: Freehold, key: str) -> None:
    wait(lambda: ask(freehold, key, body=SMALL)[0] == 429)
    time.sleep(1.5)
    wait(lambda: ask(freehold, key, body=SMALL)[0] == 429)


def test_who_starts_plainly_beside_one_that_still_ends_its_calls_goes_on_with_it(
    succeed: Succeed, inside: Standin
) -> None:
    """The second is gone before the first has ended: the third neither settles what lives nor forgets what it holds."""
    line = succeed(config(inside, more='budget = "0.001 USD/total"\n'))
    first, key = line.now, line.now.key("--class", "public")
    inside.usual = Behaviour(event_delay_s=1.0)
    streams = Streams(first, key, inside, 1)
    second = line.next()
    second.kill()
    third = Freehold(first.folder, first.env, first.port, first.admin_port)
    line.each.append(third)
    third.start(wait=False)
    inside.usual = Behaviour()
    big = SMALL | {"max_tokens": 300}
    wait(lambda: ask(third, key, body=big)[0])  # it serves
    assert ask(third, key, body=big)[0] == 429, "what the first holds counts"
    streams.end()
    assert ended(first) == 0
    wait(lambda: ask(third, key, body=big)[0] == 200)
    assert third.stop() == 0
    assert {record["outcome"] for record in holds(third)} == {"ok", "refused"}


@pytest.mark.parametrize("how", [(), ("--workers", "2")], ids=["alone", "several"])
@pytest.mark.parametrize("who", ["newcomer", "old"])
def test_whoever_is_told_to_stop_while_the_place_is_lent_leaves_the_other_whole(
    succeed: Succeed,
    inside: Standin,
    who: str,
    how: tuple[str, ...],
) -> None:
    """The one that serves goes on, or the newcomer does; a spent budget stays spent, and workers can still be replaced."""
    line = succeed(config(inside, more=SPENT), *how)
    old, key = line.now, line.now.key("--class", "public")
    spend_all(old, key)
    epochs = len(list((old.state / "log").glob("*.jsonl")))
    text = config(inside, more=SPENT).replace(NO_ENGINE, "")  # so that it takes a moment until it is ready
    (old.folder / "freehold.toml").write_text(text)
    new = line.next(*how, wait=False)
    assert new.process is not None
    assert old.process is not None
    wait(lambda: len(list((old.state / "log").glob("*.jsonl"))) > epochs)
    told, stays = (new, old) if who == "newcomer" else (old, new)
    assert told.process is not None
    told.process.send_signal(signal.SIGTERM)
    assert ended(told) == 0
    wait(lambda: ask(stays, key, body=SMALL)[0] == 429)
    for pid in workers_of(stays) if how else ():
        os.kill(pid, signal.SIGKILL)
    time.sleep(1.0)
    wait(lambda: ask(stays, key, body=SMALL)[0] == 429)
    assert said(old, "handed_over") == 0
    assert stays.stop() == 0
    holds(stays)


def test_a_budget_that_comes_with_the_next_version_knows_what_the_old_one_ends(
    succeed: Succeed, inside: Standin
) -> None:
    line = succeed(config(inside))
    old, key = line.now, line.now.key("--class", "public")
    inside.usual = Behaviour(event_delay_s=1.0)
    streams = Streams(old, key, inside, 40)
    (old.folder / "freehold.toml").write_text(config(inside, more=SPENT))
    new = line.next()
    streams.end()
    assert ended(old) == 0
    wait(lambda: said(new, "inherited"))
    inside.usual = Behaviour()
    before = sum(Decimal(one["cost_usd"]) for one in new.settled())
    assert before > Decimal("0.0005")
    assert [ask(new, key, body=SMALL)[0] for _ in range(10)] == [429] * 10
    assert new.stop() == 0
    holds(new)


def test_a_budget_that_a_dead_newcomer_brought_is_counted_anew(succeed: Succeed, inside: Standin) -> None:
    line = succeed(config(inside))
    old, key = line.now, line.now.key("--class", "public")
    slow = config(inside, more=SPENT).replace(NO_ENGINE, "")  # so that it takes a moment until it is ready
    (old.folder / "freehold.toml").write_text(slow)
    epochs = len(list((old.state / "log").glob("*.jsonl")))
    new = line.next("--workers", "2", wait=False)
    wait(lambda: len(list((old.state / "log").glob("*.jsonl"))) > epochs + 1)
    new.kill()
    line.each.pop()
    wait(lambda: said(old, "successor_lost"))
    assert said(old, "handed_over") == 0
    while sum(Decimal(one["cost_usd"]) for one in old.settled()) <= Decimal("0.0005"):
        assert {ask(old, key, body=SMALL)[0] for _ in range(10)} == {200}, "the old one knows of no budget"
    new = line.next("--workers", "2")
    assert ended(old) == 0
    assert [ask(new, key, body=SMALL)[0] for _ in range(10)] == [429] * 10
    assert new.stop() == 0
    holds(new)


def test_the_one_that_leaves_answers_nobody_about_what_serves(succeed: Succeed, inside: Standin) -> None:
    """Its admin plane ends at once, however long its last call takes."""
    line = succeed(config(inside))
    old, key = line.now, line.now.key("--class", "public")
    inside.usual = Behaviour(event_delay_s=1.0)
    streams = Streams(old, key, inside, 1)
    new = line.next()
    (old.folder / "freehold.toml").write_text(config(inside, class_="internal"))
    for _ in range(10):
        connection = http.client.HTTPConnection("127.0.0.1", old.admin_port, timeout=10)
        connection.request("POST", "/api/reload")
        assert connection.getresponse().status == 200
        connection.close()
    records = [record for record in new.records() if record["kind"] == "policy"]
    assert len({record["epoch"] for record in records}) == 1, "the newcomer alone"
    streams.end()
    assert ended(old) == 0
    assert new.stop() == 0
    holds(new)


def test_what_a_terminal_says_when_it_closes_ends_no_worker(succeed: Succeed, inside: Standin) -> None:
    line = succeed(config(inside), "--workers", "2")
    key = line.now.key("--class", "public")
    inside.usual = Behaviour(event_delay_s=0.5)
    streams = Streams(line.now, key, inside, 2)
    for pid in workers_of(line.now):
        os.kill(pid, signal.SIGHUP)
    streams.end()
    assert line.now.stop() == 0


def test_an_address_is_taken_over_as_it_is(succeed: Succeed, inside: Standin) -> None:
    line = succeed(config(inside))
    run = line.now.run("up", "--no-hello", "--take-over", "--host", "0.0.0.0", check=False)
    assert (run.returncode, "code: takeover.other_port" in run.stderr) == (2, True)
    assert ask(line.now, line.now.key("--class", "public"), body=SMALL)[0] == 200


@pytest.mark.parametrize("how", [(), ("--workers", "2")], ids=["alone", "several"])
@pytest.mark.parametrize("text", [f"x = {'9' * 5_000}\n", f"x = {'[' * 100_000}\n"], ids=["number", "nesting"])
def test_no_file_ends_what_serves(succeed: Succeed, inside: Standin, how: tuple[str, ...], text: str) -> None:
    line = succeed(config(inside).replace("watch = false", "watch = true"), *how)
    freehold, key = line.now, line.now.key("--class", "public")
    file = freehold.folder / "freehold.toml"
    good = file.read_text()
    file.write_text(text + good)
    wait(lambda: said(freehold, "reload_refused"))
    assert ask(freehold, key, body=SMALL)[0] == 200
    file.write_text(good + "# as it was\n[departments.new]\n")
    wait(lambda: said(freehold, "reloaded"))
    assert freehold.stop() == 0


def test_what_is_saved_while_it_starts_is_read(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Between being read and being watched as well."""
    text = config(inside).replace("watch = false", "watch = true")
    freehold = make_freehold(text)
    freehold.start(wait=False)
    file = freehold.folder / "freehold.toml"
    wait(lambda: (freehold.state / "lock").exists())  # it has read the file
    file.write_text(text + "[departments.new]\n")
    wait(lambda: said(freehold, "reloaded"))
    assert freehold.stop() == 0
