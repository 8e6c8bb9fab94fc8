"""Canaries: invented sensitive values, every place of a request that may hold one, and every spelling that may hide one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

CANARIES = {
    "ssn": "SSN 536-90-4399",
    "mrn": "MRN: 00482913",
    "card": "4111 1111 1111 1111",
    "api key": "sk-proj-Zk4vJ8qT2mW9xR5nB7cL3pD6",
    "e-mail": "hannah.whitlock@example.com",
    "name and birth date": "Hannah Whitlock, born 12 March 1980",
}
_GLYPHS = str.maketrans("aeopcxyABCEHKMOPTXS", "аеорсхуАВСЕНКМОРТХЅ")
_WIDE = {**{code: code + 0xFEE0 for code in range(33, 127)}, 32: 0x3000}
SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "JSON escapes": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "zero-width": "\u200b".join,
    "full-width": lambda text: text.translate(_WIDE),
    "homoglyph": lambda text: text.translate(_GLYPHS),
    "spaced": " ".join,
}
_TOOL = {
    "type": "function",
    "function": {"name": "look_up", "description": "Find it.", "parameters": {"type": "object", "properties": {}}},
}
_USED = {
    "role": "assistant",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}],
}


def _said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _tool(**function: Any) -> dict[str, Any]:
    return {**_said("x"), "tools": [{"type": "function", "function": {**_TOOL["function"], **function}}]}  # type: ignore[dict-item]  # a template of mixed values


def _arguments(text: str) -> dict[str, Any]:
    called = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": json.dumps({"q": text})}}
    return {
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "call_1", "content": "y"},
        ]
    }


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "system": lambda text: {"messages": [{"role": "system", "content": f"The customer: {text}."}, {"role": "user", "content": "x"}]},
    "user": lambda text: _said(f"Write to the customer ({text}) today."),
    "assistant": lambda text: {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": text}, {"role": "user", "content": "y"}]},
    "tool name": lambda text: _tool(name=text),
    "tool description": lambda text: _tool(description=f"Looks up {text}"),
    "tool schema": lambda text: _tool(parameters={"type": "object", "properties": {"who": {"type": "string", "enum": [text]}}}),
    "tool arguments": _arguments,
    "tool result": lambda text: {"messages": [{"role": "user", "content": "x"}, _USED, {"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"row": text})}]},
    "metadata key": lambda text: {**_said("x"), "metadata": {text: "1"}},
    "metadata value": lambda text: {**_said("x"), "metadata": {"about": text}},
    "user field": lambda text: {**_said("x"), "user": text},
    "file name": lambda text: {"messages": [{"role": "user", "content": [{"type": "file", "file": {"filename": f"{text}.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]}]},
    "URL query": lambda text: _said(f"See https://example.com/find?q={quote(text, safe='')} for it."),
    "JSON key": lambda text: {**_said("x"), "unheard_of": {text: True}},
    "two messages": lambda text: {"messages": [{"role": "user", "content": f"It is {text[: len(text) // 2]}"}, {"role": "assistant", "content": f"{text[len(text) // 2 :]}, I see"}]},
}  # fmt: skip


def request(canary: str, place: str, spelling: str) -> dict[str, Any]:
    """A chat request that holds a canary."""
    return {"max_tokens": 5, **PLACES[place](SPELLINGS[spelling](CANARIES[canary]))}
