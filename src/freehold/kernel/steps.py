"""Numbered steps that bring a store to this version: forward only, each store whole or not at all.

Rules: a step, once it is part of a release, is never changed and never removed; it may add and not take away, because the version before may still
be ending its calls beside this one. A store that has seen steps which this version does not know is refused: to guess would be to lose something.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from freehold.kernel.errors import OperatorError


def newer(what: str, seen: int, known: int) -> OperatorError:
    """The refusal of a store that a newer version has written."""
    return OperatorError(
        f"{what} was written by a newer Freehold (step {seen}; this version knows {known}).",
        code="state.newer",
        hint="Start that version again, or restore a backup from before it. Steps are never undone.",
    )


def bring_up(db: sqlite3.Connection, what: str, base: str, steps: Sequence[str] = ()) -> None:
    """Make the tables of a SQLite store, and take the steps that it has not seen; `user_version` counts them. base: statements that do nothing where they were run before.

    Raises OperatorError `state.newer`. The connection must have no isolation level of its own.
    """
    db.execute("begin immediate")
    try:
        seen = db.execute("pragma user_version").fetchone()[0]
        if seen > len(steps):
            raise newer(what, seen, len(steps))
        for statement in filter(None, map(str.strip, ";".join((base, *steps[seen:])).split(";"))):
            db.execute(statement)
        db.execute(f"pragma user_version = {len(steps)}")
    except BaseException:
        db.execute("rollback")
        raise
    db.execute("commit")
