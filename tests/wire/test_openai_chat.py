"""The dialect openai-chat: known fields are checked, unknown ones kept; usage is split; folding a stream gives the unary answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.kernel.errors import CallerError, UpstreamError
from freehold.kernel.units import Tokens
from freehold.wire import openai_chat as wire
from freehold.wire.call import Call, Endpoint

HELLO = [{"role": "user", "content": "hello"}]


def read(endpoint: Endpoint = Endpoint.CHAT, /, **body: Any) -> Call:
    return wire.read(endpoint, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param({"messages": HELLO}, "model", id="no model"),
        pytest.param({"model": "", "messages": HELLO}, "model", id="empty model"),
        pytest.param({"model": 7, "messages": HELLO}, "model", id="model is a number"),
        pytest.param({"model": "m"}, "messages", id="no messages"),
        pytest.param({"model": "m", "messages": []}, "messages", id="empty messages"),
        pytest.param({"model": "m", "messages": "hello"}, "messages", id="messages is a string"),
        pytest.param({"model": "m", "messages": ["hello"]}, "messages[0]", id="a message is a string"),
        pytest.param({"model": "m", "messages": [{"content": "x"}]}, "messages[0]", id="no role"),
        pytest.param(
            {"model": "m", "messages": [{"role": "user", "content": 7}]},
            "messages[0].content",
            id="content is a number",
        ),
        pytest.param(
            {"model": "m", "messages": [{"role": "user", "content": ["x"]}]},
            "messages[0].content",
            id="a part is a string",
        ),
        pytest.param({"model": "m", "messages": HELLO, "stream": "yes"}, "stream", id="stream is a string"),
        pytest.param({"model": "m", "messages": HELLO, "max_tokens": 0}, "max_tokens", id="no tokens"),
        pytest.param({"model": "m", "messages": HELLO, "max_tokens": True}, "max_tokens", id="true is no number"),
        pytest.param({"model": "m", "messages": HELLO, "n": 1000}, "n", id="a thousand choices"),
        pytest.param(
            {"model": "m", "messages": HELLO, "temperature": "hot"}, "temperature", id="temperature is a string"
        ),
        pytest.param({"model": "m", "messages": HELLO, "tools": {}}, "tools", id="tools is an object"),
    ],
)
def test_wrong_types_name_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        wire.read(Endpoint.CHAT, json.dumps(body).encode())
    error = json.loads(wire.write_error(caught.value))["error"]
    assert (caught.value.status, error["param"], error["type"]) == (400, param, "invalid_request_error")


def test_unknown_fields_are_kept_and_sent() -> None:
    call = read(model="w", messages=HELLO, x_new={"deep": [1, None]}, temperature=0.5)
    assert json.loads(wire.write(call, "target", asks_usage=True)) == {
        "model": "target",
        "messages": HELLO,
        "x_new": {"deep": [1, None]},
        "temperature": 0.5,
    }


def test_a_stream_asks_for_usage_where_the_target_can_tell() -> None:
    call = read(model="w", messages=HELLO, stream=True, stream_options={"x": 1})
    assert json.loads(wire.write(call, "t", asks_usage=True))["stream_options"] == {"x": 1, "include_usage": True}
    assert json.loads(wire.write(call, "t", asks_usage=False))["stream_options"] == {"x": 1}
    assert call.body["stream_options"] == {"x": 1}, "the caller's own body is never changed"


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        pytest.param({"messages": HELLO}, set(), id="text"),
        pytest.param({"messages": HELLO, "tools": [{"type": "function"}]}, {"tools"}, id="tools"),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:…"}}]}]},
            {"images"},
            id="image",
        ),
    ],
)
def test_needs(body: dict[str, Any], needs: set[str]) -> None:
    assert read(model="m", **body).needs == needs


def test_limits_count_every_choice() -> None:
    assert read(model="m", messages=HELLO, n=3, max_tokens=10).max_output == 30
    assert read(model="m", messages=HELLO, max_completion_tokens=5, max_tokens=10).max_output == 5
    assert read(model="m", messages=HELLO).max_output is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param({"prompt_tokens": 10, "completion_tokens": 5}, Tokens(input=10, output=5), id="plain"),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 5},
            },
            Tokens(input=30, cache_read=60, audio_in=10, output=15, reasoning=30, audio_out=5),
            id="all classes",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4},
            Tokens(input=6, cache_read=4, output=5),
            id="DeepSeek's word",
        ),
        pytest.param(
            {
                "prompt_tokens": 3,
                "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 99},
                "completion_tokens_details": {"reasoning_tokens": 99},
            },
            Tokens(cache_read=3, reasoning=1),
            id="parts beyond the total",
        ),
        pytest.param({"prompt_tokens": 3, "prompt_tokens_details": None}, Tokens(input=3), id="nulls"),
    ],
)
def test_usage_is_split_into_disjoint_classes(usage: dict[str, Any], expected: Tokens) -> None:
    """The classes sum to what was reported."""
    found = wire.read_answer(json.dumps({"choices": [], "usage": usage}).encode()).usage
    assert found is not None
    assert found.tokens() == expected
    assert (found.tokens().prompt, found.tokens().completion) == (
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
    )


CHUNKS: list[dict[str, Any]] = [
    {
        "id": "1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": None}],
    },
    {
        "id": "1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": "lo"}, "logprobs": {"content": [{"token": "lo"}]}}],
    },
    {
        "id": "1",
        "object": "chat.completion.chunk",
        "choices": [
            {
                "index": 0,
                "delta": {
                    "tool_calls": [
                        {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
                    ]
                },
            }
        ],
    },
    {
        "id": "1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}}],
    },
    {
        "id": "1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 1, "delta": {"reasoning_content": "hm"}, "finish_reason": "stop"}],
    },
    {
        "id": "1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}],
    },
    {"id": "1", "object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 1}, "x_new": 7},
]


def test_folding_a_stream_gives_the_unary_answer() -> None:
    assert wire.fold(CHUNKS) == {
        "id": "1", "object": "chat.completion", "usage": {"prompt_tokens": 1}, "x_new": 7,
        "choices": [
            {
                "index": 0, "finish_reason": "tool_calls", "logprobs": {"content": [{"token": "lo"}]},
                "message": {"role": "assistant", "content": "Hello", "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
            },
            {"index": 1, "finish_reason": "stop", "message": {"reasoning_content": "hm"}},
        ],
    }  # fmt: skip


def test_usage_that_only_freehold_asked_for_is_held_back() -> None:
    usage = json.dumps(CHUNKS[-1]).encode()
    quiet, asked = (
        wire.Progress(read(model="m", messages=HELLO, stream=True)),
        wire.Progress(read(model="m", messages=HELLO, stream=True, stream_options={"include_usage": True})),
    )
    assert (quiet.take(usage), asked.take(usage)) == (False, True)
    assert quiet.usage is not None


@pytest.mark.parametrize(
    "rubbish",
    [b"not json", b"[]", b'{"choices": 7}', b"\xff", b"[" * 5000],
    ids=["words", "a list", "wrong type", "not UTF-8", "deep"],
)
def test_rubbish_in_a_stream_is_an_error(rubbish: bytes) -> None:
    with pytest.raises(wire.InvalidAnswer):
        wire.Progress(read(model="m", messages=HELLO, stream=True)).take(rubbish)


def test_a_stream_is_complete_when_the_provider_says_so() -> None:
    """`[DONE]`, or a reason for every choice (some providers send no mark); never merely because the bytes ended."""
    call = read(model="m", messages=HELLO, stream=True, n=2)
    progress = wire.Progress(call)
    progress.take(b'{"choices": [{"index": 0, "finish_reason": "stop"}]}')
    assert not progress.is_complete
    progress.take(b'{"choices": [{"index": 1, "finish_reason": "length"}]}')
    assert progress.is_complete
    other = wire.Progress(call)
    other.take(b"[DONE]")
    assert other.is_complete


def test_errors_have_openais_shape() -> None:
    error = UpstreamError("'x' is limiting the rate.", code="upstream.rate_limited", status=429)
    assert json.loads(wire.write_error(error)) == {
        "error": {
            "message": "'x' is limiting the rate.",
            "type": "rate_limit_error",
            "param": None,
            "code": "upstream.rate_limited",
        }
    }
