"""Budgets and rate limits, as they are written and as they count.

Rules: a limit names whose it is (`organisation`, `department:NAME`, `workload:NAME`, `key:ID`, `provider:NAME`); amounts are exact decimals;
a day begins at midnight in the organisation's time zone, a week on Monday.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from freehold.kernel import schema

Period = Literal["day", "week", "month", "total"]
Unit = Literal["USD", "tokens"]
WhenSpent = Literal["refuse", "degrade"]

_BUDGET = re.compile(r"(\d{1,15}(?:\.\d{1,12})?) ?(USD|tokens) ?/ ?(day|week|month|total)", re.ASCII)
_RATE = re.compile(r"(\d{1,12}) ?/ ?(second|minute|hour|day)", re.ASCII)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_SPANS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_QUARTER_MS = 900_000  # no zone's midnight falls within a quarter of an hour (UTC)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent in a period. is_hard: what would exceed it is not sent; alerts: shares of the limit (1 = all) whose crossing is
    told; when_spent: what becomes of a call that no longer fits. `pool` names its counter.
    """

    scope: str
    limit: Decimal
    unit: Unit
    period: Period
    is_hard: bool = True
    alerts: tuple[Decimal, ...] = (Decimal("0.8"), Decimal(1))
    when_spent: WhenSpent = "refuse"
    pool: str = field(default="", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", f"{self.scope} {self.unit}/{self.period}")

    @property
    def words(self) -> str:
        """As a person writes it: `20 USD/month`."""
        return f"{self.limit:f} {self.unit}/{self.period}"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds. As many may come at once; they come back one by one (GCRA)."""

    count: int
    period_s: int
    burst_ns: int = field(default=0, init=False, compare=False)  # how long the whole amount takes to come back

    def __post_init__(self) -> None:
        object.__setattr__(self, "burst_ns", self.period_s * 1_000_000_000)

    @property
    def words(self) -> str:
        """As a person writes it: `60/minute`."""
        return f"{self.count}/{next(name for name, seconds in _SECONDS.items() if seconds == self.period_s)}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast and how many at once. None: without a limit."""

    calls: Rate | None = None
    tokens: Rate | None = None
    concurrent: int | None = None


def parse_budget(text: str, scope: str) -> Budget:
    """Read `20 USD/month` or `5000000 tokens/day`. Raises ValueError that says what is wrong with anything else."""
    found = _BUDGET.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text[:80]!r} is not a budget; {_why_not(text)}")
    return Budget(scope, Decimal(found.group(1)), found.group(2), found.group(3))  # type: ignore[arg-type]  # the expression admits only these


def _why_not(text: str) -> str:
    example = 'write AMOUNT USD/PERIOD or AMOUNT tokens/PERIOD, such as "20 USD/month" (day, week, month, total)'
    found = re.fullmatch(r"\s*(-?)[\d.,]+ ?([^\s/\d]{1,12}) ?/ ?(\w{1,12})\s*", text)
    if found is None:
        return example
    if found.group(1):
        return f"an amount cannot be negative: {example}"
    if found.group(2) not in ("USD", "tokens"):
        return f"{found.group(2)!r} is no unit that Freehold counts in: {example}"
    if found.group(3) not in ("day", "week", "month", "total"):
        return f"{found.group(3)!r} is no period: {example}"
    return f"digits, and one point at most: {example}"


def parse_budgets(spec: schema.BudgetSpec | None, scope: str) -> tuple[Budget, ...]:
    """Read what a `budget` key holds: a text, a table, or a list of those. Raises ValueError."""
    if spec is None:
        return ()
    found = tuple(_one(part, scope) for part in (spec if isinstance(spec, tuple) else (spec,)))
    if len({budget.pool for budget in found}) != len(found):
        raise ValueError("there are two budgets of one unit and period; keep the lower one")
    return found


def _one(spec: str | schema.Budget, scope: str) -> Budget:
    if isinstance(spec, str):
        return parse_budget(spec, scope)
    plain = parse_budget(spec.limit, scope)
    if spec.when_spent == "degrade" and (plain.unit != "USD" or not spec.hard):
        raise ValueError(
            'when_spent = "degrade" needs a hard budget in USD: what costs nothing uses tokens all the same'
        )
    alerts = tuple(sorted({Decimal(str(alert)) for alert in spec.alerts}))
    return Budget(scope, plain.limit, plain.unit, plain.period, spec.hard, alerts, spec.when_spent)


def parse_rate(text: str) -> Rate:
    """Read `600/minute` (second, minute, hour, day). Raises ValueError."""
    found = _RATE.fullmatch(text.strip())
    if not found or int(found.group(1)) < 1:
        raise ValueError(
            f'{text[:80]!r} is not a rate; write COUNT/PERIOD, such as "600/minute" (second, minute, hour, day)'
        )
    return Rate(int(found.group(1)), _SECONDS[found.group(2)])


def span_ms(text: str) -> int:
    """Read `90d`, `12h`, `30m` or `0`, in milliseconds. Raises ValueError, whose words say how a span is written."""
    if text == "0":
        return 0
    count, unit = text[:-1], _SPANS_MS.get(text[-1:])
    if unit is None or not (count.isascii() and count.isdecimal()) or not 0 < int(count) <= 100_000:
        raise ValueError(f"{text[:40]!r} is no span: write 90d, 12h or 30m")
    return int(count) * unit


def limits_of(spec: schema.Limits | None) -> Limits | None:
    """Read a `limits` table; None if it limits nothing. Raises ValueError."""
    if spec is None or spec == schema.Limits():
        return None
    return Limits(
        parse_rate(spec.calls) if spec.calls is not None else None,
        parse_rate(spec.tokens) if spec.tokens is not None else None,
        spec.concurrent,
    )


def period_start_ms(period: Period, now_ms: int, zone: datetime.tzinfo = datetime.UTC) -> int:
    """When the running period began, in milliseconds since 1970; 0 for `total`."""
    if period == "total":
        return 0
    now = datetime.datetime.fromtimestamp(now_ms / 1000, zone)
    day = now.date()
    if period == "week":
        day -= datetime.timedelta(days=day.weekday())
    elif period == "month":
        day = day.replace(day=1)
    return round(datetime.datetime.combine(day, datetime.time(), zone).timestamp() * 1000)


def is_same_period_until_ms(now_ms: int) -> int:
    """Until when the answer of `period_start_ms` need not be asked for again."""
    return now_ms - now_ms % _QUARTER_MS + _QUARTER_MS


def time_zone(name: str) -> ZoneInfo:
    """Raises ValueError for a zone that is not known here."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name!r} is not a known time zone (IANA, such as Europe/Berlin)") from None
