"""People sign in through a real issuer, and machines with tokens that somebody else has signed."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest

from conftest import NO_ENGINE, Freehold, clean_env, free_port
from flow.test_workers import ask
from forge import Forge, jwks
from freehold.testing.standin import Standin
from issuer import CLIENT, PEOPLE, SECRET, Browser, Issuer

JSON = {"content-type": "application/json"}
MACHINES = '[machines.ci]\nissuer = "https://issuer.example.com"\naudience = "freehold"\nkeys = "file:jwks.json"\n'


def sign_in_table(issuer: str, address: str) -> str:
    return (
        f'[sign_in]\nissuer = "{issuer}"\nclient_id = "{CLIENT}"\nclient_secret = "env:OIDC"\naddress = "{address}"\n'
        'claim = "sub"\nscopes = ["openid", "groups"]\n'
        '[sign_in.groups]\nplatform = "admin"\nsupport = "lead:care"\n'
    )


class Site:
    """A Freehold at which people of an issuer sign in."""

    def __init__(self, folder: Path, port: int, issuer: Issuer, rack: str) -> None:
        self.issuer, self.url = issuer, f"http://127.0.0.1:{port}"
        self.text = (
            NO_ENGINE
            + f'[providers.rack]\nbase_url = "{rack}"\nzone = "inside"\nprices = {{ m = {{ input = 0.0, output = 0.0 }} }}\n'
            + '[departments.care]\n[departments.law]\n[workloads.triage]\ntargets = ["rack/m"]\ndepartment = "care"\n'
            + '[workloads.contracts]\ntargets = ["rack/m"]\ndepartment = "law"\n'
            + sign_in_table(issuer.url, self.url)
        )
        (folder / "freehold.toml").write_text(self.text)
        self.freehold = Freehold(folder, clean_env(OIDC=SECRET), admin_port=port)

    def begin(self, browser: Browser) -> str:
        """Go to the issuer; returns its address."""
        status, headers, _ = browser.ask(f"{self.url}/sign-in")
        assert status == 303
        return headers["location"]

    def come_back(self, browser: Browser, name: str) -> str:
        return browser.log_in(self.begin(browser), name, self.url)

    def sign_in(self, name: str) -> Browser:
        browser = Browser()
        status, headers, body = browser.ask(self.come_back(browser, name))
        assert (status, headers.get("location")) == (303, "/api/me"), body
        return browser

    def get(self, browser: Browser, path: str) -> tuple[int, Any]:
        status, _, body = browser.ask(self.url + path)
        return status, json.loads(body)

    def send(self, browser: Browser, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        asked = {**JSON, "origin": self.url, **headers}
        status, _, answer = browser.ask(
            self.url + path, method=method, body=json.dumps(body or {}).encode(), headers=asked
        )
        return status, json.loads(answer)


@pytest.fixture(scope="module")
def issuer_and_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Issuer, int]]:
    port = free_port()
    issuer = Issuer(tmp_path_factory.mktemp("issuer"), free_port(), f"http://127.0.0.1:{port}/sign-in/back")
    yield issuer, port
    issuer.stop()


@pytest.fixture(params=[(), ("--workers", "3")], ids=["alone", "several"])
def site(
    request: pytest.FixtureRequest, issuer_and_port: tuple[Issuer, int], tmp_path: Path, inside: Standin
) -> Iterator[Site]:
    one = Site(tmp_path, issuer_and_port[1], issuer_and_port[0], inside.base_url)
    one.freehold.start(*request.param)
    yield one
    one.freehold.stop()


def test_people_sign_in_and_do_what_their_groups_allow(site: Site) -> None:
    """Whoever leads a department makes and ends keys of its workloads, and does not see those of another."""
    ada, bert, cleo = (site.sign_in(name) for name in PEOPLE)
    assert [site.get(one, "/api/me")[1]["roles"] for one in (ada, bert, cleo)] == [["admin"], ["lead:care"], []]
    law = site.send(ada, "POST", "/api/keys", {"name": "for contracts", "workload": "contracts"})[1]
    status, made = site.send(bert, "POST", "/api/keys", {"name": "for triage", "workload": "triage", "owner": "cleo"})
    assert status == 201
    assert site.send(bert, "POST", "/api/keys", {"name": "x", "workload": "contracts"})[0] == 403
    assert site.send(bert, "POST", "/api/keys", {"name": "x", "class": "public"})[0] == 403
    stolen = {"name": "x", "workload": "triage", "machine": "ci:somebody-elses"}
    assert site.send(bert, "POST", "/api/keys", stolen)[1]["error"]["code"] in ("admin.forbidden", "keys.machine")
    unknown = {"name": "x", "workload": "triage", "owner": "nobody-yet"}
    assert site.send(bert, "POST", "/api/keys", unknown)[1]["error"]["code"] == "people.name"
    assert [one["name"] for one in site.get(bert, "/api/keys")[1]["keys"]] == ["for triage"]
    assert site.send(bert, "DELETE", f"/api/keys/{law['id']}")[1]["error"]["code"] == "admin.missing"
    assert site.send(bert, "POST", f"/api/keys/{law['id']}/rotate")[0] == 404
    body = {"model": "triage", "messages": [{"role": "user", "content": "x"}]}
    assert ask(site.freehold, made["key"], body=body)[0] == 200
    # Cleo has no role yet; as a developer she has what is her own.
    assert site.get(cleo, "/api/keys")[0] == 403
    assert site.send(ada, "POST", "/api/people", {"name": "cleo", "roles": ["developer"]})[0] == 200
    assert [one["id"] for one in site.get(cleo, "/api/keys")[1]["keys"]] == [made["id"]]
    status, new = site.send(cleo, "POST", f"/api/keys/{made['id']}/rotate", {"overlap": "0"})
    assert status == 200
    time.sleep(1.0)
    assert [ask(site.freehold, key, body=body)[0] for key in (made["key"], new["key"])] == [401, 200]
    assert site.send(cleo, "POST", "/api/keys", {"name": "mine", "workload": "triage"})[0] == 403
    assert site.send(cleo, "DELETE", f"/api/keys/{law['id']}")[0] == 404
    assert site.send(bert, "DELETE", f"/api/keys/{made['id']}")[1] == {"id": made["id"], "revoked": True}
    usage = site.get(bert, "/api/usage?by=workload")[1]
    assert [(row["workload"], row["calls"]) for row in usage["rows"]] == [("triage", 2)]
    assert site.get(ada, "/api/usage?by=department,workload&since=2026-01-01")[1]["total"]["calls"] == 2
    assert site.get(ada, "/api/usage?by=nothing")[1]["error"]["code"] == "usage.unknown_group"
    assert site.get(ada, "/api/usage?since=soon")[1]["error"]["code"] == "admin.query"
    people = {one["name"]: one["id"] for one in site.get(ada, "/api/people")[1]["people"]}
    assert set(people) == {"ada", "bert", "cleo"}
    until = time.monotonic() + 10
    while (
        len(
            told := [
                one for one in site.freehold.records() if one["kind"] == "change" and one["who"] in people.values()
            ]
        )
        < 5
    ):
        assert time.monotonic() < until
        time.sleep(0.05)
    by = {one["what"]: one["who"] for one in sorted(told, key=lambda one: int(one["change"]))}
    assert by == {
        "key.created": people["bert"],
        "person.roles": people["ada"],
        "key.rotated": people["cleo"],
        "key.revoked": people["bert"],
    }
    written = [path for path in (site.freehold.state / "log").rglob("*") if path.is_file()]
    assert not [path for path in written if b"cleo" in path.read_bytes()], "a log names nobody"


def test_a_session_ends_when_it_is_ended(site: Site) -> None:
    """By signing out, by being forgotten, by its time; a copy of its cookie is worth nothing then."""
    bert = site.sign_in("bert")
    copy = "; ".join(f"{one.name}={one.value}" for one in bert.cookies if one.name.startswith("freehold"))
    assert site.get(bert, "/api/keys")[0] == 200
    assert site.send(bert, "POST", "/sign-out")[0] == 200
    assert Browser().ask(f"{site.url}/api/keys", headers={"cookie": copy})[0] == 401
    again = site.sign_in("bert")
    site.freehold.run("people", "remove", "bert")
    assert site.get(again, "/api/keys")[0] == 401
    late = site.sign_in("bert")
    with sqlite3.connect(site.freehold.state / "store.db") as db:
        db.execute("update session set until_ms = 1")
    db.close()
    assert site.get(late, "/api/keys")[0] == 401


def test_whoever_signs_in_elsewhere_has_not_signed_in(site: Site) -> None:
    """An answer is good in the browser that asked, once, unchanged, from this issuer."""
    victim, attacker = Browser(), Browser()
    stolen = site.come_back(attacker, "ada")
    site.begin(victim)
    for browser in (victim, Browser()):  # login by another's hand (CSRF), with and without a sign-in under way
        status, _, body = browser.ask(stolen)
        assert (status, json.loads(body)["error"]["code"]) == (401, "auth.sign_in")
        assert site.get(browser, "/api/me")[1]["name"] == "nobody"
    where = urlsplit(stolen)
    good = {key: values[0] for key, values in parse_qs(where.query).items()}

    def changed(**change: str | None) -> tuple[int, bool, bool]:
        query = urlencode({key: value for key, value in (good | change).items() if value is not None})
        status, headers, body = attacker.ask(f"{site.url}/sign-in/back?{query}")
        return status, "set-cookie" in headers, b"<b>" in body

    refused = (401, False, False)
    assert [changed(state=""), changed(state="x"), changed(iss="https://evil.example.com")] == [refused] * 3
    assert attacker.ask(stolen)[0] == 303, "it was good all the while"
    assert attacker.ask(stolen)[0] == 401, "and is good once"
    for change in ({"code": "guessed"}, {"code": None}, {"error": "<b>", "code": None}):
        good = {key: values[0] for key, values in parse_qs(urlsplit(site.come_back(attacker, "ada")).query).items()}
        assert changed(**change) == refused
        if not site.freehold.output.count('"event": "worker"'):
            assert changed() == refused, "nobody tries code after code in our name"


def test_another_sites_page_changes_nothing(site: Site) -> None:
    ada = site.sign_in("ada")
    for headers in (
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": site.url + ".evil.example.com"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        status, told = site.send(ada, "POST", "/api/people", {"name": "mallory", "roles": ["admin"]}, **headers)
        assert (status, told["error"]["code"]) == (403, "admin.origin"), headers
    status, _, _ = ada.ask(f"{site.url}/api/people", method="POST", body=b'{"name": "mallory"}', headers=JSON)
    assert status == 403, "a browser always says where a page is from"
    form = {"content-type": "text/plain", "origin": site.url}
    assert ada.ask(f"{site.url}/api/people", method="POST", body=b'{"name": "mallory"}', headers=form)[0] == 415
    assert "mallory" not in json.dumps(site.get(ada, "/api/people")[1])


def test_nobody_is_trusted_for_being_at_this_machine_where_people_sign_in(site: Site) -> None:
    for path in ("/metrics", "/api/targets", "/api/keys"):
        assert Browser().ask(site.url + path)[0] == 401
    token = site.freehold.run("people", "token").stdout.strip()
    assert Browser().ask(f"{site.url}/metrics", headers={"authorization": f"Bearer {token}"})[0] == 200
    for wrong in (token[:-1], token.upper(), "fo-", ""):
        assert Browser().ask(f"{site.url}/metrics", headers={"authorization": f"Bearer {wrong}"})[0] == 401


def test_a_reload_changes_who_may_do_what(site: Site) -> None:
    """Roles follow the configuration at once; who signed in by another way has not signed in."""
    ada = site.sign_in("ada")
    file = site.freehold.folder / "freehold.toml"
    file.write_text(site.text.replace('platform = "admin"', 'platform = "auditor"'))
    assert site.send(ada, "POST", "/api/reload")[0] == 200
    until = time.monotonic() + 5
    while site.get(ada, "/api/me")[1]["roles"] != ["auditor"]:
        assert time.monotonic() < until
    assert site.send(ada, "POST", "/api/reload")[0] == 403
    token = {"authorization": f"Bearer {site.freehold.run('people', 'token').stdout.strip()}"}
    file.write_text(site.text.replace('claim = "sub"', 'claim = "preferred_username"'))
    assert site.send(Browser(), "POST", "/api/reload", **token)[0] == 200
    assert site.get(ada, "/api/me")[1]["name"] == "nobody"


Make = Callable[..., Freehold]
both = pytest.mark.parametrize("how", [(), ("--workers", "3")], ids=["alone", "several"])


@both
def test_a_machine_shows_a_token_in_place_of_a_key(make_freehold: Make, inside: Standin, how: tuple[str, ...]) -> None:
    """Its key decides: class, workload, budget, end. The token only says whose it is."""
    forge = Forge()
    text = NO_ENGINE + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n' + MACHINES
    freehold = make_freehold(text)
    (freehold.folder / "jwks.json").write_bytes(jwks(forge.jwk()))
    freehold.start(*how)
    body = {"model": "rack/m", "messages": [{"role": "user", "content": "x"}]}
    bot = "system:serviceaccount:care:bot"
    assert ask(freehold, forge.token(sub=bot), body=body)[0] == 401, "good, but nobody's"
    made = json.loads(freehold.run("keys", "create", "--name", "bot", "--machine", f"ci:{bot}", "--class", "public", "--json").stdout)  # fmt: skip
    assert made["key"] is None
    token = forge.token(sub=bot)
    assert [ask(freehold, token, body=body)[0] for _ in range(5)] == [200] * 5
    assert ask(freehold, forge.token(sub=bot, jti="x" * 2000), body=body)[0] == 200
    for wrong in (Forge("other").token(sub=bot), forge.token(sub=bot, aud="x"), forge.token(sub=bot, exp=1), forge.token(sub=bot + "2"), forge.token(sub=[bot])):  # fmt: skip
        status, told = ask(freehold, wrong, body=body)
        assert status == 401
        assert wrong.split(".")[1][:20] not in str(told)
    second = freehold.run("keys", "create", "--name", "bot", "--machine", f"ci:{bot}", check=False)
    assert (second.returncode, "has a key already" in second.stderr) == (2, True)
    assert freehold.run("keys", "create", "--name", "bot", "--machine", "nowhere:x", check=False).returncode == 2
    assert {one["key"] for one in freehold.settled(6)} == {made["id"]}
    assert {one["class"] for one in freehold.settled(6)} == {"public"}
    freehold.run("keys", "revoke", made["id"])
    until = time.monotonic() + 5
    while ask(freehold, token, body=body)[0] != 401:
        assert time.monotonic() < until
    assert token.split(".")[2] not in freehold.output
    assert freehold.stop() == 0


def test_a_token_that_ends_is_refused_from_then_on(make_freehold: Make, inside: Standin) -> None:
    """Also one that was known a moment ago."""
    forge = Forge()
    freehold = make_freehold(
        NO_ENGINE + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n' + MACHINES
    )
    (freehold.folder / "jwks.json").write_bytes(jwks(forge.jwk()))
    freehold.start()
    freehold.run("keys", "create", "--name", "bot", "--machine", "ci:bot")
    body = {"model": "rack/m", "messages": [{"role": "user", "content": "x"}]}
    token = forge.token(exp=int(time.time()) - 27)  # the leeway of 30 seconds is nearly over
    assert ask(freehold, token, body=body)[0] == 200
    until = time.monotonic() + 10
    while ask(freehold, token, body=body)[0] != 401:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_an_issuer_that_is_away_lets_nobody_in(make_freehold: Make, inside: Standin) -> None:
    """503, and it is asked again; nothing is believed meanwhile."""
    forge = Forge()
    gone = f"http://127.0.0.1:{free_port()}"
    text = f'[machines.ci]\nissuer = "{gone}"\naudience = "freehold"\n'
    freehold = make_freehold(
        NO_ENGINE + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n' + text
    ).start()
    freehold.run("keys", "create", "--name", "bot", "--machine", "ci:bot")
    body = {"model": "rack/m", "messages": [{"role": "user", "content": "x"}]}
    assert [ask(freehold, forge.token(iss=gone), body=body)[0] for _ in range(3)] == [503] * 3
    assert ask(freehold, freehold.key(), body=body)[0] == 200, "keys go on"
    assert len(inside.requests) == 1


def asked(url: str, **headers: str) -> int:
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as refusal:
        with refusal:
            return refusal.code


def test_being_at_this_machine_is_not_told_by_others(make_freehold: Make) -> None:
    """A page whose name server says 127.0.0.1, and whoever comes through a proxy, are not at this machine."""
    freehold = make_freehold().start()
    url = f"http://127.0.0.1:{freehold.admin_port}/api/targets"
    assert asked(url) == 200
    assert asked(url, Host="localhost") == 200
    for headers in ({"Host": "evil.example.com"}, {"Host": "127.0.0.1.evil.example.com"}, {"Host": ""}, {"X-Forwarded-For": "10.0.0.1"}, {"Forwarded": "for=10.0.0.1"}, {"Via": "1.1 x"}):  # fmt: skip
        assert asked(url, **headers) == 401, headers
