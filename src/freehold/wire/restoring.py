"""Put the originals back where a target used their stand-ins: in whole answers and in streams, words and arguments of tools alike.

Rules: only this call's own stand-ins are known; nothing is put back inside an address or the target of a link, where it could be carried off;
a stream is held back by no more than one stand-in's length. What a model signed (its thinking) is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from freehold.wire import canonical as c

_OPENS = re.compile(r"//|www\.|mailto:|data:|tel:|sms:|javascript:|src=|href=|url\(", re.IGNORECASE)
_TAG = re.compile(r"<[A-Za-z][\w:-]*[\s/]")
_ATTRIBUTES = re.compile(r"(?:[^\"'>]+|\"[^\"]*\"|'[^']*')*")
_QUOTE = re.compile(r"(?:\\.|[^\"\\])*+\"", re.DOTALL)
_KEPT = 16_384  # characters that are remembered, to know whether what comes next stands in an address


class Restorer:
    """Knows the stand-ins of one call."""

    def __init__(self, originals: Mapping[str, str]) -> None:
        self._originals = {token.lower(): value for token, value in originals.items()}
        self._longest = max(map(len, originals), default=0)
        self._tokens = re.compile("|".join(map(re.escape, sorted(originals, key=len, reverse=True))), re.IGNORECASE)
        self._running: dict[tuple[Any, ...], _Running] = {}

    def whole(self, raw: bytes) -> bytes:
        """A whole answer with its originals; as it came if it is no JSON that can be read."""
        try:
            answer = msgspec.json.decode(raw)
        except msgspec.MsgspecError:
            return raw
        return msgspec.json.encode(self._value(answer))

    def text(self, text: str, before: str = "", *, is_json: bool = False) -> str:
        """Words with their originals; before: what stands in front of them."""
        made: list[str] = []
        done = 0
        for found in self._tokens.finditer(text):
            made.append(text[done : found.start()])
            done = found.end()
            seen = (before + text[: found.start()])[-_KEPT:]
            is_held = _is_address(_in_string(seen) if is_json else seen)
            made.append(found.group() if is_held else self._original(found.group(), is_json=is_json))
        return "".join([*made, text[done:]])

    def _original(self, token: str, *, is_json: bool) -> str:
        value = self._originals[token.lower()]
        return msgspec.json.encode(value).decode()[1:-1] if is_json else value

    def _value(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value, is_json=_is_json(value)) if "[" in value else value
        if kind is dict:
            return {key: below if key in _SIGNED else self._value(below) for key, below in value.items()}
        if kind is list:
            parts = [one for one in value if type(one) is dict and type(one.get("text")) is str]
            return self._parts(value) if len(parts) > 1 else [self._value(one) for one in value]
        return value

    def _parts(self, parts: list[Any]) -> list[Any]:
        """Parts of one text: a stand-in may begin in one and end in the next, where its original then stands."""
        running, made, last = _Running(), [], None
        for one in parts:
            if type(one) is dict and type(one.get("text")) is str and not one.keys() & _SIGNED:
                last = {**one, "text": self._go_on(running, one["text"], is_json=False)}
                made.append(last)
            else:
                if last is not None:
                    last["text"] += running.held
                running, last = _Running(), None
                made.append(self._value(one))
        if last is not None:
            last["text"] += running.held
        return made

    # --- streams ----------------------------------------------------------------------------------------------------

    def take(self, events: Sequence[c.Event]) -> list[c.Event]:
        """A stream's events with their originals; some words may come later than they came in."""
        out: list[c.Event] = []
        for event in events:
            if isinstance(event, c.TextDelta | c.RefusalDelta):
                key: tuple[Any, ...] = (type(event), event.choice)
                self._flush(out, event.choice, but=key)
                said = self._more(key, event.text, is_json=False)
                if said:
                    out.append(type(event)(said, event.choice))
            elif isinstance(event, c.ToolDelta):
                said = self._more((c.ToolDelta, event.choice, event.block), event.arguments, is_json=True)
                if said:
                    out.append(c.ToolDelta(event.block, said, event.choice))
            elif isinstance(event, c.Used | c.Begin | c.Logged):
                out.append(event)
            else:
                self._flush(out, getattr(event, "choice", None), but=None)
                out.append(event)
        return out

    def _more(self, key: tuple[Any, ...], text: str, *, is_json: bool) -> str:
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = _Running()
        return self._go_on(running, text, is_json=is_json)

    def _go_on(self, running: _Running, text: str, *, is_json: bool) -> str:
        if not running.is_begun and text.strip():
            running.is_begun, running.is_json = True, text.lstrip()[0] == "{"
        is_json = is_json or running.is_json
        running.held += text
        cut = self._safe(running.held)
        ready, running.held = running.held[:cut], running.held[cut:]
        said = self.text(ready, running.before, is_json=is_json)
        running.before = (running.before + ready)[-_KEPT:]
        return said

    def _safe(self, text: str) -> int:
        """How much of a text cannot be the beginning of a stand-in that goes on."""
        at = text.rfind("[", max(0, len(text) - self._longest + 1))
        if at < 0 or "]" in text[at:]:
            return len(text)
        tail = text[at:].lower()
        return at if any(token.startswith(tail) for token in self._originals) else len(text)

    def _flush(self, out: list[c.Event], choice: int | None, *, but: tuple[Any, ...] | None) -> None:
        """Let go of what is held of a choice (of all, where none is named)."""
        for key, running in self._running.items():
            if key == but or not running.held or (choice is not None and key[1] != choice):
                continue
            if but is not None and key[0] is c.ToolDelta:
                continue
            said, running.held = running.held, ""
            out.append(c.ToolDelta(key[2], said, key[1]) if key[0] is c.ToolDelta else key[0](said, key[1]))


class _Running:
    """One run of words in a stream: what is held back, what stood before it, and whether it reads like JSON."""

    __slots__ = ("before", "held", "is_begun", "is_json")

    def __init__(self) -> None:
        self.held = ""
        self.before = ""
        self.is_begun = self.is_json = False


_SIGNED = frozenset(("thinking", "reasoning_details", "encrypted_content", "signature", "thoughtSignature", "data"))


def _is_address(seen: str) -> bool:
    """Whether what comes next stands in an address, in the target of a link, or in a tag. In doubt it does."""
    run = seen[-1:].strip() and seen.rsplit(None, 1)[-1]  # what comes next belongs to it
    if len(run) == _KEPT or _OPENS.search(run.rpartition(">")[2]) or "](" in run or "]:" in run:
        return True
    if _is_defined(seen[: len(seen) - len(run)]):
        return True
    angle = seen[max(seen.rfind("\n"), seen.rfind(">")) + 1 :]  # a target in angle brackets may hold spaces
    if "](<" in angle or ("<" in angle and _is_defined(seen[: len(seen) - len(angle) + angle.index("<")])):
        return True
    return _is_in_tag(seen)


def _is_defined(before: str) -> bool:
    """Whether a text ends where the target of a link is defined: `[x]: `."""
    return before.rstrip().endswith("]:")


def _is_in_tag(seen: str) -> bool:
    tag = _TAG.search(seen)
    while tag is not None:
        behind = _ATTRIBUTES.match(seen, tag.end())
        end = behind.end() if behind else tag.end()
        if seen[end : end + 1] != ">":
            return "=" in seen[tag.start() :]
        tag = _TAG.search(seen, end)
    return False


def _in_string(seen: str) -> str:
    """Of JSON, the string that goes on, as it reads."""
    at = 0
    while (closed := _QUOTE.match(seen, at)) is not None:
        at = closed.end()
    return seen[at:].replace("\\n", "\n").replace("\\t", "\t").replace("\\/", "/").replace('\\"', '"')


def _is_json(text: str) -> bool:
    """Whether a string is itself JSON, as arguments of tools are."""
    if text[:1] not in "{[" or text[-1:] not in "}]":
        return False
    try:
        msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return False
    return True
