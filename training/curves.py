"""Draw the learning curve, losses and validation accuracy over the epochs, as SVG.

The SVG is written by hand, because a training image may have no drawing library and may not download one.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

_WIDTH, _HEIGHT = 380, 260  # size of one plot, pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 34, 40  # its margins, pixels
_STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif } text { fill: #555 } .title { fill: #111; font-weight: 600 }
.grid { stroke: #ddd } .phase { stroke: #999; stroke-dasharray: 3 4 } polyline { fill: none; stroke-width: 2 }
.train { stroke: #b45309 } .valid { stroke: #1d4ed8 }
tspan { stroke: none !important } tspan.train { fill: #b45309 } tspan.valid { fill: #1d4ed8 }
@media (prefers-color-scheme: dark) {
svg { background: #111 } text { fill: #aaa } .title { fill: #eee } .grid { stroke: #333 } .phase { stroke: #777 }
.train { stroke: #fbbf24 } .valid { stroke: #93c5fd } tspan.train { fill: #fbbf24 } tspan.valid { fill: #93c5fd } }
"""


class _Line(NamedTuple):
    """A line of a plot.

    name: ``train`` or ``valid``, its class in the style sheet. points: (finished epochs, value).
    """

    name: str
    points: list[tuple[float, float]]


def learning_curve(history: dict[str, Any]) -> str:
    """Draw ``history.json``: the losses on the left, and on the right the validation accuracy, also before training.

    Args:
        history: ``start_top1`` and ``phases``, each with its ``name`` and its ``epochs``.

    Returns:
        The text of an SVG picture, which follows the viewer's light or dark colour scheme.
    """
    top1, losses, borders, number = [(0.0, 100 * history["start_top1"])], [], [], 0
    for phase in history["phases"]:
        if number:
            borders.append((number, phase["name"]))
        train, valid = _Line("train", []), _Line("valid", [])
        for epoch in phase["epochs"]:
            number += 1
            train.points.append((number, epoch["train_loss"]))
            valid.points.append((number, epoch["valid_loss"]))
            top1.append((number, 100 * epoch["valid_top1"]))
        losses += [train, valid]  # New lines for each phase, because each phase has another loss function.
    legend = ' of <tspan class="train">training</tspan> and <tspan class="valid">validation</tspan>'
    plots = (
        _plot("loss" + legend, losses, number, borders),
        f'<g transform="translate({_WIDTH})">',
        _plot(f"validation top-1: {top1[0][1]:.1f} % to {top1[-1][1]:.1f} %", [_Line("valid", top1)], number, borders),
        "</g>",
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {_HEIGHT}" width="{2 * _WIDTH}" '
        f'role="img" aria-label="learning curve">\n<style>{_STYLE}</style>\n' + "\n".join(plots) + "\n</svg>\n"
    )


def _plot(title: str, lines: Sequence[_Line], num_epochs: int, borders: Sequence[tuple[int, str]]) -> str:
    # There may be no epoch, or all values may be equal.
    values = [y for line in lines for _, y in line.points] or [0.0]
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        return _LEFT + across * x / max(1, num_epochs), _TOP + down * (high - y) / (high - low)

    parts = [f'<text class="title" x="{_LEFT}" y="18">{title}</text>']
    for tick in _ticks(low, high):
        y = to_pixels(0, tick)[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(0, num_epochs):
        if tick == int(tick):
            x = to_pixels(tick, low)[0]
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{_LEFT + across / 2}" y="{_HEIGHT - 6}" text-anchor="middle">epochs</text>')
    for begin, name in borders:
        x = to_pixels(begin, low)[0]
        parts.append(f'<line class="phase" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{_TOP + 12}">{name}</text>')
    for line in lines:
        points = [to_pixels(*point) for point in line.points]
        parts.append(f'<polyline class="{line.name}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
        if len(points) == 1:
            parts.append(f'<circle class="{line.name}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2"/>')
    return "\n".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to eight round numbers between low and high."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    step *= next(part for part in (0.2, 0.5, 1, 2) if (high - low) / (step * part) <= 6)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
