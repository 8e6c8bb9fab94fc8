"""Service tiers: how each dialect asks for one, and how each provider says which it gave.

Why it exists: the same tokens cost half or twice as much in another tier, and what was asked for is not always what was given. Tiers have one
word each here: "" (the usual), `batch`, `flex`, `priority`, `fast`; a word that nobody here knows is kept as it is, so that it has no price.
Sources: the vendors' references for `service_tier`, `speed`, `serviceTier`, `trafficType`; checked 2026-11-25.
"""

from __future__ import annotations

import re
from typing import Any

BATCH = "batch"  # of what is handed in together, and answered within a day
AUTO = "auto"  # the provider decides, by what its customer has set there
_USUAL = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand", "on-demand", "unspecified"})
_WORDS = {"on_demand_flex": "flex", "on_demand_priority": "priority", "batches": "batch"}
_is_word = re.compile(r"[a-z0-9_.-]{1,32}").fullmatch


def tier_of(word: str | None) -> str:
    """The tier that a provider's word stands for."""
    plain = (word or "").lower().removeprefix("service_tier_")
    if plain in _USUAL:
        return ""
    return _WORDS.get(plain) or (plain if _is_word(plain) else "unknown")


def asked_tier(dialect: str, body: dict[str, Any]) -> str:
    """The tier that a call asks for; AUTO where the provider decides."""
    if body.get("speed") == "fast":
        return "fast"
    word = body.get("service_tier", body.get("serviceTier"))
    if isinstance(word, dict):
        word = word.get("type")
    if word is None or word == AUTO:
        return AUTO if dialect in ("openai-chat", "openai-responses") else ""
    return tier_of(word) if isinstance(word, str) else "unknown"
