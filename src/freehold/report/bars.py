"""Bars in a terminal: a label, a bar as long as its value, the value as text."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(rows: Sequence[tuple[str, Decimal, str]], *, width: int = 48) -> str:
    """Draw (label, value, text) rows; the largest value fills `width` columns. Values below zero draw nothing."""
    if not rows:
        return "nothing to show\n"
    most = max((value for _, value, _ in rows), default=Decimal(0))
    labels = max(len(label) for label, _, _ in rows)
    return "".join(f"{label:<{labels}}  {_bar(value, most, width):<{width}}  {text}\n" for label, value, text in rows)


def _bar(value: Decimal, most: Decimal, width: int) -> str:
    if value <= 0 or most <= 0:
        return ""
    eighths = max(1, int(value * width * 8 / most))
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
