"""Keys are kept as peppered hashes, found by the whole hash, and changes by another process hold within a second."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from freehold.identity.keys import Keys, Lent, Wanted
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError

PEPPER = b"p" * 32


def test_a_key_is_found_by_its_secret_alone(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "store.db", PEPPER)
    key, secret = keys.create(
        Wanted(name="k", class_=Class.INTERNAL, workload="w", budgets=["20 USD/month"]), now_ms=5, by="t"
    )
    found = keys.find(secret)
    assert found == key
    assert found is not None
    assert (found.class_, found.workload, bool(found.budgets)) == (Class.INTERNAL, "w", True)
    for wrong in ("", secret[:-1], secret + "x", secret.upper(), key.id, "fh-", "\ud800", "\0"):
        assert keys.find(wrong) is None
    keys.close()


def test_the_store_holds_no_secret(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "store.db", PEPPER)
    _, secret = keys.create(Wanted(name="k"), now_ms=5, by="t")
    keys.close()
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.encode() not in everything
    assert secret[3:].encode() not in everything


def test_another_pepper_finds_nothing(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "store.db", PEPPER)
    _, secret = keys.create(Wanted(name="k"), now_ms=5, by="t")
    keys.close()
    other = Keys(tmp_path / "store.db", b"q" * 32)
    assert other.find(secret) is None
    other.close()


def test_a_change_by_another_process_is_seen(tmp_path: Path) -> None:
    """Asked at most twice a second; without a time, at once."""
    here, there = Keys(tmp_path / "store.db", PEPPER), Keys(tmp_path / "store.db", PEPPER)
    key, secret = there.create(Wanted(name="k"), now_ms=5, by="t")
    here.refresh(100.0)
    assert here.find(secret) is not None
    assert there.revoke(key.id, now_ms=6, by="t")
    here.refresh(100.4)
    assert here.find(secret) is not None
    here.refresh(100.6)
    assert here.find(secret) is None
    assert not there.revoke(key.id, now_ms=7, by="t"), "a key is revoked once"
    here.close()
    there.close()


def test_a_bad_budget_is_refused(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "store.db", PEPPER)
    with pytest.raises(CallerError, match="not a budget"):
        keys.create(Wanted(name="k", budgets=["lots"]), now_ms=5, by="t")
    assert keys.all() == []
    keys.close()


def test_a_lent_key_is_restricted_and_not_kept(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "store.db", PEPPER)
    lent = Lent.make("hello", 5)
    keys.lend(lent)
    found = keys.find(lent.secret)
    assert found is not None
    assert found.class_ is Class.RESTRICTED
    assert keys.all() == []
    assert sqlite3.connect(tmp_path / "store.db").execute("select count(*) from key").fetchone() == (0,)
    keys.close()
