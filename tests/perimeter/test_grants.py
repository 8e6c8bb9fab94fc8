"""A grant is good for what it was minted for, once, for a moment. Anything else about it makes it void."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest

from conftest import snapshot_of
from freehold.kernel.classes import Class, Zone
from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.snapshot import Target
from freehold.perimeter.ruling import (
    FRAMING,
    LIFETIME_S,
    Declared,
    Grant,
    Moment,
    grant,
    grant_errand,
    grant_probe,
    grant_together,
    honour,
    rule,
)

SNAPSHOT = snapshot_of(
    '[providers.rack]\nbase_url = "http://10.0.0.5/v1"\nzone = "inside"\n[providers.cloud]\nbase_url = "https://cloud.example/v1"\n'
)
NOW, BODY = 1_800_000_000.0, b'{"x": 1}'


def permit(class_: Class = Class.PUBLIC, provider: str = "cloud") -> Grant:
    ruling = rule(Declared(key=class_), SNAPSHOT)
    return grant(
        ruling, SNAPSHOT.providers[provider], Target(provider, "m"), call=("call_1", 1), body=BODY, at=Moment(NOW, NOW)
    )


def void(one: Any, body: bytes | None = BODY, now_s: float = NOW) -> str:
    with pytest.raises(PolicyRefusal) as caught:
        honour(one, body, at_s=now_s)
    assert caught.value.code == "perimeter.grant_void"
    return caught.value.message


def test_it_serves_once() -> None:
    one = permit()
    honour(one, BODY, at_s=NOW + LIFETIME_S)
    assert "used before" in void(one)


def test_it_expires() -> None:
    assert "expired" in void(permit(), now_s=NOW + LIFETIME_S + 1)


@pytest.mark.parametrize("body", [b'{"x": 2}', b"", None, BODY + b" "])
def test_it_serves_its_own_body(body: bytes | None) -> None:
    assert "another body" in void(permit(), body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("zone", Zone.INSIDE), ("class_", Class.RESTRICTED), ("target", Target("cloud", "other")), ("call_id", "call_2"), ("attempt", 2), ("digest", b"0" * 32),
        ("expires_s", NOW * 2), ("provider", SNAPSHOT.providers["rack"]), ("provider", replace(SNAPSHOT.providers["cloud"], uses_proxy=False)),
        ("provider", replace(SNAPSHOT.providers["cloud"], host="elsewhere.example")),
    ],
)  # fmt: skip
def test_changed_in_any_part_it_is_void(field: str, value: object) -> None:
    one = permit()
    setattr(one, field, value)
    assert "changed" in void(one)


def test_it_cannot_be_made_by_hand_or_copied_into_another() -> None:
    with pytest.raises(PolicyRefusal, match="minted"):
        Grant(
            object(),
            provider=SNAPSHOT.providers["cloud"],
            target=Target("cloud", "m"),
            zone=Zone.OUTSIDE,
            class_=Class.PUBLIC,
            bound=None,
        )  # type: ignore[arg-type]  # the point of the test
    forged = object.__new__(Grant)
    for name in Grant.__slots__:
        setattr(forged, name, getattr(permit(provider="rack", class_=Class.RESTRICTED), name))
    forged.target = Target("cloud", "m")
    assert "changed" in void(forged)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="no copy"):
            copied(permit())


def test_what_is_no_grant_is_none() -> None:
    for wrong in (None, object(), "grant", True, pickle):
        assert "without a grant" in void(wrong)


def test_a_probe_carries_nothing() -> None:
    honour(grant_probe(SNAPSHOT.providers["cloud"], now_s=NOW, at_s=NOW), None, at_s=NOW)
    assert "no body" in void(grant_probe(SNAPSHOT.providers["cloud"], now_s=NOW, at_s=NOW), b"x")


def test_a_forbidden_zone_mints_nothing() -> None:
    with pytest.raises(PolicyRefusal) as caught:
        permit(Class.RESTRICTED)
    assert caught.value.code == "perimeter.zone_forbidden"


def test_an_errand_carries_one_body_once() -> None:
    """What is told to a webhook is bound like an attempt: to its body, its address and a moment; and it is no probe, and no call."""
    there = SNAPSHOT.providers["cloud"]
    permit = grant_errand(there, b"told", now_s=NOW, at_s=NOW)
    assert (permit.is_probe, permit.class_, permit.target.model) == (False, Class.PUBLIC, "")
    assert "another body" in void(grant_errand(there, b"told", now_s=NOW, at_s=NOW), b"a prompt")
    assert "another body" in void(grant_errand(there, b"told", now_s=NOW, at_s=NOW), None)
    honour(permit, b"told", at_s=NOW)
    assert "used before" in void(permit, b"told")
    late = grant_errand(there, b"told", now_s=NOW, at_s=NOW)
    with pytest.raises(PolicyRefusal, match="expired"):
        honour(late, b"told", at_s=NOW + LIFETIME_S + 1)


def parts(count: int = 3) -> list[tuple[Grant, bytes]]:
    ruling, cloud = rule(Declared(key=Class.PUBLIC), SNAPSHOT), SNAPSHOT.providers["cloud"]
    bodies = [b'{"line": %d}' % at for at in range(count)]
    return [
        (grant(ruling, cloud, Target("cloud", "m"), call=(f"call_{at}", 1), body=body, at=Moment(NOW, NOW)), body)
        for at, body in enumerate(bodies)
    ]


def framed(found: list[tuple[Grant, bytes]]) -> bytes:
    return b"".join(b'{"body":' + body + b"}\n" for _, body in found)


def test_granted_bodies_may_go_together_once() -> None:
    found = parts()
    together = grant_together(found, framed(found), at_s=NOW)
    honour(together, framed(found), at_s=NOW)
    assert "used before" in void(together, framed(found))
    assert all("used before" in void(one, body) for one, body in found), "each is spent by it"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: body.replace(b'{"line": 1}', b'{"line": 7}'), id="another-body"),
        pytest.param(lambda body: body.replace(b'{"line": 1}', b""), id="one-less"),
        pytest.param(lambda body: body + b"x" * (FRAMING + 1), id="more-behind"),
        pytest.param(lambda body: b"x" * (FRAMING + 1) + body, id="more-before"),
        pytest.param(
            lambda body: body.replace(b'{"line": 1}', b"x" * (FRAMING + 1) + b'{"line": 1}'), id="more-between"
        ),
        pytest.param(lambda body: b"\n".join(reversed(body.split(b"\n"))), id="another-order"),
    ],
)
def test_nothing_else_may_go_with_them(change: Any) -> None:
    found = parts()
    with pytest.raises(PolicyRefusal, match="more than what was granted"):
        grant_together(found, change(framed(found)), at_s=NOW)


def test_they_go_to_one_provider_and_zone() -> None:
    found = parts()
    ruling = rule(Declared(key=Class.PUBLIC), SNAPSHOT)
    elsewhere = grant(
        ruling,
        SNAPSHOT.providers["rack"],
        Target("rack", "m"),
        call=("call_9", 1),
        body=b'{"line": 9}',
        at=Moment(NOW, NOW),
    )
    found.append((elsewhere, b'{"line": 9}'))
    with pytest.raises(PolicyRefusal, match="more than what was granted"):
        grant_together(found, framed(found), at_s=NOW)


def test_a_spent_or_expired_part_spoils_the_whole() -> None:
    found = parts()
    honour(found[1][0], found[1][1], at_s=NOW)
    with pytest.raises(PolicyRefusal, match="used before"):
        grant_together(found, framed(found), at_s=NOW)
    late = parts()
    with pytest.raises(PolicyRefusal, match="expired"):
        grant_together(late, framed(late), at_s=NOW + LIFETIME_S + 1)


def test_an_errand_or_a_probe_is_no_part() -> None:
    cloud, body = SNAPSHOT.providers["cloud"], b'{"line": 0}'
    with pytest.raises(PolicyRefusal):
        grant_together([(grant_errand(cloud, body, now_s=NOW, at_s=NOW), body)], body, at_s=NOW)
