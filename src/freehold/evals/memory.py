"""What a run was answered, kept so that no call is made twice: sealed, with a lifetime, found again after any crash.

Rules: what is kept is content, so it lies in the sealed store under a key of its own; the file beside it holds names of journals and nothing else.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from freehold.content.sealed import Journal, SealedStore
from freehold.evals.answers import Replied
from freehold.kernel.errors import CallerError

DAYS = 90
_KIND = "evaluation"


class _Record(msgspec.Struct, frozen=True):
    key: str
    kind: str
    value: msgspec.Raw


class Memory:
    """The replies and scored cases of one dataset. Any thread may use it. Close it."""

    def __init__(self, store: SealedStore, listed: Path, subject: str, *, now_ms: int) -> None:
        self._store, self._listed, self._subject, self._now_ms = store, listed, subject, now_ms
        self._known: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()
        self._journal: Journal | None = None
        for about in listed.read_text(encoding="ascii").split() if listed.is_file() else ():
            self._load(about)

    def _load(self, about: str) -> None:
        try:
            for raw in self._store.records(about, self._now_ms):
                record = msgspec.json.decode(raw, type=_Record)
                self._known[record.kind, record.key] = bytes(record.value)
        except CallerError:  # erased, or over its time: it is asked again
            return

    @property
    def replies(self) -> int:
        """How many replies are known."""
        return sum(1 for kind, _ in self._known if kind == "reply")

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
            if self._journal is None:
                until_ms = self._now_ms + DAYS * 86_400_000
                self._journal = self._store.begin_journal(self._subject, _KIND, until_ms=until_ms)
                with self._listed.open("a", encoding="ascii") as file:
                    file.write(f"{self._journal.about}\n")
            self._journal.append(msgspec.json.encode(_Record(key, kind, msgspec.Raw(raw))))
            self._known[kind, key] = raw

    def close(self) -> None:
        if self._journal is not None:
            self._journal.sync()
            self._journal.close()
