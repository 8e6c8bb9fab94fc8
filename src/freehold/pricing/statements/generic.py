"""Any other statement, as a table: a day, a model, tokens by class and what they cost; columns that are not there are not compared."""

from __future__ import annotations

import re

from freehold.pricing.statements.entry import DAY_MS, Entry, Statement, count, moment, money, normal, unreadable
from freehold.wire.tiers import tier_of

_DAYS = ("date", "day", "start", "start_time")
_AMOUNT = re.compile(r"(cost|amount|spend|charge)(_(?!usd)[a-z]{3})?")
_CLASSES = {
    "input_tokens": "input",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h",
    "output_tokens": "completion",
    "audio_in_tokens": "audio_in",
    "audio_out_tokens": "audio_out",
    "prompt_tokens": "prompt",
    "completion_tokens": "completion",
}


def is_table(head: set[str]) -> bool:
    return "model" in head and bool(head & set(_DAYS)) and bool(head & {*_CLASSES, "cost_usd"})


def _check_currency(row: dict[str, str], where: str) -> None:
    for column, value in row.items():
        if "currency" in column and value.strip().upper() not in ("", "USD"):
            raise unreadable(f"it is in {value.strip().upper()[:8]}, and prices here are in US dollars", where)
        if _AMOUNT.fullmatch(column) and value.strip():
            raise unreadable(f"{column[:40]!r} is not read: amounts stand in cost_usd, in US dollars", where)


def table(rows: list[dict[str, str]], name: str) -> Statement:
    entries: list[Entry] = []
    for row in rows:
        where = f"{name}, line {row['#']}"
        _check_currency(row, where)
        start = (
            moment(next(row[day] for day in _DAYS if row.get(day)), where)
            if any(row.get(day) for day in _DAYS)
            else moment("", where)
        )
        span, model = (start, start + DAY_MS), normal(row["model"])
        tier = tier_of(row.get("service_tier") or row.get("tier"))
        calls = count(row["calls"], where) if row.get("calls") else None
        for column, class_ in _CLASSES.items():
            if row.get(column):
                tokens = count(row[column], where)
                entries.append(Entry(*span, model, class_, tier, tokens=tokens, calls=calls, shown=row["model"]))
                calls = None
        if row.get("cost_usd"):
            amount, rounding = money(row["cost_usd"], where)
            entries.append(
                Entry(*span, model, "", tier, calls=calls, amount=amount, rounding=rounding, shown=row["model"])
            )
    return Statement("table", (), tuple(entries))
