"""Plan a call: find what its model name means, drop what may not or cannot serve it, order the rest.

Rules: a name is a workload, `provider/model`, or a plain model that exactly one provider serves; anything else is a 404
that lists near names. A target is skipped with its reason, never in silence. Unhealthy targets go last, not away.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from freehold.kernel.classes import Zone
from freehold.kernel.errors import CallerError, PolicyRefusal
from freehold.kernel.schema import Abilities
from freehold.kernel.snapshot import Snapshot, Target, Workload
from freehold.perimeter.ruling import Ruling
from freehold.wire.call import Call, Endpoint


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is known of the targets: abilities by target, plain names by model, and who is unwell now.

    serves: plain model name → providers that serve it; is_unwell: asked with a provider's name;
    spread: draws a number in [0, 1) that rotates the targets of one group.
    """

    abilities: Mapping[Target, Abilities]
    serves: Mapping[str, tuple[str, ...]]
    is_unwell: Callable[[str], bool] = lambda _provider: False
    spread: Callable[[], float] = lambda: 0.0


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
        turn = int(fleet.spread() * len(group))
        for target in group[turn:] + group[:turn]:
            zone = zone_of(target)
            if zone not in ruling.zones and zone not in ruling.through:
                skipped.append(
                    Skip(target, f"runs {zone}; {ruling.class_.label} calls may not go there", is_forbidden=True)
                )
            elif (reason := _unable(call, fleet.abilities.get(target)) or why_unfit(target)) is not None:
                skipped.append(Skip(target, reason, is_forbidden=isinstance(reason, Forbidden)))
            else:
                attempts.append(target)
    attempts.sort(key=lambda target: fleet.is_unwell(target.provider))  # stable: order is kept among equals
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
