"""Makes smooth shapes from a few points: tubes, ovals and tufted edges.

Lengths may have any unit. The y axis points up. Angles are in radians, counter-clockwise from +x.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import cos, hypot, pi, sin
from random import Random
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]
Outline: TypeAlias = list[Point]
Shape: TypeAlias = list[Outline]  # the union of its outlines
Spine: TypeAlias = list[tuple[float, float, float]]  # x, y and the radius around it


def smooth(points: Sequence[tuple[float, ...]], steps: int = 4, closed: bool = False) -> list[tuple[float, ...]]:
    """Return a Catmull-Rom curve through the points, with `steps` samples from each point to the next."""
    before, after = ([points[-1]], points[:2]) if closed else ([points[0]], points[-1:])
    padded = [*before, *points, *after]
    curve = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(steps):
            t = step / steps
            curve.append(tuple(_catmull_rom(*values, t) for values in zip(a, b, c, d, strict=True)))
    return curve if closed else [*curve, points[-1]]


def _catmull_rom(a: float, b: float, c: float, d: float, t: float) -> float:
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def blob(*points: Point) -> Outline:
    """Return a smooth closed outline through the points."""
    return [(x, y) for x, y in smooth(points, closed=True)]


def oval(x: float, y: float, rx: float, ry: float, angle: float = 0.0, corners: int = 20) -> Outline:
    """Return an ellipse around (x, y), turned by `angle`."""
    if angle:
        return turned([(rx * c, ry * s) for c, s in _circle(corners)], angle, 1.0, x, y)
    return [(x + rx * c, y + ry * s) for c, s in _circle(corners)]


@lru_cache
def _circle(corners: int) -> Outline:
    return [(cos(2 * pi * i / corners), sin(2 * pi * i / corners)) for i in range(corners)]


def tube(spine: Spine) -> Shape:
    """Return the smooth tube around a spine, with round ends.

    In a tight bend the two sides of the tube cross and leave gaps. Discs along the spine fill them.
    """
    samples = smooth(spine)
    left, right = [], []
    for (x, y, r), (nx, ny) in zip(samples, _normals(samples), strict=True):
        left.append((x + nx * r, y + ny * r))
        right.append((x - nx * r, y - ny * r))
    discs = [oval(x, y, r, r, corners=12) for x, y, r in (samples[0], *samples[1::4], samples[-1])]
    return [left + right[::-1], *discs]


def band(spine: Spine, side: float, width: float) -> Spine:
    """Return the spine moved to its left by `side` radii (to its right if negative), with its radii times `width`."""
    return [
        (x + nx * r * side, y + ny * r * side, r * width)
        for (x, y, r), (nx, ny) in zip(spine, _normals(spine), strict=True)
    ]


def stretch(spine: Spine, start: float, end: float) -> Spine:
    """Return the part of the smooth spine between two fractions of its samples."""
    samples = smooth(spine)
    last = len(samples) - 1
    return [(x, y, r) for x, y, r in samples[round(start * last) : round(end * last) + 1]]


def tufted(outline: Outline, depth: float, rng: Random) -> Outline:
    """Return the outline with tufts of fur that are up to `depth` long and hang down a little."""
    step = max(depth * 0.45, 0.015)
    tufts: Outline = []
    for (x0, y0), (x1, y1) in zip(outline, outline[1:] + outline[:1], strict=True):
        length = hypot(x1 - x0, y1 - y0)
        for i in range(max(1, round(length / step))):
            t = i * step / length if length else 0.0
            out = rng.uniform(-0.25, 1.0) * depth * (1 if len(tufts) % 2 else 0.2)
            nx, ny = (y1 - y0) / (length or 1), (x0 - x1) / (length or 1)
            tufts.append((x0 + (x1 - x0) * t + nx * out, y0 + (y1 - y0) * t + ny * out - 0.5 * abs(out)))
    return tufts


def turned(outline: Outline, angle: float, scale: float, x: float, y: float) -> Outline:
    """Return the outline turned about the origin, scaled, then moved to (x, y)."""
    c, s = cos(angle) * scale, sin(angle) * scale
    return [(x + px * c - py * s, y + px * s + py * c) for px, py in outline]


def bounds(outlines: Sequence[Outline]) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top: smallest x, smallest y, largest x, largest y."""
    xs = [x for outline in outlines for x, _ in outline]
    ys = [y for outline in outlines for _, y in outline]
    return min(xs), min(ys), max(xs), max(ys)


def _normals(points: Sequence[tuple[float, ...]]) -> list[Point]:
    """Return for each point the unit vector to the left of the direction through the points."""
    normals = []
    for before, after in zip([points[0], *points[:-1]], [*points[1:], points[-1]], strict=True):
        dx, dy = after[0] - before[0], after[1] - before[1]
        length = hypot(dx, dy) or 1.0
        normals.append((-dy / length, dx / length))
    return normals
