"""A detector that fails never lets a call through, and what is found only ever raises."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import snapshot_of
from freehold.gateway import detecting
from freehold.gateway.admission import Caller, wanted
from freehold.gateway.app import build, close
from freehold.gateway.detecting import rule_on
from freehold.gateway.pipeline import serve
from freehold.gateway.run import Asked, Run
from freehold.identity.keys import Key
from freehold.kernel.classes import Class, Zone
from freehold.kernel.clock import Clock
from freehold.kernel.errors import CallerError
from freehold.perimeter.detection import DEFAULT_RAISES, weigh
from freehold.perimeter.detectors.scanner import Finding
from freehold.perimeter.ruling import Declared, Ruling, rule
from freehold.testing.transport import FakeTransport, Scripted
from freehold.wire.call import Address, Endpoint

CLOUD = '[engine]\nenabled = false\n[providers.cloud]\nbase_url = "https://cloud.example/v1"\n'


@asynccontextmanager
async def ruling(tmp_path: Path, config: str = CLOUD) -> AsyncIterator[Callable[..., Any]]:
    world = build(snapshot_of(config), tmp_path, transport=FakeTransport())

    async def decide(text: Any, class_: Class = Class.PUBLIC, **more: Any) -> Ruling:
        key = Key("key_1", "test", class_, None, None, 0, None)
        run = Run(world, Caller(key, {}), Asked("openai-chat", Endpoint.CHAT))
        raw = json.dumps({"model": "cloud/m", "messages": [{"role": "user", "content": text}], **more}).encode()
        call = run.spoken.read_call(Endpoint.CHAT, raw, run.asked.address)
        return (await rule_on(run, call, Declared(key=class_)))[0]

    decide.world = world  # type: ignore[attr-defined]  # for tests that break it
    try:
        yield decide
    finally:
        await close(world)


async def test_what_is_found_raises(tmp_path: Path) -> None:
    async with ruling(tmp_path) as decide:
        assert (await decide("an ordinary question")).class_ is Class.PUBLIC
        found = await decide("my SSN is 536-90-4399")
        assert (found.class_, found.zones, found.labels) == (Class.RESTRICTED, {Zone.INSIDE}, ("pii",))
        assert any("found gov.us_ssn (rule us_ssn)" in reason for reason in found.reasons)
        assert "536" not in "".join(found.reasons)
        assert (await decide("10.1.2.3", Class.CONFIDENTIAL)).class_ is Class.CONFIDENTIAL, "it never lowers"


async def test_what_is_not_known_stays_inside_from_confidential_up(tmp_path: Path) -> None:
    """A kind of part that no reader knows is carried, so it must not leave with what is confidential."""
    known: Any = [{"type": "text", "text": "write to anna.weber@example.com"}]
    async with ruling(tmp_path) as decide:
        assert Zone.ATTESTED in (await decide(known)).zones
        for more in ({"type": "holo"}, {"type": ["text"]}, {"type": {}}, {"type": "text", "text": "x", "more": 1}):
            assert (await decide([*known, more])).zones == {Zone.INSIDE}, more


async def test_more_encoding_than_can_be_read_is_restricted(tmp_path: Path) -> None:
    async with ruling(tmp_path) as decide:
        found = await decide("\n".join("%41 &amp; \\/ 1 - 2 YWJjZGVmZ2hp" for _ in range(20_000)))
    assert found.class_ is Class.RESTRICTED
    assert "more is encoded in it than can be read, so restricted" in found.reasons


async def test_headers_and_paths_that_go_on_are_read(tmp_path: Path) -> None:
    key = Key("key_1", "test", Class.PUBLIC, None, None, 0, None)
    world = build(snapshot_of(CLOUD), tmp_path, transport=FakeTransport())
    try:
        for values, model, class_ in (
            ({b"anthropic-beta": "tools-2025"}, "cloud/m", Class.PUBLIC),
            ({b"anthropic-beta": "a-536-90-4399"}, "cloud/m", Class.RESTRICTED),
            ({}, "cloud/536-90-4399", Class.RESTRICTED),
        ):
            run = Run(world, Caller(key, values), Asked("gemini", Endpoint.GENERATE, Address(model=model)))
            call = run.spoken.read_call(
                Endpoint.GENERATE, b'{"contents": [{"parts": [{"text": "hi"}]}]}', run.asked.address
            )
            assert (await rule_on(run, call, Declared(key=Class.PUBLIC)))[0].class_ is class_, (values, model)
    finally:
        await close(world)
    with pytest.raises(CallerError, match="no names of features"):
        wanted([(b"anthropic-beta", b"Anna Weber's")])


async def test_a_detector_that_crashes_makes_it_restricted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ruling(tmp_path) as decide:

        def broken(*_: object) -> list[Finding]:
            raise RuntimeError("the words of a patient")

        monkeypatch.setattr(decide.world.policy.scanner, "scan", broken)
        found = await decide("an ordinary question")
        assert (found.class_, found.zones) == (Class.RESTRICTED, {Zone.INSIDE})
        assert "detection failed, so restricted" in found.reasons
        said = capsys.readouterr().err
        assert "RuntimeError" in said
        assert "patient" not in said


async def test_a_detector_that_takes_too_long_makes_it_restricted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    async with ruling(tmp_path) as decide:
        monkeypatch.setattr(decide.world.policy.scanner, "scan", lambda *_: (gate.wait(5) and []) or [])
        monkeypatch.setattr(detecting, "DEADLINE_S", 0.05)
        found = await decide("x" * (detecting.LONG + 1))
        gate.set()
        assert found.class_ is Class.RESTRICTED


async def test_a_long_text_does_not_stop_the_loop(tmp_path: Path) -> None:
    """Beyond 256 kB a text is read in a thread: the loop goes on meanwhile."""
    async with ruling(tmp_path) as decide:
        task = asyncio.ensure_future(decide("the report shows that revenue grew. " * 40_000))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        assert (await task).class_ is Class.PUBLIC
        assert turns > 3


async def test_a_call_that_stays_inside_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ruling(tmp_path) as decide:
        monkeypatch.setattr(decide.world.policy.scanner, "scan", lambda *_: pytest.fail("read for nothing"))
        assert (await decide("536-90-4399", Class.RESTRICTED)).class_ is Class.RESTRICTED


async def test_the_table_is_the_configurations(tmp_path: Path) -> None:
    config = (
        CLOUD
        + '[detection.raises]\ncontact = "public"\n"contact.phone" = "restricted"\n[detection.words.projects]\nwords = ["Bluefin"]\nraises = "confidential"\n'
    )
    async with ruling(tmp_path, config) as decide:
        assert (await decide("mail joe@example.com")).class_ is Class.PUBLIC
        assert (await decide("call +49 171 1234567")).class_ is Class.RESTRICTED
        assert (await decide("about bluefin")).class_ is Class.CONFIDENTIAL


TYPES = [
    "secret.key",
    "gov.us_ssn",
    "person.name",
    "person.birth_date",
    "contact.email",
    "network.ip",
    "custom.x",
    "strange.new",
]


@given(st.lists(st.sampled_from(TYPES), max_size=5), st.sampled_from(Class), st.booleans(), st.booleans())
def test_findings_never_lower(types: list[str], class_: Class, is_opaque: bool, has_unknown: bool) -> None:
    snapshot = snapshot_of(CLOUD)
    found = weigh([Finding(0, 0, 1, type_, 0.9, "r", "w") for type_ in types], DEFAULT_RAISES)
    base = rule(Declared(key=class_), snapshot)
    raised = rule(Declared(key=class_, found=found, is_opaque=is_opaque, has_unknown=has_unknown), snapshot)
    assert raised.class_ >= base.class_
    assert raised.zones <= base.zones
    assert raised.class_ == max([class_, *([found.class_] if found.class_ is not None else [])])
    if {"person.name", "person.birth_date"} <= set(types):
        assert raised.class_ is Class.RESTRICTED


class _Kept:
    """Takes an answer and keeps its status."""

    status = 0

    async def whole(self, status: int, _headers: Any, _body: bytes) -> None:
        self.status = status

    async def begin(self, _headers: Any) -> None: ...

    async def part(self, _data: bytes) -> None: ...

    async def end(self) -> None: ...


async def test_an_agreement_that_ends_at_any_moment_lets_nothing_leave_as_it_is(tmp_path: Path) -> None:
    """Whenever the clock passes the end, between any two looks at it: what goes outside has been transformed."""
    config = (
        '[engine]\nenabled = false\n[providers.z]\nbase_url = "https://z.example/v1"\nzone = "attested"\nattestation = { control = "zero-retention", '
        f'evidence = "sha256:{"0" * 64}", expires = 2030-01-01, endpoint = "https://z.example/v1" }}\n'
        '[workloads.w]\nclass = "public"\ntransform = "redact"\ntargets = ["z/m"]\n'
    )
    snapshot = snapshot_of(config)
    end = snapshot.providers["z"].attested.until_s  # type: ignore[union-attr]  # it is attested
    looks = [0, 10**9]  # so many so far, and after so many the agreement has ended

    def now_s() -> float:
        looks[0] += 1
        return end - 1 if looks[0] <= looks[1] else end + 1

    answer = b'{"id":"1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'
    transport = FakeTransport(*(Scripted(parts=(answer,)) for _ in range(200)))
    world = build(snapshot, tmp_path, transport=transport, clock=Clock(now_s=now_s))
    raw = json.dumps({"model": "w", "messages": [{"role": "user", "content": "to anna.weber@example.com"}]}).encode()
    try:
        caller, zones = Caller(Key("key_1", "test", Class.PUBLIC, None, None, 0, None), {}), set()
        for last in range(80):
            looks[:] = [0, last]
            reply = _Kept()
            await serve(world, caller, Asked("openai-chat", Endpoint.CHAT), raw, reply)
            assert reply.status in (200, 403)
        for permit, request in transport.sent:
            zones.add(permit.zone)
            assert permit.zone is Zone.ATTESTED or b"anna.weber" not in (request.body or b"")
        assert zones == {Zone.ATTESTED, Zone.OUTSIDE}
        assert looks[0] < 80, "the last of them saw no end"
    finally:
        await close(world)
