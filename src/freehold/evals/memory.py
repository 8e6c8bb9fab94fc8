"""What a run was answered, kept so that no call is made twice: sealed, with a lifetime, found again after any crash.

Rules: what is kept is content, so it lies in the sealed store under a key of its own; the file beside it holds names of journals and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import msgspec

from freehold.content.sealed import Journal, SealedStore
from freehold.evals.answers import Replied
from freehold.kernel.errors import CallerError, OperatorError

DAYS = 90
_KIND = "evaluation"


class _Record(msgspec.Struct, frozen=True):
    key: str
    kind: str
    value: msgspec.Raw


class Memory:
    """The replies and scored cases of one set of questions. Any thread may use it. is_fresh: what was answered before is left alone; owner:
    under whose key something is kept instead of the run's own. Close it."""

    def __init__(self, store: SealedStore, listed: Path, subject: str, *, now_ms: int, is_fresh: bool = False) -> None:
        self._store, self._listed, self._subject, self._now_ms = store, listed, subject, now_ms
        self._known: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()
        self._journals: dict[str, Journal] = {}
        self._is_closed = False
        for about in listed.read_bytes().split() if listed.is_file() and not is_fresh else ():
            self._load(about.decode("ascii", "replace"))

    def _load(self, about: str) -> None:
        try:
            for raw in self._store.records(about, self._now_ms):
                record = msgspec.json.decode(raw, type=_Record)
                self._known[record.kind, record.key] = bytes(record.value)
        except (CallerError, OSError, msgspec.MsgspecError):  # erased, over its time, or damaged: it is asked again
            return

    def reply(self, key: str) -> Replied | None:
        raw = self._known.get(("reply", key))
        return msgspec.json.decode(raw, type=Replied) if raw is not None else None

    def keep_reply(self, key: str, replied: Replied, owner: str = "") -> None:
        self._keep("reply", key, msgspec.json.encode(replied), owner)

    def scored(self, key: str) -> bytes | None:
        return self._known.get(("case", key))

    def keep_scored(self, key: str, raw: bytes, owner: str = "") -> None:
        self._keep("case", key, raw, owner)

    def _keep(self, kind: str, key: str, raw: bytes, owner: str) -> None:
        with self._lock:
            if self._is_closed:
                return  # the run was broken off while this one was on its way
            try:
                self._journal_of(owner or self._subject).append(
                    msgspec.json.encode(_Record(key, kind, msgspec.Raw(raw)))
                )
            except OSError as error:
                self._is_closed = True  # the first error is the true one
                raise OperatorError(f"What was answered cannot be kept ({os.strerror(error.errno or 0).lower()}).", code="verdict.memory", hint="Make room in the state directory, and run it again: what was kept is not asked twice.") from None  # fmt: skip
            self._known[kind, key] = raw

    def _journal_of(self, subject: str) -> Journal:
        """Where what is kept under a subject's key goes. Raises OSError."""
        if subject not in self._journals:
            until_ms = self._now_ms + DAYS * 86_400_000
            self._journals[subject] = journal = self._store.begin_journal(subject, _KIND, until_ms=until_ms)
            with self._listed.open("a", encoding="ascii") as file:
                file.write(f"\n{journal.about}\n")  # a name that was cut off ends here
        return self._journals[subject]

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for journal in self._journals.values():
                with contextlib.suppress(OSError):
                    journal.sync()
                journal.close()
