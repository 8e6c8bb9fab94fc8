"""`freehold chat`: ask a running Freehold from the terminal, and see how the call was ruled."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from freehold.cli.client import error_of, stream
from freehold.cli.hello import receipt_lines
from freehold.cli.setting import json_option, show_json
from freehold.kernel.classes import Class


@click.command("chat")
@click.argument("words", nargs=-1)
@click.option(
    "--model", default="builtin/hearth", show_default=True, help="A workload, provider/model, or a plain model name."
)
@click.option("--key", envvar="FREEHOLD_KEY", help="The key to call with (or FREEHOLD_KEY).")
@click.option(
    "--url",
    envvar="FREEHOLD_URL",
    default="http://127.0.0.1:4000/v1",
    show_default=True,
    help="The base URL of a running Freehold.",
)
@click.option(
    "--class",
    "class_",
    type=click.Choice([one.label for one in Class]),
    help="Raise the class of this call.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="The longest answer, in tokens (default: what the workload or the model allows).",
)
@json_option
def command(
    words: tuple[str, ...],
    model: str,
    key: str | None,
    url: str,
    class_: str | None,
    max_tokens: int | None,
    as_json: bool,
) -> int:
    """Ask WORDS (or standard input) and stream the answer; the ruling goes to standard error."""
    if key is None:
        raise click.UsageError("a key is needed: --key fh-… or FREEHOLD_KEY (make one with 'freehold keys create')")
    text = " ".join(words) or ("" if os.isatty(0) else sys.stdin.read())
    if not text.strip():
        raise click.UsageError("nothing to ask: give WORDS, or pipe them in")
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    head, pieces = stream(url, key, body, headers={"x-freehold-class": class_} if class_ else None)
    if head.status != 200:
        error = error_of(head)
        if as_json:
            show_json({"status": head.status, "call": head.headers.get("x-freehold-call-id"), "error": error})
        click.echo(f"{head.status} {error['code']}: {error['message']}", err=True)
        if call := head.headers.get("x-freehold-call-id"):
            click.echo(f"  receipt  {call}", err=True)
        return 1
    said = []
    for piece in pieces:
        said.append(piece)
        if not as_json:
            click.echo(piece, nl=False)
    if as_json:
        show_json(
            {
                "text": "".join(said),
                **{
                    name.removeprefix("x-freehold-"): value
                    for name, value in head.headers.items()
                    if name.startswith("x-freehold-")
                },
            }
        )
    else:
        click.echo()
        click.echo(receipt_lines(head), err=True)
    return 0
