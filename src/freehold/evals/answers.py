"""What a run asks and what comes back: the seam to whoever makes the calls.

Rules: whoever runs an evaluation makes no connection; it is handed a callable, and every call through it is a call like any other, with a ruling, a budget and a
receipt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from freehold.kernel.classes import Class


class Asked(msgspec.Struct, frozen=True):
    """One call in OpenAI's chat dialect (or `/embeddings`). class_: raises it; sample: which of several answers to the same; where: which targets a
    workload has, so that another one's answers are not taken for theirs.
    """

    body: dict[str, Any]
    class_: str = ""
    path: str = "/chat/completions"
    sample: int = 0
    where: str = ""

    @property
    def key(self) -> str:
        """What makes a call the same call: whom it asks, what, and for the how manieth time."""
        told = msgspec.json.encode([self.path, self.body, self.class_, self.sample, self.where], order="sorted")
        return hashlib.sha256(told).hexdigest()


class Replied(msgspec.Struct, frozen=True):
    """What came back. status: HTTP's, 0 for nobody; code: of an error; call: its receipt; target, class_: where it went, and as what it was ruled;
    cost_usd: None where it is not known.
    """

    status: int
    body: str
    code: str = ""
    call: str = ""
    target: str = ""
    class_: str = ""
    cost_usd: float | None = None
    seconds: float = 0.0


Ask = Callable[[Asked], Replied]
WITHHELD = "perimeter.zone_forbidden"  # the perimeter keeps a call from where it was to go
STOPPING = (
    "budget.exhausted",
    "auth.unknown_key",
    "auth.missing",
    "cli.unreachable",
    "cli.url",
    "cli.key",
)  # what holds for every call that would follow


class Answer(msgspec.Struct, frozen=True):
    """An answer as scorers see it. status: as outcomes have it, `forbidden` where the perimeter kept the call in; class_: as what it was ruled, and whoever is
    shown it is asked as that.
    """

    text: str
    tool_calls: tuple[tuple[str, Any], ...]
    status: str
    class_: str = ""


def highest(classes: Iterable[str]) -> str:
    """The highest of some classes; one that is not known counts as the highest that there is, "" for none as none."""
    known = [Class.parse(one) if one in _LABELS else Class.RESTRICTED for one in classes if one]
    return max(known).label if known else ""


_LABELS = frozenset(one.label for one in Class)


def read(replied: Replied) -> Answer:
    """The answer in a reply. What is no answer is an error, and never an exception."""
    if replied.code == WITHHELD:
        return Answer("", (), "forbidden")
    if replied.status != 200:
        return Answer("", (), "refused" if replied.code in _REFUSALS else "error")
    try:
        choice = json.loads(replied.body)["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        calls = tuple(
            (call["function"]["name"], _arguments(call["function"]["arguments"]))
            for call in message.get("tool_calls") or ()
        )
        finish = choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return Answer("", (), "error")
    if not isinstance(text, str):
        text = "".join(part.get("text", "") for part in text if isinstance(part, dict))
    status = (
        "truncated"
        if finish == "length"
        else "refused"
        if finish == "content_filter" or message.get("refusal")
        else "ok"
    )
    return Answer(text, calls, status, replied.class_ or Class.RESTRICTED.label)  # who does not say has not ruled


_REFUSALS = ("content_filter", "content_policy_violation")


def _arguments(raw: Any) -> Any:
    """A call's arguments as JSON, or as they stand where they are none."""
    if not isinstance(raw, str):
        return raw
    try:
        return json.loads(raw or "{}")
    except (ValueError, RecursionError):
        return raw
