"""What is told of calls in OpenTelemetry's own format (OTLP 1.x, JSON), by its conventions for generative AI. Pure: facts in, plain values out.

Rules: names from the configuration, known words, numbers and ids; never content, never a key, never what a caller wrote. The conventions are in
development (github.com/open-telemetry/semantic-conventions-genai, looked at on 2026-11-28): `gen_ai.provider.name`, `gen_ai.operation.name`,
`gen_ai.request.model`, `gen_ai.usage.*`; what they have no word for is `freehold.*`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from freehold import __version__

SERVER, CLIENT = 2, 3
_OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings", "generateContent": "generate_content"}
_CHATS = frozenset({"chat/completions", "messages", "responses"})
# Bounds that the conventions advise.
TOKENS = tuple(float(4**power) for power in range(14))
SECONDS = tuple(0.01 * 2**power for power in range(14))
Attributes = tuple[tuple[str, str], ...]


class Attempt(msgspec.Struct, frozen=True):
    """One attempt of a call. began_s: seconds since the call began."""

    span_id: str
    provider: str
    model: str
    zone: str
    result: str
    began_s: float
    took_s: float


class Told(msgspec.Struct, frozen=True):
    """What is told of one call that has ended. ended_s: seconds since 1970; is_kept: whether its trace is."""

    trace_id: str
    span_id: str
    parent_id: str
    is_kept: bool
    call_id: str
    endpoint: str
    ended_s: float
    took_s: float
    first_byte_s: float | None
    status: int
    outcome: str
    code: str | None
    class_: str
    workload: str
    zone: str
    provider: str
    model: str
    is_stream: bool
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    attempts: tuple[Attempt, ...]

    @property
    def operation(self) -> str:
        """What the conventions call the kind of work."""
        return "chat" if self.endpoint in _CHATS else _OPERATIONS.get(self.endpoint, self.endpoint)


def spans_of(calls: Iterable[Told]) -> list[dict[str, Any]]:
    """A span for each call, and one for each of its attempts below it."""
    found = []
    for call in calls:
        began_s = call.ended_s - call.took_s
        found.append(
            {
                "traceId": call.trace_id,
                "spanId": call.span_id,
                **({"parentSpanId": call.parent_id} if call.parent_id else {}),
                "name": f"{call.operation} {call.model}".strip(),
                "kind": SERVER,
                "startTimeUnixNano": _nano(began_s),
                "endTimeUnixNano": _nano(call.ended_s),
                "attributes": _attributes(_about(call)),
                "status": _status(call.code if call.outcome != "ok" else None),
            }
        )
        for attempt in call.attempts:
            at_s = began_s + attempt.began_s
            told = {
                "gen_ai.operation.name": call.operation,
                "gen_ai.provider.name": attempt.provider,
                "gen_ai.request.model": attempt.model,
                "freehold.zone": attempt.zone,
            }
            failed = None if attempt.result in ("ok", "cancelled") else attempt.result
            found.append(
                {
                    "traceId": call.trace_id,
                    "spanId": attempt.span_id,
                    "parentSpanId": call.span_id,
                    "name": f"{call.operation} {attempt.model}".strip(),
                    "kind": CLIENT,
                    "startTimeUnixNano": _nano(at_s),
                    "endTimeUnixNano": _nano(at_s + attempt.took_s),
                    "attributes": _attributes(told | ({"error.type": failed} if failed else {})),
                    "status": _status(failed),
                }
            )
    return found


def _about(call: Told) -> dict[str, str | int | float | bool]:
    told: dict[str, str | int | float | bool | None] = {
        "gen_ai.operation.name": call.operation,
        "gen_ai.provider.name": call.provider or None,
        "gen_ai.request.model": call.model or None,
        "gen_ai.request.stream": True if call.is_stream else None,
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
        "gen_ai.response.time_to_first_chunk": call.first_byte_s,
        "http.response.status_code": call.status,
        "error.type": call.code if call.outcome != "ok" else None,
        "freehold.call.id": call.call_id,
        "freehold.outcome": call.outcome,
        "freehold.class": call.class_,
        "freehold.zone": call.zone or None,
        "freehold.workload": call.workload or None,
        "freehold.attempts": len(call.attempts),
        "freehold.cost_usd": call.cost_usd,
    }
    return {name: value for name, value in told.items() if value is not None}


class Histogram(msgspec.Struct):
    """A distribution since this process began. counts: one more than there are bounds."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def over(cls, bounds: tuple[float, ...]) -> Histogram:
        return cls(bounds, [0] * (len(bounds) + 1))

    def add(self, value: float) -> None:
        at = next((place for place, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        self.counts[at] += 1
        self.total += value


class Tally:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, Attributes], Histogram] = {}

    def count(self, call: Told) -> None:
        """Count a call that has ended."""
        about = (
            ("gen_ai.operation.name", call.operation),
            ("gen_ai.provider.name", call.provider or "none"),
            ("gen_ai.request.model", call.model or "none"),
            ("freehold.workload", call.workload or "none"),
            ("freehold.zone", call.zone or "none"),
        )
        failed = (("error.type", call.code or call.outcome),) if call.outcome != "ok" else ()
        self._add("gen_ai.client.operation.duration", (*about, *failed), call.took_s, SECONDS)
        if call.first_byte_s is not None and call.is_stream:
            self._add("gen_ai.client.operation.time_to_first_chunk", about, call.first_byte_s, SECONDS)
        for kind, tokens in (("input", call.input_tokens), ("output", call.output_tokens)):
            if tokens > 0:
                self._add("gen_ai.client.token.usage", (*about, ("gen_ai.token.type", kind)), tokens, TOKENS)

    def _add(self, name: str, about: Attributes, value: float, bounds: tuple[float, ...]) -> None:
        found = self._of.get((name, about))
        if found is None:
            found = self._of[name, about] = Histogram.over(bounds)
        found.add(value)

    def metrics(self, since_s: float, now_s: float) -> list[dict[str, Any]]:
        """All of them as they stand, counted from when this process began."""
        points: dict[str, list[dict[str, Any]]] = {}
        for (name, about), one in self._of.items():
            points.setdefault(name, []).append(
                {
                    "attributes": _attributes(dict(about)),
                    "startTimeUnixNano": _nano(since_s),
                    "timeUnixNano": _nano(now_s),
                    "count": str(sum(one.counts)),
                    "sum": one.total,
                    "bucketCounts": [str(count) for count in one.counts],
                    "explicitBounds": list(one.bounds),
                }
            )
        return [
            {"name": name, "unit": _UNITS[name], "histogram": {"aggregationTemporality": 2, "dataPoints": found}}
            for name, found in points.items()
        ]


_UNITS = {
    "gen_ai.client.operation.duration": "s",
    "gen_ai.client.operation.time_to_first_chunk": "s",
    "gen_ai.client.token.usage": "{token}",
}


def traces(spans: list[dict[str, Any]], resource: dict[str, str]) -> bytes:
    """A request to `/v1/traces`."""
    scoped = [{"scope": _SCOPE, "spans": spans}]
    return msgspec.json.encode(
        {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": scoped}]}
    )


def metrics(found: list[dict[str, Any]], resource: dict[str, str]) -> bytes:
    """A request to `/v1/metrics`."""
    scoped = [{"scope": _SCOPE, "metrics": found}]
    return msgspec.json.encode(
        {"resourceMetrics": [{"resource": {"attributes": _attributes(resource)}, "scopeMetrics": scoped}]}
    )


_SCOPE = {"name": "freehold", "version": __version__}


def _attributes(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in told.items()]


def _value(value: str | float | bool) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _status(failed: str | None) -> dict[str, Any]:
    return {"code": 2, "message": failed} if failed is not None else {"code": 1}


def _nano(seconds: float) -> str:
    return str(int(seconds * 1e9))
