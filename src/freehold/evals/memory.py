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
    """The replies and scored cases of one set of questions. Any thread may use it. is_fresh: what was answered before is left alone. Close it."""

    def __init__(self, store: SealedStore, listed: Path, subject: str, *, now_ms: int, is_fresh: bool = False) -> None:
        self._store, self._listed, self._subject, self._now_ms = store, listed, subject, now_ms
        self._known: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()
        self._journal: Journal | None = None
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

    def keep_reply(self, key: str, replied: Replied) -> None:
        self._keep("reply", key, msgspec.json.encode(replied))

    def scored(self, key: str) -> bytes | None:
        return self._known.get(("case", key))

    def keep_scored(self, key: str, raw: bytes) -> None:
        self._keep("case", key, raw)

    def _keep(self, kind: str, key: str, raw: bytes) -> None:
        with self._lock:
            if self._is_closed:
                return  # the run was broken off while this one was on its way
            try:
                if self._journal is None:
                    until_ms = self._now_ms + DAYS * 86_400_000
                    self._journal = self._store.begin_journal(self._subject, _KIND, until_ms=until_ms)
                    with self._listed.open("a", encoding="ascii") as file:
                        file.write(f"\n{self._journal.about}\n")  # a name that was cut off ends here
                self._journal.append(msgspec.json.encode(_Record(key, kind, msgspec.Raw(raw))))
            except OSError as error:
                raise OperatorError(f"What was answered cannot be kept ({os.strerror(error.errno or 0).lower()}).", code="verdict.memory", hint="Make room in the state directory, and run it again: what was kept is not asked twice.") from None  # fmt: skip
            self._known[kind, key] = raw

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._journal is not None:
                with contextlib.suppress(OSError):
                    self._journal.sync()
                self._journal.close()
