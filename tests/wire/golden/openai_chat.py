"""Exchanges in openai-chat: whole, and as a stream."""

from __future__ import annotations

from typing import Any

from wire.golden.pair import TEXT, Pair, sse

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
CALLS = [
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
        _chat_whole({"content": None, "tool_calls": CALLS}, "tool_calls"),
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
        _chat_whole({"content": None, "tool_calls": CALLS}, "tool_calls"),
        sse(
            [_chunk({"tool_calls": [{**one, "index": 0} for one in CALLS]}), _chunk({}, "tool_calls"), _LAST],
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
