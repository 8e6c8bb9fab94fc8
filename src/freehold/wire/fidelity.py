"""What each dialect and each provider can carry, found out by asking the writers themselves: this table cannot disagree with the code.

For every feature there is one small conversation that uses it. It is written for a target: a feature that comes out in `lost` is left out and
reported, one that raises Unable is refused, everything else is carried.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from freehold.kernel.routes import PLAIN, Traits
from freehold.wire import canonical as c
from freehold.wire.canonical import Conversation, Feature
from freehold.wire.dialects import DIALECTS, SPOKEN


class Carried(StrEnum):
    """What happens to a feature on its way to a target."""

    YES = "yes"
    LOST = "lost"  # left out, and reported
    REFUSED = "refused"  # the target is not given the call


_PIXEL = "iVBORw0KGgo="
_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
_TOOL = c.Tool("look_up", "Find it.", _SCHEMA)
_ASK = c.Turn("user", (c.Text("x"),))
_CALLED = c.Turn("assistant", (c.ToolUse("call_1", "look_up", "{}"),))


def _user(*parts: c.Part) -> dict[str, Any]:
    return {"turns": [c.Turn("user", (c.Text("x"), *parts))]}


def _result(*parts: c.Text | c.Media, is_error: bool = False) -> dict[str, Any]:
    answer = c.Turn("user", (c.ToolResult("call_1", parts, "look_up", is_error),))
    return {"turns": [_ASK, _CALLED, answer], "tools": [_TOOL]}


def _said(*parts: c.Part) -> dict[str, Any]:
    return {"turns": [_ASK, c.Turn("assistant", parts), _ASK]}


def probes(dialect: str, family: str) -> dict[Feature, dict[str, Any]]:
    """One conversation for each feature; what only its maker can read is made for this target."""
    blob = c.Blob(family or dialect, '{"type": "reasoning.text", "signature": "c2ln"}')
    image = c.Media("image", "image/png", _PIXEL)
    return {
        Feature.SYSTEM_PLACE: {"turns": [_ASK, c.Turn("system", (c.Text("x"),)), _ASK]},
        Feature.NAME: {"turns": [c.Turn("user", (c.Text("x"),), "mira")]},
        Feature.IMAGE_URL: _user(c.Media("image", url="https://a.example/a.png")),
        Feature.IMAGE_DATA: _user(image),
        Feature.IMAGE_DETAIL: _user(c.Media("image", "image/png", _PIXEL, detail="low")),
        Feature.DOCUMENT_URL: _user(c.Media("document", "application/pdf", url="https://a.example/a.pdf")),
        Feature.DOCUMENT_DATA: _user(c.Media("document", "application/pdf", _PIXEL)),
        Feature.DOCUMENT_NAME: _user(c.Media("document", "application/pdf", _PIXEL, name="a.pdf")),
        Feature.AUDIO_DATA: _user(c.Media("audio", "audio/wav", _PIXEL)),
        Feature.VIDEO: _user(c.Media("video", "video/mp4", url="https://a.example/a.mp4")),
        Feature.TOOLS: {"turns": [_ASK], "tools": [_TOOL, c.Tool("now")]},
        Feature.TOOL_STRICT: {"turns": [_ASK], "tools": [msgspec.structs.replace(_TOOL, strict=True)]},
        Feature.TOOL_CHOICE: {"turns": [_ASK], "tools": [_TOOL], "tool_choice": c.ToolChoice("tool", "look_up")},
        Feature.PARALLEL_TOOLS: {"turns": [_ASK], "tools": [_TOOL], "allows_parallel": False},
        Feature.TOOL_RESULT_MEDIA: _result(c.Text("x"), image),
        Feature.TOOL_RESULT_ERROR: _result(c.Text("x"), is_error=True),
        Feature.JSON: {"turns": [_ASK], "shape": c.Shape()},
        Feature.SCHEMA: {"turns": [_ASK], "shape": c.Shape(_SCHEMA)},
        Feature.REASONING: {"turns": [_ASK], "reasoning": c.Reasoning("low"), "max_output": 9000},
        Feature.THINKING: _said(c.Thought("hm"), c.Text("x")),
        Feature.SIGNATURE: _said(c.Thought("hm", blob), c.Text("x")),
        Feature.REFUSAL: _said(c.Refusal("no")),
        Feature.CITATIONS: _said(
            c.Text("x", citations=(c.Citation("https://a.example", dialect=dialect, raw={"type": "x"}),))
        ),
        Feature.LOGPROBS: {"turns": [_ASK], "logprobs": 2},
        Feature.LOGIT_BIAS: {"turns": [_ASK], "logit_bias": {"1": 1}},
        Feature.CHOICES: {"turns": [_ASK], "n": 2},
        Feature.MAX_OUTPUT: {"turns": [_ASK], "max_output": 100},
        Feature.TEMPERATURE: {"turns": [_ASK], "temperature": 0.5},
        Feature.TOP_P: {"turns": [_ASK], "top_p": 0.5},
        Feature.TOP_K: {"turns": [_ASK], "top_k": 5},
        Feature.STOP: {"turns": [_ASK], "stop": ("END",)},
        Feature.SEED: {"turns": [_ASK], "seed": 7},
        Feature.PENALTIES: {"turns": [_ASK], "presence_penalty": 0.5},
        Feature.CACHE: {"turns": [c.Turn("user", (c.Text("x", cache="5m"),))]},
        Feature.CACHE_KEY: {"turns": [_ASK], "cache_key": "k"},
        Feature.SERVICE_TIER: {"turns": [_ASK], "service_tier": "flex"},
        Feature.METADATA: {"turns": [_ASK], "metadata": {"a": "b"}},
        Feature.USER: {"turns": [_ASK], "user": "u"},
        Feature.STORE: {"turns": [_ASK], "store": True},
        Feature.VERBOSITY: {"turns": [_ASK], "verbosity": "low"},
    }


def carries(dialect: str, traits: Traits = PLAIN, *, model: str = "m") -> dict[Feature, Carried]:
    """What a target of this dialect, with these traits, is given of each feature."""
    return {
        feature: _ask(feature, wished, dialect, traits, model)
        for feature, wished in probes(dialect, traits.family).items()
    }


def _ask(feature: Feature, wished: dict[str, Any], dialect: str, traits: Traits, model: str) -> Carried:
    lost: set[str] = set()
    talk = Conversation(dialect="", **wished)
    try:
        DIALECTS[dialect].write_request(talk, model, traits, lost)
    except c.Unable:
        return Carried.REFUSED
    return Carried.LOST if feature in lost else Carried.YES


def says(dialect: str) -> dict[Feature, bool]:
    """What a caller can say in a dialect: written in it and read again, it is still there."""
    found: dict[Feature, bool] = {}
    for feature, wished in probes(dialect, "").items():
        lost: set[str] = set()
        talk = Conversation(dialect="", **wished)
        try:
            SPOKEN[dialect].read_request(DIALECTS[dialect].write_request(talk, "m", PLAIN, lost))
        except c.Unable:
            found[feature] = False
            continue
        found[feature] = feature not in lost
    return found
