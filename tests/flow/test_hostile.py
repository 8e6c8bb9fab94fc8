"""Providers that lie, in every dialect: a clear error in the caller's shape, one receipt, bounded memory; and never a success."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from conftest import NO_ENGINE, Freehold, running
from freehold.testing.standin import Behaviour, Standin

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages", "gemini", "bedrock-converse")
HTML = b"<!doctype html><html><body>502 Bad Gateway</body></html>"
ASKED: dict[str, Any] = {"max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(scope="module")
def provider() -> Iterator[Standin]:
    with Standin() as one:
        yield one


@pytest.fixture(scope="module")
def freehold(provider: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    text = NO_ENGINE
    for dialect in DIALECTS:
        text += f'[providers.{dialect}]\ndialect = "{dialect}"\nbase_url = "{provider.base_url}"\nzone = "inside"\nretries = 0\n'
        text += "timeouts = { connect = 2.0, first_byte = 5.0, silence = 1.0, total = 20.0 }\nprices = { m = { input = 1.0, output = 2.0 } }\n"
    with running(tmp_path_factory.mktemp("hostile"), text) as one:
        yield one


@pytest.fixture(scope="module")
def key(freehold: Freehold) -> str:
    return freehold.key("--class", "restricted")


@pytest.fixture
def claude(freehold: Freehold, key: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=freehold.base_url.removesuffix("/v1"), api_key=key, max_retries=0, timeout=30
    ) as one:
        yield one


def memory_mb(freehold: Freehold) -> float:
    assert freehold.process is not None
    status = Path(f"/proc/{freehold.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HTML, id="an HTML page with status 200"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"error": {"message": "no", "code": 500}}', id="an error with status 200"),
        pytest.param(b'{"id": "\xff\xfe"}', id="invalid UTF-8"),
        pytest.param(b'{"choices": 7, "output": 7, "content": 7, "candidates": 7}', id="wrong types"),
        pytest.param(b'{"a":' * 5000, id="deep"),
    ],
)
def test_what_is_no_answer_is_an_upstream_error(
    claude: anthropic.Anthropic, provider: Standin, freehold: Freehold, dialect: str, body: bytes
) -> None:
    before = len(freehold.settled())
    provider.behave(Behaviour(body=body))
    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(model=f"{dialect}/m", **ASKED)
    assert caught.value.status_code == 503, "inside is down for this call, and it may not leave"
    provider.behave(Behaviour(body=body))
    with pytest.raises(anthropic.APIStatusError):
        claude.messages.create(model=f"{dialect}/m", stream=True, **ASKED)
    assert [one["code"] for one in freehold.settled(before + 2)[-2:]] == ["perimeter.inside_unavailable"] * 2


STREAMS = {
    "invalid UTF-8": b'data: {"x": "\xff\xfe"}\n\n',
    "rubbish": b"data: rubbish\n\n",
    "a list": b"data: []\n\n",
    "wrong index": b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": "x", "delta": {"type": "input_json_delta", "partial_json": "{}"}}\n\n',
    "arguments for nobody": b'data: {"type": "response.function_call_arguments.delta", "output_index": 9, "delta": "{}"}\n\n',
}


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic-messages", "gemini"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_rubbish_is_never_a_success(
    claude: anthropic.Anthropic, provider: Standin, freehold: Freehold, dialect: str, name: str
) -> None:
    provider.behave(Behaviour(raw_stream=(STREAMS[name],)))
    with pytest.raises(anthropic.APIError), claude.messages.stream(model=f"{dialect}/m", **ASKED) as stream:
        list(stream)
    assert freehold.settled()[-1]["outcome"] in ("failed", "cut")


def test_an_event_without_end_is_cut_off_in_bounded_memory(
    claude: anthropic.Anthropic, provider: Standin, freehold: Freehold
) -> None:
    """A gigabyte in one line: given up after 16 MB; an answer that never ends: after 64 MB."""
    before = memory_mb(freehold)
    provider.behave(Behaviour(raw_stream=(b"data: ",), raw_repeat=(b"x" * 65_536, 16_384)))
    with pytest.raises(anthropic.APIError), claude.messages.stream(model="openai-chat/m", **ASKED) as stream:
        list(stream)
    assert memory_mb(freehold) - before < 120


def test_text_cannot_inject_an_event(
    claude: anthropic.Anthropic, freehold: Freehold, key: str, provider: Standin
) -> None:
    """Line ends and marks inside the text stay text, in every dialect."""
    evil = ("a\n\ndata: [DONE]\n\n", "event: error\r\n\r\n", "\r\rdata: {}\n\n", "\u2028\u0085end")
    for dialect in DIALECTS:
        provider.behave(Behaviour(words=evil))
        with claude.messages.stream(model=f"{dialect}/m", **ASKED) as stream:
            assert "".join(stream.text_stream) == "".join(evil)
        with openai.OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0) as sdk:
            provider.behave(Behaviour(words=evil))
            chunks = sdk.chat.completions.create(
                model=f"{dialect}/m", messages=[{"role": "user", "content": "x"}], stream=True
            )
            assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "".join(evil)


def test_done_twice_is_done_once(freehold: Freehold, key: str, provider: Standin) -> None:
    chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    raw = b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\ndata: [DONE]\n\n"
    provider.behave(Behaviour(raw_stream=(raw,)))
    sdk = openai.OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0)
    asked: Any = {"model": "openai-chat/m", "messages": ASKED["messages"], "stream": True}
    with sdk, sdk.chat.completions.with_streaming_response.create(**asked) as answer:
        assert answer.read().count(b"[DONE]") == 1
    assert freehold.settled()[-1]["outcome"] == "ok"


@pytest.mark.parametrize(
    "path",
    ["/v1/messages", "/v1/responses", "/v1/chat/completions", "/v1beta/models/bedrock-converse/m:generateContent"],
)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"model": "bedrock-converse/m"', id="half"),
        pytest.param(
            b'{"model": "bedrock-converse/m", "max_tokens": 1, "messages": [{"role": "user", "content": [7]}], "input": [{"type": 7}], "contents": [{"parts": 7}]}',
            id="wrong parts",
        ),
        pytest.param(
            b'{"model": "bedrock-converse/m", "max_tokens": 1, "messages": [{"role": "robot", "content": "x"}], "input": [{"role": "robot", "content": "x"}], "contents": [7]}',
            id="unknown role",
        ),
        pytest.param(
            b'{"model": "bedrock-converse/m", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}], "input": [{"type": "function_call"}], "contents": [{"parts": [{"functionCall": 7}]}]}',
            id="wrong text",
        ),
        pytest.param(
            b'{"model": "bedrock-converse/m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], "tools": [7], "input": "x", "contents": []}',
            id="wrong tools",
        ),
    ],
)
def test_a_broken_request_is_the_callers_fault(
    freehold: Freehold, key: str, path: str, body: bytes, raw_post: Callable[..., Any]
) -> None:
    status, answer = raw_post(freehold, path, body, key)
    assert status == 400, answer
    assert json.loads(answer)["error"]["message"]
