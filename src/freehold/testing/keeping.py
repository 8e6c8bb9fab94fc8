"""The stand-in's memory of responses: what the Responses API keeps under an id, as OpenAI documents it.

Rules: a background response is queued first, in progress when it is first asked for, and complete from then on.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Any

from freehold.testing.speech import Said

_PATH = re.compile(r".*/responses/(?P<id>[^/]+)(?P<below>/cancel|/input_items)?$")
_UNUSED: dict[str, Any] = {"output": [], "usage": None}


@dataclass(slots=True)
class _Kept:
    said: Said
    whole: dict[str, Any]
    items: list[Any]
    status: str


@dataclass
class Keeping:
    """Responses by id. `make` gives an answer an id of its own and keeps it."""

    _kept: dict[str, _Kept] = field(default_factory=dict)

    def make(self, said: Said) -> Said:
        """The same answer, under an id that no other has."""
        return replace(said, id=f"resp_{os.urandom(16).hex()}")

    def keep(self, asked: dict[str, Any], said: Said, whole: dict[str, Any]) -> dict[str, Any]:
        """Keep a response unless the caller said not to; returns what the caller is shown now."""
        if asked.get("store") is False:
            return whole
        items = asked["input"]
        items = items if isinstance(items, list) else [_message(items)]
        status = "queued" if asked.get("background") else "completed"
        one = self._kept[said.id] = _Kept(said, {**whole, "background": bool(asked.get("background"))}, items, status)
        return _shown(one)

    def said(self, path: str) -> Said | None:
        """What a stored response said, for a stream of it."""
        found = _PATH.fullmatch(path)
        one = self._kept.get(found["id"]) if found else None
        return one.said if one is not None else None

    def answer(self, method: str, path: str) -> tuple[int, dict[str, Any]] | None:
        """Status and body for a request about a stored response; None if the path is about something else."""
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        about, below = found["id"], found["below"]
        one = self._kept.get(about)
        if one is None:
            return 404, _error(f"Response with id '{about}' not found.", "id")
        if method == "DELETE":
            del self._kept[about]
            return 200, {"id": about, "object": "response", "deleted": True}
        if below == "/input_items":
            return 200, {"object": "list", "data": one.items, "first_id": None, "last_id": None, "has_more": False}
        if below == "/cancel":
            if not one.whole["background"]:
                return 400, _error("Only background responses can be cancelled.", "id")
            one.status = "cancelled" if one.status != "completed" else one.status
            return 200, _shown(one)
        shown = _shown(one) if one.status != "queued" else {**_shown(one), "status": "in_progress"}
        one.status = "completed" if one.status in ("queued", "in_progress") else one.status
        return 200, shown


def _message(text: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"id": "msg_0", "type": "message", "role": "user", "status": "completed", "content": content}


def _shown(one: _Kept) -> dict[str, Any]:
    return {**one.whole, "status": one.status, **({} if one.status == "completed" else _UNUSED)}


def _error(message: str, param: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}
