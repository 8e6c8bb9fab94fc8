"""openai-chat calls as they come in: what routing, pricing and the perimeter need to know of a body, without translating it.

Rules: a known field of a wrong type is a 400; an unknown field is kept and sent on.
"""

from __future__ import annotations

from typing import Any

from freehold.kernel.routes import Traits
from freehold.wire import strict
from freehold.wire.call import (
    NO_NEEDS,
    NOWHERE,
    Address,
    Call,
    Endpoint,
    a_kind,
    bad,
    check_types,
    model_of,
    needs_of,
    positive,
)
from freehold.wire.canonical import brings_blob

_INT, _NUMBER, _LIST, _OBJECT = (int,), (int, float), (list,), (dict,)
TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "stream": (bool,),
    "messages": _LIST,
    "tools": _LIST,
    "n": _INT,
    "max_tokens": _INT,
    "max_completion_tokens": _INT,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "seed": _INT,
    "stop": (str, list),
    "logprobs": (bool, int),
    "top_logprobs": _INT,
    "response_format": _OBJECT,
    "stream_options": _OBJECT,
    "user": (str,),
    "logit_bias": _OBJECT,
    "tool_choice": (str, dict),
    "parallel_tool_calls": (bool,),
    "metadata": _OBJECT,
    "functions": _LIST,
    "dimensions": _INT,
    "encoding_format": (str,),
    "best_of": _INT,
}
_LARGEST_N = 128
_EMBEDDINGS = frozenset({"embeddings"})
_REQUIRED: dict[Endpoint, tuple[tuple[str, tuple[type, ...]], ...]] = {
    Endpoint.COMPLETIONS: (("prompt", (str, list)),),
    Endpoint.EMBEDDINGS: (("input", (str, list)),),
    Endpoint.MODERATIONS: (("input", (str, list)),),
    Endpoint.RERANK: (("query", (str, dict)), ("documents", (list,))),
}


def read_call(endpoint: Endpoint, raw: bytes, _address: Address = NOWHERE) -> Call:
    """Decode a request body for an endpoint. Raises CallerError (400)."""
    body = strict.decode(raw)
    check_types(body, TYPES)
    model = model_of(body)
    stream = body.get("stream") is True
    needs = NO_NEEDS
    if endpoint is Endpoint.CHAT:
        needs = _chat_needs(body)
    else:
        for field, kinds in _REQUIRED[endpoint]:
            if not isinstance(body.get(field), kinds):
                raise bad(f"{field!r} must be {a_kind(kinds)}.", "request.missing", field)
        stream = stream and endpoint is Endpoint.COMPLETIONS
        needs = _EMBEDDINGS if endpoint is Endpoint.EMBEDDINGS else needs
    choices = positive(body, "n") or 1
    if choices > _LARGEST_N:
        raise bad(f"'n' may be at most {_LARGEST_N}.", "request.value", "n")
    limit = positive(body, "max_completion_tokens") or positive(body, "max_tokens")
    options = body.get("stream_options") or {}
    return Call(
        endpoint=endpoint,
        model=model,
        is_stream=stream,
        body=body,
        size=len(raw),
        needs=needs,
        choices=choices,
        max_output=limit * choices if limit else None,
        wants_usage=stream and options.get("include_usage") is True,
        has_foreign=endpoint is Endpoint.CHAT and brings_blob(raw),
    )


def pass_on(call: Call, body: dict[str, Any], traits: Traits) -> None:
    """Spell a body for a server that speaks this dialect with an accent: nothing is left out, a few things have another name."""
    for field, name in traits.renames.items():
        if field in body and name not in body:
            body[name] = body.pop(field)
    if call.is_stream and traits.usage_in_streams:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if call.endpoint is Endpoint.CHAT and not traits.takes_developer:
        messages = body["messages"]
        if any(message.get("role") == "developer" for message in messages):
            body["messages"] = [{**one, "role": "system"} if one["role"] == "developer" else one for one in messages]


def _chat_needs(body: dict[str, Any]) -> frozenset[str]:
    messages = body.get("messages")
    if not messages:
        raise bad("'messages' must be a list with at least one message.", "request.missing", "messages")
    has_images = False
    for at, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise bad(f"'messages[{at}]' must be an object with a role.", "request.type", f"messages[{at}]")
        content = message.get("content")
        if type(content) is list:
            for part in content:
                if type(part) is not dict:
                    raise bad(f"'messages[{at}].content' must hold objects.", "request.type", f"messages[{at}].content")
                has_images = has_images or part.get("type") == "image_url"
        elif content is not None and type(content) is not str:
            raise bad(
                f"'messages[{at}].content' must be a string or a list.", "request.type", f"messages[{at}].content"
            )
    return needs_of(images=has_images, tools=bool(body.get("tools")))
