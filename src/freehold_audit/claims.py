"""What the records say of one another. Every rule here is a promise of Freehold's that a record could break."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from freehold_audit.report import Report

Record = dict[str, Any]
_LADDER = ("public", "internal", "confidential", "restricted")


_NEVER_MS = 2**62


def _made_ms(call: str) -> int:
    """When a call began, by its id (`call_` and eleven hexadecimal digits of milliseconds since 1970). Raises ValueError."""
    return int(call.removeprefix("call_")[:11], 16)


class Claims:
    """Feed it every visible record, in order; then say how the log ended."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._policy: Record = {}  # the one in force
        self._policies: dict[str, Record] = {}  # those of this epoch, by digest
        self._ended: dict[str, int] = {}  # when each of them was no longer in force
        self._keys: dict[str, Record] = {}
        self._intents: dict[str, list[Record]] = {}
        self._settled: set[str] = set()

    def take(self, record: Record, where: str) -> None:
        kind = record.get("kind")
        self._report.count(f"records: {kind}")
        if kind in ("opened", "policy"):
            if kind == "opened":
                self._policies, self._keys, self._ended = {}, {}, {}
            else:
                if record.get("before") != self._policy.get("policy"):
                    self._report.find(where, "follows another policy than the one that was in force")
                self._ended[str(self._policy.get("policy"))] = record["at_ms"]
                self._ended.pop(str(record.get("policy")), None)
            self._policy = self._policies[str(record.get("policy"))] = record
            if not isinstance(record.get("classes"), dict) or not isinstance(record.get("providers"), dict):
                self._report.find(where, "the epoch does not say which policy it ran under")
        elif kind == "key":
            self._keys[str(record["key"])] = record
        elif kind == "intent":
            self._intend(record, where)
        elif kind == "settled":
            self._settle(record, where)

    def end(self, unsealed: Container[int]) -> None:
        """A call without an end: in an epoch that is not sealed it is under way, or settled when it is; else it is a finding."""
        for call, intents in self._intents.items():
            if call in self._settled:
                continue
            if intents[-1].get("epoch") in unsealed:
                self._report.notes.append(f"call {call} has no end yet: it was under way, or the next start settles it")
            else:
                self._report.find(f"call {call}", "was sent and never settled")

    def _intend(self, record: Record, where: str) -> None:
        class_, zone = record.get("class"), record.get("zone")
        policy = self._policies.get(record["policy"]) if "policy" in record else self._policy
        if policy is None:
            self._report.find(where, f"was decided under {record['policy']!r}, a policy that was never in force")
            return
        if "policy" in record and _made_ms(record["call"]) > self._ended.get(record["policy"], _NEVER_MS):
            self._report.find(
                where, f"began after {record['policy']!r} was no longer in force, and was decided under it"
            )
        allowed = policy.get("classes", {}).get(class_)
        if allowed is None:
            self._report.find(where, f"class {class_!r} is not in the policy")
        elif zone not in allowed:
            self._report.find(where, f"a {class_} call was to go {zone}, which its class forbids")
        self._floor(record, policy, where)
        if record.get("decision") != "allow" or zone not in (record.get("zones") or ()):
            self._report.find(where, f"an attempt {zone} without a decision to allow it")
        if allowed is not None and not set(record.get("zones") or ()) <= set(allowed):
            self._report.find(where, "the decision allows zones that the class forbids")
        before = self._intents.setdefault(record.get("call", ""), [])
        if record.get("call") in self._settled:
            self._report.find(where, f"call {record['call']} goes on after it was settled")
        if record.get("attempt") != len(before) + 1:
            self._report.find(where, f"attempt {record.get('attempt')} follows attempt {len(before)}")
        before.append(record)
        self._agreement(record, policy, where)

    def _floor(self, record: Record, policy: Record, where: str) -> None:
        """No call counts as less than its key or its workload; without either, or with one that nobody configured, it is restricted."""
        class_, key = record.get("class"), self._keys.get(str(record.get("key")))
        if key is None or key.get("is_revoked"):
            self._report.find(where, f"the key {record.get('key')} was not introduced before")
            return
        floors = {
            f"the workload {name}": policy.get("workloads", {}).get(name, "restricted")
            for name in {key.get("workload"), record.get("workload")} - {None}
        }
        if key.get("class") is not None or not key.get("workload"):
            floors[f"the key {key['key']}"] = key.get("class") or "restricted"
        for who, least in sorted(floors.items()):
            if class_ in _LADDER and (least not in _LADDER or _LADDER.index(class_) < _LADDER.index(least)):
                self._report.find(where, f"a {class_} call of {who}, which is {least}")

    def _agreement(self, record: Record, policy: Record, where: str) -> None:
        """The target runs where the policy says, under an agreement that held at that moment."""
        provider = policy.get("providers", {}).get(str(record.get("target")).partition("/")[0])
        zone = record.get("zone")
        if provider is None:
            self._report.find(where, f"target {record.get('target')!r} has a provider that the policy does not have")
            return
        if zone not in (provider["zone"], "outside"):
            self._report.find(
                where, f"{record.get('target')} is said to run {zone}, and by the policy runs {provider['zone']}"
            )
        if zone != "attested":
            return
        agreed, used = provider.get("attestation"), record.get("attestation")
        if not agreed or not used or used.get("evidence") != agreed["evidence"]:
            self._report.find(where, "an attested attempt without the agreement of the policy")
            return
        model = str(record.get("target")).partition("/")[2]
        if not agreed["since_ms"] <= record["at_ms"] < agreed["until_ms"] or (
            agreed["models"] and model not in agreed["models"]
        ):
            self._report.find(where, "the agreement did not hold for this attempt")

    def _settle(self, record: Record, where: str) -> None:
        call = record.get("call", "")
        if call in self._settled:
            self._report.find(where, f"call {call} is settled twice")
        self._settled.add(call)
        intents = self._intents.get(call, [])
        attempts = record.get("attempts") or []
        is_lost = record.get("outcome") == "lost"
        if len(attempts) != (min(1, len(intents)) if is_lost else len(intents)):
            self._report.find(
                where, f"call {call} was tried {len(attempts)} times with {len(intents)} decisions to allow it"
            )
        tried = intents[-1:] if is_lost else intents
        if attempts and record.get("target") is not None:
            last = attempts[-1]
            if (record["target"], record.get("zone")) != (last.get("target"), last.get("zone")):
                self._report.find(
                    where, f"call {call} is said to be answered by another target than it was last sent to"
                )
        for attempt, intent in zip(attempts, tried, strict=False):
            if (attempt.get("target"), attempt.get("zone")) != (intent.get("target"), intent.get("zone")):
                self._report.find(
                    where,
                    f"call {call} went to {attempt.get('target')}, and the decision was for {intent.get('target')}",
                )
        if intents and record.get("class") != (
            (intents[-1].get("transform") or {}).get("from") or intents[-1].get("class")
        ):
            self._report.find(where, f"call {call} is settled under another class than it was sent under")
        if record.get("outcome") == "refused":
            self._report.count("calls refused")
        elif attempts:
            self._report.count(f"calls sent {attempts[-1].get('zone')}")
