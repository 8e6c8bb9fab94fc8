"""The laws of the wire on real exchanges, when ../shared is there: identity of requests, folding, dribbling, usage that sums up."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import SHARED
from freehold.kernel.errors import CallerError
from freehold.wire import openai_chat as wire
from freehold.wire.call import Endpoint
from freehold.wire.sse import Reader

FOLDER = SHARED / "recordings"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs ../shared/recordings")
ENDPOINTS = {"chat_completions": Endpoint.CHAT, "completions": Endpoint.COMPLETIONS, "embeddings": Endpoint.EMBEDDINGS}
SPEAKERS = {
    "openai",
    "azure",
    "deepseek",
    "mistral",
    "groq",
    "ollama",
    "ollama-cloud",
    "vllm",
    "openrouter",
    "gpustack",
    "perplexity",
    "together",
    "bedrock-mantle",
}


def exchanges() -> Iterator[dict[str, Any]]:
    for file in sorted(FOLDER.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for one in map(json.loads, lines):
                if (
                    one["endpoint"] in ENDPOINTS
                    and one["provider"] in SPEAKERS
                    and isinstance(one["request"], dict)
                    and "response" in one
                ):
                    yield one


def test_requests_are_sent_as_they_came() -> None:
    count = 0
    for one in exchanges():
        body = one["request"]
        if "model" not in body or "/api/" in one["path"] or one["status"] >= 400:
            continue
        try:
            call = wire.read(ENDPOINTS[one["endpoint"]], json.dumps(body).encode())
        except CallerError as error:
            raise AssertionError(f"{one['provider']} {one['scenario']}: {error}") from None
        assert json.loads(wire.write(call, body["model"], asks_usage=False)) == body
        count += 1
    assert count > 700


def test_streams_fold_and_end() -> None:
    count = 0
    for one in exchanges():
        if not one["stream"] or one["status"] != 200 or "data:" not in one["response"]:
            continue
        raw = one["response"].encode()
        events = Reader().feed(raw)
        reader = Reader()
        by_byte = [event for at in range(len(raw)) for event in reader.feed(raw[at : at + 1])]
        assert by_byte == events
        reader = Reader()
        reader.feed(raw)
        events += reader.close()
        call = wire.read(
            ENDPOINTS[one["endpoint"]],
            json.dumps(
                {
                    "model": "m",
                    "messages": [{"role": "user"}],
                    "prompt": "x",
                    "stream": True,
                    "n": one["request"].get("n") or 1,
                }
            ).encode(),
        )
        progress = wire.Progress(call)
        for event in events:
            progress.take(event.data)
        assert progress.is_complete, f"{one['provider']} {one['scenario']}"
        chunks = [json.loads(event.data) for event in events if event.data and event.data != wire.DONE]
        whole = wire.fold(chunks)
        for choice in whole["choices"]:
            for called in (choice.get("message") or {}).get("tool_calls") or ():
                if called["function"].get("arguments"):
                    json.loads(called["function"]["arguments"])
        count += 1
    assert count > 150


def test_usage_sums_to_what_was_reported() -> None:
    count = 0
    for one in exchanges():
        if one["stream"] or one["status"] != 200 or "/api/" in one["path"]:
            continue
        answer = wire.read_answer(one["response"].encode())
        if answer.usage is None:
            continue
        tokens = answer.usage.tokens()
        assert tokens.prompt == (answer.usage.prompt_tokens or 0)
        assert tokens.completion == (answer.usage.completion_tokens or 0)
        assert min(tokens.input, tokens.output, tokens.cache_read, tokens.reasoning) >= 0
        count += 1
    assert count > 400
