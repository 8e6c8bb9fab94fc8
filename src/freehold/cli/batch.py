"""`freehold batch`: hand a file of calls in, watch it, and fetch what came back."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from freehold.cli.client import error_of_body, request, unreachable
from freehold.cli.setting import json_option, show_json, show_table
from freehold.kernel.errors import CallerError, OperatorError

ENDED = ("completed", "failed", "expired", "cancelled")
_BOUNDARY = "freehold-batch-form"
_PIECE = 256 * 1024
_LOOK_S = 0.3


@click.group("batch")
def command() -> None:
    """Run files of calls: in OpenAI's format for batches, against any target, at the pace that limits and budgets allow."""


def _of_caller(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --key and --url."""
    function = click.option(
        "--url",
        envvar="FREEHOLD_URL",
        default="http://127.0.0.1:4000/v1",
        show_default=True,
        help="The base URL of a running Freehold.",
    )(function)
    return click.option("--key", envvar="FREEHOLD_KEY", required=True, help="The key to call with (or FREEHOLD_KEY).")(
        function
    )


@dataclass(frozen=True)
class Desk:
    """A running Freehold, as seen by one key."""

    url: str
    key: str

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask for JSON. Raises CallerError with what Freehold says."""
        raw = json.dumps(body).encode() if body is not None else None
        return self._json(method, path, raw, {"Content-Type": "application/json"})

    def upload(self, file: Path) -> dict[str, Any]:
        """Send a file as it is read."""
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{urllib.parse.quote(file.name)}"\r\n\r\n'
        ).encode()
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
        size = len(head) + file.stat().st_size + len(tail)
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "Content-Length": str(size)}
        return self._json("POST", "/files", _form(head, file, tail), headers)

    def fetch(self, about: str, to: Path) -> int:
        """Write a file as it comes, whole or not at all; returns its size."""
        connection, answer = request(self.url, "GET", f"/files/{about}/content", None, self._headers)
        with contextlib.closing(connection):
            if answer.status != 200:
                _checked(answer.status, answer.read())
            part, size = to.with_name(f"{to.name}.part"), 0
            with part.open("wb") as file:
                while piece := answer.read(_PIECE):
                    size += file.write(piece)
            if size != _length_of(answer, size):
                part.unlink()
                raise OperatorError("The file broke off on its way.", code="cli.unreachable", hint="Fetch it again.")
            part.replace(to)
            return size

    def _json(self, method: str, path: str, body: Any, headers: dict[str, str]) -> dict[str, Any]:
        connection, answer = request(self.url, method, path, body, {**self._headers, **headers})
        with contextlib.closing(connection):
            try:
                return _checked(answer.status, answer.read())
            except (OSError, http.client.HTTPException) as error:
                raise unreachable(self.url, error) from None

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def _length_of(answer: http.client.HTTPResponse, usual: int) -> int:
    """How long an answer said that it is."""
    return int(answer.headers.get("Content-Length") or usual)


def _form(head: bytes, file: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            yield piece
    yield tail


def _checked(status: int, raw: bytes) -> dict[str, Any]:
    if status == 200:
        found: dict[str, Any] = json.loads(raw)
        return found
    error = error_of_body(status, raw)
    raise CallerError(error["message"], code=error["code"] or "cli.refused")


@command.command("run")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_of_caller
@click.option("--endpoint", default="/v1/chat/completions", show_default=True, help="The path that every line names.")
@click.option("--window", default="24h", show_default=True, help="How long it may take, such as 24h or 7d.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of what comes back (default: beside FILE)."
)
@click.option("--detach", is_flag=True, help="Do not wait for it.")
@json_option
def run(
    file: Path, key: str, url: str, endpoint: str, window: str, out: Path | None, detach: bool, as_json: bool
) -> int:
    """Hand FILE in, watch it, and write what came back beside it: FILE.output.jsonl and FILE.errors.jsonl.

    Exit code 0 if every line was answered, 1 if not.
    """
    desk = Desk(url, key)
    uploaded = desk.upload(file)
    asked = {"input_file_id": uploaded["id"], "endpoint": endpoint, "completion_window": window}
    batch = desk.ask("POST", "/batches", asked)
    click.echo(f"{batch['id']}: {uploaded['bytes']:,} bytes handed in", err=True)
    if detach:
        return _show(batch, as_json=as_json)
    return _fetched(desk, _followed(desk, batch), out or file.parent, file.stem, as_json=as_json)


@command.command("follow")
@click.argument("batch")
@_of_caller
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=".", help="Folder of what comes back.")
@json_option
def follow(batch: str, key: str, url: str, out: Path, as_json: bool) -> int:
    """Watch BATCH until it has ended, and write what came back."""
    desk = Desk(url, key)
    return _fetched(desk, _followed(desk, _find(desk, batch)), out, batch, as_json=as_json)


@command.command("show")
@click.argument("batch")
@_of_caller
@json_option
def show(batch: str, key: str, url: str, as_json: bool) -> int:
    """Say how far BATCH is. Exit code 1 if it failed, expired or was cancelled."""
    return _show(_find(Desk(url, key), batch), as_json=as_json)


@command.command("list")
@_of_caller
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@json_option
def list_(key: str, url: str, limit: int, as_json: bool) -> int:
    """List this key's batches, the newest first."""
    found = Desk(url, key).ask("GET", f"/batches?limit={limit}")["data"]
    if as_json:
        show_json({"batches": found})
        return 0
    rows = [
        (
            one["id"],
            one["status"],
            *map(str, _counts(one)),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one["created_at"])),
        )
        for one in found
    ]
    columns = ("batch", "status", "lines", "answered", "failed", "handed in")
    show_table(columns, rows, right=columns[2:5])
    return 0


@command.command("cancel")
@click.argument("batch")
@_of_caller
@json_option
def cancel(batch: str, key: str, url: str, as_json: bool) -> int:
    """End BATCH early; what was answered is kept."""
    desk = Desk(url, key)
    _find(desk, batch)
    found = desk.ask("POST", f"/batches/{batch}/cancel")
    _show(found, as_json=as_json)
    return 0


def _find(desk: Desk, batch: str) -> dict[str, Any]:
    return desk.ask("GET", f"/batches/{urllib.parse.quote(batch, safe='')}")


def _counts(batch: dict[str, Any]) -> tuple[int, int, int]:
    counts = batch["request_counts"]
    return counts["total"], counts["completed"], counts["failed"]


def _followed(desk: Desk, batch: dict[str, Any]) -> dict[str, Any]:
    """Watch a batch until it has ended; a Freehold that is restarted meanwhile is waited for."""
    from rich.console import Console  # only who looks needs it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed"), TimeRemainingColumn())  # fmt: skip
    try:
        with Progress(*columns, console=Console(stderr=True), disable=not os.isatty(2)) as bar:
            task = bar.add_task(batch["status"], total=None, failed=0)
            while batch["status"] not in ENDED:
                time.sleep(_LOOK_S)
                try:
                    batch = _find(desk, batch["id"])
                except OperatorError:
                    bar.update(task, description="waiting for Freehold")
                    continue
                total, answered, failed = _counts(batch)
                lies = f", {batch['handed_in']:,} at a provider" if batch["handed_in"] else ""
                bar.update(
                    task,
                    description=f"{batch['status']}{lies}",
                    total=total or None,
                    completed=answered + failed,
                    failed=failed,
                )
    except KeyboardInterrupt:
        click.echo(f"\nIt goes on without you: freehold batch follow {batch['id']}", err=True)
        sys.exit(130)
    return batch


def _fetched(desk: Desk, batch: dict[str, Any], folder: Path, stem: str, *, as_json: bool) -> int:
    """Write what a batch made, and say what it came to."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, about in (("output", batch["output_file_id"]), ("errors", batch["error_file_id"])):
        path = folder / f"{stem}.{kind}.jsonl"
        if about is None:
            path.unlink(missing_ok=True)  # of an earlier run
            continue
        size = desk.fetch(about, path)
        click.echo(f"{path}: {size:,} bytes", err=True)
    _show(batch, as_json=as_json)
    total, answered, _ = _counts(batch)
    return 0 if batch["status"] == "completed" and total == answered else 1


def _show(batch: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        show_json(batch)
    else:
        total, answered, failed = _counts(batch)
        usage = batch["usage"]
        click.echo(f"{batch['id']}  {batch['status']}: {answered:,} of {total:,} answered, {failed:,} failed")
        if batch["handed_in"]:
            click.echo(f"  {batch['handed_in']:,} lie at a provider's batch endpoint, which answers within a day")
        click.echo(f"  tokens   {usage['input_tokens']:,} in, {usage['output_tokens']:,} out")
        for fault in (batch["errors"] or {"data": []})["data"]:
            where = f"line {fault['line']:,}" if fault["line"] is not None else "the file"
            click.echo(f"  {where}: {fault['code']}: {fault['message']}")
    return 1 if batch["status"] in ("failed", "expired", "cancelled") else 0
