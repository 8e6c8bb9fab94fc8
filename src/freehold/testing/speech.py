"""What the stand-in says, in the words of each dialect: written from the vendors' documented formats, and on purpose not with Freehold's own writers.

Rules: it calls the tools that it is offered until it is told a result; it thinks where it is asked to; it answers with JSON where JSON is wanted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from freehold.wire import eventstream

ARGUMENTS = '{"order_id": "A-1"}'
SIGNATURE = "c2lnbmVkLWJ5LXRoZS1zdGFuZC1pbg=="
THOUGHT = ("Let me ", "see.")
PROMPT_TOKENS = 7


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, before it is written: pieces of thought, pieces of text, names of the tools that are called."""

    model: str
    thought: tuple[str, ...]
    words: tuple[str, ...]
    calls: tuple[str, ...]
    choices: int = 1
    id: str = "resp_1"

    @property
    def tokens(self) -> int:
        return len(self.words) + len(self.thought) + len(self.calls)


@dataclass(frozen=True, slots=True)
class Speech:
    """A dialect: which paths are in it, what is asked of it, and how it says it."""

    path: re.Pattern[str]
    hear: Callable[[str, dict[str, Any], tuple[str, ...]], Said]
    whole: Callable[[Said], dict[str, Any]]
    events: Callable[[Said], Iterator[bytes]]
    streams: Callable[[str, dict[str, Any]], bool]
    content_type: str = "text/event-stream"
    keeps: bool = False


def _said(model: str, words: tuple[str, ...], *, tools: list[str], thinks: bool, wants_json: bool, told: bool) -> Said:
    calls = tuple(tools[:2]) if tools and not told else ()
    if wants_json:
        words = ('{"order_id":', ' "A-1"}')
    return Said(model, THOUGHT if thinks else (), () if calls else words, calls)


def _event(body: dict[str, Any], *, named: bool = False, end: str = "\n") -> bytes:
    name = f"event: {body['type']}{end}" if named else ""
    return f"{name}data: {json.dumps(body)}{end}{end}".encode()


# --- openai-responses ------------------------------------------------------------------------------------------


def _hear_responses(_path: str, body: dict[str, Any], words: tuple[str, ...]) -> Said:
    items = body.get("input")
    last = items[-1] if isinstance(items, list) and items else {}
    return _said(
        body["model"],
        words,
        tools=[tool["name"] for tool in body.get("tools") or () if tool["type"] in ("function", "custom")],
        thinks=bool(body.get("reasoning")),
        wants_json=((body.get("text") or {}).get("format") or {}).get("type") == "json_schema",
        told=str(last.get("type", "")).endswith("call_output"),
    )


def _response_items(said: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thought:
        summary = [{"type": "summary_text", "text": "".join(said.thought)}]
        items.append({"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": SIGNATURE})
    for at, name in enumerate(said.calls):
        called = {"call_id": f"call_{at}", "name": name, "arguments": ARGUMENTS, "status": "completed"}
        items.append({"id": f"fc_{at}", "type": "function_call", **called})
    if said.words:
        part = {"type": "output_text", "text": "".join(said.words), "annotations": [], "logprobs": []}
        items.append({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]})
    return items


def _response(said: Said) -> dict[str, Any]:
    thought = len(said.thought)
    usage = {
        "input_tokens": PROMPT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said.tokens,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": PROMPT_TOKENS + said.tokens,
    }
    head = {"id": said.id, "object": "response", "created_at": 1, "model": said.model, "status": "completed"}
    more: dict[str, Any] = {
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    return {**head, **more, "output": _response_items(said), "usage": usage, "x_unknown_field": {"kept": True}}


def _response_events(said: Said) -> Iterator[bytes]:
    number = 0

    def _one(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return _event({"type": f"response.{kind}", "sequence_number": number - 1, **fields}, named=True)

    whole = _response(said)
    yield _one("created", response={**whole, "status": "in_progress", "output": [], "usage": None})
    for at, item in enumerate(whole["output"]):
        place = {"output_index": at, "item_id": item["id"]}
        if item["type"] == "reasoning":
            yield _one("output_item.added", output_index=at, item={**item, "summary": [], "encrypted_content": None})
            for piece in said.thought:
                yield _one("reasoning_summary_text.delta", **place, summary_index=0, delta=piece)
        elif item["type"] == "function_call":
            yield _one("output_item.added", output_index=at, item={**item, "arguments": ""})
            for piece in (ARGUMENTS[:8], ARGUMENTS[8:]):
                yield _one("function_call_arguments.delta", **place, delta=piece)
        else:
            yield _one("output_item.added", output_index=at, item={**item, "content": []})
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield _one("content_part.added", **place, content_index=0, part=part)
            for piece in said.words:
                yield _one("output_text.delta", **place, content_index=0, delta=piece, logprobs=[])
            yield _one("output_text.done", **place, content_index=0, text="".join(said.words), logprobs=[])
            yield _one("content_part.done", **place, content_index=0, part=item["content"][0])
        yield _one("output_item.done", output_index=at, item=item)
    yield _one("completed", response=whole)


# --- anthropic-messages ----------------------------------------------------------------------------------------


def _hear_messages(path: str, body: dict[str, Any], words: tuple[str, ...]) -> Said:
    last = body["messages"][-1]["content"]
    told = isinstance(last, list) and any(block.get("type") == "tool_result" for block in last)
    named = re.search(r"models/([^/:]+):", path)
    return _said(
        body.get("model") or (named.group(1) if named else "m"),
        words,
        tools=[tool["name"] for tool in body.get("tools") or () if "input_schema" in tool],
        thinks=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
        wants_json=bool((body.get("output_config") or {}).get("format")),
        told=told,
    )


def _message_blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thought:
        blocks.append({"type": "thinking", "thinking": "".join(said.thought), "signature": SIGNATURE})
    if said.words:
        blocks.append({"type": "text", "text": "".join(said.words)})
    blocks += [
        {"type": "tool_use", "id": f"toolu_{at}", "name": name, "input": json.loads(ARGUMENTS)}
        for at, name in enumerate(said.calls)
    ]
    return blocks


def _message(said: Said) -> dict[str, Any]:
    usage = {
        "input_tokens": PROMPT_TOKENS - 4,
        "cache_creation_input_tokens": 1,
        "cache_read_input_tokens": 3,
        "output_tokens": said.tokens,
    }
    head = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": _message_blocks(said),
    }
    stop = {"stop_reason": "tool_use" if said.calls else "end_turn", "stop_sequence": None}
    return {**head, **stop, "usage": usage, "x_unknown_field": {"kept": True}}


_EMPTY: dict[str, dict[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}


def _message_events(said: Said) -> Iterator[bytes]:
    whole = _message(said)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield _event({"type": "message_start", "message": begun}, named=True)
    yield _event({"type": "ping"}, named=True)
    for at, block in enumerate(whole["content"]):
        kind = block["type"]
        empty: dict[str, Any] = _EMPTY[kind]
        yield _event({"type": "content_block_start", "index": at, "content_block": {**block, **empty}}, named=True)
        if kind == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in said.thought]
            deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        elif kind == "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in said.words]
        else:
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in (ARGUMENTS[:8], ARGUMENTS[8:])]
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": at, "delta": delta}, named=True)
        yield _event({"type": "content_block_stop", "index": at}, named=True)
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": said.tokens}}, named=True)
    yield _event({"type": "message_stop"}, named=True)


# --- gemini --------------------------------------------------------------------------------------------------


def _hear_gemini(path: str, body: dict[str, Any], words: tuple[str, ...]) -> Said:
    declared = [one for tool in body.get("tools") or () for one in tool.get("functionDeclarations") or ()]
    wished = body.get("generationConfig") or {}
    return _said(
        path.rpartition("/")[2].partition(":")[0],
        words,
        tools=[one["name"] for one in declared],
        thinks=bool((wished.get("thinkingConfig") or {}).get("includeThoughts")),
        wants_json=wished.get("responseMimeType") == "application/json",
        told=any("functionResponse" in part for part in body["contents"][-1]["parts"]),
    )


def _generated(parts: list[dict[str, Any]], said: Said, *, is_last: bool) -> dict[str, Any]:
    spoken, thought = len(said.words) + len(said.calls), len(said.thought)
    usage = {
        "promptTokenCount": PROMPT_TOKENS,
        "candidatesTokenCount": spoken,
        "totalTokenCount": PROMPT_TOKENS + spoken + thought,
    }
    if thought:
        usage["thoughtsTokenCount"] = thought
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if is_last:
        candidate["finishReason"] = "STOP"
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": said.model,
        "responseId": "r1",
        "xUnknownField": {"kept": True},
    }


def _gemini_parts(said: Said) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in said.thought]
    parts += [{"text": piece} for piece in said.words]
    for at, name in enumerate(said.calls):
        part: dict[str, Any] = {"functionCall": {"name": name, "args": json.loads(ARGUMENTS)}}
        if at == 0:
            part["thoughtSignature"] = SIGNATURE
        parts.append(part)
    return parts


def _gemini_whole(said: Said) -> dict[str, Any]:
    return _generated(_gemini_parts(said), said, is_last=True)


def _gemini_events(said: Said) -> Iterator[bytes]:
    parts = _gemini_parts(said)
    for at, part in enumerate(parts):
        yield _event(_generated([part], said, is_last=at == len(parts) - 1), end="\r\n")


# --- bedrock-converse ------------------------------------------------------------------------------------------


def _hear_converse(path: str, body: dict[str, Any], words: tuple[str, ...]) -> Said:
    config = body.get("toolConfig") or {}
    more = body.get("additionalModelRequestFields") or {}
    return _said(
        path.split("/")[-2],
        words,
        tools=[tool["toolSpec"]["name"] for tool in config.get("tools") or () if "toolSpec" in tool],
        thinks="thinking" in more or "reasoningConfig" in more,
        wants_json="outputConfig" in body,
        told=any("toolResult" in block for block in body["messages"][-1]["content"]),
    )


def _converse_usage(said: Said) -> dict[str, int]:
    return {"inputTokens": PROMPT_TOKENS, "outputTokens": said.tokens, "totalTokens": PROMPT_TOKENS + said.tokens}


def _converse(said: Said) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    if said.thought:
        blocks.append({"reasoningContent": {"reasoningText": {"text": "".join(said.thought), "signature": SIGNATURE}}})
    if said.words:
        blocks.append({"text": "".join(said.words)})
    blocks += [
        {"toolUse": {"toolUseId": f"tooluse_{at}", "name": name, "input": json.loads(ARGUMENTS)}}
        for at, name in enumerate(said.calls)
    ]
    stop = "tool_use" if said.calls else "end_turn"
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": stop,
        "usage": _converse_usage(said),
    }


def _converse_events(said: Said) -> Iterator[bytes]:
    yield eventstream.write("messageStart", {"role": "assistant"})
    at = 0

    def _delta(**piece: Any) -> bytes:
        return eventstream.write("contentBlockDelta", {"contentBlockIndex": at, "delta": piece})

    if said.thought:
        for word in said.thought:
            yield _delta(reasoningContent={"text": word})
        yield _delta(reasoningContent={"signature": SIGNATURE})
        yield eventstream.write("contentBlockStop", {"contentBlockIndex": at})
        at += 1
    if said.words:
        for word in said.words:
            yield _delta(text=word)
        yield eventstream.write("contentBlockStop", {"contentBlockIndex": at})
        at += 1
    for number, name in enumerate(said.calls):
        start = {"toolUse": {"toolUseId": f"tooluse_{number}", "name": name}}
        yield eventstream.write("contentBlockStart", {"contentBlockIndex": at, "start": start})
        for word in (ARGUMENTS[:8], ARGUMENTS[8:]):
            yield _delta(toolUse={"input": word})
        yield eventstream.write("contentBlockStop", {"contentBlockIndex": at})
        at += 1
    yield eventstream.write("messageStop", {"stopReason": "tool_use" if said.calls else "end_turn"})
    yield eventstream.write("metadata", {"usage": _converse_usage(said), "metrics": {"latencyMs": 1}})


# --- openai-chat ---------------------------------------------------------------------------------------------


def _hear_chat(_path: str, body: dict[str, Any], words: tuple[str, ...]) -> Said:
    said = _said(
        body["model"],
        words,
        tools=[tool["function"]["name"] for tool in body.get("tools") or () if "function" in tool],
        thinks=bool(body.get("reasoning_effort") or body.get("reasoning") or body.get("thinking")),
        wants_json=(body.get("response_format") or {}).get("type") == "json_schema",
        told=body["messages"][-1]["role"] == "tool",
    )
    return Said(said.model, said.thought, said.words, said.calls, body.get("n") or 1)


def _chat_usage(said: Said) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": said.tokens,
        "total_tokens": PROMPT_TOKENS + said.tokens,
    }
    if said.thought:
        usage["completion_tokens_details"] = {"reasoning_tokens": len(said.thought)}
    return usage


def _chat_calls(said: Said) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": ARGUMENTS}}
        for at, name in enumerate(said.calls)
    ]


def _chat_whole(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said.words) or None}
    if said.thought:
        message["reasoning_content"] = "".join(said.thought)
    if said.calls:
        message["tool_calls"] = _chat_calls(said)
    reason = "tool_calls" if said.calls else "stop"
    choices = [{"index": at, "message": message, "finish_reason": reason} for at in range(said.choices)]
    head = {"id": "standin-1", "created": 1, "model": said.model, "usage": _chat_usage(said)}
    return {**head, "x_unknown_field": {"kept": True}, "object": "chat.completion", "choices": choices}


def chat_events(said: Said, *, tells_usage: bool = True, is_legacy: bool = False, done: bool = True) -> Iterator[bytes]:
    """Chunks of a chat, or of a legacy completion."""
    kind = "text_completion" if is_legacy else "chat.completion.chunk"
    head = {"id": "standin-1", "object": kind, "created": 1, "model": said.model}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        body = {"text": delta.get("content", "")} if is_legacy else {"delta": delta}
        return _event({**head, "choices": [{"index": 0, **body, "finish_reason": reason}]})

    first: dict[str, Any] = {"role": "assistant"}
    for piece in said.thought:
        yield chunk({**first, "reasoning_content": piece})
        first = {}
    for piece in said.words:
        yield chunk({**first, "content": piece})
        first = {}
    for at, called in enumerate(_chat_calls(said)):
        function = {"name": called["function"]["name"], "arguments": ""}
        yield chunk({**first, "tool_calls": [{**called, "index": at, "function": function}]})
        first = {}
        for piece in (ARGUMENTS[:8], ARGUMENTS[8:]):
            yield chunk({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if said.calls else "stop")
    if tells_usage:
        yield _event({**head, "choices": [], "usage": _chat_usage(said)})
    if done:
        yield b"data: [DONE]\n\n"


SPEECHES = (
    Speech(
        re.compile(r".*/responses$"),
        _hear_responses,
        _response,
        _response_events,
        lambda _p, b: bool(b.get("stream")),
        keeps=True,
    ),
    Speech(
        re.compile(r".*(/messages$|:rawPredict$|:streamRawPredict$)"),
        _hear_messages,
        _message,
        _message_events,
        lambda path, body: bool(body.get("stream")) or "streamRaw" in path,
    ),
    Speech(
        re.compile(r".*:(stream)?[gG]enerateContent"),
        _hear_gemini,
        _gemini_whole,
        _gemini_events,
        lambda path, _b: "streamGenerate" in path,
    ),
    Speech(
        re.compile(r".*/converse(-stream)?$"),
        _hear_converse,
        _converse,
        _converse_events,
        lambda path, _b: path.endswith("-stream"),
        content_type="application/vnd.amazon.eventstream",
    ),
    Speech(
        re.compile(r".*/chat/completions"), _hear_chat, _chat_whole, chat_events, lambda _p, b: bool(b.get("stream"))
    ),
)


def speech_of(path: str) -> Speech | None:
    """The dialect of a path; None for what is no conversation."""
    bare = path.partition("?")[0]
    return next((speech for speech in SPEECHES if speech.path.match(bare)), None)
