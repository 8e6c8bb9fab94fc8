"""Freehold's own golden set: requests, answers and streams in every dialect, written from the vendors' documented formats.

Each `Pair` is one exchange told twice: as a whole answer and as the stream of the same answer. They reach the branches that the recorded
exchanges reach, so that the suite means something without them. All people, shops and keys in it are made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from freehold.kernel.routes import PLAIN as PLAIN
from freehold.wire import eventstream

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
TEXT = "Grüße aus Köln – 你好 🦊"


@dataclass(frozen=True)
class Pair:
    """One exchange, whole and streamed."""

    name: str
    dialect: str
    whole: dict[str, Any]
    stream: bytes


def sse(events: list[dict[str, Any]], *, named: bool = False, end: str = "\n", done: bool = False) -> bytes:
    """Frame events as their vendor does."""
    out = b""
    for event in events:
        name = f"event: {event['type']}{end}" if named else ""
        out += f"{name}data: {json.dumps(event, ensure_ascii=False)}{end}{end}".encode()
    return out + (b"data: [DONE]\n\n" if done else b"")


# --- openai-chat ---------------------------------------------------------------------------------------------

_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 12,
    "total_tokens": 32,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0},
}


def _chat_whole(message: dict[str, Any], reason: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason, **more}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": _USAGE,
    }


def _chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": reason, **more}] if delta is not None else []
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}


_LAST = {**_chunk(), "usage": _USAGE}
_CALLS = [
    {"id": "call_a", "type": "function", "function": {"name": "look_up", "arguments": '{"order_id": "A-1"}'}},
    {"id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
]


def _piece(index: int, arguments: str, about: str | None = None, name: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"index": index, "function": function, **({"id": about, "type": "function"} if about else {})}


_PROB = {
    "token": "Hi",
    "logprob": -0.5,
    "bytes": [72, 105],
    "top_logprobs": [{"token": "Yo", "logprob": -1.5, "bytes": [89, 111]}],
}

CHAT = [
    Pair(
        "text",
        "openai-chat",
        _chat_whole({"content": TEXT}, "stop"),
        sse(
            [
                _chunk({"role": "assistant", "content": ""}),
                *(_chunk({"content": one}) for one in TEXT),
                _chunk({}, "stop"),
                _LAST,
            ],
            done=True,
        ),
    ),
    Pair(
        "parallel tools, interleaved",
        "openai-chat",
        _chat_whole({"content": None, "tool_calls": _CALLS}, "tool_calls"),
        sse(
            [
                _chunk({"role": "assistant", "content": None}),
                _chunk({"tool_calls": [_piece(0, "", "call_a", "look_up")]}),
                _chunk({"tool_calls": [_piece(0, '{"order')]}),
                _chunk({"tool_calls": [_piece(1, "", "call_b", "now")]}),
                _chunk({"tool_calls": [_piece(0, '_id": "A-1"}')]}),
                _chunk({"tool_calls": [_piece(1, "{}")]}),
                _chunk({}, "tool_calls"),
                _LAST,
            ],
            done=True,
        ),
    ),
    Pair(
        "two calls that share an index, whole",
        "openai-chat",
        _chat_whole({"content": None, "tool_calls": _CALLS}, "tool_calls"),
        sse(
            [_chunk({"tool_calls": [{**one, "index": 0} for one in _CALLS]}), _chunk({}, "tool_calls"), _LAST],
            done=True,
        ),
    ),
    Pair(
        "reasoning_content, length",
        "openai-chat",
        _chat_whole({"reasoning_content": "Hm, let me see.", "content": "Well"}, "length"),
        sse(
            [
                _chunk({"reasoning_content": "Hm, "}),
                _chunk({"reasoning_content": "let me see."}),
                _chunk({"content": "Well"}),
                _chunk({}, "length"),
                _LAST,
            ]
        ),
    ),
    Pair(
        "thinking parts",
        "openai-chat",
        _chat_whole(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "Yes"},
                ]
            },
            "stop",
        ),
        sse(
            [
                _chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}),
                _chunk({"content": "Yes"}),
                _chunk({}, "stop"),
                _LAST,
            ],
            done=True,
        ),
    ),
    Pair(
        "reasoning_details",
        "openai-chat",
        _chat_whole(
            {
                "content": "Yes",
                "reasoning": "Hm.",
                "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "index": 0}],
            },
            "stop",
        ),
        sse(
            [
                _chunk(
                    {
                        "content": "",
                        "reasoning": "Hm.",
                        "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}],
                    }
                ),
                _chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "c2ln", "index": 0}]}),
                _chunk({"content": "Yes"}),
                _chunk({}, "stop"),
                _LAST,
            ],
            done=True,
        ),
    ),
    Pair(
        "refusal",
        "openai-chat",
        _chat_whole({"content": None, "refusal": "I cannot do that."}, "stop"),
        sse(
            [
                _chunk({"role": "assistant", "refusal": "I cannot"}),
                _chunk({"refusal": " do that."}),
                _chunk({}, "stop"),
                _LAST,
            ],
            done=True,
        ),
    ),
    Pair(
        "logprobs",
        "openai-chat",
        _chat_whole({"content": "Hi"}, "stop", logprobs={"content": [_PROB], "refusal": None}),
        sse([_chunk({"content": "Hi"}, None, logprobs={"content": [_PROB]}), _chunk({}, "stop"), _LAST], done=True),
    ),
    Pair(
        "citations, usage unasked in every chunk, CRLF, no mark",
        "openai-chat",
        _chat_whole(
            {
                "content": "See this",
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 8},
                    }
                ],
            },
            "stop",
        ),
        sse(
            [
                {**_chunk({"content": "See "}), "usage": {"prompt_tokens": 20, "completion_tokens": 1}},
                {
                    **_chunk(
                        {
                            "content": "this",
                            "annotations": [
                                {
                                    "type": "url_citation",
                                    "url_citation": {
                                        "url": "https://a.example",
                                        "title": "A",
                                        "start_index": 0,
                                        "end_index": 8,
                                    },
                                }
                            ],
                        },
                        "stop",
                    ),
                    "usage": _USAGE,
                },
            ],
            end="\r\n",
        ),
    ),
    Pair(
        "usage beside the end, under x_groq, with comments between",
        "openai-chat",
        _chat_whole({"content": "Hi"}, "stop"),
        b": OPENROUTER PROCESSING\n\n"
        + sse([_chunk({"content": "Hi"}), {**_chunk({}, "stop"), "x_groq": {"id": "req", "usage": _USAGE}}], done=True),
    ),
    Pair(
        "function_call, the older form",
        "openai-chat",
        _chat_whole({"content": None, "function_call": {"name": "now", "arguments": '{"a": 1}'}}, "function_call"),
        sse(
            [
                _chunk({"function_call": {"name": "now", "arguments": ""}}),
                _chunk({"function_call": {"arguments": '{"a": 1}'}}),
                _chunk({}, "function_call"),
                _LAST,
            ],
            done=True,
        ),
    ),
]

# --- openai-responses ------------------------------------------------------------------------------------------

_R_USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 32,
}


def _response(output: list[dict[str, Any]], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "output": output,
        "usage": _R_USAGE,
        "error": None,
        **more,
    }


def _stream_of(output: list[dict[str, Any]], deltas: list[dict[str, Any]], **more: Any) -> bytes:
    status = more.get("status", "completed")
    first = {"type": "response.created", "response": {**_response([], "in_progress"), "usage": None}}
    last = {"type": f"response.{status}", "response": _response(output, **more)}
    return sse([{**event, "sequence_number": at} for at, event in enumerate([first, *deltas, last])], named=True)


_SAID = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
}
_THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Thinking."}],
    "encrypted_content": "Z2VoZWlt",
}
_CALLED = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_a",
    "name": "look_up",
    "arguments": '{"order_id": "A-1"}',
    "status": "completed",
}
_SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "fox"}}
_CITED = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 3}


def _item(event: str, at: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": f"response.output_item.{event}", "output_index": at, "item": item}


RESPONSES = [
    Pair(
        "reasoning, then words",
        "openai-responses",
        _response([_THOUGHT, _SAID]),
        _stream_of(
            [_THOUGHT, _SAID],
            [
                _item("added", 0, {**_THOUGHT, "summary": [], "encrypted_content": None}),
                {
                    "type": "response.reasoning_summary_part.added",
                    "output_index": 0,
                    "summary_index": 0,
                    "item_id": "rs_1",
                    "part": {"type": "summary_text", "text": ""},
                },
                {
                    "type": "response.reasoning_summary_text.delta",
                    "output_index": 0,
                    "summary_index": 0,
                    "item_id": "rs_1",
                    "delta": "Thinking.",
                },
                _item("done", 0, _THOUGHT),
                _item("added", 1, {**_SAID, "content": []}),
                *(
                    {
                        "type": "response.output_text.delta",
                        "output_index": 1,
                        "content_index": 0,
                        "item_id": "msg_1",
                        "delta": one,
                        "logprobs": [],
                    }
                    for one in TEXT
                ),
                _item("done", 1, _SAID),
            ],
        ),
    ),
    Pair(
        "calls, and one in a single piece",
        "openai-responses",
        _response([_CALLED, {**_CALLED, "id": "fc_2", "call_id": "call_b", "name": "now", "arguments": "{}"}]),
        _stream_of(
            [],
            [
                _item("added", 0, {**_CALLED, "arguments": ""}),
                {
                    "type": "response.function_call_arguments.delta",
                    "output_index": 0,
                    "item_id": "fc_1",
                    "delta": '{"order_id": ',
                },
                {
                    "type": "response.function_call_arguments.delta",
                    "output_index": 0,
                    "item_id": "fc_1",
                    "delta": '"A-1"}',
                },
                _item("done", 0, _CALLED),
                _item("done", 1, {**_CALLED, "id": "fc_2", "call_id": "call_b", "name": "now", "arguments": "{}"}),
            ],
        ),
    ),
    Pair(
        "cut short by its limit, words without deltas",
        "openai-responses",
        _response([_SAID], "incomplete", incomplete_details={"reason": "max_output_tokens"}),
        _stream_of(
            [_SAID],
            [_item("added", 0, {**_SAID, "content": []}), _item("done", 0, _SAID)],
            status="incomplete",
            incomplete_details={"reason": "max_output_tokens"},
        ),
    ),
    Pair(
        "a hosted tool, a citation, a refusal",
        "openai-responses",
        _response(
            [
                _SEARCH,
                {
                    **_SAID,
                    "content": [
                        {"type": "output_text", "text": "Fox", "annotations": [_CITED]},
                        {"type": "refusal", "refusal": "No."},
                    ],
                },
            ]
        ),
        _stream_of(
            [],
            [
                _item("added", 0, {**_SEARCH, "status": "in_progress"}),
                _item("done", 0, _SEARCH),
                _item("added", 1, {**_SAID, "content": []}),
                {
                    "type": "response.output_text.delta",
                    "output_index": 1,
                    "content_index": 0,
                    "item_id": "msg_1",
                    "delta": "Fox",
                },
                {
                    "type": "response.output_text.annotation.added",
                    "output_index": 1,
                    "content_index": 0,
                    "item_id": "msg_1",
                    "annotation_index": 0,
                    "annotation": _CITED,
                },
                {
                    "type": "response.refusal.delta",
                    "output_index": 1,
                    "content_index": 1,
                    "item_id": "msg_1",
                    "delta": "No.",
                },
            ],
        ),
    ),
    Pair(
        "raw reasoning text",
        "openai-responses",
        _response(
            [
                {
                    "id": "rs_1",
                    "type": "reasoning",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "Hm."}],
                },
                _SAID,
            ]
        ),
        _stream_of(
            [],
            [
                {
                    "type": "response.reasoning_text.delta",
                    "output_index": 0,
                    "content_index": 0,
                    "item_id": "rs_1",
                    "delta": "Hm.",
                },
                {
                    "type": "response.output_text.delta",
                    "output_index": 1,
                    "content_index": 0,
                    "item_id": "msg_1",
                    "delta": TEXT,
                },
            ],
        ),
    ),
]

# --- anthropic-messages ----------------------------------------------------------------------------------------

_A_USAGE = {"input_tokens": 12, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 8, "output_tokens": 12}


def _message(content: list[dict[str, Any]], reason: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": _A_USAGE,
        **more,
    }


def _blocks(
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]], reason: str, sequence: str | None = None
) -> bytes:
    begun = {**_message([], ""), "stop_reason": None, "usage": {**_A_USAGE, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for at, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": at, "content_block": block})
        events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": at})
    events.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": {"output_tokens": 12},
        }
    )
    return sse([*events, {"type": "message_stop"}], named=True)


_SERVED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "fox"}}
_PAGE = {
    "type": "page_location",
    "cited_text": "a fox",
    "document_index": 0,
    "document_title": "Foxes",
    "start_page_number": 1,
    "end_page_number": 2,
}

MESSAGES = [
    Pair(
        "thinking, words, two tools",
        "anthropic-messages",
        _message(
            [
                {"type": "thinking", "thinking": "Let me see.", "signature": "c2lnbmVk"},
                {"type": "redacted_thinking", "data": "Z2VoZWlt"},
                {"type": "text", "text": TEXT},
                {"type": "tool_use", "id": "toolu_a", "name": "look_up", "input": {"order_id": "A-1"}},
                {"type": "tool_use", "id": "toolu_b", "name": "now", "input": {}},
            ],
            "tool_use",
        ),
        _blocks(
            [
                (
                    {"type": "thinking", "thinking": "", "signature": ""},
                    [
                        {"type": "thinking_delta", "thinking": "Let me "},
                        {"type": "thinking_delta", "thinking": "see."},
                        {"type": "signature_delta", "signature": "c2lnbmVk"},
                    ],
                ),
                ({"type": "redacted_thinking", "data": "Z2VoZWlt"}, []),
                ({"type": "text", "text": ""}, [{"type": "text_delta", "text": one} for one in TEXT]),
                (
                    {"type": "tool_use", "id": "toolu_a", "name": "look_up", "input": {}},
                    [
                        {"type": "input_json_delta", "partial_json": ""},
                        {"type": "input_json_delta", "partial_json": '{"order_id": "A'},
                        {"type": "input_json_delta", "partial_json": '-1"}'},
                    ],
                ),
                ({"type": "tool_use", "id": "toolu_b", "name": "now", "input": {}}, []),
            ],
            "tool_use",
        ),
    ),
    Pair(
        "a stop sequence",
        "anthropic-messages",
        _message([{"type": "text", "text": "one"}], "stop_sequence", stop_sequence="END"),
        _blocks([({"type": "text", "text": ""}, [{"type": "text_delta", "text": "one"}])], "stop_sequence", "END"),
    ),
    Pair(
        "a hosted tool, a citation, a refusal",
        "anthropic-messages",
        _message([_SERVED, {"type": "text", "text": "a fox", "citations": [_PAGE]}], "refusal"),
        _blocks(
            [
                (
                    {**_SERVED, "input": {}},
                    [
                        {"type": "input_json_delta", "partial_json": '{"query": '},
                        {"type": "input_json_delta", "partial_json": '"fox"}'},
                    ],
                ),
                (
                    {"type": "text", "text": "", "citations": []},
                    [{"type": "text_delta", "text": "a fox"}, {"type": "citations_delta", "citation": _PAGE}],
                ),
            ],
            "refusal",
        ),
    ),
]

# --- gemini --------------------------------------------------------------------------------------------------

_G_USAGE = {
    "promptTokenCount": 20,
    "cachedContentTokenCount": 8,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 32,
}


def _generated(parts: list[dict[str, Any]], reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {
        "content": {"parts": parts, "role": "model"},
        "index": 0,
        **({"finishReason": reason} if reason else {}),
        **more,
    }
    return {"candidates": [candidate], "usageMetadata": _G_USAGE, "modelVersion": "m", "responseId": "r1"}


_LOGGED = {
    "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}],
    "topCandidates": [{"candidates": [{"token": "Yo", "logProbability": -1.5}]}],
}
_GROUND = {
    "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
    "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 2, "text": "Hi"}, "groundingChunkIndices": [0]}],
}

GEMINI = [
    Pair(
        "thoughts, words, signature on the last part",
        "gemini",
        _generated([{"text": "Hm. Well.", "thought": True}, {"text": TEXT}, {"text": "", "thoughtSignature": "c2ln"}]),
        sse(
            [
                _generated([{"text": "Hm. ", "thought": True}], None),
                _generated([{"text": "Well.", "thought": True}], None),
                *(_generated([{"text": one}], None) for one in TEXT),
                _generated([{"text": "", "thoughtSignature": "c2ln"}]),
            ],
            end="\r\n",
        ),
    ),
    Pair(
        "two calls, the first one signed",
        "gemini",
        _generated(
            [
                {"functionCall": {"name": "look_up", "args": {"order_id": "A-1"}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "now", "args": {}}},
            ]
        ),
        sse(
            [
                _generated(
                    [{"functionCall": {"name": "look_up", "args": {"order_id": "A-1"}}, "thoughtSignature": "c2ln"}],
                    None,
                ),
                _generated([{"functionCall": {"name": "now", "args": {}}}]),
            ],
            end="\r\n",
        ),
    ),
    Pair(
        "log probabilities and grounding",
        "gemini",
        _generated([{"text": "Hi"}], "MAX_TOKENS", logprobsResult=_LOGGED, groundingMetadata=_GROUND),
        sse([_generated([{"text": "Hi"}], "MAX_TOKENS", logprobsResult=_LOGGED, groundingMetadata=_GROUND)]),
    ),
    Pair(
        "code that the provider ran",
        "gemini",
        _generated([{"executableCode": {"language": "PYTHON", "code": "1+1"}}, {"text": "2"}]),
        sse(
            [_generated([{"executableCode": {"language": "PYTHON", "code": "1+1"}}], None), _generated([{"text": "2"}])]
        ),
    ),
    Pair(
        "a blocked prompt",
        "gemini",
        {
            "promptFeedback": {"blockReason": "SAFETY"},
            "usageMetadata": {"promptTokenCount": 4},
            "modelVersion": "m",
            "responseId": "r1",
        },
        sse(
            [
                {
                    "promptFeedback": {"blockReason": "SAFETY"},
                    "usageMetadata": {"promptTokenCount": 4},
                    "modelVersion": "m",
                    "responseId": "r1",
                }
            ]
        ),
    ),
    Pair(
        "a picture",
        "gemini",
        _generated([{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]),
        sse([_generated([{"inlineData": {"mimeType": "image/png", "data": PIXEL}}])]),
    ),
]

# --- bedrock-converse ------------------------------------------------------------------------------------------

_B_USAGE = {
    "inputTokens": 12,
    "outputTokens": 12,
    "totalTokens": 35,
    "cacheReadInputTokens": 8,
    "cacheWriteInputTokens": 3,
    "cacheReadInputTokenCount": 8,
}


def _frames(events: list[tuple[str, dict[str, Any]]]) -> bytes:
    return b"".join(eventstream.write(name, body) for name, body in events)


def _block_delta(at: int, delta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return ("contentBlockDelta", {"contentBlockIndex": at, "delta": delta})


CONVERSE = [
    Pair(
        "thinking, words, a tool",
        "bedrock-converse",
        {
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "Let me see.", "signature": "c2ln"}}},
                        {"text": TEXT},
                        {"toolUse": {"toolUseId": "tooluse_a", "name": "look_up", "input": {"order_id": "A-1"}}},
                    ],
                }
            },
            "stopReason": "tool_use",
            "usage": _B_USAGE,
            "metrics": {"latencyMs": 5},
        },
        _frames(
            [
                ("messageStart", {"role": "assistant"}),
                _block_delta(0, {"reasoningContent": {"text": "Let me "}}),
                _block_delta(0, {"reasoningContent": {"text": "see."}}),
                _block_delta(0, {"reasoningContent": {"signature": "c2ln"}}),
                ("contentBlockStop", {"contentBlockIndex": 0}),
                *(_block_delta(1, {"text": one}) for one in TEXT),
                ("contentBlockStop", {"contentBlockIndex": 1}),
                (
                    "contentBlockStart",
                    {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "tooluse_a", "name": "look_up"}}},
                ),
                _block_delta(2, {"toolUse": {"input": '{"order_id":'}}),
                _block_delta(2, {"toolUse": {"input": '"A-1"}'}}),
                ("contentBlockStop", {"contentBlockIndex": 2}),
                ("messageStop", {"stopReason": "tool_use"}),
                ("metadata", {"usage": _B_USAGE, "metrics": {"latencyMs": 5}}),
            ]
        ),
    )
]

PAIRS = [*CHAT, *RESPONSES, *MESSAGES, *GEMINI, *CONVERSE]

# --- requests: one conversation that uses nearly everything, in each dialect's own words --------------------------

_DATA = f"data:image/png;base64,{PIXEL}"
REQUESTS: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Use tools."}]},
            {
                "role": "user",
                "name": "mira",
                "content": [
                    {"type": "text", "text": TEXT},
                    {"type": "image_url", "image_url": {"url": _DATA, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://a.example/fox.png"}},
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"},
                    },
                ],
            },
            {"role": "assistant", "content": "One moment.", "reasoning_content": "Hm.", "tool_calls": _CALLS},
            {"role": "tool", "tool_call_id": "call_a", "content": "shipped"},
            {"role": "tool", "tool_call_id": "call_b", "content": [{"type": "text", "text": "noon"}]},
            {"role": "user", "content": "And now?"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "look_up", "description": "Find it.", "parameters": SCHEMA, "strict": True},
            },
            {"type": "function", "function": {"name": "now"}},
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA, "strict": True}},
        "max_completion_tokens": 500,
        "temperature": 0.2,
        "top_p": 0.9,
        "stop": ["END", "STOP"],
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logprobs": True,
        "top_logprobs": 3,
        "n": 2,
        "reasoning_effort": "low",
        "user": "u-1",
        "metadata": {"team": "a"},
        "service_tier": "flex",
        "store": True,
        "prompt_cache_key": "k",
        "verbosity": "low",
        "logit_bias": {"50256": -100},
        "x_new": {"deep": [1, None]},
    },
    "openai-responses": {
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": TEXT},
                    {"type": "input_image", "image_url": _DATA, "detail": "low"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm."}],
                "encrypted_content": "Z2VoZWlt",
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "One moment.", "annotations": []}],
            },
            {"type": "function_call", "call_id": "call_a", "name": "look_up", "arguments": '{"order_id": "A-1"}'},
            {"type": "function_call_output", "call_id": "call_a", "output": "shipped"},
            {"role": "user", "content": "And now?"},
        ],
        "tools": [
            {"type": "function", "name": "look_up", "parameters": SCHEMA, "strict": True},
            {
                "type": "custom",
                "name": "patch",
                "description": "Change a file.",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
            },
        ],
        "tool_choice": {"type": "function", "name": "look_up"},
        "parallel_tool_calls": True,
        "text": {
            "format": {"type": "json_schema", "name": "order", "schema": SCHEMA, "strict": True},
            "verbosity": "low",
        },
        "reasoning": {"effort": "high", "summary": "auto"},
        "max_output_tokens": 500,
        "temperature": 0.2,
        "top_p": 0.9,
        "metadata": {"team": "a"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "x_new": 1,
    },
    "anthropic-messages": {
        "model": "m",
        "max_tokens": 5000,
        "system": [
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Use tools.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": TEXT},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {
                        "type": "document",
                        "title": "Foxes",
                        "source": {"type": "text", "media_type": "text/plain", "data": "a fox"},
                        "citations": {"enabled": True},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "text", "text": "One moment."},
                    {"type": "tool_use", "id": "toolu_a", "name": "look_up", "input": {"order_id": "A-1"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_a",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "gone"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                        ],
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "tools": [
            {
                "name": "look_up",
                "description": "Find it.",
                "input_schema": SCHEMA,
                "cache_control": {"type": "ephemeral"},
            },
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "temperature": 1.0,
        "top_k": 40,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "service_tier": "auto",
        "x_new": 1,
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": TEXT},
                    {"inline_data": {"mime_type": "image/png", "data": PIXEL}},
                    {"fileData": {"fileUri": "https://a.example/a.pdf", "mimeType": "application/pdf"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "look_up", "args": {"order_id": "A-1"}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"name": "look_up", "args": {"order_id": "B-2"}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "look_up", "response": {"output": "shipped"}}},
                    {"functionResponse": {"name": "look_up", "response": {"error": "gone"}}},
                ],
            },
            {"role": "user", "parts": [{"text": "And now?"}]},
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "look_up",
                        "description": "Find it.",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"order_id": {"type": "STRING", "nullable": True}},
                        },
                    }
                ]
            },
            {"googleSearch": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look_up"]}},
        "generationConfig": {
            "temperature": 0.2,
            "topP": 0.9,
            "topK": 40,
            "candidateCount": 2,
            "maxOutputTokens": 500,
            "stopSequences": ["END"],
            "seed": 7,
            "presencePenalty": 0.1,
            "responseLogprobs": True,
            "logprobs": 3,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"order_id": {"type": "STRING"}}},
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2000},
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "x_new": 1,
    },
}
