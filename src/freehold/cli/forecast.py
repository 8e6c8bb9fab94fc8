"""`freehold forecast`: what serving will cost, each way of running it, and how sure that is."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from freehold.cli.capacity import command as capacity_command
from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.cli.usage import span_of
from freehold.forecast import facts, offers
from freehold.forecast import scenario as scenarios
from freehold.forecast.learned import Hour, learn, written
from freehold.forecast.outlook import Known, Outlook, Tell, look
from freehold.forecast.page import files
from freehold.forecast.telling import matter, number, sentences, sources, tables
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import Surroundings
from freehold.kernel.config import read as read_config
from freehold.kernel.errors import CallerError
from freehold.ledger.store import SqliteStore, UsageRow, catch_up
from freehold.pricing.book import Tariff, tariff
from freehold.pricing.book import load as load_book
from freehold.report.bars import bars
from freehold.upstream.rows import ROWS


@click.group("forecast", invoke_without_command=True)
@click.pass_context
@config_option
@click.option("--scenario", type=click.Path(path_type=Path, dir_okay=False), help="What is asked, and the plans that are compared (TOML). Left out: as the ledger shows it.")  # fmt: skip
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, without --scenario.")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Write a page with plots to this folder.")  # fmt: skip
@json_option
def _forecast(ctx: click.Context, /, **asked: Any) -> int:
    """Say what serving will cost a month, each way of running it, at several volumes: with intervals, where plans cost the same, and what would have to be measured to be surer."""
    if ctx.invoked_subcommand is not None:
        return 0
    with _progress() as tell:
        if asked["scenario"] is not None:
            scenario = scenarios.read(_text(asked["scenario"]))
        else:
            tell("the ledger")
            scenario = scenarios.read(_learned(Setting.find(asked["config"]), asked["since"]))
        known = _known(asked["config"])
        outlook, comparer = look(scenario, known, tell)
        if asked["report"] is not None:
            tell("the plots")
            written_to = _write(asked["report"], files(outlook, comparer, known))
    if asked["as_json"]:
        show_json(msgspec.to_builtins(outlook, str_keys=True))
    else:
        _show(outlook)
    if asked["report"] is not None:
        click.echo(f"Wrote {written_to}.", err=True)
    return 0


command = _forecast
command.add_command(capacity_command)


@contextmanager
def _progress() -> Iterator[Tell]:
    """Says on a terminal what is being done."""
    from rich.console import Console  # a tenth of a second, and only for what takes longer

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _what: None
        return
    with console.status("Looking at the scenario …") as status:
        yield lambda what: status.update(f"Looking at {what} …")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{str(path)!r} cannot be read ({type(error).__name__}).", code="forecast.scenario", hint="'freehold forecast init' writes one to begin with.") from None  # fmt: skip


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


# --- what the ledger shows ------------------------------------------------------------------------------------------


def _learned(setting: Setting, since: datetime.datetime | None) -> str:
    """The example with the ledger's own demand, and the closed model that most is spent on."""
    if not (setting.state / "log").is_dir():
        raise CallerError(f"There is no log in {str(setting.state)!r}.", code="usage.no_log", hint="Give --scenario ('freehold forecast init' writes one), start 'freehold up' first, or set FREEHOLD_HOME.")  # fmt: skip
    zone, store = setting.zone(), SqliteStore(setting.state / "index.db")
    groups = ("workload", "department", "class", "outcome", "zone", "target", "hour")
    try:
        catch_up(store, setting.state / "log")
        rows, sizes = store.usage(groups, *span_of(since, None, zone), zone), store.lengths()
    finally:
        store.close()
    answered = [row for row in rows if row.group["outcome"] not in ("refused", "cached")]
    lengths = (msgspec.structs.replace(one, workload=one.workload or _NO_NAME) for one in sizes)
    found = learn(map(_hour, answered), lengths)
    if not found.demand:
        raise CallerError("The ledger has no call that was answered in this time.", code="forecast.nothing", hint="Choose an earlier --since.")  # fmt: skip
    shape = "learned" if found.has_shape else "business hours, because less than two weeks were seen"
    days = f"{found.days} day{'s' * (found.days != 1)}"
    spent = sum((row.cost_usd for row in rows), Decimal(0))
    head = f"# Demand from the ledger, over {days}, in which {spent:,.2f} USD were spent; the shape of the week: {shape}.\n"
    head += f'title = "From the ledger: {days}, {spent:,.2f} USD"\n\n'
    plans = scenarios.EXAMPLE[scenarios.EXAMPLE.index("[plans.closed]") :]
    closed = _most_spent(answered)
    return head + written(found) + "\n" + (plans.replace(scenarios.CLOSED, closed) if closed else plans)


_NO_NAME = "unnamed"


def _hour(row: UsageRow) -> Hour:
    group = row.group
    at = datetime.datetime.strptime(group["hour"], "%Y-%m-%d %H")  # noqa: DTZ007 - the organisation's own time
    class_ = Class.parse(group["class"])
    return Hour(group["workload"] or _NO_NAME, group["department"], class_, at, row.calls, row.input_tokens, row.output_tokens)  # fmt: skip


def _most_spent(rows: list[UsageRow]) -> str:
    """The target outside that costs most; "" if none has a price."""
    spent: dict[str, Decimal] = {}
    for row in rows:
        if row.group["zone"] == Zone.OUTSIDE.value and row.cost_usd > 0:
            spent[row.group["target"]] = spent.get(row.group["target"], Decimal(0)) + row.cost_usd
    return max(spent, key=spent.__getitem__) if spent else ""


def _known(config: Path | None) -> Known:
    """By the configuration, if there is one, else by the price book and the usual classes alone."""
    setting, book = Setting.find(config), load_book()
    snapshot = setting.snapshot() if setting.file is not None else read_config("", Surroundings({}, ROWS))

    def rates(target: str) -> Tariff | None:
        provider, _, model = target.partition("/")
        known = snapshot.providers.get(provider)
        own = known.prices.get(model) if known is not None else None
        return tariff(book, provider, model, own, is_inside=known is not None and known.declared_zone is Zone.INSIDE)

    today = datetime.datetime.now(datetime.UTC).date()
    return Known(facts.load(), book, rates, snapshot.zones, offers.load(), today)


# --- what is shown --------------------------------------------------------------------------------------------------


def _show(outlook: Outlook) -> None:
    for table in tables(outlook):
        show_table(table.columns, table.rows, right=table.right, title=table.title)
    for sentence in sentences(outlook):
        click.echo(sentence)
    if outlook.matters:
        best = outlook.decisions[0].best if outlook.decisions else next(iter(outlook.costs))
        click.echo(
            f"\nWhat moves the cost of {best} most at {outlook.matters_at:g} times today, USD a month (eight of ten lie between):"
        )
        rows = [(matter(one), Decimal(one.swing), f"{number(min(one.low, one.high))} to {number(max(one.low, one.high))}") for one in outlook.matters[:6]]  # fmt: skip
        click.echo(bars(rows, width=24), nl=False)
    click.echo("\nIntervals: eight of ten draws of what is not known; all plans see the same draws. Sources:", err=True)
    for source in sources(outlook):
        click.echo(f"  {source}", err=True)


def _write(folder: Path, files: dict[str, str]) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CallerError(f"{str(folder)!r} cannot be written ({type(error).__name__}).", code="forecast.report", hint="Choose another with --report.") from None  # fmt: skip
    return folder / "index.html"
