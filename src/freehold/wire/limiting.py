"""Set the limit of an answer where the caller set none, in the caller's own dialect; every target then gets it like any other field."""

from __future__ import annotations

from typing import Any

import msgspec

from freehold.wire.call import Call, Endpoint

# The field, or the field in an object under either of its spellings. Anthropic's dialect always has a limit.
_FIELD = {
    Endpoint.CHAT: "max_completion_tokens",
    Endpoint.COMPLETIONS: "max_tokens",
    Endpoint.RESPONSES: "max_output_tokens",
}
_GENERATION = ("generationConfig", "generation_config")


def limited(call: Call, most: int) -> Call:
    """The same call with at most so many tokens for each choice; unchanged where its kind of work has no such limit, or it has one."""
    if call.max_output is not None:
        return call
    body: dict[str, Any] = {**call.body}
    if call.endpoint is Endpoint.GENERATE:
        name = next((name for name in _GENERATION if isinstance(body.get(name), dict)), _GENERATION[0])
        body[name] = {**(body.get(name) or {}), "maxOutputTokens": most}
    elif call.endpoint in _FIELD:
        body[_FIELD[call.endpoint]] = most
    else:
        return call
    return msgspec.structs.replace(call, body=body, max_output=most * call.choices)
