"""The promise: a restricted call reaches no outside target, whatever fails inside. The outside stand-in counts every connection."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from openai import APIStatusError, OpenAI

from conftest import Freehold
from freehold.testing.standin import Behaviour, Standin

FAILURES = [
    pytest.param(Behaviour(hang=True), id="no answer"),
    pytest.param(Behaviour(status=429, retry_after="0"), id="429"),
    pytest.param(Behaviour(status=500), id="500"),
    pytest.param(Behaviour(status=503), id="503"),
    pytest.param(Behaviour(status=401), id="401"),
    pytest.param(Behaviour(status=404), id="404"),
    pytest.param(Behaviour(status=307, location="https://elsewhere.example/"), id="redirect"),
    pytest.param(Behaviour(rubbish=True), id="rubbish"),
    pytest.param(Behaviour(body=b'{"error": {"message": "no"}}'), id="an error with status 200"),
    pytest.param(Behaviour(cut_after=0), id="cut at once"),
]


def call(
    freehold: Freehold, key: str, *, stream: bool = False, headers: dict[str, str] | None = None, model: str = "open"
) -> tuple[int, str]:
    """Status and code of one call; a stream is read to its end."""
    with OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0, timeout=20) as sdk:
        try:
            answer = sdk.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "x"}], stream=stream, extra_headers=headers or {}
            )  # type: ignore[call-overload]  # the SDK overloads on the literal
            if stream:
                list(answer)
        except APIStatusError as error:
            return error.status_code, str(error.code)
    return 200, ""


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_a_restricted_call_never_leaves(
    make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin, outside: Standin, stream: bool
) -> None:
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    key = freehold.key()
    assert call(freehold, key, stream=stream) == (200, ""), "it works while the inside target lives"
    for failure in FAILURES:
        inside.behave(failure.values[0])
        assert call(freehold, key, stream=stream) == (503, "perimeter.inside_unavailable"), failure.id
    assert call(freehold, key, stream=stream) == (200, "")
    inside.stop()
    assert call(freehold, key, stream=stream) == (503, "perimeter.inside_unavailable")
    assert (outside.connections, outside.bytes_received) == (0, 0)
    public = freehold.key("--class", "public")
    assert call(freehold, public, stream=stream) == (200, ""), "a public call may leave"
    assert outside.connections == 1


_SAID = [{"role": "user", "content": "x"}]
DIALECTS = {
    "responses": ("/v1/responses", {"model": "open", "input": "x"}, "authorization"),
    "messages": ("/v1/messages", {"model": "open", "max_tokens": 9, "messages": _SAID}, "x-api-key"),
    "gemini": (
        "/v1beta/models/open:{verb}",
        {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
        "x-goog-api-key",
    ),
}


def ask(freehold: Freehold, key: str, dialect: str, *, stream: bool) -> int:
    """The status of one call in another dialect than chat; a stream is read to its end."""
    path, body, header = DIALECTS[dialect]
    if dialect == "gemini":
        path = path.format(verb="streamGenerateContent?alt=sse" if stream else "generateContent")
    elif stream:
        body = {**body, "stream": True}
    root = freehold.base_url.removesuffix("/v1")
    secret = f"Bearer {key}" if header == "authorization" else key
    return httpx.post(root + path, json=body, headers={header: secret}, timeout=20).status_code


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_restricted_call_never_leaves_in_any_dialect(
    make_freehold: Callable[..., Freehold],
    two_zones: str,
    inside: Standin,
    outside: Standin,
    dialect: str,
    stream: bool,
) -> None:
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    key = freehold.key()
    assert ask(freehold, key, dialect, stream=stream) == 200
    for failure in FAILURES:
        inside.behave(failure.values[0])
        assert ask(freehold, key, dialect, stream=stream) == 503, failure.id
    inside.stop()
    assert ask(freehold, key, dialect, stream=stream) == 503
    assert (outside.connections, outside.bytes_received) == (0, 0)
    assert ask(freehold, freehold.key("--class", "public"), dialect, stream=stream) == 200, "a public call may leave"
    assert outside.connections == 1


def test_counting_tokens_never_leaves(
    make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin, outside: Standin
) -> None:
    """A count sends the whole prompt: it is as restricted as the call that it prepares."""
    inside_speaks = two_zones.replace("[providers.rack]", '[providers.rack]\ndialect = "anthropic-messages"')
    freehold = make_freehold(
        inside_speaks.replace("[providers.cloud]", '[providers.cloud]\ndialect = "anthropic-messages"'), CLOUD="sk-1"
    ).start()
    key, body = freehold.key(), {"model": "open", "messages": _SAID}
    root = freehold.base_url.removesuffix("/v1")

    def count(key: str) -> int:
        return httpx.post(
            f"{root}/v1/messages/count_tokens", json=body, headers={"x-api-key": key}, timeout=20
        ).status_code

    assert count(key) == 200
    inside.stop()
    assert count(key) == 503
    assert (outside.connections, outside.bytes_received) == (0, 0)
    assert count(freehold.key("--class", "public")) == 200
    assert outside.connections == 1


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("second", ["openai-responses", "anthropic-messages", "gemini", "bedrock-converse"])
def test_another_dialect_takes_over(
    make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin, outside: Standin, second: str, stream: bool
) -> None:
    """A call that one dialect's target fails is written anew for the next one's; a restricted one still is not."""
    freehold = make_freehold(
        two_zones.replace("[providers.cloud]", f'[providers.cloud]\ndialect = "{second}"'), CLOUD="sk-1"
    ).start()
    inside.behave(Behaviour(status=500))
    assert call(freehold, freehold.key(), stream=stream) == (503, "perimeter.inside_unavailable")
    assert outside.connections == 0
    inside.behave(Behaviour(status=500))
    with OpenAI(base_url=freehold.base_url, api_key=freehold.key("--class", "public"), max_retries=0) as sdk:
        said = [{"role": "user", "content": "x"}]
        answer = sdk.chat.completions.create(model="open", messages=said, stream=stream)  # type: ignore[call-overload]  # the SDK overloads on the literal
        pieces = [one.choices[0].delta.content or "" for one in answer] if stream else [answer.choices[0].message.content]  # fmt: skip
    assert "".join(pieces) == "Hello from the stand-in."
    freehold.stop()
    (receipt,) = (one for one in freehold.settled() if one["outcome"] == "ok")
    assert [one["target"] for one in receipt["attempts"]] == ["rack/m", "cloud/m"]
    assert receipt["tokens"]["output"] == 5


@pytest.mark.parametrize("model", ["..", "."])
@pytest.mark.parametrize("dialect", ["openai-chat", "gemini", "bedrock-converse"])
def test_a_model_name_stays_one_name(
    make_freehold: Callable[..., Freehold], two_zones: str, outside: Standin, model: str, dialect: str
) -> None:
    """Two of these put the model into the path, where a name of dots would ask for something else with the provider's key."""
    freehold = make_freehold(
        two_zones.replace("[providers.cloud]", f'[providers.cloud]\ndialect = "{dialect}"'), CLOUD="sk-1"
    ).start()
    status, _ = call(freehold, freehold.key("--class", "public"), model=f"cloud/{model}")
    assert 400 <= status < 500
    assert outside.connections == 0


def test_every_way_to_lower_a_class_fails(
    make_freehold: Callable[..., Freehold], two_zones: str, outside: Standin
) -> None:
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    restricted, bound = freehold.key(), freehold.key("--workload", "closed")
    tries = [
        (restricted, {"x-freehold-class": "public"}, "cloud/m"), (restricted, {"x-freehold-workload": "open"}, "cloud/m"), (bound, {"x-freehold-workload": "open"}, "open"),
        (bound, {}, "open"), (bound, {}, "cloud/m"), (freehold.key("--class", "public"), {"x-freehold-class": "restricted"}, "cloud/m"),
        (freehold.key("--class", "public"), {"x-freehold-class": "???"}, "cloud/m"),
    ]  # fmt: skip
    for key, headers, model in tries:
        assert call(freehold, key, headers=headers, model=model)[0] == 403, (headers, model)
    assert outside.connections == 0
    assert all(record["outcome"] == "refused" for record in freehold.settled())


@pytest.mark.parametrize("stage", ["unary", "stream begun", "stream cut"])
def test_failover_ends_with_the_first_byte(
    make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin, outside: Standin, stage: str
) -> None:
    """Before it another target may take over; after it the caller gets an error, never a second answer."""
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    key = freehold.key("--class", "public")
    inside.behave(Behaviour(cut_after={"unary": 5, "stream begun": 0, "stream cut": 2}[stage]))
    with OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0) as sdk:
        if stage == "unary":
            sdk.chat.completions.create(model="open", messages=[{"role": "user", "content": "x"}])
        elif stage == "stream begun":
            assert list(
                sdk.chat.completions.create(model="open", messages=[{"role": "user", "content": "x"}], stream=True)
            )
        else:
            with pytest.raises(Exception, match="broke the connection off|ended the stream"):
                list(
                    sdk.chat.completions.create(model="open", messages=[{"role": "user", "content": "x"}], stream=True)
                )
    assert outside.connections == (0 if stage == "stream cut" else 1)
    freehold.stop()
    (receipt,) = freehold.settled()
    assert receipt["outcome"] == ("cut" if stage == "stream cut" else "ok")
    assert len(receipt["attempts"]) == (1 if stage == "stream cut" else 2)


def test_up_refuses_to_start_on_a_leak(make_freehold: Callable[..., Freehold], two_zones: str) -> None:
    freehold = make_freehold(two_zones.replace('class = "public"', 'class = "restricted"'), CLOUD="sk-1")
    checked = freehold.run("check", check=False)
    assert checked.returncode == 1
    assert "workload open (restricted) → fallback 1 cloud/m → zone outside" in checked.stdout
    started = freehold.run(
        "up", "--no-hello", "--port", str(freehold.port), "--admin-port", str(freehold.admin_port), check=False
    )
    assert started.returncode == 2
    assert "contradicts its own classes" in started.stderr
