"""Exchanges in bedrock-converse: whole, and as a stream."""

from __future__ import annotations

from typing import Any

from freehold.wire import eventstream
from wire.golden.pair import TEXT, Pair

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
