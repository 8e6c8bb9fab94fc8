"""Structured lines on standard error. Facts are names and numbers, never content, keys or anybody's words."""

from __future__ import annotations

import json
import sys
import time

from freehold.ledger.ledger import Receipt


def log(event: str, **facts: str | int | float | None) -> None:
    """Write one line."""
    line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **facts})
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def log_call(receipt: Receipt) -> None:
    """One line for a call that has ended: what its receipt says, without what it commits to."""
    tokens = receipt.tokens
    log(
        "call",
        call=receipt.call,
        key=receipt.key,
        workload=receipt.workload,
        department=receipt.department,
        endpoint=receipt.endpoint,
        target=receipt.target,
        zone=receipt.zone,
        outcome=receipt.outcome,
        code=receipt.code,
        status=receipt.status,
        attempts=len(receipt.attempts),
        input_tokens=tokens.prompt,
        output_tokens=tokens.completion,
        cost_usd=receipt.cost_usd,
        stream=receipt.is_stream,
        duration_ms=receipt.duration_ms,
        first_byte_ms=receipt.first_byte_ms,
        **{"class": receipt.class_},
    )


def log_bug(error: BaseException) -> None:
    """Name a bug by its type and place alone: its words may quote a prompt."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = (
        "?" if frame is None else f"{frame.tb_frame.f_code.co_filename.rpartition('freehold/')[2]}:{frame.tb_lineno}"
    )
    log("bug", type=type(error).__name__, place=place)
