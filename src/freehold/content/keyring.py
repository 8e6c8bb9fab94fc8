"""A key for each subject. To destroy it is to erase everything that was sealed or committed to under it.

Rules: keys lie wrapped under the state directory's master key; when one is destroyed it is overwritten in its file (SQLite's `secure_delete`) and
in the rollback journal; a process that holds a key in memory sees within a second that another one destroyed it.
"""

from __future__ import annotations

import os
import sqlite3
from collections import OrderedDict
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from freehold.kernel.errors import OperatorError
from freehold.kernel.steps import bring_up

_SCHEMA = """
create table if not exists subject (id text primary key, nonce blob not null, wrapped blob not null, made_ms integer not null) without rowid;
create table if not exists erasure (id integer primary key, subject text not null, at_ms integer not null, is_noted integer not null default 0);
"""
_REMEMBERED = 10_000
RECHECK_S = 0.5


class Keyring:
    """The subjects' keys of one state directory. master: 32 secret bytes that live beside it. Open it from one thread."""

    def __init__(self, path: Path, master: bytes) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        path.chmod(0o600)
        self._db.execute("pragma secure_delete = on")
        self._db.execute("pragma journal_mode = persist")  # its file stays, so that it can be overwritten
        self._journal = path.with_name(f"{path.name}-journal")
        self._db.execute("pragma synchronous = full")
        bring_up(self._db, path.name, _SCHEMA)
        self._overwrite_journal()  # whoever erased last may have been killed in between
        self._master = AESGCM(master)
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._version = self._data_version()
        self._checked_s = -RECHECK_S

    def key(self, subject: str, now_ms: int = 0) -> bytes:
        """The key of a subject (32 bytes), made when it is first asked for. Raises OperatorError `content.damaged`."""
        found = self._known.get(subject)
        if found is None:
            found = self._load(subject, now_ms)
            self._known[subject] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def has(self, subject: str) -> bool:
        return self._db.execute("select 1 from subject where id = ?", (subject,)).fetchone() is not None

    def generation(self, subject: str) -> bytes | None:
        """The nonce under which a subject's key is wrapped: it is another one if the key was destroyed and made anew."""
        row = self._db.execute("select nonce from subject where id = ?", (subject,)).fetchone()
        return bytes(row[0]) if row is not None else None

    def erase(self, subject: str, now_ms: int) -> bool:
        """Destroy a subject's key; False if there was none. What was sealed under it can never be read again."""
        self._db.execute("begin immediate")
        done = self._db.execute("delete from subject where id = ?", (subject,)).rowcount == 1
        if done:
            self._db.execute("insert into erasure (subject, at_ms) values (?, ?)", (subject, now_ms))
        self._db.execute("commit")
        self._overwrite_journal()
        self._known.pop(subject, None)
        return done

    def _overwrite_journal(self) -> None:
        """The journal held the page as it was, in case the deletion had to be undone."""
        self._db.execute("begin exclusive")  # nobody else needs it now
        try:
            if self._journal.is_file():
                with self._journal.open("r+b") as file:
                    file.write(bytes(self._journal.stat().st_size))
                    file.flush()
                    os.fsync(file.fileno())
        finally:
            self._db.execute("commit")

    def unnoted(self) -> list[tuple[int, str, int]]:
        """Erasures that the ledger does not know of yet: (number, subject, when)."""
        found = list(self._db.execute("select id, subject, at_ms from erasure where is_noted = 0 order by id"))
        for _, subject, _ in found:
            self._known.pop(subject, None)  # another process destroyed it
        return found

    def noted(self, number: int) -> None:
        self._db.execute("update erasure set is_noted = 1 where id = ?", (number,))

    def refresh(self, now_s: float) -> None:
        """Forget what is in memory if another process has changed the file; asks at most twice a second."""
        if now_s - self._checked_s < RECHECK_S:
            return
        self._checked_s = now_s
        version = self._data_version()
        if version != self._version:
            self._version = version
            self._known.clear()

    def close(self) -> None:
        self._db.close()
        self._known.clear()

    def _data_version(self) -> int:
        return int(self._db.execute("pragma data_version").fetchone()[0])

    def _load(self, subject: str, now_ms: int) -> bytes:
        row = self._db.execute("select nonce, wrapped from subject where id = ?", (subject,)).fetchone()
        if row is None:
            nonce, made = os.urandom(12), os.urandom(32)
            wrapped = self._master.encrypt(nonce, made, subject.encode())
            self._db.execute("insert or ignore into subject values (?, ?, ?, ?)", (subject, nonce, wrapped, now_ms))
            row = self._db.execute("select nonce, wrapped from subject where id = ?", (subject,)).fetchone()
        try:
            return self._master.decrypt(row[0], row[1], subject.encode())
        except InvalidTag:
            raise OperatorError(
                "The keyring in the state directory is damaged, or belongs to another master key.",
                code="content.damaged",
                hint="Restore it from a backup.",
            ) from None
