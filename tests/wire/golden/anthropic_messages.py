"""Exchanges in anthropic-messages: whole, and as a stream."""

from __future__ import annotations

from typing import Any

from wire.golden.pair import TEXT, Pair, sse

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
