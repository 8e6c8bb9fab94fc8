"""The seam of this room: what every dialect can do. One object for each dialect; `dialects.py` lists them.

Rules: a reader never trusts a shape (`guarded` turns what does not fit into one clear error); a writer names in `lost` what it
leaves out, and raises Unable rather than leave out what the answer would depend on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import msgspec

from freehold.kernel.errors import CallerError, FreeholdError
from freehold.kernel.routes import Traits
from freehold.wire import canonical as c
from freehold.wire import sse
from freehold.wire.call import Address, Call, Endpoint
from freehold.wire.canonical import Conversation, Feature

Lost = set[str]
Count = Annotated[
    int, msgspec.Meta(ge=0, le=10**12)
]  # of tokens: what a provider reports is money, and never less than nothing
MISSHAPEN = (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError, msgspec.MsgspecError)


class StreamReader(Protocol):
    """Turns framed events of a provider into canonical ones. Raises InvalidAnswer."""

    def take(self, event: sse.Event) -> Sequence[c.Event]: ...


class StreamWriter(Protocol):
    """Turns canonical events into bytes in the caller's dialect, framed; `end` writes what must come last."""

    def take(self, events: Sequence[c.Event]) -> bytes: ...
    def end(self) -> bytes: ...
    def fail(self, error: FreeholdError) -> bytes: ...


class Frames(Protocol):
    """Cuts a body's bytes into events, however they are split."""

    def feed(self, chunk: bytes) -> list[sse.Event]: ...
    def close(self) -> list[sse.Event]: ...


@dataclass(frozen=True, slots=True)
class Model:
    """One row of a model list."""

    id: str
    owner: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer that its provider keeps under an id. used: None while it is not known."""

    id: str
    used: c.Used | None


@dataclass(frozen=True, slots=True)
class Spoken:
    """The caller's half of a dialect: what applications send, and how they are answered.

    fields: the fields that are checked, and their types; pass_on spells a body for a target of the same dialect; knows: whether every field of a call is known here; usage_is_optional: a stream tells its usage only to a caller that asked;
    done: a stream's last mark, where it has one.
    """

    read_call: Callable[[Endpoint, bytes, Address], Call]
    read_request: Callable[[dict[str, Any]], Conversation]
    write_answer: Callable[[c.Answer, Call, Lost], bytes]
    stream_writer: Callable[[Call, Lost], StreamWriter]
    write_error: Callable[[FreeholdError], bytes]
    write_models: Callable[[Sequence[Model]], bytes]
    write_model: Callable[[Model], bytes]
    fields: Mapping[str, tuple[type, ...]]
    knows: Callable[[Call], bool]
    pass_on: Callable[[Call, dict[str, Any], Traits], None] = lambda _call, _body, _traits: None
    usage_is_optional: bool = False
    done: bytes = b""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One wire format: the target's half, and the caller's where applications speak it.

    write_request returns the body for a target (without what a path says); read_answer takes a whole answer and the family whose blobs it
    holds; used_of reads only what was used, for an answer that is passed on as it is; stored_of reads the id of one that can be asked for
    again, where the dialect knows such;
    needs_limit: a request must say how long the answer may be; needs_done: a stream without its last mark is cut off.
    """

    name: str
    write_request: Callable[[Conversation, str, Traits, Lost], dict[str, Any]]
    read_answer: Callable[[bytes, str], c.Answer]
    stream_reader: Callable[[str], StreamReader]
    used_of: Callable[[bytes], c.Used | None]
    spoken: Spoken | None = None
    stored_of: Callable[[bytes], Stored] | None = None
    frames: Callable[[], Frames] = sse.Reader
    needs_limit: bool = False
    needs_done: bool = False


def guarded(spoken: Spoken, call: Call) -> Conversation:
    """Read a call's conversation. Raises CallerError 400 for a shape that the dialect does not have."""
    try:
        return spoken.read_request(call.body)
    except MISSHAPEN:
        raise CallerError(
            f"The conversation is not shaped as {call.dialect} has it, so it cannot be translated.",
            code="request.shape",
            hint="Check the parts of the messages and the tools against the dialect's documentation.",
        ) from None


_SET: tuple[tuple[str, Feature, Any], ...] = (
    ("temperature", Feature.TEMPERATURE, None),
    ("top_p", Feature.TOP_P, None),
    ("top_k", Feature.TOP_K, None),
    ("stop", Feature.STOP, ()),
    ("seed", Feature.SEED, None),
    ("presence_penalty", Feature.PENALTIES, None),
    ("frequency_penalty", Feature.PENALTIES, None),
    ("logit_bias", Feature.LOGIT_BIAS, None),
    ("logprobs", Feature.LOGPROBS, None),
    ("n", Feature.CHOICES, 1),
    ("reasoning", Feature.REASONING, None),
    ("user", Feature.USER, None),
    ("metadata", Feature.METADATA, None),
    ("service_tier", Feature.SERVICE_TIER, None),
    ("store", Feature.STORE, None),
    ("cache_key", Feature.CACHE_KEY, None),
    ("verbosity", Feature.VERBOSITY, None),
    ("allows_parallel", Feature.PARALLEL_TOOLS, None),
)


def settings(
    talk: Conversation,
    fields: dict[str, str],
    traits: Traits,
    lost: Lost,
    shown: Callable[[str, Any], Any] | None = None,
) -> dict[str, Any]:
    """Write the settings that a dialect has under its own names; name the others in `lost`.

    fields: attribute of Conversation → the dialect's field; shown: writes a value that needs more than a name.
    """
    body: dict[str, Any] = {}
    for attribute, feature, default in _SET:
        value = getattr(talk, attribute)
        if value == default and value is not False:
            continue
        field = fields.get(attribute)
        if field == "":
            continue  # the dialect writes it itself
        if field is None or feature in traits.refuses:
            if not _is_harmless(attribute, value):
                lost.add(feature)
            continue
        body[traits.renames.get(field, field)] = shown(attribute, value) if shown is not None else value
    lost.update(talk.only)
    if talk.has_unknown:
        lost.add(Feature.UNKNOWN)
    return body


def _is_harmless(attribute: str, value: Any) -> bool:
    """Settings whose value is what happens anyway where the target knows no such setting."""
    return (
        (attribute == "store" and value is False)
        or (attribute == "allows_parallel" and value is True)
        or (attribute == "service_tier" and value in ("auto", "default", "standard"))
    )


def refuse_content(feature: Feature, traits: Traits) -> None:
    """Raise Unable if this target cannot take such content."""
    if feature in traits.refuses:
        raise c.Unable(feature)


def error_words(raw: bytes) -> str | None:
    """A provider's own words for what went wrong, from any of the shapes in which providers put them."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return None
    found = next((body[key] for key in ("error", "message", "detail", "Message") if body.get(key)), None)
    while isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found.get("msg")
    if isinstance(found, list):
        found = "; ".join(str(one.get("msg")) for one in found if isinstance(one, dict))
    return found if isinstance(found, str) and found else None


def is_list(found: msgspec.Raw) -> bool:
    """Whether undecoded JSON is a list; looks at one byte instead of copying it all."""
    return bytes(memoryview(found)[:1]) == b"["


# --- small words that several dialects share -------------------------------------------------------------------

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^,]*)?;base64,", re.ASCII)


def data_url(mime: str, data: str) -> str:
    return f"data:{mime};base64,{data}"


def split_data_url(url: str) -> tuple[str, str] | None:
    """(mime, base64) of a data URL, None for an ordinary one."""
    found = _DATA_URL.match(url)
    return (found.group(1), url[found.end() :]) if found else None


def words(value: Any) -> str:
    """The value, if it is a string. Raises TypeError."""
    if type(value) is not str:
        raise TypeError("a string is needed")
    return value


def optional(value: Any) -> str | None:
    return None if value is None else words(value)


def plain_text(parts: Sequence[c.Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, c.Text))


def arguments(text: str) -> Any:
    """Arguments as JSON, for the dialects that carry them so: an object, or what the model wrote if it is none."""
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return {"_unreadable": text}
    return value if type(value) is dict else {"_value": value}


# A custom tool takes free text; dialects without such are offered a function with one string.


def free_text_tool(name: str, description: str, form: Mapping[str, Any]) -> c.Tool:
    """A custom tool as a function. form: the grammar (`definition`, `syntax`) that its input must fit, if there is one."""
    hint = ""
    if "definition" in form:
        hint = f"\n\nThe input must fit this {form.get('syntax', '')} grammar:\n{form['definition']}"
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    return c.Tool(name, description + hint, schema)


def wrap_text(text: str) -> str:
    """Free text as the arguments of the function that stands for a custom tool."""
    return msgspec.json.encode({"input": text}).decode()


def unwrap_text(text: str) -> str:
    """The free text of a custom tool's call, out of the function's arguments that carried it."""
    found = arguments(text)
    value = found.get("input") if isinstance(found, dict) else None
    return value if isinstance(value, str) else text


EFFORTS = {"none": 0, "minimal": 512, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 65_536}


def budget_of(effort: str) -> int:
    """Tokens to think with, for a dialect that counts them (this table is Freehold's own)."""
    return EFFORTS.get(effort, EFFORTS["medium"])


def effort_of(budget: int) -> str:
    """The word for a budget, for a dialect that has words."""
    if budget == 0:
        return "none"
    return next((word for word in ("low", "medium", "high") if budget <= EFFORTS[word]), "high")


def thinking_budget(asked: c.Reasoning, limit: int) -> int | None:
    """Tokens to think with under a limit that counts them too; None where the limit leaves no room for the least that vendors take.

    The limit is never raised: it is what the caller asked for, and what the budget was held for.
    """
    if limit <= LEAST_THINKING:
        return None
    return min(max(LEAST_THINKING, asked.budget or budget_of(asked.effort or "medium")), limit - 1)


LEAST_THINKING = 1024
_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",
}


def choice_of(mode: Any) -> c.ToolChoice:
    """Whether tools are called, in a word. Raises KeyError for a word that is none."""
    return c.ToolChoice(_MODES[mode])


def located(kind: Any, url: str, *, name: str | None = None, detail: str | None = None, cache: str = "") -> c.Media:
    """Something at an address, which may hold it: a data URL is inline."""
    inline = split_data_url(url)
    if inline is not None:
        return c.Media(kind, inline[0], inline[1], name=name, detail=detail, cache=cache)
    return c.Media(kind, url=url, name=name, detail=detail, cache=cache)


def heard(part: dict[str, Any]) -> c.Media:
    """The audio part that both of OpenAI's dialects have."""
    audio = part["input_audio"]
    kind = words(audio["format"])
    return c.Media("audio", f"audio/{'mpeg' if kind == 'mp3' else kind}", words(audio["data"]))


def only_text(parts: Sequence[c.Part], lost: Lost) -> list[c.Text]:
    """Parts for a place that takes text without marks. Raises Unable for what is no text: it must not be left out unseen."""
    for part in parts:
        if not isinstance(part, c.Text):
            raise c.Unable(Feature.CONTENT)
        if part.cache:
            lost.add(Feature.CACHE)
    return [part for part in parts if isinstance(part, c.Text)]


def offered_choice(choice: c.ToolChoice | None, tools: Sequence[c.Tool], only: list[Feature]) -> c.ToolChoice | None:
    """A choice of a tool that the target will have; one that only the caller's own dialect has is named in `only` instead."""
    if choice is None or choice.mode != "tool" or any(tool.name == choice.name for tool in tools):
        return choice
    only.append(Feature.TOOL_CHOICE)
    return None


def described(shape: c.Shape) -> dict[str, Any]:
    """The schema, with its description in it, for dialects that have no other place for that."""
    schema = shape.schema or {}
    return {"description": shape.description, **schema} if shape.description else schema


def only_allowed(tools: list[c.Tool], names: Sequence[str]) -> list[c.Tool]:
    """The tools that may be called, where a caller names some: the others are not offered, which is the same to the model."""
    return [tool for tool in tools if tool.name in names] if names else tools


def merge_turns(turns: Sequence[c.Turn]) -> list[c.Turn]:
    """Join neighbours of one role: some dialects want the roles to alternate."""
    merged: list[c.Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1] = c.Turn(turn.role, merged[-1].parts + turn.parts)
        else:
            merged.append(turn)
    return merged


def hoist(turns: Sequence[c.Turn], lost: Lost) -> tuple[list[c.Text], list[c.Turn]]:
    """For dialects with one system prompt: take the leading ones out; later ones are said by the user, in their place.

    These dialects have no names for participants either. Raises Unable for a system prompt that is not all text.
    """
    system: list[c.Text] = []
    rest: list[c.Turn] = []
    for turn in turns:
        if turn.name is not None:
            lost.add(Feature.NAME)
        if turn.role not in ("system", "developer"):
            rest.append(turn)
        elif rest:
            lost.add(Feature.SYSTEM_PLACE)
            rest.append(c.Turn("user", turn.parts))
        else:
            for part in turn.parts:
                if not isinstance(part, c.Text):
                    raise c.Unable(Feature.CONTENT)
                system.append(part)
    return system, merge_turns(rest)


def in_words(shape: c.Shape) -> str:
    """A wish for JSON, for a target that knows no schema."""
    if shape.schema is None:
        return "Answer with one JSON object and nothing else."
    from_schema = msgspec.json.encode(shape.schema).decode()
    return f"Answer with JSON that fits this JSON Schema, and nothing else:\n{from_schema}"


class InOrder:
    """Puts the pieces of parallel tool calls in order, for dialects that finish one block before the next begins.

    A call is finished when its arguments are a whole JSON value; until then whatever else comes has to wait. Nothing is lost: the end of
    the answer lets everything go.
    """

    __slots__ = ("_open", "_text", "_waiting")

    def __init__(self) -> None:
        self._open: tuple[int, int] | None = None
        self._text = ""
        self._waiting: list[c.Event] = []

    def take(self, events: Sequence[c.Event]) -> Sequence[c.Event]:
        if self._open is None and not any(type(event) is c.ToolBegin for event in events):
            return events
        out: list[c.Event] = []
        for event in events:
            self._take(event, out)
        return out

    def _take(self, event: c.Event, out: list[c.Event]) -> None:
        if isinstance(event, c.End | c.Done):
            waiting, self._waiting, self._open = self._waiting, [], None
            out += self._sorted(waiting)
            out.append(event)
        elif isinstance(event, c.ToolDelta) and (event.choice, event.block) == self._open:
            self._text += event.arguments
            out.append(event)
        elif self._open is None or (not self._waiting and self._is_whole()):
            self._open = None
            if isinstance(event, c.ToolDelta):
                raise c.InvalidAnswer("arguments for a tool call that was finished")
            if isinstance(event, c.ToolBegin):
                self._open, self._text = (event.choice, event.block), ""
            out.append(event)
        elif isinstance(event, c.Used | c.Begin):
            out.append(event)
        else:
            self._waiting.append(event)

    def _is_whole(self) -> bool:
        try:
            msgspec.json.decode(self._text)
        except msgspec.MsgspecError:
            return False
        return True

    @staticmethod
    def _sorted(waiting: list[c.Event]) -> list[c.Event]:
        """Each tool's pieces behind its beginning; everything else keeps its place."""
        pieces: dict[tuple[int, int], list[c.Event]] = {}
        for event in waiting:
            if type(event) is c.ToolDelta:
                pieces.setdefault((event.choice, event.block), []).append(event)
        out: list[c.Event] = []
        for event in waiting:
            if type(event) is not c.ToolDelta:
                out.append(event)
            if type(event) is c.ToolBegin:
                out += pieces.pop((event.choice, event.block), [])
        return out
