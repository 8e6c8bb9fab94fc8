"""OpenAI: usage and costs of the administration API (JSON), and of the dashboard (CSV).

Rules: `input_tokens` holds what was read from a cache; fields of a modality are parts of these totals and never come on top; money is dollars,
often with thirty digits. Sources: OpenAI's OpenAPI description (2026-08-21), real exports of October 2025 and September 2026; checked 2026-11-25.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from freehold.pricing.statements.entry import OTHER, Entry, Statement, count, moment, money, normal, unreadable
from freehold.wire.tiers import tier_of

_NAMES = ("openai",)
_ITEM = re.compile(r"(?:(?P<tier>[a-z ]+?) \| )?(?P<model>[^,]+?)(?: (?P<kind>audio|text|image))?, (?P<what>.+)")
_CLASSES = {
    "input": "input",
    "input_tokens": "input",
    "cached input": "cache_read",
    "cache writes": "cache_write",
    "output": "output",
    "output_tokens": "output",
    "audio input": "audio_in",
    "audio output": "audio_out",
}


def is_usage(head: set[str]) -> bool:
    return {"num_model_requests", "input_tokens"} <= head or head == {
        "start_time",
        "end_time",
        "start_time_iso",
        "end_time_iso",
    }


def is_cost(head: set[str]) -> bool:
    return {"amount_value", "amount_currency"} <= head


def usage(buckets: list[dict[str, Any]], name: str) -> Statement:
    entries: list[Entry] = []
    for number, bucket in enumerate(buckets, 1):
        where = f"{name}, bucket {number}"
        for one in bucket.get("results") or bucket.get("result") or ():
            span = moment(bucket["start_time"], where), moment(bucket["end_time"], where)
            entries += _used(one, span, where)
    return Statement("OpenAI usage", _NAMES, tuple(entries))


def usage_table(rows: list[dict[str, str]], name: str) -> Statement:
    entries: list[Entry] = []
    for row in rows:
        where = f"{name}, line {row['#']}"
        if row.get("model"):
            entries += _used(row, (moment(row["start_time"], where), moment(row["end_time"], where)), where)
    return Statement("OpenAI usage", _NAMES, tuple(entries))


def _used(one: Mapping[str, Any], span: tuple[int, int], where: str) -> Iterator[Entry]:
    if not one.get("model"):
        raise unreadable("it does not say which model: export it grouped by model", where)

    def of(field: str) -> int:
        return count(one.get(field), where)

    is_batch = str(one.get("batch") or "").lower() == "true"
    tier = "batch" if is_batch else tier_of(one.get("service_tier"))
    cached, written, heard, spoken = (
        of("input_cached_tokens"),
        of("input_cache_write_tokens"),
        of("input_audio_tokens"),
        of("output_audio_tokens"),
    )
    heard = min(
        heard, max(0, of("input_tokens") - cached - written)
    )  # older exports count what was heard from a cache in both
    tokens = {
        "input": of("input_tokens") - cached - written - heard,
        "cache_read": cached,
        "cache_write": written,
        "audio_in": heard,
        "completion": of("output_tokens") - spoken,  # what was thought is in it
        "audio_out": spoken,
    }
    if min(tokens.values()) < 0:
        raise unreadable("its parts are more than the whole", where)
    calls: int | None = of("num_model_requests")
    for class_, number in tokens.items():
        if number or class_ == "input":
            yield Entry(
                *span, normal(str(one["model"])), class_, tier, tokens=number, calls=calls, shown=str(one["model"])
            )
            calls = None


def costs(buckets: list[dict[str, Any]], name: str) -> Statement:
    entries: list[Entry] = []
    for number, bucket in enumerate(buckets, 1):
        where = f"{name}, bucket {number}"
        for one in bucket.get("results") or bucket.get("result") or ():
            span = moment(bucket["start_time"], where), moment(bucket["end_time"], where)
            amount = one.get("amount") or {}
            entries.append(_billed(one, amount.get("value"), str(amount.get("currency", "usd")), span, where))
    return Statement("OpenAI costs", _NAMES, tuple(entries))


def cost_table(rows: list[dict[str, str]], name: str) -> Statement:
    entries: list[Entry] = []
    for row in rows:
        where = f"{name}, line {row['#']}"
        if row.get("amount_value"):
            span = moment(row["start_time"], where), moment(row["end_time"], where)
            entries.append(_billed(row, row["amount_value"], row["amount_currency"], span, where))
    return Statement("OpenAI costs", _NAMES, tuple(entries))


def _billed(one: Mapping[str, Any], value: Any, currency: str, span: tuple[int, int], where: str) -> Entry:
    if currency.lower() != "usd":
        raise unreadable(f"it is in {currency.upper()[:8]}, and prices here are in US dollars", where)
    amount, rounding = money(value, where)
    item = str(one.get("line_item") or "")
    found = _ITEM.fullmatch(item.removesuffix(", long context"))
    class_ = _CLASSES.get(found["what"]) if found else None
    if found is None or class_ is None:
        return Entry(*span, "", OTHER if item else "", amount=amount, rounding=rounding, shown=item or "everything")
    if found["kind"] == "audio":
        class_ = {"input": "audio_in", "output": "audio_out"}.get(class_, class_)
    class_ = "completion" if class_ == "output" else class_
    is_tokens = one.get("quantity") is not None and one.get("quantity_unit") in (None, "", "tokens")
    tokens = count(one["quantity"], where) if is_tokens and one["quantity"] != "" else None
    return Entry(
        *span,
        normal(found["model"]),
        class_,
        tier_of(found["tier"]),
        tokens=tokens,
        amount=amount,
        rounding=rounding,
        shown=item,
    )
