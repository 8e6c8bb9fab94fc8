"""Who a token names, and what issuers are believed: names to the letter, hosts from the configuration alone, one question for all who wait."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from conftest import snapshot_of
from forge import Forge, jwks
from freehold.gateway.issuers import HELD_S, Issuers
from freehold.gateway.sign_in import named, way_of
from freehold.kernel.errors import CallerError, OperatorError, UpstreamError
from freehold.kernel.problems import ConfigError
from freehold.kernel.snapshot import SignIn
from freehold.testing.transport import FakeTransport, Scripted

TABLE = '[sign_in]\nissuer = "https://issuer.example.com"\nclient_id = "freehold"\naddress = "https://freehold.example.com"\n'


def sign_in(more: str = "") -> SignIn:
    found = snapshot_of(TABLE + more + '[sign_in.groups]\nplatform = "admin"\n').sign_in
    assert found is not None
    return found


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"email": "ada@example.com"}, id="not verified"),
        pytest.param({"email": "ada@example.com", "email_verified": "true"}, id="verified in words"),
        pytest.param({"email": "\u212aate@example.com", "email_verified": True}, id="a letter that looks like another"),
        pytest.param({"email": " ada@example.com", "email_verified": True}, id="space"),
        pytest.param({"email": "Machine:ci:deploy", "email_verified": True}, id="a machine's name"),
        pytest.param({"email": ["ada@example.com"], "email_verified": True}, id="a list"),
        pytest.param({"email": "", "email_verified": True}, id="empty"),
        pytest.param({"email": "a\nb@example.com", "email_verified": True}, id="control"),
        pytest.param({"email": "a" * 330, "email_verified": True}, id="long"),
        pytest.param({}, id="nothing"),
    ],
)
def test_who_is_not_named_is_not_signed_in(claims: dict[str, Any]) -> None:
    with pytest.raises(CallerError):
        named(sign_in(), claims)


def test_names_are_kept_to_the_letter_and_addresses_in_lower_case() -> None:
    assert named(sign_in(), {"email": "Ada@Example.com", "email_verified": True}).name == "ada@example.com"
    by_sub = sign_in('claim = "sub"\n')
    assert [named(by_sub, {"sub": one}).name for one in ("00U1ABcd", "00u1abCD")] == ["00U1ABcd", "00u1abCD"]
    with pytest.raises(CallerError):
        named(by_sub, {"sub": "machine:ci:bot"})


def test_only_groups_that_the_configuration_names_are_kept() -> None:
    assert named(sign_in('claim = "sub"\n'), {"sub": "a", "groups": ["platform", "others", 5]}).groups == ("platform",)
    assert named(sign_in('claim = "sub"\n'), {"sub": "a", "groups": "platform"}).groups == ("platform",)
    assert named(sign_in('claim = "sub"\n'), {"sub": "a", "groups": {"platform": 1}}).groups == ()


def test_a_session_holds_as_long_as_people_sign_in_in_its_way() -> None:
    ways = {
        way_of(sign_in(more))
        for more in ("", 'claim = "sub"\n', 'groups_claim = "roles"\n', "session = 60\n", 'client_id2 = ""\n'[:0])
    }
    assert len(ways) == 4


def test_tokens_of_people_are_not_those_of_machines() -> None:
    machine = '[machines.ci]\nissuer = "https://issuer.example.com"\naudience = "freehold"\n'
    with pytest.raises(ConfigError, match="would count as machines'"):
        snapshot_of(TABLE + machine)
    assert snapshot_of(TABLE + machine.replace('"freehold"', '"freehold-machines"')).machines


class World:
    """An issuer that answers what it is told to, and a clock."""

    def __init__(self, forge: Forge, hosts: str = "") -> None:
        self.forge, self.now_s = forge, 1_000.0
        machine = f'[machines.ci]\nissuer = "https://issuer.example.com"\naudience = "freehold"\nhosts = [{hosts}]\n'
        self.machine = snapshot_of(machine).machines["ci"]
        self.issuers = Issuers(FakeTransport(at_s=lambda: self.now_s), time.time, lambda: self.now_s)

    def answers(self, *keys: Forge, at: str = "https://issuer.example.com/jwks") -> FakeTransport:
        told = {"issuer": "https://issuer.example.com", "jwks_uri": at}
        transport = FakeTransport(
            Scripted(parts=(json.dumps(told).encode(),)),
            Scripted(parts=(jwks(*(one.jwk() for one in keys)),)),
            at_s=lambda: self.now_s,
        )
        self.issuers._transport = transport
        return transport

    async def check(self, forge: Forge) -> str:
        found = await self.issuers.claims(self.machine.issuer, forge.token(), audience="freehold")
        return str(found["sub"])


async def test_keys_are_kept_while_their_issuer_is_away_and_no_longer_than_a_day() -> None:
    world = World(Forge())
    world.answers(world.forge)
    assert await world.check(world.forge) == "bot"
    world.issuers._transport = FakeTransport(at_s=lambda: world.now_s)
    world.now_s += 400
    assert await world.check(world.forge) == "bot"
    world.now_s += HELD_S
    await asyncio.sleep(0)
    with pytest.raises((OperatorError, UpstreamError)):
        await world.check(world.forge)


async def test_a_new_key_is_found_at_once_and_a_stranger_is_not() -> None:
    world, other = World(Forge()), Forge("other", kid="k2")
    world.answers(world.forge)
    assert await world.check(world.forge) == "bot"
    world.now_s += 11
    world.answers(world.forge, other)
    assert await world.check(other) == "bot"
    with pytest.raises(CallerError):
        await world.check(Forge("other", kid="k3"))


async def test_a_place_that_is_not_configured_is_never_asked_and_what_came_from_it_is_void() -> None:
    world = World(Forge(), hosts='"keys.example.net"')
    world.answers(world.forge, at="https://keys.example.net/jwks")
    assert await world.check(world.forge) == "bot"
    strict = World(Forge())
    strict.issuers = world.issuers  # a reload: the same process, without that host
    transport = world.answers(world.forge, at="https://keys.example.net/jwks")
    world.machine = strict.machine
    with pytest.raises(OperatorError, match="names an endpoint"):
        await world.check(world.forge)
    assert [grant.provider.host for grant, _ in transport.sent] == ["issuer.example.com"]


async def test_all_who_wait_ask_once() -> None:
    """An issuer that hangs holds nobody longer than one question."""
    world = World(Forge())
    asked: list[str] = []

    class Hanging:
        async def send(self, grant: Any, request: Any) -> Any:
            asked.append(request.path)
            await asyncio.sleep(0.2)
            raise UpstreamError("It does not answer.", code="upstream.timeout")

    world.issuers._transport = Hanging()  # type: ignore[assignment]
    began = asyncio.get_running_loop().time()
    told = await asyncio.gather(*(world.check(world.forge) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(one, OperatorError) for one in told)
    assert asked == ["/.well-known/openid-configuration"]
    assert asyncio.get_running_loop().time() - began < 5
