"""`freehold top`: what it shows is what happened."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from conftest import Freehold, free_port
from flow.test_workers import ask
from freehold.cli.top import Look, between
from freehold.testing.standin import Behaviour, Standin


def look(at_s: float, **samples: float) -> Look:
    """Names are `metric__label_value`."""
    found = {}
    for name, value in samples.items():
        metric, _, label = name.partition("__")
        key, _, said = label.partition("_")
        found[metric, ((key, said),) if key else ()] = value
    return Look(at_s, found, [], "ready")


def test_rates_are_over_the_time_between() -> None:
    before = look(10.0, freehold_calls_total__outcome_ok=100, freehold_cost_usd_total__workload_w=1.0)
    now = look(
        14.0,
        freehold_calls_total__outcome_ok=130,
        freehold_calls_total__outcome_failed=10,
        freehold_cost_usd_total__workload_w=1.5,
        freehold_calls_in_flight=3,
    )
    found = between(before, now)
    assert (found["calls_per_s"], found["not_ok"], found["in_flight"]) == (10.0, 0.25, 3)
    assert (found["usd"], found["usd_per_hour"]) == (1.5, 450.0)


def test_a_counter_that_began_anew_is_no_negative_rate() -> None:
    """Freehold was started again in between."""
    found = between(look(0.0, freehold_calls_total__outcome_ok=100), look(1.0, freehold_calls_total__outcome_ok=5))
    assert (found["calls_per_s"], found["not_ok"]) == (0.0, 0.0)


@pytest.mark.parametrize("how", [(), ("--workers", "2")], ids=["alone", "several"])
def test_it_shows_what_goes_on(
    make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin, how: tuple[str, ...]
) -> None:
    freehold = make_freehold(two_zones, CLOUD="k").start(*how)
    key, url = freehold.key("--class", "public"), f"http://127.0.0.1:{freehold.admin_port}"
    body = {"model": "open", "messages": [{"role": "user", "content": "x"}]}
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            ask(freehold, key, body=body)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        until = time.monotonic() + 20
        while True:
            found = json.loads(freehold.run("top", "--url", url, "--every", "0.5", "--json").stdout)
            if found["calls_per_s"] > 0:
                break
            assert time.monotonic() < until
        words = freehold.run("top", "--url", url, "--every", "0.5", "--once").stdout
    finally:
        stop.set()
        thread.join()
    rack = next(row for row in found["targets"] if row["target"] == "rack/m")
    assert (rack["zone"], rack["state"], rack["failing"]) == ("inside", "well", 0.0)
    assert rack["calls_per_s"] > 0
    assert rack["tokens_per_s"] > 0
    assert found["state"] == "ready"
    assert {row["workload"] for row in found["workloads"]} == {"open"}
    assert "rack/m" in words
    assert "USD/hour" in words
    inside.usual = Behaviour(status=503)


def test_who_is_not_there_or_does_not_know_us_is_said(make_freehold: Callable[..., Freehold]) -> None:
    first, second = make_freehold().start(), make_freehold()
    run = second.run("top", "--every", "0.2", check=False)
    assert (run.returncode, "code: cli.no_token" in run.stderr) == (2, True)
    assert not second.state.exists(), "whoever only looks makes nothing"
    second.run("people", "token")
    run = second.run("top", "--url", f"http://127.0.0.1:{first.admin_port}", "--every", "0.2", check=False)
    assert (run.returncode, "code: cli.refused" in run.stderr) == (2, True)
    run = second.run("top", "--url", f"http://127.0.0.1:{free_port()}", "--every", "0.2", check=False)
    assert (run.returncode, "code: cli.unreachable" in run.stderr) == (2, True)
