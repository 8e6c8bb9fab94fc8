"""The official OpenAI SDK, unmodified but for base_url, against a real Freehold and a real stand-in provider."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from conftest import Freehold
from freehold.testing.standin import Behaviour, Standin

MESSAGES: Any = [{"role": "user", "content": "a question that must never be written down"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "look_up_order",
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}},
        },
    }
]


def client(freehold: Freehold, key: str) -> OpenAI:
    return OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0, timeout=20)


@pytest.fixture
def freehold(make_freehold: Callable[..., Freehold], two_zones: str) -> Freehold:
    return make_freehold(two_zones, CLOUD="sk-upstream-secret").start()


def test_chat_stream_tools_embeddings_models(freehold: Freehold) -> None:
    with client(freehold, freehold.key()) as sdk:
        answer = sdk.chat.completions.create(model="closed", messages=MESSAGES)
        assert answer.choices[0].message.content == "Hello from the stand-in."
        assert answer.usage is not None
        assert answer.usage.total_tokens == 12
        assert answer.model_extra is not None
        assert answer.model_extra["x_unknown_field"] == {"kept": True}, "nothing is lost on the same dialect"

        chunks = list(
            sdk.chat.completions.create(
                model="closed", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello from the stand-in."
        assert chunks[-1].usage is not None
        quiet = list(sdk.chat.completions.create(model="closed", messages=MESSAGES, stream=True))
        assert all(c.usage is None and c.choices for c in quiet), "usage that nobody asked for is held back"

        called = sdk.chat.completions.create(model="closed", messages=MESSAGES, tools=TOOLS)
        assert called.choices[0].message.tool_calls is not None
        assert len(sdk.chat.completions.create(model="closed", messages=MESSAGES, n=3).choices) == 3
        assert sdk.embeddings.create(model="rack/m", input="text", encoding_format="float").data[0].embedding == [
            0.1,
            0.2,
            0.3,
        ]
        assert sdk.completions.create(model="rack/m", prompt="text").choices[0].text == "Hello from the stand-in."
        assert {model.id for model in sdk.models.list()} == {"open", "closed", "rack/m"}, (
            "a restricted key sees what it may call"
        )
        assert sdk.models.retrieve("rack/m").owned_by == "rack"


def test_async_client(freehold: Freehold) -> None:
    import asyncio

    async def run() -> None:
        async with AsyncOpenAI(base_url=freehold.base_url, api_key=freehold.key(), max_retries=0) as sdk:
            answers = await asyncio.gather(
                *(sdk.chat.completions.create(model="closed", messages=MESSAGES) for _ in range(20))
            )
            assert len({answer.choices[0].message.content for answer in answers}) == 1
            stream = await sdk.chat.completions.create(model="closed", messages=MESSAGES, stream=True)
            assert [c async for c in stream]

    asyncio.run(run())
    assert freehold.usage()["total"]["calls"] == 21


def test_errors_are_the_sdks_own(freehold: Freehold, inside: Standin) -> None:
    key = freehold.key()
    with client(freehold, key) as sdk, client(freehold, "fh-wrong") as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(model="closed", messages=MESSAGES)
        with pytest.raises(openai.PermissionDeniedError, match="zone_forbidden|may not go there"):
            sdk.chat.completions.create(model="cloud/m", messages=MESSAGES)
        with pytest.raises(openai.NotFoundError, match="closed"):
            sdk.chat.completions.create(model="clozed", messages=MESSAGES)
        with pytest.raises(openai.BadRequestError):
            sdk.chat.completions.create(model="closed", messages=[])
        inside.behave(Behaviour(status=400))
        with pytest.raises(openai.BadRequestError, match="refused by the stand-in"):
            sdk.chat.completions.create(model="closed", messages=MESSAGES)
        inside.behave(Behaviour(status=500))
        with pytest.raises(openai.InternalServerError) as caught:
            sdk.chat.completions.create(model="closed", messages=MESSAGES)
        assert caught.value.status_code == 503
    with client(freehold, freehold.key("--class", "public")) as sdk:
        inside.behave(Behaviour(status=429, retry_after="30"))
        with pytest.raises(openai.RateLimitError) as limited:
            sdk.chat.completions.create(model="rack/m", messages=MESSAGES)
        assert limited.value.response.headers["retry-after"] == "30"


def test_leaving_in_mid_stream_cancels_the_upstream(freehold: Freehold, inside: Standin) -> None:
    inside.usual = Behaviour(words=("word",) * 500, event_delay_s=0.02)
    with client(freehold, freehold.key()) as sdk:
        stream = sdk.chat.completions.create(model="closed", messages=MESSAGES, stream=True)
        next(iter(stream))
        stream.close()
    until = time.monotonic() + 5
    while inside.disconnects == 0 and time.monotonic() < until:
        time.sleep(0.02)
    assert inside.disconnects == 1
    assert freehold.stop() == 0
    (receipt,) = freehold.settled()
    assert receipt["outcome"] == "cancelled"
    assert receipt["is_estimate"] is True
    assert 0 < receipt["tokens"]["output"] < 100


def test_content_and_keys_are_nowhere(freehold: Freehold, outside: Standin) -> None:
    """Not in the log, the index, the metrics, the output; and no answer shows a provider's key, an echo of it included."""
    key = freehold.key("--class", "public")
    with client(freehold, key) as sdk:
        sdk.chat.completions.create(model="closed", messages=MESSAGES, user="user-name-of-a-person")
        outside.usual = Behaviour(echo_key=True)
        assert outside.usual.echo_key
        answer = sdk.chat.completions.create(model="cloud/m", messages=MESSAGES)
        assert outside.requests[-1].headers["authorization"] == "Bearer sk-upstream-secret"
        assert "sk-upstream-secret" not in answer.model_dump_json()
        assert "[redacted]" in (answer.choices[0].message.content or "")
        for status in (400, 401, 500):
            outside.behave(Behaviour(status=status, echo_key=True))
            with pytest.raises(openai.APIStatusError) as caught:
                sdk.chat.completions.create(model="cloud/m", messages=MESSAGES)
            assert "sk-upstream-secret" not in caught.value.response.text
        with pytest.raises(openai.NotFoundError):
            sdk.chat.completions.create(model="a secret prompt in the model's name", messages=MESSAGES)
    freehold.run("usage")
    freehold.stop()
    written = freehold.output.encode() + b"".join(
        path.read_bytes() for path in freehold.state.rglob("*") if path.is_file()
    )
    for secret in (
        b"must never be written",
        b"Hello from the stand-in",
        b"sk-upstream-secret",
        key.encode(),
        b"user-name-of-a-person",
        b"a secret prompt",
    ):
        assert secret not in written
    sent = outside.requests[-1]
    assert key not in str(sent.headers), "the caller's own key stays here"
    assert set(sent.headers) <= {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "content-type",
        "authorization",
        "content-length",
    }
