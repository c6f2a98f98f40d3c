"""A graph of datasets as SVG: layers from left to right, ordered so that few lines cross.

Belongs here: layout and drawing. Not here: which datasets (`pages`). Layers are ordered by the barycentres of their
neighbours; a line over several layers runs through a place of its own in each, so that it passes no box.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

BOX_WIDTH, BOX_HEIGHT, BETWEEN, ROW, BEND_ROW = 192, 26, 62, 32, 12
MARGIN, HEAD = 10, 24
SWEEPS = 8
LONGEST_LABEL = 25


@dataclass(frozen=True)
class Box:
    """A dataset as it is drawn. `rank` is its layer, `kind` a class of `site.css`."""

    key: str
    label: str
    kind: str
    href: str
    rank: int
    is_focus: bool = False


@dataclass
class _Layers:
    """Places by layer, in order: keys of boxes, and the bends of long lines. `ways`: the places of each line, in order."""

    orders: list[list[str]]
    ways: dict[tuple[str, str], list[str]]
    before: dict[str, list[str]] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)


def around(focus: str, parents: Mapping[str, set[str]], *, steps: int) -> tuple[dict[str, int], set[tuple[str, str]]]:
    """What is within some steps of a dataset: layers, below 0 what it is made of, above 0 what is made of it; and lines.

    Lines that lead past the dataset, from what it is made of to what is made of it, are left out.
    """
    children: dict[str, set[str]] = {}
    for key, found in parents.items():
        for parent in found:
            children.setdefault(parent, set()).add(key)
    up, down = _far(focus, parents, steps), _far(focus, children, steps)
    lines = {
        (parent, key) for side in (up, down) for key in side for parent in parents.get(key, set()) if parent in side
    }
    return {**{key: -far for key, far in up.items()}, **down}, lines


def _far(focus: str, next_to: Mapping[str, set[str]], steps: int) -> dict[str, int]:
    """What is reached within some steps, each with how many it takes."""
    far = {focus: 0}
    for step in range(1, steps + 1):
        for key in [key for key, reached in far.items() if reached == step - 1]:
            for other in next_to.get(key, ()):
                far.setdefault(other, step)
    return far


def draw(label: str, boxes: Sequence[Box], lines: Iterable[tuple[str, str]], heads: Sequence[str] = ()) -> Markup:
    """The picture. `lines` go from what is read to what reads it; `heads` are written above the layers."""
    known = {box.key: box for box in boxes}
    lowest = min(box.rank for box in boxes)
    rank = {box.key: box.rank - lowest for box in boxes}
    chosen = sorted({(start, end) for start, end in lines if start in known and end in known})
    layers = _layers(rank, chosen)
    _order(layers)
    top = MARGIN + (HEAD if heads else 0)
    height_of = {name: ROW if name in known else BEND_ROW for order in layers.orders for name in order}
    y = _places(layers, height_of)
    shift = top + ROW / 2 - min(y.values())
    y = {name: place + shift for name, place in y.items()}
    width = len(layers.orders) * (BOX_WIDTH + BETWEEN) - BETWEEN + 2 * MARGIN + 24
    height = max(y.values()) + ROW / 2 + MARGIN
    column = {name: place for place, order in enumerate(layers.orders) for name in order}

    def left(name: str) -> float:
        return MARGIN + column[name] * (BOX_WIDTH + BETWEEN)

    parts = [
        f'<svg class="lineage" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' role="group" aria-label="{escape(label)}">'
        '<defs><marker id="site-tip" viewBox="0 0 8 8" refX="8" refY="4" markerUnits="userSpaceOnUse" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
    ]
    parts += [
        f'<text class="head" x="{MARGIN + place * (BOX_WIDTH + BETWEEN)}" y="{MARGIN + 10}">{escape(head)}</text>'
        for place, head in enumerate(heads)
    ]
    for (start, end), way in layers.ways.items():
        parts.append(
            f'<path class="way" marker-end="url(#site-tip)" data-from="{escape(start)}" data-to="{escape(end)}" d="{_curve(way, left, y, known)}"/>'
        )
    for box in boxes:
        text = box.label if len(box.label) <= LONGEST_LABEL else box.label[: LONGEST_LABEL - 1] + "…"
        focus = ' aria-current="true"' if box.is_focus else ""
        parts.append(
            f'<a class="box {box.kind}" href="{escape(box.href)}" data-key="{escape(box.key)}"{focus}>'
            f"<title>{escape(box.key)}</title>"
            f'<rect x="{left(box.key):.0f}" y="{y[box.key] - BOX_HEIGHT / 2:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4"/>'
            f'<text x="{left(box.key) + 9:.0f}" y="{y[box.key] + 4:.1f}">{escape(text)}</text></a>'
        )
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 - names are escaped above


def _layers(rank: Mapping[str, int], lines: Sequence[tuple[str, str]]) -> _Layers:
    orders: list[list[str]] = [[] for _ in range(max(rank.values()) + 1)]
    for key in sorted(rank):
        orders[rank[key]].append(key)
    layers = _Layers(orders, {})
    for start, end in lines:
        step = 1 if rank[end] > rank[start] else -1
        bends = [f"{start}>{end}@{layer}" for layer in range(rank[start] + step, rank[end], step)]
        for layer, bend in zip(range(rank[start] + step, rank[end], step), bends, strict=True):
            orders[layer].append(bend)
        way = [start, *bends, end]
        layers.ways[start, end] = way
        if rank[start] == rank[end]:
            continue
        for one, other in itertools.pairwise(way):
            earlier, later = (one, other) if step > 0 else (other, one)
            layers.after.setdefault(earlier, []).append(later)
            layers.before.setdefault(later, []).append(earlier)
    return layers


def _order(layers: _Layers) -> None:
    """Order each layer by where its neighbours stand, to and fro, and keep the order with the fewest crossings."""
    best, fewest = [list(order) for order in layers.orders], _crossings(layers)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        places = range(1, len(layers.orders)) if forth else range(len(layers.orders) - 2, -1, -1)
        for place in places:
            beside = layers.orders[place - 1 if forth else place + 1]
            at = {name: index for index, name in enumerate(beside)}
            next_to = layers.before if forth else layers.after
            own = {name: index for index, name in enumerate(layers.orders[place])}

            def weight(
                name: str,
                at: dict[str, int] = at,
                own: dict[str, int] = own,
                next_to: dict[str, list[str]] = next_to,
                size: int = len(beside),
            ) -> float:
                found = [at[other] for other in next_to.get(name, ()) if other in at]
                return sum(found) / len(found) if found else own[name] * size / len(own)

            layers.orders[place].sort(key=weight)
        if (crossings := _crossings(layers)) < fewest:
            best, fewest = [list(order) for order in layers.orders], crossings
    layers.orders[:] = best


def _crossings(layers: _Layers) -> int:
    count = 0
    for one, other in itertools.pairwise(layers.orders):
        at = {name: index for index, name in enumerate(other)}
        ends = [end for name in one for end in sorted(at[later] for later in layers.after.get(name, ()) if later in at)]
        count += sum(earlier > later for place, later in enumerate(ends) for earlier in ends[:place])
    return count


def _places(layers: _Layers, height_of: Mapping[str, float]) -> dict[str, float]:
    """The middle of each place from the top: near its neighbours, in order, none over another."""
    y: dict[str, float] = {}
    for order in layers.orders:
        top = -sum(height_of[name] for name in order) / 2
        for name in order:
            y[name] = top + height_of[name] / 2
            top += height_of[name]
    for _ in range(SWEEPS):
        for order in layers.orders:
            wanted = []
            for name in order:
                beside = [y[other] for other in (*layers.before.get(name, ()), *layers.after.get(name, ()))]
                wanted.append(sum(beside) / len(beside) if beside else y[name])
            y.update(zip(order, _apart(wanted, [height_of[name] for name in order]), strict=True))
    return y


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """The middles nearest to those wanted (least squares) that keep order and leave each its height."""
    offsets = [0.0]
    for one, other in itertools.pairwise(heights):
        offsets.append(offsets[-1] + (one + other) / 2)
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            earlier, size = blocks.pop()
            mean, count = (earlier * size + mean * count) / (size + count), size + count
        blocks.append((mean, count))
    level = [mean for mean, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(level, offsets, strict=True)]


def _curve(way: Sequence[str], left: Callable[[str], float], y: Mapping[str, float], known: Mapping[str, Box]) -> str:
    """A line from the right of its first box to the left of its last; within one layer, a bow on the right."""
    start, end = way[0], way[-1]
    if left(start) == left(end):
        edge = left(start) + BOX_WIDTH
        bow = edge + 12 + min(abs(y[start] - y[end]) / 8, BETWEEN - 18)
        return f"M{edge:.0f},{y[start]:.1f} C{bow:.0f},{y[start]:.1f} {bow:.0f},{y[end]:.1f} {edge:.0f},{y[end]:.1f}"
    forth = left(end) > left(start)
    at = left(start) + (BOX_WIDTH if forth else 0)
    drawn = [f"M{at:.0f},{y[start]:.1f}"]
    for one, other in itertools.pairwise(way):
        to = left(other) + (0 if forth else BOX_WIDTH)
        half = (at + to) / 2
        drawn.append(f"C{half:.0f},{y[one]:.1f} {half:.0f},{y[other]:.1f} {to:.0f},{y[other]:.1f}")
        at = to
        if other not in known:
            at = to + (BOX_WIDTH if forth else -BOX_WIDTH)
            drawn.append(f"L{at:.0f},{y[other]:.1f}")
    return " ".join(drawn)
