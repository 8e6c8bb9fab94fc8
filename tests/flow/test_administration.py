"""Keys are changed beside a running Freehold, and the log says who did it."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from conftest import NO_ENGINE, Freehold
from flow.test_workers import ask, holds
from freehold.testing.standin import Standin

Make = Callable[..., Freehold]
both = pytest.mark.parametrize("how", [(), ("--workers", "3")], ids=["alone", "several"])


def changes(freehold: Freehold, count: int) -> list[dict[str, Any]]:
    until = time.monotonic() + 10
    while len(found := [record for record in freehold.records() if record["kind"] == "change"]) < count:
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


@both
def test_a_secret_is_exchanged_while_calls_go_on(make_freehold: Make, inside: Standin, how: tuple[str, ...]) -> None:
    text = NO_ENGINE + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n'
    freehold = make_freehold(text).start(*how)
    made = json.loads(freehold.run("keys", "create", "--name", "Anna's laptop", "--expires", "90d", "--json").stdout)
    assert made["expires"] > "2026"
    body = {"model": "rack/m", "messages": [{"role": "user", "content": "x"}]}
    assert ask(freehold, made["key"], body=body)[0] == 200
    new = json.loads(freehold.run("keys", "rotate", made["id"], "--overlap", "1h", "--json").stdout)
    time.sleep(1.0)
    for secret in (made["key"], new["key"]):
        assert [ask(freehold, secret, body=body)[0] for _ in range(4)] == [200] * 4
    last = freehold.run("keys", "rotate", made["id"], "--overlap", "0")
    assert "refused from now on" in last.stderr
    time.sleep(1.0)
    found = [
        ask(freehold, secret, body=body)[0]
        for secret in (made["key"], new["key"], last.stdout.strip())
        for _ in range(3)
    ]
    assert found == [200] * 3 + [401] * 3 + [200] * 3, "the first has an hour, the second none, the third is the key's"
    assert freehold.run("keys", "revoke", made["id"]).returncode == 0
    time.sleep(1.0)
    assert [ask(freehold, secret, body=body)[0] for secret in (made["key"], last.stdout.strip())] == [401, 401]
    told = sorted(changes(freehold, 6), key=lambda one: int(one["changed_ms"]))  # several workers may have written them
    told = [one for one in told if one["key"] == made["id"]]
    assert [one["what"] for one in told] == ["key.created", "key.rotated", "key.rotated", "key.revoked"]
    assert {one["who"] for one in told} == {f"cli:{getpass.getuser()}"}
    assert freehold.stop() == 0
    assert {record["key"] for record in holds(freehold)} == {made["id"]}, "one key, whatever its secret was"
    written = (freehold.state / "log").rglob("*")
    assert not [path for path in written if path.is_file() and b"Anna" in path.read_bytes()]


def test_what_was_changed_while_nothing_ran_is_written_at_the_next_start(make_freehold: Make) -> None:
    freehold = make_freehold()
    key = json.loads(freehold.run("keys", "create", "--name", "k", "--json").stdout)
    assert freehold.run("keys", "rotate", "key_nobody", check=False).returncode == 1
    for wrong in ("soon", "-1d", "1y", "", "d"):
        run = freehold.run("keys", "create", "--name", "k", "--expires", wrong, check=False)
        assert run.returncode == 2, wrong
    freehold.start()
    assert [one["key"] for one in changes(freehold, 1)] == [key["id"]]
    assert freehold.stop() == 0
    freehold.start()
    time.sleep(1.5)
    assert len(changes(freehold, 1)) == 1, "once"
    assert freehold.stop() == 0
    holds(freehold)


@both
def test_an_access_log_says_what_became_of_each_call(
    make_freehold: Make, inside: Standin, how: tuple[str, ...]
) -> None:
    """One line of JSON for each, only where it is asked for; facts, and no words of anybody."""
    text = NO_ENGINE + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nretries = 0\n'
    freehold = make_freehold(text + "[server]\naccess_log = true\n").start(*how)
    key = json.loads(freehold.run("keys", "create", "--name", "k", "--json").stdout)
    said = {"messages": [{"role": "user", "content": "a word that nobody may read"}]}
    assert ask(freehold, key["key"], body={"model": "rack/m", **said})[0] == 200
    assert ask(freehold, key["key"], body={"model": "nowhere", **said})[0] == 404
    until = time.monotonic() + 5
    while len(lines := [line for line in freehold.output.splitlines() if '"event": "call"' in line]) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    good, bad = sorted(map(json.loads, lines), key=lambda one: int(one["status"]))
    assert (good["target"], good["zone"], good["outcome"], good["class"]) == ("rack/m", "inside", "ok", "restricted")
    assert (good["key"], good["attempts"], good["input_tokens"] > 0) == (key["id"], 1, True)
    assert (bad["status"], bad["outcome"], bad["code"]) == (404, "refused", "routing.unknown_model")
    assert "nobody may read" not in freehold.output
    assert {one["call"] for one in freehold.settled(2)} == {good["call"], bad["call"]}
