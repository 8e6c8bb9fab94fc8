"""`freehold top`: what goes on now, in the terminal: calls, rates, spending, and how each target is."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from freehold.cli.client import request
from freehold.cli.setting import Setting, config_option, json_option, printable, show_json
from freehold.gateway.presence import known_token
from freehold.kernel.errors import OperatorError

DEFAULT_URL = "http://127.0.0.1:4001"


@dataclass(frozen=True)
class Look:
    """What the admin plane said at one moment. samples: a metric's name and labels → its value."""

    at_s: float
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    targets: list[dict[str, Any]]
    state: str

    def sums(self, name: str, by: str) -> dict[str, float]:
        """A metric added up by one of its labels."""
        found: dict[str, float] = defaultdict(float)
        for (of, labels), value in self.samples.items():
            if of == name:
                found[dict(labels).get(by, "")] += value
        return dict(found)


@click.command("top")
@config_option
@json_option
@click.option("--url", default=DEFAULT_URL, show_default=True, help="The admin plane of a running Freehold.")
@click.option(
    "--every", type=click.FloatRange(0.2, 3_600), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--once", is_flag=True, help="Look twice, show what happened in between, and stop.")
def command(config: Path | None, as_json: bool, url: str, every: float, once: bool) -> None:
    """Show live calls, rates, spending and health. Ctrl-C stops."""
    token = known_token(Setting.find(config).state)
    before = look(url, token)
    time.sleep(every)
    if as_json or once or not sys.stdout.isatty():
        found = between(before, look(url, token))
        if as_json:
            show_json(found)
        else:
            _print(found)
        return
    _watch(url, token, before, every)


def _watch(url: str, token: str, before: Look, every: float) -> None:
    from rich.live import Live  # only whoever watches needs it

    try:
        with Live(screen=True, auto_refresh=False) as live:
            while True:
                try:
                    now = look(url, token)
                except OperatorError as error:  # it is started again, say
                    live.update(f"away: {printable(error.message)}", refresh=True)
                    time.sleep(every)
                    continue
                live.update(_drawn(between(before, now)), refresh=True)
                before = now
                time.sleep(every)
    except KeyboardInterrupt:
        return


def look(url: str, token: str) -> Look:
    """Ask the admin plane. Raises OperatorError if it does not answer, or not us."""
    from prometheus_client.parser import text_string_to_metric_families  # a tenth of what it costs to start

    at_s, text = time.monotonic(), _get(url, "/metrics", token).decode(errors="replace")
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    except (ValueError, IndexError):
        raise OperatorError(
            f"Who answers at {url} is no Freehold.", code="cli.unreachable", hint="Check --url."
        ) from None
    try:
        targets = json.loads(_get(url, "/api/targets", token))["targets"]
        state = json.loads(_get(url, "/readyz", token, accepts=(200, 503)))["status"]
    except (ValueError, KeyError, TypeError):
        raise OperatorError(
            f"Who answers at {url} is no Freehold.", code="cli.unreachable", hint="Check --url."
        ) from None
    return Look(at_s, samples, targets, state)


def _get(url: str, path: str, token: str, accepts: Iterable[int] = (200,)) -> bytes:
    connection, answer = request(url, "GET", path, None, {"Authorization": f"Bearer {token}"}, timeout_s=10)
    try:
        body = answer.read()
        if answer.status not in accepts:
            raise OperatorError(
                f"The admin plane at {url} answers {answer.status}.",
                code="cli.refused",
                hint="It takes the token of its own state directory: give --config, or set FREEHOLD_HOME. Its port is the admin plane's.",
            )
        return body
    finally:
        connection.close()


def between(before: Look, now: Look) -> dict[str, Any]:
    """What happened between two looks: rates a second, money an hour, and what stands now."""
    span_s = max(0.001, now.at_s - before.at_s)

    def rates(name: str, by: str) -> dict[str, float]:
        old = before.sums(name, by)
        return {key: max(0.0, value - old.get(key, 0.0)) / span_s for key, value in now.sums(name, by).items()}

    outcomes = rates("freehold_calls_total", "outcome")
    calls = sum(outcomes.values())
    well = outcomes.get("ok", 0.0) + outcomes.get("cached", 0.0)
    by_target = {
        name: rates(f"freehold_{name}", "target") for name in ("calls_total", "tokens_total", "cost_usd_total")
    }
    failing = _failing(before, now)
    spans = {name: rates(f"freehold_call_seconds_{name}", "target") for name in ("sum", "count")}
    known = {row["target"]: row for row in now.targets}
    targets = []
    for name in sorted({*known, *(key for key, rate in by_target["calls_total"].items() if rate)} - {"none"}):
        count = spans["count"].get(name, 0.0)
        row = known.get(name, {})
        targets.append(
            {
                "target": name,
                "zone": row.get("zone"),
                "state": "resting" if row.get("is_resting") else "well",
                "in_flight": row.get("in_flight", 0),
                "calls_per_s": round(by_target["calls_total"].get(name, 0.0), 3),
                "failing": round(failing.get(name, 0.0), 4),
                "seconds": round(spans["sum"].get(name, 0.0) / count, 3) if count else None,
                "tokens_per_s": round(by_target["tokens_total"].get(name, 0.0), 1),
                "usd_per_hour": round(by_target["cost_usd_total"].get(name, 0.0) * 3_600, 6),
            }
        )
    workloads = rates("freehold_calls_total", "workload")
    spending = rates("freehold_cost_usd_total", "workload")
    return {
        "state": now.state,
        "in_flight": int(sum(now.sums("freehold_calls_in_flight", "").values())),
        "calls_per_s": round(calls, 3),
        "not_ok": round(1 - well / calls, 4) if calls else 0.0,
        "tokens_per_s": round(sum(by_target["tokens_total"].values()), 1),
        "usd_per_hour": round(sum(by_target["cost_usd_total"].values()) * 3_600, 6),
        "usd": round(sum(now.sums("freehold_cost_usd_total", "").values()), 6),
        "targets": targets,
        "workloads": [
            {"workload": name, "calls_per_s": round(rate, 3), "usd_per_hour": round(spending.get(name, 0.0) * 3_600, 6)}
            for name, rate in sorted(workloads.items())
        ],
    }


def _failing(before: Look, now: Look) -> dict[str, float]:
    """Of each target's attempts, the share that failed."""
    tried: dict[str, float] = defaultdict(float)
    failed: dict[str, float] = defaultdict(float)
    for (name, labels), value in now.samples.items():
        if name == "freehold_attempts_total":
            told, more = dict(labels), value - before.samples.get((name, labels), 0.0)
            tried[told["target"]] += more
            failed[told["target"]] += more * (told["result"] not in ("ok", "cancelled"))
    return {name: failed[name] / count for name, count in tried.items() if count > 0}


def _drawn(found: dict[str, Any]) -> Any:
    from rich import box  # rich costs 60 ms, which --json does without
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Text(
        f"{found['state']}   {found['in_flight']} under way   {found['calls_per_s']:.1f} calls/s   {found['not_ok']:.1%} not ok   "
        f"{found['tokens_per_s']:,.0f} tokens/s   {found['usd_per_hour']:.4f} USD/hour   {found['usd']:.4f} USD since it started"
    )
    parts: list[Any] = [head]
    for rows in (found["targets"], found["workloads"]):
        if not rows:
            continue
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in rows[0]:
            table.add_column(
                name.replace("_per_", "/").replace("_", " "), justify="left" if name in _WORDS else "right"
            )
        for row in rows:
            table.add_row(*(printable(_shown(name, value)) for name, value in row.items()))
        parts.append(table)
    return Group(*parts)


_WORDS = ("target", "zone", "state", "workload")


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if name == "failing" else str(value)


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console  # as above

    Console(soft_wrap=False, width=None if sys.stdout.isatty() else 200).print(_drawn(found))
