"""Make a request leave nothing behind at its target: what an agreement (zero retention and the like) needs of the request itself.

Rules: a setting that keeps is switched off; what cannot work without keeping, or hands the text on to others (hosted tools, stored state,
work in the background, caches that last), makes the target unfit, and the reason says which. Sources: the vendors' pages on zero data retention;
checked 2026-11-24.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Body = dict[str, Any]


def hush(dialect: str, body: Body) -> str:
    """Change a body (it is the caller's own copy, and only its top level may be touched); returns why it cannot be quiet, or nothing."""
    return _QUIET.get(dialect, _nothing)(body)


def uses_hosted(dialect: str, body: Body) -> bool:
    """Whether the target itself searches, runs code, or asks others, and so reads more than it is sent."""
    return dialect in _HOSTED and _HOSTED[dialect](body)


def _nothing(_body: Body) -> str:
    return ""


def _has_hosted(tools: Any, own: tuple[str | None, ...]) -> bool:
    return any(isinstance(tool, dict) and tool.get("type") not in own for tool in tools or ())


def _chat_hosted(body: Body) -> bool:
    if body.get("plugins") or str(body.get("model", "")).endswith(":online"):
        return True
    return body.get("web_search_options") is not None or _has_hosted(body.get("tools"), ("function", "custom", None))


def _responses_hosted(body: Body) -> bool:
    return _has_hosted(body.get("tools"), ("function", "custom"))


def _messages_hosted(body: Body) -> bool:
    return bool(body.get("mcp_servers") or body.get("container")) or _has_hosted(body.get("tools"), ("custom", None))


def _gemini_hosted(body: Body) -> bool:
    functions = ("functionDeclarations", "function_declarations")
    return any(name not in functions for tool in body.get("tools") or () if isinstance(tool, dict) for name in tool)


def _chat(body: Body) -> str:
    if body.get("store") is not None:
        body["store"] = False
    if _chat_hosted(body):
        return "uses hosted tools"
    return (
        "asks for a cache that lasts"
        if body.get("prompt_cache_retention") not in (None, "in_memory", "in-memory")
        else ""
    )


def _responses(body: Body) -> str:
    body["store"] = False
    if body.get("background"):
        return "works in the background, which keeps the answer"
    if any(body.get(field) is not None for field in ("previous_response_id", "conversation", "prompt")):
        return "refers to what is kept there"
    if _responses_hosted(body):
        return "uses hosted tools"
    return (
        "asks for a cache that lasts"
        if body.get("prompt_cache_retention") not in (None, "in_memory", "in-memory")
        else ""
    )


def _messages(body: Body) -> str:
    return "uses hosted tools" if _messages_hosted(body) else ""


def _gemini(body: Body) -> str:
    if body.get("store") is not None:
        body["store"] = False
    if body.get("cachedContent") is not None or body.get("cached_content") is not None:
        return "refers to what is kept there"
    return "uses hosted tools" if _gemini_hosted(body) else ""


_HOSTED: dict[str, Callable[[Body], bool]] = {
    "openai-chat": _chat_hosted,
    "openai-responses": _responses_hosted,
    "anthropic-messages": _messages_hosted,
    "gemini": _gemini_hosted,
}
_QUIET: dict[str, Callable[[Body], str]] = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "anthropic-messages": _messages,
    "gemini": _gemini,
}
