"""Lines over time as SVG: a chart with its axes, and a small line without.

Belongs here: the drawing. Not here: which values (`figures`). Colours are classes of `site.css`, one a line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from markupsafe import Markup, escape

Points = Sequence[tuple[date, Decimal | None]]
"""Oldest first. None is a gap, and so are more days between two points than are usual."""

WIDTH, HEIGHT = 440, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 24
COLOURS = 6


def line_chart(label: str, lines: Mapping[str, Points], *, is_share: bool, days_apart: int) -> Markup:
    """One line a name of `lines`, on one scale, which is in percent for shares. Empty when no line has a value."""
    known = [(day, value) for points in lines.values() for day, value in points if value is not None]
    if not known:
        return Markup()
    first, last = min(day for day, _ in known), max(day for day, _ in known)
    ticks = _ticks(min(float(value) for _, value in known), max(float(value) for _, value in known))
    days = max((last - first).days, 1)

    def x(day: date) -> float:
        share = (day - first).days / days if last > first else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (ticks[-1] - value) / (ticks[-1] - ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
        *(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{_tick(tick, ticks, is_share)}</text>'
            for tick in ticks
        ),
        *(
            f'<text class="tick" x="{x(day):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{day:%-d %b %Y}</text>'
            for day, anchor in _day_ticks(first, last)
        ),
    ]
    for place, (name, points) in enumerate(lines.items()):
        parts.append(f'<g class="line s{place % COLOURS}"><title>{escape(name)}</title>')
        parts += [
            _stretch([(x(day), y(float(value))) for day, value in stretch])
            for stretch in _stretches(points, days_apart)
        ]
        parts.append("</g>")
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 - names are escaped above


def small_line(points: Points, *, days_apart: int) -> Markup:
    """A line of one series on its own scale, without axes; decoration beside the value that is written."""
    known = [float(value) for _, value in points if value is not None]
    if not known:
        return Markup()
    low, span = min(known), (max(known) - min(known)) or 1.0
    first, days = points[0][0], max((points[-1][0] - points[0][0]).days, 1)
    drawn = [
        _stretch(
            [(2 + (day - first).days / days * 116, 21 - (float(value) - low) / span * 18) for day, value in stretch],
            1.5,
        )
        for stretch in _stretches(points, days_apart)
    ]
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="spark" viewBox="0 0 120 24" aria-hidden="true"><g class="line s0">{"".join(drawn)}</g></svg>'
    )


def _stretches(points: Points, days_apart: int) -> list[list[tuple[date, Decimal]]]:
    """The runs of values between gaps."""
    found: list[list[tuple[date, Decimal]]] = []
    before: date | None = None
    for day, value in points:
        if value is None:
            before = None
            continue
        if before is None or (day - before).days > days_apart:
            found.append([])
        found[-1].append((day, value))
        before = day
    return found


def _stretch(places: Sequence[tuple[float, float]], radius: float = 2.0) -> str:
    """A line, or a dot where a value stands alone."""
    if len(places) == 1:
        return f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="{radius}"/>'
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values around a range; zero is among them when it is near."""
    if low > 0 and low < high / 2:
        low = 0.0
    if high == low:
        low, high = low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    return [step * place for place in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _tick(value: float, ticks: Sequence[float], is_share: bool) -> str:
    step = (ticks[1] - ticks[0]) * (100 if is_share else 1)
    digits = max(
        0, -math.floor(math.log10(step)) + (1 if round(step / 10 ** math.floor(math.log10(step)), 1) == 2.5 else 0)
    )
    if is_share:
        return f"{value * 100:.{digits}f} %"
    for size, sign in ((1e9, "bn"), (1e6, "m"), (1e4, "k")):
        if max(abs(ticks[0]), abs(ticks[-1])) >= size:
            scale = 1e3 if sign == "k" else size
            return f"{value / scale:,.{0 if step >= scale else 1}f}{sign}" if value else "0"
    return f"{value:,.{digits}f}"


def _day_ticks(first: date, last: date) -> list[tuple[date, str]]:
    if first == last:
        return [(first, "middle")]
    middle = first + timedelta(days=(last - first).days // 2)
    return [(first, "start"), *([(middle, "middle")] if middle > first else []), (last, "end")]
