"""`freehold forecast`: what serving will cost and how fast it will be."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.cli.usage import span_of
from freehold.forecast import capacity, facts
from freehold.forecast import scenario as scenarios
from freehold.forecast.capacity import BYTES, Engine, Predictor, Serving, Setup, Span, Work
from freehold.forecast.learned import Hour, learn, written
from freehold.forecast.plans import Comparer, Cost
from freehold.forecast.points import read
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import Surroundings
from freehold.kernel.config import read as read_config
from freehold.kernel.errors import CallerError
from freehold.ledger.store import SqliteStore, catch_up
from freehold.pricing.book import Tariff, tariff
from freehold.pricing.book import load as load_book
from freehold.upstream.rows import ROWS


@click.group("forecast", invoke_without_command=True)
@click.pass_context
@config_option
@click.option("--scenario", type=click.Path(path_type=Path, dir_okay=False), help="What is asked, and the plans that are compared (TOML).")  # fmt: skip
@json_option
def command(ctx: click.Context, config: Path | None, scenario: Path | None, as_json: bool) -> int:
    """Say what serving will cost, each way of running it, and how fast a model can be served.

    With --scenario: every plan's cost a month at several volumes, with intervals, and where two plans cost the same.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    if scenario is None:
        click.echo(ctx.get_help())
        return 2
    try:
        asked = scenarios.read(scenario.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(
            f"{str(scenario)!r} cannot be read ({type(error).__name__}).",
            code="forecast.scenario",
            hint="'freehold forecast init' writes one to begin with.",
        ) from None
    return _compare(asked, _rates(config), as_json=as_json)


@command.command("init")
@config_option
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("scenario.toml"), show_default=True
)
@click.option("--from-ledger", "is_learned", is_flag=True, help="Take the demand from the receipts that are here.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, with --from-ledger.")
def _init(config: Path | None, out: Path, is_learned: bool, since: datetime.datetime | None) -> int:
    """Write a commented scenario to begin with: three departments, or what the ledger shows, and five plans."""
    text = _learned(Setting.find(config), since) if is_learned else scenarios.EXAMPLE
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CallerError(f"{str(out)!r} cannot be written ({type(error).__name__}).", code="forecast.scenario", hint="Choose another with --out.") from None  # fmt: skip
    click.echo(f"Wrote {out}. Next: freehold forecast --scenario {out}", err=True)
    return 0


def _learned(setting: Setting, since: datetime.datetime | None) -> str:
    """The example with the ledger's own demand."""
    if not (setting.state / "log").is_dir():
        raise CallerError(f"There is no log in {str(setting.state)!r}.", code="usage.no_log", hint="Start 'freehold up' first, or set FREEHOLD_HOME.")  # fmt: skip
    zone, store = setting.zone(), SqliteStore(setting.state / "index.db")
    try:
        catch_up(store, setting.state / "log")
        rows = store.usage(("workload", "department", "class", "outcome", "hour"), *span_of(since, None, zone), zone)
    finally:
        store.close()
    found = learn(
        Hour(
            row.group["workload"] or "unnamed",
            row.group["department"],
            Class.parse(row.group["class"]),
            datetime.datetime.strptime(row.group["hour"], "%Y-%m-%d %H"),  # noqa: DTZ007 - the organisation's own time
            row.calls,
            row.input_tokens,
            row.output_tokens,
        )
        for row in rows
        if row.group["outcome"] not in ("refused", "cached")
    )
    if not found.demand:
        raise CallerError("The ledger has no call that was answered in this time.", code="forecast.nothing", hint="Choose an earlier --since.")  # fmt: skip
    shape = "learned" if found.has_shape else "business hours, because less than two weeks were seen"
    head = f'# Demand from the ledger, over {found.days} day{"s" * (found.days != 1)}; the shape of the week: {shape}.\ntitle = "From the ledger"\n\n'
    return head + written(found) + "\n" + scenarios.EXAMPLE[scenarios.EXAMPLE.index("[plans.closed]") :]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be predicted."""

    setup: Setup
    work: Work
    concurrency: float | None
    rate: float | None
    usd_per_gpu_hour: float | None


@command.command("capacity")
@click.option("--model", help="An open model, by its short name or the one of its maker.")
@click.option("--gpu", help="A GPU (h100, b200, l40s, rtx-5090, mi300x, …).")
@click.option("--count", default=1, show_default=True, help="GPUs of one replica.")
@click.option("--copies", default=1, show_default=True, help="Copies of the attention (data parallel) among them.")
@click.option("--engine", type=click.Choice(get_args(Engine)), default="vllm", show_default=True)
@click.option("--precision", type=click.Choice(list(BYTES)), default="fp8", show_default=True, help="Of the weights.")
@click.option("--input", "input_tokens", type=float, default=1024.0, show_default=True, help="Tokens of a prompt.")
@click.option("--output", "output_tokens", type=float, default=1024.0, show_default=True, help="Tokens of an answer.")
@click.option("--concurrency", type=float, help="Requests that are always there.")
@click.option("--rate", type=float, help="Requests that come a second.")
@click.option("--gpu-hour", type=float, help="USD for one GPU and hour, to say what a million tokens cost.")
@click.option(
    "--facts", "own", type=click.Path(path_type=Path, dir_okay=False), help="A JSON file with rows of your own."
)
@click.option("--points", type=click.Path(path_type=Path, dir_okay=False), help="Predict a table of measured points (CSV).")  # fmt: skip
@json_option
def _capacity(**asked: Any) -> int:
    """Predict TTFT, TPOT and throughput of a model on GPUs of your own, or a whole table of them."""
    known = _facts(asked["own"])
    if asked["points"] is not None:
        return _points(asked["points"], known, as_json=asked["as_json"])
    if asked["model"] is None or asked["gpu"] is None or (asked["concurrency"] is None) == (asked["rate"] is None):
        raise click.UsageError("Give --model, --gpu and one of --concurrency and --rate; or --points.")
    setup = Setup(
        known.model(asked["model"]),
        known.gpu(asked["gpu"]),
        asked["count"],
        asked["engine"],
        asked["precision"],
        asked["copies"],
    )
    if asked["gpu_hour"] is not None and not asked["gpu_hour"] >= 0:
        raise CallerError("A price cannot be below nothing.", code="forecast.price")
    work = Work(asked["input_tokens"], asked["output_tokens"])
    _show(_Asked(setup, work, asked["concurrency"], asked["rate"], asked["gpu_hour"]), as_json=asked["as_json"])
    return 0


def _facts(own: Path | None) -> facts.Facts:
    known = facts.load()
    if own is None:
        return known
    try:
        more = facts.read(own.read_bytes())
    except OSError as error:
        raise CallerError(f"{str(own)!r} cannot be read ({type(error).__name__}).", code="forecast.facts") from None
    return known.with_rows(more.models, more.gpus)


def _show(asked: _Asked, *, as_json: bool) -> None:
    predictor, setup, work = Predictor(), asked.setup, asked.work
    if asked.concurrency is not None:
        found = predictor.at_concurrency(setup, work, asked.concurrency)
    else:
        found = predictor.at_rate(setup, work, asked.rate or 0.0)
    per_million = _per_million(asked, found)
    if as_json:
        show_json(_data(asked, found, per_million))
        return
    each = [
        ("TTFT", "ms", _times(found.ttft_s, 1000)),
        ("TPOT", "ms", _times(found.tpot_s, 1000)),
        ("output", "tokens/s", found.tokens_s),
    ]
    if per_million is not None:
        each.append(("cost", "USD/M output tokens", per_million))
    title = f"{setup.model.name} in {setup.precision} on {setup.gpus} × {setup.gpu.title}, {setup.engine}; {work.input_tokens:,.0f} in, {work.output_tokens:,.0f} out"
    show_table(
        ("", "expected", "8 of 10 lie between", "unit"),
        [
            (name, _number(span.value), f"{_number(span.low)} to {_number(span.high)}", unit)
            for name, unit, span in each
        ],
        right=("expected", "8 of 10 lie between"),
        title=title,
    )
    click.echo(
        f"{found.requests_s:,.2f} requests a second; {found.batch:,.1f} served at once of {found.slots:,} that the cache holds, "
        f"{found.concurrency:,.1f} there; {found.utilisation:.0%} of the most output that it could give."
    )
    if found.note:
        click.echo(f"Wider, because {found.note}.")
    fitted = capacity.load()
    click.echo(f"Fitted to: {fitted.source}; on {fitted.date}.", err=True)
    click.echo(f"{setup.model.name}: {setup.model.source}. {setup.gpu.title}: {setup.gpu.source}.", err=True)


def _per_million(asked: _Asked, found: Serving) -> Span | None:
    """USD for a million output tokens, the prompts included in them."""
    if asked.usd_per_gpu_hour is None:
        return None
    a_second = asked.usd_per_gpu_hour * asked.setup.gpus / 3600 * 1e6
    tokens = found.tokens_s
    return Span(a_second / tokens.value, a_second / tokens.high, a_second / tokens.low)


def _times(span: Span, factor: float) -> Span:
    return Span(span.value * factor, span.low * factor, span.high * factor)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _data(asked: _Asked, found: Serving, per_million: Span | None) -> dict[str, Any]:
    setup, fitted = asked.setup, capacity.load()
    data: dict[str, Any] = msgspec.to_builtins(found)
    if per_million is not None:
        data["usd_per_million_output_tokens"] = msgspec.to_builtins(per_million)
    told = {"model": setup.model.name, "gpu": setup.gpu.name, "count": setup.gpus, "engine": setup.engine}
    sources = [f"{fitted.source}; {fitted.date}", *(f"{row.source}; {row.date}" for row in (setup.model, setup.gpu))]
    return {**told, "precision": setup.precision, **data, "sources": sources}


# --- plans ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """Which zones a class may enter, and what a target costs."""

    zones: Mapping[Class, frozenset[Zone]]
    rates: Callable[[str], Tariff | None]


def _rates(config: Path | None) -> _Known:
    """By the configuration, if there is one, else by the price book and the usual classes alone."""
    setting, book = Setting.find(config), load_book()
    snapshot = setting.snapshot() if setting.file is not None else read_config("", Surroundings({}, ROWS))

    def rates(target: str) -> Tariff | None:
        provider, _, model = target.partition("/")
        known = snapshot.providers.get(provider)
        own = known.prices.get(model) if known is not None else None
        return tariff(book, provider, model, own, is_inside=known is not None and known.declared_zone is Zone.INSIDE)

    return _Known(snapshot.zones, rates)


def _compare(asked: scenarios.Scenario, known: _Known, *, as_json: bool) -> int:
    comparer = Comparer(asked, facts.load(), known.rates, known.zones)
    costs: dict[str, list[Cost]] = {}
    impossible: dict[str, CallerError] = {}
    for name in asked.plans:
        try:
            costs[name] = [comparer.cost(name, volume) for volume in asked.volumes]
        except CallerError as error:
            impossible[name] = error
    pairs = [
        (one, other)
        for one, other in itertools.combinations(costs, 2)
        if bool(costs[one][0].replicas) is not bool(costs[other][0].replicas) and comparer.common(one, other)
    ]
    crossings = {(one, other): comparer.crossings(one, other) for one, other in pairs}
    if as_json:
        show_json(
            {
                "volumes": list(asked.volumes),
                "plans": {name: msgspec.to_builtins(each) for name, each in costs.items()},
                "impossible": {
                    name: {"code": error.code, "message": error.message} for name, error in impossible.items()
                },
                "crossings": [{"plans": list(pair), "volumes": found} for pair, found in crossings.items()],
            }
        )
    else:
        _show_plans(asked, costs)
        for (one, other), found in crossings.items():
            click.echo(_crossing(comparer, asked, one, other, found))
    for name, why in impossible.items():
        click.echo(f"{name} cannot be: {why.text}", err=True)
    return 0 if costs else 1


def _crossing(comparer: Comparer, asked: scenarios.Scenario, one: str, other: str, found: list[float]) -> str:
    """Where two plans cost the same, for what both may serve."""
    both = comparer.common(one, other)
    whom = "" if len(both) == len(asked.demand) else f"For {' and '.join(both)}: "
    first, second = (comparer.cost(name, 0.01, only=both).usd.value for name in (one, other))
    low, high = (one, other) if first < second else (other, one)
    if not found:
        return f"{whom}{low} costs less than {high} from a hundredth of today's calls to ten thousand times."
    words = [f"{volume:,.3g} times today" for volume in found]
    kept = f"{low} costs less than {high} up to {words[0]}"
    return f"{whom}{kept}" + (f", and they change places again at {', '.join(words[1:])}." if len(words) > 1 else ".")


def _show_plans(asked: scenarios.Scenario, costs: dict[str, list[Cost]]) -> None:
    volumes = [f"× {volume:g}" for volume in asked.volumes]
    rows = [(name, _serves(asked, each[0]), *(_dollars(one.usd) for one in each)) for name, each in costs.items()]
    show_table(("USD a month", "serves", *volumes), rows, right=volumes, title=asked.title or "What each plan costs")
    rows = []
    for name, (first, *_) in costs.items():
        used = f"{first.utilisation:.0%}" if first.utilisation is not None else "–"
        goes = ", ".join(
            f"{what} {amount / first.usd.value:.0%}" for what, amount in first.parts.items() if first.usd.value
        )
        count = sum(first.replicas.values())
        rows.append((name, _dollars(first.per_million), str(count) if count else "–", used, goes))
    show_table(
        ("today", "USD for a million calls", "replicas", "used", "where it goes"),
        rows,
        right=("USD for a million calls", "replicas", "used"),
    )
    for name, each in costs.items():
        for why in each[0].barred.values():
            click.echo(f"Not in {name}: {why}.")
    click.echo("Intervals: of what was measured and of the prices given, ends taken together. Sources:", err=True)
    for name, each in costs.items():
        click.echo(f"  {name}: {each[0].note or 'measured, see freehold forecast capacity'}", err=True)


def _serves(asked: scenarios.Scenario, cost: Cost) -> str:
    """Of which workloads a plan's cost is: sums of different ones are not to be compared."""
    served = [name for name in asked.demand if name not in cost.barred]
    return "all" if not cost.barred else f"{', '.join(served)} alone"


def _dollars(span: Span) -> str:
    if span.high - span.low < 0.005 * span.value:
        return _number(span.value)
    return f"{_number(span.value)} ({_number(span.low)} to {_number(span.high)})"


# --- a whole table --------------------------------------------------------------------------------------------------

_ADDED = (
    "predicted_ttft_ms",
    "predicted_ttft_ms_low",
    "predicted_ttft_ms_high",
    "predicted_tpot_ms",
    "predicted_tpot_ms_low",
    "predicted_tpot_ms_high",
    "note",
)


def _points(path: Path, known: facts.Facts, *, as_json: bool) -> int:
    predictor, listed = Predictor(), []
    rows, names = _rows(path)
    writer = csv.DictWriter(sys.stdout, [*names, *_ADDED], lineterminator="\n") if not as_json else None
    if writer is not None:
        writer.writeheader()
    count = without = 0
    for row in rows:
        found = _predicted(row, known, predictor)
        count, without = count + 1, without + (found["predicted_tpot_ms"] is None)
        if writer is not None:
            writer.writerow({**row, **{name: _cell(value) for name, value in found.items()}})
            continue
        named = {
            "ttft_ms": "predicted_ttft_ms",
            "tpot_ms": "predicted_tpot_ms",
            "tpot_low_ms": "predicted_tpot_ms_low",
            "tpot_high_ms": "predicted_tpot_ms_high",
        }
        listed.append({"id": row.get("id"), **{name: found[of] for name, of in named.items()}, "note": found["note"]})
    if as_json:
        show_json(listed)
    click.echo(f"{count - without:,} of {count:,} rows predicted; 'note' says why not, or what is uncertain.", err=True)
    return 0


def _predicted(row: dict[str, str], known: facts.Facts, predictor: Predictor) -> dict[str, Any]:
    try:
        point = read(row, known)
        found = predictor.at_concurrency(point.setup, point.work, point.concurrency)
    except CallerError as error:
        return {**dict.fromkeys(_ADDED), "note": error.message}
    except (KeyError, ValueError, TypeError) as error:
        return {**dict.fromkeys(_ADDED), "note": f"the row cannot be read ({type(error).__name__}: {str(error)[:80]})"}
    spans = [_times(span, 1000) for span in (found.ttft_s, found.tpot_s)]
    numbers = [round(value, 3) for span in spans for value in (span.value, span.low, span.high)]
    return {**dict(zip(_ADDED, numbers, strict=False)), "note": found.note}


def _cell(value: Any) -> Any:
    return "" if value is None else value


def _rows(path: Path) -> tuple[Iterator[dict[str, str]], list[str]]:
    """The rows of a CSV file (packed or not) and the names of its columns."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CallerError(f"{str(path)!r} cannot be read ({type(error).__name__}).", code="forecast.points") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
    names = list(reader.fieldnames or [])
    needed = {"model_path", "system", "backend", "isl", "osl"}
    if not needed <= set(names):
        missing = ", ".join(sorted(needed - set(names)))
        raise CallerError(f"{path.name!r} has no column {missing}.", code="forecast.points")
    return iter(reader), names
