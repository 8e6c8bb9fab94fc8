"""openai-chat requests out: what a target that speaks this dialect is sent, with its accent (`Traits`)."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from freehold.kernel.routes import Traits
from freehold.wire import canonical as c
from freehold.wire.canonical import Conversation, Feature
from freehold.wire.dialect import Lost, data_url, effort_of, in_words, only_text, plain_text, refuse_content, settings
from freehold.wire.openai_chat.requests import NAME

_FIELDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logit_bias": "logit_bias",
    "logprobs": "logprobs",
    "n": "n",
    "reasoning": "",
    "user": "user",
    "metadata": "metadata",
    "service_tier": "service_tier",
    "store": "store",
    "cache_key": "prompt_cache_key",
    "verbosity": "verbosity",
    "allows_parallel": "",
}
_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def write_request(talk: Conversation, model: str, traits: Traits, lost: Lost) -> dict[str, Any]:
    """Write the body for a target that speaks openai-chat. Raises Unable."""
    body: dict[str, Any] = {"model": model, "messages": []}
    body |= settings(talk, _FIELDS, traits, lost, _shown)
    if talk.logprobs and "logprobs" in body:
        body["logprobs"], body["top_logprobs"] = True, talk.logprobs
    for turn in talk.turns:
        body["messages"] += _write_turn(turn, traits, lost)
    if talk.max_output is not None:
        field = "max_completion_tokens"
        body[traits.renames.get(field, field)] = talk.max_output
    _write_tools(talk, body, traits, lost)
    if talk.shape is not None:
        _write_shape(talk.shape, body, traits, lost)
    if talk.reasoning is not None:
        _write_reasoning(talk.reasoning, body, traits, lost)
    if talk.is_stream:
        body["stream"] = True
        if traits.usage_in_streams:
            body["stream_options"] = {"include_usage": True}
    return body


def _shown(attribute: str, value: Any) -> Any:
    if attribute == "logprobs":
        return True
    return list(value) if attribute == "stop" else value


def _write_reasoning(asked: c.Reasoning, body: dict[str, Any], traits: Traits, lost: Lost) -> None:
    effort = asked.effort or (effort_of(asked.budget) if asked.budget is not None else None)
    if traits.effort == "none":
        lost.add(Feature.REASONING)
    elif traits.effort == "reasoning":
        exact = {"max_tokens": asked.budget} if asked.budget and not asked.effort else {"effort": effort or "medium"}
        body["reasoning"] = exact if asked.shows is not False else {**exact, "exclude": True}
    elif traits.effort == "thinking":
        body["thinking"] = {"type": "disabled" if asked.is_off else "enabled"}
    elif traits.effort == "template":
        body["chat_template_kwargs"] = {"enable_thinking": not asked.is_off}
        if effort not in (None, "none"):
            body["reasoning_effort"] = effort
    elif effort is not None:
        body["reasoning_effort"] = effort
    else:
        lost.add(Feature.REASONING)  # asked for without saying how much, and there is no word for that here


def _write_tools(talk: Conversation, body: dict[str, Any], traits: Traits, lost: Lost) -> None:
    mine = [hosted.item for hosted in talk.hosted if hosted.dialect == NAME]
    if len(mine) != len(talk.hosted):
        lost.add(Feature.HOSTED_TOOLS)
    if talk.tools or mine:
        refuse_content(Feature.TOOLS, traits)
        body["tools"] = [_write_tool(tool, traits, lost) for tool in talk.tools] + mine
    if talk.allows_parallel is not None and body.get("tools"):
        if Feature.PARALLEL_TOOLS not in traits.refuses:
            body["parallel_tool_calls"] = talk.allows_parallel
        elif talk.allows_parallel is False:
            lost.add(Feature.PARALLEL_TOOLS)
    choice = talk.tool_choice
    if choice is None or not body.get("tools"):
        return
    if Feature.TOOL_CHOICE in traits.refuses:
        if choice.mode != "auto":
            lost.add(Feature.TOOL_CHOICE)
    elif choice.mode == "tool":
        body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        body["tool_choice"] = traits.any_tool if choice.mode == "required" else choice.mode


def _write_tool(tool: c.Tool, traits: Traits, lost: Lost) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    if tool.strict is not None:
        if Feature.TOOL_STRICT not in traits.refuses:
            function["strict"] = tool.strict
        elif tool.strict:
            lost.add(Feature.TOOL_STRICT)
    written = {"type": "function", "function": function}
    return _marked(written, tool.cache, traits, lost)


def _marked(part: dict[str, Any], cache: str, traits: Traits, lost: Lost) -> dict[str, Any]:
    if cache and Feature.CACHE in traits.refuses:
        lost.add(Feature.CACHE)
    elif cache:
        part["cache_control"] = {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}
    return part


def _write_shape(shape: c.Shape, body: dict[str, Any], traits: Traits, lost: Lost) -> None:
    if shape.schema is None and traits.shape != "none":
        body["response_format"] = {"type": "json_object"}
    elif traits.shape == "schema":
        written: dict[str, Any] = {"name": shape.name, "schema": shape.schema}
        if shape.description:
            written["description"] = shape.description
        if shape.strict is not None:
            written["strict"] = shape.strict
        body["response_format"] = {"type": "json_schema", "json_schema": written}
    else:
        # The target promises only JSON, or nothing: it is told the schema in words, which is a wish and no promise.
        lost.add(Feature.SCHEMA if shape.schema is not None else Feature.JSON)
        if traits.shape == "object":
            body["response_format"] = {"type": "json_object"}
        body["messages"].insert(0, {"role": "system", "content": in_words(shape)})


# --- messages out --------------------------------------------------------------------------------------------


def _write_turn(turn: c.Turn, traits: Traits, lost: Lost) -> list[dict[str, Any]]:
    if turn.role == "assistant":
        return [_write_assistant(turn, traits, lost)]
    if turn.role == "user":
        return _write_user(turn, traits, lost)
    role = turn.role if turn.role == "system" or traits.takes_developer else "system"
    return [_named({"role": role, "content": _write_content(turn.parts, traits, lost)}, turn, traits, lost)]


def _named(message: dict[str, Any], turn: c.Turn, traits: Traits, lost: Lost) -> dict[str, Any]:
    if turn.name is not None and Feature.NAME in traits.refuses:
        lost.add(Feature.NAME)
    elif turn.name is not None:
        message["name"] = turn.name
    return message


def _write_user(turn: c.Turn, traits: Traits, lost: Lost) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    rest: list[c.Part] = []
    for part in turn.parts:
        if not isinstance(part, c.ToolResult):
            rest.append(part)
            continue
        if part.is_error:
            lost.add(Feature.TOOL_RESULT_ERROR)
        seen = [one for one in part.parts if isinstance(one, c.Media)]
        texts = only_text([one for one in part.parts if not isinstance(one, c.Media)], lost)
        if seen:  # this dialect's tools answer in text only: what they show follows in the user's next message
            lost.add(Feature.TOOL_RESULT_MEDIA)
            rest += seen
        content = plain_text(texts) or ("The result is attached below." if seen else "")
        message = {"role": "tool", "tool_call_id": tool_id(part.id, traits), "content": content}
        messages.append(_marked(message, part.cache, traits, lost))
    if rest or not messages:
        said: dict[str, Any] = {"role": "user", "content": _write_content(tuple(rest), traits, lost)}
        messages.append(_named(said, turn, traits, lost))
    return messages


def _write_assistant(turn: c.Turn, traits: Traits, lost: Lost) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    said = [part for part in turn.parts if isinstance(part, c.Text | c.Media) or _is_content(part)]
    thoughts = [part for part in turn.parts if isinstance(part, c.Thought)]
    tools = [part for part in turn.parts if isinstance(part, c.ToolUse)]
    refusals = [part.text for part in turn.parts if isinstance(part, c.Refusal)]
    message["content"] = _write_content(said, traits, lost) if said else None
    if refusals:
        message["refusal"] = "".join(refusals)
    if any(isinstance(part, c.Text) and part.citations for part in turn.parts):
        lost.add(Feature.CITATIONS)
    if thoughts:
        _write_thoughts(thoughts, message, traits, lost)
    if tools:
        message["tool_calls"] = [
            {
                "id": tool_id(tool.id, traits),
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments},
            }
            for tool in tools
        ]
    if any(tool.cache for tool in tools):
        lost.add(Feature.CACHE)
    for part in turn.parts:
        if isinstance(part, c.Opaque) and not _is_content(part):
            if part.dialect != NAME:
                lost.add(part.feature)
            elif part.feature is Feature.AUDIO_OUT:
                message |= part.item
            else:
                message.setdefault("tool_calls", []).append(part.item)
    return _named(message, turn, traits, lost)


def _is_content(part: c.Part) -> bool:
    return isinstance(part, c.Opaque) and part.feature is Feature.CONTENT


def _write_thoughts(thoughts: list[c.Thought], message: dict[str, Any], traits: Traits, lost: Lost) -> None:
    """Give reasoning back where the provider wants it; signatures of others mean nothing to it."""
    text = "\n".join(thought.text for thought in thoughts if thought.text)
    if traits.thinking == "reasoning_details":
        details = [_detail_back(thought, traits, lost) for thought in thoughts]
        message["reasoning_details"] = [detail for detail in details if detail is not None]
        return
    if any(thought.blob is not None for thought in thoughts):
        lost.add(Feature.SIGNATURE)
    if not text:
        return
    if traits.thinking == "":
        lost.add(Feature.THINKING)
    elif traits.thinking == "parts":
        said = message["content"]
        after = [{"type": "text", "text": said}] if isinstance(said, str) else said or []
        message["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}, *after]
    else:
        message[traits.thinking] = text


def _detail_back(thought: c.Thought, traits: Traits, lost: Lost) -> Any:
    """A detail as its provider wrote it (its blob is the whole of it), or the bare text."""
    whole = c.readable(thought.blob, NAME, traits.family)
    if whole is not None and whole.startswith("{"):
        return msgspec.json.decode(whole)
    if thought.blob is not None:
        lost.add(Feature.SIGNATURE)
    return {"type": "reasoning.text", "text": thought.text} if thought.text else None


def tool_id(text: str, traits: Traits) -> str:
    """An id that the target accepts: a pure function of the caller's own, so that calls and results still meet."""
    if traits.tool_ids == "any" or (len(text) == 9 and text.isascii() and text.isalnum()):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:9]


def _write_content(parts: Any, traits: Traits, lost: Lost) -> str | list[dict[str, Any]]:
    is_marked = Feature.CACHE not in traits.refuses and any(getattr(part, "cache", "") for part in parts)
    if all(type(part) is c.Text for part in parts) and not is_marked:
        if any(part.cache for part in parts):
            lost.add(Feature.CACHE)
        if len(parts) == 1:
            text: str = parts[0].text
            return text
        if not parts:
            return ""
    return [_write_part(part, traits, lost) for part in parts if not isinstance(part, c.Opaque) or _is_mine(part, lost)]


def _is_mine(part: c.Opaque, lost: Lost) -> bool:
    if part.dialect == NAME:
        return True
    if part.feature is Feature.CONTENT:
        raise c.Unable(part.feature)
    lost.add(part.feature)
    return False


def _write_part(part: c.Part, traits: Traits, lost: Lost) -> dict[str, Any]:
    if isinstance(part, c.Text):
        return _marked({"type": "text", "text": part.text}, part.cache, traits, lost)
    if isinstance(part, c.Media):
        return _marked(_write_media(part, traits, lost), part.cache, traits, lost)
    if isinstance(part, c.Refusal):
        return {"type": "refusal", "refusal": part.text}
    if isinstance(part, c.Opaque):
        item: dict[str, Any] = part.item
        return item
    raise c.Unable(Feature.CONTENT)


def _write_media(media: c.Media, traits: Traits, lost: Lost) -> dict[str, Any]:
    if media.file_id is not None and media.dialect != NAME:
        raise c.Unable(Feature.FILE_ID)
    if media.cites:
        lost.add(Feature.CITATIONS)
    if media.file_id is not None:
        return {"type": "file", "file": {"file_id": media.file_id, **({"filename": media.name} if media.name else {})}}
    if media.kind == "image":
        refuse_content(Feature.IMAGE_URL if media.url else Feature.IMAGE_DATA, traits)
        image = {"url": media.url or data_url(media.mime, media.data or "")}
        return {"type": "image_url", "image_url": {**image, "detail": media.detail} if media.detail else image}
    if media.kind == "audio":
        refuse_content(Feature.AUDIO_DATA, traits)
        if media.data is None or media.mime not in _AUDIO:
            raise c.Unable(Feature.AUDIO_DATA)
        return {"type": "input_audio", "input_audio": {"data": media.data, "format": _AUDIO[media.mime]}}
    if media.kind == "video":
        refuse_content(Feature.VIDEO, traits)
        return {"type": "video_url", "video_url": {"url": media.url or data_url(media.mime, media.data or "")}}
    if media.text is not None:
        if media.name:
            lost.add(Feature.DOCUMENT_NAME)
        return {"type": "text", "text": media.text}
    refuse_content(Feature.DOCUMENT_URL if media.url else Feature.DOCUMENT_DATA, traits)
    where = media.url or data_url(media.mime or "application/pdf", media.data or "")
    if traits.documents == "document_url":
        return {"type": "document_url", "document_url": where, **({"document_name": media.name} if media.name else {})}
    return {"type": "file", "file": {"filename": media.name or "document.pdf", "file_data": where}}
