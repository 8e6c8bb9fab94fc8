"""The OpenAPI description of the data plane, made from its table of routes and from the fields that the dialects check.

Rules: it says what Freehold itself looks at; every body may hold more, because unknown fields are passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold import __version__
from freehold.gateway.filing import Filing
from freehold.gateway.run import Asked
from freehold.jobs.lines import ENDPOINTS
from freehold.wire.call import Endpoint
from freehold.wire.dialects import SPOKEN

_KINDS: dict[type, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    list: {"type": "array"},
    dict: {"type": "object"},
}
_REQUIRED = {
    Endpoint.CHAT: ("model", "messages"),
    Endpoint.COMPLETIONS: ("model", "prompt"),
    Endpoint.EMBEDDINGS: ("model", "input"),
    Endpoint.RERANK: ("model", "query", "documents"),
    Endpoint.MODERATIONS: ("model", "input"),
    Endpoint.RESPONSES: ("model", "input"),
    Endpoint.MESSAGES: ("model", "messages", "max_tokens"),
    Endpoint.COUNT_TOKENS: ("model", "messages"),
    Endpoint.GENERATE: ("contents",),
    Endpoint.GEMINI_COUNT: ("contents",),
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}},
}
_REFUSALS = {
    "400": "The request is wrong, or no target can serve it.",
    "401": "The key is missing or unknown.",
    "403": "The configuration forbids it.",
    "404": "The model or the path is not known.",
    "409": "It has ended already.",
    "413": "The body is too large.",
    "422": "The provider refused it.",
    "429": "A budget or a rate limit is used up.",
    "502": "A provider failed.",
    "503": "No target answered, or Freehold cannot record the call.",
    "504": "A provider did not answer in time.",
}
_NAME = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "A workload, provider/model, or a model.",
}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "A response that this key made and its target keeps.",
}


def describe(
    routes: Mapping[str, tuple[str, str, Asked | str | dict[str, Endpoint] | dict[str, Filing]]],
    verbs: dict[str, tuple[Endpoint, bool]],
) -> dict[str, Any]:
    """The description of these routes (OpenAPI 3.1); verbs: what may stand behind a model's name and a colon."""
    paths: dict[str, Any] = {}
    for path, (method, role, what) in routes.items():
        if isinstance(what, dict):
            paths[path] = {
                method.lower(): _filing(path, one) if isinstance(one, Filing) else _storing(path, method)
                for method, one in what.items()
            }
        elif not isinstance(what, Asked):
            paths.setdefault(path.replace("/*", "/{model}"), {})[method.lower()] = _reading(path, role)
        elif path.endswith("/*"):
            for verb, (endpoint, is_stream) in verbs.items():
                asked = Asked(what.dialect, endpoint)
                place = path.replace("/*", f"/{{model}}:{verb}")
                paths[place] = {"post": {**_calling(verb, asked, streams=is_stream), "parameters": [_NAME]}}
        else:
            paths[path] = {"post": _calling(path, what, streams=what.endpoint not in _WHOLE)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Freehold", "version": __version__, "description": "Every dialect, one endpoint."},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}, "securitySchemes": _SCHEMES},
        "security": [{name: []} for name in _SCHEMES],
    }


_WHOLE = frozenset({Endpoint.EMBEDDINGS, Endpoint.RERANK, Endpoint.MODERATIONS, Endpoint.COUNT_TOKENS})
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "x-goog-api-key": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
}


def _calling(name: str, asked: Asked, *, streams: bool) -> dict[str, Any]:
    kinds: dict[str, Any] = {"application/json": {"schema": {"type": ["object", "array"]}}}
    if streams:
        kinds["text/event-stream"] = {"schema": {"type": "string"}}
    body = {"required": True, "content": {"application/json": {"schema": _body(asked)}}}
    return {
        "operationId": f"{asked.dialect} {asked.endpoint} {name}",
        "tags": [asked.dialect],
        "requestBody": body,
        "responses": {"200": {"description": "The answer.", "content": kinds}, **_refusals()},
    }


def _body(asked: Asked) -> dict[str, Any]:
    fields = {field: _one_of(kinds) for field, kinds in SPOKEN[asked.dialect].fields.items()}
    return {"type": "object", "required": list(_REQUIRED[asked.endpoint]), "properties": fields}


def _one_of(kinds: tuple[type, ...]) -> dict[str, Any]:
    shown = [_KINDS[kind] for kind in kinds] + [{"type": "null"}]
    return {"anyOf": shown}


def _storing(path: str, method: str) -> dict[str, Any]:
    kinds: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if path.endswith("}"):
        kinds["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "operationId": f"{method} {path}",
        "tags": ["openai-responses"],
        "parameters": [_ID],
        "responses": {"200": {"description": "What its provider says.", "content": kinds}, **_refusals()},
    }


_UPLOADED = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"type": "string", "enum": ["batch"]}},
}
_BEGUN = {
    "type": "object",
    "required": ["input_file_id", "endpoint", "completion_window"],
    "properties": {
        "input_file_id": {"type": "string"},
        "endpoint": {"type": "string", "enum": list(ENDPOINTS)},
        "completion_window": {"type": "string"},
        "metadata": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
    },
}
_FILED = {**_ID, "description": "A file or a batch that this key made."}
_PAGING = [
    {"name": name, "in": "query", "schema": {"type": kind}}
    for name, kind in (("after", "string"), ("limit", "integer"))
]


def _filing(path: str, what: Filing) -> dict[str, Any]:
    kind = "application/octet-stream" if what is Filing.CONTENT else "application/json"
    shape = {"type": "string"} if what is Filing.CONTENT else {"type": "object"}
    found: dict[str, Any] = {
        "operationId": what.value,
        "tags": ["files and batches"],
        "responses": {"200": {"description": "It.", "content": {kind: {"schema": shape}}}, **_refusals()},
    }
    found["parameters"] = [_FILED] if "{id}" in path else _PAGING if what in (Filing.FILES, Filing.BATCHES) else []
    if what is Filing.UPLOAD:
        found["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": _UPLOADED}}}
    elif what is Filing.BATCH:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _BEGUN}}}
    return found


def _reading(path: str, role: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"read {path}",
        "responses": {
            "200": {"description": "It.", "content": {"application/json": {"schema": {"type": "object"}}}},
            **_refusals(),
        },
    }
    if path.endswith("/*"):
        found["parameters"] = [_NAME]
    return found if role == "caller" else {**found, "security": []}


def _refusals() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": words, "content": content} for status, words in _REFUSALS.items()}
