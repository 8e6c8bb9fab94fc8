"""Anthropic: usage and cost reports of the administration API (JSON), and of the console (CSV).

Rules: the classes of tokens are disjoint; the API tells money in cents, the console in dollars rounded to two digits a row and with the model's
shown name. Sources: Anthropic's API reference and cookbook, real exports of 2026; checked 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.pricing.statements.entry import DAY_MS, OTHER, Entry, Statement, count, moment, money, normal, unreadable
from freehold.wire.tiers import tier_of

_NAMES = ("anthropic",)
_COLUMNS = {
    "input": ("uncached_input_tokens", "usage_input_tokens_no_cache"),
    "cache_write": ("ephemeral_5m_input_tokens", "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write"),
    "cache_write_1h": ("ephemeral_1h_input_tokens", "usage_input_tokens_cache_write_1h"),
    "cache_read": ("cache_read_input_tokens", "usage_input_tokens_cache_read"),
    "completion": ("output_tokens", "usage_output_tokens"),
}
_TYPES = {
    "uncached_input_tokens": "input",
    "input_no_cache": "input",
    "output_tokens": "completion",
    "output": "completion",
    "cache_read_input_tokens": "cache_read",
    "input_cache_read": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write",
    "input_cache_write_5m": "cache_write",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "input_cache_write_1h": "cache_write_1h",
}


def is_usage(head: set[str]) -> bool:
    return "usage_input_tokens_no_cache" in head or {"usage_date_utc", "usage_output_tokens"} <= head


def is_cost(head: set[str]) -> bool:
    return {"usage_date_utc", "token_type", "cost_usd"} <= head


def usage_report(buckets: list[dict[str, Any]], name: str) -> Statement:
    entries: list[Entry] = []
    for number, bucket in enumerate(buckets, 1):
        where = f"{name}, bucket {number}"
        for one in bucket.get("results") or ():
            span = moment(bucket["starting_at"], where), moment(bucket["ending_at"], where)
            flat = {**one, **(one.get("cache_creation") or {})}
            entries += _used(flat, one.get("model"), one.get("service_tier"), span, where)
    return Statement("Anthropic usage", _NAMES, tuple(entries))


def usage_table(rows: list[dict[str, str]], name: str) -> Statement:
    entries: list[Entry] = []
    for row in rows:
        where = f"{name}, line {row['#']}"
        start = moment(row["usage_date_utc"], where)
        entries += _used(row, row.get("model_version"), row.get("usage_type"), (start, start + DAY_MS), where)
    return Statement("Anthropic usage", _NAMES, tuple(entries))


def _used(one: Mapping[str, Any], model: Any, tier: Any, span: tuple[int, int], where: str) -> list[Entry]:
    if not model:
        raise unreadable("it does not say which model: export it grouped by model", where)
    found = []
    for class_, columns in _COLUMNS.items():
        tokens = sum(count(one.get(column), where) for column in columns)
        if tokens:
            found.append(
                Entry(*span, normal(str(model)), class_, _tier(tier, one), _geo(one), tokens=tokens, shown=str(model))
            )
    return found


def cost_report(buckets: list[dict[str, Any]], name: str) -> Statement:
    entries: list[Entry] = []
    for number, bucket in enumerate(buckets, 1):
        where = f"{name}, bucket {number}"
        for one in bucket.get("results") or ():
            span = moment(bucket["starting_at"], where), moment(bucket["ending_at"], where)
            cents, rounding = money(one.get("amount"), where)
            shown = str(one.get("description") or "everything")
            entries.append(_billed(one, (cents / 100, rounding / 100), shown, span, where))
    return Statement("Anthropic costs", _NAMES, tuple(entries))


def cost_table(rows: list[dict[str, str]], name: str) -> Statement:
    entries: list[Entry] = []
    for row in rows:
        where = f"{name}, line {row['#']}"
        start = moment(row["usage_date_utc"], where)
        shown = (
            f"{row.get('model')}, {row.get('token_type') if row.get('token_type') != '--' else row.get('cost_type')}"
        )
        entries.append(_billed(row, money(row["cost_usd"], where), shown, (start, start + DAY_MS), where))
    return Statement("Anthropic costs", _NAMES, tuple(entries))


def _billed(one: Mapping[str, Any], amount: tuple[Any, Any], shown: str, span: tuple[int, int], where: str) -> Entry:
    if str(one.get("currency", "USD")).upper() != "USD":
        raise unreadable(f"it is in {str(one['currency'])[:8]}, and prices here are in US dollars", where)
    class_ = _TYPES.get(str(one.get("token_type") or ""))
    if class_ is None:
        is_all = one.get("cost_type") is None and one.get("token_type") is None
        return Entry(*span, "", "" if is_all else OTHER, amount=amount[0], rounding=amount[1], shown=shown)
    tier = _tier(one.get("service_tier") or one.get("usage_type"), one)
    model = normal(str(one.get("model") or ""))
    return Entry(*span, model, class_, tier, _geo(one), amount=amount[0], rounding=amount[1], shown=shown)


def _tier(word: Any, one: Mapping[str, Any]) -> str:
    if one.get("speed") == "fast":
        return "fast"
    return "" if word in ("message", "--") else tier_of(word)


def _geo(one: Mapping[str, Any]) -> str:
    geo = str(one.get("inference_geo") or "")
    return "" if geo in ("global", "not_available", "--") else geo
