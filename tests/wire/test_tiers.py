"""Service tiers: what is asked for, what was given, and where it was processed, in the words of each dialect."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from freehold.wire import canonical as c
from freehold.wire.dialects import DIALECTS
from freehold.wire.tiers import AUTO, asked_tier, tier_of

CHAT = {"choices": [], "usage": {"prompt_tokens": 1}}
MESSAGE = {"id": "m", "content": [], "usage": {"input_tokens": 1}}
GEMINI = {"candidates": [], "usageMetadata": {"promptTokenCount": 1}}
CONVERSE = {"output": {"message": {"content": []}}, "usage": {"inputTokens": 1}}


@pytest.mark.parametrize(
    ("dialect", "body", "tier", "geo"),
    [
        pytest.param("openai-chat", {**CHAT, "service_tier": "flex"}, "flex", "", id="openai flex"),
        pytest.param("openai-chat", {**CHAT, "service_tier": "default"}, "", "", id="openai default"),
        pytest.param("openai-chat", {**CHAT, "service_tier": "on_demand"}, "", "", id="groq"),
        pytest.param("openai-chat", CHAT, "", "", id="not told"),
        pytest.param(
            "openai-responses",
            {"output": [], "usage": {"input_tokens": 1}, "service_tier": "priority"},
            "priority",
            "",
            id="responses",
        ),
        pytest.param(
            "anthropic-messages",
            {**MESSAGE, "usage": {"input_tokens": 1, "service_tier": "standard", "inference_geo": "us"}},
            "",
            "us",
            id="anthropic in the US",
        ),
        pytest.param(
            "anthropic-messages",
            {**MESSAGE, "usage": {"input_tokens": 1, "service_tier": "batch", "inference_geo": "global"}},
            "batch",
            "",
            id="anthropic batch",
        ),
        pytest.param(
            "anthropic-messages",
            {**MESSAGE, "usage": {"input_tokens": 1, "service_tier": "standard", "speed": "fast"}},
            "fast",
            "",
            id="anthropic fast",
        ),
        pytest.param(
            "gemini",
            {**GEMINI, "usageMetadata": {"promptTokenCount": 1, "trafficType": "ON_DEMAND_PRIORITY"}},
            "priority",
            "",
            id="vertex",
        ),
        pytest.param(
            "gemini",
            {**GEMINI, "usageMetadata": {"promptTokenCount": 1, "serviceTier": "flex"}},
            "flex",
            "",
            id="gemini",
        ),
        pytest.param("bedrock-converse", {**CONVERSE, "serviceTier": {"type": "flex"}}, "flex", "", id="bedrock"),
    ],
)
def test_an_answer_says_how_it_was_served(dialect: str, body: dict[str, Any], tier: str, geo: str) -> None:
    raw = json.dumps(body).encode()
    used = DIALECTS[dialect].used_of(raw)
    assert used is not None
    assert (tier_of(used.service_tier), used.geo) == (tier, geo)
    if dialect != "openai-chat":
        whole = DIALECTS[dialect].read_answer(raw, dialect).used
        assert whole == used, "the same, where the answer is translated"


def test_a_stream_says_it_too() -> None:
    """Anthropic tells it at the beginning, and the counts again at the end."""
    begin = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "inference_geo": "us", "service_tier": "standard"}}}  # fmt: skip
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}
    reader = DIALECTS["anthropic-messages"].stream_reader("anthropic-messages")
    frames = DIALECTS["anthropic-messages"].frames()
    raw = b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in (begin, end))
    events = [found for event in frames.feed(raw) for found in reader.take(event)]
    used = c.fold(events).used
    assert used is not None
    assert (used.tokens.prompt, used.tokens.completion, used.geo) == (9, 4, "us")


@pytest.mark.parametrize(
    ("dialect", "body", "asked"),
    [
        ("openai-chat", {}, AUTO),
        ("openai-chat", {"service_tier": "auto"}, AUTO),
        ("openai-chat", {"service_tier": "default"}, ""),
        ("openai-responses", {"service_tier": "flex"}, "flex"),
        ("anthropic-messages", {}, ""),
        ("anthropic-messages", {"speed": "fast"}, "fast"),
        ("gemini", {"serviceTier": "PRIORITY"}, "priority"),
        ("openai-chat", {"service_tier": ["flex"]}, "unknown"),
        ("openai-chat", {"service_tier": "x" * 99}, "unknown"),
    ],
)
def test_a_call_says_what_it_asks_for(dialect: str, body: dict[str, Any], asked: str) -> None:
    assert asked_tier(dialect, body) == asked


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.000427}, "0.000427"),
        ({"cost": {"request_cost": 0.005, "total_cost": 0.00507}}, "0.00507"),
        ({"cost_in_usd_ticks": 6_306_000}, "0.0006306"),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, "1.05"),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.25}}, "0.25"),
        ({"cost": 0.05, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.05}}, "0.05"),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.05, "is_byok": True}, None),
        ({"cost": 0.05, "is_byok": "yes", "cost_details": 7}, "0.05"),
        ({"cost": 0, "is_byok": True}, None),
        ({"cost_in_usd_ticks": 0}, None),
        ({"cost": None}, None),
        ({"cost": -1}, None),
        ({"cost": "free"}, None),
        ({"cost": True}, None),
        ({"cost": 1e300}, None),
        ({"cost": {"total_cost": "x"}}, None),
        ({"cost": [1]}, None),
        ({"cost_in_usd_ticks": 1.5}, None),
    ],
)
def test_an_answer_may_say_what_it_costs(usage: dict[str, Any], cost: str | None) -> None:
    """Nothing is no price, and what is odd there spoils nothing else."""
    for dialect, body in (("openai-chat", CHAT), ("openai-responses", {"output": [], "usage": {"input_tokens": 1}})):
        raw = json.dumps({**body, "usage": {**body["usage"], **usage}}).encode()  # type: ignore[dict-item]
        used = DIALECTS[dialect].used_of(raw)
        assert used is not None
        assert used.tokens.prompt == 1
        assert used.cost == (Decimal(cost) if cost else None)
