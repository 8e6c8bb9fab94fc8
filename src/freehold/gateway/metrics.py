"""Prometheus metrics. Labels are names from the configuration and known outcomes only, so that no caller can grow them."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values

from freehold.ledger.ledger import Receipt

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


def share_metrics(folder: Path) -> None:
    """Let the metrics of this process count together with those of others, in files of a folder. Call it before any are made."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


class Metrics:
    """Counters of one process. `count` is called once for each settled call."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "freehold_calls",
            "Calls by how they ended",
            ["workload", "target", "zone", "class", "outcome"],
            registry=self.registry,
        )
        self._tokens = Counter(
            "freehold_tokens", "Tokens by direction", ["target", "zone", "direction"], registry=self.registry
        )
        self._cost = Counter(
            "freehold_cost_usd",
            "Cost in US dollars where the price is known",
            ["workload", "target", "zone"],
            registry=self.registry,
        )
        self._returned = Counter(
            "freehold_cost_returned_usd",
            "Cost counted at the worst case and taken back when the usage became known",
            ["workload", "target", "zone"],
            registry=self.registry,
        )
        self._unpriced = Counter(
            "freehold_unpriced_calls", "Calls whose price is unknown", ["target"], registry=self.registry
        )
        self._duration = Histogram(
            "freehold_call_seconds",
            "From accept to settled",
            ["target", "zone"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._first = Histogram(
            "freehold_first_byte_seconds",
            "From accept to the first byte for the caller",
            ["target", "zone"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._attempts = Counter(
            "freehold_attempts", "Attempts by result", ["target", "zone", "result"], registry=self.registry
        )
        self.in_flight = Gauge(
            "freehold_calls_in_flight", "Calls under way", registry=self.registry, multiprocess_mode="livesum"
        )
        self._waited = Counter(
            "freehold_waited_calls",
            "Attempts that waited for their provider to be free",
            ["provider"],
            registry=self.registry,
        )
        self._rests = Counter("freehold_rests", "Times a target failed and was given a rest", registry=self.registry)
        self._known: dict[tuple[str, ...], tuple[Counter, Counter, Counter, Counter, Histogram, Histogram]] = {}
        self._tried: dict[tuple[str, str, str], Counter] = {}

    def count(self, receipt: Receipt, is_listed: bool) -> None:
        """Count a receipt. is_listed: whether its target is one of the configuration's own; others share one label."""
        target = receipt.target if is_listed and receipt.target else ("other" if receipt.target else "none")
        zone = receipt.zone or "none"
        outcome = "cached" if receipt.cached else receipt.outcome
        label = (receipt.workload or "none", target, zone, receipt.class_, outcome)
        parts = self._known.get(label)
        if parts is None:
            parts = self._known[label] = (
                self._calls.labels(*label),
                self._tokens.labels(target, zone, "input"),
                self._tokens.labels(target, zone, "output"),
                self._cost.labels(label[0], target, zone),
                self._duration.labels(target, zone),
                self._first.labels(target, zone),
            )
        calls, tokens_in, tokens_out, cost, duration, first = parts
        if receipt.corrects is None:
            calls.inc()
            duration.observe(receipt.duration_ms / 1000)
        if receipt.first_byte_ms is not None:
            first.observe(receipt.first_byte_ms / 1000)
        tokens_in.inc(
            max(0, receipt.tokens.prompt)
        )  # a counter never falls: a correction downwards is seen in receipts
        tokens_out.inc(max(0, receipt.tokens.completion))
        if receipt.cost_usd is not None:
            amount = float(receipt.cost_usd)
            if amount >= 0:
                cost.inc(amount)
            else:
                self._returned.labels(label[0], target, zone).inc(-amount)
        elif receipt.target is not None and receipt.outcome != "refused":
            self._unpriced.labels(target).inc()
        for attempt in receipt.attempts:
            key = (attempt["target"] if is_listed else "other", attempt["zone"], attempt["result"])
            tried = self._tried.get(key)
            if tried is None:
                tried = self._tried[key] = self._attempts.labels(*key)
            tried.inc()

    def waited(self, provider: str) -> None:
        self._waited.labels(provider).inc()

    def rested(self) -> None:
        self._rests.inc()

    def text(self) -> bytes:
        """The metrics in Prometheus' text format, those of all processes that count together."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)
