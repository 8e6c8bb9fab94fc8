"""One suite for people, those of one node and those of several: what they may do, and who said so."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from freehold.identity.keys import Keys, Wanted
from freehold.identity.people import People
from freehold.identity.shared import SharedKeys, SharedPeople
from freehold.identity.store import Change
from freehold.kernel.errors import CallerError
from freehold.kernel.roles import Role
from freehold.ledger.database import Database
from servers import Postgres

ADMIN, AUDITOR, LEAD = Role("admin"), Role("auditor"), Role("lead", "care")
PEPPER = b"p" * 32


class Both:
    """The people and keys as they are changed, and as a node finds them."""

    def __init__(self, people: People | SharedPeople, keys: Keys | SharedKeys, copy: People) -> None:
        self.people, self.keys, self.copy = people, keys, copy

    def at_node(self) -> People:
        if isinstance(self.people, SharedPeople):
            self.people.copy_to(self.copy)
        return self.copy

    def changes(self) -> list[Change]:
        return self.keys.changes(100)


@pytest.fixture(params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    copy = People(tmp_path / "store.db")
    if request.param == "postgres":
        database = Database(request.getfixturevalue("postgres").fresh())
        yield Both(SharedPeople(database), SharedKeys(database, PEPPER), copy)
        database.close()
    else:
        keys = Keys(tmp_path / "store.db", PEPPER)
        yield Both(copy, keys, copy)
        keys.close()
    copy.close()


def test_somebody_has_exactly_the_roles_that_they_were_given(both: Both) -> None:
    given = both.people.become("ada@example.com", [LEAD, ADMIN, ADMIN], now_ms=5, by="cli:op")
    assert (given.name, set(given.roles)) == ("ada@example.com", {ADMIN, LEAD})
    assert both.at_node().find("ada@example.com") == given
    assert both.at_node().find("ADA@example.com") is None, "to the letter: whoever asks knows whether case counts"
    both.people.become("ada@example.com", [AUDITOR], now_ms=6, by="cli:op")
    both.people.become("ada@example.com", [AUDITOR], now_ms=7, by="cli:op")
    after = both.at_node().find("ada@example.com")
    assert after is not None
    assert (after.id, after.roles) == (given.id, (AUDITOR,))
    told = [(one.what, one.who, one.key, one.before, one.after) for one in reversed(both.changes())]
    roles = {"roles": ["admin", "lead:care"]}
    assert told == [
        ("person.roles", "cli:op", given.id, {"roles": []}, roles),
        ("person.roles", "cli:op", given.id, roles, {"roles": ["auditor"]}),
    ], "what changes nothing is no change"


def test_somebody_who_is_removed_is_gone_with_every_session(both: Both) -> None:
    person = both.people.become("ada", [ADMIN], now_ms=5, by="cli:op")
    secret = both.at_node().open(person, ["platform"], "way", until_ms=100)
    assert both.copy.session(secret, now_ms=99) is not None
    assert both.copy.session(secret, now_ms=100) is None
    assert both.copy.session(secret + "x", now_ms=50) is None
    assert both.people.remove("ada", now_ms=6, by="cli:op")
    assert not both.people.remove("ada", now_ms=7, by="cli:op")
    assert both.at_node().session(secret, now_ms=50) is None
    again = both.people.meet("ada", now_ms=8)
    assert again.id != person.id
    assert again.roles == ()
    assert both.at_node().session(secret, now_ms=50) is None
    assert [one.what for one in both.changes()] == ["person.removed", "person.roles"]


def test_two_that_meet_somebody_at_once_meet_the_same(postgres: Postgres) -> None:
    database = Database(postgres.fresh())
    people = SharedPeople(database)
    with ThreadPoolExecutor(8) as pool:
        met = list(pool.map(lambda number: people.meet("ada", now_ms=number), range(16)))
    database.close()
    assert len({one.id for one in met}) == 1


def test_the_name_of_a_machine_is_as_its_issuer_writes_it(both: Both) -> None:
    both.people.become("machine:ci:Repo/Main", [AUDITOR], now_ms=1, by="x")
    assert both.at_node().find("machine:ci:Repo/Main") is not None
    assert both.at_node().find("machine:ci:repo/main") is None


def test_a_machine_has_one_key_at_a_time(both: Both) -> None:
    key, _ = both.keys.create(Wanted(name="k", machine="ci:bot"), now_ms=1, by="x")
    with pytest.raises(CallerError, match="has a key already"):
        both.keys.create(Wanted(name="k2", machine="ci:bot"), now_ms=2, by="x")
    both.keys.create(Wanted(name="k3", machine="ci:other"), now_ms=2, by="x")
    both.keys.revoke(key.id, now_ms=3, by="x")
    again, _ = both.keys.create(Wanted(name="k4", machine="ci:bot", owner="person_1"), now_ms=4, by="x")
    assert [one.machine for one in both.keys.all() if one.revoked_ms is None] == ["ci:other", "ci:bot"]
    assert both.changes()[0].after is not None
    told = both.changes()[0].after or {}
    assert told["owner"] == "person_1"
    assert told["machine"].startswith("ci:sha256:"), "a subject may be somebody's name"
    assert both.keys.rotate(again.id, overlap_ms=0, now_ms=5, by="x") is None, "it has no secret to be exchanged"
    assert both.keys.one(again.id) == again
    assert both.keys.one("key_nobody") is None
    assert again.owner == "person_1"
