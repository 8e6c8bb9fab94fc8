"""What providers say of themselves in the middle of an answer, and what they say of what they used: it survives, and it is not believed blindly."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

from conftest import NO_ENGINE, Freehold
from freehold.testing.standin import Behaviour, Standin

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages", "gemini")


def ask(freehold: Freehold, key: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    try:
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.fixture
def made(make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin) -> Freehold:
    text = NO_ENGINE
    for dialect in DIALECTS:
        text += f'[providers.{dialect}]\ndialect = "{dialect}"\nbase_url = "{inside.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
    text += f'[providers.other]\ndialect = "openai-responses"\nbase_url = "{outside.base_url}"\nzone = "inside"\nretries = 0\n'
    text += '[workloads.small]\ntargets = ["openai-chat/m"]\nbudget = "0.01 USD/total"\n'
    text += '[workloads.pair]\ntargets = ["openai-responses/m", "other/m"]\n'
    text += '[workloads.shared]\ntargets = ["openai-responses/m", "other/m"]\nshares_state = true\n'
    return make_freehold(text).start()


ASKED: dict[str, Any] = {"max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
STARTED = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"m","usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"so far"}}\n\n',
)
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'


def test_a_provider_that_gives_up_is_heard_in_its_own_words(made: Freehold, inside: Standin) -> None:
    """The same dialect on both sides: its own last event, once; another dialect: the kind of trouble, once."""
    key = made.key()
    inside.behave(Behaviour(raw_stream=(*STARTED, OVERLOADED)))
    _, _, body = ask(made, key, "/v1/messages", {**ASKED, "model": "anthropic-messages/m", "stream": True})
    assert body.endswith(OVERLOADED)
    assert body.count(b"event: error") == 1
    inside.behave(Behaviour(raw_stream=(*STARTED, OVERLOADED)))
    _, _, body = ask(made, key, "/v1/chat/completions", {**ASKED, "model": "anthropic-messages/m", "stream": True})
    (error,) = [json.loads(line[6:])["error"] for line in body.split(b"\n\n") if b'"error"' in line]
    assert error["code"] == "upstream.overloaded"
    receipts = made.settled(2)
    assert [one["code"] for one in receipts] == ["upstream.overloaded"] * 2
    assert all(one["outcome"] == "cut" and one["tokens"]["output"] >= 1 for one in receipts)


def test_a_response_that_failed_tells_what_it_used(made: Freehold, inside: Standin) -> None:
    failed = b'data: {"type":"response.failed","response":{"id":"r","status":"failed","output":[],"usage":{"input_tokens":9,"output_tokens":7},"error":{"code":"rate_limit_exceeded"}}}\n\n'
    began = b'data: {"type":"response.created","response":{"id":"r","model":"m"}}\n\ndata: {"type":"response.output_text.delta","output_index":0,"delta":"so far"}\n\n'
    inside.behave(Behaviour(raw_stream=(began, failed)))
    ask(made, made.key(), "/v1/responses", {"model": "openai-responses/m", "input": "x", "stream": True})
    (receipt,) = made.settled(1)
    assert (receipt["code"], receipt["tokens"]["input"], receipt["tokens"]["output"]) == ("upstream.rate_limited", 9, 7)


def test_a_failure_under_a_good_status_gives_another_target_its_turn(made: Freehold, inside: Standin) -> None:
    inside.behave(Behaviour(body=b'{"id":"r","status":"failed","output":[],"error":{"code":"server_error"}}'))
    status, headers, _ = ask(made, made.key(), "/v1/responses", {"model": "pair", "input": "x"})
    assert (status, headers["x-freehold-target"], headers["x-freehold-attempts"]) == (200, "other/m", "2")


def test_a_stream_after_a_failover_says_how_many_were_tried(made: Freehold, inside: Standin) -> None:
    inside.behave(Behaviour(status=500))
    _, headers, _ = ask(made, made.key(), "/v1/responses", {"model": "pair", "input": "x", "stream": True})
    assert headers["x-freehold-attempts"] == "2"


def test_usage_below_nothing_fills_no_budget(made: Freehold, inside: Standin) -> None:
    key = made.key("--workload", "small")
    inside.behave(
        Behaviour(
            body=b'{"choices":[{"index":0,"finish_reason":"stop","message":{"content":"x"}}],"usage":{"prompt_tokens":-1000000000,"completion_tokens":1}}'
        )
    )
    assert ask(made, key, "/v1/chat/completions", {**ASKED, "model": "small"})[0] == 503
    status, _, body = ask(made, key, "/v1/chat/completions", {**ASKED, "model": "small", "max_tokens": 1_000_000})
    assert (status, json.loads(body)["error"]["code"]) == (429, "budget.exhausted")


def test_an_answer_without_usage_is_estimated_by_its_size(made: Freehold, inside: Standin) -> None:
    text = "word " * 2000
    inside.behave(
        Behaviour(
            body=json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": text}}]}).encode()
        )
    )
    ask(made, made.key(), "/v1/chat/completions", {**ASKED, "model": "openai-chat/m"})
    (receipt,) = made.settled(1)
    assert receipt["is_estimate"]
    assert receipt["tokens"]["output"] >= 2000


STATE: list[dict[str, Any]] = [
    {"conversation": "conv_1"},
    {"prompt": {"id": "pmpt_1"}},
    {"input": [{"type": "item_reference", "id": "msg_1"}]},
]


@pytest.mark.parametrize("more", STATE, ids=["conversation", "prompt", "item_reference"])
def test_what_nobody_recorded_belongs_to_nobody(
    made: Freehold, inside: Standin, outside: Standin, more: dict[str, Any]
) -> None:
    """A caller may not refer to what another may have stored at a provider, unless the workload says so; then only the first target is asked."""
    key = made.key()
    status, _, body = ask(made, key, "/v1/responses", {"model": "pair", "input": "x", **more})
    assert (status, json.loads(body)["error"]["code"]) == (400, "request.stateful")
    assert not inside.requests
    inside.behave(Behaviour(status=503))
    assert ask(made, key, "/v1/responses", {"model": "shared", "input": "x", **more})[0] == 503
    assert (len(inside.requests), len(outside.requests)) == (1, 0), "another target does not hold it"
    assert ask(made, key, "/v1/responses", {"model": "shared", "input": "x", **more})[0] == 200


def test_a_cache_that_nobody_recorded_belongs_to_nobody(made: Freehold, inside: Standin) -> None:
    body = {"contents": [{"parts": [{"text": "x"}]}], "cachedContent": "cachedContents/1"}
    assert ask(made, made.key(), "/v1beta/models/gemini/m:generateContent", body)[0] == 400
    assert not inside.requests


def test_text_that_looks_like_a_mark_passes_as_it_is(made: Freehold, inside: Standin) -> None:
    key = made.key()
    assert ask(made, key, "/v1/embeddings", {"model": "openai-chat/m", "input": "fh1: note"})[0] == 200
    asked = {"model": "openai-chat/m", "messages": [{"role": "user", "content": "fh1: note"}], "unheard_of": 1}
    assert ask(made, key, "/v1/chat/completions", asked)[0] == 200
    assert inside.requests[-1].json["unheard_of"] == 1


def test_the_model_that_is_counted_for_is_the_one_in_the_path(made: Freehold, inside: Standin) -> None:
    body = {"generateContentRequest": {"model": "models/another", "contents": [{"parts": [{"text": "x"}]}]}}
    assert ask(made, made.key(), "/v1beta/models/gemini/m:countTokens", body)[0] == 200
    assert "another" not in inside.requests[-1].body.decode()


def test_a_wrong_key_is_answered_in_the_dialect_of_the_path(made: Freehold) -> None:
    for path in ("/v1/models/gemini/m:generateContent", "/v1beta/models/gemini/m:generateContent"):
        status, _, body = ask(made, "fh-wrong", path, {"contents": [{"parts": [{"text": "x"}]}]})
        assert (status, json.loads(body)["error"]["status"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic-messages"])
def test_a_stream_without_end_is_ended(made: Freehold, inside: Standin, dialect: str) -> None:
    """Small events, each of them right: after 64 MB it is no answer any more, and what a writer keeps is bounded with it."""
    piece = b'data: {"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"' + b"x" * 60_000 + b'"}}]}\n\n'
    inside.behave(Behaviour(raw_stream=(piece,), raw_repeat=(piece, 1400)))
    path = "/v1/messages" if dialect == "anthropic-messages" else "/v1/chat/completions"
    _, _, body = ask(made, made.key(), path, {**ASKED, "model": "openai-chat/m", "stream": True})
    assert b"without end" in body[-2000:]
    assert len(body) < 80_000_000
    assert made.settled(1)[-1]["code"] == "upstream.invalid_answer"
