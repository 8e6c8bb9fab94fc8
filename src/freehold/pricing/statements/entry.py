"""One line of a statement, whoever wrote it."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from freehold.kernel.errors import CallerError

DAY_MS = 86_400_000
OTHER = "other"  # what is billed, and is no token
_DATES = re.compile(r"(-\d{4}-\d{2}-\d{2}|-20\d{6}|-latest|-default)+\Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """So many tokens of a class of a model in a time, or what they cost, or both.

    model: as in `normal`, "" for none; class_: a field of `Tokens`, "prompt" or "completion" for all of one side, OTHER, or "" for everything
    together; tier: "" for the usual one; amount: US dollars; rounding: how far that may be from the exact amount; shown: what the statement calls it.
    """

    start_ms: int
    end_ms: int
    model: str
    class_: str
    tier: str = ""
    geo: str = ""
    tokens: int | None = None
    calls: int | None = None
    amount: Decimal | None = None
    rounding: Decimal = Decimal(0)
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole export. kind: what it is, in words; providers: the names under which its provider is known here; is_daily: whether days can be told apart."""

    kind: str
    providers: tuple[str, ...]
    entries: tuple[Entry, ...]
    is_daily: bool = True


def normal(model: str) -> str:
    """A model's name without what providers write differently in different places: case, points, blanks, the date of a snapshot."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower().rpartition("/")[2]).strip("-")
    return _DATES.sub("", plain)


def money(text: object, where: str) -> tuple[Decimal, Decimal]:
    """(amount, how far it may be rounded). Raises CallerError for what is no amount."""
    plain = str(text).strip().replace(",", "").replace("$", "")
    try:
        amount = Decimal(plain)
        if not amount.is_finite() or abs(amount) > 10**12 or amount.adjusted() < -9_999:
            raise InvalidOperation
    except InvalidOperation:
        raise unreadable(f"{str(text)[:40]!r} is no amount", where) from None
    digits = -int(amount.as_tuple().exponent)
    return amount, Decimal(5).scaleb(-digits - 1) if digits <= 6 else Decimal(0)


def count(text: object, where: str) -> int:
    """A number of tokens or calls; exports write them as `12`, `12.0` or `"1,234"`. Raises CallerError."""
    plain = str(text if text is not None else "").strip().replace(",", "")
    if not plain:
        return 0
    try:
        value = Decimal(plain)
        if not value.is_finite() or value < 0 or value > 10**18 or value != value.to_integral_value():
            raise InvalidOperation
    except InvalidOperation:
        raise unreadable(f"{str(text)[:40]!r} is no number of tokens", where) from None
    return int(value)


def moment(text: object, where: str, zone: datetime.tzinfo = datetime.UTC) -> int:
    """Milliseconds since 1970 of a day or a time, in UTC unless it says otherwise. Raises CallerError."""
    if isinstance(text, int | float) or (isinstance(text, str) and re.fullmatch(r"1\d{9}(\.0)?", text, re.ASCII)):
        return int(float(text)) * 1000
    try:
        found = datetime.datetime.fromisoformat(str(text).strip().replace(" UTC", ""))
    except ValueError:
        raise unreadable(f"{str(text)[:40]!r} is no day", where) from None
    return round((found if found.tzinfo else found.replace(tzinfo=zone)).timestamp() * 1000)


def unreadable(why: str, where: str) -> CallerError:
    return CallerError(
        f"The statement cannot be read: {where}: {why}.",
        code="prices.statement",
        hint="Export it again, or give a CSV of the generic form (docs/how-to/reconcile.md).",
    )
