"""Plan a call: find what its model name means, drop what may not or cannot serve it, order the rest.

Rules: a name is a workload, `provider/model`, or a plain model that exactly one provider serves; anything else is a 404
that lists near names. A target is skipped with its reason, never in silence. Targets that rest go last, not away. Equals share the load: of two
that are drawn the one with less to do goes first (Mitzenmacher, "The power of two choices in randomized load balancing", 2001), and one that fails
far more often than its equals waits behind them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

import msgspec

from freehold.kernel.classes import Zone
from freehold.kernel.errors import CallerError, PolicyRefusal
from freehold.kernel.schema import Abilities
from freehold.kernel.snapshot import Snapshot, Target, Workload
from freehold.perimeter.ruling import Ruling
from freehold.wire.call import Call, Endpoint


class Vital(msgspec.Struct, frozen=True):
    """How a target is doing now. in_flight: calls under way; latency_s: until answers begin, None if none has; failing: share of its latest calls;
    is_resting: it is not to be tried before others.
    """

    in_flight: int = 0
    latency_s: float | None = None
    failing: float = 0.0
    is_resting: bool = False


_WELL = Vital()


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is known of the targets: abilities by target, plain names by model, and how each is doing now.

    serves: plain model name → providers that serve it; draw: gives a number in [0, 1), for drawing among equals.
    """

    abilities: Mapping[Target, Abilities]
    serves: Mapping[str, tuple[str, ...]]
    vital: Callable[[Target], Vital] = lambda _target: _WELL
    draw: Callable[[], float] = lambda: 0.0


class Skip(msgspec.Struct, frozen=True):
    """A target that will not be tried, and why."""

    target: Target
    reason: str
    is_forbidden: bool = False


class Forbidden(str):
    """A reason that is the perimeter's: the target could serve the call, and must not."""

    __slots__ = ()


class Choice(msgspec.Struct, frozen=True):
    """What a model name means: groups of targets, and the workload that brought them, if any.

    name: the name as configuration knows it, which is safe to write down; what a caller wrote may be anything.
    """

    groups: tuple[tuple[Target, ...], ...]
    name: str
    workload: Workload | None = None


class Plan(msgspec.Struct, frozen=True):
    """Ordered attempts, and what was left out."""

    attempts: tuple[Target, ...]
    skipped: tuple[Skip, ...] = ()


def resolve(
    model: str, snapshot: Snapshot, fleet: Fleet, *, bound: str | None = None, named: str | None = None
) -> Choice:
    """Find what a model name means.

    bound: the workload that the key is bound to; named: the workload in the caller's header.
    Raises CallerError 404 for an unknown name, PolicyRefusal 403 when a bound key reaches for something else.
    """
    name = named or bound
    if bound is not None and named not in (None, bound):
        raise PolicyRefusal(
            f"This key belongs to the workload {bound!r} and cannot call {named!r}.",
            code="routing.workload_forbidden",
            hint="Use a key of that workload.",
        )
    if name is not None:
        workload = snapshot.workloads.get(name)
        if workload is None:
            raise CallerError(f"The workload {name!r} is not configured.", code="routing.unknown_workload", status=404)
        return _within(workload, model, snapshot, fleet)
    if (workload := snapshot.workloads.get(model)) is not None:
        return Choice(workload.groups, workload.name, workload)
    target = _target(model, snapshot, fleet)
    if target is None:
        raise _unknown(model, snapshot, fleet)
    return Choice(((target,),), target.name)


def _within(workload: Workload, model: str, snapshot: Snapshot, fleet: Fleet) -> Choice:
    """A workload that is implied by the key or the header: its own targets only; an unknown model name means the workload."""
    if model == workload.name:
        return Choice(workload.groups, workload.name, workload)
    target = _target(model, snapshot, fleet)
    if model in snapshot.workloads or (target is not None and target not in workload.targets):
        raise PolicyRefusal(
            f"The workload {workload.name!r} does not allow {model!r}.",
            code="routing.target_forbidden",
            hint=f"Use {workload.name!r} as the model.",
        )
    if target is not None:
        return Choice(((target,),), target.name, workload)
    return Choice(workload.groups, workload.name, workload)


def _target(model: str, snapshot: Snapshot, fleet: Fleet) -> Target | None:
    provider, slash, rest = model.partition("/")
    if slash and provider in snapshot.providers:
        listed = snapshot.providers[provider].models
        return Target(provider, rest) if rest and (not listed or rest in listed) else None
    servers = fleet.serves.get(model, ())
    if len(servers) > 1:
        names = " or ".join(repr(f"{server}/{model}") for server in servers)
        raise CallerError(
            f"Several providers serve {model!r}.",
            code="routing.ambiguous_model",
            status=404,
            hint=f"Say which: {names}.",
        )
    return Target(servers[0], model) if servers else None


def _unknown(model: str, snapshot: Snapshot, fleet: Fleet) -> CallerError:
    known = [*snapshot.workloads, *fleet.serves, *(target.name for target in fleet.abilities)]
    provider = model.partition("/")[0]
    if "/" in model and provider not in snapshot.providers:
        known += [f"{name}/{model.partition('/')[2]}" for name in snapshot.providers]
    near = difflib.get_close_matches(model[:200], known, n=3, cutoff=0.5)
    hint = (
        f"Did you mean {' or '.join(repr(name) for name in near)}?" if near else "GET /v1/models lists what there is."
    )
    return CallerError(
        f"The model {model[:200]!r} is not known here.", code="routing.unknown_model", status=404, hint=hint
    )


def plan(
    choice: Choice,
    call: Call,
    ruling: Ruling,
    fleet: Fleet,
    *,
    zone_of: Callable[[Target], Zone],
    why_unfit: Callable[[Target], str | None] = lambda _target: None,
) -> Plan:
    """Order the targets of a choice and drop what the ruling forbids or what cannot serve the call.

    zone_of: a target's zone at this moment; why_unfit: why a target cannot be given this call in its dialect.
    The plan may be empty; `skipped` then says why.
    """
    attempts: list[Target] = []
    skipped: list[Skip] = []
    for group in choice.groups:
        for target in group if len(group) == 1 else shared(group, fleet):
            zone = zone_of(target)
            if zone not in ruling.zones and zone not in ruling.through:
                skipped.append(
                    Skip(target, f"runs {zone}; {ruling.class_.label} calls may not go there", is_forbidden=True)
                )
            elif (reason := _unable(call, fleet.abilities.get(target)) or why_unfit(target)) is not None:
                skipped.append(Skip(target, reason, is_forbidden=isinstance(reason, Forbidden)))
            else:
                attempts.append(target)
    if len(attempts) > 1:
        attempts.sort(key=lambda target: fleet.vital(target).is_resting)  # stable: order is kept among equals
    return Plan(tuple(attempts), tuple(skipped))


def _unable(call: Call, abilities: Abilities | None) -> str | None:
    if abilities is None:
        return None
    for need in call.needs:
        if getattr(abilities, need) is False:
            return f"cannot take {need}"
    if abilities.embeddings is True and call.endpoint is not Endpoint.EMBEDDINGS:
        return "serves embeddings only"
    # Even at eight bytes a token the prompt would not fit; anything closer is for the provider to judge.
    if abilities.context is not None and call.size > abilities.context * 8 and "images" not in call.needs:
        return f"context of {abilities.context} tokens is too short"
    return None


OUTLIER, OUTLIER_TIMES = (
    0.2,
    2.0,
)  # a share of failures from which on, and so many times its equals', a target waits behind them


def shared(group: tuple[Target, ...], fleet: Fleet) -> list[Target]:
    """Order equals: of two that are drawn the one with less to do, then the others by what they have to do; outliers last."""
    vitals = {target: fleet.vital(target) for target in group}
    known = [vital.latency_s for vital in vitals.values() if vital.latency_s is not None]
    usual = min(known) if known else 1.0  # what nobody has measured is taken to be as quick as the quickest
    load = {
        target: (vital.in_flight + 1) * (usual if vital.latency_s is None else vital.latency_s or 0.001)
        for target, vital in vitals.items()
    }
    out = _outliers(vitals) if any(vital.failing >= OUTLIER for vital in vitals.values()) else _NONE
    well = [target for target in group if target not in out and not vitals[target].is_resting] or list(group)
    first = int(fleet.draw() * len(well))
    second = (first + 1 + int(fleet.draw() * (len(well) - 1))) % len(well)
    chosen = well[first] if load[well[first]] <= load[well[second]] else well[second]
    rest = [target for target in group if target is not chosen]
    if len(rest) > 1:
        rest.sort(key=lambda one: (one in out, load[one]))
    return [chosen, *rest]


_NONE: frozenset[Target] = frozenset()


def _outliers(vitals: Mapping[Target, Vital]) -> Set[Target]:
    """Targets that fail far more often than their equals: at most half of them, the worst first."""
    worst = sorted(vitals, key=lambda target: -vitals[target].failing)
    found: set[Target] = set()
    for target in worst[: len(vitals) // 2]:
        others = sorted(vital.failing for other, vital in vitals.items() if other != target)
        usual = others[len(others) // 2]
        if vitals[target].failing >= max(OUTLIER, OUTLIER_TIMES * usual):
            found.add(target)
    return found
