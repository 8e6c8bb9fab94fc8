"""One suite for keys, those of one node and those of several: what is made, exchanged, ended and revoked, and who did it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.identity.keys import COLUMNS, Keys, Made, Wanted
from freehold.identity.shared import SharedKeys
from freehold.identity.store import Change
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError
from freehold.ledger.database import Database
from servers import Postgres

PEPPER = b"p" * 32


class Both:
    """The keys as they are changed, and as a node finds them; `now_ms` is the clock."""

    def __init__(self, keys: Keys | SharedKeys, copy: Keys) -> None:
        self.keys, self.copy = keys, copy
        self.now_ms = 1_000

    def find(self, secret: str) -> str | None:
        if isinstance(self.keys, SharedKeys):
            self.keys.copy_to(self.copy)
        found = self.copy.find(secret)
        return found.id if found is not None else None

    def changes(self) -> list[Change]:
        """Those that stand in no log, which they do from here on."""
        if isinstance(self.keys, SharedKeys):
            found = self.keys.claim("node")
            self.keys.noted([one.id for one in found])
            return found
        found = self.keys.unnoted()
        for one in found:
            self.keys.noted(one.id)
        return found


@pytest.fixture(params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    made: list[Both] = []

    def now_ms() -> int:
        return made[0].now_ms

    copy = Keys(tmp_path / "store.db", PEPPER, now_ms)
    if request.param == "postgres":
        shared = SharedKeys(Database(request.getfixturevalue("postgres").fresh()), PEPPER)
        made.append(Both(shared, copy))
    else:
        made.append(Both(copy, copy))
    yield made[0]
    if request.param == "postgres":
        made[0].keys.close()
    copy.close()


def test_a_key_that_expires_is_refused_from_then_on(both: Both) -> None:
    key, secret = both.keys.create(Wanted(name="k", expires_ms=5_000), now_ms=1_000, by="cli:anna")
    both.now_ms = 4_999
    assert both.find(secret) == key.id
    assert both.copy.get(key.id) is not None
    both.now_ms = 5_000
    assert both.find(secret) is None
    assert both.copy.get(key.id) is None
    assert key.id not in both.copy.live()
    with pytest.raises(CallerError, match="expired already"):
        both.keys.create(Wanted(name="k", expires_ms=5_000), now_ms=5_000, by="cli:anna")
    assert [one.expires_ms for one in both.keys.all()] == [5_000]


def test_a_secret_is_exchanged_and_the_old_one_ends_later(both: Both) -> None:
    """However often: each old one to its own time, and the key stays the same."""
    wanted = Wanted(name="k", class_=Class.PUBLIC, budgets=["5 USD/day"])
    key, first = both.keys.create(wanted, now_ms=1_000, by="cli:anna")
    second = both.keys.rotate(key.id, overlap_ms=500, now_ms=1_000, by="cli:anna")
    both.now_ms = 1_200
    third = both.keys.rotate(key.id, overlap_ms=100, now_ms=1_200, by="cli:anna")
    assert second is not None
    assert third is not None
    assert len({first, second, third}) == 3
    assert [both.find(one) for one in (first, second, third)] == [key.id] * 3
    both.now_ms = 1_300
    assert [both.find(one) for one in (first, second, third)] == [key.id, None, key.id]
    both.now_ms = 1_500
    assert [both.find(one) for one in (first, second, third)] == [None, None, key.id]
    fourth = both.keys.rotate(key.id, overlap_ms=0, now_ms=1_500, by="cli:anna")
    assert [both.find(one) for one in (third, fourth or "")] == [None, key.id]
    (found,) = both.keys.all()
    assert (found.id, found.class_, found.budget_text) == (key.id, Class.PUBLIC, "5 USD/day")


def test_a_key_that_is_revoked_ends_with_every_secret(both: Both) -> None:
    key, first = both.keys.create(Wanted(name="k"), now_ms=1_000, by="cli:anna")
    second = both.keys.rotate(key.id, overlap_ms=500, now_ms=1_000, by="cli:anna")
    assert both.keys.revoke(key.id, now_ms=1_100, by="cli:bert")
    assert not both.keys.revoke(key.id, now_ms=1_100, by="cli:bert")
    assert both.keys.rotate(key.id, overlap_ms=500, now_ms=1_200, by="cli:bert") is None
    assert both.keys.rotate("key_unknown", overlap_ms=500, now_ms=1_200, by="cli:bert") is None
    assert [both.find(one) for one in (first, second or "")] == [None, None]


def test_every_change_is_kept_with_who_made_it(both: Both) -> None:
    """What it declared before and after; no name and no secret; and each once."""
    key, secret = both.keys.create(
        Wanted(name="Anna's key", class_=Class.INTERNAL, workload="w"), now_ms=1_000, by="cli:anna"
    )
    both.keys.rotate(key.id, overlap_ms=500, now_ms=2_000, by="cli:bert")
    both.keys.revoke(key.id, now_ms=3_000, by="cli:cleo")
    declared = {"class": "internal", "workload": "w", "budget": None, "limits": None, "expires_ms": None}
    found = both.changes()
    assert [(one.what, one.who, one.at_ms, one.key) for one in found] == [
        ("key.created", "cli:anna", 1_000, key.id),
        ("key.rotated", "cli:bert", 2_000, key.id),
        ("key.revoked", "cli:cleo", 3_000, key.id),
    ]
    assert [(one.before, one.after) for one in found] == [
        (None, declared), (None, {"old_until_ms": 2_500}), (declared, None)
    ]  # fmt: skip
    assert "Anna's" not in str(found)
    assert secret not in str(found)
    assert both.changes() == []


def test_what_cannot_be_kept_is_not_done(both: Both, tmp_path: Path) -> None:
    """A change and its record are one: a bad budget leaves neither."""
    with pytest.raises(CallerError):
        both.keys.create(Wanted(name="k", budgets=["lots"]), now_ms=1_000, by="cli:anna")
    assert both.keys.all() == []
    assert both.changes() == []


def test_two_nodes_write_a_change_down_once(postgres: Postgres) -> None:
    database = Database(postgres.fresh())
    keys = SharedKeys(database, PEPPER)
    keys.create(Wanted(name="k"), now_ms=1_000, by="cli:anna")
    assert len(keys.claim("a")) == 1
    assert keys.claim("b") == []
    assert len(keys.claim("a")) == 1, "it was killed before it could write it down, and does so at its next start"
    keys.noted([one.id for one in keys.claim("a")])
    assert keys.claim("a") == []
    keys.close()


def test_a_key_that_this_version_cannot_read_is_refused_alone(tmp_path: Path) -> None:
    """One that a newer node has made: the others go on."""
    keys = Keys(tmp_path / "store.db", PEPPER)
    good, secret = keys.create(Wanted(name="good"), now_ms=1, by="x")
    strange, other = keys.create(Wanted(name="strange", budgets=["5 USD/day"]), now_ms=2, by="x")
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute("update key set budget = '5 EUR/month' where id = ?", (strange.id,))
    db.close()
    keys.refresh()
    assert (keys.find(secret), keys.find(other)) == (keys.get(good.id), None)
    assert keys.unreadable == (strange.id,)
    assert [key.id for key in keys.all()] == [good.id]
    keys.close()


def test_a_copy_never_takes_a_revocation_back_and_knows_its_age(tmp_path: Path) -> None:
    """The database was restored from before it: what was refused stays refused."""
    now = [1_000_000]
    copy = Keys(tmp_path / "shared.db", PEPPER, lambda: now[0])
    made = Made.of(Wanted(name="k"), 1)
    row = made.row(PEPPER)
    assert not copy.is_in_step(3_600)
    copy.become([row])
    copy.compared(now[0])
    copy.refresh()
    assert copy.find(made.secret) is not None
    revoked = tuple(5 if name == "revoked_ms" else value for name, value in zip(COLUMNS.split(", "), row, strict=True))
    copy.become([revoked])
    assert copy.find(made.secret) is None
    copy.become([row])
    assert copy.find(made.secret) is None
    now[0] += 60_000
    assert copy.is_in_step(60)
    now[0] += 1
    assert not copy.is_in_step(60)
    copy.close()
