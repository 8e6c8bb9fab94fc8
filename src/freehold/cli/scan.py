"""`freehold scan`: what the detectors find in your own text. The findings say where and why, never what."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from freehold.cli.setting import Setting, config_option
from freehold.kernel.errors import CallerError
from freehold.perimeter.detectors.scanner import Finding, Scanner, Unread


@click.command("scan")
@config_option
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--lines", is_flag=True, help="Read each line as a text of its own, with its number as id.")
@click.option("--plain", is_flag=True, help="Use the engine in pure Python; it finds the same.")
def command(config: Path | None, files: tuple[Path, ...], lines: bool, plain: bool) -> int:
    """Scan FILES (or standard input): text, or JSON lines with "id" and "text".

    Prints a JSON line for each finding: id, start, end (characters, the end exclusive), type, score, rule. Exit code 1 if there is any.
    """
    setting = Setting.find(config)
    custom = setting.snapshot().detection.custom if setting.file is not None else ()
    scanner = Scanner(custom, is_plain=plain)
    count = texts = 0
    for name, text in (one for file in files or (Path("-"),) for one in _texts(file, lines=lines)):
        texts += 1
        for one in _scanned(scanner, name, text):
            count += 1
            found = {
                "id": name,
                "start": one.start,
                "end": one.end,
                "type": one.type,
                "score": one.score,
                "rule": one.rule,
            }
            click.echo(json.dumps(found, ensure_ascii=False))
    click.echo(f"{count} finding{'s' * (count != 1)} in {texts} text{'s' * (texts != 1)}", err=True)
    return 1 if count else 0


def _scanned(scanner: Scanner, name: str | int, text: str) -> list[Finding]:
    try:
        return scanner.scan([text])
    except Unread:
        raise CallerError(
            f"{name!r} has more encoded in it than can be read.",
            code="scan.unread",
            hint="A call with it would be restricted.",
        ) from None


def _texts(file: Path, *, lines: bool) -> Iterator[tuple[str | int, str]]:
    """(id, text) of everything that a file holds."""
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CallerError(f"{str(file)!r} cannot be read ({type(error).__name__}).", code="scan.unreadable") from None
    whole = raw.decode("utf-8", "replace")
    if b"\0" in raw or whole.count("\ufffd") * 20 > len(whole):
        raise CallerError(
            f"{str(file)!r} is not text, so it was not read.",
            code="scan.not_text",
            hint="Convert it to UTF-8 text first.",
        )
    if lines:
        yield from enumerate(whole.splitlines(), 1)
        return
    rows = _rows(whole)
    if rows is None:
        yield str(file), whole
    else:
        yield from rows


def _rows(whole: str) -> list[tuple[str | int, str]] | None:
    """JSON lines with a text each; None if this is something else."""
    rows: list[tuple[str | int, str]] = []
    for number, line in enumerate(whole.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError:
            return None
        if not isinstance(found, dict) or not isinstance(found.get("text"), str):
            return None
        rows.append((found.get("id", number), found["text"]))
    return rows or None
