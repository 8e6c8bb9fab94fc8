"""openai-responses requests: items, tools and settings, both ways (platform.openai.com/docs/api-reference/responses, checked 2026-11).

Rules: what needs state that only its holder has (`previous_response_id`, `conversation`, `background`, item references) is not translated.
A custom tool (free text in, by a grammar) is offered to other dialects as a function with one string, and its calls are written back as custom.
"""

from __future__ import annotations

from typing import Any

from freehold.kernel.routes import Traits
from freehold.wire import canonical as c
from freehold.wire import strict
from freehold.wire.call import NOWHERE, STORED, Address, Call, Endpoint, bad, check_types, model_of, needs_of, positive
from freehold.wire.canonical import Conversation, Feature, brings_blob
from freehold.wire.dialect import (
    Lost,
    choice_of,
    data_url,
    effort_of,
    free_text_tool,
    heard,
    located,
    offered_choice,
    only_allowed,
    only_text,
    optional,
    plain_text,
    refuse_content,
    settings,
    words,
    wrap_text,
)
from freehold.wire.known import is_read
from freehold.wire.openai_responses.known import KNOWN

NAME = "openai-responses"
TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "input": (str, list),
    "instructions": (str, list),
    "stream": (bool,),
    "tools": (list,),
    "tool_choice": (str, dict),
    "parallel_tool_calls": (bool,),
    "max_output_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
    "text": (dict,),
    "reasoning": (dict,),
    "metadata": (dict,),
    "store": (bool,),
    "background": (bool,),
    "previous_response_id": (str,),
    "include": (list,),
    "user": (str,),
}
# What other dialects' answers may hold too.
_INCLUDED = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})
_FIELDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "logprobs": "top_logprobs",
    "reasoning": "",
    "user": "safety_identifier",
    "metadata": "metadata",
    "service_tier": "service_tier",
    "store": "",
    "cache_key": "prompt_cache_key",
    "verbosity": "",
    "allows_parallel": "",
}
_STATE = ("previous_response_id", "conversation", "prompt")


def read_call(endpoint: Endpoint, raw: bytes, address: Address = NOWHERE) -> Call:
    """Decode a request body; what is asked of a stored response stands in its address. Raises CallerError (400)."""
    if endpoint in STORED:
        return Call(
            endpoint=endpoint,
            dialect=NAME,
            model="",
            is_stream=address.is_stream,
            body={},
            size=0,
            wants_usage=True,
            refers=address.stored,
            query=address.query,
        )
    body = strict.decode(raw)
    check_types(body, TYPES)
    items = body.get("input")
    state = next((field for field in _STATE if body.get(field) is not None), "")
    unrecorded = next((field for field in _STATE[1:] if body.get(field) is not None), "")
    state = "background" if body.get("background") else state
    if items is None and not state:
        raise bad("'input' must be a string or a list.", "request.missing", "input")
    for at, item in enumerate(items if isinstance(items, list) else ()):
        if type(item) is not dict:
            raise bad(f"'input[{at}]' must be an object.", "request.type", f"input[{at}]")
        if item.get("type") == "item_reference":
            state, unrecorded = state or "item_reference", unrecorded or "item_reference"
    return Call(
        endpoint=endpoint,
        dialect=NAME,
        model=model_of(body),
        is_stream=body.get("stream") is True,
        body=body,
        size=len(raw),
        needs=needs_of(images=b'"input_image"' in raw, tools=bool(body.get("tools"))),
        max_output=positive(body, "max_output_tokens"),
        wants_usage=True,
        needs_state=state,
        unrecorded=unrecorded,
        refers=body.get("previous_response_id") or "",
        is_background=body.get("background") is True,
        has_foreign=brings_blob(raw),
    )


def read_request(body: dict[str, Any]) -> Conversation:
    """Read the body of a Responses call."""
    offered, hosted = _read_tools(body.get("tools") or ())
    text, include = body.get("text") or {}, body.get("include") or ()
    logprobs = (
        body.get("top_logprobs") if "message.output_text.logprobs" in include or body.get("top_logprobs") else None
    )
    if logprobs is None and "message.output_text.logprobs" in include:
        logprobs = 0
    only: list[Feature] = []
    if any((tool.get("format") or {}).get("definition") for tool in body.get("tools") or ()):
        only.append(Feature.TOOL_GRAMMAR)
    tool_choice = offered_choice(_read_choice(body.get("tool_choice"), only), offered, only)
    turns = [c.Turn("developer", (c.Text(words(body["instructions"])),))] if body.get("instructions") else []
    return Conversation(
        dialect=NAME,
        turns=turns + _read_input(body.get("input") or []),
        is_stream=body.get("stream") is True,
        tools=only_allowed(offered, _allowed(body.get("tool_choice"))),
        hosted=hosted,
        tool_choice=tool_choice,
        allows_parallel=body.get("parallel_tool_calls"),
        shape=_read_shape(text.get("format")),
        max_output=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        seed=body.get("seed"),
        logprobs=logprobs,
        reasoning=_read_reasoning(body.get("reasoning")),
        user=optional(body.get("safety_identifier") or body.get("user")),
        metadata=body.get("metadata"),
        service_tier=body.get("service_tier"),
        store=body.get("store"),
        cache_key=body.get("prompt_cache_key"),
        verbosity=text.get("verbosity"),
        only=tuple(only),
        has_unknown=not is_read(body, KNOWN)
        or body.get("truncation") not in (None, "disabled")
        or not _INCLUDED.issuperset(include),
    )


def _read_reasoning(asked: Any) -> c.Reasoning | None:
    if not asked:
        return None
    return c.Reasoning(optional(asked.get("effort")), None, True if asked.get("summary") else None)


# --- items in ------------------------------------------------------------------------------------------------


def _read_input(items: Any) -> list[c.Turn]:
    if isinstance(items, str):
        return [c.Turn("user", (c.Text(items),))]
    turns: list[c.Turn] = []
    for item in items:
        turn = _read_item(item)
        # Items of one side are one turn: thoughts, calls and words of the model; results of tools beside each other.
        if (
            turns
            and turns[-1].role == turn.role
            and (turn.role == "assistant" or (_is_result(turn) and _is_result(turns[-1])))
        ):
            turns[-1] = c.Turn(turn.role, turns[-1].parts + turn.parts)
        else:
            turns.append(turn)
    return turns


def _is_result(turn: c.Turn) -> bool:
    return turn.role == "user" and all(isinstance(part, c.ToolResult) for part in turn.parts)


def _read_item(item: dict[str, Any]) -> c.Turn:
    kind = item.get("type", "message")
    if kind == "message":
        role = item["role"]
        if role not in ("system", "developer", "user", "assistant"):
            raise ValueError(role)
        return c.Turn(role, tuple(_read_content(item["content"])))
    if kind in ("function_call_output", "custom_tool_call_output"):
        output = item["output"]
        parts = tuple(_read_content(output))
        return c.Turn("user", (c.ToolResult(words(item["call_id"]), parts),))
    return c.Turn("assistant", (read_output(item),))


def read_output(item: dict[str, Any], family: str = NAME) -> c.Part:
    """Read an item that a model put out, other than a message."""
    kind = words(item["type"])
    if kind == "function_call":
        return c.ToolUse(words(item["call_id"]), words(item["name"]), words(item["arguments"]) or "{}")
    if kind == "custom_tool_call":
        return c.ToolUse(words(item["call_id"]), words(item["name"]), wrap_text(words(item["input"])))
    if kind == "reasoning":
        summary = [words(one["text"]) for one in item.get("summary") or ()]
        content = [words(one["text"]) for one in item.get("content") or ()]
        held = item.get("encrypted_content")
        blob = None
        if held:
            blob = c.unwrap(words(held), family)
        text = "\n\n".join(content or summary)
        return c.Thought(
            text, blob, optional(item.get("id")) or "", not content and bool(summary), not text and bool(held)
        )
    return c.Opaque(NAME, item, Feature.HOSTED_TOOLS)


def _read_content(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [c.Text(content)]
    return [read_part(part) for part in content]


def read_part(part: dict[str, Any]) -> c.Part:
    """Read one part of a message, of either side."""
    kind = part["type"]
    if kind in ("input_text", "output_text", "text"):
        citations = tuple(read_citation(one) for one in part.get("annotations") or ())
        return c.Text(words(part["text"]), citations=citations)
    if kind == "refusal":
        return c.Refusal(words(part["refusal"]))
    if kind == "input_image":
        if part.get("file_id"):
            return c.Media("image", file_id=words(part["file_id"]), dialect=NAME)
        return located("image", words(part["image_url"]), detail=optional(part.get("detail")))
    if kind == "input_file":
        name = optional(part.get("filename"))
        if part.get("file_id"):
            return c.Media("document", file_id=words(part["file_id"]), dialect=NAME, name=name)
        return located("document", words(part.get("file_url") or part["file_data"]), name=name)
    if kind == "input_audio":
        return heard(part)
    return c.Opaque(NAME, part)


def read_citation(annotation: dict[str, Any]) -> c.Citation:
    return c.Citation(
        annotation.get("url"),
        annotation.get("title") or annotation.get("filename"),
        None,
        annotation.get("start_index"),
        annotation.get("end_index"),
        NAME,
        annotation,
    )


# --- tools and shapes in ---------------------------------------------------------------------------------------


def _read_tools(tools: Any) -> tuple[list[c.Tool], list[c.Opaque]]:
    offered: list[c.Tool] = []
    hosted: list[c.Opaque] = []
    for tool in tools:
        if tool["type"] == "function":
            offered.append(
                c.Tool(
                    words(tool["name"]),
                    words(tool.get("description") or ""),
                    tool.get("parameters"),
                    tool.get("strict"),
                )
            )
        elif tool["type"] == "custom":
            description = words(tool.get("description") or "")
            offered.append(free_text_tool(words(tool["name"]), description, tool.get("format") or {}))
        else:
            hosted.append(c.Opaque(NAME, tool, Feature.HOSTED_TOOLS))
    return offered, hosted


def custom_names(body: dict[str, Any]) -> frozenset[str]:
    """Names of the caller's custom tools."""
    return frozenset(tool["name"] for tool in body.get("tools") or () if tool.get("type") == "custom")


def _allowed(choice: Any) -> list[str]:
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return []
    return [words(one["name"]) for one in choice["tools"] if "name" in one]


def _read_choice(choice: Any, only: list[Feature]) -> c.ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        return choice_of(choice)
    if choice["type"] in ("function", "custom"):
        return c.ToolChoice("tool", words(choice["name"]))
    if choice["type"] == "allowed_tools":
        return choice_of(choice.get("mode") or "auto")
    only.append(Feature.TOOL_CHOICE)  # a hosted tool
    return None


def _read_shape(form: Any) -> c.Shape | None:
    if not form or form["type"] == "text":
        return None
    if form["type"] == "json_object":
        return c.Shape()
    return c.Shape(
        form.get("schema") or {}, form.get("name") or "answer", form.get("strict"), form.get("description") or ""
    )


# --- out -----------------------------------------------------------------------------------------------------


def write_request(talk: Conversation, model: str, traits: Traits, lost: Lost) -> dict[str, Any]:
    """Write the body for a target that speaks openai-responses. Raises Unable."""
    items: list[dict[str, Any]] = []
    for turn in talk.turns:
        items += _write_turn(turn, traits, lost)
    body: dict[str, Any] = {"model": model, "input": items}
    body |= settings(talk, _FIELDS, traits, lost)
    body["store"] = bool(talk.store)  # nothing is left behind at a provider unless the caller asked for it
    if talk.max_output is not None:
        body["max_output_tokens"] = talk.max_output
    if talk.logprobs is not None and "top_logprobs" in body:
        body.setdefault("include", []).append("message.output_text.logprobs")
    text: dict[str, Any] = {"format": _write_shape(talk.shape)} if talk.shape is not None else {}
    if talk.verbosity is not None:
        text["verbosity"] = talk.verbosity
    if text:
        body["text"] = text
    if talk.reasoning is not None:
        _write_reasoning(talk.reasoning, body)
    if not talk.store:
        body.setdefault("include", []).append("reasoning.encrypted_content")
    _write_tools(talk, body, traits, lost)
    if talk.is_stream:
        body["stream"] = True
    return body


def _write_reasoning(asked: c.Reasoning, body: dict[str, Any]) -> None:
    effort = asked.effort or (effort_of(asked.budget) if asked.budget is not None else None)
    written: dict[str, Any] = {"effort": effort} if effort else {}
    if asked.shows:
        written["summary"] = "auto"
    body["reasoning"] = written


def _write_tools(talk: Conversation, body: dict[str, Any], traits: Traits, lost: Lost) -> None:
    mine = [hosted.item for hosted in talk.hosted if hosted.dialect == NAME]
    if len(mine) != len(talk.hosted):
        lost.add(Feature.HOSTED_TOOLS)
    if not talk.tools and not mine:
        return
    refuse_content(Feature.TOOLS, traits)
    body["tools"] = [_write_tool(tool, lost) for tool in talk.tools] + mine
    if talk.allows_parallel is not None:
        body["parallel_tool_calls"] = talk.allows_parallel
    choice = talk.tool_choice
    if choice is not None:
        body["tool_choice"] = {"type": "function", "name": choice.name} if choice.mode == "tool" else choice.mode


def _write_tool(tool: c.Tool, lost: Lost) -> dict[str, Any]:
    if tool.cache:
        lost.add(Feature.CACHE)
    schema = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    written = {"type": "function", "name": tool.name, "parameters": schema, "strict": tool.strict or False}
    return {**written, "description": tool.description} if tool.description else written


def _write_shape(shape: c.Shape) -> dict[str, Any]:
    if shape.schema is None:
        return {"type": "json_object"}
    form: dict[str, Any] = {"type": "json_schema", "name": shape.name, "schema": shape.schema}
    if shape.description:
        form["description"] = shape.description
    if shape.strict is not None:
        form["strict"] = shape.strict
    return form


def _write_turn(turn: c.Turn, traits: Traits, lost: Lost) -> list[dict[str, Any]]:
    if turn.name is not None:
        lost.add(Feature.NAME)
    items: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    role = "system" if turn.role == "developer" and not traits.takes_developer else turn.role

    def flush() -> None:
        if said:
            items.append({"type": "message", "role": role, "content": list(said)})
            said.clear()

    for part in turn.parts:
        if getattr(part, "cache", ""):
            lost.add(Feature.CACHE)
        if isinstance(part, c.Text | c.Media | c.Refusal) or (
            isinstance(part, c.Opaque) and "role" not in part.item and part.feature is Feature.CONTENT
        ):
            said.append(_write_part(part, turn.role, traits, lost))
            continue
        flush()
        item = _write_item(part, traits, lost)
        if item is not None:
            items.append(item)
    flush()
    return items


def _write_item(part: c.Part, traits: Traits, lost: Lost) -> dict[str, Any] | None:
    if isinstance(part, c.ToolUse):
        return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
    if isinstance(part, c.ToolResult):
        if part.is_error:
            lost.add(Feature.TOOL_RESULT_ERROR)
        output: Any = [_write_part(one, "user", traits, lost) for one in part.parts]
        if all(isinstance(one, c.Text) for one in part.parts):
            output = plain_text(only_text(part.parts, lost))
        return {"type": "function_call_output", "call_id": part.id, "output": output}
    if isinstance(part, c.Thought):
        return _write_thought(part, traits, lost)
    assert isinstance(part, c.Opaque)
    if part.dialect != NAME:
        lost.add(part.feature)
        return None
    item: dict[str, Any] = part.item
    return item


def _write_thought(thought: c.Thought, traits: Traits, lost: Lost) -> dict[str, Any] | None:
    """A reasoning item is worth sending only with the blob that the target can open."""
    held = c.readable(thought.blob, NAME, traits.family)
    if held is None:
        lost.add(Feature.SIGNATURE if thought.blob else Feature.THINKING)
        return None
    summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
    item = {"type": "reasoning", "summary": summary, "encrypted_content": held}
    return {**item, "id": thought.id} if thought.id.startswith("rs_") else item


def _write_part(part: c.Part, role: str, traits: Traits, lost: Lost) -> dict[str, Any]:
    if isinstance(part, c.Text):
        if role != "assistant":
            return {"type": "input_text", "text": part.text}
        annotations = [one.raw for one in part.citations if one.dialect == NAME and one.raw is not None]
        if len(annotations) != len(part.citations):
            lost.add(Feature.CITATIONS)
        return {"type": "output_text", "text": part.text, "annotations": annotations}
    if isinstance(part, c.Refusal):
        return {"type": "refusal", "refusal": part.text}
    if isinstance(part, c.Media):
        return _write_media(part, traits, lost)
    if isinstance(part, c.Opaque) and part.dialect == NAME:
        item: dict[str, Any] = part.item
        return item
    raise c.Unable(Feature.CONTENT)


def _write_media(media: c.Media, traits: Traits, lost: Lost) -> dict[str, Any]:
    if media.file_id is not None and media.dialect != NAME:
        raise c.Unable(Feature.FILE_ID)
    if media.cites:
        lost.add(Feature.CITATIONS)
    if media.file_id is not None:
        return {"type": "input_image" if media.kind == "image" else "input_file", "file_id": media.file_id}
    if media.kind == "image":
        refuse_content(Feature.IMAGE_URL if media.url else Feature.IMAGE_DATA, traits)
        image = {"type": "input_image", "image_url": media.url or data_url(media.mime, media.data or "")}
        return {**image, "detail": media.detail} if media.detail else image
    if media.text is not None:
        if media.name:
            lost.add(Feature.DOCUMENT_NAME)
        return {"type": "input_text", "text": media.text}
    if media.kind != "document":
        raise c.Unable(Feature.AUDIO_DATA if media.kind == "audio" else Feature.VIDEO)
    refuse_content(Feature.DOCUMENT_URL if media.url else Feature.DOCUMENT_DATA, traits)
    if media.url is not None:
        if media.name:
            lost.add(Feature.DOCUMENT_NAME)
        return {"type": "input_file", "file_url": media.url}
    data = data_url(media.mime or "application/pdf", media.data or "")
    return {"type": "input_file", "filename": media.name or "document.pdf", "file_data": data}
