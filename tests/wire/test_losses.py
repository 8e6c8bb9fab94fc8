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
    assert lost == {"tool_grammar"}  # the grammar goes along in words, which is a wish and no promise
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


# --- below the top level -----------------------------------------------------------------------------------------

_DOCUMENT = {"type": "document", "source": {"type": "url", "url": "https://a.example/a.pdf"}}
_FUNCTION = {"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}
UNREAD = [
    (CHAT, {"messages": [{"role": "user", "content": "x", "weird": 1}]}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "weird": {"a": 1}}]}]}),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "weird": 1}}]}),
    (CHAT, {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "x"}}}]}, {"role": "tool", "tool_call_id": "a", "content": "y"}]}),
    (RESPONSES, {"input": [{"role": "assistant", "content": "x", "phase": "commentary"}, {"role": "user", "content": "x"}]}),
    (RESPONSES, {"reasoning": {"effort": "low", "weird": True}}),
    (RESPONSES, {"text": {"weird": 1}}),
    (MESSAGES, {"messages": [{"role": "user", "content": [{**_DOCUMENT, "context": "read it as a lawyer"}, {"type": "text", "text": "x"}]}]}),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": {"type": "object"}, "input_examples": [{}]}]}),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": {"type": "object"}, "defer_loading": True}]}),
    (MESSAGES, {"output_config": {"task_budget": {"type": "tokens", "total": 9}}}),
    (MESSAGES, {"metadata": {"user_id": "u", "team": "x"}}),
    (GEMINI, {"contents": [{"role": "user", "parts": [{"text": "x", "videoMetadata": {"fps": 1}}]}]}),
    (GEMINI, {"toolConfig": {"retrievalConfig": {"languageCode": "de"}}}),
    (GEMINI, {"tool_config": {"retrieval_config": {"languageCode": "de"}}}),
    (GEMINI, {"tools": [{"functionDeclarations": [{**_FUNCTION, "behavior": "BLOCKING"}]}]}),
    (GEMINI, {"store": True}),
]  # fmt: skip


@pytest.mark.parametrize(("source", "more"), [pytest.param(*case, id=f"{case[0]}: {json.dumps(case[1])[-60:]}") for case in UNREAD])  # fmt: skip
def test_what_nobody_reads_is_named_at_every_depth(source: str, more: dict[str, Any]) -> None:
    for to in {CHAT, RESPONSES, MESSAGES, GEMINI} - {source}:
        if _DOCUMENT["source"]["url"] in json.dumps(more) and to == CHAT:  # type: ignore[index]  # a document by its address is content that chat may refuse
            continue
        assert "unknown_fields" in written(source, more, to)[1], to


NOTHING = [
    (CHAT, {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "refusal": None, "annotations": [], "audio": None, "tool_calls": None}]}),
    (RESPONSES, {"input": [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "x", "annotations": [], "logprobs": []}]}]}),
    (MESSAGES, {"metadata": {"user_id": "u", "team": None}}),
]  # fmt: skip


@pytest.mark.parametrize(("source", "more"), NOTHING)
def test_what_is_set_to_nothing_asks_for_nothing(source: str, more: dict[str, Any]) -> None:
    """An answer that is sent back as SDKs send it, with all its empty fields, is no loss."""
    for to in {CHAT, RESPONSES, MESSAGES, GEMINI} - {source}:
        assert "unknown_fields" not in written(source, more, to)[1], to


def test_a_hosted_tool_beside_declared_ones_is_named() -> None:
    tools = {"tools": [{"functionDeclarations": [_FUNCTION], "googleSearch": {}}]}
    assert written(GEMINI, tools, CHAT)[1] == {"hosted_tools"}


def test_citations_that_are_sent_back_are_named() -> None:
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://a.example", "title": "a", "start_index": 0, "end_index": 1},
    }
    history = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "annotations": [cited]}]
    assert written(CHAT, {"messages": history}, MESSAGES)[1] == {"citations"}


def test_the_description_of_a_schema_goes_along() -> None:
    form = {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "All of it.", "schema": {"type": "object"}},
    }
    for to in DIALECTS:
        body, lost = written(CHAT, {"response_format": form}, to)
        assert "All of it." in json.dumps(body), to
        assert lost == set(), to


TWO = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]


@pytest.mark.parametrize(
    ("source", "more"),
    [
        (RESPONSES, {"tools": [{"type": "file_search"}, {"type": "function", "name": "f"}], "tool_choice": {"type": "file_search"}}),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "web_search"}}),
    ],
)  # fmt: skip
def test_a_hosted_tool_that_must_be_called_forces_no_other(source: str, more: dict[str, Any]) -> None:
    body, lost = written(source, more, CHAT)
    assert "tool_choice" not in body
    assert lost == {"hosted_tools", "tool_choice"}


@pytest.mark.parametrize("mode", ["VALIDATED", "AUTO", "ANY"])
def test_only_the_functions_that_gemini_allows_are_offered(mode: str) -> None:
    config = {"functionCallingConfig": {"mode": mode, "allowedFunctionNames": ["f"]}}
    declared = [{"name": name, "parameters": {"type": "OBJECT"}} for name in ("f", "g")]
    body, lost = written(GEMINI, {"tools": [{"functionDeclarations": declared}], "toolConfig": config}, CHAT)
    if mode == "ANY":
        assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    else:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]
    assert lost == ({"tool_choice"} if mode == "VALIDATED" else set())


def test_a_call_that_was_forced_ends_in_a_tool_use() -> None:
    """OpenAI ends a forced call with `stop`: a Messages caller must still be told to run the tool."""
    whole = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]}  # fmt: skip
    answer = DIALECTS[CHAT].read_answer(json.dumps(whole).encode(), CHAT)
    assert (
        json.loads(SPOKEN[MESSAGES].write_answer(answer, laws.call_for(MESSAGES, {}), set()))["stop_reason"]
        == "tool_use"
    )
    events: list[c.Event] = [c.Begin(id="a", model="m"), c.ToolBegin(0, "t", "f"), c.ToolDelta(0, "{}"), c.End(c.Stop.END)]  # fmt: skip
    assert b'"stop_reason":"tool_use"' in said(MESSAGES, events)[0]


def test_the_stop_sequence_that_vllm_names_is_told() -> None:
    whole = {"choices": [{"index": 0, "finish_reason": "stop", "stop_reason": "END", "message": {"content": "x"}}]}
    answer = DIALECTS[CHAT].read_answer(json.dumps(whole).encode(), CHAT)
    written_answer = json.loads(SPOKEN[MESSAGES].write_answer(answer, laws.call_for(MESSAGES, {}), set()))
    assert (written_answer["stop_reason"], written_answer["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize(
    "body", [b'{"input": "fh1: note"}', b'{"messages": [{"content": "\\"signature\\": \\"fh1:x\\""}]}']
)
def test_words_that_look_like_a_mark_are_words(body: bytes) -> None:
    assert not c.brings_blob(body)


def test_a_blob_that_comes_back_is_seen() -> None:
    assert c.brings_blob(json.dumps({"content": [{"type": "thinking", "signature": "fh1:gemini:x"}]}).encode())


USAGES = {
    CHAT: '{"choices":[{"index":0,"finish_reason":"stop","message":{"content":"x"}}],"usage":{"prompt_tokens":%d}}',
    RESPONSES: '{"id":"r","status":"completed","output":[],"usage":{"input_tokens":%d,"output_tokens":1}}',
    MESSAGES: '{"id":"m","content":[],"usage":{"input_tokens":%d,"output_tokens":1}}',
    GEMINI: '{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"promptTokenCount":%d}}',
}


@pytest.mark.parametrize("dialect", USAGES)
def test_less_than_nothing_is_no_usage(dialect: str) -> None:
    """What a provider reports is money: a negative count would fill a budget up."""
    found = DIALECTS[dialect].used_of((USAGES[dialect] % 7).encode())
    assert found is not None
    assert found.tokens.prompt == 7
    for count in (-7, 10**18):
        raw = (USAGES[dialect] % count).encode()
        with pytest.raises(ValueError, match="Expected"):
            DIALECTS[dialect].used_of(raw)
        with pytest.raises(ValueError, match="Expected"):
            DIALECTS[dialect].read_answer(raw, dialect)
