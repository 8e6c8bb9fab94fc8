"""The laws of the wire, as functions over one exchange: run on the golden set and on the recorded exchanges alike."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from freehold.kernel.errors import UpstreamError
from freehold.kernel.routes import PLAIN
from freehold.wire import canonical as c
from freehold.wire import sse
from freehold.wire.call import Address, Call, Endpoint
from freehold.wire.dialect import in_words
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.progress import Progress

ENDPOINT = {
    "openai-chat": Endpoint.CHAT,
    "openai-responses": Endpoint.RESPONSES,
    "anthropic-messages": Endpoint.MESSAGES,
    "gemini": Endpoint.GENERATE,
}


def events_of(dialect: str, pieces: Sequence[bytes]) -> list[c.Event]:
    """The canonical events of a stream, fed in these pieces."""
    frames, reader = DIALECTS[dialect].frames(), DIALECTS[dialect].stream_reader(dialect)
    framed = [event for piece in pieces for event in frames.feed(piece)] + frames.close()
    return [found for event in framed for found in reader.take(event)]


def meaning(answer: c.Answer) -> list[Any]:
    """What an answer says, whatever its dialect: words, calls, thoughts, refusal, why it ended, what it used."""
    said: list[Any] = []
    for one in answer.candidates:
        words = "".join(part.text for part in one.parts if isinstance(part, c.Text))
        calls = [(part.name, json.loads(part.arguments)) for part in one.parts if isinstance(part, c.ToolUse)]
        thoughts = "".join(part.text for part in one.parts if isinstance(part, c.Thought))
        blobs = [part.blob for part in one.parts if isinstance(part, c.Thought) and part.blob is not None]
        refusal = "".join(part.text for part in one.parts if isinstance(part, c.Refusal))
        said.append((words, calls, thoughts, len(blobs), refusal, one.stop, one.sequence, one.logprobs))
    return [said, answer.tokens]


def common(answer: c.Answer, dialect: str) -> list[Any]:
    """What this answer's meaning becomes in a dialect that cannot say all of it: the rest must be in `lost`."""
    said = []
    for words, calls, thoughts, blobs, refusal, _stop, _sequence, _logprobs in meaning(answer)[0]:
        is_apart = dialect in ("openai-chat", "openai-responses")  # elsewhere a refusal is said in plain words
        said.append((words if is_apart else words + refusal, calls, thoughts, blobs, refusal if is_apart else ""))
    return said[:1]


def call_for(dialect: str, body: dict[str, Any] | None = None, *, framing: str = "sse") -> Call:
    return Call(
        endpoint=ENDPOINT[dialect],
        model="m",
        is_stream=True,
        body=body or {},
        size=1,
        dialect=dialect,
        wants_usage=True,
        framing=framing,
    )


# --- 1: folding a stream gives the unary answer -------------------------------------------------------------------


def fold_is_whole(dialect: str, stream: bytes) -> c.Answer:
    """A whole stream folds into an answer that ended, whose arguments parse."""
    events = events_of(dialect, [stream])
    progress = Progress(1, needs_done=DIALECTS[dialect].needs_done)
    progress.take(events)
    assert progress.is_complete
    assert progress.trouble is None
    answer = c.fold(events)
    assert all(one.stop is not None for one in answer.candidates)
    for one in answer.candidates:
        for part in one.parts:
            if isinstance(part, c.ToolUse):
                json.loads(part.arguments)
                assert part.id
                assert part.name
    return answer


# --- 2: identity -------------------------------------------------------------------------------------------------


def request_is_passed_on(dialect: str, body: dict[str, Any], endpoint: Endpoint | None = None) -> None:
    """Decode, then encode in the same dialect: equal JSON, unknown fields included."""
    spoken = SPOKEN[dialect]
    call = spoken.read_call(endpoint or ENDPOINT[dialect], json.dumps(body).encode(), Address("m"))
    passed = {**call.body}
    spoken.pass_on(call, passed, PLAIN)
    if call.is_stream and dialect == "openai-chat" and "stream_options" in passed:
        passed["stream_options"] = {k: v for k, v in passed["stream_options"].items() if k != "include_usage"} or None
        before = {k: v for k, v in (body.get("stream_options") or {}).items() if k != "include_usage"} or None
        passed, body = {**passed, "stream_options": before}, {**body, "stream_options": before}
    assert passed == body


def stream_is_passed_on(dialect: str, stream: bytes) -> None:
    """The events that are passed on say what came in, field by field, and nothing else."""
    frames = DIALECTS[dialect].frames()
    framed = frames.feed(stream) + frames.close()
    again = DIALECTS[dialect].frames()
    raw = b"".join(event.raw for event in framed)
    assert [event.data for event in again.feed(raw) + again.close()] == [event.data for event in framed]


# --- 3: across dialects ------------------------------------------------------------------------------------------


def request_survives(dialect: str, body: dict[str, Any]) -> dict[str, set[str] | str]:
    """Into the canonical form, into every other dialect, and back: what both can say is the same. Returns what each could not carry."""
    talk = SPOKEN[dialect].read_request(body)
    found: dict[str, set[str] | str] = {}
    for name, target in DIALECTS.items():
        lost: set[str] = set()
        try:
            written = target.write_request(talk, "m", PLAIN, lost)
        except c.Unable as unable:
            found[name] = unable.feature.value
            continue
        found[name] = lost
        json.dumps(written)
        if name in SPOKEN:
            check_request(talk, SPOKEN[name].read_request(written), lost)
    return found


def check_request(before: c.Conversation, after: c.Conversation, lost: set[str]) -> None:
    """Words and calls are the same in the same order; each setting is the same, or named as lost."""
    wish = in_words(before.shape) if before.shape is not None else ""  # said in words where a target knows no schema
    assert _words(before) == _words(after, without=wish if lost & {c.Feature.SCHEMA, c.Feature.JSON} else ""), "words"
    assert _calls(before) == _calls(after), "calls"
    assert [tool.name for tool in before.tools] == [tool.name for tool in after.tools], "tools"
    settings = {
        "temperature": c.Feature.TEMPERATURE,
        "top_p": c.Feature.TOP_P,
        "top_k": c.Feature.TOP_K,
        "stop": c.Feature.STOP,
        "seed": c.Feature.SEED,
        "presence_penalty": c.Feature.PENALTIES,
        "frequency_penalty": c.Feature.PENALTIES,
        "logit_bias": c.Feature.LOGIT_BIAS,
        "logprobs": c.Feature.LOGPROBS,
        "n": c.Feature.CHOICES,
        "user": c.Feature.USER,
        "metadata": c.Feature.METADATA,
        "cache_key": c.Feature.CACHE_KEY,
        "verbosity": c.Feature.VERBOSITY,
        "tool_choice": c.Feature.TOOL_CHOICE,
    }
    for attribute, feature in settings.items():
        if (
            feature not in lost
            and getattr(before, attribute) is not None
            and (attribute != "tool_choice" or before.tools)
        ):
            assert getattr(before, attribute) == getattr(after, attribute), attribute
    if before.shape is not None and not lost & {c.Feature.SCHEMA, c.Feature.JSON} and before.shape.schema is not None:
        assert after.shape is not None
        assert set((after.shape.schema or {}).get("properties") or ()) == set(
            before.shape.schema.get("properties") or ()
        )
    assert _media(before) == _media(after), "media"
    if not lost & {c.Feature.THINKING, c.Feature.SIGNATURE}:
        assert _thoughts(before) == _thoughts(after), "thoughts"
    if c.Feature.CACHE not in lost:
        assert _marks(before) == _marks(after), "cache marks"


def _parts(talk: c.Conversation) -> list[Any]:
    flat: list[Any] = []
    for turn in talk.turns:
        for part in turn.parts:
            flat.append(part)
            if isinstance(part, c.ToolResult):
                flat += part.parts
    return flat


def _words(talk: c.Conversation, without: str = "") -> tuple[str, str]:
    """What was said, and what tools said, each in its order: results may stand before or after the words of their turn."""
    said, told = "", ""
    for turn in talk.turns:
        for part in turn.parts:
            if isinstance(part, c.ToolResult):
                told += "".join(one.text or "" for one in part.parts if isinstance(one, c.Text | c.Media))
            elif isinstance(part, c.Text | c.Refusal) or (isinstance(part, c.Media) and part.text):
                said += part.text or ""
    return said.replace(without, ""), told.replace("The result is attached below.", "")


def _calls(talk: c.Conversation) -> list[Any]:
    return [(part.name, json.loads(part.arguments)) for part in _parts(talk) if isinstance(part, c.ToolUse)]


def _media(talk: c.Conversation) -> list[Any]:
    return [part.url or part.data for part in _parts(talk) if isinstance(part, c.Media) and not part.text]


def _thoughts(talk: c.Conversation) -> str:
    return "".join(part.text for part in _parts(talk) if isinstance(part, c.Thought))


def _marks(talk: c.Conversation) -> int:
    return sum(bool(getattr(part, "cache", "")) for part in _parts(talk)) + sum(bool(tool.cache) for tool in talk.tools)


def answer_survives(answer: c.Answer, events: Sequence[c.Event]) -> None:
    """An answer, whole and streamed, written in every dialect and read back, means the same."""
    for name, spoken in SPOKEN.items():
        lost: set[str] = set()
        call = call_for(name)
        again = DIALECTS[name].read_answer(spoken.write_answer(answer, call, lost), name)
        _same_answer(answer, again, name, lost)
        writer = spoken.stream_writer(call, lost)
        written = b"".join(writer.take([event]) for event in events) + writer.end()
        streamed = fold_is_whole(name, written)
        _same_answer(answer, streamed, name, lost)


def _same_answer(before: c.Answer, after: c.Answer, name: str, lost: set[str]) -> None:
    assert common(after, name) == common(before, name)
    if before.tokens is not None:
        assert after.tokens is not None
        assert (after.tokens.prompt, after.tokens.completion) == (before.tokens.prompt, before.tokens.completion)
    if len(before.candidates) > 1:
        assert len(after.candidates) == len(before.candidates) or c.Feature.CHOICES in lost
    for one, other in zip(before.candidates, after.candidates, strict=False):
        if one.logprobs and c.Feature.LOGPROBS not in lost:
            assert other.logprobs == one.logprobs
        if one.stop is c.Stop.LENGTH or one.stop is c.Stop.TOOL_USE:
            assert other.stop is one.stop


# --- 4: dribble --------------------------------------------------------------------------------------------------


def cuts_do_not_matter(dialect: str, stream: bytes) -> None:
    """Split anywhere, the same events: at every offset of a short stream, byte by byte and at 64 random cuts of a long one."""
    whole = events_of(dialect, [stream])
    assert events_of(dialect, [stream[at : at + 1] for at in range(len(stream))]) == whole
    places = (
        range(len(stream) + 1) if len(stream) <= 4096 else random.Random(len(stream)).sample(range(len(stream)), 64)
    )
    frames = {at: _framed(dialect, [stream[:at], stream[at:]]) for at in places}
    expected = _framed(dialect, [stream])
    assert all(found == expected for found in frames.values())


def _framed(dialect: str, pieces: Sequence[bytes]) -> list[sse.Event]:
    frames = DIALECTS[dialect].frames()
    return [event for piece in pieces for event in frames.feed(piece)] + frames.close()


# --- 5: cut ------------------------------------------------------------------------------------------------------

CUT = UpstreamError("'rack' ended the stream before the answer was complete.", code="upstream.cut")


def cut_is_one_error(dialect: str, stream: bytes, callers: Sequence[str] = tuple(SPOKEN)) -> int:
    """Ended after any event short of the end: incomplete, and one well-formed error in each caller's dialect. Returns how many cuts were made."""
    framed = _framed(dialect, [stream])
    reader, progress = DIALECTS[dialect].stream_reader(dialect), Progress(1, needs_done=DIALECTS[dialect].needs_done)
    writers = {name: SPOKEN[name].stream_writer(call_for(name), set()) for name in callers}
    made = 0
    for event in framed:
        if progress.is_complete:
            break
        found = reader.take(event)
        progress.take(found)
        for name, writer in writers.items():
            writer.take(found)
            if not progress.is_complete:
                check_error_event(name, writer.fail(CUT))
        made += not progress.is_complete
    return made


def check_error_event(dialect: str, data: bytes) -> None:
    frames = sse.Reader()
    events = frames.feed(data) + frames.close()
    assert len(events) == 1
    body = json.loads(events[0].data)
    assert body.get("error"), dialect
    if dialect in ("anthropic-messages", "openai-responses"):
        assert body["type"] == "error"
        assert data.startswith(b"event: error\n")
    assert type(DIALECTS[dialect].stream_reader(dialect).take(events[0])[0]) is c.Fail
