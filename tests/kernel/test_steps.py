"""Stores are brought forward whole or not at all, and never back."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Freehold
from freehold.kernel.errors import OperatorError
from freehold.kernel.steps import bring_up

BASE = "create table if not exists t (a integer); create index if not exists i on t (a);"
STEPS = ("alter table t add column b text default 'new'", "create table u (x integer); insert into u values (7)")


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


@pytest.mark.parametrize("seen", [None, 0, 1, 2])
def test_every_store_comes_to_the_same(tmp_path: Path, seen: int | None) -> None:
    db = opened(tmp_path / "s.db")
    if seen is not None:
        bring_up(db, "s.db", BASE, STEPS[:seen])
        db.execute("insert into t (a) values (1)")
    for _ in range(2):
        bring_up(db, "s.db", BASE, STEPS)
    assert db.execute("pragma user_version").fetchone()[0] == 2
    assert db.execute("select x from u").fetchall() == [(7,)]
    assert db.execute("select b from t").fetchall() == ([("new",)] if seen is not None else [])
    db.close()


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    db = opened(tmp_path / "s.db")
    bring_up(db, "s.db", BASE, STEPS)
    with pytest.raises(OperatorError, match="newer Freehold") as refusal:
        bring_up(db, "s.db", BASE, STEPS[:1])
    assert refusal.value.code == "state.newer"
    assert db.execute("pragma user_version").fetchone()[0] == 2
    db.close()


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    db = opened(tmp_path / "s.db")
    bring_up(db, "s.db", BASE)
    with pytest.raises(sqlite3.OperationalError):
        bring_up(db, "s.db", BASE, (*STEPS, "alter table nowhere add column c"))
    assert db.execute("select name from sqlite_master where name = 'u'").fetchall() == []
    assert db.execute("pragma user_version").fetchone()[0] == 0
    db.close()


def test_killed_in_the_middle_of_a_step(tmp_path: Path) -> None:
    """kill -9 between two statements: the next start begins where the last whole one ended."""
    db = opened(tmp_path / "s.db")
    bring_up(db, "s.db", BASE)
    db.close()
    program = (
        "import os, signal, sqlite3, sys\n"
        "from freehold.kernel.steps import bring_up\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.create_function('die', 0, lambda: os.kill(os.getpid(), signal.SIGKILL))\n"
        f"bring_up(db, 's.db', {BASE!r}, ({STEPS[0]!r}, 'select die()'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "s.db")], check=False, env=dict(os.environ))
    assert done.returncode == -9
    db = opened(tmp_path / "s.db")
    assert db.execute("pragma user_version").fetchone()[0] == 0
    bring_up(db, "s.db", BASE, STEPS)
    assert db.execute("select x from u").fetchall() == [(7,)]
    db.close()


@pytest.mark.parametrize("store", ["store.db", "jobs.db", "subjects.db"])
def test_freehold_does_not_start_on_a_newer_state(make_freehold: Callable[..., Freehold], store: str) -> None:
    freehold = make_freehold().start()
    assert freehold.stop() == 0
    db = opened(freehold.state / store)
    db.execute("pragma user_version = 99")
    db.close()
    run = freehold.run("up", "--no-hello", "--port", "0", "--admin-port", "0", check=False)
    assert (run.returncode, "code: state.newer" in run.stderr) == (2, True)
    assert store in run.stderr
