"""Rule on a call: the highest of the declared classes, and the zones that it may enter.

Rules (DESIGN §3, laws 2 and 3): the declared class is a floor; a key with neither class nor workload is restricted;
a caller may only raise; what cannot be read counts as restricted.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import msgspec

from freehold.kernel.classes import Class, Zone
from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.snapshot import Provider, Snapshot, Target
from freehold.perimeter.detection import NOTHING, Found


class Ruling(msgspec.Struct, frozen=True):
    """What the perimeter decided: effective class, zones that it allows, labels, and why, in words without content.

    floor: the class that was declared, before detection raised it; through: the zones that a call may enter as that class, once what was
    found in it has been taken out.
    """

    class_: Class
    zones: frozenset[Zone]
    reasons: tuple[str, ...]
    labels: tuple[str, ...] = ()
    floor: Class = Class.RESTRICTED
    through: frozenset[Zone] = frozenset()


class Declared(msgspec.Struct, frozen=True):
    """Everything that was declared about a call's class, as found.

    key: the class on the key, None if it has none; bound: the workload that the key is bound to;
    workload: the workload the call names; raised: the text of the caller's raise-only header;
    referred: the class of the stored answer that the call refers to; found: what detection adds;
    is_opaque: the call carries what no detector can read; has_unknown: a field that Freehold does not know.
    """

    key: Class | None = None
    bound: str | None = None
    workload: str | None = None
    raised: str | None = None
    referred: Class | None = None
    found: Found = NOTHING
    is_opaque: bool = False
    has_unknown: bool = False


def rule(declared: Declared, snapshot: Snapshot) -> Ruling:
    """Decide the effective class and the allowed zones. Never raises: what is unreadable rules as restricted."""
    class_, reasons = Class.PUBLIC, []
    if declared.key is not None:
        class_, reasons = declared.key, [f"key is {declared.key.label}"]
    elif declared.bound is None:
        class_, reasons = Class.RESTRICTED, ["key has no class, so restricted"]
    for name in {declared.bound, declared.workload} - {None}:
        workload = snapshot.workloads.get(name or "")
        found = workload.class_ if workload is not None else Class.RESTRICTED
        reasons.append(
            f"workload {name} is {found.label}"
            if workload is not None
            else f"workload {name} is not configured, so restricted"
        )
        class_ = max(class_, found)
    if declared.raised is not None:
        try:
            raised = Class.parse(declared.raised)
            reasons.append(f"caller asked for {raised.label}")
        except ValueError:
            raised = Class.RESTRICTED
            reasons.append("caller asked for an unknown class, so restricted")
        class_ = max(class_, raised)
    if declared.referred is not None:
        reasons.append(f"the stored answer is {declared.referred.label}")
        class_ = max(class_, declared.referred)
    if declared.found.class_ is not None:
        reasons += declared.found.reasons
        class_ = max(class_, declared.found.class_)
    zones = snapshot.zones[class_]
    if declared.is_opaque and class_ not in snapshot.detection.opaque:
        reasons.append(f"it carries what no detector can read, which {class_.label} calls may not send out")
        zones = zones & _INSIDE
    if declared.has_unknown and class_ >= Class.CONFIDENTIAL:
        reasons.append(f"it has a field that Freehold does not know, which {class_.label} calls may not send out")
        zones = zones & _INSIDE
    return Ruling(class_, zones, tuple(reasons), declared.found.labels)


_INSIDE = frozenset({Zone.INSIDE})


class Grant:
    """Permission for one attempt of one call to one target with one body, for a moment; for a bodyless probe; for many such attempts that are handed in together; or for one errand.
    Only `grant`, `grant_together`, `grant_probe` and `grant_errand` make one.

    digest: SHA-256 of the body that may be sent; expires_s: seconds of a clock that nobody sets. What it says is sealed: changed in any part, it is void.
    """

    __slots__ = (
        "_is_spent",
        "_seal",
        "attempt",
        "call_id",
        "class_",
        "digest",
        "expires_s",
        "provider",
        "target",
        "zone",
    )

    def __init__(
        self, key: object, *, provider: Provider, target: Target, zone: Zone, class_: Class, bound: Bound
    ) -> None:
        if key is not _KEY:
            raise PolicyRefusal("A grant can only be minted by the perimeter.", code="perimeter.forged_grant")
        self.provider, self.target, self.zone, self.class_ = provider, target, zone, class_
        self.call_id, self.attempt, self.digest, self.expires_s = (
            bound.call_id,
            bound.attempt,
            bound.digest,
            bound.expires_s,
        )
        self._is_spent = False
        self._seal = _sealed(self)

    @property
    def is_probe(self) -> bool:
        return self.attempt == 0

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a grant is good once, so there is no copy of it")


class Bound(msgspec.Struct, frozen=True):
    """What a grant is bound to beside its target. attempt: from 1, 0 for a probe, -1 for an errand, -2 for attempts that are handed in together."""

    call_id: str
    attempt: int
    digest: bytes
    expires_s: float


_KEY = os.urandom(32)  # of this process: a grant means nothing anywhere else
LIFETIME_S = 60.0
_ERRAND, _TOGETHER = -1, -2
FRAMING = 512  # bytes around each body that is handed in with others
_NO_BODY = hashlib.sha256(b"").digest()


def _sealed(grant: Grant) -> bytes:
    where = grant.provider
    said = (
        f"{grant.call_id}\0{grant.attempt}\0{grant.target.name}\0{grant.zone}\0{grant.class_}\0{grant.expires_s}\0"
        f"{where.base_url}\0{where.host}\0{where.is_tls}\0{where.addresses}\0{where.uses_proxy}\0"
    )
    sealing = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), key=_KEY, digest_size=32)
    sealing.update(grant.digest)
    return sealing.digest()


class Moment(NamedTuple):
    """Now, by both clocks. now_s: seconds since 1970, for agreements; steady_s: of a clock that nobody sets, for how long a grant is good."""

    now_s: float
    steady_s: float


def grant(
    ruling: Ruling, provider: Provider, target: Target, *, call: tuple[str, int], body: bytes | None, at: Moment
) -> Grant:
    """Mint the permission for one attempt; call is (call id, attempt number from 1), body what may be sent; at: now.

    A zone that is allowed only through a transform is entered as the declared class: whoever asks has transformed the body.

    Raises PolicyRefusal when the target's zone, as it is now, is not allowed to this call's class.
    """
    zone = provider.zone_at(at.now_s, target.model)
    if zone not in ruling.zones | ruling.through:
        raise PolicyRefusal(
            f"{target.name} runs {zone} and this {ruling.class_.label} call may only go {' or '.join(sorted(ruling.zones))}.",
            code="perimeter.zone_forbidden",
            hint="Use a target in an allowed zone, or a key or workload of a lower class.",
        )
    class_ = ruling.class_ if zone in ruling.zones else ruling.floor
    digest = hashlib.sha256(body).digest() if body is not None else _NO_BODY
    return Grant(
        _KEY,
        provider=provider,
        target=target,
        zone=zone,
        class_=class_,
        bound=Bound(*call, digest, at.steady_s + LIFETIME_S),
    )


def grant_probe(provider: Provider, *, now_s: float, at_s: float) -> Grant:
    """Mint the permission for a bodyless probe of a provider's health or model list."""
    bound = Bound("probe", 0, _NO_BODY, at_s + LIFETIME_S)
    zone = provider.zone_at(now_s)
    return Grant(_KEY, provider=provider, target=Target(provider.name, ""), zone=zone, class_=Class.PUBLIC, bound=bound)


def grant_errand(provider: Provider, body: bytes, *, now_s: float, at_s: float) -> Grant:
    """Mint the permission to tell something to somewhere that the configuration names (an alert to a webhook): facts about calls, never their content."""
    bound = Bound("errand", _ERRAND, hashlib.sha256(body).digest(), at_s + LIFETIME_S)
    target = Target(provider.name, "")
    return Grant(_KEY, provider=provider, target=target, zone=provider.zone_at(now_s), class_=Class.PUBLIC, bound=bound)


def grant_together(parts: Sequence[tuple[Grant, bytes]], body: bytes, *, at_s: float) -> Grant:
    """Mint the permission to hand in many attempts at once, out of their own grants, which are spent by it: all for one provider and zone, and the
    body holds nothing but what they are for, in their order, and a little framing around each.

    Raises PolicyRefusal `perimeter.grant_void`.
    """
    place, first = 0, parts[0][0]
    for permit, own in parts:
        honour(permit, own, at_s=at_s)
        found = body.find(own, place, place + FRAMING + len(own))
        if permit.provider is not first.provider or permit.zone is not first.zone or permit.attempt < 1 or found < 0:
            raise _not_together(first)
        place = found + len(own)
    if len(body) - place > FRAMING:
        raise _not_together(first)
    bound = Bound("together", _TOGETHER, hashlib.sha256(body).digest(), at_s + LIFETIME_S)
    class_, target = max(permit.class_ for permit, _ in parts), Target(first.provider.name, "")
    return Grant(_KEY, provider=first.provider, target=target, zone=first.zone, class_=class_, bound=bound)


def _not_together(first: Grant) -> PolicyRefusal:
    return PolicyRefusal(
        f"What is to be handed in at {first.provider.name!r} is more than what was granted.",
        code="perimeter.grant_void",
    )


def honour(permit: Grant, body: bytes | None, *, at_s: float) -> None:
    """Check a grant at the door, and spend it: it is good for this body, once, until it expires.

    Raises PolicyRefusal `perimeter.grant_void`; nothing may be sent then.
    """
    if not isinstance(permit, Grant):
        raise PolicyRefusal("Nothing is sent without a grant.", code="perimeter.grant_void")
    why = ""
    if not hmac.compare_digest(permit._seal, _sealed(permit)):
        why = "it was changed after it was minted"
    elif permit._is_spent:
        why = "it was used before"
    elif at_s > permit.expires_s:
        why = "it has expired"
    elif permit.is_probe and body is not None:
        why = "a probe has no body"
    elif hashlib.sha256(body or b"").digest() != permit.digest:
        why = "it was minted for another body"
    if why:
        raise PolicyRefusal(f"The grant for {permit.target.name!r} is void: {why}.", code="perimeter.grant_void")
    permit._is_spent = True
