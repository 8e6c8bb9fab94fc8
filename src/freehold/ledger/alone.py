"""A change of a SQLite file that is made whole or not at all, while nobody else writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def alone(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Wait for other writers, then be the only one until the block ends. The connection must have no isolation level of its own."""
    db.execute("begin immediate")
    try:
        yield db
    except BaseException:
        db.execute("rollback")
        raise
    db.execute("commit")
