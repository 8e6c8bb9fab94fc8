"""Keys are changed beside a running Freehold, and the log says who did it."""

from __future__ import annotations

import getpass
import http.client
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from conftest import NO_ENGINE, Freehold
from flow.test_workers import ask, holds
from forge import Forge, jwks
from freehold.gateway.admin_app import ROUTES
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


KINDS = ("admin", "auditor", "developer", "lead:care")


def test_each_admin_route_is_open_to_its_roles_and_to_nobody_else(make_freehold: Make) -> None:
    """Every route of the list, asked by nobody, by a machine of each role, by one of none, and by whoever holds the operator's token."""
    forge = Forge()
    text = (
        NO_ENGINE
        + '[departments.care]\n[machines.ci]\nissuer = "https://issuer.example.com"\naudience = "freehold"\nkeys = "file:jwks.json"\n'
    )
    sign_in = (
        '[sign_in]\nissuer = "https://issuer.example.com"\nclient_id = "x"\naddress = "https://freehold.example.com"\n'
    )
    freehold = make_freehold(text + sign_in)
    (freehold.folder / "jwks.json").write_bytes(jwks(forge.jwk()))
    freehold.start()
    tokens = {kind: forge.token(sub=kind) for kind in (*KINDS, "none", "unknown")}
    for kind in KINDS:
        freehold.run("people", "set", f"machine:ci:{kind}", "--role", kind)
    freehold.run("people", "set", "machine:ci:none")
    tokens["operator"] = freehold.run("people", "token").stdout.strip()
    tokens["a caller's key"] = freehold.key()
    tokens["forged"] = Forge("other").token(sub="admin")
    for row in ROUTES:
        path = row.path.replace("{id}", "nothing")
        for kind, token in [("nobody", None), *tokens.items()]:
            status = asked_as(freehold, row.method, path, token)
            if kind in ("a caller's key", "forged"):
                assert status == 401, (row, kind)
                continue
            is_open = "anyone" in row.roles or kind == "operator" or kind.partition(":")[0] in row.roles
            refused = 403 if kind in (*KINDS, "none") else 401
            if is_open:
                assert status not in (401, 403) or row.path == "/sign-in/back", (row, kind, status)
            else:
                assert status == refused, (row, kind)
    assert asked_as(freehold, "GET", "/api/nothing", tokens["operator"]) == 404
    assert asked_as(freehold, "PUT", "/api/keys", tokens["operator"]) == 405


def asked_as(freehold: Freehold, method: str, path: str, token: str | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", freehold.admin_port, timeout=20)
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    connection.request(method, path, b"{}" if method != "GET" else None, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_whoever_is_at_this_machine_may_look_as_long_as_nobody_can_sign_in(make_freehold: Make) -> None:
    freehold = make_freehold().start()
    for row in ROUTES:
        status = asked_as(freehold, row.method, row.path.replace("{id}", "nothing"), None)
        is_open = bool({"anyone", "local"} & set(row.roles))
        assert (status != 401) == is_open, row


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        pytest.param("keys", b"", 400, "admin.body", id="nothing"),
        pytest.param("keys", b"[]", 400, "admin.body", id="a list"),
        pytest.param("keys", b'{"name": "x", "bugdet": ["5 USD/day"]}', 400, "admin.body", id="unknown field"),
        pytest.param("keys", b"\xff", 400, "admin.body", id="no text"),
        pytest.param("keys", b'{"name": "' + b"x" * 70_000 + b'"}', 413, "admin.body", id="long"),
        pytest.param("keys", b'{"name": "x", "budget": ["much"]}', 400, "keys.budget", id="budget"),
        pytest.param("keys", b'{"name": "x", "limits": {"calls": "often"}}', 400, "keys.budget", id="limit"),
        pytest.param("keys", b'{"name": "x", "expires": "soon"}', 400, "keys.span", id="span"),
        pytest.param("keys", b'{"name": "x", "workload": "nothing"}', 400, "keys.unknown_workload", id="workload"),
        pytest.param("keys", b'{"name": "x", "class": "secret"}', 400, "admin.body", id="class"),
        pytest.param("keys", b'{"name": "x", "machine": "ci"}', 400, "keys.machine", id="machine"),
        pytest.param("keys", b'{"name": "x", "owner": " "}', 400, "people.name", id="owner"),
        pytest.param("people", b'{"name": "x", "roles": ["boss"]}', 400, "people.role", id="role"),
        pytest.param("people", b'{"name": "x", "roles": ["lead"]}', 400, "people.role", id="lead of nothing"),
        pytest.param("people", b'{"name": "x", "roles": ["lead:nowhere"]}', 400, "people.role", id="department"),
        pytest.param("people", b'{"name": "a\\u0000b"}', 400, "people.name", id="control"),
    ],
)
def test_what_cannot_be_done_is_said(make_freehold: Make, path: str, body: bytes, status: int, code: str) -> None:
    freehold = make_freehold().start()
    token = freehold.run("people", "token").stdout.strip()
    request = Request(
        f"http://127.0.0.1:{freehold.admin_port}/api/{path}",
        body,
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    with pytest.raises(HTTPError) as refusal, urlopen(request, timeout=20):
        pass
    with refusal.value as told:
        assert (told.code, json.loads(told.read())["error"]["code"]) == (status, code)


def test_whoever_is_removed_leaves_no_key_behind(make_freehold: Make, inside: Standin) -> None:
    """Nobody else knows their secrets; what they had is ended, and it is said."""
    freehold = make_freehold(NO_ENGINE + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n').start()
    body = {"model": "rack/m", "messages": [{"role": "user", "content": "x"}]}
    keys = [freehold.key("--owner", owner) for owner in ("Ada@Example.com", "ada@example.com", "bert@example.com")]
    assert [ask(freehold, key, body=body)[0] for key in keys] == [200] * 3
    told = freehold.run("people", "remove", "ADA@example.com").stdout
    assert told == "ADA@example.com is forgotten, and 2 of their keys are revoked.\n"
    time.sleep(1.0)
    assert [ask(freehold, key, body=body)[0] for key in keys] == [401, 401, 200]
    listed = json.loads(freehold.run("people", "list", "--json").stdout)["people"]
    assert [one["name"] for one in listed] == ["bert@example.com"]


def test_another_process_that_holds_the_file_of_keys_stops_no_call(make_freehold: Make, inside: Standin) -> None:
    freehold = make_freehold(NO_ENGINE + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n').start()
    key, body = freehold.key(), {"model": "rack/m", "messages": [{"role": "user", "content": "x"}]}
    assert ask(freehold, key, body=body)[0] == 200
    freehold.key()  # a change that stands in no log yet
    holder = sqlite3.connect(freehold.state / "store.db", isolation_level=None)
    holder.execute("begin immediate")
    slowest, until = 0.0, time.monotonic() + 4
    while time.monotonic() < until:
        began = time.monotonic()
        assert ask(freehold, key, body=body)[0] == 200
        slowest = max(slowest, time.monotonic() - began)
    holder.execute("rollback")
    holder.close()
    assert slowest < 8, "it waited ten seconds once"
    time.sleep(2.5)
    assert len({one["change"] for one in changes(freehold, 4)}) == len(changes(freehold, 4)) == 4, "each once"
