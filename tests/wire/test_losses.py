"""Each thing that one dialect has and another has not, alone: it is carried, it is named, or the target is not able. Never nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.kernel.routes import PLAIN
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire.call import NOWHERE, Endpoint
from freehold.wire.dialects import DIALECTS, SPOKEN
from wire import laws
from wire.golden import PIXEL

CHAT, RESPONSES, MESSAGES, GEMINI, CONVERSE = (
    "openai-chat", "openai-responses", "anthropic-messages", "gemini", "bedrock-converse"
)  # fmt: skip
PLAINLY: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    RESPONSES: {"model": "m", "input": "x"},
    MESSAGES: {"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": "x"}]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
}
EPHEMERAL = {"type": "ephemeral"}
STRANGE = {"type": "hologram", "data": "x"}


def written(source: str, more: dict[str, Any], to: str, model: str = "m") -> tuple[dict[str, Any], set[str]]:
    lost: set[str] = set()
    return DIALECTS[to].write_request(
        SPOKEN[source].read_request({**PLAINLY[source], **more}), model, PLAIN, lost
    ), lost


@pytest.mark.parametrize("source", PLAINLY)
@pytest.mark.parametrize("to", DIALECTS)
def test_a_plain_question_loses_nothing(source: str, to: str) -> None:
    assert written(source, {}, to)[1] == set()


def _anthropic_result(content: Any, **more: Any) -> dict[str, Any]:
    called = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": content, **more}
    return {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [called]}, {"role": "user", "content": [result]}]}  # fmt: skip


CACHED_TEXT = [{"type": "text", "text": "y", "cache_control": EPHEMERAL}]
CACHED_USE = {
    "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}, "cache_control": EPHEMERAL}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "y"}]},
    ]
}  # fmt: skip

LOSSES = [
    # a mark for the prompt's cache, in every place that may hold one
    (MESSAGES, {"cache_control": EPHEMERAL}, {CHAT: "cache_control", RESPONSES: "cache_control", GEMINI: "cache_control", CONVERSE: "cache_control"}),
    (MESSAGES, _anthropic_result(CACHED_TEXT), {CHAT: "cache_control", RESPONSES: "cache_control", GEMINI: "cache_control", CONVERSE: ""}),
    (MESSAGES, _anthropic_result("y", cache_control=EPHEMERAL), {CHAT: "", RESPONSES: "cache_control", GEMINI: "cache_control", CONVERSE: ""}),
    (MESSAGES, CACHED_USE, {CHAT: "cache_control", RESPONSES: "cache_control", GEMINI: "cache_control", CONVERSE: ""}),
    # content of a kind that nobody knows: left out unseen, the answer would be about something else
    (MESSAGES, _anthropic_result([STRANGE]), dict.fromkeys((CHAT, RESPONSES, GEMINI, CONVERSE), "unable: content_of_unknown_type")),
    (MESSAGES, {"system": [STRANGE]}, dict.fromkeys((CHAT, RESPONSES, GEMINI, CONVERSE), "unable: content_of_unknown_type")),
    (CHAT, {"messages": [{"role": "user", "content": [STRANGE]}]}, dict.fromkeys((RESPONSES, MESSAGES, GEMINI, CONVERSE), "unable: content_of_unknown_type")),
    (RESPONSES, {"input": [{"role": "user", "content": [STRANGE]}]}, dict.fromkeys((CHAT, MESSAGES, GEMINI, CONVERSE), "unable: content_of_unknown_type")),
    (GEMINI, {"contents": [{"role": "user", "parts": [{"hologram": "x"}]}]}, dict.fromkeys((CHAT, RESPONSES, MESSAGES, CONVERSE), "unable: content_of_unknown_type")),
    # thinking without a word on how much
    (MESSAGES, {"thinking": {"type": "adaptive"}}, {CHAT: "reasoning_control", RESPONSES: ""}),
    # options of one dialect
    (RESPONSES, {"truncation": "auto"}, dict.fromkeys((CHAT, MESSAGES, GEMINI, CONVERSE), "unknown_fields")),
    (RESPONSES, {"truncation": "disabled"}, dict.fromkeys((CHAT, MESSAGES, GEMINI, CONVERSE), "")),
    (RESPONSES, {"include": ["file_search_call.results"]}, dict.fromkeys((CHAT, MESSAGES, GEMINI, CONVERSE), "unknown_fields")),
    (RESPONSES, {"prompt_cache_retention": "24h"}, dict.fromkeys((CHAT, MESSAGES, GEMINI, CONVERSE), "unknown_fields")),
    (RESPONSES, {"max_tool_calls": 2}, dict.fromkeys((CHAT, MESSAGES, GEMINI, CONVERSE), "unknown_fields")),
    (RESPONSES, {"stop": ["x"]}, dict.fromkeys((CHAT, MESSAGES, GEMINI, CONVERSE), "unknown_fields")),
    (GEMINI, {"generationConfig": {"speechConfig": {"languageCode": "de"}}}, dict.fromkeys((CHAT, RESPONSES, MESSAGES, CONVERSE), "unknown_fields")),
    (GEMINI, {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}}, dict.fromkeys((CHAT, RESPONSES, MESSAGES, CONVERSE), "unknown_fields")),
    (GEMINI, {"generationConfig": {"responseMimeType": "text/x.enum"}}, dict.fromkeys((CHAT, RESPONSES, MESSAGES, CONVERSE), "unknown_fields")),
    (GEMINI, {"generationConfig": {"responseMimeType": "text/plain"}}, dict.fromkeys((CHAT, RESPONSES, MESSAGES, CONVERSE), "")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "more", "expected"),
    [pytest.param(*case, id=f"{case[0]}: {json.dumps(case[1])[-60:]}") for case in LOSSES],
)
def test_it_is_named(source: str, more: dict[str, Any], expected: dict[str, str]) -> None:
    found = {}
    for to in expected:
        try:
            found[to] = " ".join(sorted(written(source, more, to)[1]))
        except c.Unable as unable:
            found[to] = f"unable: {unable.feature.value}"
    assert found == expected


@pytest.mark.parametrize("content", [{"content": CACHED_TEXT}, {"content": "y", "cache_control": EPHEMERAL}])
def test_a_mark_on_a_result_stands_behind_it(content: dict[str, Any]) -> None:
    body, _ = written(MESSAGES, _anthropic_result(**content), CONVERSE)
    assert [next(iter(block)) for block in body["messages"][-1]["content"]] == ["toolResult", "cachePoint"]


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "object", "additionalProperties": True}, {}, None])
def test_a_tool_whose_parameters_name_no_property(schema: Any) -> None:
    """Gemini refuses an object without properties where it checks them, so such a schema goes as it is, or not at all."""
    tool = {"type": "function", "function": {"name": "f", **({} if schema is None else {"parameters": schema})}}
    body, lost = written(CHAT, {"tools": [tool]}, GEMINI)
    (declared,) = body["tools"][0]["functionDeclarations"]
    assert declared.get("parametersJsonSchema") == (schema if schema and len(schema) > 1 else None)
    assert lost == set()


@pytest.mark.parametrize(
    "asked", [{"thinking": {"type": "enabled", "budget_tokens": 3000}}, {"output_config": {"effort": "high"}}]
)
@pytest.mark.parametrize("limit", [100, 1024, 1025, 2000, 4096])
@pytest.mark.parametrize(
    ("to", "model"), [(MESSAGES, "claude-sonnet-4-5"), (CONVERSE, "anthropic.claude-sonnet-4-5-v1:0")]
)
def test_thinking_stays_under_the_limit(asked: dict[str, Any], limit: int, to: str, model: str) -> None:
    """The limit is what the caller asked for and what the budget was held for: thinking fits below it, or is not asked for."""
    body, lost = written(MESSAGES, {"max_tokens": limit, **asked}, to, model)
    most = body["max_tokens"] if to == MESSAGES else body["inferenceConfig"]["maxTokens"]
    thinking = (body if to == MESSAGES else body.get("additionalModelRequestFields", {})).get("thinking")
    assert most == limit
    if thinking is None:
        assert limit <= 1024
        assert lost == {"reasoning_control"}
    else:
        assert 1024 <= thinking["budget_tokens"] < limit
        assert lost == set()


# --- answers -----------------------------------------------------------------------------------------------------


def said(to: str, events: list[c.Event], **body: Any) -> tuple[bytes, set[str]]:
    lost: set[str] = set()
    writer = SPOKEN[to].stream_writer(laws.call_for(to, body), lost)
    return b"".join(writer.take([event]) for event in events) + writer.end(), lost


def chunks(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.split(b"\n\n") if line.startswith(b"data: {")]


TWO_CALLS: list[c.Event] = [
    c.Begin(id="a", model="m"),
    c.ToolBegin(0, "t0", "f"), c.ToolDelta(0, '{"a":'), c.ToolDelta(0, "1}"),
    c.ToolBegin(1, "t1", "g"), c.ToolDelta(1, "{}"),
    c.End(c.Stop.TOOL_USE),
]  # fmt: skip


def test_an_older_caller_gets_its_one_function() -> None:
    """`functions` knows one call: the second is named as lost, not mixed into the first one's arguments."""
    stream, lost = said(CHAT, TWO_CALLS, functions=[{"name": "f"}, {"name": "g"}])
    calls = [one["choices"][0]["delta"].get("function_call") for one in chunks(stream) if one["choices"]]
    assert "".join(one.get("arguments", "") for one in calls if one) == '{"a":1}'
    assert [one["name"] for one in calls if one and "name" in one] == ["f"]
    assert lost == {"parallel_tool_calls"}
    whole_lost: set[str] = set()
    whole = SPOKEN[CHAT].write_answer(
        c.fold(TWO_CALLS), laws.call_for(CHAT, {"functions": [{"name": "f"}]}), whole_lost
    )
    assert json.loads(whole)["choices"][0]["message"]["function_call"]["name"] == "f"
    assert whole_lost == {"parallel_tool_calls"}


def test_an_image_reaches_a_chat_caller_in_a_stream() -> None:
    image = c.Media("image", "image/png", PIXEL)
    stream, lost = said(CHAT, [c.Begin(id="a", model="m"), c.Other(image), c.End(c.Stop.END)])
    (shown,) = [one["choices"][0]["delta"]["images"] for one in chunks(stream) if one["choices"] and "images" in one["choices"][0]["delta"]]  # fmt: skip
    assert shown[0]["image_url"]["url"].endswith(PIXEL)
    assert lost == set()


def test_usage_comes_once_and_last() -> None:
    """Some providers tell usage in every chunk: a caller that adds them up must get it once, as OpenAI does it."""
    first, last = Tokens(input=3, output=1), Tokens(input=3, output=2)
    events: list[c.Event] = [c.Begin(id="a", model="m"), c.Used(first), c.TextDelta("x"), c.End(c.Stop.END), c.Used(last)]  # fmt: skip
    stream, _ = said(CHAT, events)
    told = [one for one in chunks(stream) if one.get("usage")]
    assert len(told) == 1
    assert told[0] == chunks(stream)[-1]
    assert (told[0]["choices"], told[0]["usage"]["completion_tokens"]) == ([], 2)


CUSTOM = {"type": "custom", "custom": {"name": "patch", "description": "Change a file.", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}}}}  # fmt: skip
PATCHED = [
    {"role": "user", "content": "x"},
    {"role": "assistant", "tool_calls": [{"id": "call_a", "type": "custom", "custom": {"name": "patch", "input": "a \"b\"\n"}}]},
    {"role": "tool", "tool_call_id": "call_a", "content": "done"},
]  # fmt: skip


@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize("choice", ["auto", {"type": "custom", "custom": {"name": "patch"}}])
def test_a_custom_tool_of_chat_is_a_function_elsewhere(to: str, choice: Any) -> None:
    body, lost = written(CHAT, {"tools": [CUSTOM], "tool_choice": choice, "messages": PATCHED}, to)
    assert lost == set()
    text = json.dumps(body)
    assert "start: /.+/" in text
    (use,) = [part for turn in SPOKEN[to].read_request(body).turns for part in turn.parts if isinstance(part, c.ToolUse)] if to in SPOKEN else [None]  # fmt: skip
    assert use is None or json.loads(use.arguments) == {"input": 'a "b"\n'}


def test_a_custom_tool_that_is_called_twice_at_once_is_told_whole() -> None:
    """Pieces of several calls mixed: each free text is told once, before the answer ends."""
    call = SPOKEN[CHAT].read_call(Endpoint.CHAT, json.dumps({**PLAINLY[CHAT], "tools": [CUSTOM]}).encode(), NOWHERE)
    writer = SPOKEN[CHAT].stream_writer(call, set())
    events: list[c.Event] = [c.Begin("a", "m"), c.ToolBegin(0, "x", "patch"), c.ToolBegin(1, "y", "patch"), c.ToolBegin(2, "z", "plain")]  # fmt: skip
    for block, piece in ((1, '{"input'), (0, '{"input": "on'), (2, "{}"), (1, '": "two"}'), (0, 'e"}')):
        events.append(c.ToolDelta(block, piece))
    out = writer.take([*events, c.End(c.Stop.TOOL_USE)]) + writer.end()
    inputs: dict[int, str] = {}
    for line in out.split(b"\n\n"):
        found = json.loads(line[6:]) if line.startswith(b"data: {") else {"choices": []}
        for choice in found["choices"]:
            for one in choice["delta"].get("tool_calls", ()):
                assert one["index"] != 2 or "custom" not in one
                if "custom" in one:
                    inputs[one["index"]] = inputs.get(one["index"], "") + one["custom"]["input"]
    assert inputs == {0: "one", 1: "two"}
    assert out.count(b'"finish_reason":"tool_calls"') == 1
