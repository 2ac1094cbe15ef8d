"""Lines in a plane, as SVG: little enough that no library is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

PLOTS = Path(__file__).parents[2] / "docs" / "benchmarks"
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 36, 48
COLOURS = ("#0b6e99", "#d9480f", "#2b8a3e", "#7048a8", "#868e96")
TICKS = 6


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) in order; `dashed` for what was computed, not measured."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """What it shows, with its unit; `logarithmic` needs positive values."""

    title: str
    logarithmic: bool = False


def svg(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """A drawing with a legend. Raises ValueError without a single point."""
    xs = [point[0] for line in lines for point in line.points]
    ys = [point[1] for line in lines for point in line.points]
    if not xs:
        raise ValueError(f"nothing to draw: {title}")
    across = _Scale(x, xs, LEFT, WIDTH - RIGHT)
    up = _Scale(y, ys, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 18, title, 'text-anchor="middle" font-weight="bold"'),
    ]
    for tick in across.ticks():
        at = across.at(tick)
        parts.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e9ecef"/>')
        parts.append(_text(at, HEIGHT - BOTTOM + 16, _number(tick), 'text-anchor="middle"'))
    for tick in up.ticks():
        at = up.at(tick)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e9ecef"/>')
        parts.append(_text(LEFT - 6, at + 4, _number(tick), 'text-anchor="end"'))
    parts.append(_text(WIDTH / 2, HEIGHT - 10, x.title, 'text-anchor="middle"'))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(_text(14, middle, y.title, f'text-anchor="middle" transform="rotate(-90 14 {middle})"'))
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        path = "L".join(f"{across.at(a):.1f} {up.at(b):.1f}" for a, b in line.points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        legend = TOP + 14 + 16 * number
        parts.append(f'<path d="M{LEFT + 10} {legend - 4}h22" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(_text(LEFT + 38, legend, line.name, ""))
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """From values to places."""

    def __init__(self, axis: Axis, values: Sequence[float], first: float, last: float) -> None:
        self._logarithmic = axis.logarithmic
        self._low = min(values) if axis.logarithmic else min(0.0, *values)
        self._high = max(values)
        if self._high == self._low:
            self._high = self._low + 1.0
        self._first, self._last = first, last

    def at(self, value: float) -> float:
        low, high = self._low, self._high
        share = (
            math.log(value / low) / math.log(high / low)
            if self._logarithmic
            else (value - low) / (high - low)
        )
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[float]:
        if self._logarithmic:
            exponents = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1)
            found = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
        else:
            rough = (self._high - self._low) / TICKS
            step = 10 ** math.floor(math.log10(rough))
            step *= next(m for m in (1, 2, 5, 10) if m * step >= rough)
            found = [step * n for n in range(math.ceil(self._low / step), math.floor(self._high / step) + 1)]
        return [tick for tick in found if self._low <= tick <= self._high]


def _text(x: float, y: float, text: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"
