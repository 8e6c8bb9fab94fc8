"""The ledger of one process: records intents and receipts in an epoch of its own.

Rules (DESIGN §3, laws 4 and 5): an intent is with the operating system before the attempt is sent, and on disk before
bytes leave `inside`; every call ends in exactly one `settled` record.
What it does not know: other epochs, and who has the state directory (the steward does).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel.errors import Bug, OperatorError
from freehold.kernel.units import Tokens
from freehold.ledger import log as logs
from freehold.ledger import record as records
from freehold.ledger.answers import Answers
from freehold.ledger.epochs import sign
from freehold.ledger.signing import Signer

NowMs = Callable[[], int]
SYNC_EVERY_S = 1.0


class Receipt(msgspec.Struct, frozen=True):
    """How a call ended, as it is written.

    outcome: ok, refused, failed, cancelled (the caller left), cut (the stream broke off), lost (Freehold was killed).
    cost_usd: exact decimal text, None when the price is unknown; attempts: what was tried, in order;
    lost: what a translation could not carry; labels: what kinds of sensitive content were found; answer_id: under which the provider keeps the answer, or the one that was asked for;
    booked_ms: when what this corrects was asked for, and when its cost is counted; department: that of the workload; degraded: the budget that was
    spent, so that the call went where it costs nothing; tier, geo: of service, and where it was processed, where that has a price of its own; cached: the call whose answer
    was given again; corrects: the call that was charged at the most that it could cost, and whose true cost this brings.
    """

    call: str
    key: str
    workload: str | None
    class_: str
    model: str
    endpoint: str
    outcome: str
    code: str | None
    status: int
    target: str | None
    zone: str | None
    tokens: Tokens
    cost_usd: str | None
    price: str | None
    is_estimate: bool
    is_stream: bool
    duration_ms: int
    first_byte_ms: int | None
    answer: str | None
    reasons: tuple[str, ...]
    attempts: tuple[dict[str, Any], ...]
    lost: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    answer_id: str | None = None
    booked_ms: int | None = None
    department: str | None = None
    degraded: str | None = None
    tier: str = ""
    geo: str = ""
    cached: str | None = None
    corrects: str | None = None

    def fields(self) -> dict[str, Any]:
        t = self.tokens
        tokens = {
            "audio_in": t.audio_in,
            "audio_out": t.audio_out,
            "cache_read": t.cache_read,
            "cache_write": t.cache_write,
            "cache_write_1h": t.cache_write_1h,
            "input": t.input,
            "output": t.output,
            "reasoning": t.reasoning,
        }
        return {
            "kind": "settled",
            "call": self.call,
            "key": self.key,
            "workload": self.workload,
            "class": self.class_,
            "model": self.model,
            "endpoint": self.endpoint,
            "outcome": self.outcome,
            "code": self.code,
            "status": self.status,
            "target": self.target,
            "zone": self.zone,
            "tokens": tokens,
            "cost_usd": self.cost_usd,
            "price": self.price,
            "is_estimate": self.is_estimate,
            "is_stream": self.is_stream,
            "duration_ms": self.duration_ms,
            "first_byte_ms": self.first_byte_ms,
            "answer": self.answer,
            "reasons": self.reasons,
            "attempts": self.attempts,
            "lost": self.lost,
            "labels": self.labels,
            "answer_id": self.answer_id,
            "booked_ms": self.booked_ms,
            "department": self.department,
            "degraded": self.degraded,
            "tier": self.tier,
            "geo": self.geo,
            "cached": self.cached,
            "corrects": self.corrects,
        }


SubjectKey = Callable[[str], bytes]


class Seals(msgspec.Struct):
    """What makes a log one that can be proven: where its checkpoints go, who signs them, and the keys of its commitments."""

    folder: Path
    signer: Signer
    subject_key: SubjectKey


class Ledger:
    """One epoch of the log, for one process. `Steward.open` makes it; close when done. Not for use from several threads.

    ended: told when it is closed, with whether every call has its end.
    """

    def __init__(
        self, log: logs.Log, seals: Seals, now_ms: NowMs, answers: Answers, ended: Callable[[bool], None]
    ) -> None:
        self._log, self._seals, self._now_ms, self._ended = log, seals, now_ms, ended
        self._signed = 0
        self._is_closed = False
        self._open_calls: set[str] = set()
        self._keys: dict[str, tuple[str | None, str | None]] = {}
        self._flush_pending = False
        self.answers = answers
        self.recovered = 0

    def begin(self, facts: Mapping[str, Any], unsettled: Sequence[dict[str, Any]]) -> None:
        """Write the first records: what the epoch runs under, and the end of every call that a dead process left open (its last intent)."""
        self._log.append({**facts, "kind": "opened", "at_ms": self._now_ms()})
        for intent in unsettled:
            self._log.append(_lost(intent, self._now_ms()))
        self._log.append({"kind": "recovered", "at_ms": self._now_ms(), "settled": len(unsettled)})
        self._log.sync_now()
        self.recovered = len(unsettled)

    @property
    def epoch(self) -> int:
        return self._log.epoch

    @property
    def failure(self) -> str | None:
        return self._log.failure

    def commit(self, content: bytes, subject: str) -> str:
        """A commitment to content under its subject's key, for a record: when that key is destroyed, nobody can tell what it was."""
        return records.commitment(self._seals.subject_key(subject), content)

    def promise(self, leaf: str) -> str:
        """A signed promise that a record of this epoch will stand in the log: the log's name, and the signature."""
        name = f"{self._log.epoch:08d}"
        return f"{name} {self._seals.signer.promise(name, leaf)}"

    def checkpoint(self) -> None:
        """Sign what is on the disk, if it is more than was signed before."""
        size, root = self._log.synced_tree
        if size > self._signed:
            sign(self._seals.folder, self._seals.signer, f"{self._log.epoch:08d}", size, root)
            self._signed = size

    def introduce(self, key: str, class_: str | None, workload: str | None) -> None:
        """Write what a key declares (its class, the workload that it is bound to), before its first attempt of this epoch and when it changes."""
        if self._keys.get(key) != (class_, workload):
            self.note("key", {"key": key, "class": class_, "workload": workload, "is_revoked": False})
            self._keys[key] = (class_, workload)

    def retire(self, live: Container[str]) -> None:
        """Write which of the keys that were introduced are no longer live."""
        for key in [key for key in self._keys if key not in live]:
            class_, workload = self._keys[key]
            self.note("key", {"key": key, "class": class_, "workload": workload, "is_revoked": True})
            del self._keys[key]

    def intend(self, fields: dict[str, Any]) -> str:
        """Write an attempt's intent (its `call` names the call); returns its leaf. Raises OperatorError `ledger.unavailable`."""
        fields["kind"], fields["at_ms"] = "intent", self._now_ms()
        leaf = self._log.append_now(fields)
        self._open_calls.add(fields["call"])
        return leaf

    async def durable(self) -> None:
        """Wait until everything written so far is on the disk. Raises OperatorError."""
        await self._log.sync()

    def settle(self, receipt: Receipt) -> None:
        """Write a call's one terminal record. It reaches the operating system with the next intent or loop turn."""
        if receipt.call not in self._open_calls and receipt.outcome != "refused" and receipt.attempts:
            raise Bug(f"call {receipt.call} was settled twice or never intended", code="ledger.settled_twice")
        self._open_calls.discard(receipt.call)
        fields = receipt.fields()
        fields["at_ms"] = self._now_ms()
        self._log.append(fields)
        if receipt.answer_id is not None:
            self.answers.note(fields)
            if self.answers.is_shared:  # the caller may ask another process for it with its next call
                self.flush()
                return
        if not self._flush_pending:
            self._flush_pending = True
            asyncio.get_running_loop().call_soon(self.flush)

    def note(self, kind: str, fields: dict[str, Any]) -> None:
        """Write a record of another kind (an administrator's change, say) at once."""
        self._log.append_now({**fields, "kind": kind, "at_ms": self._now_ms()})

    def check(self) -> None:
        """Raise OperatorError while the log cannot be written; tries again to write what is waiting."""
        if self._log.failure is not None:
            self._log.flush()

    def flush(self) -> None:
        """Hand what was settled to the operating system now, where something else is about to say that it was done."""
        self._flush_pending = False
        with contextlib.suppress(
            OperatorError
        ):  # kept in the buffer; `check` refuses new calls until it could be written
            self._log.flush()

    def key_subjects_with(self, subject_key: SubjectKey) -> None:
        """Make commitments under these keys from here on."""
        self._seals.subject_key = subject_key

    def when_ended(self, ended: Callable[[bool], None]) -> None:
        """Tell this instead when it is closed: a worker cannot seal its epoch, its supervisor does."""
        self._ended = ended

    def close(self) -> None:
        """Write the end of the epoch, once."""
        if not self._is_closed:
            self._is_closed = True
            self._log.append({"kind": "closed", "at_ms": self._now_ms(), "open_calls": len(self._open_calls)})
            is_whole = self._log.close() and not self._open_calls
            self._ended(is_whole)

    def leave(self) -> None:
        """Let go of the log without a word: another process goes on with it."""
        self._is_closed = True
        self._log.leave()


def _lost(intent: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """The receipt of a call that was under way when Freehold was killed: what it used can no longer be known."""
    held = intent.get("held_tokens") or 0
    output = min(held, intent.get("held_output", held))
    receipt = Receipt(
        call=intent["call"],
        key=intent["key"],
        workload=intent["workload"],
        department=intent.get("department"),
        class_=(intent.get("transform") or {}).get("from") or intent["class"],
        model=intent["model"],
        endpoint=intent["endpoint"],
        outcome="lost",
        code="ledger.lost",
        status=0,
        target=intent["target"],
        zone=intent["zone"],
        tokens=Tokens(input=held - output, output=output),
        cost_usd=intent.get("held_usd"),
        price="held at the worst case" if intent.get("held_usd") else None,
        is_estimate=True,
        is_stream=intent["is_stream"],
        duration_ms=0,
        first_byte_ms=None,
        answer=None,
        reasons=(),
        attempts=({"target": intent["target"], "zone": intent["zone"], "result": "lost"},),
    )
    return {**receipt.fields(), "at_ms": now_ms}
