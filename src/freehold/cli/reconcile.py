"""`freehold prices reconcile`: a provider's statement beside the receipts, and every cent of the difference with its reason."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.cli.usage import span_of
from freehold.kernel.classes import Zone
from freehold.kernel.errors import CallerError
from freehold.kernel.snapshot import Snapshot, Target
from freehold.kernel.units import Terms, Tokens, Usd, show_usd
from freehold.ledger import log as logs
from freehold.pricing.book import Book, Rates, Tariff, load, tariff
from freehold.pricing.reconciling import Made, Match, reconcile
from freehold.pricing.statements import Statement, normal, read

_CENT = Decimal("0.005")
Prices = Callable[[str], Tariff | None]


@click.command("reconcile")
@config_option
@json_option
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--provider",
    "providers",
    multiple=True,
    help="The provider of the configuration that the statement is of; may be given several times.",
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day (default: the statement's).")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day (default: the statement's).")
def command(
    config: Path | None,
    as_json: bool,
    files: tuple[Path, ...],
    providers: tuple[str, ...],
    since: datetime.datetime | None,
    until: datetime.datetime | None,
) -> int:
    """Hold a provider's usage or cost export (FILES: OpenAI, Anthropic, Google, or a CSV of your own) against the receipts.

    Usage and costs of the same time may be given together. Exit code 1 if anything is left to explain.
    """
    setting = Setting.find(config)
    snapshot, statements = setting.snapshot(), [_statement(file) for file in files]
    names = providers or tuple(
        dict.fromkeys(name for one in statements for name in one.providers if name in snapshot.providers)
    )
    if unknown := [name for name in names if name not in snapshot.providers]:
        raise CallerError(f"{unknown[0]!r} is not a provider of this configuration.", code="prices.unknown_provider")
    if not names:
        raise CallerError(
            "The statement does not say whose it is, or its provider is not configured.",
            code="prices.unknown_provider",
            hint="Name the provider: --provider NAME.",
        )
    entries = [entry for one in statements for entry in one.entries]
    if not entries:
        raise CallerError(
            "The statement holds nothing.", code="prices.statement", hint="Export a time in which there was something."
        )
    start, end = span_of(since, until, snapshot.organisation.zone)
    start, end = max(start, min(entry.start_ms for entry in entries)), min(end, max(entry.end_ms for entry in entries))
    if cut := next(
        (entry for entry in entries if entry.start_ms < start < entry.end_ms or entry.start_ms < end < entry.end_ms),
        None,
    ):
        raise CallerError(
            f"A row of the statement ({cut.shown!r}) is of more days than were asked for, and cannot be divided.",
            code="prices.statement",
            hint="Leave --since and --until out, or export it day by day.",
        )
    entries = [entry for entry in entries if start <= entry.start_ms < end]
    prices = _prices(snapshot, load())
    targets: dict[str, set[str]] = {}  # by their model, as statements write it
    made = list(_made(_receipts(setting.state / "log", names), (start, end), prices, targets))
    found = reconcile(entries, made, _namer(targets, prices))
    if as_json:
        show_json(_data(found, statements, names, (start, end)))
    else:
        _show(found, statements, names, (start, end))
    return 0 if all(match.is_matched for match in found) else 1


def _statement(file: Path) -> Statement:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{str(file)!r} cannot be read ({type(error).__name__}).", code="prices.statement") from None
    return read(text, file.name)


def _prices(snapshot: Snapshot, book: Book) -> Prices:
    known: dict[str, Tariff | None] = {}

    def price(name: str) -> Tariff | None:
        if name not in known:
            target = Target(*name.split("/", 1))
            provider = snapshot.providers[target.provider]
            own = provider.prices.get(target.model)
            known[name] = tariff(
                book, target.provider, target.model, own, is_inside=provider.declared_zone is Zone.INSIDE
            )
        return known[name]

    return price


def _receipts(folder: Path, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for path in logs.segments(folder):
        for line, _ in logs.lines(path):
            if b'"kind":"settled"' in line:
                record = msgspec.json.decode(line, type=dict[str, Any])
                if record["target"] is not None and record["target"].partition("/")[0] in names:
                    yield record


def terms_of(record: dict[str, Any]) -> Terms:
    """On what terms a receipt was charged."""
    at_ms = record["booked_ms"] or record["at_ms"] - record["duration_ms"]
    return Terms(record.get("tier", ""), record.get("geo", ""), at_ms)


def _made(
    receipts: Iterable[dict[str, Any]], span: tuple[int, int], prices: Prices, targets: dict[str, set[str]]
) -> Iterator[Made]:
    """What was charged for calls that began in a time; their targets are noted. What a lost call used is known only if a correction told it."""
    lost: list[dict[str, Any]] = []
    corrected: set[str] = set()
    for record in receipts:
        if not span[0] <= terms_of(record).at_ms < span[1]:
            continue
        if record.get("corrects") is not None:
            corrected.add(record["corrects"])
        elif record["outcome"] == "lost":
            lost.append(record)
            continue
        yield _one(record, Tokens(**record["tokens"]), prices, targets)
    for record in lost:
        tokens = Tokens(**record["tokens"]) if record["call"] in corrected else Tokens()
        yield _one(record, tokens, prices, targets)


def _one(record: dict[str, Any], tokens: Tokens, prices: Prices, targets: dict[str, set[str]]) -> Made:
    terms, rates = terms_of(record), prices(record["target"])
    cost = Decimal(record["cost_usd"]) if record["cost_usd"] is not None else None
    parts = dict((rates.parts(tokens, terms) if rates is not None else None) or _unpriced(tokens))
    if cost is not None and (record["is_estimate"] or record["booked_ms"] is not None or record["outcome"] == "lost"):
        count, amount = parts.get("output", (0, Decimal(0)))  # held at the worst case, or the difference to that
        parts["output"] = count, Usd(amount + cost - sum((one for _, one in parts.values()), Decimal(0)))
    failed = sum(attempt["result"] not in ("ok", "refused") for attempt in record["attempts"])
    model, is_correction = normal(record["target"].partition("/")[2]), record.get("corrects") is not None
    targets.setdefault(model, set()).add(record["target"])
    return Made(terms.at_ms, model, terms.tier, parts, cost, record["is_estimate"], failed, is_correction)


def _unpriced(tokens: Tokens) -> dict[str, tuple[int, Usd]]:
    return {name: (count, Usd(Decimal(0))) for name, count in msgspec.structs.asdict(tokens).items() if count}


def _namer(targets: dict[str, set[str]], prices: Prices) -> Callable[[str, str, str, Decimal], str | None]:
    def name_of(model: str, tier: str, class_: str, rate: Decimal) -> str | None:
        """Which of the known prices of a model this is."""
        field = {"completion": "output", "prompt": "input"}.get(class_, class_)
        for target in sorted(targets.get(model, ())):
            rates = prices(target)
            for words, known in _known(rates, field) if rates is not None else ():
                if abs(rate * 1_000_000 - known) <= known * Decimal("0.002"):
                    return words
        return None

    return name_of


def _known(rates: Tariff, field: str) -> Iterator[tuple[str, Decimal]]:
    tiers: list[tuple[str, tuple[Rates, ...]]] = [
        ("the usual price", rates.tiers),
        *((f"the price of {name}", one) for name, one in rates.services.items()),
    ]
    tiers.append(("the price of the second source", rates.opinions))
    if rates.off_peak is not None:
        tiers.append(("the price of quiet hours", (rates.off_peak.rates,)))
    for words, each in tiers:
        for rate in each:
            value = getattr(rate, field)
            if value:
                above = f" for prompts above {rate.above:,} tokens" if rate.above else ""
                yield f"{words}{above}", value
                for geo, factor in rates.uplifts.items():
                    yield f"{words}{above}, processed in {geo}", value * factor


def _usd(amount: Decimal) -> str:
    return show_usd(Usd(amount.quantize(Decimal("1e-9")) if amount.as_tuple().exponent < -9 else amount))  # type: ignore[operator]  # it is finite


def _data(
    found: list[Match], statements: list[Statement], names: tuple[str, ...], span: tuple[int, int]
) -> dict[str, Any]:
    rows = [
        {
            "model": match.model,
            "tier": match.tier,
            "calls": match.calls,
            "here_usd": _usd(match.here),
            "there_usd": _usd(match.there),
            "difference_usd": _usd(match.difference),
            "is_matched": match.is_matched,
            "reasons": [{"kind": one.kind, "words": one.words, "usd": _usd(one.usd)} for one in match.reasons],
        }
        for match in found
    ]
    here, there = sum((one.here for one in found), Decimal(0)), sum((one.there for one in found), Decimal(0))
    total = {"here_usd": _usd(here), "there_usd": _usd(there), "difference_usd": _usd(there - here)}
    kinds = [one.kind for one in statements]
    return {
        "statements": kinds,
        "providers": names,
        "since_ms": span[0],
        "until_ms": span[1],
        "rows": rows,
        "total": total,
    }


def _show(found: list[Match], statements: list[Statement], names: tuple[str, ...], span: tuple[int, int]) -> None:
    rows = []
    for match in found:
        name = f"{match.model} ({match.tier})" if match.tier else match.model
        state = "matched" if match.is_matched else ""
        rows.append((name, str(match.calls), *map(_cents, (match.here, match.there, match.difference)), state))
        if not match.is_matched:
            rows += [
                ("", "", "", "", _cents(one.usd) if one.usd else "", f"{one.kind.replace('_', ' ')}: {one.words}")
                for one in match.reasons
            ]
    here, there = sum((one.here for one in found), Decimal(0)), sum((one.there for one in found), Decimal(0))
    rows.append(("total", str(sum(one.calls for one in found)), *map(_cents, (here, there, there - here)), ""))
    columns = ("model", "calls", "here USD", "there USD", "difference", "why")
    show_table(columns, rows, right=columns[1:5])
    days = " to ".join(f"{datetime.datetime.fromtimestamp(at / 1000, datetime.UTC):%Y-%m-%d %H:%M}" for at in span)
    click.echo(f"{', '.join(one.kind for one in statements)}, against receipts of {', '.join(names)}, {days} (UTC).")


def _cents(amount: Decimal) -> str:
    """To the cent, and finer where there is less than a cent."""
    return f"{amount:,.2f}" if abs(amount) >= _CENT or not amount else f"{amount:.6f}"
