"""The recorded exchanges, sorted by the dialect they are in; what cannot be used is named with its reason, never skipped in silence."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from conftest import SHARED

FOLDER = SHARED / "recordings"
_CHAT = "openai-chat"
# endpoint → dialect
DIALECT_OF = {
    "chat_completions": _CHAT,
    "responses": "openai-responses",
    "messages": "anthropic-messages",
    "generate_content": "gemini",
    "stream_generate_content": "gemini",
    "converse": "bedrock-converse",
    "converse_stream": "bedrock-converse",
}
PASSED = {"completions", "embeddings", "rerank", "moderations"}
# Exchanges that are themselves broken, or in a shape that no dialect of Freehold has.
BROKEN = {
    "test_azure/test_prompt_content_filtering": "edited by hand: status 200 around an error object",
}


@cache
def exchanges() -> tuple[dict[str, Any], ...]:
    found = []
    for file in sorted(FOLDER.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            found += map(json.loads, lines)
    return tuple(found)


def raw_answer(one: dict[str, Any]) -> bytes:
    if "response_b64" in one:
        return base64.b64decode(one["response_b64"])
    return str(one["response"]).encode()


def name(one: dict[str, Any]) -> str:
    return f"{one['provider']} {one['scenario']} #{one['step']}"


def conversations(*, status: int | None = 200) -> Iterator[tuple[str, dict[str, Any]]]:
    """(dialect, exchange) of every conversation in one of Freehold's dialects."""
    for one in exchanges():
        dialect = DIALECT_OF.get(one["endpoint"])
        if dialect is None or not isinstance(one["request"], dict) or (status is not None and one["status"] != status):
            continue
        yield dialect, one
