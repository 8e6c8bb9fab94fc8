"""Hold a provider's statement against the receipts: what agrees, what only one side knows, what was counted or priced differently, and why. Pure.

Rules: both sides are compared model by model over the statement's own time; every difference is taken apart into reasons that add up to it exactly
(a difference in tokens counts at the price here, the rest is a difference in price); nothing within the statement's own rounding is a finding.
What it does not know: files, formats, where receipts are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from freehold.pricing.statements.entry import OTHER, Entry

_ZERO = Decimal(0)
Kind = Literal[
    "rounding", "unknown_here", "unknown_there", "counted", "priced", "price_changed", "no_price", "not_tokens"
]
Sides = dict[str, tuple[int, Decimal]]  # class → tokens and dollars


@dataclass(frozen=True, slots=True)
class Made:
    """One call that was sent and charged. parts: tokens and dollars by class (fields of `Tokens`) at the price that its charge names, None for an
    unknown one; cost: what was charged; is_estimate: its true usage was never told; failed: attempts that a provider may bill and nobody saw;
    is_correction: it is no call, but brings one that was estimated to what it really was.
    """

    at_ms: int
    model: str
    tier: str
    parts: Mapping[str, tuple[int, Decimal]] | None
    cost: Decimal | None
    is_estimate: bool = False
    failed: int = 0
    is_correction: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """A part of a difference. usd: what the statement has more than the receipts."""

    kind: Kind
    words: str
    usd: Decimal


@dataclass(slots=True)
class Match:
    """One model. here, there: dollars; calls: the receipts'. The reasons add up to the difference."""

    model: str
    tier: str = ""
    calls: int = 0
    here: Decimal = _ZERO
    there: Decimal = _ZERO
    reasons: list[Reason] = field(default_factory=list)

    @property
    def difference(self) -> Decimal:
        return self.there - self.here

    @property
    def is_matched(self) -> bool:
        return all(reason.kind == "rounding" for reason in self.reasons)

    def note(self, kind: Kind, words: str, usd: Decimal) -> None:
        self.reasons.append(Reason(kind, words, usd))


NameOf = Callable[
    [str, str, str, Decimal], str | None
]  # (model, tier, class, dollars for a token) → which known price that is


def reconcile(entries: Sequence[Entry], made: Iterable[Made], name_of: NameOf = lambda *_: None) -> list[Match]:
    """Compare. Rows in the order of their difference, the largest first."""
    tells_tiers = any(entry.tier for entry in entries)
    theirs: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    others: list[Entry] = []
    for entry in entries:
        if entry.class_ == OTHER:
            others.append(entry)
        else:
            theirs[entry.model, entry.tier if tells_tiers else ""].append(entry)
    ours: dict[tuple[str, str], list[Made]] = defaultdict(list)
    whole = theirs.pop(("", ""), [])
    for call in made:
        ours[call.model, call.tier if tells_tiers else ""].append(call)
    if whole and not theirs:  # one amount for everything: all that can be compared is the sum
        found = [_compared("everything", "", whole, [call for calls in ours.values() for call in calls], name_of)]
    else:
        found = [_compared(*key, theirs.get(key, []), ours.get(key, []), name_of) for key in {**theirs, **ours}]
        if whole:
            found.append(_whole(whole, found))
    found += _not_tokens(others)
    return sorted(found, key=lambda match: (-abs(match.difference), match.model, match.tier))


def _whole(whole: list[Entry], found: list[Match]) -> Match:
    """One amount beside usage by model: it is held against what that usage comes to at the prices here."""
    match, known = Match("the whole amount"), sum((match.there for match in found), _ZERO)
    match.there = sum((entry.amount or _ZERO for entry in whole), _ZERO) - known
    if match.there:
        match.note(
            "priced",
            f"billed are {known + match.there:f} USD, and the usage comes to {known:f} at the prices here",
            match.there,
        )
    _round_off(match, sum((entry.rounding for entry in whole), _ZERO))
    return match


def _not_tokens(others: list[Entry]) -> list[Match]:
    by_name: dict[str, Match] = {}
    for entry in others:
        match = by_name.setdefault(entry.shown, Match(entry.shown))
        match.there += entry.amount or _ZERO
    for match in by_name.values():
        if match.there:
            match.note("not_tokens", "billed by the provider, and no token of a call", match.there)
    return list(by_name.values())


def _compared(model: str, tier: str, entries: list[Entry], calls: list[Made], name_of: NameOf) -> Match:
    match = Match(
        model, tier, sum(not call.is_correction for call in calls), sum((call.cost or _ZERO for call in calls), _ZERO)
    )
    seen = {entry.class_ for entry in entries}
    ours = _summed(calls, seen)
    tokens, amounts = _told(entries)
    rounding = sum((entry.rounding for entry in entries), _ZERO)
    if not calls or not entries:
        _one_sided(match, tokens, amounts, name_of)
        return match
    if unpriced := sum(call.cost is None for call in calls):
        match.note("no_price", f"{unpriced} calls have no cost here: their price or their use is unknown", _ZERO)
    charged = sum((amount for _, amount in ours.values()), _ZERO)
    priced_here = sum((call.cost for call in calls if call.cost is not None), _ZERO)
    if charged != priced_here:
        match.note("price_changed", "charged here at another price than the one in force now", charged - priced_here)
    if "" in amounts:
        _as_a_whole(match, tokens, amounts[""], ours)
    else:
        for class_ in sorted({*ours, *tokens, *amounts}):
            told = (tokens.get(class_), amounts.get(class_), bool(amounts))
            _class(match, class_, ours.get(class_, (0, _ZERO)), told, name_of)
    match.there = match.here + sum((reason.usd for reason in match.reasons), _ZERO)
    _hint(match, calls)
    _round_off(match, rounding)
    return match


def _one_sided(match: Match, tokens: dict[str, int], amounts: dict[str, Decimal], name_of: NameOf) -> None:
    match.there = sum(amounts.values(), _ZERO)
    if match.calls:
        match.note("unknown_there", f"{match.calls} calls that the statement does not have", -match.here)
        return
    count = sum(tokens.values())
    words = f"{count:,} tokens that no receipt has" if count else "a cost that no receipt has"
    match.note("unknown_here", f"{words}: calls beside Freehold, or of another key of this account", match.there)


def _summed(calls: list[Made], seen: set[str]) -> Sides:
    """Tokens and dollars of the receipts, in the classes that the statement tells apart."""
    found: dict[str, tuple[int, Decimal]] = {}
    for call in calls:
        for class_, (tokens, amount) in (call.parts or {}).items():
            name = _as_told(class_, seen)
            before = found.get(name, (0, _ZERO))
            found[name] = (before[0] + tokens, before[1] + amount)
    return found


def _as_told(class_: str, seen: set[str]) -> str:
    """The class of a statement in which tokens of ours are counted."""
    if class_ in ("input", "cache_read", "cache_write", "cache_write_1h", "audio_in"):
        if "prompt" in seen:
            return "prompt"
        if class_ == "cache_write_1h" and class_ not in seen and "cache_write" in seen:
            return "cache_write"
        return class_
    if class_ == "audio_out" and class_ in seen:
        return class_
    return "reasoning" if class_ == "reasoning" and class_ in seen else "completion"


def _told(entries: list[Entry]) -> tuple[dict[str, int], dict[str, Decimal]]:
    """Tokens and dollars of a statement by class. Where usage and costs were given both, tokens are the usage's."""
    used: dict[str, int] = {}
    billed: dict[str, int] = {}
    amounts: dict[str, Decimal] = {}
    for entry in entries:
        if entry.tokens is not None:
            side = used if entry.amount is None else billed
            side[entry.class_] = side.get(entry.class_, 0) + entry.tokens
        if entry.amount is not None:
            amounts[entry.class_] = amounts.get(entry.class_, _ZERO) + entry.amount
    return {**billed, **used}, amounts


def _class(
    match: Match, class_: str, ours: tuple[int, Decimal], told: tuple[int | None, Decimal | None, bool], name_of: NameOf
) -> None:
    """Take the difference of one class apart: tokens at the price here, then the price."""
    (tokens, amount), (their_tokens, their_amount, tells_money) = ours, told
    rate = amount / tokens if tokens else None
    if their_tokens is None and their_amount is None:
        if tokens:
            match.note("counted", f"{class_}: {tokens:,} tokens here, none there", -amount)
        return
    if their_tokens is None:
        difference = (their_amount or _ZERO) - amount
        if difference:
            implied = their_amount / tokens if tokens and their_amount is not None else None
            match.note(
                "priced",
                f"{class_}: {_price_words(match, class_, rate, implied, name_of)}, or counted differently",
                difference,
            )
        return
    more = their_tokens - tokens
    if more:
        at = rate
        if at is None and their_amount is not None and their_tokens:
            at = their_amount / their_tokens
        match.note("counted", f"{class_}: {tokens:,} tokens here, {their_tokens:,} there", more * (at or _ZERO))
    if not tells_money or their_amount is None:
        return
    paid = amount + (match.reasons[-1].usd if more else _ZERO)
    if their_amount != paid:
        implied = their_amount / their_tokens if their_tokens else None
        match.note("priced", f"{class_}: {_price_words(match, class_, rate, implied, name_of)}", their_amount - paid)


def _price_words(match: Match, class_: str, here: Decimal | None, there: Decimal | None, name_of: NameOf) -> str:
    words = f"{_mtok(here)} here, {_mtok(there)} there"
    name = name_of(match.model, match.tier, class_, there) if there is not None else None
    return f"{words} USD per million tokens" + (f" ({name})" if name else "")


def _mtok(rate: Decimal | None) -> str:
    return f"{float(rate) * 1e6:.6g}" if rate is not None else "no price"


def _as_a_whole(match: Match, tokens: dict[str, int], amount: Decimal, ours: Sides) -> None:
    """One amount for all classes: their tokens are compared if they are told, and the rest is the price."""
    rest = amount - sum((charged for _, charged in ours.values()), _ZERO)
    for class_ in sorted({*ours, *tokens}) if tokens else ():
        count, charged = ours.get(class_, (0, _ZERO))
        more = tokens.get(class_, 0) - count
        if more:
            at = charged / count if count else _ZERO
            match.note("counted", f"{class_}: {count:,} tokens here, {tokens.get(class_, 0):,} there", more * at)
            rest -= more * at
    if rest:
        match.note("priced", "the whole amount is another" + ("" if tokens else ", or its tokens are"), rest)


def _hint(match: Match, calls: list[Made]) -> None:
    """What may be behind a difference in counting."""
    estimates = sum(call.is_estimate - call.is_correction for call in calls)
    failed = sum(call.failed for call in calls)
    hints = [f"{estimates} of these calls were estimated, because they broke off"] if estimates else []
    hints += [f"{failed} attempts failed here, and may be billed there"] if failed else []
    if hints and any(reason.kind == "counted" for reason in match.reasons):
        match.note("counted", "; ".join(hints), _ZERO)


def _round_off(match: Match, rounding: Decimal) -> None:
    """A difference that the statement's own rounding explains is no finding."""
    if match.reasons and abs(match.difference) <= rounding and all(reason.kind == "priced" for reason in match.reasons):
        difference = match.difference
        match.reasons = [Reason("rounding", "within what the statement rounds", difference)] if difference else []
