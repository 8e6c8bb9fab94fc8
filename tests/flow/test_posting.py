"""Lines of a batch that their provider takes together, for less: each still a call with a ruling, an intent, money held and one true charge."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from openai import OpenAI
from openai.types import Batch

from conftest import NO_ENGINE, Freehold
from freehold.testing.standin import Behaviour, Standin
from flow.batches import CHAT, begin, jsonl, line, lines_of, sdk_of, wait

PRICES = "{ m = { input = 2.0, output = 4.0, tiers = { batch = { input = 1.0, output = 2.0 } } } }"
STYLES = {
    "openai": ("openai-chat", {}),
    "mistral": ("openai-chat", {}),
    "anthropic": ("anthropic-messages", {}),
    "gemini": ("gemini", {}),
}


def config(cloud: Standin, style: str = "openai", *, workload: str = "", provider: str = "", top: str = "") -> str:
    dialect = STYLES[style][0]
    return (
        NO_ENGINE
        + top
        + f'[providers.cloud]\nbase_url = "{cloud.base_url}"\nkey = "env:CLOUD"\nretries = 0\nbatches = "{style}"\n'
        + f'dialect = "{dialect}"\nprices = {PRICES}\n{provider}'
        + f'[workloads.w]\nclass = "public"\ntargets = ["cloud/m"]\nbatch = true\n{workload}'
    )


def receipts(freehold: Freehold) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those of calls, and those that correct them."""
    found = freehold.settled()
    return [one for one in found if not one["corrects"]], [one for one in found if one["corrects"]]


def money(found: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(one["cost_usd"]) for one in found), Decimal(0))


def nothing_is_left(cloud: Standin) -> bool:
    batching = cloud.batching
    return not batching.files and all(one["kind"] in ("openai", "mistral") for one in batching.batches.values())


@pytest.mark.parametrize("style", STYLES)
def test_lines_go_together_where_that_costs_less(
    make_freehold: Callable[..., Freehold], outside: Standin, style: str
) -> None:
    """One parcel; every line answered, in the caller's dialect; charged at the batch rate; one receipt for each call, and one that corrects it; nothing left there."""
    outside.batching.looks = 1
    freehold = make_freehold(config(outside, style), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(60)))))
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert (batch.request_counts.completed, batch.request_counts.failed) == (60, 0)
        answers = lines_of(sdk, batch.output_file_id)
    assert {one["response"]["body"]["choices"][0]["message"]["content"] for one in answers.values()} == {
        "Hello from the stand-in."
    }
    assert len(outside.batching.handed_in) == 1
    assert len(outside.batching.handed_in[0]) == 60
    assert len({one["custom_id"] for one in answers.values()}) == 60
    calls, corrections = receipts(freehold)
    assert {one["call"] for one in calls} == {one["corrects"] for one in corrections}
    assert len(calls) == len(corrections) == 60
    assert {(one["outcome"], one["status"], one["tier"], one["is_estimate"]) for one in calls} == {
        ("ok", 202, "batch", True)
    }
    usage = answers["r0"]["response"]["body"]["usage"]
    each = (usage["prompt_tokens"] * Decimal(1) + usage["completion_tokens"] * Decimal(2)) / 1_000_000
    assert money(calls) + money(corrections) == 60 * each, "at half the price"
    (row,) = freehold.usage("workload")["rows"]
    assert (row["calls"], row["input_tokens"], row["output_tokens"], Decimal(row["cost_usd"])) == (
        60,
        60 * usage["prompt_tokens"],
        60 * usage["completion_tokens"],
        60 * each,
    )
    assert nothing_is_left(outside)
    assert freehold.run("audit", "verify", str(_bundle(freehold))).returncode == 0
    assert "sk-cloud-secret" not in freehold.output


def _bundle(freehold: Freehold) -> Any:
    folder = freehold.folder / "bundle"
    assert freehold.run("audit", "export", "--out", str(folder)).returncode == 0
    return folder
