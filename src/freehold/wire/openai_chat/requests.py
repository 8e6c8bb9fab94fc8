"""openai-chat requests: messages, tools and settings, both ways (platform.openai.com/docs/api-reference/chat, checked 2026-11).

Extensions that many providers share are read too: `reasoning_content`, `reasoning`, `reasoning_details`, `top_k`, `cache_control` on parts,
`document_url`, thinking parts. `functions`, the older form of tools, is read as tools. A custom tool is offered to other dialects as a
function with one string, and its calls are written back as custom.
"""

from __future__ import annotations

from typing import Any

from freehold.wire import canonical as c
from freehold.wire import strict
from freehold.wire.canonical import Conversation, Feature
from freehold.wire.dialect import (
    choice_of,
    free_text_tool,
    heard,
    located,
    offered_choice,
    only_allowed,
    optional,
    words,
    wrap_text,
)
from freehold.wire.known import is_read
from freehold.wire.openai_chat.known import KNOWN

NAME = "openai-chat"


def read_request(body: dict[str, Any]) -> Conversation:
    """Read a chat completion's body."""
    offered, hosted = _read_tools(body)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = body.get("stop")
    logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
    only: list[Feature] = []
    if body.get("audio") or "audio" in (body.get("modalities") or ()):
        only.append(Feature.AUDIO_OUT)
    if body.get("web_search_options") is not None:
        only.append(Feature.HOSTED_TOOLS)
    if body.get("prediction") is not None:
        only.append(Feature.UNKNOWN)
    if any(message.get("annotations") for message in body["messages"]):
        only.append(Feature.CITATIONS)
    if any(((tool.get("custom") or {}).get("format") or {}).get("grammar") for tool in body.get("tools") or ()):
        only.append(Feature.TOOL_GRAMMAR)
    choice = offered_choice(_read_choice(body.get("tool_choice", body.get("function_call"))), offered, only)
    return Conversation(
        dialect=NAME,
        turns=_read_messages(body["messages"]),
        is_stream=body.get("stream") is True,
        tools=only_allowed(offered, _allowed(body.get("tool_choice"))),
        hosted=hosted,
        tool_choice=choice,
        allows_parallel=body.get("parallel_tool_calls"),
        shape=_read_shape(body.get("response_format")),
        max_output=limit,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=(stop,) if isinstance(stop, str) else tuple(words(one) for one in stop or ()),
        seed=body.get("seed", body.get("random_seed")),
        presence_penalty=body.get("presence_penalty"),
        frequency_penalty=body.get("frequency_penalty"),
        logit_bias=body.get("logit_bias"),
        logprobs=logprobs,
        n=body.get("n") or 1,
        reasoning=_read_reasoning(body),
        user=optional(body.get("safety_identifier") or body.get("user")),
        metadata=body.get("metadata"),
        service_tier=body.get("service_tier"),
        store=body.get("store"),
        cache_key=body.get("prompt_cache_key"),
        verbosity=body.get("verbosity"),
        only=tuple(only),
        has_unknown=not is_read(body, KNOWN),
    )


def _read_reasoning(body: dict[str, Any]) -> c.Reasoning | None:
    asked = body.get("reasoning")
    if isinstance(asked, dict):
        effort = asked.get("effort") or ("none" if asked.get("enabled") is False else None)
        shows = not asked["exclude"] if "exclude" in asked else None
        return c.Reasoning(effort, asked.get("max_tokens"), shows)
    if (effort := optional(body.get("reasoning_effort"))) is not None:
        return c.Reasoning(effort)
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        return c.Reasoning("none" if thinking.get("type") == "disabled" else None, thinking.get("budget_tokens"))
    return None


# --- messages in ---------------------------------------------------------------------------------------------


def _read_messages(messages: list[Any]) -> list[c.Turn]:
    turns: list[c.Turn] = []
    for message in messages:
        role = message["role"]
        if role in ("tool", "function"):
            parts = tuple(_read_parts(message.get("content")))
            name = optional(message.get("name")) or ""
            about = message.get("tool_call_id") or _function_id(name)
            result = c.ToolResult(words(about), parts, name, cache=_cache(message))
            if turns and turns[-1].role == "user" and turns[-1].parts and isinstance(turns[-1].parts[-1], c.ToolResult):
                turns[-1] = c.Turn("user", (*turns[-1].parts, result))
            else:
                turns.append(c.Turn("user", (result,)))
        elif role == "assistant":
            turns.append(c.Turn("assistant", tuple(_read_assistant(message)), optional(message.get("name"))))
        elif role in ("system", "developer", "user"):
            turns.append(c.Turn(role, tuple(_read_parts(message.get("content"))), optional(message.get("name"))))
        else:
            raise ValueError(role)
    return turns


def _function_id(name: str) -> str:
    return f"call_{name}"


def _read_parts(content: Any) -> list[Any]:
    if content is None:
        return []
    if isinstance(content, str):
        return [c.Text(content)]
    return [_read_part(part) for part in content]


def _read_part(part: dict[str, Any]) -> c.Part:
    kind = part["type"]
    if kind == "text":
        return c.Text(words(part["text"]), cache=_cache(part))
    if kind == "refusal":
        return c.Refusal(words(part["refusal"]))
    if kind == "image_url":
        image = part["image_url"] if isinstance(part["image_url"], dict) else {"url": part["image_url"]}
        return located("image", words(image["url"]), detail=optional(image.get("detail")), cache=_cache(part))
    if kind == "input_audio":
        return heard(part)
    if kind == "file":
        return _read_file(part)
    if kind == "document_url":
        return located("document", words(part["document_url"]), name=optional(part.get("document_name")))
    if kind == "file_url":
        return located("document", words(part["file_url"]["url"]), name=optional(part.get("file_name")))
    if kind == "video_url":
        return located("video", words(part["video_url"]["url"]))
    if kind == "thinking":
        return c.Thought("".join(words(one["text"]) for one in part["thinking"]))
    return c.Opaque(NAME, part)


def _read_file(part: dict[str, Any]) -> c.Part:
    file = part["file"]
    name, cache = optional(file.get("filename")), _cache(part)
    if file.get("file_id") is not None:
        return c.Media("document", file_id=words(file["file_id"]), dialect=NAME, name=name, cache=cache)
    data = words(file["file_data"])
    if data.startswith(("https://", "http://", "data:")):
        return located("document", data, name=name, cache=cache)
    return c.Media("document", "application/pdf", data, name=name, cache=cache)


def _cache(part: dict[str, Any]) -> str:
    mark = part.get("cache_control")
    return (mark.get("ttl") or "5m") if isinstance(mark, dict) else ""


def _read_assistant(message: dict[str, Any]) -> list[c.Part]:
    parts: list[c.Part] = read_thoughts(message)
    parts += _read_parts(message.get("content"))
    if message.get("refusal"):
        parts.append(c.Refusal(words(message["refusal"])))
    if isinstance(message.get("audio"), dict):
        parts.append(c.Opaque(NAME, {"audio": message["audio"]}, Feature.AUDIO_OUT))
    for called in message.get("tool_calls") or ():
        parts.append(read_called(called, words(called["id"])))
    if called := message.get("function_call"):
        parts.append(c.ToolUse(_function_id(words(called["name"])), called["name"], words(called["arguments"])))
    return parts


def read_called(called: dict[str, Any], about: str) -> c.Part:
    """One call of a tool that a message holds."""
    kind = called.get("type") or "function"
    if kind == "custom":
        return c.ToolUse(about, words(called["custom"]["name"]), wrap_text(words(called["custom"]["input"])))
    if kind != "function":
        return c.Opaque(NAME, called, Feature.HOSTED_TOOLS)
    return c.ToolUse(about, words(called["function"]["name"]), argument_text(called["function"].get("arguments")))


def argument_text(arguments: Any) -> str:
    """Arguments as text: some providers send an object."""
    if arguments is None or arguments == "":
        return "{}"
    return arguments if isinstance(arguments, str) else strict.encode(arguments).decode()


def custom_names(body: dict[str, Any]) -> frozenset[str]:
    """Names of the caller's custom tools."""
    return frozenset(tool["custom"]["name"] for tool in body.get("tools") or () if tool.get("type") == "custom")


def read_thoughts(message: dict[str, Any]) -> list[c.Part]:
    """Reasoning that stands beside a message's content: `reasoning_details` where they are, else the plain text."""
    details = message.get("reasoning_details")
    if isinstance(details, list) and details:
        return [thought for one in details if (thought := _read_detail(one)) is not None]
    text = message.get("reasoning_content") or message.get("reasoning")
    return [c.Thought(text)] if isinstance(text, str) and text else []


_FORMATS = {
    "anthropic-claude-v1": "anthropic-messages",
    "openai-responses-v1": "openai-responses",
    "google-gemini-v1": "gemini",
}


def _read_detail(detail: dict[str, Any]) -> c.Part | None:
    origin = _FORMATS.get(detail.get("format") or "", NAME)
    about = optional(detail.get("id")) or ""
    kind = detail["type"]
    if kind == "reasoning.text":
        signature = detail.get("signature")
        blob = c.unwrap(words(signature), origin) if signature else None
        return c.Thought(words(detail.get("text") or ""), blob, about)
    if kind == "reasoning.summary":
        return c.Thought(words(detail["summary"]), None, about, is_summary=True)
    if kind == "reasoning.encrypted":
        return c.Thought("", c.unwrap(words(detail["data"]), origin), about, is_redacted=True)
    return None


def write_details(thoughts: list[c.Thought]) -> list[dict[str, Any]]:
    """`reasoning_details` for a caller: text with its signature, and what is encrypted, each knowing where it is from."""
    details: list[dict[str, Any]] = []
    for thought in thoughts:
        about = {"id": thought.id} if thought.id else {}
        if thought.text or not thought.blob:
            kind, field = ("reasoning.summary", "summary") if thought.is_summary else ("reasoning.text", "text")
            details.append({"type": kind, field: thought.text, **about, "index": len(details)})
        if thought.blob is not None:
            wrapped = c.wrap(thought.blob)
            if thought.text and not thought.is_summary:
                details[-1]["signature"] = wrapped
            else:
                details.append({"type": "reasoning.encrypted", "data": wrapped, **about, "index": len(details)})
    return details


# --- tools and shapes in ---------------------------------------------------------------------------------------


def _read_tools(body: dict[str, Any]) -> tuple[list[c.Tool], list[c.Opaque]]:
    offered: list[c.Tool] = []
    hosted: list[c.Opaque] = []
    for tool in body.get("tools") or ():
        if tool.get("type", "function") == "function":
            offered.append(_read_function(tool["function"], _cache(tool)))
        elif tool["type"] == "custom":
            custom = tool["custom"]
            form = (custom.get("format") or {}).get("grammar") or {}
            offered.append(free_text_tool(words(custom["name"]), words(custom.get("description") or ""), form))
        else:
            hosted.append(c.Opaque(NAME, tool, Feature.HOSTED_TOOLS))
    return offered + [_read_function(one, "") for one in body.get("functions") or ()], hosted


def _read_function(function: dict[str, Any], cache: str) -> c.Tool:
    return c.Tool(
        words(function["name"]),
        words(function.get("description") or ""),
        function.get("parameters"),
        function.get("strict"),
        cache,
    )


def _allowed(choice: Any) -> list[str]:
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return []
    return [
        words((one.get("function") or one.get("custom") or one)["name"]) for one in choice["allowed_tools"]["tools"]
    ]


def _read_choice(choice: Any) -> c.ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        return choice_of(choice)
    if choice.get("type") == "allowed_tools":
        return choice_of(choice["allowed_tools"].get("mode") or "auto")
    named = choice.get("function") or choice.get("custom") or choice
    return c.ToolChoice("tool", words(named["name"]))


def _read_shape(asked: Any) -> c.Shape | None:
    if asked is None or asked["type"] == "text":
        return None
    if asked["type"] == "json_object":
        return c.Shape()
    shape = asked["json_schema"]
    return c.Shape(
        shape.get("schema") or {}, shape.get("name") or "answer", shape.get("strict"), shape.get("description") or ""
    )
