"""The one canonical form of a conversation, of an answer, and of a stream of events. Every dialect is read into it and written from it.

Rules: what a dialect says and another cannot is kept here until a writer drops it and names it in `lost`. Arguments of tools stay
JSON text, so that no number is rewritten. Opaque blobs are carried verbatim and remember where they came from.
What it does not know: any dialect's own spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import msgspec

from freehold.kernel.units import Tokens


class Feature(StrEnum):
    """What a conversation may use and a translation may lose; the rows of the fidelity matrix, and the words in `x-freehold-lost`."""

    SYSTEM_PLACE = "system_position"
    NAME = "participant_name"
    IMAGE_URL = "image_url"
    IMAGE_DATA = "image_data"
    IMAGE_DETAIL = "image_detail"
    DOCUMENT_URL = "document_url"
    DOCUMENT_DATA = "document_data"
    DOCUMENT_NAME = "document_name"
    AUDIO_DATA = "audio_data"
    VIDEO = "video"
    FILE_ID = "file_id"
    TOOLS = "tools"
    TOOL_STRICT = "tool_strict"
    TOOL_GRAMMAR = "tool_grammar"
    TOOL_CHOICE = "tool_choice"
    PARALLEL_TOOLS = "parallel_tool_calls"
    TOOL_RESULT_MEDIA = "tool_result_media"
    TOOL_RESULT_ERROR = "tool_result_error"
    HOSTED_TOOLS = "hosted_tools"
    JSON = "json_object"
    SCHEMA = "json_schema"
    REASONING = "reasoning_control"
    THINKING = "thinking"
    SIGNATURE = "thinking_signature"
    REFUSAL = "refusal"
    CITATIONS = "citations"
    LOGPROBS = "logprobs"
    LOGIT_BIAS = "logit_bias"
    CHOICES = "n"
    MAX_OUTPUT = "max_output_tokens"
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    TOP_K = "top_k"
    STOP = "stop"
    SEED = "seed"
    PENALTIES = "penalties"
    CACHE = "cache_control"
    CACHE_KEY = "prompt_cache_key"
    SERVICE_TIER = "service_tier"
    METADATA = "metadata"
    USER = "user"
    STORE = "store"
    VERBOSITY = "verbosity"
    AUDIO_OUT = "audio_output"
    IMAGE_OUT = "image_output"
    SAFETY = "safety_settings"
    CONTENT = "content_of_unknown_type"
    UNKNOWN = "unknown_fields"


class Unable(Exception):
    """A target cannot be given this conversation without dropping content that its answer would depend on."""

    def __init__(self, feature: Feature) -> None:
        super().__init__(feature.value)
        self.feature = feature


class Blob(msgspec.Struct, frozen=True):
    """Something only its maker can read: a signature, encrypted reasoning. origin: the dialect or the family that made it."""

    origin: str
    data: str


class Citation(msgspec.Struct, frozen=True):
    """Where a part of a text is from. start and end count characters of the answer; `raw` is the dialect's own whole object."""

    url: str | None = None
    title: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    dialect: str = ""
    raw: dict[str, Any] | None = None


class Text(msgspec.Struct, frozen=True):
    """Words. cache: "" is no mark, else the time to live of a prompt-cache mark that ends here ("5m", "1h")."""

    text: str
    cache: str = ""
    citations: tuple[Citation, ...] = ()


class Media(msgspec.Struct, frozen=True):
    """An image, a document, audio or video: inline (base64), by address, or by an id that a provider issued."""

    kind: Literal["image", "document", "audio", "video"]
    mime: str = ""
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    dialect: str = ""  # whose `file_id` it is
    name: str | None = None
    detail: str | None = None
    text: str | None = None  # a plain-text document
    cites: bool = False
    cache: str = ""


class ToolUse(msgspec.Struct, frozen=True):
    """The model asks for a tool. arguments: JSON text of an object, as the model wrote it."""

    id: str
    name: str
    arguments: str
    cache: str = ""


class ToolResult(msgspec.Struct, frozen=True):
    """What a tool said."""

    id: str
    parts: tuple[Text | Media, ...]
    name: str = ""
    is_error: bool = False
    cache: str = ""


class Thought(msgspec.Struct, frozen=True):
    """Reasoning: text or a summary of it, and the blob that proves or holds it. is_redacted: the blob is all there is.

    A redacted thought may also be what a provider wants back beside the part that follows it (Gemini's signatures of calls).
    """

    text: str
    blob: Blob | None = None
    id: str = ""
    is_summary: bool = False
    is_redacted: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """The model's own words for declining."""

    text: str


class Opaque(msgspec.Struct, frozen=True):
    """An item that only its own dialect has."""

    dialect: str
    item: Any
    feature: Feature = Feature.CONTENT


Part = Text | Media | ToolUse | ToolResult | Thought | Refusal | Opaque
Role = Literal["system", "developer", "user", "assistant"]


class Turn(msgspec.Struct, frozen=True):
    """One side speaks. Results of tools stand in a user's turn."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True):
    """A function that the application offers. schema: JSON Schema of its arguments, None for a tool without any."""

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache: str = ""


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether tools are called: as the model likes, never, at least one, or this one."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str = ""


class Shape(msgspec.Struct, frozen=True):
    """The JSON that the answer must be. schema: None for any object."""

    schema: dict[str, Any] | None = None
    name: str = "answer"
    strict: bool | None = None
    description: str = ""


class Reasoning(msgspec.Struct, frozen=True):
    """How much to think: an effort in words, or a budget in tokens; `shows`: whether the caller wants to read it."""

    effort: str | None = None
    budget: int | None = None
    shows: bool | None = None
    is_adaptive: bool = False

    @property
    def is_off(self) -> bool:
        return self.effort == "none" or self.budget == 0


class Conversation(msgspec.Struct, kw_only=True):
    """One request, whatever its dialect. None means that the caller did not say.

    logprobs: how many alternatives a token (0: only the chosen one). has_unknown: a field that nobody here knows was there.
    """

    dialect: str
    turns: list[Turn]
    is_stream: bool = False
    tools: list[Tool] = []
    hosted: list[Opaque] = []
    tool_choice: ToolChoice | None = None
    allows_parallel: bool | None = None
    shape: Shape | None = None
    max_output: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    logprobs: int | None = None
    n: int = 1
    reasoning: Reasoning | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    store: bool | None = None
    cache_key: str | None = None
    verbosity: str | None = None
    only: tuple[Feature, ...] = ()  # things asked for that only the caller's own dialect has
    has_unknown: bool = False


# --- answers -------------------------------------------------------------------------------------------------


class Stop(StrEnum):
    """Why an answer ended."""

    END = "end"
    LENGTH = "length"
    TOOL_USE = "tool_use"
    SEQUENCE = "stop_sequence"
    REFUSAL = "refusal"
    FILTER = "content_filter"
    PAUSE = "pause"
    ERROR = "error"


class TokenProb(msgspec.Struct, frozen=True):
    """A token, its log probability, and its rivals."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Candidate(msgspec.Struct, kw_only=True):
    """One answer of those asked for."""

    parts: list[Part]
    stop: Stop | None = None
    sequence: str | None = None
    logprobs: list[TokenProb] | None = None


class Answer(msgspec.Struct, kw_only=True):
    """A whole answer. tokens: None when the provider did not say what it used; service_tier, geo, cost: as in `Used`."""

    id: str
    model: str
    candidates: list[Candidate]
    tokens: Tokens | None = None
    created: int | None = None
    service_tier: str | None = None
    geo: str = ""
    cost: Decimal | None = None

    @property
    def used(self) -> Used | None:
        return Used(self.tokens, self.service_tier, self.geo, self.cost) if self.tokens is not None else None


# --- a stream's events -----------------------------------------------------------------------------------------


class Begin(msgspec.Struct, frozen=True):
    """The stream has an id and a model; created: seconds since 1970."""

    id: str
    model: str
    created: int = 0


class TextDelta(msgspec.Struct, frozen=True):
    text: str
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True):
    text: str
    choice: int = 0


class ThoughtDelta(msgspec.Struct, frozen=True):
    """More reasoning; `block` tells one block from the next; a blob ends or makes up the block."""

    text: str
    choice: int = 0
    block: int = 0
    blob: Blob | None = None
    id: str = ""
    is_summary: bool = False
    is_redacted: bool = False


class ToolBegin(msgspec.Struct, frozen=True):
    """A tool is called; `block` numbers the calls of one choice from 0."""

    block: int
    id: str
    name: str
    choice: int = 0


class ToolDelta(msgspec.Struct, frozen=True):
    block: int
    arguments: str
    choice: int = 0


class Cited(msgspec.Struct, frozen=True):
    citation: Citation
    choice: int = 0


class Logged(msgspec.Struct, frozen=True):
    logprobs: tuple[TokenProb, ...]
    choice: int = 0


class Other(msgspec.Struct, frozen=True):
    """An item or part that only its own dialect has, whole."""

    part: Opaque | Media
    choice: int = 0


class End(msgspec.Struct, frozen=True):
    """One choice has ended."""

    stop: Stop
    sequence: str | None = None
    choice: int = 0


class Used(msgspec.Struct, frozen=True):
    """What was used so far; the last one counts. service_tier: the provider's own word for how it was served; geo: where it was processed, cost: in US dollars, if it says so."""

    tokens: Tokens
    service_tier: str | None = None
    geo: str = ""
    cost: Decimal | None = None


class Trouble(StrEnum):
    """What a provider says went wrong with itself in the middle of an answer."""

    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    OTHER = "other"


class Fail(msgspec.Struct, frozen=True):
    """The provider broke its own stream off with an error."""

    trouble: Trouble = Trouble.OTHER


class Done(msgspec.Struct, frozen=True):
    """The dialect's own mark that nothing follows."""


Event = (
    Begin
    | TextDelta
    | RefusalDelta
    | ThoughtDelta
    | ToolBegin
    | ToolDelta
    | Cited
    | Logged
    | Other
    | End
    | Used
    | Fail
    | Done
)
SPOKEN = (TextDelta, RefusalDelta, ThoughtDelta, ToolBegin, ToolDelta, Other)


class InvalidAnswer(ValueError):
    """The provider's bytes are not an answer in its dialect."""


class FailedAnswer(InvalidAnswer):
    """The provider's bytes say, under a good status, that it could not answer."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble


class _Growing:
    """One choice while it is folded: parts in the order in which they began."""

    __slots__ = ("keys", "logprobs", "parts", "sequence", "stop")

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.parts: list[list[Any]] = []
        self.stop: Stop | None = None
        self.sequence: str | None = None
        self.logprobs: list[TokenProb] | None = None

    def at(self, key: Any, *, is_last_only: bool = False) -> list[Any]:
        """The open part with this key; text goes on only if nothing else began after it."""
        if key in self.keys and (not is_last_only or self.keys[-1] == key):
            return self.parts[len(self.keys) - 1 - self.keys[::-1].index(key)]
        self.keys.append(key)
        self.parts.append([])
        return self.parts[-1]

    def finish(self) -> Candidate:
        parts = [_folded(key, events) for key, events in zip(self.keys, self.parts, strict=True)]
        return Candidate(parts=parts, stop=self.stop, sequence=self.sequence, logprobs=self.logprobs)


def fold(events: Iterable[Event]) -> Answer:
    """Fold a stream's events into the answer that the same call would have got at once."""
    answer = Answer(id="", model="", candidates=[])
    choices: dict[int, _Growing] = {}
    for event in events:
        if isinstance(event, Begin):
            answer.id, answer.model = event.id, event.model
        elif isinstance(event, Used):
            answer.tokens, answer.service_tier = event.tokens, event.service_tier or answer.service_tier
            answer.geo, answer.cost = event.geo or answer.geo, event.cost if event.cost is not None else answer.cost
        elif not isinstance(event, Fail | Done):
            _grow(choices.setdefault(event.choice, _Growing()), event)
    answer.candidates = [choices[at].finish() for at in sorted(choices)]
    return answer


def _grow(choice: _Growing, event: Any) -> None:
    kind = type(event)
    if kind is TextDelta or kind is Cited:
        choice.at("text", is_last_only=kind is TextDelta).append(event)
    elif kind is RefusalDelta:
        choice.at("refusal").append(event)
    elif kind is ThoughtDelta:
        choice.at(("thought", event.block)).append(event)
    elif kind is ToolBegin or kind is ToolDelta:
        choice.at(("tool", event.block)).append(event)
    elif kind is Other:
        choice.at(object()).append(event)
    elif kind is Logged:
        choice.logprobs = [*(choice.logprobs or ()), *event.logprobs]
    elif kind is End:
        choice.stop, choice.sequence = event.stop, event.sequence or choice.sequence


def _folded(key: Any, events: list[Any]) -> Part:
    if key == "text":
        words = "".join(event.text for event in events if type(event) is TextDelta)
        return Text(words, citations=tuple(event.citation for event in events if type(event) is Cited))
    if key == "refusal":
        return Refusal("".join(event.text for event in events))
    if type(events[0]) is Other:
        part: Part = events[0].part
        return part
    if key[0] == "thought":
        blob = next((event.blob for event in reversed(events) if event.blob is not None), None)
        first = events[0]
        text = "".join(event.text for event in events)
        return Thought(
            text,
            blob,
            id=first.id,
            is_summary=any(event.is_summary for event in events),
            is_redacted=any(event.is_redacted for event in events),
        )
    begun = next((event for event in events if type(event) is ToolBegin), ToolBegin(0, "", ""))
    arguments = "".join(event.arguments for event in events if type(event) is ToolDelta)
    return ToolUse(begun.id, begun.name, arguments or "{}")


def unfold(answer: Answer) -> list[Event]:
    """The shortest stream that folds into an answer."""
    events: list[Event] = [Begin(answer.id, answer.model)]
    for at, candidate in enumerate(answer.candidates):
        tools = 0
        for block, part in enumerate(candidate.parts):
            events += _events_of(part, at, block, tools)
            tools += type(part) is ToolUse
        if candidate.logprobs is not None:
            events.append(Logged(tuple(candidate.logprobs), at))
        if candidate.stop is not None:
            events.append(End(candidate.stop, candidate.sequence, at))
    if answer.used is not None:
        events.append(answer.used)
    return events


def _events_of(part: Part, choice: int, block: int, tools: int) -> list[Event]:
    if isinstance(part, Text):
        return [TextDelta(part.text, choice), *(Cited(one, choice) for one in part.citations)]
    if isinstance(part, Refusal):
        return [RefusalDelta(part.text, choice)]
    if isinstance(part, Thought):
        return [ThoughtDelta(part.text, choice, block, part.blob, part.id, part.is_summary, part.is_redacted)]
    if isinstance(part, ToolUse):
        return [ToolBegin(tools, part.id, part.name, choice), ToolDelta(tools, part.arguments, choice)]
    return [Other(part, choice)] if isinstance(part, Opaque | Media) else []


def unfold_part(part: Part) -> list[Event]:
    """The events of one part of the first choice, for a provider that sends it in one piece."""
    return _events_of(part, 0, 0, 0)


# --- blobs ---------------------------------------------------------------------------------------------------

_MARK = "fh1:"
_RETURNED = re.compile(
    rb'"(?:signature|data|encrypted_content|thoughtSignature|thought_signature)"\s{0,8}:\s{0,8}"fh1:'
)


def brings_blob(raw: bytes) -> bool:
    """Whether a body brings back a blob that was written for a caller of another dialect, in one of the places where blobs stand."""
    return b'"fh1:' in raw and _RETURNED.search(raw) is not None


def wrap(blob: Blob) -> str:
    """Write a blob for a caller of another dialect, so that it is known again when it comes back."""
    return f"{_MARK}{blob.origin}:{blob.data}"


def unwrap(text: str, dialect: str) -> Blob | None:
    """Read a blob that a caller sent back; an unmarked one was made in the caller's own dialect, and an empty one holds nothing."""
    if text.startswith(_MARK):
        origin, _, data = text[len(_MARK) :].partition(":")
        return Blob(origin, data) if data else None
    return Blob(dialect, text)


def readable(blob: Blob | None, dialect: str, family: str) -> str | None:
    """The blob's data if a target of this dialect and family can read it."""
    return blob.data if blob is not None and blob.origin in (dialect, family) else None
