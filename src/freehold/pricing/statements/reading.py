"""Recognise a statement and read it."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

from freehold.pricing.statements import anthropic, generic, google, openai
from freehold.pricing.statements.entry import Statement, unreadable

Rows = list[dict[str, str]]


def read(text: str, name: str) -> Statement:
    """Read an export. name: of the file, for errors. Raises CallerError `prices.statement`."""
    try:
        return _read(text.lstrip("\ufeff \r\n\t"), name)
    except (KeyError, TypeError, AttributeError, IndexError, csv.Error) as error:
        raise unreadable(f"it is not shaped as its format has it ({type(error).__name__})", name) from None


def _read(plain: str, name: str) -> Statement:
    if plain[:1] in ("{", "["):
        return _json(plain, name)
    rows, head = _csv(plain, name)
    for recognises, reader in _TABLES:
        if recognises(head):
            return reader(rows, name)
    raise unreadable(f"these columns belong to no format that is known here ({', '.join(sorted(head)[:12])})", name)


_TABLES = (
    (openai.is_usage, openai.usage_table),
    (openai.is_cost, openai.cost_table),
    (anthropic.is_usage, anthropic.usage_table),
    (anthropic.is_cost, anthropic.cost_table),
    (google.is_table, google.table),
    (generic.is_table, generic.table),
)


def _csv(text: str, name: str) -> tuple[Rows, set[str]]:
    """The rows of a table by the names of their columns, in lower case. What stands above the head (Google's invoices) is left out."""
    lines = list(csv.reader(io.StringIO(text)))
    at = next((at for at, row in enumerate(lines[:40]) if len(row) > 2), None)
    if at is None:
        raise unreadable("this is neither JSON nor a table", name)
    head = [column.strip().lower() for column in lines[at]]
    rows = [
        {"#": str(at + 2 + number), **dict(zip(head, row, strict=False))}
        for number, row in enumerate(lines[at + 1 :])
        if any(row)
    ]
    return rows, set(head)


def _json(text: str, name: str) -> Statement:
    try:
        found = json.loads(text, parse_float=Decimal)
    except RecursionError:
        raise unreadable("this is no JSON", name) from None
    except ValueError:
        found = _json_lines(text, name)
    pages = found if isinstance(found, list) else [found]
    if pages and isinstance(pages[0], dict) and "sku" in pages[0]:
        return google.records(pages, name)
    buckets: list[dict[str, Any]] = []
    for page in pages:
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise unreadable("this is no page of an export (a list under 'data' is missing)", name)
        buckets += page["data"]
    if pages and pages[-1].get("has_more"):
        raise unreadable("its last page says that there is more: give all pages in one file", name)
    results = [one for bucket in buckets for one in (bucket.get("results") or bucket.get("result") or ())]
    if any("starting_at" in bucket for bucket in buckets):
        is_cost = any("amount" in one for one in results)
        return anthropic.cost_report(buckets, name) if is_cost else anthropic.usage_report(buckets, name)
    is_cost = any(str(one.get("object", "")).startswith("organization.costs") or "amount" in one for one in results)
    return openai.costs(buckets, name) if is_cost else openai.usage(buckets, name)


def _json_lines(text: str, name: str) -> list[Any]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(json.loads(line, parse_float=Decimal))
            except (ValueError, RecursionError):
                raise unreadable("this is no JSON", f"{name}, line {number}") from None
    return found
