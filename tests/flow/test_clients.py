"""Other people's clients, and the shapes that coding command lines send, to an open target through vLLM's dialect."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from conftest import NO_ENGINE, Freehold, running
from freehold.testing.standin import Standin

# Some of these clients leave their sockets to the garbage collector: that is theirs to mend, so it is collected and ignored here.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
SAID = "Hello from the stand-in."


@pytest.fixture(scope="module")
def rack() -> Iterator[Standin]:
    with Standin() as one:
        yield one


@pytest.fixture(scope="module")
def freehold(rack: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    text = f'[providers.rack]\nlike = "vllm"\nbase_url = "{rack.base_url}"\nzone = "inside"\n[workloads.coder]\ntargets = ["rack/qwen3-coder"]\n'
    with running(tmp_path_factory.mktemp("clients"), NO_ENGINE + text) as one:
        yield one


@pytest.fixture(scope="module")
def key(freehold: Freehold) -> str:
    return freehold.key("--workload", "coder")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


class Order(BaseModel):
    order_id: str


@tool
def look_up(order_id: str) -> str:
    """Find an order."""
    return f"{order_id} shipped"


@pytest.mark.parametrize("uses_responses", [False, True])
def test_langchain_openai(freehold: Freehold, key: str, uses_responses: bool) -> None:
    model = ChatOpenAI(
        model="coder",
        base_url=freehold.base_url,
        api_key=SecretStr(key),
        use_responses_api=uses_responses,
        max_retries=0,
    )
    assert model.invoke("x").text == SAID
    assert "".join(chunk.text for chunk in model.stream("x")) == SAID
    called = model.bind_tools([look_up]).invoke("x").tool_calls
    assert [(one["name"], one["args"]) for one in called] == [("look_up", {"order_id": "A-1"})]
    assert model.with_structured_output(Order, method="json_schema").invoke("x") == Order(order_id="A-1")


def test_langchain_anthropic(freehold: Freehold, key: str) -> None:
    model = ChatAnthropic(
        model_name="coder",
        base_url=freehold.base_url.removesuffix("/v1"),
        api_key=SecretStr(key),
        max_retries=0,
        timeout=20,
        stop=None,
    )
    assert model.invoke("x").text == SAID
    assert "".join(chunk.text for chunk in model.stream("x")) == SAID
    called = model.bind_tools([look_up]).invoke("x").tool_calls
    assert [(one["name"], one["args"]) for one in called] == [("look_up", {"order_id": "A-1"})]


@pytest.mark.parametrize("kind", ["chat", "responses", "messages"])
async def test_pydantic_ai(freehold: Freehold, key: str, kind: str) -> None:
    """An agent that calls a tool, is told the result, and answers."""
    model: Any
    if kind == "messages":
        model = AnthropicModel(
            "coder", provider=AnthropicProvider(api_key=key, base_url=freehold.base_url.removesuffix("/v1"))
        )
    else:
        provider = OpenAIProvider(base_url=freehold.base_url, api_key=key)
        model = (OpenAIChatModel if kind == "chat" else OpenAIResponsesModel)("coder", provider=provider)
    agent = Agent(model)
    seen: list[str] = []

    @agent.tool_plain
    def find(order_id: str) -> str:
        """Find an order."""
        seen.append(order_id)
        return "shipped"

    assert (await agent.run("x")).output == SAID
    assert seen == ["A-1"]


def test_a_coding_command_line_over_messages(freehold: Freehold, key: str, rack: Standin) -> None:
    """Large system prompts with cache marks, dozens of tools, interleaved thinking, beta headers, a token count first."""
    tools: Any = [
        {
            "name": f"Tool{at}",
            "description": "Do it. " * 50,
            "input_schema": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {"path": {"type": "string"}},
                "additionalProperties": False,
            },
        }
        for at in range(40)
    ]
    tools[-1]["cache_control"] = {"type": "ephemeral"}
    system: Any = [
        {
            "type": "text",
            "text": "You are a coding assistant. " * 400,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
        {"type": "text", "text": "Environment."},
    ]
    asked: dict[str, Any] = {
        "model": "claude-opus-4-1",
        "system": system,
        "tools": tools,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    }
    messages: Any = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>x</system-reminder>"},
                {"type": "text", "text": "Fix it.", "cache_control": {"type": "ephemeral"}},
            ],
        }
    ]
    with anthropic.Anthropic(
        auth_token=key, api_key=None, base_url=freehold.base_url.removesuffix("/v1"), max_retries=0
    ) as sdk:
        assert sdk.messages.count_tokens(**asked, messages=messages).input_tokens > 1000
        more: Any = {
            "extra_headers": {"anthropic-beta": "interleaved-thinking-2025-05-14"},
            "extra_query": {"beta": "true"},
            "extra_body": {"context_management": {"edits": []}},
        }
        with sdk.messages.stream(
            **asked, max_tokens=8000, messages=messages, metadata={"user_id": "u"}, **more
        ) as stream:
            first = stream.get_final_message()
        called: Any = [block for block in first.content if block.type == "tool_use"]
        assert called
        results = [
            {
                "type": "tool_result",
                "tool_use_id": one.id,
                "content": [{"type": "text", "text": "done"}],
                "is_error": False,
            }
            for one in called
        ]
        history = [*messages, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        second: Any = sdk.messages.create(**asked, max_tokens=8000, messages=history)
    assert second.content[-1].text == SAID
    sent = rack.requests[-1].json
    assert sent["model"] == "qwen3-coder", "the key's workload decides, whatever model the tool names"
    assert len(sent["tools"]) == 40
    assert [one["role"] for one in sent["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    assert sent["messages"][2]["reasoning"] == "Let me see.", "an open model gets its own thinking back"
    assert sent["chat_template_kwargs"] == {"enable_thinking": True}


def test_a_coding_command_line_over_responses(freehold: Freehold, key: str, rack: Standin) -> None:
    """Stateless, encrypted reasoning asked for, function and free-text tools; the free-text call comes back as one."""
    tools: Any = [
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Change files.",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
        },
        {
            "type": "function",
            "name": "shell",
            "strict": False,
            "parameters": {"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}}},
        },
    ]
    asked: Any = {
        "model": "gpt-5-codex", "instructions": "You are a coding agent. " * 300, "tools": tools, "tool_choice": "auto", "parallel_tool_calls": False, "store": False,
        "reasoning": {"effort": "medium", "summary": "auto"}, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "text": {"verbosity": "low"},
    }  # fmt: skip
    items: Any = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]},
    ]
    with openai.OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0) as sdk:
        with sdk.responses.stream(**asked, input=items) as stream:
            first = stream.get_final_response()
        kinds = [one.type for one in first.output]
        assert kinds == ["reasoning", "custom_tool_call", "function_call"]
        outputs = [
            {"type": f"{one.type}_output", "call_id": one.call_id, "output": "done"}  # type: ignore[union-attr]  # both kinds of call have one
            for one in first.output
            if one.type.endswith("_call")
        ]
        back = [one.model_dump(exclude_none=True) for one in first.output]
        second = sdk.responses.create(**asked, input=[*items, *back, *outputs])
    assert second.output_text == SAID
    sent = rack.requests[-1].json
    assert [one["role"] for one in sent["messages"]] == ["system", "system", "user", "assistant", "tool", "tool"]
    assert json.loads(sent["messages"][3]["tool_calls"][0]["function"]["arguments"])["input"]
    assert "store" not in sent
