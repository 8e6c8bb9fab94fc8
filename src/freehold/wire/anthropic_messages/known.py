"""anthropic-messages: the fields that are read, at every depth."""

from typing import Any

from freehold.wire.call import Call
from freehold.wire.known import TYPES, is_read, leaves

_CACHE = leaves("type ttl")
_BLOCK: dict[str, Any] = {
    TYPES: {"text", "tool_use", "tool_result", "thinking", "redacted_thinking", "image", "document"},
    **leaves("type text citations id name input tool_use_id is_error thinking signature data title"),
    "cache_control": _CACHE,
    "source": leaves("type media_type data url file_id"),
}
_BLOCK["content"] = _BLOCK
KNOWN = {
    **leaves(
        "model max_tokens stream temperature top_p top_k stop_sequences service_tier anthropic_version cache_control"
    ),
    "system": _BLOCK,
    "messages": {"role": None, "content": _BLOCK},
    "tools": {TYPES: {"custom", None}, **leaves("type name description input_schema strict"), "cache_control": _CACHE},
    "tool_choice": leaves("type name disable_parallel_tool_use"),
    "thinking": leaves("type budget_tokens display"),
    "metadata": leaves("user_id"),
    "output_config": {"effort": None, "format": leaves("type schema")},
    "output_format": leaves("type schema"),
}


def knows(call: Call) -> bool:
    """Whether every field of a call is one that is known here."""
    return is_read(call.body, KNOWN, is_strict=True)
