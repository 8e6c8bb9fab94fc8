"""The dialect openai-chat: known fields are checked, unknown ones kept; usage is split; folding a stream gives the unary answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.kernel.errors import CallerError, UpstreamError
from freehold.kernel.routes import ROUTES, Traits
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire.call import Call, Endpoint
from freehold.wire.openai_chat import answers as wire
from freehold.wire.openai_chat.calls import pass_on, read_call
from freehold.wire.openai_chat.streams import StreamReader
from freehold.wire.progress import Progress
from freehold.wire.sse import Event

HELLO = [{"role": "user", "content": "hello"}]


def read(endpoint: Endpoint = Endpoint.CHAT, /, **body: Any) -> Call:
    return read_call(endpoint, json.dumps(body).encode())


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
        read_call(Endpoint.CHAT, json.dumps(body).encode())
    error = json.loads(wire.write_error(caught.value))["error"]
    assert (caught.value.status, error["param"], error["type"]) == (400, param, "invalid_request_error")


def passed(call: Call, **traits: Any) -> dict[str, Any]:
    body = {**call.body}
    pass_on(call, body, Traits(**traits))
    return body


def test_unknown_fields_are_kept_and_sent() -> None:
    body = {"model": "w", "messages": HELLO, "x_new": {"deep": [1, None]}, "temperature": 0.5}
    assert passed(read(**body)) == body


def test_a_stream_asks_for_usage_where_the_target_can_tell() -> None:
    call = read(model="w", messages=HELLO, stream=True, stream_options={"x": 1})
    assert passed(call)["stream_options"] == {"x": 1, "include_usage": True}
    assert passed(call, usage_in_streams=False)["stream_options"] == {"x": 1}
    assert call.body["stream_options"] == {"x": 1}, "the caller's own body is never changed"


def test_a_server_that_spells_otherwise_gets_its_own_words() -> None:
    """A limit and a role have another name there; a field that is already there is not overwritten."""
    call = read(model="w", messages=[{"role": "developer", "content": "x"}, *HELLO], max_completion_tokens=5)
    body = {**call.body}
    pass_on(call, body, ROUTES["openai-chat"].traits)
    assert body == {"model": "w", "messages": [{"role": "system", "content": "x"}, *HELLO], "max_tokens": 5}
    assert (
        passed(
            read(model="w", messages=HELLO, max_tokens=1, max_completion_tokens=2),
            renames={"max_completion_tokens": "max_tokens"},
        )["max_tokens"]
        == 1
    )
    assert call.body["messages"][0]["role"] == "developer", "the caller's own body is never changed"


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
    found = wire.used_of(json.dumps({"choices": [], "usage": usage}).encode())
    assert found.tokens == expected
    assert (found.tokens.prompt, found.tokens.completion) == (
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 22,
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            Tokens(input=10, output=5, reasoning=7),
            id="xAI counts what it thought beside the answer",
        ),
        pytest.param({"total_tokens": 9}, Tokens(input=9), id="a ranking counts all in one"),
    ],
)
def test_usage_in_other_arithmetic(usage: dict[str, Any], expected: Tokens) -> None:
    assert wire.used_of(json.dumps({"choices": [], "usage": usage}).encode()).tokens == expected


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"error": {"message": "x"}}', id="an error with a good status"),
        pytest.param(b"{}", id="nothing in it"),
        pytest.param(b'{"choices": {}}', id="wrong type"),
    ],
)
def test_what_is_no_answer_is_not_passed_on(raw: bytes) -> None:
    with pytest.raises(c.InvalidAnswer):
        wire.used_of(raw)


@pytest.mark.parametrize(
    "rubbish",
    [b"not json", b"[]", b'{"choices": 7}', b"\xff", b"[" * 5000],
    ids=["words", "a list", "wrong type", "not UTF-8", "deep"],
)
def test_rubbish_in_a_stream_is_an_error(rubbish: bytes) -> None:
    with pytest.raises(c.InvalidAnswer):
        StreamReader("x").take(Event(rubbish, b""))


def test_a_stream_is_complete_when_the_provider_says_so() -> None:
    """`[DONE]`, or a reason for every choice (some providers send no mark); never merely because the bytes ended."""
    reader, progress = StreamReader("x"), Progress(2, needs_done=False)
    progress.take(reader.take(Event(b'{"choices": [{"index": 0, "finish_reason": "stop"}]}', b"")))
    assert not progress.is_complete
    progress.take(reader.take(Event(b'{"choices": [{"index": 1, "finish_reason": "length"}]}', b"")))
    assert progress.is_complete
    other = Progress(2, needs_done=False)
    other.take(reader.take(Event(b"[DONE]", b"")))
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
