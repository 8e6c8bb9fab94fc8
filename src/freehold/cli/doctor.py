"""`freehold doctor`: look at an installation from the outside, and make one call whose receipt is then found."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from freehold.cli.client import ask, request
from freehold.cli.setting import Setting, config_option, json_option, printable, show_json
from freehold.gateway.preparing import open_keys, open_shared
from freehold.gateway.presence import known_token
from freehold.identity.keys import Wanted
from freehold.kernel.classes import Class
from freehold.kernel.errors import FreeholdError
from freehold.kernel.snapshot import Provider, Snapshot
from freehold.ledger import log as logs
from freehold.ledger.database import Database
from freehold.ledger.postgres import Census
from freehold.perimeter.proof import prove
from freehold.perimeter.ruling import grant_probe
from freehold.pricing.book import load as load_book
from freehold.upstream.door import list_models
from freehold.upstream.transport import HttpTransport

WELL, WORRY, ILL = "well", "worry", "ill"
_SECRETS = ("pepper", "commitment.key", "signing.key", "signing.next", "master.key", "operator", "node")
_FREE_BYTES, _OLD_PRICES_DAYS, _CLOCK_S = 1 << 30, 90, 5.0
_KEY_LIVES_MS = 5 * 60_000


@dataclass(frozen=True)
class Finding:
    """What one look found: well, a worry, or ill; and what to do."""

    what: str
    state: str
    words: str
    mend: str = ""


@click.command("doctor")
@config_option
@json_option
@click.option(
    "--url", default="http://127.0.0.1:4000/v1", show_default=True, help="The data plane of the running Freehold."
)
@click.option("--admin-url", default="http://127.0.0.1:4001", show_default=True, help="Its admin plane.")
@click.option(
    "--model",
    help="What the call asks for: a workload or a target (default: the first workload, else the built-in model).",
)
@click.option("--offline", is_flag=True, help="Only look at what is here: no port, no provider, no call.")
def command(config: Path | None, as_json: bool, url: str, admin_url: str, model: str | None, offline: bool) -> int:
    """Check configuration, permissions, disk, clock, prices, database, ports and providers, and make a call.

    Exit code 0: all is well, or only worries; 1: something is ill.
    """
    setting = Setting.find(config)
    found: list[Finding] = []

    def say(finding: Finding) -> None:
        found.append(finding)
        if not as_json:
            click.echo(_line(finding))

    for finding in _looks(setting, url, admin_url, model, offline=offline):
        say(finding)
    if as_json:
        show_json({"findings": [asdict(one) for one in found]})
    is_ill = any(one.state == ILL for one in found)
    if not as_json:
        worries = sum(one.state == WORRY for one in found)
        click.echo(
            "Something is ill." if is_ill else f"All is well, {worries} to look at." if worries else "All is well."
        )
    return 1 if is_ill else 0


def _looks(setting: Setting, url: str, admin_url: str, model: str | None, *, offline: bool) -> Iterator[Finding]:
    try:
        snapshot = setting.snapshot()
    except FreeholdError as error:
        yield Finding("configuration", ILL, error.message, error.hint)
        return
    yield _configuration(setting, snapshot)
    yield _safely("permissions", lambda: _permissions(setting.state))
    yield _safely("disk", lambda: _disk(setting.state))
    yield _safely("log and clock", lambda: _log(setting.state))
    yield _safely("prices", _prices)
    if snapshot.nodes is not None:
        yield _safely("database", lambda: _database(snapshot))
    if offline:
        return
    url = url.rstrip("/")
    yield _safely("data plane", lambda: _data_plane(url))
    yield _safely("admin plane", lambda: _admin_plane(setting, admin_url.rstrip("/")))
    yield from asyncio.run(_providers(snapshot))
    yield _safely("a call", lambda: _call(setting, snapshot, url, model))


def _safely(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except FreeholdError as error:
        return Finding(what, ILL, error.message, error.hint)
    except (OSError, sqlite3.Error) as error:
        return Finding(
            what,
            ILL,
            f"The state directory cannot be used ({type(error).__name__}).",
            "Check that it is there and can be written, and run this as the user that runs Freehold.",
        )


def _configuration(setting: Setting, snapshot: Snapshot) -> Finding:
    proof = prove(snapshot, now_s=time.time())
    name = str(setting.file or "no file, looked around")
    if not proof.holds:
        return Finding("configuration", ILL, f"{name}: a call could leave its zones.", "'freehold check' shows how.")
    if proof.warnings:
        return Finding(
            "configuration",
            WORRY,
            f"{name}: it holds, with {len(proof.warnings)} warnings.",
            "'freehold check' shows them.",
        )
    return Finding("configuration", WELL, f"{name}: valid, and nothing can leave its zones.")


def _permissions(state: Path) -> Finding:
    if not state.is_dir():
        return Finding("permissions", WORRY, f"There is no state directory {str(state)!r} yet.", "Start Freehold once.")
    open_ = [state] if stat.S_IMODE(state.stat().st_mode) & 0o077 else []
    open_ += [
        state / name
        for name in _SECRETS
        if (state / name).is_file() and stat.S_IMODE((state / name).stat().st_mode) & 0o077
    ]
    others = [
        path.name
        for path in (state, *(state / name for name in _SECRETS))
        if path.exists() and path.stat().st_uid != state.stat().st_uid
    ]
    if open_:
        paths = " ".join(str(path) for path in open_)
        return Finding("permissions", ILL, "Others may read what is secret.", f"chmod go-rwx {paths}")
    if others:
        return Finding(
            "permissions",
            WORRY,
            "Some of it belongs to another user than the directory: whoever runs Freehold may not read it.",
            "Run this as the user that runs Freehold.",
        )
    return Finding("permissions", WELL, "The state directory and its secrets are their owner's alone.")


def _disk(state: Path) -> Finding:
    place = state if state.is_dir() else state.parent
    free = shutil.disk_usage(place).free
    nodes = os.statvfs(place)
    if not os.access(place, os.W_OK):
        return Finding(
            "disk", ILL, "The state directory cannot be written: every call is refused.", "Mount it writable."
        )
    if free < _FREE_BYTES or (nodes.f_files and nodes.f_favail < 1_000):
        return Finding(
            "disk",
            ILL if free < _FREE_BYTES // 20 else WORRY,
            f"{free / 2**20:,.0f} MiB are free. A full disk refuses every call.",
            "Make room.",
        )
    return Finding("disk", WELL, f"{free / 2**30:,.1f} GiB are free.")


def _log(state: Path) -> Finding:
    """The log and the clock: a record of the future means that one of them is wrong."""
    paths = logs.segments(state / "log") if (state / "log").is_dir() else []
    if not paths:
        return Finding("log and clock", WORRY, "There is no log yet.", "Start Freehold once.")
    ahead_s = max(path.stat().st_mtime for path in paths) - time.time()
    if ahead_s > _CLOCK_S:
        return Finding(
            "log and clock",
            ILL,
            f"The log was written {ahead_s:,.0f} s in the future.",
            "Set the clock (NTP); agreements and budgets go by it.",
        )
    return Finding("log and clock", WELL, f"{len(paths)} segment{'s' * (len(paths) != 1)}, none from the future.")


def _prices() -> Finding:
    book = load_book()
    days = int((time.time() - time.mktime(time.strptime(book.date, "%Y-%m-%d"))) / 86_400)
    words = f"The price book is of {book.date}, {days} days old."
    return (
        Finding("prices", WORRY, words, "Upgrade Freehold.")
        if days > _OLD_PRICES_DAYS
        else Finding("prices", WELL, words)
    )


def _database(snapshot: Snapshot) -> Finding:
    assert snapshot.nodes is not None

    async def clock(db: Any) -> Any:
        return await db.fetchval("select extract(epoch from clock_timestamp())")

    database = Database(snapshot.nodes.database)
    try:
        nodes, ahead_s = Census(database).all(), float(database.run(clock)) - time.time()
    finally:
        database.close()
    if abs(ahead_s) > _CLOCK_S:
        return Finding(
            "database",
            ILL,
            f"Its clock is {ahead_s:+.0f} s from this one.",
            "Set both (NTP): periods of budgets go by them.",
        )
    there = sum(one.is_there for one in nodes)
    return Finding("database", WELL, f"It answers, of this version; {there} of {len(nodes)} nodes are there.")


def _data_plane(url: str) -> Finding:
    base = url.removesuffix("/v1")
    status, said = _asked(base, "/readyz", {})
    if status == 200 and _status(said) == "ready":
        return Finding("data plane", WELL, f"{base} answers.")
    return Finding("data plane", ILL, f"{base} is not ready: {_status(said)}.", "Wait a moment, or read its log.")


def _admin_plane(setting: Setting, url: str) -> Finding:
    """The token is shown to nobody but a Freehold, and to none over a network in plain text."""
    is_here = urlsplit(url).scheme == "https" or urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    _, said = _asked(url, "/api/me", {})
    if not is_here or b'"signs_in"' not in said:
        words = "is no Freehold" if is_here else "would be shown the operator's token in plain text"
        return Finding("admin plane", ILL, f"{url} {words}.", "Check --admin-url.")
    status, _ = _asked(url, "/api/targets", {"Authorization": f"Bearer {known_token(setting.state)}"})
    if status == 200:
        return Finding("admin plane", WELL, f"{url} answers.")
    words = f"{url} does not know this state directory ({status})."
    return Finding("admin plane", ILL, words, "Give --config of the one that it runs from.")


def _asked(base: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection, answer = request(base, "GET", path, None, headers, timeout_s=10)
    with closing(connection):
        return answer.status, answer.read(1 << 20)


def _status(said: bytes) -> str:
    try:
        return str(json.loads(said)["status"])
    except (ValueError, KeyError, TypeError):
        return "it is no Freehold"


async def _providers(snapshot: Snapshot) -> list[Finding]:
    """Ask each provider for its list of models, and say which classes would have nobody to go to."""
    bundle = snapshot.network.ca_bundle
    transport = HttpTransport(ca_bundle=str(Path(snapshot.source or ".").parent / bundle) if bundle else None)
    try:
        asked = [one for one in snapshot.providers.values() if one.name != "builtin"]
        reached = dict(
            zip(
                [one.name for one in asked],
                await asyncio.gather(*(_reach(transport, one) for one in asked)),
                strict=True,
            )
        )
    finally:
        await transport.close()
    found = [
        Finding(
            f"provider {name}",
            WELL if why is None else WORRY,
            "It answers." if why is None else why,
            "" if why is None else "Check its address, its key and the network.",
        )
        for name, why in reached.items()
    ]
    now, well = time.time(), {name for name, why in reached.items() if why is None} | {"builtin"}
    for class_ in Class:
        allowed = [one.name for one in snapshot.providers.values() if one.zone_at(now) in snapshot.zones[class_]]
        there = [name for name in allowed if name in well]
        if allowed and not there:
            found.append(
                Finding(
                    f"class {class_.label}",
                    ILL,
                    "None of the providers that its calls may go to answers.",
                    "Such calls are refused, never sent elsewhere.",
                )
            )
        elif not allowed:
            found.append(
                Finding(
                    f"class {class_.label}",
                    WORRY,
                    "No provider is in a zone that its calls may go to.",
                    "Add one inside.",
                )
            )
        else:
            found.append(Finding(f"class {class_.label}", WELL, f"Its calls can go to {', '.join(there)}."))
    return found


async def _reach(transport: HttpTransport, provider: Provider) -> str | None:
    """Why a provider does not answer, None if it does: whether it lists its models is its own affair."""
    try:
        await list_models(
            transport, grant_probe(replace(provider), now_s=time.time(), at_s=time.monotonic()), deadline_s=10.0
        )
    except FreeholdError as error:
        if "answered 401" in error.message or "answered 403" in error.message:
            return f"{provider.name!r} does not accept the key."
        return (
            None
            if error.code in ("upstream.failed", "upstream.invalid_answer") and "answered 5" not in error.message
            else error.message
        )
    return None


def _call(setting: Setting, snapshot: Snapshot, url: str, model: str | None) -> Finding:
    """Make one call with a key of its own, and find its receipt."""
    asked = model or next(
        iter(snapshot.workloads), f"builtin/{snapshot.engine.name}" if snapshot.engine.enabled else None
    )
    if asked is None:
        return Finding("a call", WORRY, "There is nothing to call.", "Give --model.")
    if snapshot.nodes is None and not (setting.state / "store.db").is_file():
        return Finding("a call", ILL, f"There are no keys in {str(setting.state)!r}.", "Start Freehold once.")
    workload = asked if asked in snapshot.workloads else None
    now_ms = int(time.time() * 1000)
    wanted = Wanted(
        name="freehold doctor",
        workload=workload,
        class_=None if workload else Class.RESTRICTED,
        expires_ms=now_ms + _KEY_LIVES_MS,
    )
    with closing(open_keys(setting.state) if snapshot.nodes is None else open_shared(snapshot.nodes)) as keys:
        key, secret = keys.create(wanted, now_ms=now_ms, by="freehold doctor")
        try:
            time.sleep(1.0 if snapshot.nodes is None else 2.5)  # until every process has seen it
            answer = ask(
                url, secret, {"model": asked, "max_tokens": 4, "messages": [{"role": "user", "content": "ping"}]}
            )
        finally:
            keys.revoke(key.id, now_ms=int(time.time() * 1000), by="freehold doctor")
    if answer.status != 200:
        return Finding("a call", ILL, f"A call of {asked!r} ended with {answer.status}.", _said(answer.body))
    call = answer.headers.get("x-freehold-call-id", "")
    receipt = _receipt_of(setting.state, key.id)
    if receipt is None:
        return Finding(
            "a call",
            ILL,
            f"{asked!r} answered, and its receipt is not in {str(setting.state)!r}.",
            "Is that the state directory of the one that serves?",
        )
    cost = receipt["cost_usd"] if receipt["cost_usd"] is not None else "an unknown price of"
    return Finding(
        "a call",
        WELL,
        f"{receipt['target']} ({receipt['zone']}) answered, and the receipt of {call or receipt['call']} is in the log: {cost} USD.",
    )


def _receipt_of(state: Path, key_id: str) -> dict[str, Any] | None:
    """The receipt of a key's only call, once it is written."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for path in reversed(logs.segments(state / "log")):
            for line, _ in logs.lines(path, max(0, path.stat().st_size - (1 << 20)) and _line_after(path)):
                if b'"kind":"settled"' in line and key_id.encode() in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
        time.sleep(0.1)
    return None


def _line_after(path: Path) -> int:
    """Where the first whole line of a segment's last megabyte begins."""
    with path.open("rb") as file:
        file.seek(path.stat().st_size - (1 << 20))
        file.readline()
        return file.tell()


def _said(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return "It is no Freehold that answers there."


def _line(finding: Finding) -> str:
    mark = {WELL: "ok   ", WORRY: "look ", ILL: "ILL  "}[finding.state]
    mend = f"\n        {printable(finding.mend)}" if finding.mend and finding.state != WELL else ""
    return f"{mark}{finding.what}: {printable(finding.words, lines=True)}{mend}"
