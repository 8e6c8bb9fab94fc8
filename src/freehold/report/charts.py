"""Plots as SVG: lines with bands, stacked bars, a map of cells, swings. Each stands alone, and reads in the dark too."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

# Okabe and Ito's colours, which colour-blind people can tell apart (jfly.uni-koeln.de/color, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 16, 14, 46
_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#333}.axis{stroke:#999;stroke-width:1;fill:none}.grid{stroke:#ddd;stroke-width:1}"
    "@media (prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}}</style>"
)


class Line(NamedTuple):
    """One line. band: its lower and upper edge, for each x; is_stepped: it is flat between its points."""

    name: str
    ys: Sequence[float]
    band: Sequence[tuple[float, float]] = ()


class Swing(NamedTuple):
    """One bar of a tornado: from the value with something low to the one with it high."""

    name: str
    low: float
    high: float


class Reach(NamedTuple):
    """One row of a plot of intervals: a value and what it lies between; mark: a word behind it."""

    name: str
    value: float
    low: float
    high: float
    mark: str = ""


class Spot(NamedTuple):
    """One point with its interval each way."""

    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def short(value: float) -> str:
    """A number for an axis: 1.2k, 30M."""
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{mark}"
    return f"{value:.3g}"


def lines(
    xs: Sequence[float], series: Sequence[Line], *, title: str, labels: tuple[str, str], is_linear: bool = False
) -> str:
    """Lines over x, both axes logarithmic (is_linear: not x). labels: of the axes. Values that are not above zero are left out."""
    seen = [y for line in series for y in (*line.ys, *(end for band in line.band for end in band)) if y > 0]
    if not seen or len(xs) < 2:
        return _svg(title, '<text x="20" y="40">nothing to show</text>')
    across, up = (_linear if is_linear else _log)(xs[0], xs[-1], _LEFT, WIDTH - _RIGHT), _log(min(seen), max(seen), HEIGHT - _BOTTOM, _TOP)  # fmt: skip
    parts = [_grid(across, xs if is_linear else _ticks(xs[0], xs[-1]), up, _ticks(min(seen), max(seen))), _named(labels)]  # fmt: skip
    for at, line in enumerate(series):
        colour = COLOURS[at % len(COLOURS)]
        if line.band:
            edge = [(x, high) for x, (_, high) in zip(xs, line.band, strict=True)]
            edge += [(x, low) for x, (low, _) in reversed(list(zip(xs, line.band, strict=True)))]
            points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in edge if y > 0)
            parts.append(f'<polygon points="{points}" fill="{colour}" opacity="0.15"/>')
    for at, line in enumerate(series):
        colour = COLOURS[at % len(COLOURS)]
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(xs, line.ys, strict=True) if y > 0)
        name = html.escape(line.name)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"><title>{name}</title></polyline>')  # fmt: skip
    return _svg(title, "".join(parts), legend=[line.name for line in series])


def stacked(rows: Mapping[str, Mapping[str, float]], *, title: str) -> str:
    """A bar for each row, taken apart by what it is made of."""
    kinds = list(dict.fromkeys(kind for parts in rows.values() for kind in parts))
    most = max((sum(parts.values()) for parts in rows.values()), default=0.0) or 1.0
    left, drawn, height = _margin(rows), [], 28
    for at, (name, parts) in enumerate(rows.items()):
        y, x = 20 + at * height, float(left)
        drawn.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>')
        for kind, value in parts.items():
            wide = value / most * (WIDTH - left - 70)
            colour = COLOURS[kinds.index(kind) % len(COLOURS)]
            what = f"{html.escape(kind)}: {value:,.0f}"
            drawn.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="18" fill="{colour}"><title>{what}</title></rect>')  # fmt: skip
            x += wide
        drawn.append(f'<text x="{x + 6:.1f}" y="{y + 14}">{short(sum(parts.values()))}</text>')
    return _svg(title, "".join(drawn), legend=kinds, height=40 + len(rows) * height)


def swings(rows: Sequence[Swing], *, title: str, label: str) -> str:
    """A tornado: the widest first."""
    if not rows:
        return _svg(title, '<text x="20" y="40">nothing to show</text>')
    low, high = (pick(end(row.low, row.high) for row in rows) for pick, end in ((min, min), (max, max)))
    left, drawn, height = _margin([row.name for row in rows]), [], 26
    scale = (WIDTH - left - 130) / ((high - low) or 1.0)
    for at, row in enumerate(rows):
        first, last = sorted((row.low, row.high))
        y, x = 20 + at * height, left + (first - low) * scale
        drawn.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{html.escape(row.name)}</text>')
        wide = max(1.0, (last - first) * scale)
        drawn.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="16" fill="{COLOURS[0]}"/>')
        drawn.append(f'<text x="{x + wide + 6:.1f}" y="{y + 13}">{short(first)} to {short(last)}</text>')
    drawn.append(f'<text x="{left}" y="{36 + len(rows) * height}">{html.escape(label)}</text>')
    return _svg(title, "".join(drawn), height=50 + len(rows) * height)


def cells(
    xs: Sequence[float], ys: Sequence[float], names: Sequence[Sequence[str]], *, title: str, labels: tuple[str, str]
) -> str:
    """A map: which name holds at each x and y (rows as `ys`, the first at the bottom), both axes logarithmic."""
    known = list(dict.fromkeys(name for row in names for name in row))
    wide, high = (WIDTH - _LEFT - _RIGHT) / len(xs), (HEIGHT - _TOP - _BOTTOM) / len(ys)
    drawn = []
    for row, (y, held) in enumerate(zip(ys, names, strict=True)):
        top = HEIGHT - _BOTTOM - (row + 1) * high
        drawn.append(f'<text x="{_LEFT - 8}" y="{top + high / 2 + 4:.1f}" text-anchor="end">{short(y)}</text>')
        for column, name in enumerate(held):
            colour, left = COLOURS[known.index(name) % len(COLOURS)], _LEFT + column * wide
            what = f"{html.escape(name)} ({short(xs[column])}, {short(y)})"
            drawn.append(f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.2f}" height="{high:.2f}" fill="{colour}"><title>{what}</title></rect>')  # fmt: skip
    below = (
        f'<text x="{_LEFT + (column + 0.5) * wide:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{short(xs[column])}</text>'
        for column in range(0, len(xs), max(1, len(xs) // 8))
    )
    return _svg(title, "".join((*drawn, *below)) + _named(labels), legend=known)


def intervals(rows: Sequence[Reach], *, title: str, label: str, lines_at: Mapping[str, float]) -> str:
    """A row for each value with its interval, under upright lines (named, at these values)."""
    if not rows:
        return _svg(title, '<text x="20" y="40">nothing to show</text>')
    ends = [end for row in rows for end in (row.low, row.high)] + list(lines_at.values())
    left, height, right = _margin([row.name for row in rows]), 22, 120
    across, bottom = _linear(min(ends), max(ends), left, WIDTH - right), 34 + len(rows) * height
    drawn = [
        f'<path class="grid" d="M{across(value):.1f} 24V{bottom}"/><text x="{across(value):.1f}" y="{bottom + 16}" text-anchor="middle">{short(value)}</text>'
        for value in _even(min(ends), max(ends))
    ]
    for at, (name, value) in enumerate(sorted(lines_at.items(), key=lambda one: one[1])):
        colour, side = COLOURS[(at + 1) % len(COLOURS)], "end" if at == 0 else "start"
        drawn.append(f'<path d="M{across(value):.1f} 24V{bottom}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="4 3"/>')  # fmt: skip
        drawn.append(f'<text x="{across(value):.1f}" y="16" text-anchor="{side}">{html.escape(name)}</text>')
    for at, row in enumerate(rows):
        y, what = 40 + at * height, f"{html.escape(row.name)}: {row.value:.4g} ({row.low:.4g} to {row.high:.4g})"
        drawn.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{html.escape(row.name)}</text>')
        drawn.append(f'<path d="M{across(row.low):.1f} {y}H{across(row.high):.1f}" stroke="{COLOURS[0]}" stroke-width="2"/>')  # fmt: skip
        drawn.append(f'<circle cx="{across(row.value):.1f}" cy="{y}" r="4" fill="{COLOURS[0]}"><title>{what}</title></circle>')  # fmt: skip
        drawn.append(f'<text x="{WIDTH - right + 10}" y="{y + 4}">{html.escape(row.mark)}</text>')
    drawn.append(f'<text x="{left}" y="{bottom + 36}">{html.escape(label)}</text>')
    return _svg(title, "".join(drawn), height=bottom + 48)


def spots(points: Sequence[Spot], *, title: str, labels: tuple[str, str]) -> str:
    """Points with intervals both ways, both axes even. labels: of the axes."""
    if not points:
        return _svg(title, '<text x="20" y="40">nothing to show</text>')
    xs, ys = ([end for point in points for end in point.x], [end for point in points for end in point.y])
    across = _linear(min(xs), max(xs), _LEFT + 20, WIDTH - _RIGHT - 60)
    up = _linear(min(ys), max(ys), HEIGHT - _BOTTOM - 20, _TOP + 20)
    drawn = [_grid(across, _even(min(xs), max(xs)), up, _even(min(ys), max(ys))), _named(labels)]
    for at, point in enumerate(points):
        colour, (x, x_low, x_high), (y, y_low, y_high) = COLOURS[at % len(COLOURS)], point.x, point.y
        drawn.append(f'<path d="M{across(x_low):.1f} {up(y):.1f}H{across(x_high):.1f}M{across(x):.1f} {up(y_low):.1f}V{up(y_high):.1f}" stroke="{colour}" fill="none"/>')  # fmt: skip
        drawn.append(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="5" fill="{colour}"><title>{html.escape(point.name)}</title></circle>')  # fmt: skip
    return _svg(title, "".join(drawn), legend=[point.name for point in points])


# --- parts ----------------------------------------------------------------------------------------------------------


def _svg(title: str, inner: str, *, legend: Sequence[str] = (), height: int = HEIGHT) -> str:
    keys, x, y = [], 20, height + 16
    for at, name in enumerate(legend):
        wide = 26 + len(name) * 7
        if x + wide > WIDTH:
            x, y = 20, y + 20
        keys.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLOURS[at % len(COLOURS)]}"/><text x="{x + 17}" y="{y}">{html.escape(name)}</text>')  # fmt: skip
        x += wide
    whole = y + 12 if legend else height
    name = html.escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" width="{WIDTH}" height="{whole}" role="img" aria-label="{name}">'
        f"<title>{name}</title>{_STYLE}{inner}{''.join(keys)}</svg>"
    )


def _margin(names: Sequence[str] | Mapping[str, object]) -> int:
    return min(300, 20 + max((len(name) for name in names), default=0) * 7)


def _log(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = math.log(high / low) or 1.0
    return lambda value: start + math.log(value / low) / span * (end - start)


def _linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / ((high - low) or 1.0) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Round values between two ends."""
    steps = (1,) if high / low > 1e4 else (1, 3) if high / low > 30 else (1, 2, 3, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]


def _even(low: float, high: float) -> list[float]:
    """About five even values between two ends."""
    if high <= low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(step * times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= 6)
    return [at * step for at in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _grid(
    across: Callable[[float], float], xs: Sequence[float], up: Callable[[float], float], ys: Sequence[float]
) -> str:
    axes = f'<path class="axis" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'
    upright = (
        f'<path class="grid" d="M{across(x):.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>'
        f'<text x="{across(x):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{short(x)}</text>'
        for x in xs
    )
    level = (
        f'<path class="grid" d="M{_LEFT} {up(y):.1f}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 8}" y="{up(y) + 4:.1f}" text-anchor="end">{short(y)}</text>'
        for y in ys
    )
    return "".join((axes, *upright, *level))


def _named(labels: tuple[str, str]) -> str:
    below, beside = map(html.escape, labels)
    return (
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{below}</text>'
        f'<text transform="translate(14 {(_TOP + HEIGHT - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{beside}</text>'
    )
