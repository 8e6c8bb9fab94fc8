"""Exchanges in openai-responses: whole, and as a stream."""

from __future__ import annotations

from typing import Any

from wire.golden.pair import TEXT, Pair, sse

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
