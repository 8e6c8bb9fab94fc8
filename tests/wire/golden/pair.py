"""What the golden exchanges are made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
TEXT = "Grüße aus Köln – 你好 🦊"


@dataclass(frozen=True)
class Pair:
    """One exchange, whole and streamed."""

    name: str
    dialect: str
    whole: dict[str, Any]
    stream: bytes


def sse(events: list[dict[str, Any]], *, named: bool = False, end: str = "\n", done: bool = False) -> bytes:
    """Frame events as their vendor does."""
    out = b""
    for event in events:
        name = f"event: {event['type']}{end}" if named else ""
        out += f"{name}data: {json.dumps(event, ensure_ascii=False)}{end}{end}".encode()
    return out + (b"data: [DONE]\n\n" if done else b"")
