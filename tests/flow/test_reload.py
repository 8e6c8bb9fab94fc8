"""The configuration changes under a running Freehold: whole or not at all, for new calls at once, for calls under way never."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from conftest import NO_ENGINE, Freehold
from flow.test_workers import ask, holds, wait_for_workers, workers_of
from freehold.testing.standin import Behaviour, Standin

ALONE, SEVERAL = ((), ("--workers", "3"))
both = pytest.mark.parametrize("how", [ALONE, SEVERAL], ids=["alone", "several"])
Make = Callable[..., Freehold]


def config(provider: Standin, *, class_: str = "public", more: str = "", model: str = "m") -> str:
    return (
        NO_ENGINE
        + "[server]\nwatch = false\n"
        + f'[providers.cloud]\nbase_url = "{provider.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ {model} = {{ input = 1.0, output = 2.0 }} }}\n'
        + f'[workloads.w]\nclass = "{class_}"\ntargets = ["cloud/{model}"]\n'
        + more
    )


def write(freehold: Freehold, text: str) -> None:
    """As an editor does: another file takes its place."""
    part = freehold.folder / "freehold.toml.part"
    part.write_text(text)
    part.replace(freehold.folder / "freehold.toml")


def reload(freehold: Freehold) -> tuple[int, dict[str, Any]]:
    request = Request(f"http://127.0.0.1:{freehold.admin_port}/api/reload", method="POST")
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as refusal:
        with refusal:
            return refusal.code, json.loads(refusal.read())


def wait_for(freehold: Freehold, word: str, count: int = 1) -> None:
    until = time.monotonic() + 20
    while freehold.output.count(word) < count:
        assert time.monotonic() < until, freehold.output
        time.sleep(0.02)


def classes(freehold: Freehold, key: str, times: int = 12) -> set[str]:
    """The classes that calls get, on connections of their own so that every worker may have some."""
    found = set()
    for _ in range(times):
        connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=30)
        body = {"model": "w", "messages": [{"role": "user", "content": "x"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        found.add(str(answer.getheader("x-freehold-class")))
        connection.close()
    return found


def ask_for_it(freehold: Freehold) -> None:
    assert reload(freehold)[0] == 200


def hang_up(freehold: Freehold) -> None:
    assert freehold.process is not None
    freehold.process.send_signal(signal.SIGHUP)


@both
@pytest.mark.parametrize("how_asked", [ask_for_it, hang_up], ids=["admin", "signal"])
def test_a_new_class_holds_at_once_for_every_worker(
    make_freehold: Make, inside: Standin, how: tuple[str, ...], how_asked: Callable[[Freehold], None]
) -> None:
    freehold = make_freehold(config(inside)).start(*how)
    key = freehold.key("--class", "public")
    assert classes(freehold, key) == {"public"}
    write(freehold, config(inside, class_="confidential"))
    time.sleep(0.2)
    assert classes(freehold, key) == {"public"}, "nobody has asked"
    how_asked(freehold)
    wait_for(freehold, '"event": "reloaded"', 4 if how else 1)
    assert classes(freehold, key) == {"confidential"}
    assert freehold.stop() == 0
    holds(freehold)
    noted = [record for record in freehold.records() if record["kind"] == "policy"]
    assert len(noted) == (3 if how else 1)
    assert {record["by"] for record in noted} == {"local" if how_asked is ask_for_it else "signal"}


@both
def test_a_file_that_has_changed_is_read(make_freehold: Make, inside: Standin, how: tuple[str, ...]) -> None:
    watched = config(inside).replace("watch = false", "watch = true")
    freehold = make_freehold(watched).start(*how)
    key = freehold.key("--class", "public")
    write(freehold, watched.replace('"public"', '"internal"'))
    wait_for(freehold, '"event": "reloaded"', 4 if how else 1)
    assert classes(freehold, key) == {"internal"}
    with (freehold.folder / "freehold.toml").open("w") as file:  # written slowly, and half of it is a valid file
        file.write(watched[: watched.index("[workloads")])
        file.flush()
        for _ in range(15):
            time.sleep(0.2)
            file.write("\n")
            file.flush()
        file.write(watched[watched.index("[workloads") :])
    wait_for(freehold, '"event": "reloaded"', 8 if how else 2)
    assert classes(freehold, key) == {"public"}
    policies = {record["policy"] for record in freehold.records() if record["kind"] == "policy"}
    assert len(policies) == 2, "half of a file was never in force"


BAD = {
    "not TOML": ("[workloads", "config.invalid"),
    "unknown setting": (
        '[workloads.w]\nclass = "public"\ntargets = ["cloud/m"]\nbudgett = "1 USD/day"\n',
        "config.invalid",
    ),
    "a hole in the perimeter": (
        NO_ENGINE
        + '[providers.far]\nbase_url = "https://api.example.com/v1"\nzone = "outside"\n[workloads.w]\nclass = "restricted"\ntargets = ["far/m"]\n',
        "perimeter.unproven",
    ),
    "a secret that is missing": (
        NO_ENGINE
        + '[providers.openai]\nkey = "env:NOBODY_SET_THIS"\n[workloads.w]\nclass = "public"\ntargets = ["openai/gpt-5"]\n',
        "config.invalid",
    ),
    "another engine": ("[engine]\nenabled = true\n", "config.needs_restart"),
}


def wait_until_all(freehold: Freehold, how: tuple[str, ...]) -> None:
    """Until every worker has begun: the first serves before the last does."""
    until = time.monotonic() + 20
    while how and freehold.output.count('"event": "worker"') < int(how[-1]):
        assert time.monotonic() < until
        time.sleep(0.02)


@both
def test_a_bad_file_changes_nothing_and_says_why(make_freehold: Make, inside: Standin, how: tuple[str, ...]) -> None:
    freehold = make_freehold(config(inside)).start(*how)
    key = freehold.key("--class", "public")
    wait_until_all(freehold, how)
    before = workers_of(freehold)
    for name, (text, code) in BAD.items():
        write(freehold, text)
        status, said = reload(freehold)
        assert (status, said["error"]["code"]) == (422, code), name
        assert said["error"]["message"]
        assert classes(freehold, key, 4) == {"public"}, name
    (freehold.folder / "freehold.toml").unlink()
    assert reload(freehold)[1]["error"]["code"] == "config.unreadable"
    assert classes(freehold, key, 4) == {"public"}
    wait_for(freehold, '"event": "reload_refused"', len(BAD) + 1)
    assert workers_of(freehold) == before, "nobody was replaced"
    assert not [record for record in freehold.records() if record["kind"] == "policy"]
    write(freehold, config(inside, class_="internal"))
    ask_for_it(freehold)
    assert classes(freehold, key) == {"internal"}


@both
def test_a_bad_disk_is_a_reason_not_to_reload_and_none_to_end(
    make_freehold: Make, inside: Standin, how: tuple[str, ...]
) -> None:
    """What a new budget has spent cannot be read: nothing changes, and everybody goes on; mended, it is taken."""
    freehold = make_freehold(config(inside)).start(*how)
    key = freehold.key("--class", "public")
    index = freehold.state / "index.db"
    index.unlink(missing_ok=True)
    index.mkdir()
    write(freehold, config(inside, class_="internal", more='budget = "9 USD/day"\n'))
    status, said = reload(freehold)
    assert (status, said["error"]["code"]) == (422, "config.not_reloaded")
    assert classes(freehold, key, 6) == {"public"}
    index.rmdir()
    ask_for_it(freehold)
    assert classes(freehold, key, 6) == {"internal"}
    assert freehold.stop() == 0
    holds(freehold)


@pytest.fixture
def slow(inside: Standin) -> Standin:
    inside.usual = Behaviour(event_delay_s=0.2)
    return inside


@both
def test_a_call_under_way_ends_under_the_policy_that_it_began_with(
    make_freehold: Make, slow: Standin, outside: Standin, how: tuple[str, ...]
) -> None:
    """Its provider and its workload are taken away while it streams; the log verifies, and its new budget counts it."""
    freehold = make_freehold(config(slow)).start(*how)
    key = freehold.key("--class", "public")
    seen: list[bytes] = []

    def stream() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=30)
        body = {"model": "w", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {key}"})
        seen.append(connection.getresponse().read())
        connection.close()

    thread = threading.Thread(target=stream)
    thread.start()
    while not slow.requests:
        time.sleep(0.01)
    write(freehold, config(outside, class_="internal", model="n", more='budget = "5 USD/total"\n'))
    ask_for_it(freehold)
    assert ask(freehold, key)[0] == 200
    assert len(outside.requests) == 1, "new calls go to the new provider"
    assert thread.is_alive(), "the old one was still under way"
    thread.join()
    assert b"[DONE]" in seen[0]
    assert freehold.stop() == 0
    receipts = holds(freehold)
    assert sorted(record["class"] for record in receipts) == ["internal", "public"]
    assert {record["outcome"] for record in receipts} == {"ok"}


@both
def test_a_budget_that_is_added_knows_what_was_spent(
    make_freehold: Make, inside: Standin, how: tuple[str, ...]
) -> None:
    freehold = make_freehold(config(inside)).start(*how)
    key = freehold.key("--class", "public")
    for _ in range(6):
        assert ask(freehold, key)[0] == 200
    spent = sum(Decimal(record["cost_usd"]) for record in freehold.settled(6))
    write(freehold, config(inside, more=f'budget = "{spent} USD/month"\n'))
    ask_for_it(freehold)
    status, said = ask(freehold, key)
    assert (status, said["error"]["code"]) == (429, "budget.exhausted")
    write(freehold, config(inside))
    ask_for_it(freehold)
    assert ask(freehold, key)[0] == 200
    more = sum(Decimal(record["cost_usd"] or 0) for record in freehold.settled(8)) - spent
    time.sleep(2.5)  # workers have told what they spent
    write(freehold, config(inside, more=f'budget = "{spent + more + Decimal("0.000001"):f} USD/month"\n'))
    ask_for_it(freehold)
    status, said = ask(freehold, key)
    assert status == 429
    assert "has 0.000001 USD left" in said["error"]["message"], "what was counted before counts once"


@both
def test_no_call_is_lost_while_it_is_reloaded_again_and_again(
    make_freehold: Make, inside: Standin, how: tuple[str, ...]
) -> None:
    freehold = make_freehold(config(inside)).start(*how)
    key, stop = freehold.key("--class", "public"), threading.Event()
    statuses: list[int] = []

    def load() -> None:
        while not stop.is_set():
            statuses.append(ask(freehold, key)[0])

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for turn in range(12):
        text = config(inside, class_=("internal", "public")[turn % 2], more='budget = "9 USD/day"\n' * (turn % 3 == 0))
        write(freehold, text)
        ask_for_it(freehold)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert freehold.stop() == 0
    holds(freehold)


def test_a_worker_that_begins_later_has_the_new_one(make_freehold: Make, inside: Standin) -> None:
    freehold = make_freehold(config(inside)).start("--workers", "2")
    key = freehold.key("--class", "public")
    write(freehold, config(inside, class_="confidential"))
    ask_for_it(freehold)
    write(freehold, config(inside))  # and nobody asks for this one
    for pid in wait_for_workers(freehold, 2):
        os.kill(pid, signal.SIGKILL)
    wait_for(freehold, '"event": "worker"', 4)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            assert classes(freehold, key) == {"confidential"}
            break
        except OSError:
            time.sleep(0.1)
    assert freehold.stop() == 0
    holds(freehold)


def test_another_secret_in_its_file_is_taken(make_freehold: Make, inside: Standin, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("first-secret-of-the-rack")
    secret.chmod(0o600)
    text = config(inside).replace('zone = "inside"', f'zone = "inside"\nkey = "file:{secret}"')
    freehold = make_freehold(text).start()
    key = freehold.key("--class", "public")
    assert ask(freehold, key)[0] == 200
    secret.write_text("second-secret-of-the-rack")
    assert reload(freehold)[1]["changed"] is False, "the policy is the same; what it refers to is not"
    assert ask(freehold, key)[0] == 200
    sent = [request.headers.get("authorization") for request in inside.requests]
    assert sent == ["Bearer first-secret-of-the-rack", "Bearer second-secret-of-the-rack"]
    assert "secret-of-the-rack" not in freehold.output


def test_without_a_file_there_is_nothing_to_read(make_freehold: Make) -> None:
    freehold = make_freehold(None).start("--no-hello", wait=False)
    freehold.wait(60)
    assert reload(freehold)[1]["error"]["code"] == "config.no_file"
