"""`freehold forecast capacity`: how fast a model is on GPUs of one's own."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from freehold.cli.setting import json_option, show_json, show_table
from freehold.forecast import capacity, facts
from freehold.forecast.capacity import BYTES, Engine, Predictor, Serving, Setup, Span, Work
from freehold.forecast.points import read
from freehold.forecast.telling import number
from freehold.kernel.errors import CallerError


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be predicted."""

    setup: Setup
    work: Work
    concurrency: float | None
    rate: float | None
    usd_per_gpu_hour: float | None


@click.command("capacity")
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


command = _capacity


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
        [(name, number(span.value), f"{number(span.low)} to {number(span.high)}", unit) for name, unit, span in each],
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


def _data(asked: _Asked, found: Serving, per_million: Span | None) -> dict[str, Any]:
    setup, fitted = asked.setup, capacity.load()
    data: dict[str, Any] = msgspec.to_builtins(found)
    if per_million is not None:
        data["usd_per_million_output_tokens"] = msgspec.to_builtins(per_million)
    told = {"model": setup.model.name, "gpu": setup.gpu.name, "count": setup.gpus, "engine": setup.engine}
    sources = [f"{fitted.source}; {fitted.date}", *(f"{row.source}; {row.date}" for row in (setup.model, setup.gpu))]
    return {**told, "precision": setup.precision, **data, "sources": sources}


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
