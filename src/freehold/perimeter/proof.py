"""Prove a configuration: whatever key calls whatever workload, no call can reach a zone that its class forbids.

Why it exists: a reviewer must be able to check the promise without running anything.
Rules: this is a computation of its own. It never calls `rule` or `grant`; it works with the ceiling of each zone (the
highest class that may enter it, well defined because configuration is checked to be monotonic). The tests compare the two.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from freehold.kernel.classes import Class, Zone
from freehold.kernel.snapshot import Provider, Snapshot, Target, Workload
from freehold.perimeter.detection import FAMILIES, known_types, raised_to, raises_of

NO_CLASS = "no class"
ZoneOf = Callable[[Target], Zone]


@dataclass(frozen=True, slots=True)
class Case:
    """One combination: a key's class (or none), the workload it is bound to, the workload it calls (None: by provider/model)."""

    key: Class | None
    bound: str | None
    workload: str | None
    class_: Class


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the calls of a case can go, and what is skipped: (target, zone) pairs."""

    case: Case
    allowed: tuple[tuple[Target, Zone], ...]
    withheld: tuple[tuple[Target, Zone], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A contradiction in the configuration, with the chain that leads to it."""

    chain: str
    reason: str
    mend: str


@dataclass(frozen=True, slots=True)
class Proof:
    """All cases that were computed, and what contradicts itself. It holds when there is no finding."""

    reaches: tuple[Reach, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.findings


def prove(snapshot: Snapshot, *, now_s: float) -> Proof:
    """Compute every key class × bound workload × called workload × target. now_s decides which agreements still hold."""
    ceiling = {zone: max((class_ for class_ in Class if zone in snapshot.zones[class_]), default=None) for zone in Zone}

    def zone_of(target: Target) -> Zone:
        return snapshot.providers[target.provider].zone_at(now_s, target.model)

    reaches = tuple(_reach(case, snapshot, zone_of, ceiling) for case in _cases(snapshot))
    findings = [
        finding
        for workload in snapshot.workloads.values()
        for finding in _contradictions(workload, snapshot, zone_of, ceiling, now_s)
    ]
    findings += [
        Finding(
            chain=f"[detection] raises {type_!r}",
            reason="no rule finds anything under this name, so the entry would protect nothing",
            mend=f"use a family or a type: {', '.join(sorted(FAMILIES))}, or custom.NAME of a table below [detection]",
        )
        for type_ in snapshot.detection.raises
        if type_ not in known_types(snapshot.detection.custom)
    ]
    return Proof(reaches, tuple(findings), tuple(_warnings(snapshot, zone_of, ceiling, now_s)))


def _cases(snapshot: Snapshot) -> list[Case]:
    names: list[str | None] = [None, *snapshot.workloads]
    return [
        Case(key, bound, called, Class(max(_key_rank(key, bound), _rank(snapshot, bound), _rank(snapshot, called))))
        for key in (None, *Class)
        for bound in names
        for called in names
        if bound is None or called is None or called == bound  # a bound key cannot name another workload
    ]


def _key_rank(key: Class | None, bound: str | None) -> int:
    if key is not None:
        return int(key)
    return int(Class.RESTRICTED) if bound is None else int(Class.PUBLIC)


def _rank(snapshot: Snapshot, workload: str | None) -> int:
    return int(snapshot.workloads[workload].class_) if workload is not None else int(Class.PUBLIC)


def _reach(case: Case, snapshot: Snapshot, zone_of: ZoneOf, ceiling: dict[Zone, Class | None]) -> Reach:
    name = case.workload or case.bound
    targets = snapshot.workloads[name].targets if name else _any_target(snapshot)
    pairs = tuple((target, zone_of(target)) for target in targets)
    allowed = tuple(pair for pair in pairs if _admits(ceiling[pair[1]], case.class_))
    return Reach(case, allowed, tuple(pair for pair in pairs if pair not in allowed))


def _any_target(snapshot: Snapshot) -> tuple[Target, ...]:
    """What a call by provider/model may name: any model, for which `*` stands, and those that an agreement names."""
    return tuple(
        Target(provider.name, model)
        for provider in snapshot.providers.values()
        for model in ("*", *sorted(provider.attested.models if provider.attested is not None else ()))
    )


def _admits(ceiling: Class | None, class_: Class) -> bool:
    return ceiling is not None and class_ <= ceiling


def _contradictions(
    workload: Workload, snapshot: Snapshot, zone_of: ZoneOf, ceiling: dict[Zone, Class | None], now_s: float
) -> list[Finding]:
    findings = []
    for at, target in enumerate(workload.targets):
        zone = zone_of(target)
        if _admits(ceiling[zone], workload.class_):
            continue
        role = "first choice" if at == 0 else f"fallback {at}"
        expired = _why_void(snapshot.providers[target.provider], target, zone, now_s)
        findings.append(
            Finding(
                chain=f"workload {workload.name} ({workload.class_.label}) → {role} {target.name} → zone {zone}{expired}",
                reason=f"{workload.class_.label} calls may only go {' or '.join(sorted(snapshot.zones[workload.class_]))}, so this target could only leak",
                mend=f"remove {target.name} from [workloads.{workload.name}], or use a target that runs {' or '.join(sorted(snapshot.zones[workload.class_]))}",
            )
        )
    return findings


def _why_void(provider: Provider, target: Target, zone: Zone, now_s: float) -> str:
    """Why a target that is declared attested is not, in brackets; nothing for any other."""
    if provider.declared_zone is zone:
        return ""
    held = provider.attested
    if held is not None and held.models and target.model not in held.models:
        return " (its agreement does not name this model)"
    return (
        " (its agreement has not begun)"
        if held is not None and now_s < held.since_s
        else " (its agreement has expired)"
    )


def _warnings(snapshot: Snapshot, zone_of: ZoneOf, ceiling: dict[Zone, Class | None], now_s: float) -> list[str]:
    closed = [
        f"workload {workload.name} has no target for a restricted key: such calls get 403"
        for workload in snapshot.workloads.values()
        if not any(_admits(ceiling[zone_of(t)], Class.RESTRICTED) for t in workload.targets)
    ]
    ending = [
        f"the agreement of {provider.name} ends within 30 days; from then on it counts as outside"
        for provider in snapshot.providers.values()
        if provider.attested is not None and 0 < provider.attested.until_s - now_s < 30 * 86_400
    ]
    public = [
        f"{provider.name} is declared inside at {provider.host}, an address of the public internet: only if that machine is yours"
        for provider in snapshot.providers.values()
        if provider.declared_zone is Zone.INSIDE and _is_global(provider.host)
    ]
    return closed + ending + public


def _is_global(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Change:
    """What one configuration allows and another does not. who: whose calls; where: the target and its zone."""

    who: str
    where: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a change of the configuration newly allows, newly forbids, and changes besides."""

    allowed: tuple[Change, ...]
    forbidden: tuple[Change, ...]
    besides: tuple[str, ...]


def compare(old: Snapshot, new: Snapshot, *, now_s: float) -> Comparison:
    """Compute what every class of calls can reach before and after."""
    before, after = (_reachable(prove(one, now_s=now_s)) for one in (old, new))
    besides = [
        f"{provider} is at {new.providers[provider].base_url} and was at {old.providers[provider].base_url}"
        for provider in sorted(old.providers.keys() & new.providers.keys())
        if old.providers[provider].base_url != new.providers[provider].base_url
    ]
    besides += [
        f"{name} is {new.workloads[name].class_.label} and was {old.workloads[name].class_.label}"
        for name in sorted(old.workloads.keys() & new.workloads.keys())
        if old.workloads[name].class_ is not new.workloads[name].class_
    ]
    wider = [
        *_transforms(old, new),
        *_kept(old, new),
        *_addresses(old, new),
        *_unseen(old, new),
        *(
            Change(f"what is found as {type_}", f"raises to {after_.label} only, and raised to {before_.label}")
            for type_, before_, after_ in _raises(old, new)
            if after_ < before_
        ),
    ]
    besides += [
        f"what is found as {type_} raises to {after_.label} and raised to {before_.label}"
        for type_, before_, after_ in _raises(old, new)
        if after_ > before_
    ]
    if old.detection.opaque != new.detection.opaque:
        besides.append(
            f"content that no detector can read may leave for {_classes(new.detection.opaque)}, and could for {_classes(old.detection.opaque)}"
        )
    if opened := new.detection.opaque - old.detection.opaque:
        wider.append(Change(f"content that no detector can read, {_classes(opened)}", "may leave"))
    return Comparison((*_changes(after - before), *wider), _changes(before - after), tuple(besides))


def _transforms(old: Snapshot, new: Snapshot) -> list[Change]:
    """Workloads whose calls may newly leave once what was found has been taken out."""
    return [
        Change(
            f"{workload.name}, what only detectors raised",
            f"may leave as {workload.class_.label} ({workload.transform})",
        )
        for name, workload in new.workloads.items()
        if workload.transform is not None and (name not in old.workloads or old.workloads[name].transform is None)
    ]


def keeps(snapshot: Snapshot) -> dict[str, set[str]]:
    """Whose calls are kept here, and how: content that lies in the sealed store for a while."""
    found: dict[str, set[str]] = {}
    for name, workload in snapshot.workloads.items():
        found[name] = {"in batches"} if workload.takes_batches else set()
        if workload.cache is not None:
            found[name].add(f"in a cache of {'each key' if workload.cache.scope == 'key' else 'all its keys together'}")
    found["a call by provider/model"] = {"in batches"} if snapshot.organisation.takes_batches else set()
    return {name: ways for name, ways in found.items() if ways}


def lends(snapshot: Snapshot) -> dict[str, set[str]]:
    """At which providers lines of whose batches may lie until they are answered: batch endpoints keep what they are given for so long."""
    takers = {
        name for name, one in snapshot.providers.items() if one.batches and one.declared_zone is not Zone.ATTESTED
    }
    found = {
        name: takers & {target.provider for target in workload.targets}
        for name, workload in snapshot.workloads.items()
        if workload.takes_batches
    }
    found["a call by provider/model"] = takers if snapshot.organisation.takes_batches else set()
    return {name: where for name, where in found.items() if where}


def _kept(old: Snapshot, new: Snapshot) -> list[Change]:
    """Whose questions and answers are newly kept, here or where they are answered."""
    ways = [("what is asked and answered", "is kept", keeps(old), keeps(new))]
    ways.append(("lines of batches", "may lie until they are answered at", lends(old), lends(new)))
    return [
        Change(f"{name}, {what}", f"{is_done} {way}")
        for what, is_done, before, after in ways
        for name, found in after.items()
        for way in sorted(found - before.get(name, set()))
    ]


def _addresses(old: Snapshot, new: Snapshot) -> list[Change]:
    """Providers that may newly be found at further addresses."""
    wider = []
    for name in sorted(old.providers.keys() & new.providers.keys()):
        before, after = set(map(str, old.providers[name].addresses)), set(map(str, new.providers[name].addresses))
        if before and (not after or after - before):
            wider.append(
                Change(f"the provider {name}", f"may be at {', '.join(sorted(after - before)) or 'any address'}")
            )
    return wider


def _unseen(old: Snapshot, new: Snapshot) -> list[Change]:
    """What only this company looks for, and would no longer see."""
    after = {one.name: one for one in new.detection.custom}
    wider = []
    for one in old.detection.custom:
        found = after.get(one.name)
        if found is None or found.pattern != one.pattern or set(one.words) - set(found.words):
            how = "is no longer looked for" if found is None else "is looked for by other words or another pattern"
            wider.append(Change(f"what is found as custom.{one.name}", how))
    return wider


def _raises(old: Snapshot, new: Snapshot) -> list[tuple[str, Class, Class]]:
    """(type, class before, class after) of everything in either table; the defaults where a table is silent."""
    tables = [raises_of(old), raises_of(new)]
    return [
        (type_, raised_to(type_, tables[0]), raised_to(type_, tables[1]))
        for type_ in sorted(set(tables[0]) | set(tables[1]))
        if raised_to(type_, tables[0]) is not raised_to(type_, tables[1])
    ]


def _reachable(proof: Proof) -> frozenset[tuple[str, str, str]]:
    return frozenset(
        (
            reach.case.class_.label,
            reach.case.workload or reach.case.bound or "a call by provider/model",
            f"{target.name} ({zone})",
        )
        for reach in proof.reaches
        for target, zone in reach.allowed
    )


def _changes(rows: frozenset[tuple[str, str, str]]) -> tuple[Change, ...]:
    grouped: dict[tuple[str, str], set[str]] = {}
    for class_, who, where in rows:
        grouped.setdefault((who, where), set()).add(class_)
    order = [class_.label for class_ in Class]
    return tuple(
        Change(f"{who}, {' and '.join(sorted(classes, key=order.index))}", where)
        for (who, where), classes in sorted(grouped.items())
    )


def _classes(classes: frozenset[Class]) -> str:
    return " and ".join(class_.label for class_ in sorted(classes)) or "no class"
