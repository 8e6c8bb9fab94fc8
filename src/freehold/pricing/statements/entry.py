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
    """A whole export. kind: what it is, in words; providers: the names under which its provider is known here."""

    kind: str
    providers: tuple[str, ...]
    entries: tuple[Entry, ...]


def normal(model: str) -> str:
    """A model's name without what providers write differently in different places: case, points, blanks, the date of a snapshot."""
    plain = re.sub(r"[\W_]+", "-", model.lower().rpartition("/")[2]).strip("-")
    return _DATES.sub("", plain) or model.strip()


_NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?([eE][-+]?\d{1,5})?", re.ASCII)


def _decimal(text: object) -> Decimal | None:
    """A number as exports write it; None for none, and for one whose points and commas could mean two things."""
    plain = str(text if text is not None else "").strip().removeprefix("$")
    if not _NUMBER.fullmatch(plain):
        return None
    try:
        return Decimal(plain.replace(",", ""))
    except InvalidOperation:
        return None


def money(text: object, where: str) -> tuple[Decimal, Decimal]:
    """(amount, how far it may be rounded). Text with two to six digits behind its point is taken to be rounded there; a JSON number is exact.

    Raises CallerError for what is no amount.
    """
    amount = _decimal(text)
    if amount is None or abs(amount) > 10**12 or amount.adjusted() < -9_999:
        raise unreadable(f"{str(text)[:40]!r} is no amount", where)
    digits = -int(amount.as_tuple().exponent)
    is_rounded = isinstance(text, str) and 2 <= digits <= 6
    return amount, Decimal(5).scaleb(-digits - 1) if is_rounded else Decimal(0)


def count(text: object, where: str) -> int:
    """A number of tokens or calls; exports write them as `12`, `12.0` or `"1,234"`. Raises CallerError."""
    if text is None or not str(text).strip():
        return 0
    value = _decimal(text)
    if value is None or value < 0 or value > 10**18 or value != value.to_integral_value():
        raise unreadable(f"{str(text)[:40]!r} is no number of tokens", where)
    return int(value)


def moment(text: object, where: str, zone: datetime.tzinfo = datetime.UTC) -> int:
    """Milliseconds since 1970 of a day or a time, in UTC unless it says otherwise. Raises CallerError."""
    if not isinstance(text, bool) and re.fullmatch(r"1\d{9}(\.0)?", str(text), re.ASCII):
        return int(float(str(text))) * 1000
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
