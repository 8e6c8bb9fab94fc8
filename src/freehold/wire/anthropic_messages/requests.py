"""anthropic-messages requests: blocks, tools and settings, both ways (docs.anthropic.com/en/api/messages, checked 2026-11).

Rules: a system prompt that stands later in a conversation is said by the user in its place, and reported; thinking is asked for in the way
the model knows (a budget, or an effort for the models that adapt); it is left out, and reported, where the history or a forced tool forbids it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from freehold.kernel.routes import Traits
from freehold.wire import canonical as c
from freehold.wire import strict
from freehold.wire.anthropic_messages.known import KNOWN
from freehold.wire.call import NOWHERE, Address, Call, Endpoint, bad, check_types, model_of, needs_of, positive
from freehold.wire.canonical import Conversation, Feature, brings_blob
from freehold.wire.dialect import (
    Lost,
    arguments,
    choice_of,
    described,
    effort_of,
    hoist,
    in_words,
    offered_choice,
    optional,
    plain_text,
    refuse_content,
    settings,
    thinking_budget,
    words,
)
from freehold.wire.known import is_read

NAME = "anthropic-messages"
TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "messages": (list,),
    "system": (str, list),
    "max_tokens": (int,),
    "stream": (bool,),
    "tools": (list,),
    "tool_choice": (dict,),
    "temperature": (int, float),
    "top_p": (int, float),
    "top_k": (int,),
    "stop_sequences": (list,),
    "thinking": (dict,),
    "metadata": (dict,),
    "service_tier": (str,),
    "output_config": (dict,),
}
_FIELDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop_sequences",
    "reasoning": "",
    "user": "",
    "allows_parallel": "",
    "service_tier": "",
    "verbosity": "",
}
# Models that think by a budget; later ones adapt to an effort (docs.anthropic.com, extended thinking, checked 2026-11).
_BUDGETED = re.compile(r"claude-(?:2|3|instant|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:$|[-@](?:20\d\d|v\d|latest)))")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def read_call(endpoint: Endpoint, raw: bytes, _address: Address = NOWHERE) -> Call:
    """Decode a request body. Raises CallerError (400)."""
    body = strict.decode(raw)
    check_types(body, TYPES)
    messages = body.get("messages")
    if not messages:
        raise bad("'messages' must be a list with at least one message.", "request.missing", "messages")
    for at, message in enumerate(messages):
        if type(message) is not dict or not isinstance(message.get("content"), str | list):
            raise bad(f"'messages[{at}]' must have a role and content.", "request.type", f"messages[{at}]")
    limit = positive(body, "max_tokens")
    if limit is None and endpoint is Endpoint.MESSAGES:
        raise bad("'max_tokens' is missing.", "request.missing", "max_tokens")
    return Call(
        endpoint=endpoint,
        dialect=NAME,
        model=model_of(body),
        is_stream=body.get("stream") is True and endpoint is Endpoint.MESSAGES,
        body=body,
        size=len(raw),
        needs=needs_of(images=b'"image"' in raw and _has_image(messages), tools=bool(body.get("tools"))),
        max_output=limit,
        wants_usage=True,
        has_foreign=brings_blob(raw),
    )


def _has_image(messages: list[Any]) -> bool:
    return any(
        isinstance(block, dict) and block.get("type") == "image"
        for message in messages
        if isinstance(message["content"], list)
        for block in message["content"]
    )


def read_request(body: dict[str, Any]) -> Conversation:
    """Read the body of a Messages call."""
    offered, hosted = _read_tools(body.get("tools") or ())
    choice, config = body.get("tool_choice") or {}, body.get("output_config") or {}
    system = body.get("system")
    turns = [c.Turn("system", tuple(_read_content(system)))] if system else []
    for message in body["messages"]:
        role = message["role"]
        if role not in ("user", "assistant", "system"):
            raise ValueError(role)
        turns.append(c.Turn(role, tuple(_read_content(message["content"]))))
    form = config.get("format") or body.get("output_format")
    parallel = choice.get("disable_parallel_tool_use")
    only = [Feature.CACHE] if body.get("cache_control") else []
    tool_choice = offered_choice(_read_choice(choice) if choice else None, offered, only)
    return Conversation(
        dialect=NAME,
        turns=turns,
        is_stream=body.get("stream") is True,
        tools=offered,
        hosted=hosted,
        tool_choice=tool_choice,
        allows_parallel=None if parallel is None else not parallel,
        shape=c.Shape(form.get("schema") or {}, strict=True) if form else None,
        max_output=body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=tuple(words(one) for one in body.get("stop_sequences") or ()),
        reasoning=_read_reasoning(body.get("thinking"), config.get("effort")),
        user=optional((body.get("metadata") or {}).get("user_id")),
        service_tier=body.get("service_tier"),
        only=tuple(only),
        has_unknown=not is_read(body, KNOWN),
    )


def _read_reasoning(thinking: Any, effort: Any) -> c.Reasoning | None:
    if thinking is None:
        return c.Reasoning(words(effort)) if effort else None
    if thinking["type"] == "disabled":
        return c.Reasoning("none")
    shows = thinking.get("display") != "omitted"
    return c.Reasoning(optional(effort), thinking.get("budget_tokens"), shows, thinking["type"] == "adaptive")


def _read_choice(choice: dict[str, Any]) -> c.ToolChoice:
    return c.ToolChoice("tool", words(choice["name"])) if choice["type"] == "tool" else choice_of(choice["type"])


def _read_tools(tools: Any) -> tuple[list[c.Tool], list[c.Opaque]]:
    offered: list[c.Tool] = []
    hosted: list[c.Opaque] = []
    for tool in tools:
        if tool.get("type", "custom") == "custom":
            about = words(tool.get("description") or "")
            offered.append(c.Tool(words(tool["name"]), about, tool["input_schema"], tool.get("strict"), _cache(tool)))
        else:
            hosted.append(c.Opaque(NAME, tool, Feature.HOSTED_TOOLS))
    return offered, hosted


# --- blocks in -----------------------------------------------------------------------------------------------


def _cache(block: dict[str, Any]) -> str:
    mark = block.get("cache_control")
    return (mark.get("ttl") or "5m") if isinstance(mark, dict) else ""


def _read_content(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [c.Text(content)]
    return [read_block(block) for block in content]


def read_block(block: dict[str, Any], family: str = NAME) -> c.Part:
    """Read one block of content, of either side."""
    kind = block["type"]
    if kind == "text":
        citations = tuple(read_citation(one) for one in block.get("citations") or ())
        return c.Text(words(block["text"]), _cache(block), citations)
    if kind == "tool_use":
        return c.ToolUse(
            words(block["id"]), words(block["name"]), strict.encode(block["input"]).decode(), _cache(block)
        )
    if kind == "tool_result":
        parts = tuple(_read_content(block.get("content") or []))
        return c.ToolResult(
            words(block["tool_use_id"]), parts, is_error=block.get("is_error") is True, cache=_cache(block)
        )
    if kind == "thinking":
        signature = block.get("signature")
        blob = c.unwrap(words(signature), family) if signature else None
        return c.Thought(words(block["thinking"]), blob)
    if kind == "redacted_thinking":
        return c.Thought("", c.unwrap(words(block["data"]), family), is_redacted=True)
    if kind in ("image", "document"):
        return _read_media(kind, block)
    return c.Opaque(NAME, block, Feature.HOSTED_TOOLS if "tool" in kind else Feature.CONTENT)


def _read_media(kind: Any, block: dict[str, Any]) -> c.Part:
    source, cache = block["source"], _cache(block)
    name, cites = optional(block.get("title")), bool((block.get("citations") or {}).get("enabled"))
    where = source["type"]
    if where == "base64":
        return c.Media(kind, words(source["media_type"]), words(source["data"]), name=name, cites=cites, cache=cache)
    if where == "url":
        return c.Media(kind, url=words(source["url"]), name=name, cites=cites, cache=cache)
    if where == "file":
        return c.Media(kind, file_id=words(source["file_id"]), dialect=NAME, name=name, cites=cites, cache=cache)
    if where == "text":
        return c.Media(kind, "text/plain", text=words(source["data"]), name=name, cites=cites, cache=cache)
    return c.Opaque(NAME, block)


def read_citation(cited: dict[str, Any]) -> c.Citation:
    return c.Citation(
        cited.get("url") or cited.get("source"),
        cited.get("title") or cited.get("document_title"),
        cited.get("cited_text"),
        dialect=NAME,
        raw=cited,
    )


# --- out -----------------------------------------------------------------------------------------------------


def write_request(talk: Conversation, model: str, traits: Traits, lost: Lost) -> dict[str, Any]:
    """Write the body for a target that speaks anthropic-messages. Raises Unable."""
    system, turns = hoist(talk.turns, lost)
    body: dict[str, Any] = {"model": model, "max_tokens": talk.max_output or 4096}
    body["messages"] = [message for turn in turns if (message := _write_turn(turn, traits, lost))["content"]]
    body |= settings(talk, _FIELDS, traits, lost, lambda _, value: list(value) if isinstance(value, tuple) else value)
    blocks = [_write_text(part, lost) for part in system if part.text]
    if talk.shape is not None:
        _write_shape(talk.shape, body, blocks, lost)
    if blocks:
        body["system"] = blocks[0]["text"] if len(blocks) == 1 and len(blocks[0]) == 2 else blocks
    if talk.user is not None:
        body["metadata"] = {"user_id": talk.user}
    if talk.service_tier in ("auto", "standard_only"):
        body["service_tier"] = talk.service_tier
    elif talk.service_tier not in (None, "default", "standard"):
        lost.add(Feature.SERVICE_TIER)
    if talk.verbosity is not None:
        lost.add(Feature.VERBOSITY)
    _write_tools(talk, body, lost)
    if talk.reasoning is not None:
        _write_reasoning(talk.reasoning, body, turns, lost)
    if talk.is_stream:
        body["stream"] = True
    return body


def _write_shape(shape: c.Shape, body: dict[str, Any], system: list[dict[str, Any]], lost: Lost) -> None:
    if shape.schema is None:
        lost.add(Feature.JSON)
        system.append({"type": "text", "text": in_words(shape)})
    else:
        body["output_config"] = {"format": {"type": "json_schema", "schema": _closed(described(shape))}}


def _closed(schema: Any) -> Any:
    """The schema with every object closed, as this API wants it."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    written = {key: _closed(value) for key, value in schema.items()}
    if written.get("type") == "object":
        written.setdefault("additionalProperties", False)
    return written


def _write_reasoning(asked: c.Reasoning, body: dict[str, Any], turns: list[c.Turn], lost: Lost) -> None:
    if asked.is_off:
        return
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if forced or _is_mid_call(turns):
        lost.add(Feature.REASONING)  # the API refuses thinking here
        return
    if _BUDGETED.search(body["model"]):
        if asked.budget is None and asked.effort is None and not asked.shows:
            return
        budget = thinking_budget(asked, body["max_tokens"])
        if budget is None:
            lost.add(Feature.REASONING)
            return
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        body["thinking"] = {"type": "adaptive", "display": "summarized"} if asked.shows else {"type": "adaptive"}
        effort = asked.effort or (effort_of(asked.budget) if asked.budget else None)
        if effort is not None:
            body.setdefault("output_config", {})["effort"] = "low" if effort == "minimal" else effort
    for field, feature in (("temperature", Feature.TEMPERATURE), ("top_p", Feature.TOP_P), ("top_k", Feature.TOP_K)):
        if field in body and body[field] != 1:  # one is what thinking has anyway
            del body[field]
            lost.add(feature)


def _is_mid_call(turns: list[c.Turn]) -> bool:
    """True while tools answer to a turn of the model whose thinking this API cannot read: it would refuse to go on thinking."""
    if len(turns) < 2 or not any(isinstance(part, c.ToolResult) for part in turns[-1].parts):
        return False
    thoughts = [part for part in turns[-2].parts if isinstance(part, c.Thought)]
    return not any(c.readable(thought.blob, NAME, NAME) for thought in thoughts)


def _write_tools(talk: Conversation, body: dict[str, Any], lost: Lost) -> None:
    mine = [hosted.item for hosted in talk.hosted if hosted.dialect == NAME]
    if len(mine) != len(talk.hosted):
        lost.add(Feature.HOSTED_TOOLS)
    if not talk.tools and not mine:
        return
    body["tools"] = [_write_tool(tool, lost) for tool in talk.tools] + mine
    choice: dict[str, Any] = {}
    if talk.tool_choice is not None:
        mode = talk.tool_choice.mode
        choice = {"type": "any" if mode == "required" else mode}
        if mode == "tool":
            choice["name"] = talk.tool_choice.name
    if talk.allows_parallel is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    if choice:
        body["tool_choice"] = choice


def _write_tool(tool: c.Tool, lost: Lost) -> dict[str, Any]:
    schema = tool.schema or {"type": "object", "properties": {}}
    written: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description:
        written["description"] = tool.description
    if tool.strict:
        written["strict"], written["input_schema"] = True, _closed(schema)
    return _marked(written, tool.cache)


def _marked(block: dict[str, Any], cache: str) -> dict[str, Any]:
    if cache:
        block["cache_control"] = {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}
    return block


def _write_turn(turn: c.Turn, traits: Traits, lost: Lost) -> dict[str, Any]:
    # Results of tools must come first in a turn.
    ordered = (
        sorted(turn.parts, key=lambda part: not isinstance(part, c.ToolResult)) if turn.role == "user" else turn.parts
    )
    blocks = [block for part in ordered if (block := _write_block(part, traits, lost)) is not None]
    return {"role": turn.role, "content": blocks}


def _write_block(part: c.Part, traits: Traits, lost: Lost) -> dict[str, Any] | None:
    if isinstance(part, c.Text):
        return _write_text(part, lost) if part.text else None
    if isinstance(part, c.ToolUse):
        called = {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": arguments(part.arguments)}
        return _marked(called, part.cache)
    if isinstance(part, c.ToolResult):
        content: Any = [block for one in part.parts if (block := _write_block(one, traits, lost)) is not None]
        if all(isinstance(one, c.Text) and not one.cache for one in part.parts):
            content = plain_text(part.parts)
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(part.id), "content": content}
        if part.is_error:
            result["is_error"] = True
        return _marked(result, part.cache)
    if isinstance(part, c.Thought):
        return _write_thought(part, traits, lost)
    if isinstance(part, c.Media):
        return _marked(_write_media(part, traits, lost), part.cache)
    if isinstance(part, c.Refusal):
        return {"type": "text", "text": part.text}
    if part.dialect == NAME:
        item: dict[str, Any] = part.item
        return item
    if part.feature is Feature.CONTENT:
        raise c.Unable(part.feature)
    lost.add(part.feature)
    return None


def _write_text(part: c.Text, lost: Lost) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": part.text}
    mine = [one.raw for one in part.citations if one.dialect == NAME and one.raw is not None]
    if len(mine) != len(part.citations):
        lost.add(Feature.CITATIONS)
    if mine:
        block["citations"] = mine
    return _marked(block, part.cache)


def _write_thought(thought: c.Thought, traits: Traits, lost: Lost) -> dict[str, Any] | None:
    held = c.readable(thought.blob, NAME, traits.family)
    if not held:
        lost.add(Feature.SIGNATURE if thought.blob and thought.blob.data else Feature.THINKING)
        return None
    if thought.is_redacted:
        return {"type": "redacted_thinking", "data": held}
    return {"type": "thinking", "thinking": thought.text, "signature": held}


def _id(text: str) -> str:
    """An id that this API accepts: the caller's own, or a pure function of it."""
    return text if _ID.match(text) else f"toolu_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _write_media(media: c.Media, traits: Traits, lost: Lost) -> dict[str, Any]:
    if media.file_id is not None and media.dialect != NAME:
        raise c.Unable(Feature.FILE_ID)
    if media.kind not in ("image", "document"):
        raise c.Unable(Feature.AUDIO_DATA if media.kind == "audio" else Feature.VIDEO)
    is_image = media.kind == "image"
    if media.detail not in (None, "auto"):
        lost.add(Feature.IMAGE_DETAIL)
    if media.file_id is not None:
        source = {"type": "file", "file_id": media.file_id}
    elif media.url is not None:
        refuse_content(Feature.IMAGE_URL if is_image else Feature.DOCUMENT_URL, traits)
        source = {"type": "url", "url": media.url}
    elif media.text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": media.text}
    else:
        refuse_content(Feature.IMAGE_DATA if is_image else Feature.DOCUMENT_DATA, traits)
        source = {"type": "base64", "media_type": media.mime or "application/pdf", "data": media.data or ""}
    block: dict[str, Any] = {"type": media.kind, "source": source}
    if media.name and not is_image:
        block["title"] = media.name
    if media.cites:
        block["citations"] = {"enabled": True}
    return block
