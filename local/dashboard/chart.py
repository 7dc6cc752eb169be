"""A chart of a dashboard as SVG, for a page in any colours."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from local.dashboard import words
from local.dashboard.document import Chart
from local.dashboard.figures import Look, Series

_WIDTH, _HEIGHT = 400, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 22
_INNER = _WIDTH - _LEFT - _RIGHT
_MARKS = 4  # of the axis of values, about
_MOST_DOTS = 40
_GAP = 1.5  # periods between two points that are not joined


@dataclass(frozen=True)
class _Frame:
    """The place of moments and values in the picture."""

    start: float
    end: float
    top: float

    def x(self, at: float) -> float:
        """Return the place of a moment in epoch seconds."""
        return _LEFT + (min(max(at, self.start), self.end) - self.start) / (self.end - self.start) * _INNER

    def y(self, value: float) -> float:
        """Return the place of a value."""
        return _TOP + (1 - min(value / self.top, 1.0)) * (_HEIGHT - _TOP - _BOTTOM)

    def level(self, kind: str, value: float) -> str:
        """Return a line from left to right."""
        height = f"{self.y(value):.1f}"
        return f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>'


def svg(chart: Chart, lines: Sequence[Series], look: Look) -> str:
    """Return the picture: axes with times and numbers, limits, and the lines, which end where points are missing."""
    values = [point.value for each in lines for point in each.points]
    highest = max([*values, *(limit.value for limit in chart.limits if values)], default=0.0)
    step = _step(chart.most or highest)
    frame = _Frame(look.start.timestamp(), look.end.timestamp(), chart.most or step * max(1, math.ceil(highest / step)))
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(_told(chart, lines, look))}">']
    parts += _axes(frame, step)
    if values:
        parts += [frame.level("limit", limit.value) for limit in chart.limits]
        for number, each in enumerate(lines):
            parts += _line(each, number, frame)
    else:
        parts.append(_text(_LEFT + _INNER / 2, _HEIGHT / 2, "middle", words.nothing(look)))
    return "".join([*parts, "</svg>"])


def _axes(frame: _Frame, step: float) -> Iterator[str]:
    for number in range(round(frame.top / step) + 1):
        yield frame.level("grid", number * step)
        yield _text(_LEFT - 5, frame.y(number * step) + 4, "end", _short(number * step))
    for number, anchor in enumerate(("start", "middle", "middle", "middle", "end")):
        at = frame.start + (frame.end - frame.start) * number / 4
        yield _text(frame.x(at), _HEIGHT - 6, anchor, words.clock(at, frame.end - frame.start))


def _text(across: float, down: float, anchor: str, text: str) -> str:
    return f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(series: Series, number: int, frame: _Frame) -> Iterator[str]:
    """Yield the parts of a line that are joined, and its points, or the last one of many."""
    # A value stands for its whole period, so it is drawn in the middle of that.
    places = [(frame.x(point.at + series.seconds / 2), frame.y(point.value)) for point in series.points]
    joined: list[list[tuple[float, float]]] = []
    for index, (point, place) in enumerate(zip(series.points, places, strict=True)):
        if not index or point.at - series.points[index - 1].at > _GAP * series.seconds:
            joined.append([])
        joined[-1].append(place)
    for stretch in joined:
        if len(stretch) > 1:
            yield f'<path class="s{number}" d="M{" L".join(f"{across:.1f} {down:.1f}" for across, down in stretch)}"/>'
    first = 0 if len(places) <= _MOST_DOTS else len(places) - 1
    alone = [stretch[0] for stretch in joined if len(stretch) == 1]
    for point, place in zip(series.points, places, strict=True):
        if place in alone or place in places[first:]:
            part = "" if point.is_whole else " part"
            yield f'<circle class="s{number}{part}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="2.2"/>'


def _step(most: float) -> float:
    """Return the distance of the marks of an axis: 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return 1.0
    rough = most / _MARKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= rough - 1e-9 * power)


def _short(value: float) -> str:
    """Return a mark of an axis; thousands as k, millions as M."""
    for size, sign in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size or (value >= size and sign == "M"):
            return f"{value / size:g}{sign}"
    return f"{value:g}"


def _told(chart: Chart, lines: Sequence[Series], look: Look) -> str:
    """Return what somebody hears who does not see the picture."""
    told = [
        f"{each.label}: {words.latest(each)}" if each.points else f"{each.label}: {words.nothing(look)}"
        for each in lines
    ]
    return f"{chart.title}, in {chart.unit}. {'; '.join(told)}" if chart.unit else f"{chart.title}. {'; '.join(told)}"
