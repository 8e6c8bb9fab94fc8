"""What the admin plane does: keys, people, usage and what was changed, for whoever asks, as far as their roles reach.

Rules: an administrator may do everything, an auditor looks at everything, a department lead sees and changes what belongs to their department's
workloads, and a developer what is their own. What somebody may not see is not there for them (404). The admin API and the console call these.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.gateway.world import World
from freehold.identity.keys import Key, Keys, Wanted
from freehold.identity.people import MACHINE, Person
from freehold.identity.shared import SharedKeys
from freehold.kernel import schema
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError, PolicyRefusal
from freehold.kernel.limits import span_ms
from freehold.kernel.roles import Role
from freehold.kernel.snapshot import Snapshot
from freehold.ledger.postgres import usage_of_all
from freehold.ledger.store import SqliteStore, UsageRow, catch_up


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who asks. label: by what they are known in the log; is_operator: holds the token of the state directory, and may do everything."""

    label: str
    roles: frozenset[Role] = frozenset()
    person: Person | None = None
    is_operator: bool = False
    is_local: bool = False

    @property
    def kinds(self) -> frozenset[str]:
        """Which of the words in a route's roles are theirs."""
        if self.is_operator:
            return frozenset({"operator", "admin", "auditor", "lead", "developer", "local"})
        return frozenset({role.kind for role in self.roles} | ({"local"} if self.is_local else set()))

    @property
    def departments(self) -> frozenset[str]:
        return frozenset(role.department for role in self.roles if role.kind == "lead")

    def sees(self, key: Key, snapshot: Snapshot) -> bool:
        """Whether a key is there for them."""
        return bool(self.kinds & {"admin", "auditor"}) or self.changes(key, snapshot)

    def changes(self, key: Key, snapshot: Snapshot) -> bool:
        """Whether they may exchange and revoke a key."""
        workload = snapshot.workloads.get(key.workload or "")
        is_led = workload is not None and workload.department in self.departments
        is_own = self.person is not None and key.owner == self.person.id
        return "admin" in self.kinds or is_led or is_own


class NewKey(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a key is to be, as it is asked for. expires: a span, such as `90d`; owner: the name of a person; machine: `NAME:SUBJECT`."""

    name: str
    workload: str | None = None
    class_: schema.ClassName | None = msgspec.field(name="class", default=None)
    budget: tuple[str, ...] = ()
    limits: schema.Limits | None = None
    expires: str | None = None
    owner: str | None = None
    machine: str | None = None


class NewSecret(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How long the old secret of a key stays good."""

    overlap: str = "24h"


class NewRoles(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Exactly which roles somebody is to have."""

    name: str
    roles: tuple[str, ...] = ()


class Asked(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What usage is asked for: groups, and days (the last one included)."""

    by: str = "workload,model"
    since: datetime.date | None = None
    until: datetime.date | None = None


def check_names(snapshot: Snapshot, workload: str | None, machine: str | None) -> None:
    """Raises CallerError `keys.unknown_workload`, `keys.machine` for what the configuration does not name."""
    if workload is not None and workload not in snapshot.workloads:
        raise CallerError(
            f"The workload {workload[:80]!r} is not configured.",
            code="keys.unknown_workload",
            hint="Add it to freehold.toml first.",
        )
    name, mark, subject = (machine or "").partition(":")
    if machine is not None and (not mark or not subject or name not in snapshot.machines or len(machine) > 600):
        raise CallerError(
            f"{machine[:80]!r} is no machine.",
            code="keys.machine",
            hint="Write NAME:SUBJECT, where [machines.NAME] is configured.",
        )


async def list_keys(world: World, who: Who) -> dict[str, Any]:
    """The keys that are there for them, with their owners' names."""
    found = await world.registry.with_keys(lambda keys: keys.all())
    people = {one.id: one.name for one in await world.registry.with_people(lambda people: people.all())}
    shown = [key.as_data() for key in found if who.sees(key, world.snapshot)]
    return {"keys": [one | {"owner": people.get(one["owner"] or "")} for one in shown]}


async def create_key(world: World, who: Who, asked: NewKey) -> dict[str, Any]:
    """Make a key; its secret is in the answer, this once."""
    snapshot, now_ms = world.snapshot, world.clock.now_ms()
    check_names(snapshot, asked.workload, asked.machine)
    workload = snapshot.workloads.get(asked.workload or "")
    if "admin" not in who.kinds and (workload is None or workload.department not in who.departments):
        raise PolicyRefusal(
            "You may make keys for the workloads of your department alone.",
            code="admin.forbidden",
            hint="Name one of them as the key's workload, or ask an administrator.",
        )
    if "admin" not in who.kinds and asked.machine is not None:
        raise PolicyRefusal(
            "Only an administrator says whose tokens count as a key.",
            code="admin.forbidden",
            hint="Ask one, or make a key with a secret.",
        )
    owner = await _owner(world, who, asked.owner, now_ms) if asked.owner is not None else None
    wanted = Wanted(
        name=asked.name[:200],
        class_=Class.parse(asked.class_) if asked.class_ is not None else None,
        workload=asked.workload,
        budgets=asked.budget,
        limits=asked.limits,
        expires_ms=now_ms + span_of(asked.expires) if asked.expires is not None else None,
        owner=owner,
        machine=asked.machine,
    )
    key, secret = await world.registry.with_keys(lambda keys: keys.create(wanted, now_ms=now_ms, by=who.label))
    return key.as_data() | {"key": secret if asked.machine is None else None, "owner": asked.owner}


async def _owner(world: World, who: Who, text: str, now_ms: int) -> str:
    """The id of whom a key is to belong to. Only an administrator names somebody whom nobody has met."""
    name = name_of(text, world.snapshot)
    if "admin" in who.kinds:
        return (await world.registry.with_people(lambda people: people.meet(name, now_ms=now_ms))).id
    person = await world.registry.with_people(lambda people: people.find(name))
    if person is None:
        raise CallerError(
            "Nobody here has that name.", code="people.name", hint="They sign in once, or an administrator adds them."
        )
    return person.id


async def rotate_key(world: World, who: Who, key_id: str, asked: NewSecret) -> dict[str, Any]:
    """Give a key another secret, which is in the answer, this once."""
    await _changeable(world, who, key_id)
    overlap_ms, now_ms = span_of(asked.overlap), world.clock.now_ms()
    secret = await world.registry.with_keys(
        lambda keys: keys.rotate(key_id, overlap_ms=overlap_ms, now_ms=now_ms, by=who.label)
    )
    if secret is None:
        raise _missing("key")
    return {"id": key_id, "key": secret}


async def revoke_key(world: World, who: Who, key_id: str) -> dict[str, Any]:
    """End a key."""
    await _changeable(world, who, key_id)
    now_ms = world.clock.now_ms()
    if not await world.registry.with_keys(lambda keys: keys.revoke(key_id, now_ms=now_ms, by=who.label)):
        raise _missing("key")
    return {"id": key_id, "revoked": True}


async def _changeable(world: World, who: Who, key_id: str) -> None:
    key = await world.registry.with_keys(lambda keys: keys.one(key_id))
    if key is None or not who.changes(key, world.snapshot):
        raise _missing("key")


async def list_people(world: World) -> dict[str, Any]:
    """Everybody who has signed in or was given a role."""
    return {"people": [as_data(one) for one in await world.registry.with_people(lambda people: people.all())]}


async def set_roles(world: World, who: Who, asked: NewRoles) -> dict[str, Any]:
    """Give somebody exactly these roles."""
    name, roles, now_ms = (
        name_of(asked.name, world.snapshot),
        roles_of(asked.roles, world.snapshot),
        world.clock.now_ms(),
    )
    return as_data(
        await world.registry.with_people(lambda people: people.become(name, roles, now_ms=now_ms, by=who.label))
    )


async def remove_person(world: World, who: Who, person_id: str) -> dict[str, Any]:
    """Forget somebody, with every session, and end their keys."""
    now_ms = world.clock.now_ms()
    known = await world.registry.with_people(lambda people: people.all())
    name = next((one.name for one in known if one.id == person_id), None)
    if name is None:
        raise _missing("person")
    ended = await world.registry.with_keys(lambda keys: end_keys_of(keys, person_id, now_ms=now_ms, by=who.label))
    await world.registry.with_people(lambda people: people.remove(name, now_ms=now_ms, by=who.label))
    return {"id": person_id, "removed": True, "keys_revoked": ended}


def end_keys_of(keys: Keys | SharedKeys, owner: str, *, now_ms: int, by: str) -> list[str]:
    """Revoke every live key of somebody; returns their ids."""
    found = [key.id for key in keys.all() if key.owner == owner and key.revoked_ms is None]
    return [key_id for key_id in found if keys.revoke(key_id, now_ms=now_ms, by=by)]


async def list_changes(world: World) -> dict[str, Any]:
    """What was changed last: who, what, before and after. The log has them all."""
    found = await world.registry.with_keys(lambda keys: keys.changes(_MOST_CHANGES))
    return {"changes": [one.fields() for one in found]}


async def usage(world: World, who: Who, asked: Asked) -> dict[str, Any]:
    """Calls, tokens and cost by group; a lead is told of their department."""
    groups = tuple(dict.fromkeys(part.strip() for part in asked.by.split(",") if part.strip()))
    is_whole = bool(who.kinds & {"admin", "auditor"})
    wanted = groups if is_whole else tuple(dict.fromkeys((*groups, "department")))
    rows: Iterable[UsageRow] = await asyncio.to_thread(_usage, world, wanted, asked)
    if not is_whole:
        rows = [row for row in rows if row.group["department"] in who.departments]
    together: dict[tuple[str, ...], list[UsageRow]] = {}
    for row in rows:
        together.setdefault(tuple(row.group[name] for name in groups), []).append(row)
    found = [UsageRow.total(same, dict(zip(groups, key, strict=True))) for key, same in sorted(together.items())]
    return {"rows": [row.as_data() for row in found], "total": UsageRow.total(found).as_data()}


def _usage(world: World, groups: tuple[str, ...], asked: Asked) -> list[UsageRow]:
    snapshot = world.snapshot
    zone, end = snapshot.organisation.zone, asked.until
    span = (_ms(asked.since, zone) if asked.since else 0, _ms(end, zone, days=1) if end else 2**62)
    if snapshot.nodes is not None:
        return usage_of_all(snapshot.nodes.database, groups, span, zone)
    store = SqliteStore(world.state / "index.db")
    try:
        catch_up(store, world.state / "log")
        return store.usage(groups, *span, zone)
    finally:
        store.close()


def _ms(day: datetime.date, zone: datetime.tzinfo, days: int = 0) -> int:
    if not 1970 <= day.year < 9000:
        raise CallerError("That day is too far away.", code="admin.query")
    after = day + datetime.timedelta(days=days)
    return round(datetime.datetime(after.year, after.month, after.day, tzinfo=zone).timestamp() * 1000)


def as_data(person: Person) -> dict[str, Any]:
    """A person as JSON."""
    return {"id": person.id, "name": person.name, "roles": [role.text for role in person.roles]}


def name_of(text: str, snapshot: Snapshot | None) -> str:
    """The name of a person, as it is kept. snapshot: says whether names are e-mail addresses, whose letters' case does not count. Raises CallerError `people.name`."""
    if not text.strip() or text != text.strip() or len(text) > 600 or not text.isprintable():
        raise CallerError(
            "That is no name of a person.", code="people.name", hint="Write what their issuer calls them."
        )
    sign_in = snapshot.sign_in if snapshot is not None else None
    is_email = "@" in text and (sign_in is None or sign_in.claim == "email") and not text.startswith(MACHINE)
    return text.lower() if is_email else text


def roles_of(texts: Iterable[str], snapshot: Snapshot | None) -> tuple[Role, ...]:
    """Roles, as they are written. snapshot: needed for those of a department. Raises CallerError `people.role`."""
    try:
        roles = tuple(map(Role.parse, texts))
    except ValueError as error:
        raise CallerError(f"{error}.", code="people.role") from None
    for role in roles:
        if snapshot is not None and role.department and role.department not in snapshot.organisation.departments:
            raise CallerError(
                f"There is no department {role.department[:80]!r}.",
                code="people.role",
                hint="Add [departments.NAME] to freehold.toml first.",
            )
    return roles


def span_of(text: str) -> int:
    """A span in milliseconds. Raises CallerError `keys.span`."""
    try:
        return span_ms(text)
    except ValueError as error:
        raise CallerError(f"{error}.", code="keys.span") from None


_MOST_CHANGES = 500


def _missing(what: str) -> CallerError:
    return CallerError(f"There is no such {what}.", code="admin.missing", status=404)
