"""Statements as providers write them, each read into the same entries; what is odd in them is an error that names its place."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.errors import CallerError
from freehold.pricing.statements import Statement, normal, read
from freehold.pricing.statements.google import read_sku

D = Decimal
DAY = int(datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC).timestamp())
SPAN = (DAY * 1000, DAY * 1000 + 86_400_000)


def told(statement: Statement) -> list[tuple[str, str, str, int | None, Decimal | None]]:
    return [(one.model, one.class_, one.tier, one.tokens, one.amount) for one in statement.entries]


USAGE_JSON = {
    "object": "page",
    "has_more": False,
    "data": [
        {
            "object": "bucket",
            "start_time": DAY,
            "end_time": DAY + 86_400,
            "results": [
                {"object": "organization.usage.completions.result", "input_tokens": 5000, "input_cached_tokens": 1800, "input_cache_write_tokens": 200,
                 "input_uncached_tokens": 3000, "output_tokens": 1000, "input_audio_tokens": 300, "output_audio_tokens": 100, "num_model_requests": 5,
                 "model": "gpt-4o-mini-2024-07-18", "batch": False, "service_tier": "default"},
                {"object": "organization.usage.completions.result", "input_tokens": 10, "output_tokens": 2, "num_model_requests": 1, "model": "gpt-5-mini-2025-08-07", "batch": True},
            ],
        },
        {"object": "bucket", "start_time": DAY + 86_400, "end_time": DAY + 172_800, "results": []},
    ],
}  # fmt: skip


def test_openai_usage() -> None:
    """What was read from a cache and what was heard are parts of the input, and counted once."""
    found = read(json.dumps(USAGE_JSON), "u.json")
    assert found.kind == "OpenAI usage"
    assert told(found) == [
        ("gpt-4o-mini", "input", "", 2700, None),
        ("gpt-4o-mini", "cache_read", "", 1800, None),
        ("gpt-4o-mini", "cache_write", "", 200, None),
        ("gpt-4o-mini", "audio_in", "", 300, None),
        ("gpt-4o-mini", "completion", "", 900, None),
        ("gpt-4o-mini", "audio_out", "", 100, None),
        ("gpt-5-mini", "input", "batch", 10, None),
        ("gpt-5-mini", "completion", "batch", 2, None),
    ]
    assert {(one.start_ms, one.end_ms) for one in found.entries} == {SPAN}
    assert [one.calls for one in found.entries if one.calls] == [5, 1]


def test_openai_usage_table() -> None:
    text = (
        "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens\n"
        f"{DAY},{DAY + 86_400},2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,proj_x,10.0,gpt-4o-2024-08-06,FALSE,default,59200.0,10646.0,5760.0\n"
        f"{DAY + 86_400},{DAY + 172_800},2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,,,,,,,,\n"
    )
    assert told(read("\ufeff" + text, "u.csv")) == [
        ("gpt-4o", "input", "", 53_440, None),
        ("gpt-4o", "cache_read", "", 5760, None),
        ("gpt-4o", "completion", "", 10_646, None),
    ]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("gpt-4o-mini-2024-07-18, output", ("gpt-4o-mini", "completion", "")),
        ("gpt-4o-mini-2024-07-18, cached input", ("gpt-4o-mini", "cache_read", "")),
        ("gpt-audio-mini-2025-12-15 audio, input", ("gpt-audio-mini", "audio_in", "")),
        ("priority | gpt-5.6-sol, output, long context", ("gpt-5-6-sol", "completion", "priority")),
        ("flex | gpt-5-mini, input", ("gpt-5-mini", "input", "flex")),
        ("gpt-4o, input_tokens", ("gpt-4o", "input", "")),
        ("web search tool calls", ("", "other", "")),
        ("", ("", "", "")),
    ],
)
def test_openai_line_items(item: str, expected: tuple[str, str, str]) -> None:
    """Money may be text with thirty digits."""
    result = {
        "object": "organization.costs.result",
        "amount": {"value": "0.00003420000000000000000000000000000000", "currency": "usd"},
        "line_item": item or None,
        "quantity": 57.0,
    }
    page = {"data": [{"start_time": DAY, "end_time": DAY + 86_400, "results": [result]}]}
    (entry,) = read(json.dumps(page), "c.json").entries
    assert (entry.model, entry.class_, entry.tier, entry.amount) == (*expected, D("0.0000342"))
    assert entry.rounding == 0
    table = f'start_time,end_time,amount_value,amount_currency,line_item,quantity,quantity_unit\n{DAY},{DAY + 86_400},0.0000342,usd,"{item}",57,tokens\n'
    (row,) = read(table, "c.csv").entries
    assert (row.model, row.class_, row.tier, row.amount) == (*expected, D("0.0000342"))


def test_anthropic_usage_report() -> None:
    result = {"uncached_input_tokens": 1500, "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500}, "cache_read_input_tokens": 200,
              "output_tokens": 500, "service_tier": "batch", "model": "claude-opus-4-6-20260205", "inference_geo": "us", "server_tool_use": {"web_search_requests": 10}}  # fmt: skip
    page = {
        "data": [{"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-11-02T00:00:00Z", "results": [result]}],
        "has_more": False,
    }
    found = read(json.dumps(page), "u.json")
    assert told(found) == [
        ("claude-opus-4-6", "input", "batch", 1500, None),
        ("claude-opus-4-6", "cache_write", "batch", 500, None),
        ("claude-opus-4-6", "cache_write_1h", "batch", 1000, None),
        ("claude-opus-4-6", "cache_read", "batch", 200, None),
        ("claude-opus-4-6", "completion", "batch", 500, None),
    ]
    assert {one.geo for one in found.entries} == {"us"}
    assert {(one.start_ms, one.end_ms) for one in found.entries} == {SPAN}


def test_anthropic_costs_are_in_cents() -> None:
    results = [
        {"amount": "123.78912", "cost_type": "tokens", "currency": "USD", "description": "Claude Opus 5 Usage - Input Tokens", "model": "claude-opus-5", "service_tier": "standard", "token_type": "uncached_input_tokens"},
        {"amount": "10", "cost_type": "web_search", "currency": "USD", "description": "Web Search Usage", "model": None, "token_type": None},
    ]  # fmt: skip
    page = {"data": [{"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-11-02T00:00:00Z", "results": results}]}
    assert told(read(json.dumps(page), "c.json")) == [
        ("claude-opus-5", "input", "", None, D("1.2378912")),
        ("", "other", "", None, D("0.1")),
    ]


def test_anthropic_console_tables() -> None:
    """Dollars there, of two digits a row, and the model by its shown name."""
    usage = "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed\n2026-11-01,claude-haiku-4-5-20251001,super,Default,standard,≤ 200k,1947945,0,7,452067,9,0,not_available,\n"  # fmt: skip
    assert told(read(usage, "u.csv")) == [
        ("claude-haiku-4-5", "input", "", 1_947_945, None),
        ("claude-haiku-4-5", "cache_write_1h", "", 7, None),
        ("claude-haiku-4-5", "cache_read", "", 452_067, None),
        ("claude-haiku-4-5", "completion", "", 9, None),
    ]
    cost = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type,inference_geo,speed\n2026-11-01,Claude Haiku 4.5,Default,k,message,≤ 200k,input_no_cache,0.09,token,not_available,\n2026-11-01,--,Default,k,--,--,--,0.07,web_search,--,--\n"  # fmt: skip
    found = read(cost, "c.csv")
    assert told(found) == [("claude-haiku-4-5", "input", "", None, D("0.09")), ("", "other", "", None, D("0.07"))]
    assert found.entries[0].rounding == D("0.005")


@pytest.mark.parametrize(
    ("sku", "expected"),
    [
        ("Generate content input token count gemini 2.5 flash short input text", ("gemini-2-5-flash", "input", "")),
        (
            "Generate content output token count gemini 2.5 flash short input text",
            ("gemini-2-5-flash", "completion", ""),
        ),
        (
            "Generate content cached input token count gemini 2.5 flash input short text",
            ("gemini-2-5-flash", "cache_read", ""),
        ),
        (
            "Generate content input token count gemini 2.5 flash lite short input text",
            ("gemini-2-5-flash-lite", "input", ""),
        ),
        ("Generate_content cached text input token count for gemini 3 flash", ("gemini-3-flash", "cache_read", "")),
        ("GenerateContent text output token count for Gemini 2.0 Flash", ("gemini-2-0-flash", "completion", "")),
        ("Generate content input token count gemini 3.7 flash text batch", ("gemini-3-7-flash", "input", "batch")),
        (
            "Generate content input token count gemini 3.7 flash image flex caching",
            ("gemini-3-7-flash-image", "cache_read", "flex"),
        ),
        ("Gemini 2.5 Flash GA Thinking Text Output - Predictions", ("gemini-2-5-flash", "reasoning", "")),
        (" Gemini 2.5 Flash GA Input Text Caching", ("gemini-2-5-flash", "cache_read", "")),
        ("Gemini 3.8 Flash Global Text Input Priority - Predictions", ("gemini-3-8-flash", "input", "priority")),
        ("Generate content cached content storage token hours gemini 3.8 flash", None),
        ("Grounding with Google Search on Gemini 3", None),
        ("Cloud Run requests", None),
    ],
)
def test_google_skus(sku: str, expected: tuple[str, str, str] | None) -> None:
    assert read_sku(sku) == expected


def test_google_tables() -> None:
    """What stands above the head, totals, taxes and other services are left out; days are Pacific ones."""
    cost = (
        "Invoice number,123\nCurrency,USD\n"
        "Service description,SKU description,Cost type,Usage start date,Usage end date,Usage amount,Usage unit,Unrounded Cost ($),Cost ($)\n"
        'Gemini API,Generate content input token count gemini 2.5 flash short input text,Usage,2026-11-01,2026-11-30,"20,122,880",count,6.036864,6.04\n'
        "Cloud Run,Requests,Usage,2026-11-01,2026-11-30,7,count,1.00,1.00\n"
        "Gemini API,,Total,,,,,7.036864,7.04\n"
    )
    found = read(cost, "g.csv")
    assert told(found) == [("gemini-2-5-flash", "input", "", 20_122_880, D("6.036864"))]
    assert found.entries[0].start_ms == (DAY + 7 * 3600) * 1000, "Pacific daylight time ends that day"
    report = "Date,Service description,SKU description,Usage amount,Usage unit,Unrounded subtotal ($),Subtotal ($)\n2026-11-15,Gemini API,Generate content output token count gemini 2.5 flash short input text,\"622,403\",count,1.555990,1.56\n,,,,Subtotal,1.555990,1.56\n"  # fmt: skip
    assert told(read(report, "r.csv")) == [("gemini-2-5-flash", "completion", "", 622_403, D("1.555990"))]


@pytest.mark.parametrize(
    ("amount", "rounding"),
    [("0", "0"), ("3", "0"), ("2.50", "0"), ('"2.50"', "0.00005"), ('"3"', "0"), ('"1E+3"', "0")],
)
def test_only_text_of_a_fixed_length_is_rounded(amount: str, rounding: str) -> None:
    """A JSON number is as exact as it stands; a cent's half is tolerance only where a table has cents."""
    page = '{"data": [{"starting_at": "2026-11-01", "ending_at": "2026-11-02", "results": [{"amount": %s, "token_type": "output_tokens", "model": "m"}]}]}'
    (found,) = read(page % amount, "c").entries
    assert found.rounding == D(rounding)


def test_google_records() -> None:
    row = {"service": {"description": "Gemini API"}, "sku": {"description": "Generate content output token count gemini 2.5 flash short input text"}, "usage_start_time": "2026-11-01T10:00:00Z",
           "usage_end_time": "2026-11-01T11:00:00Z", "cost": 1.55599, "currency": "USD", "usage": {"amount": 622403, "unit": "count"}, "credits": [{"amount": -0.5}], "cost_type": "regular"}  # fmt: skip
    for text in (json.dumps([row]), json.dumps(row) + "\n" + json.dumps({**row, "cost_type": "tax"})):
        assert told(read(text, "b.json")) == [("gemini-2-5-flash", "completion", "", 622_403, D("1.05599"))]


def test_any_other_table() -> None:
    text = "date,model,input_tokens,cache_read_tokens,output_tokens,cost_usd,calls\n2026-11-01,meta-llama/Llama-3.3-70B-Instruct,1000,,50,0.25,3\n"
    (first, second, whole) = read(text, "g.csv").entries
    assert (first.model, first.class_, first.tokens, first.calls) == ("llama-3-3-70b-instruct", "input", 1000, 3)
    assert (second.class_, second.tokens, second.calls) == ("completion", 50, None)
    assert (whole.class_, whole.amount, whole.rounding) == ("", D("0.25"), D("0.005"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither JSON nor a table"),
        ("a,b,c\n1,2,3\n", "no format that is known"),
        ("{", "no JSON"),
        ('{"data": 1}', "no page of an export"),
        ("[]7", "no JSON"),
        (json.dumps({**USAGE_JSON, "has_more": True}), "there is more"),
        (json.dumps({"data": [{"start_time": DAY, "end_time": DAY, "results": [{"object": "organization.usage.completions.result", "input_tokens": 1}]}]}), "bucket 1: it does not say which model"),
        (json.dumps({"data": [{"start_time": DAY, "end_time": DAY, "results": [{"model": "m", "input_tokens": 1, "input_cached_tokens": 2}]}]}), "its parts are more than the whole"),
        (json.dumps({"data": [{"start_time": DAY, "end_time": DAY, "results": [{"amount": {"value": 1, "currency": "eur"}}]}]}), "it is in EUR"),
        ("date,model,input_tokens\n2026-11-01,m,-5\n", "line 2: '-5' is no number"),
        ("date,model,input_tokens\n2026-11-01,m,1.5\n", "line 2: '1.5' is no number"),
        ("date,model,cost_usd\n2026-11-01,m,NaN\n", "line 2: 'NaN' is no amount"),
        ("date,model,cost_usd\n2026-11-01,m,1\nyesterday,m,1\n", "line 3: 'yesterday' is no day"),
        ("date,model,cost_usd\n2026-11-01,m,1e999999\n", "is no amount"),
        ("date,model,cost_usd,currency\n2026-11-01,m,1,USD\n2026-11-01,m,1,EUR\n", "line 3: it is in EUR"),
        ("date,model,input_tokens,cost_eur\n2026-11-01,m,1,5\n", "line 2: 'cost_eur' is not read"),
        ('date,model,cost_usd\n2026-11-01,m,"1,50"\n', "'1,50' is no amount"),
        ('{"data": [{"start_time": NaN, "end_time": 1, "results": [{"model": "m", "input_tokens": 1}]}]}', "is no day"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_names_its_place(text: str, words: str) -> None:
    with pytest.raises(CallerError, match=words) as error:
        read(text, "file.csv")
    assert error.value.code == "prices.statement"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("Claude Haiku 4.5", "claude-haiku-4-5"),
        ("claude-haiku-4.5", "claude-haiku-4-5"),
        ("mistral-large-latest", "mistral-large"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3-3-70b-instruct"),
        ("o3", "o3"),
        ("模型甲", "模型甲"),
        ("***", "***"),
        ("", ""),
    ],
)
def test_models_have_one_name(model: str, expected: str) -> None:
    assert normal(model) == expected


SHAPES = st.recursive(st.none() | st.integers(-5, 10**12) | st.text(max_size=8) | st.booleans(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "results", "start_time", "starting_at", "ending_at", "end_time", "amount", "value", "model", "input_tokens", "line_item", "sku", "description", "cost", "usage"]), inner, max_size=5), max_leaves=12)  # fmt: skip


@given(SHAPES.map(json.dumps) | st.text(max_size=200) | st.lists(st.sampled_from(["date", "model", "cost_usd", "1", "-", "2026-11-01", "sku description", ",", "\n"]), max_size=30).map(",".join))  # fmt: skip
def test_whatever_it_is_it_is_read_or_refused(text: str) -> None:
    try:
        read(text, "f")
    except CallerError as error:
        assert error.code == "prices.statement"
