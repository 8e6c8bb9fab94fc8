"""Rule on a call: the highest of the declared classes, and the zones that it may enter.

Rules (DESIGN §3, laws 2 and 3): the declared class is a floor; a key with neither class nor workload is restricted;
a caller may only raise; what cannot be read counts as restricted.
"""

from __future__ import annotations

import msgspec

from freehold.kernel.classes import Class, Zone
from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.snapshot import Provider, Snapshot, Target


class Ruling(msgspec.Struct, frozen=True):
    """What the perimeter decided: effective class, zones that it allows, and why, in words without content."""

    class_: Class
    zones: frozenset[Zone]
    reasons: tuple[str, ...]


class Declared(msgspec.Struct, frozen=True):
    """Everything that was declared about a call's class, as found.

    key: the class on the key, None if it has none; bound: the workload that the key is bound to;
    workload: the workload the call names; raised: the text of the caller's raise-only header;
    referred: the class of the stored answer that the call refers to.
    """

    key: Class | None = None
    bound: str | None = None
    workload: str | None = None
    raised: str | None = None
    referred: Class | None = None


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
    return Ruling(class_, snapshot.zones[class_], tuple(reasons))


class Grant:
    """Permission for one attempt of one call to one target, or for a bodyless probe. Only `grant` and `grant_probe` make one."""

    __slots__ = ("attempt", "call_id", "class_", "provider", "target", "zone")

    def __init__(
        self, seal: object, *, provider: Provider, target: Target, zone: Zone, class_: Class, call: tuple[str, int]
    ) -> None:
        if seal is not _SEAL:
            raise PolicyRefusal("A grant can only be minted by the perimeter.", code="perimeter.forged_grant")
        self.provider, self.target, self.zone, self.class_ = provider, target, zone, class_
        self.call_id, self.attempt = call

    @property
    def is_probe(self) -> bool:
        return self.attempt == 0


_SEAL = object()


def grant(ruling: Ruling, provider: Provider, target: Target, *, call: tuple[str, int], now_s: float) -> Grant:
    """Mint the permission for one attempt; call is (call id, attempt number from 1).

    Raises PolicyRefusal when the target's zone, as it is now, is not allowed to this call's class.
    """
    zone = provider.zone_at(now_s)
    if zone not in ruling.zones:
        raise PolicyRefusal(
            f"{target.name} runs {zone} and a {ruling.class_.label} call may only go {' or '.join(sorted(ruling.zones))}.",
            code="perimeter.zone_forbidden",
            hint="Use a target in an allowed zone, or a key or workload of a lower class.",
        )
    return Grant(_SEAL, provider=provider, target=target, zone=zone, class_=ruling.class_, call=call)


def grant_probe(provider: Provider, *, now_s: float) -> Grant:
    """Mint the permission for a bodyless probe of a provider's health or model list."""
    return Grant(
        _SEAL,
        provider=provider,
        target=Target(provider.name, ""),
        zone=provider.zone_at(now_s),
        class_=Class.PUBLIC,
        call=("probe", 0),
    )
