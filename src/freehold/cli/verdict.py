"""`freehold verdict`: open or closed for a workload, by how much, and how sure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from freehold.cli.setting import json_option, show_json, show_table
from freehold.evals.deciding import Rule, Verdict, decide
from freehold.evals.outcomes import Outcomes, read
from freehold.evals.telling import data, quotable, sentences, tables
from freehold.kernel.errors import CallerError

_CODES = {"INVALID": 2, "INCONCLUSIVE": 1}


@click.group("verdict", invoke_without_command=True)
@click.pass_context
@click.option("--outcomes", type=click.Path(path_type=Path, dir_okay=False), help='Outcomes scored elsewhere, a line each: {"id": …, "open": true, "closed": false}.')  # fmt: skip
@click.option("--margin", type=float, help="How much worse the open model may be, in units of the metric: 0.03 is three points.")  # fmt: skip
@click.option("--metric", default="", help="Which metric, where the outcomes hold several.")
@click.option("--span", type=float, help="How far apart two scores can be, for numbers (default: as far as the seen ones are).")  # fmt: skip
@click.option("--watched", is_flag=True, help="Bounds that hold however often one looks: for evaluations that grow from day to day.")  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Write a page with plots to this folder.")  # fmt: skip
@json_option
def _verdict(ctx: click.Context, /, **asked: Any) -> int:
    """Say whether an open model is good enough to replace a closed one, everywhere or in part: OPEN, OPEN_BETTER, CLOSED, ROUTE, INCONCLUSIVE or INVALID.

    Exit code 0 if it is decided, 1 if not, 2 if the evaluation itself is at fault.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    if asked["outcomes"] is None:
        raise click.UsageError("nothing to look at: give --outcomes FILE, or one of the commands (see --help)")
    if asked["margin"] is None:
        raise click.UsageError("--margin is needed: how much worse may the open model be and still be good enough?")
    found = decide(
        _outcomes(asked["outcomes"], asked["metric"]), Rule(asked["margin"], asked["span"], is_watched=asked["watched"])
    )
    return show(found, None, as_json=asked["as_json"])


command = _verdict


def show(verdict: Verdict, seal: dict[str, Any] | None, *, as_json: bool) -> int:
    """Say it, and return the exit code."""
    if as_json:
        show_json(data(verdict, seal))
    else:
        click.echo(f"{verdict.whole.verdict}: {quotable(verdict)}")
        for table in tables(verdict):
            show_table(table.columns, table.rows, right=table.right, title=table.title)
        for sentence in sentences(verdict):
            click.echo(sentence)
    return _CODES.get(verdict.whole.verdict, 0)


def _outcomes(path: Path, metric: str) -> Outcomes:
    try:
        with path.open("rb") as file:
            return read(file, metric)
    except OSError as error:
        raise CallerError(f"{str(path)!r} cannot be read ({type(error).__name__}).", code="verdict.outcomes") from None
