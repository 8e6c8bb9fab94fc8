"""Every dialect in, every dialect out, through a real Freehold: the vendors' own SDKs, unmodified but for their address, judge what they get."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types
from pydantic import BaseModel

from conftest import NO_ENGINE, Freehold, running
from freehold.testing.speech import SIGNATURE
from freehold.testing.standin import Behaviour, Standin
from wire.golden import PIXEL

TARGETS = ("chat", "responses", "messages", "gemini", "converse")
DIALECTS = {
    "chat": "openai-chat",
    "responses": "openai-responses",
    "messages": "anthropic-messages",
    "gemini": "gemini",
    "converse": "bedrock-converse",
}
SAID = "Hello from the stand-in."
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
QUESTION = "a question that must never be written down"


class Order(BaseModel):
    order_id: str


@pytest.fixture(scope="module")
def provider() -> Iterator[Standin]:
    with Standin() as one:
        yield one


@pytest.fixture(scope="module")
def freehold(provider: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    text = NO_ENGINE
    for name, dialect in DIALECTS.items():
        text += f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "{provider.base_url}"\nzone = "inside"\nkey = "env:KEY"\nretries = 0\n'
        text += "prices = { m = { input = 1.0, output = 2.0 } }\n"
        text += f'[workloads.w-{name}]\nclass = "restricted"\ntargets = ["{name}/m"]\n'
        text += f'[workloads.exact-{name}]\nclass = "restricted"\nlossless = true\ntargets = ["{name}/m"]\n'
    with running(tmp_path_factory.mktemp("dialects"), text, KEY="sk-upstream-secret") as one:
        yield one


@pytest.fixture(scope="module")
def key(freehold: Freehold) -> str:
    return freehold.key("--class", "restricted")


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return f"{request.param}/m"


def root(freehold: Freehold) -> str:
    return freehold.base_url.removesuffix("/v1")


# --- openai: chat --------------------------------------------------------------------------------------------

CHAT_TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("look_up", "now")
]
IMAGE: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


@pytest.fixture
def sdk(freehold: Freehold, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0, timeout=20) as one:
        yield one


def test_openai_chat(sdk: openai.OpenAI, target: str) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": QUESTION}, IMAGE]}]
    answer = sdk.chat.completions.create(model=target, messages=messages)
    assert answer.choices[0].message.content == SAID
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 5)
    chunks = list(
        sdk.chat.completions.create(
            model=target, messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == SAID
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    quiet = list(sdk.chat.completions.create(model=target, messages=messages, stream=True))
    assert all(one.usage is None for one in quiet)


def test_openai_chat_tools_and_back(sdk: openai.OpenAI, target: str) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    first = sdk.chat.completions.create(model=target, messages=messages, tools=CHAT_TOOLS, tool_choice="required")
    called: Any = first.choices[0].message.tool_calls
    assert [(one.function.name, json.loads(one.function.arguments)) for one in called] == [
        ("look_up", {"order_id": "A-1"}),
        ("now", {"order_id": "A-1"}),
    ]
    assert first.choices[0].finish_reason == "tool_calls"
    results = [{"role": "tool", "tool_call_id": one.id, "content": "shipped"} for one in called]
    second = sdk.chat.completions.create(
        model=target, messages=[*messages, first.choices[0].message, *results], tools=CHAT_TOOLS
    )
    assert second.choices[0].message.content == SAID
    with sdk.chat.completions.stream(model=target, messages=messages, tools=CHAT_TOOLS) as stream:
        whole: Any = stream.get_final_completion().choices[0].message.tool_calls
    assert [json.loads(one.function.arguments) for one in whole] == [{"order_id": "A-1"}] * 2


def test_openai_chat_structured_and_reasoning(sdk: openai.OpenAI, target: str) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    parsed = sdk.chat.completions.parse(model=target, messages=messages, response_format=Order)
    assert parsed.choices[0].message.parsed == Order(order_id="A-1")
    thinking: dict[str, Any] = {"messages/m": "claude-opus-4-1", "converse/m": "us.anthropic.claude-opus-4-1"}
    model = f"{target.split('/')[0]}/{thinking[target]}" if target in thinking else target
    answer = sdk.chat.completions.create(model=model, messages=messages, reasoning_effort="low")
    if not target.startswith(("responses", "gemini")):
        assert answer.choices[0].message.reasoning_content == "Let me see."  # type: ignore[attr-defined]  # an extension


async def test_openai_async(freehold: Freehold, key: str) -> None:
    async with openai.AsyncOpenAI(base_url=freehold.base_url, api_key=key, max_retries=0) as sdk:
        messages: Any = [{"role": "user", "content": QUESTION}]
        for target in TARGETS:
            stream = await sdk.chat.completions.create(model=f"{target}/m", messages=messages, stream=True)
            assert "".join([one.choices[0].delta.content or "" async for one in stream if one.choices]) == SAID
            events = await sdk.responses.create(model=f"{target}/m", input=QUESTION, stream=True)
            assert "".join([one.delta async for one in events if one.type == "response.output_text.delta"]) == SAID


# --- openai: responses -----------------------------------------------------------------------------------------

RESPONSE_TOOLS: Any = [
    {"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in ("look_up", "now")
]


def test_openai_responses(sdk: openai.OpenAI, target: str) -> None:
    parts: Any = [
        {"type": "input_text", "text": QUESTION},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
    ]
    asked: Any = [{"role": "user", "content": parts}]
    answer = sdk.responses.create(model=target, instructions="Be brief.", input=asked)
    assert answer.output_text == SAID
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 5)
    kinds = []
    with sdk.responses.stream(model=target, input=asked) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == SAID
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_openai_responses_tools_and_back(sdk: openai.OpenAI, target: str) -> None:
    first = sdk.responses.create(model=target, input=QUESTION, tools=RESPONSE_TOOLS)
    called = [one for one in first.output if one.type == "function_call"]
    assert [(one.name, json.loads(one.arguments)) for one in called] == [
        ("look_up", {"order_id": "A-1"}),
        ("now", {"order_id": "A-1"}),
    ]
    results: Any = [{"type": "function_call_output", "call_id": one.call_id, "output": "shipped"} for one in called]
    items: Any = [{"role": "user", "content": QUESTION}, *first.output, *results]
    assert sdk.responses.create(model=target, input=items, tools=RESPONSE_TOOLS).output_text == SAID
    with sdk.responses.stream(model=target, input=QUESTION, tools=RESPONSE_TOOLS) as stream:
        whole = stream.get_final_response()
    assert [json.loads(one.arguments) for one in whole.output if one.type == "function_call"] == [
        {"order_id": "A-1"}
    ] * 2
    parsed = sdk.responses.parse(model=target, input=QUESTION, text_format=Order)
    assert parsed.output_parsed == Order(order_id="A-1")


FREE: Any = {"type": "custom", "custom": {"name": "look_up", "description": "Find an order."}}


def test_chat_custom_tools(sdk: openai.OpenAI, target: str) -> None:
    """A tool that takes free text: offered as a function, called as custom, whole and streamed, and its result goes back."""
    if target == "chat/m":
        return  # passes as it is
    ask: Any = {"model": target, "messages": [{"role": "user", "content": QUESTION}], "tools": [FREE]}
    first = sdk.chat.completions.create(**ask)
    (called,) = first.choices[0].message.tool_calls or ()
    assert called.type == "custom"
    assert (called.custom.name, json.loads(called.custom.input)) == ("look_up", {"order_id": "A-1"})
    streamed = [
        one
        for chunk in sdk.chat.completions.create(**ask, stream=True)
        for one in (chunk.choices[0].delta.tool_calls or () if chunk.choices else ())
    ]
    pieces = [one.model_extra["custom"] for one in streamed]  # type: ignore[index]  # the SDK has no field for it in chunks
    assert pieces[0]["name"] == "look_up"
    assert json.loads("".join(one["input"] for one in pieces)) == {"order_id": "A-1"}
    assert streamed[0].id
    result = {"role": "tool", "tool_call_id": called.id, "content": "shipped"}
    ask["messages"] += [first.choices[0].message, result]
    assert sdk.chat.completions.create(**ask).choices[0].message.content == SAID


def test_openai_responses_state_needs_who_holds_it(sdk: openai.OpenAI, target: str) -> None:
    """What refers to state passes to a target that holds it; from any other it is refused, and the refusal says so."""
    first = sdk.responses.create(model="responses/m", input=QUESTION)
    if target == "responses/m":
        assert sdk.responses.create(model=target, input=QUESTION, previous_response_id=first.id).output_text == SAID
        return
    for more in ({"background": True}, {"conversation": "conv_1"}):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.responses.create(model=target, input=QUESTION, **more)  # type: ignore[call-overload]  # each is one of its arguments
        assert caught.value.code == "request.stateful"
        assert next(iter(more)) in str(caught.value)
    with pytest.raises(openai.BadRequestError, match="held by a target that") as caught:
        sdk.responses.create(model=target, input=QUESTION, previous_response_id=first.id)
    assert caught.value.code == "request.stateful"


# --- anthropic ---------------------------------------------------------------------------------------------

CLAUDE_TOOLS: Any = [{"name": name, "input_schema": SCHEMA} for name in ("look_up", "now")]


@pytest.fixture
def claude(freehold: Freehold, key: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=root(freehold), api_key=key, max_retries=0, timeout=20) as one:
        yield one


def test_anthropic(claude: anthropic.Anthropic, target: str) -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": QUESTION}, image]}]
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    answer = claude.messages.create(model=target, max_tokens=100, system=system, messages=messages)
    assert answer.content[0].text == SAID  # type: ignore[union-attr]  # it is text
    assert answer.stop_reason == "end_turn"
    used = answer.usage
    assert (
        used.input_tokens + (used.cache_read_input_tokens or 0) + (used.cache_creation_input_tokens or 0),
        used.output_tokens,
    ) == (7, 5)
    with claude.messages.stream(model=target, max_tokens=100, messages=messages) as stream:
        assert "".join(stream.text_stream) == SAID
        assert stream.get_final_message().usage.output_tokens == 5


def test_anthropic_tools_and_thinking(claude: anthropic.Anthropic, target: str) -> None:
    """Thinking comes with a signature and goes back with it; where another made it, it is not shown to those who cannot read it."""
    messages: Any = [{"role": "user", "content": QUESTION}]
    model = {"messages/m": "messages/claude-opus-4-1", "converse/m": "converse/us.anthropic.claude-opus-4-1"}.get(
        target, target
    )
    asked: dict[str, Any] = {"model": model, "max_tokens": 4000, "tools": CLAUDE_TOOLS}
    with claude.messages.stream(
        messages=messages, thinking={"type": "enabled", "budget_tokens": 2000}, **asked
    ) as stream:
        first = stream.get_final_message()
    called: Any = [block for block in first.content if block.type == "tool_use"]
    assert [(one.name, one.input) for one in called] == [("look_up", {"order_id": "A-1"}), ("now", {"order_id": "A-1"})]
    assert first.stop_reason == "tool_use"
    thoughts: Any = [block for block in first.content if block.type == "thinking"]
    assert "".join(one.thinking for one in thoughts) == "Let me see."
    assert all(one.signature for one in thoughts)
    results = [{"type": "tool_result", "tool_use_id": one.id, "content": "shipped"} for one in called]
    history = [*messages, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second: Any = claude.messages.create(messages=history, **asked)
    assert second.content[0].text == SAID


def test_anthropic_count_tokens(claude: anthropic.Anthropic, target: str) -> None:
    found = claude.messages.with_raw_response.count_tokens(
        model=target, messages=[{"role": "user", "content": QUESTION}]
    )
    counted = found.parse().input_tokens
    if target == "messages/m":
        assert counted == 7, "who can count is asked"
    else:
        assert 10 < counted < 60, "else it is an estimate"
        assert found.headers["x-freehold-estimate"] == "true"


# --- google ------------------------------------------------------------------------------------------------


@pytest.fixture
def google(freehold: Freehold, key: str) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=root(freehold)))


def test_google(google: genai.Client, target: str) -> None:
    image = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
    answer = google.models.generate_content(
        model=target, contents=[QUESTION, image], config=types.GenerateContentConfig(system_instruction="Be brief.")
    )
    assert answer.text == SAID
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count) == (7, 5)
    pieces = list(google.models.generate_content_stream(model=target, contents=QUESTION))
    assert "".join(one.text or "" for one in pieces) == SAID
    assert google.models.count_tokens(model=target, contents=QUESTION).total_tokens


def test_google_tools_and_back(google: genai.Client, target: str) -> None:
    declared = [types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA) for name in ("look_up", "now")]
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=declared)])
    first = google.models.generate_content(model=target, contents=QUESTION, config=config)
    assert first.function_calls is not None
    assert [(one.name, one.args) for one in first.function_calls] == [
        ("look_up", {"order_id": "A-1"}),
        ("now", {"order_id": "A-1"}),
    ]
    assert first.candidates is not None
    results = [
        types.Part.from_function_response(name=one.name or "", response={"output": "shipped"})
        for one in first.function_calls
    ]
    history: Any = [
        types.Content(role="user", parts=[types.Part(text=QUESTION)]),
        first.candidates[0].content,
        types.Content(role="user", parts=results),
    ]
    assert google.models.generate_content(model=target, contents=history, config=config).text == SAID
    streamed = [
        call
        for one in google.models.generate_content_stream(model=target, contents=QUESTION, config=config)
        for call in one.function_calls or ()
    ]
    assert [one.args for one in streamed] == [{"order_id": "A-1"}] * 2
    shaped = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Order)
    assert google.models.generate_content(model=target, contents=QUESTION, config=shaped).parsed == Order(
        order_id="A-1"
    )


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # the SDK's own
async def test_google_async(freehold: Freehold, key: str) -> None:
    sdk = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=root(freehold)))
    for target in TARGETS:
        pieces = [
            one.text or ""
            async for one in await sdk.aio.models.generate_content_stream(model=f"{target}/m", contents=QUESTION)
        ]
        assert "".join(pieces) == SAID
    await sdk.aio.aclose()


async def test_anthropic_async(freehold: Freehold, key: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=root(freehold), api_key=key, max_retries=0) as sdk:
        for target in TARGETS:
            async with sdk.messages.stream(
                model=f"{target}/m", max_tokens=100, messages=[{"role": "user", "content": QUESTION}]
            ) as stream:
                assert "".join([piece async for piece in stream.text_stream]) == SAID


# --- what every dialect has in common ----------------------------------------------------------------------------


def test_a_signature_comes_back_to_who_made_it(claude: anthropic.Anthropic, provider: Standin) -> None:
    """Gemini's signature of a call travels through an Anthropic client and arrives verbatim; at another target it does not arrive at all."""
    messages: Any = [{"role": "user", "content": QUESTION}]
    asked: dict[str, Any] = {"max_tokens": 100, "tools": CLAUDE_TOOLS}
    first = claude.messages.create(model="gemini/m", messages=messages, **asked)
    called: Any = [block for block in first.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": one.id, "content": "shipped"} for one in called]
    history = [*messages, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    claude.messages.create(model="gemini/m", messages=history, **asked)
    sent = provider.requests[-1].json["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in sent] == [SIGNATURE, None]
    claude.messages.create(model="messages/m", messages=history, **asked)
    assert b"thinking" not in provider.requests[-1].body
    assert b"fh1:" not in provider.requests[-1].body


def test_errors_have_the_callers_shape(
    sdk: openai.OpenAI, claude: anthropic.Anthropic, google: genai.Client, provider: Standin, target: str
) -> None:
    """A refusal by any target is told in the caller's dialect, in the provider's own words."""
    refusal = Behaviour(status=400, body=b'{"error": {"message": "top_k is too large", "type": "x", "code": "y"}}')
    provider.behave(refusal)
    with pytest.raises(openai.BadRequestError, match="top_k is too large"):
        sdk.responses.create(model=target, input=QUESTION)
    provider.behave(refusal)
    with pytest.raises(anthropic.BadRequestError, match="top_k is too large"):
        claude.messages.create(model=target, max_tokens=1, messages=[{"role": "user", "content": "x"}])
    provider.behave(refusal)
    with pytest.raises(google_errors.ClientError, match="top_k is too large"):
        google.models.generate_content(model=target, contents="x")
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nobody/m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(google_errors.ClientError, match="not known here"):
        google.models.generate_content(model="nobody/m", contents="x")


def test_wrong_keys_are_refused_in_every_dialect(freehold: Freehold) -> None:
    with (
        pytest.raises(openai.AuthenticationError),
        openai.OpenAI(base_url=freehold.base_url, api_key="fh-wrong", max_retries=0) as sdk,
    ):
        sdk.responses.create(model="chat/m", input="x")
    with (
        pytest.raises(anthropic.AuthenticationError),
        anthropic.Anthropic(base_url=root(freehold), api_key="fh-wrong", max_retries=0) as claude,
    ):
        claude.messages.create(model="chat/m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    google = genai.Client(api_key="fh-wrong", http_options=types.HttpOptions(base_url=root(freehold)))
    with pytest.raises(google_errors.ClientError) as caught:
        google.models.generate_content(model="chat/m", contents="x")
    assert caught.value.code == 401


def test_a_stream_that_breaks_off_is_an_error_in_every_sdk(
    sdk: openai.OpenAI, claude: anthropic.Anthropic, google: genai.Client, provider: Standin, target: str
) -> None:
    """Never a success: what came before it is there, then the SDK raises its own exception, and the receipt says `cut` with an estimate."""
    provider.behave(Behaviour(cut_after=4))
    got = []
    with pytest.raises(openai.APIError):
        for chunk in sdk.chat.completions.create(
            model=target, messages=[{"role": "user", "content": "x"}], stream=True
        ):
            got.append(chunk)  # noqa: PERF402 - what came before the error is kept
    assert got
    provider.behave(Behaviour(cut_after=4))
    with pytest.raises(openai.APIError):
        list(sdk.responses.create(model=target, input="x", stream=True))
    provider.behave(Behaviour(cut_after=4))
    with (
        pytest.raises(anthropic.APIError),
        claude.messages.stream(model=target, max_tokens=1, messages=[{"role": "user", "content": "x"}]) as stream,
    ):
        list(stream)
    provider.behave(Behaviour(cut_after=4))
    with pytest.raises(google_errors.APIError):
        list(google.models.generate_content_stream(model=target, contents="x"))


def test_a_cut_stream_has_one_receipt_with_an_estimate(
    sdk: openai.OpenAI, provider: Standin, freehold: Freehold, target: str
) -> None:
    """Also where the provider had told a part of its usage before it broke off."""
    before = len(freehold.settled())
    provider.behave(Behaviour(cut_after=4))
    with pytest.raises(openai.APIError):
        list(sdk.chat.completions.create(model=target, messages=[{"role": "user", "content": "x"}], stream=True))
    (receipt,) = freehold.settled(before + 1)[before:]
    assert (receipt["outcome"], receipt["is_estimate"], receipt["code"]) == ("cut", True, "upstream.cut")
    assert receipt["tokens"]["input"] > 0
    assert receipt["tokens"]["output"] >= 1


def test_model_lists(sdk: openai.OpenAI, claude: anthropic.Anthropic, google: genai.Client) -> None:
    names = {one.id for one in sdk.models.list()}
    assert {"w-chat", "chat/m"} <= names
    assert {one.id for one in claude.models.list()} == names
    assert {(one.name or "").removeprefix("models/") for one in google.models.list()} == names
    assert claude.models.retrieve("chat/m").id == "chat/m"


def test_what_is_lost_is_said(sdk: openai.OpenAI, freehold: Freehold) -> None:
    """In a header and in the receipt; a lossless workload refuses instead, and says what it would lose."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "seed": 7, "logit_bias": {"1": 2}}
    found = sdk.chat.completions.with_raw_response.create(model="w-messages", **asked)
    assert found.headers["x-freehold-lost"] == "logit_bias, seed"
    with pytest.raises(openai.BadRequestError, match="would lose logit_bias, seed"):
        sdk.chat.completions.create(model="exact-messages", **asked)
    same = sdk.chat.completions.with_raw_response.create(model="exact-chat", **asked)
    assert "x-freehold-lost" not in same.headers
    plain = sdk.chat.completions.create(model="exact-messages", messages=asked["messages"])
    assert plain.choices[0].message.content == SAID


def test_content_that_a_target_cannot_take_is_refused(sdk: openai.OpenAI) -> None:
    """An answer about a picture that was never seen would be worse than an error."""
    sound: Any = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    with pytest.raises(openai.BadRequestError, match="cannot take audio_data"):
        sdk.chat.completions.create(model="messages/m", messages=[{"role": "user", "content": [sound]}])


def test_embeddings_rankings_and_moderations_pass_through(sdk: openai.OpenAI, freehold: Freehold, key: str) -> None:
    assert len(sdk.embeddings.create(model="chat/m", input="x").data[0].embedding) == 3, "the SDK asks for base64"
    assert sdk.moderations.create(model="chat/m", input="x").results[0].flagged is False
    ranked: Any = sdk.post("/rerank", body={"model": "chat/m", "query": "x", "documents": ["a", "b"]}, cast_to=object)
    assert [one["index"] for one in ranked["results"]] == [0, 1]
    with pytest.raises(openai.BadRequestError, match="does not serve embeddings"):
        sdk.embeddings.create(model="messages/m", input="x")


def test_receipts_say_what_was_lost_and_used(freehold: Freehold, sdk: openai.OpenAI) -> None:
    sdk.chat.completions.create(
        model="w-gemini", messages=[{"role": "user", "content": QUESTION}], user="u", stream=False
    )
    sdk.chat.completions.create(model="w-messages", messages=[{"role": "user", "content": QUESTION}])
    latest = [one for one in freehold.settled() if one["workload"] in ("w-gemini", "w-messages")][-2:]
    assert [one["lost"] for one in latest] == [["user"], []]
    assert latest[1]["tokens"] == {
        "input": 3,
        "cache_read": 3,
        "cache_write": 1,
        "cache_write_1h": 0,
        "output": 5,
        "reasoning": 0,
        "audio_in": 0,
        "audio_out": 0,
    }
    log = "".join(path.read_text() for path in (freehold.state / "log").glob("*.jsonl"))
    assert QUESTION not in log
    assert "stand-in" not in log
    assert "sk-upstream-secret" not in log
