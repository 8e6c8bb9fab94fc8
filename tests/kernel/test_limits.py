"""Budgets, rates and periods, as they are written."""

from __future__ import annotations

import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from conftest import NO_ENGINE, snapshot_of
from freehold.kernel import schema
from freehold.kernel.limits import (
    Budget,
    Limits,
    Rate,
    is_same_period_until_ms,
    limits_of,
    parse_budget,
    parse_budgets,
    parse_rate,
    period_start_ms,
)
from freehold.kernel.problems import ConfigError

NOW = 1_795_500_000_000  # 2026-11-24, 06:00 UTC


def test_a_budget_reads_as_it_is_written() -> None:
    assert parse_budget("20 USD/month", "key:k") == Budget("key:k", Decimal(20), "USD", "month")
    assert parse_budget("0.5 USD / day", "key:k").limit == Decimal("0.5")
    assert parse_budget("5000000 tokens/total", "organisation").words == "5000000 tokens/total"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-5 USD/month", "cannot be negative"),
        ("20 EUR/month", "'EUR' is no unit"),
        ("20 USD/year", "'year' is no period"),
        ("1,000 USD/month", "one point at most"),
        ("lots", "write AMOUNT"),
        ("", "write AMOUNT"),
        ("NaN USD/day", "write AMOUNT"),
        ("1e9 USD/day", "write AMOUNT"),
        ("٣ USD/day", "one point"),
        ("1" * 16 + " USD/day", "one point"),
    ],
)
def test_what_is_no_budget_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_budget(text, "key:k")


def test_several_budgets_stand_beside_one_another() -> None:
    both = parse_budgets(("20 USD/month", schema.Budget("1000 tokens/day", hard=False)), "workload:w")
    assert [(one.pool, one.is_hard) for one in both] == [
        ("workload:w USD/month", True),
        ("workload:w tokens/day", False),
    ]
    with pytest.raises(ValueError, match="two budgets of one unit"):
        parse_budgets(("20 USD/month", "30 USD/month"), "workload:w")
    for spec in (
        schema.Budget("1000 tokens/day", when_spent="degrade"),
        schema.Budget("5 USD/day", hard=False, when_spent="degrade"),
    ):
        with pytest.raises(ValueError, match="degrade"):
            parse_budgets(spec, "workload:w")


def test_a_rate_reads_as_it_is_written() -> None:
    assert parse_rate("600/minute") == Rate(600, 60)
    assert Rate(600, 60).words == "600/minute"
    for text in ("0/minute", "-1/minute", "1.5/second", "60/week", "60", ""):
        with pytest.raises(ValueError, match="is not a rate"):
            parse_rate(text)
    assert limits_of(schema.Limits()) is None
    assert limits_of(schema.Limits(concurrent=3)) == Limits(None, None, 3)


@pytest.mark.parametrize(
    ("period", "zone", "start"),
    [
        ("day", "UTC", "2026-11-24T00:00+00:00"),
        ("week", "UTC", "2026-11-23T00:00+00:00"),
        ("month", "UTC", "2026-11-01T00:00+00:00"),
        ("day", "America/Los_Angeles", "2026-11-23T00:00-08:00"),
        ("day", "Asia/Kolkata", "2026-11-24T00:00+05:30"),
        ("month", "America/Los_Angeles", "2026-11-01T00:00-07:00"),
    ],
)
def test_a_period_begins_where_the_organisation_is(period: str, zone: str, start: str) -> None:
    """Daylight saving ended in Los Angeles on 1 November 2026 at two: the month began before it."""
    expected = datetime.datetime.fromisoformat(start).timestamp() * 1000
    assert period_start_ms(period, NOW, ZoneInfo(zone)) == expected  # type: ignore[arg-type]  # parametrised text
    assert period_start_ms("total", NOW, ZoneInfo(zone)) == 0


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"])
def test_no_day_begins_within_a_quarter_of_an_hour(zone: str) -> None:
    """So an answer holds until the quarter's end, in zones of a quarter and of half an hour too."""
    for at in range(NOW, NOW + 48 * 3_600_000, 700_000):
        until = is_same_period_until_ms(at)
        assert period_start_ms("day", at, ZoneInfo(zone)) == period_start_ms("day", until - 1, ZoneInfo(zone))


WORKLOAD = (
    '[providers.rack]\nbase_url = "http://127.0.0.1:9/v1"\nzone = "inside"\n[workloads.w]\ntargets = ["rack/m"]\n'
)


def test_a_workload_counts_in_every_budget_above_it() -> None:
    snapshot = snapshot_of(
        NO_ENGINE
        + '[organisation]\ntime_zone = "Europe/Berlin"\nbudget = "100 USD/month"\nlimits = { concurrent = 9 }\n'
        + '[departments.care]\nbudget = ["50 USD/month", "1000 tokens/day"]\nlimits = { calls = "5/second" }\n'
        + WORKLOAD
        + 'department = "care"\nbudget = { limit = "5 USD/day", alerts = [0.5], when_spent = "degrade" }\nlimits = { tokens = "9/minute" }\nmax_output = 7\n'
    )
    workload = snapshot.workloads["w"]
    assert [one.pool for one in snapshot.budgets_of(workload)] == [
        "workload:w USD/day",
        "department:care USD/month",
        "department:care tokens/day",
        "organisation USD/month",
    ]
    assert (workload.budgets[0].alerts, workload.budgets[0].when_spent, workload.max_output) == (
        (Decimal("0.5"),),
        "degrade",
        7,
    )
    assert [scope for scope, _ in snapshot.limits_of(workload)] == ["workload:w", "department:care", "organisation"]
    assert [one.pool for one in snapshot.budgets_of(None)] == ["organisation USD/month"]
    assert str(snapshot.organisation.zone) == "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[organisation]\ntime_zone = "Mars/Olympus"\n', "not a known time zone"),
        ('[organisation]\ntime_zone = "../etc/passwd"\n', "not a known time zone"),
        ('[organisation]\nbudget = "-1 USD/day"\n', "cannot be negative"),
        ('[organisation]\nbudjet = "1 USD/day"\n', "unknown key 'budjet'"),
        ('[organisation]\nwebhook = "http://hooks.example/x"\n', "plain text"),
        ('[organisation]\nwebhook = "https://169.254.169.254/x"\n', "no address to send alerts to"),
        ('[organisation]\nwebhook = "https://hooks.example/x\\r\\nHost: evil"\n', "a character that none may have"),
        ('[organisation]\nwebhook = "https://hooks.example/ü"\n', "a character that none may have"),
        ('[organisation]\nwebhook = "env:NOWHERE"\n', "NOWHERE is not set"),
        ('[departments.care]\nlimits = { calls = "lots" }\n', "is not a rate"),
        ('[departments."ca re"]\n', "cannot be a department's name"),
        ("[departments.care]\n" + WORKLOAD + 'department = "cure"\n', "'cure' is not configured"),
        (WORKLOAD + "max_output = 0\n", "max_output"),
        (WORKLOAD + 'budget = { limit = "5 USD/day", alert = [0.5] }\n', "mend: did you mean 'alerts'?"),
        (
            WORKLOAD + 'budget = ["5 USD/day", { limit = "5 tokens/day", colour = 1 }]\n',
            "mend: use one of alerts, hard, limit, when_spent",
        ),
        ('[detection.words.x]\nclass = "public"\n', "mend: use one of file, raises, words"),
        (WORKLOAD + 'budget = { limit = "5 USD/day", alerts = [-1] }\n', "alerts"),
        (WORKLOAD + 'budget = { limit = "5 tokens/day", when_spent = "degrade" }\n', "needs a hard budget in USD"),
        (WORKLOAD + "limits = { concurrent = 0 }\n", "concurrent"),
    ],
)
def test_what_cannot_count_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        snapshot_of(text)
    assert reason in caught.value.text
    assert "hooks.example/x" not in caught.value.text
