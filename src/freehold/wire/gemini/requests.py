"""gemini requests: contents, tools and settings, both ways (ai.google.dev/api/generate-content, checked 2026-11).

Rules: field names come in camelCase or in snake_case, as protobuf's JSON allows; calls of functions may have no id, so they are numbered by
their place and results are matched by name, in order; a signature belongs to the part that it stands beside.
"""

from __future__ import annotations

import mimetypes
import re
from typing import Any

from freehold.kernel.routes import Traits
from freehold.wire import canonical as c
from freehold.wire import strict
from freehold.wire.call import NOWHERE, Address, Call, Endpoint, bad, check_types, needs_of
from freehold.wire.canonical import Conversation, Feature, brings_blob
from freehold.wire.dialect import (
    Lost,
    arguments,
    choice_of,
    described,
    hoist,
    offered_choice,
    only_allowed,
    only_text,
    optional,
    plain_text,
    refuse_content,
    settings,
    words,
)
from freehold.wire.gemini.known import KNOWN
from freehold.wire.gemini.spelling import camel, snake
from freehold.wire.known import is_read

NAME = "gemini"
TYPES: dict[str, tuple[type, ...]] = {
    "contents": (list, dict, str),
    "systemInstruction": (dict, str),
    "system_instruction": (dict, str),
    "generationConfig": (dict,),
    "generation_config": (dict,),
    "tools": (list,),
    "toolConfig": (dict,),
    "safetySettings": (list,),
}
_FIELDS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "",
    "n": "candidateCount",
    "reasoning": "",
}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BUDGETED = re.compile(r"gemini-(?:1|2)")  # later models take a level instead of a budget
_FILES = re.compile(r"(https://generativelanguage\.googleapis\.com/[^/]+/)?files/")
SKIP_SIGNATURE = "skip_thought_signature_validator"  # Google's own word for a call that another model made


def get(fields: dict[str, Any], name: str) -> Any:
    """A field under either of its spellings."""
    return fields[name] if name in fields else fields.get(snake(name))


def read_call(endpoint: Endpoint, raw: bytes, address: Address = NOWHERE) -> Call:
    """Decode a request body; the model and whether it streams stand in the path. Raises CallerError (400)."""
    body = strict.decode(raw)
    check_types(body, TYPES)
    if not body.get("contents") and not body.get("generateContentRequest"):
        raise bad("'contents' must hold at least one part.", "request.missing", "contents")
    wished = get(body, "generationConfig") or {}
    check_types(wished, {"maxOutputTokens": (int,), "candidateCount": (int,), "stopSequences": (list,)})
    limit, choices = get(wished, "maxOutputTokens"), get(wished, "candidateCount") or 1
    if type(choices) is not int or not 1 <= choices <= 128:
        raise bad("'candidateCount' must be from 1 to 128.", "request.value", "generationConfig.candidateCount")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise bad("'maxOutputTokens' must be at least 1.", "request.value", "generationConfig.maxOutputTokens")
    state = "cachedContent" if get(body, "cachedContent") is not None else ""
    return Call(
        endpoint=endpoint,
        dialect=NAME,
        model=address.model,
        is_stream=address.is_stream,
        body=body,
        size=len(raw),
        needs=needs_of(images=b"image/" in raw and _has_image(raw), tools=bool(body.get("tools"))),
        max_output=limit * choices if limit else None,
        choices=choices,
        wants_usage=True,
        needs_state=state,
        unrecorded=state,
        has_foreign=brings_blob(raw),
        framing=address.framing,
    )


def pass_on(_call: Call, body: dict[str, Any], _traits: Traits) -> None:
    """The model that is counted for stands in the path; one that the body names too would be another's word."""
    for name in ("generateContentRequest", "generate_content_request"):
        if isinstance(body.get(name), dict):
            body[name] = {field: value for field, value in body[name].items() if field != "model"}


def _has_image(raw: bytes) -> bool:
    return b"inlineData" in raw or b"inline_data" in raw or b"fileData" in raw or b"file_data" in raw


def read_request(body: dict[str, Any]) -> Conversation:
    """Read the body of a generateContent call."""
    wished = get(body, "generationConfig") or {}
    offered, hosted = _read_tools(body.get("tools") or ())
    system = get(body, "systemInstruction")
    reader = _Reader()
    turns = [c.Turn("system", tuple(reader.parts(system)))] if system else []
    turns += reader.turns(body["contents"])
    logprobs = get(wished, "logprobs")
    only = [Feature.SAFETY] if get(body, "safetySettings") else []
    if set(get(wished, "responseModalities") or ()) - {"TEXT", "MODALITY_UNSPECIFIED"}:
        only.append(Feature.IMAGE_OUT)
    formats = (None, "text/plain", "application/json")
    known = is_read(body, KNOWN, camel) and get(wished, "responseMimeType") in formats
    choice = offered_choice(_read_choice(get(body, "toolConfig"), only), offered, only)
    return Conversation(
        dialect=NAME,
        turns=turns,
        tools=only_allowed(offered, _allowed(get(body, "toolConfig"))),
        hosted=hosted,
        tool_choice=choice,
        shape=_read_shape(wished),
        max_output=get(wished, "maxOutputTokens"),
        temperature=wished.get("temperature"),
        top_p=get(wished, "topP"),
        top_k=int(top_k) if (top_k := get(wished, "topK")) is not None else None,
        stop=tuple(words(one) for one in get(wished, "stopSequences") or ()),
        seed=wished.get("seed"),
        presence_penalty=get(wished, "presencePenalty"),
        frequency_penalty=get(wished, "frequencyPenalty"),
        logprobs=(logprobs or 0) if get(wished, "responseLogprobs") else None,
        n=get(wished, "candidateCount") or 1,
        reasoning=_read_reasoning(get(wished, "thinkingConfig")),
        metadata=body.get("labels"),
        service_tier=optional(get(body, "serviceTier")),
        only=tuple(only),
        has_unknown=not known,
    )


def _read_reasoning(asked: Any) -> c.Reasoning | None:
    if not asked:
        return None
    level, budget = get(asked, "thinkingLevel"), get(asked, "thinkingBudget")
    is_dynamic = budget is not None and budget < 0
    effort = words(level).lower() if level else None
    return c.Reasoning(effort, None if is_dynamic else budget, get(asked, "includeThoughts"), is_dynamic)


def _read_shape(wished: dict[str, Any]) -> c.Shape | None:
    if get(wished, "responseMimeType") != "application/json":
        return None
    schema = get(wished, "responseJsonSchema")
    if schema is None and (own := get(wished, "responseSchema")) is not None:
        schema = _json_schema(own)
    return c.Shape(schema)


def _allowed(config: Any) -> list[str]:
    calling = get(config, "functionCallingConfig") if config else None
    if not calling:
        return []
    names = [words(name) for name in get(calling, "allowedFunctionNames") or ()]
    is_choice = len(names) == 1 and str(calling.get("mode")).lower() == "any"  # no filter: this one must be called
    return [] if is_choice else names


def _read_choice(config: Any, only: list[Feature]) -> c.ToolChoice | None:
    calling = get(config, "functionCallingConfig") if config else None
    if not calling:
        return None
    mode = str(calling.get("mode") or "AUTO").lower()
    names: list[Any] = get(calling, "allowedFunctionNames") or []
    if mode == "any" and len(names) == 1:
        return c.ToolChoice("tool", words(names[0]))
    if mode not in ("any", "none", "auto", "mode_unspecified"):
        only.append(Feature.TOOL_CHOICE)  # that what is called fits its schema: nobody else promises it
    return choice_of(mode if mode in ("any", "none") else "auto")


def _read_tools(tools: Any) -> tuple[list[c.Tool], list[c.Opaque]]:
    offered: list[c.Tool] = []
    hosted: list[c.Opaque] = []
    for tool in tools:
        declared = get(tool, "functionDeclarations")
        for one in declared or ():
            schema = get(one, "parametersJsonSchema")
            if schema is None and one.get("parameters") is not None:
                schema = _json_schema(one["parameters"])
            offered.append(c.Tool(words(one["name"]), words(one.get("description") or ""), schema))
        rest = {name: one for name, one in tool.items() if camel(name) != "functionDeclarations"}
        if rest or declared is None:
            hosted.append(c.Opaque(NAME, rest, Feature.HOSTED_TOOLS))
    return offered, hosted


def _json_schema(schema: Any) -> Any:
    """Google's own schema (types in capitals, `nullable`) as JSON Schema."""
    if isinstance(schema, list):
        return [_json_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    written: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            written["type"] = value.lower()
        elif key == "properties":
            written["properties"] = {name: _json_schema(one) for name, one in value.items()}
        elif key not in ("nullable", "propertyOrdering", "property_ordering"):
            written[camel(key)] = _json_schema(value) if key in ("items", "anyOf", "any_of") else value
    if schema.get("nullable") and "type" in written:
        written["type"] = [written["type"], "null"]
    return written


# --- parts in ------------------------------------------------------------------------------------------------


class _Reader:
    """Reads contents; gives every call an id, and every result the id of the call that it answers."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []  # (name, id) of calls not yet answered
        self._calls = 0

    def turns(self, contents: Any) -> list[c.Turn]:
        if isinstance(contents, str | dict):
            contents = [contents]
        turns = []
        for content in contents:
            role = content.get("role") if isinstance(content, dict) else None
            turns.append(c.Turn("assistant" if role == "model" else "user", tuple(self.parts(content))))
        return turns

    def parts(self, content: Any) -> list[c.Part]:
        if isinstance(content, str):
            return [c.Text(content)]
        parts = content.get("parts") or []
        read: list[c.Part] = []
        for part in parts if isinstance(parts, list) else [parts]:
            read += self._part({"text": part} if isinstance(part, str) else part)
        return read

    def _part(self, part: dict[str, Any]) -> list[c.Part]:
        if (called := get(part, "functionCall")) is not None:
            self._calls += 1
            about = optional(called.get("id")) or f"call_{self._calls}"
            self._open.append((words(called["name"]), about))
            return signed(c.ToolUse(about, called["name"], strict.encode(called.get("args") or {}).decode()), part)
        if (answered := get(part, "functionResponse")) is not None:
            return [self._result(answered)]
        return read_part(part)

    def _result(self, answered: dict[str, Any]) -> c.ToolResult:
        name = words(answered["name"])
        about = optional(answered.get("id"))
        known = next((one for one in self._open if one[1] == about or (about is None and one[0] == name)), None)
        if known is not None:
            self._open.remove(known)
        response = answered.get("response") or {}
        parts: list[Any] = [c.Text(_said(response))]
        for more in answered.get("parts") or ():
            parts += read_part(more)
        is_error = "error" in response and len(response) == 1
        return c.ToolResult(about or (known[1] if known else f"call_{name}"), tuple(parts), name, is_error)


def _said(response: dict[str, Any]) -> str:
    """What a function said, out of the object that this dialect wraps it in."""
    if len(response) == 1:
        value = next(iter(response.values()))
        if isinstance(value, str):
            return value
    return strict.encode(response).decode()


def signed(part: c.Part, raw: dict[str, Any], family: str = NAME) -> list[c.Part]:
    """A part, behind the signature that it came with."""
    signature = get(raw, "thoughtSignature")
    if not signature or signature == SKIP_SIGNATURE:
        return [part]
    return [c.Thought("", c.unwrap(words(signature), family), is_redacted=True), part]


def read_part(part: dict[str, Any], family: str = NAME) -> list[c.Part]:
    """Read one part, of either side, that is no function call or result."""
    text = part.get("text")
    if part.get("thought") and not text and get(part, "thoughtSignature"):
        return signed(c.Text(""), part, family)[:-1]
    if text is not None:
        if part.get("thought"):
            signature = get(part, "thoughtSignature")
            return [c.Thought(words(text), c.unwrap(signature, family) if signature else None, is_summary=True)]
        found = signed(c.Text(words(text)), part, family)
        return found[:-1] if not text and len(found) > 1 else found
    if (inline := get(part, "inlineData")) is not None:
        mime = words(get(inline, "mimeType"))
        named = optional(get(inline, "displayName"))
        return signed(c.Media(_kind(mime), mime, words(inline["data"]), name=named), part, family)
    if (file := get(part, "fileData")) is not None:
        uri, mime = words(get(file, "fileUri")), optional(get(file, "mimeType")) or ""
        named = optional(get(file, "displayName"))
        if _FILES.match(uri):
            return [c.Media(_kind(mime), mime, file_id=uri, dialect=NAME, name=named)]
        return [c.Media(_kind(mime), mime, url=uri, name=named)]
    hosted = any(
        get(part, name) is not None for name in ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
    )
    return signed(c.Opaque(NAME, part, Feature.HOSTED_TOOLS if hosted else Feature.CONTENT), {}, family)


def _kind(mime: str) -> Any:
    kind = mime.partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "document"


# --- out -----------------------------------------------------------------------------------------------------


def write_request(talk: Conversation, model: str, traits: Traits, lost: Lost) -> dict[str, Any]:
    """Write the body for a target that speaks gemini (the model stands in the path). Raises Unable."""
    system, turns = hoist(talk.turns, lost)
    wished = settings(talk, _FIELDS, traits, lost, lambda _, value: list(value) if isinstance(value, tuple) else value)
    writer = _Writer(traits, lost)
    body: dict[str, Any] = {"contents": [content for turn in turns if (content := writer.turn(turn))["parts"]]}
    if system:
        body["systemInstruction"] = {"parts": [{"text": part.text} for part in only_text(system, lost)]}
    if talk.max_output is not None:
        wished["maxOutputTokens"] = talk.max_output
    if talk.logprobs is not None:
        wished["responseLogprobs"] = True
        if talk.logprobs:
            wished["logprobs"] = talk.logprobs
    if talk.shape is not None:
        wished["responseMimeType"] = "application/json"
        if talk.shape.schema is not None:
            wished["responseJsonSchema"] = described(talk.shape)
    if talk.reasoning is not None:
        wished["thinkingConfig"] = _write_reasoning(talk.reasoning, model)
    _write_tools(talk, body, lost)
    if wished:
        body["generationConfig"] = wished
    return body


def _write_reasoning(asked: c.Reasoning, model: str) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if asked.shows is not False and not asked.is_off:
        written["includeThoughts"] = True
    effort = asked.effort
    if _BUDGETED.search(model):
        from_effort = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24_576}.get(effort or "", 24_576)
        if asked.budget is not None or effort is not None:
            written["thinkingBudget"] = asked.budget if asked.budget is not None else from_effort
    elif effort is not None or asked.budget is not None:
        small = asked.budget is not None and asked.budget <= 1024
        written["thinkingLevel"] = _LEVELS.get(effort or ("low" if small else "high"), "minimal")
    return written


def _write_tools(talk: Conversation, body: dict[str, Any], lost: Lost) -> None:
    mine = [hosted.item for hosted in talk.hosted if hosted.dialect == NAME]
    if len(mine) != len(talk.hosted):
        lost.add(Feature.HOSTED_TOOLS)
    if talk.tools:
        mine = [{"functionDeclarations": [_write_tool(tool, lost) for tool in talk.tools]}, *mine]
    if not mine:
        return
    body["tools"] = mine
    choice = talk.tool_choice
    if choice is not None:
        calling: dict[str, Any] = {"mode": {"auto": "AUTO", "none": "NONE"}.get(choice.mode, "ANY")}
        if choice.mode == "tool":
            calling["allowedFunctionNames"] = [choice.name]
        body["toolConfig"] = {"functionCallingConfig": calling}


def _write_tool(tool: c.Tool, lost: Lost) -> dict[str, Any]:
    if tool.strict:
        lost.add(Feature.TOOL_STRICT)
    if tool.cache:
        lost.add(Feature.CACHE)
    written: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.schema and not _takes_nothing(tool.schema):
        written["parametersJsonSchema"] = tool.schema
    return written


_BARE = {"type", "properties", "required", "additionalProperties", "$schema"}


def _takes_nothing(schema: dict[str, Any]) -> bool:
    """A function without arguments has no schema in this dialect; any other keeps its own, whatever it says."""
    is_closed = schema.get("additionalProperties") in (None, False)
    return is_closed and not schema.get("properties") and set(schema) <= _BARE


class _Writer:
    """Writes turns; knows the names of the calls so far, because results here go by name."""

    def __init__(self, traits: Traits, lost: Lost) -> None:
        self._traits, self._lost = traits, lost
        self._names: dict[str, str] = {}

    def turn(self, turn: c.Turn) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        signature: str | None = None
        for part in turn.parts:
            if getattr(part, "cache", ""):
                self._lost.add(Feature.CACHE)
            if isinstance(part, c.Thought):
                signature = self._thought(part, parts) or signature
                continue
            written = self._part(part)
            if written is None:
                continue
            if signature is not None:
                written["thoughtSignature"], signature = signature, None
            elif "functionCall" in written and not any("functionCall" in one for one in parts):
                written["thoughtSignature"] = SKIP_SIGNATURE
            parts.append(written)
        if signature is not None and parts:
            parts[-1].setdefault("thoughtSignature", signature)
        return {"role": "model" if turn.role == "assistant" else "user", "parts": parts}

    def _thought(self, thought: c.Thought, parts: list[dict[str, Any]]) -> str | None:
        held = c.readable(thought.blob, NAME, self._traits.family)
        if held and thought.is_redacted:
            return held
        if held:
            parts.append({"text": thought.text, "thought": True, "thoughtSignature": held})
        elif thought.blob is not None and thought.blob.data:
            self._lost.add(Feature.SIGNATURE)
        elif thought.blob is None or thought.text:
            self._lost.add(Feature.THINKING)
        return None

    def _part(self, part: c.Part) -> dict[str, Any] | None:
        if isinstance(part, c.Text):
            if part.citations:
                self._lost.add(Feature.CITATIONS)
            return {"text": part.text}
        if isinstance(part, c.ToolUse):
            self._names[part.id] = part.name
            return {"functionCall": {"name": part.name, "args": arguments(part.arguments)}}
        if isinstance(part, c.ToolResult):
            return self._result(part)
        if isinstance(part, c.Media):
            return self._media(part)
        if isinstance(part, c.Refusal):
            return {"text": part.text}
        assert isinstance(part, c.Opaque)
        if part.dialect == NAME:
            item: dict[str, Any] = dict(part.item)
            return item
        if part.feature is Feature.CONTENT:
            raise c.Unable(part.feature)
        self._lost.add(part.feature)
        return None

    def _result(self, result: c.ToolResult) -> dict[str, Any]:
        name = result.name or self._names.get(result.id) or "unknown"
        said = only_text([part for part in result.parts if not isinstance(part, c.Media)], self._lost)
        response = {"error" if result.is_error else "output": plain_text(said)}
        written: dict[str, Any] = {"name": name, "response": response}
        if media := [self._media(part) for part in result.parts if isinstance(part, c.Media)]:
            written["parts"] = media
        return {"functionResponse": written}

    def _media(self, media: c.Media) -> dict[str, Any]:
        if media.file_id is not None and media.dialect != NAME:
            raise c.Unable(Feature.FILE_ID)
        if media.detail not in (None, "auto"):
            self._lost.add(Feature.IMAGE_DETAIL)
        if media.cites:
            self._lost.add(Feature.CITATIONS)
        if media.name:
            self._lost.add(Feature.DOCUMENT_NAME)
        if media.text is not None:
            return {"text": media.text}
        if (uri := media.url or media.file_id) is not None:
            feature = {"image": Feature.IMAGE_URL, "document": Feature.DOCUMENT_URL}.get(media.kind, Feature.VIDEO)
            refuse_content(feature, self._traits)
            mime = media.mime or mimetypes.guess_type(uri.partition("?")[0])[0]
            return {"fileData": {"fileUri": uri, **({"mimeType": mime} if mime else {})}}
        return {"inlineData": {"mimeType": media.mime or "application/pdf", "data": media.data or ""}}
