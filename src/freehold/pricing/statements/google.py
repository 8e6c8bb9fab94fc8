"""Google: tables of the Cloud Billing console (CSV), and rows of its BigQuery export (JSON), for Gemini on both of Google's services.

Rules: what a row is of stands in the words of its SKU and nowhere else; fresh input does not hold what was cached; days are Pacific in the console
and UTC in BigQuery; credits, taxes and rounding are rows of their own. Source: real exports of 2026, Google's description of the BigQuery tables;
checked 2026-11-25.
"""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo

from freehold.pricing.statements.entry import DAY_MS, OTHER, Entry, Statement, count, moment, money, normal, unreadable

_NAMES = ("gemini", "vertex")
_PACIFIC = ZoneInfo("America/Los_Angeles")
_NO_TOKENS = re.compile(r"storage|search|grounding|query|session|tuning|image generation|video|hour", re.IGNORECASE)
_SIDE = re.compile(r"\b(input|output)\b")
_MODEL = re.compile(
    r"\b(gemini(?: embedding)?(?: \d+(?:[. ]\d+)?)?(?: (?:pro|flash|ultra|nano))?(?: lite)?(?: image)?(?: \d{3})?)\b"
)
_OURS = ("gemini", "vertex", "generative language")


def is_table(head: set[str]) -> bool:
    return "sku description" in head


def table(rows: list[dict[str, str]], name: str) -> Statement:
    entries: list[Entry] = []
    for row in rows:
        where = f"{name}, line {row['#']}"
        if not row.get("sku description") or row.get("cost type", "usage").lower() in (
            "total",
            "rounding error",
            "tax",
        ):
            continue
        if not row.get("service description", "gemini").lower().startswith(_OURS):
            continue
        column = next((column for column in row if re.match(r"unrounded (cost|subtotal)", column)), None)
        column = column or next((column for column in row if re.match(r"(cost|subtotal) \(", column)), None)
        if column is None or "($)" not in column:
            raise unreadable("it has no cost in US dollars", where)
        day = row.get("date") or row.get("usage start date")
        if not day:
            raise unreadable("it does not say of which day it is", where)
        start = moment(day, where, _PACIFIC)
        end = row.get("usage end date")
        until = moment(end, where, _PACIFIC) + DAY_MS if end else start + DAY_MS
        entries.append(_entry(row["sku description"], row.get("usage amount"), row[column], (start, until), where))
    return Statement("Google Cloud billing", _NAMES, tuple(entries))


def records(found: list[dict[str, Any]], name: str) -> Statement:
    """Rows of the BigQuery export; what a row costs is what is left of it after its credits."""
    entries: list[Entry] = []
    for number, one in enumerate(found, 1):
        where = f"{name}, row {number}"
        service, sku, used = one.get("service") or {}, one.get("sku") or {}, one.get("usage") or {}
        if not str(service.get("description", "gemini")).lower().startswith(_OURS) or one.get("cost_type") in (
            "tax",
            "rounding error",
        ):
            continue
        if one.get("currency", "USD") != "USD":
            raise unreadable(f"it is in {str(one['currency'])[:8]}, and prices here are in US dollars", where)
        cost = sum(
            (money(credit.get("amount", 0), where)[0] for credit in one.get("credits") or ()),
            money(one.get("cost"), where)[0],
        )
        span = moment(one.get("usage_start_time"), where), moment(one.get("usage_end_time"), where)
        entries.append(_entry(str(sku.get("description", "")), used.get("amount"), str(cost), span, where))
    return Statement("Google Cloud billing", _NAMES, tuple(entries))


def _entry(sku: str, amount: Any, cost: str, span: tuple[int, int], where: str) -> Entry:
    billed, rounding = money(cost, where)
    told = read_sku(sku)
    if told is None:
        return Entry(*span, "", OTHER, amount=billed, rounding=rounding, shown=sku.strip())
    model, class_, tier = told
    return Entry(
        *span, model, class_, tier, tokens=count(amount, where), amount=billed, rounding=rounding, shown=sku.strip()
    )


def read_sku(sku: str) -> tuple[str, str, str] | None:
    """(model, class, tier) that the words of a SKU mean; None for what is no token of a model."""
    plain = (
        re.sub(r"[_\s-]+", " ", sku.lower()).strip().replace(" ga ", " ").replace("generatecontent", "generate content")
    )
    model, side = _MODEL.search(plain), _SIDE.search(plain)
    if model is None or side is None or _NO_TOKENS.search(plain):
        return None
    tier = next((word for word in ("batch", "flex", "priority") if re.search(rf"\b{word}\b", plain)), "")
    is_cached = "cached" in plain or "caching" in plain
    is_heard = "audio" in plain
    if side[1] == "output":
        class_ = "audio_out" if is_heard else "reasoning" if "thinking text output" in plain else "completion"
    else:
        class_ = "cache_read" if is_cached else "audio_in" if is_heard else "input"
    return normal(model[1]), class_, tier
