"""Compile the price book: `make prices`. Development only; nothing is fetched when Freehold runs.

    python tools/prices.py --second ../shared/data/prices/litellm_prices.json.gz --date 2026-11-23

First source: the package genai-prices; second: a snapshot of LiteLLM's public list. Where both know a model and differ by
more than half a percent, the first stands and the other is kept beside it as `also`.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import re
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import data_snapshot

OUT = Path(__file__).parent.parent / "src/freehold/pricing/book.json"
# our name → (name in genai-prices, [name in the second source, prefix of its keys]); a name with a slash left in it is of one region only
_Second = tuple[tuple[str, str], ...]
PROVIDERS: dict[str, tuple[str | None, _Second]] = {
    "openai": ("openai", (("openai", ""),)),
    "anthropic": ("anthropic", (("anthropic", ""),)),
    "gemini": ("google", (("gemini", "gemini/"),)),
    "vertex": (
        "google",
        (
            ("vertex_ai-language-models", ""),
            ("vertex_ai-anthropic_models", "vertex_ai/"),
            ("vertex_ai-embedding-models", ""),
            ("vertex_ai", "vertex_ai/"),
        ),
    ),
    "azure": ("azure", (("azure", "azure/"),)),
    "bedrock": ("aws", (("bedrock", ""), ("bedrock_converse", ""))),
    "deepinfra": (None, (("deepinfra", "deepinfra/"),)),
    "mistral": ("mistral", (("mistral", "mistral/"),)),
    "groq": ("groq", (("groq", "groq/"),)),
    "together": ("together", (("together_ai", "together_ai/"),)),
    "fireworks": ("fireworks", (("fireworks_ai", "fireworks_ai/"),)),
    "openrouter": ("openrouter", (("openrouter", "openrouter/"),)),
    "xai": ("x-ai", (("xai", "xai/"),)),
    "deepseek": ("deepseek", (("deepseek", "deepseek/"),)),
    "perplexity": ("perplexity", (("perplexity", "perplexity/"),)),
    "cerebras": ("cerebras", (("cerebras", "cerebras/"),)),
}
_OWN_NAMES = {
    "azure",
    "bedrock",
    "gemini",
    "vertex",
}  # where the first source's own names are not what the provider is asked for
MODES = {"chat", "responses", "completion", "embedding", "rerank", "moderation", None}
FIRST = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_in": "input_audio_mtok",
    "audio_out": "output_audio_mtok",
}
SECOND = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "audio_in": "input_cost_per_audio_token",
    "audio_out": "output_cost_per_audio_token",
    "reasoning": "output_cost_per_reasoning_token",
}
_ABOVE = re.compile(r"_above_(\d+)k_tokens$")
# our word for a service tier → (what the first source calls it, how the second ends its keys)
SERVICES: dict[str, tuple[tuple[dict[str, str], ...], str]] = {
    "batch": (({"processing": "batch"},), "_batches"),
    "flex": (({"service_tier": "flex"},), "_flex"),
    "priority": (({"service_tier": "priority"},), "_priority"),
    "fast": (({"service_tier": "fast"}, {"speed": "fast"}), "_fast"),
}
# our word for where a call is processed → the second source's keys for what that adds
_UPLIFTS = (
    "regional_processing_uplift_multiplier_eu",
    "regional_processing_uplift_multiplier_us",
    "regional_endpoint_uplift_multiplier",
)
# What neither source has: Mistral's regional hosts (docs.mistral.ai, regional inference, 2026-08-21), on every class of tokens.
_OWN_UPLIFTS = {"mistral": {"regional": "1.1"}}


def rates_of_first(prices: Any) -> list[dict[str, Any]]:
    """Rates in USD per million tokens: the base row, then a row per long-prompt tier with `above`."""
    base: dict[str, Any] = {}
    tiers: dict[int, dict[str, Any]] = {}
    for ours, theirs in FIRST.items():
        value = getattr(prices, theirs, None)
        if value is None:
            continue
        if isinstance(value, Decimal):
            base[ours] = plain(value)
            continue
        base[ours] = plain(value.base)
        for tier in value.tiers:
            tiers.setdefault(tier.start, {})[ours] = plain(tier.price)
    return [base, *({"above": start, **rates} for start, rates in sorted(tiers.items()))]


def rates_of_second(row: dict[str, Any], ending: str = "") -> list[dict[str, Any]]:
    """The same from the second source; ending: that of a service tier's keys."""
    base = {
        ours: plain(Decimal(value) * 1_000_000)
        for ours, theirs in SECOND.items()
        if (value := row.get(f"{theirs}{ending}")) is not None
    }
    tiers: dict[int, dict[str, Any]] = {}
    for ours, theirs in SECOND.items():
        for key, value in row.items():
            if not key.endswith(ending):
                continue
            found = _ABOVE.search(key.removesuffix(ending))
            if found and key == f"{theirs}{found.group(0)}{ending}" and value is not None:
                tiers.setdefault(int(found.group(1)) * 1000, {})[ours] = plain(Decimal(value) * 1_000_000)
    return [base, *({"above": start, **rates} for start, rates in sorted(tiers.items()))]


def services_of_first(model: Any, now: datetime.datetime) -> dict[str, list[dict[str, Any]]]:
    """What each service tier costs, where it is not what every call costs."""
    found = {}
    for variant in model.price_variants or ():
        if variant.constraint is not None and not variant.constraint.active(now):
            continue
        for ours, (whens, _) in SERVICES.items():
            if variant.when in whens and is_priced(rates := rates_of_first(variant.prices)):
                found[ours] = rates
    return found


def services_of_second(row: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for ours, (_, ending) in SERVICES.items():
        rates = rates_of_second(row, ending)
        if is_priced(rates):
            found[ours] = rates
    factor = (row.get("provider_specific_entry") or {}).get("fast")
    if factor is not None:
        found["fast"] = [{name: times(value, factor) for name, value in one.items()} for one in rates_of_second(row)]
    return found


def times(value: Any, factor: Any) -> Any:
    """A rate so many times; where a tier begins (a whole number) stays."""
    return plain(Decimal(value) * Decimal(factor)) if isinstance(value, str) else value


def uplifts_of(row: dict[str, Any]) -> dict[str, str]:
    regional = next((row[name] for name in _UPLIFTS if row.get(name)), None)
    found = {"regional": regional} if regional else {}
    if row.get("litellm_provider") == "anthropic" and (us := (row.get("provider_specific_entry") or {}).get("us")):
        found["us"] = us
    found = found or _OWN_UPLIFTS.get(row.get("litellm_provider", ""), {})
    return {ours: plain(Decimal(value)) for ours, value in found.items()}


def off_peak_of(row: dict[str, Any]) -> dict[str, Any] | None:
    """Rates of quiet hours, and when those are: weekdays from Monday = 1, minutes of the day in UTC."""
    told = row.get("off_peak_pricing")
    if not told or "weekday_timezone" in told:
        return None
    windows = []
    for window in told["windows"]:
        spans = window["hours_utc"] if isinstance(window["hours_utc"], list) else [window["hours_utc"]]
        for span in spans:
            start, end = (int(part[:2]) * 60 + int(part[3:]) for part in span.split("-"))
            windows.append({"days": window["weekdays"], "start": start, "end": end or 1440})
    rates = {
        ours: plain(Decimal(told[theirs]) * 1_000_000)
        for ours, theirs in SECOND.items()
        if told.get(theirs) is not None
    }
    return {"rates": rates, "windows": windows}


def dearest(model: Any, day: datetime.datetime) -> list[dict[str, Any]]:
    """The first source's rates at the hour of a weekday at which they are highest: that is the price, and quiet hours are cheaper."""
    hours = [rates_of_first(model.get_prices(day.replace(hour=hour, minute=30))) for hour in range(24)]
    return max(hours, key=lambda rates: [Decimal(rates[0].get(name, 0)) for name in ("output", "input")])


def plain(value: Decimal) -> str:
    text = format(Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def differ(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return any(
        abs(Decimal(one[0].get(k, 0)) - Decimal(other[0].get(k, 0)))
        > Decimal("0.005") * max(Decimal(one[0].get(k, 0)), Decimal(other[0].get(k, 0)))
        for k in ("input", "output")
    )


def is_priced(rates: list[dict[str, Any]]) -> bool:
    """Both sources write zero for previews and subscriptions: zero is not free, so such a row is no price."""
    return any(Decimal(rates[0].get(k, 0)) > 0 for k in ("input", "output"))


def row_of(
    name: str, first: Any, second: dict[str, Any] | None, now: datetime.datetime, dates: dict[str, str]
) -> dict[str, Any] | None:
    sources = []
    if first is not None and is_priced(found := dearest(first, now)):
        sources.append(("genai-prices", found, services_of_first(first, now)))
    if second is not None and is_priced(found := rates_of_second(second)):
        sources.append(("litellm", found, services_of_second(second)))
    if not sources:
        return None
    source, rates, services = sources[0]
    row: dict[str, Any] = {"model": name, "source": source, "date": dates[source], "rates": rates}
    if len(sources) == 2:
        other, theirs, more = sources[1]
        if differ(rates, theirs):
            row["also"] = {"source": other, "date": dates[other], "rates": theirs}
        services = more | services
    facts = second or {}
    for ours, value in (("services", services), ("uplifts", uplifts_of(facts)), ("off_peak", off_peak_of(facts))):
        if value:
            row[ours] = value
    context = facts.get("max_input_tokens") or (first.context_window if first is not None else None)
    for ours, value in (
        ("context", context),
        ("max_output", facts.get("max_output_tokens")),
        ("retires", facts.get("deprecation_date")),
    ):
        if value:
            row[ours] = value
    for ours, theirs in (("tools", "supports_function_calling"), ("images", "supports_vision")):
        if theirs in facts:
            row[ours] = facts[theirs]
    fee = facts.get("search_context_cost_per_query")
    if fee and facts.get("litellm_provider") == "perplexity":  # who searches for every call
        row["per_call"] = plain(max(Decimal(amount) for amount in fee.values()))
    if facts.get("mode") in ("embedding", "rerank", "moderation"):
        row["mode"] = facts["mode"]
    return row


def compile_book(second_path: Path, date: str) -> dict[str, Any]:
    with gzip.open(second_path, "rt", encoding="utf-8") as file:
        second = json.load(file, parse_float=Decimal)
    now = datetime.datetime.fromisoformat(date).replace(hour=12, tzinfo=datetime.UTC)
    dates = {"genai-prices": date, "litellm": date}
    known = {provider.id: provider for provider in data_snapshot.get_snapshot().providers}
    book: dict[str, Any] = {
        "date": date,
        "sources": {
            "genai-prices": f"pypi genai-prices {version('genai-prices')}",
            "litellm": "pypi litellm 1.109.1, model_prices_and_context_window_backup.json",
        },
        "providers": {},
    }
    for ours, (first_name, seconds) in PROVIDERS.items():
        provider = known.get(first_name) if first_name else None
        names = {model.id for model in provider.models} if provider and ours not in _OWN_NAMES else set()
        rows = {}
        for key, row in second.items():
            prefix = dict(seconds).get(row.get("litellm_provider"))
            if prefix is None or row.get("mode") not in MODES or not key.startswith(prefix):
                continue
            name = key.removeprefix(prefix)
            if ours not in _OWN_NAMES or "/" not in name:
                uplifts = {field: value for field, value in rows.get(name, {}).items() if field in _UPLIFTS}
                rows[name] = uplifts | row
        listed = [
            row_of(name, provider.find_model(name) if provider else None, rows.get(name), now, dates)
            for name in sorted(names | set(rows))
        ]
        book["providers"][ours] = [row for row in listed if row is not None]
    return book


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--second", type=Path, required=True)
    parser.add_argument("--date", required=True)
    options = parser.parse_args()
    book = compile_book(options.second, options.date)
    lines = [
        f' "{name}": [\n' + ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in rows) + "\n ]"
        for name, rows in book["providers"].items()
    ]
    head = json.dumps({"date": book["date"], "sources": book["sources"]})[:-1]
    OUT.write_text(head + ', "providers": {\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
    counts = {name: len(rows) for name, rows in book["providers"].items()}
    conflicts = sum("also" in row for rows in book["providers"].values() for row in rows)
    print(f"{sum(counts.values())} rows, {conflicts} with a second opinion: {counts}")


if __name__ == "__main__":
    main()
