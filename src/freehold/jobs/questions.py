"""What a batch asks, and what it is answered: the seam to whoever makes the calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from freehold.kernel.units import Tokens


class Question(msgspec.Struct, frozen=True):
    """One call of a batch: whose, where to, with what; declared: headers that its caller gave for all; may_be_posted: it may wait for others and be
    handed in with them, to be answered within a day.
    """

    owner: str
    path: str
    body: bytes
    declared: dict[str, str]
    may_be_posted: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What became of a call. code: of the error, "" for none; retry_after_s: when it may be asked again; tokens: None if not known;
    aside: the call itself, which waits for others, and with which of them (`way`).
    """

    status: int
    body: bytes
    call: str
    code: str = ""
    tokens: Tokens | None = None
    retry_after_s: float | None = None
    aside: Any = None
    way: str = ""


Ask = Callable[[Question], Awaitable[Answer]]
