"""How a verdict is said: in a terminal, as data, as a page; and `freehold verdict show`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from freehold.cli.setting import Setting, config_option, json_option, printable, show_json, show_table
from freehold.evals.shelf import Kept, Shelf
from freehold.evals.telling import fragment, quotable, sentences, tables
from freehold.evals.verdicts import Verdict
from freehold.gateway.preparing import open_keyring
from freehold.kernel.errors import CallerError


def shelf_of(setting: Setting) -> Shelf:
    """The runs of a state directory."""
    keyring = open_keyring(setting.state)
    try:
        return Shelf(setting.state / "verdicts", keyring.key("evaluation:seals", time.time_ns() // 1_000_000))
    finally:
        keyring.close()


def tell(verdict: Verdict, told: dict[str, Any], *, as_json: bool) -> None:
    """Say a verdict."""
    if as_json:
        show_json(told)
        return
    click.echo(f"{verdict.whole.verdict}: {quotable(verdict)}")
    for table in tables(verdict):
        show_table(table.columns, table.rows, right=table.right, title=table.title)
    for sentence in sentences(verdict):
        click.echo(printable(sentence))
    if verdict.route is not None:
        click.echo("\nThe split as configuration:\n")
        click.echo(printable(fragment(verdict, told), lines=True), nl=False)


def write(folder: Path, files: dict[str, str]) -> None:
    """Write a report. Raises CallerError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CallerError(f"{str(folder)!r} cannot be written ({type(error).__name__}).", code="verdict.report", hint="Choose another with --report.") from None  # fmt: skip
    click.echo(f"Wrote {folder / 'index.html'}.", err=True)


@click.command("show")
@click.argument("name", default="")
@config_option
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Write its page to this folder.")
@json_option
def show(name: str, config: Path | None, report: Path | None, as_json: bool) -> int:
    """List the runs that are kept, or show NAME: the beginning of a seal, or a task's name for its newest run."""
    setting = Setting.find(config)
    if not (setting.state / "verdicts").is_dir():
        raise CallerError(f"No run is kept in {str(setting.state)!r}.", code="verdict.unknown", hint="'freehold verdict run' makes one, or set FREEHOLD_HOME.")  # fmt: skip
    shelf = shelf_of(setting)
    if not name:
        return _list(shelf.kept(), as_json=as_json)
    kept = shelf.find(name)
    if not kept.is_whole:
        raise CallerError(f"The seal or the verdict in {kept.name!r} was changed by hand, or is damaged.", code="verdict.seal")  # fmt: skip
    if kept.verdict is None:
        raise CallerError(f"{kept.seal.task!r} was sealed, and has no verdict yet.", code="verdict.unknown", hint="Run it to its end with 'freehold verdict run'.")  # fmt: skip
    if report is not None:
        place = shelf.place(kept.seal.digest)
        write(
            report,
            {one.name: one.read_text(encoding="utf-8") for one in place.iterdir() if one.suffix in (".html", ".svg")},
        )
    if as_json:
        show_json(kept.verdict)
    else:
        _show_kept(kept)
    return {"INVALID": 2, "INCONCLUSIVE": 1}.get(kept.verdict["verdict"], 0)


def _word(kept: Kept) -> str | None:
    """A run's word; of one that was changed by hand, that."""
    return (kept.verdict or {}).get("verdict") if kept.is_whole else "changed by hand"


def _list(kept: Sequence[Kept], *, as_json: bool) -> int:
    if as_json:
        show_json(
            {"runs": [{**msgspec.to_builtins(one.seal), "verdict": (one.verdict or {}).get("verdict")} for one in kept]}
        )
        return 0
    rows = [
        (one.name, one.seal.task, _word(one) or "not over", f"{one.seal.cases:,}", f"{one.seal.margin:g}", one.seal.sealed_at[:16].replace("T", " "))
        for one in kept
    ]  # fmt: skip
    show_table(("seal", "task", "verdict", "cases", "margin", "sealed"), rows, right=("cases", "margin"))
    return 0


def _show_kept(kept: Kept) -> None:
    told = kept.verdict
    assert told is not None
    click.echo(f"{told['task']}: {told['open_target']} against {told['closed_target']}")
    click.echo(f"{told['verdict']}: difference {told['difference']:+.4g}, interval {told['interval'][0]:+.4g} to {told['interval'][1]:+.4g}, margin {told['margin']:g}, {told['n']:,} cases")  # fmt: skip
    rows = [(one["stratum"] or "(none)", one["verdict"], f"{one['n']:,}", f"{one['difference']:+.4g}", f"{one['lower_bound']:+.4g}", f"{one['upper_bound']:+.4g}") for one in told["strata"]]  # fmt: skip
    if rows:
        show_table(("stratum", "verdict", "cases", "difference", "lower bound", "upper bound"), rows, right=("cases", "difference", "lower bound", "upper bound"))  # fmt: skip
    for text in (*told["reasons"], *told["cautions"]):
        click.echo(f"{text[0].upper()}{text[1:]}.")
    click.echo(f"Sealed {kept.seal.sealed_at} as {kept.seal.digest}.")
