"""Draw the trials of a search as SVG: for each hyperparameter, how good the trials with each value became."""

import html
import math
from collections.abc import Sequence
from typing import Any

_WIDTH, _HEIGHT, _COLUMNS = 380, 220, 2  # size of one plot, pixels, and plots beside each other
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 34, 30  # its margins, pixels
_STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif } text { fill: #555 } .title { fill: #111; font-weight: 600 }
.grid { stroke: #ddd } .weak { fill: #9ca3af } .finished { fill: #1d4ed8 } .winner { fill: #b45309 }
@media (prefers-color-scheme: dark) {
svg { background: #111 } text { fill: #aaa } .title { fill: #eee } .grid { stroke: #333 }
.weak { fill: #6b7280 } .finished { fill: #93c5fd } .winner { fill: #fbbf24 } }
"""


def scatter(tuned: dict[str, Any]) -> str:
    """Draw ``tuned.json``: one plot for each hyperparameter; its values across, validation accuracy upwards.

    Trials that ended early stand at their last accuracy. If there are many, only the better half sets the scale.
    """
    trials = [trial for trial in tuned["trials"] if trial["valid_top1"]]
    top1 = sorted(100 * trial["valid_top1"][-1] for trial in trials) or [0.0]
    low, high = top1[len(top1) // 4], top1[-1]
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    plots = []
    for index, (name, searched) in enumerate(tuned["search"]["ranges"].items()):
        x, y = index % _COLUMNS * _WIDTH, index // _COLUMNS * _HEIGHT
        plots.append(f'<g transform="translate({x},{y})">{_plot(name, searched, trials, tuned, (low, high))}</g>')
    width, height = min(len(plots), _COLUMNS) * _WIDTH, -(-len(plots) // _COLUMNS) * _HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="trials of the search">\n<style>{_STYLE}</style>\n' + "\n".join(plots) + "\n</svg>\n"
    )


def _plot(
    name: str, searched: Any, trials: Sequence[dict[str, Any]], tuned: dict[str, Any], scale: tuple[float, float]
) -> str:
    (low, high), across, down = scale, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = [f'<text class="title" x="{_LEFT}" y="18">{html.escape(name)}, validation top-1 in %</text>']
    for step in range(5):
        value = low + (high - low) * step / 4
        y = _TOP + down * (1 - step / 4)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    for label, place in _labels(searched):
        x, anchor = _LEFT + across * place, {0.0: "start", 1.0: "end"}.get(place, "middle")
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 10}" text-anchor="{anchor}">{html.escape(label)}</text>')
    for trial in sorted(trials, key=lambda each: (each["trial"] == tuned["winner"], each["finished"])):
        top1 = min(max(100 * trial["valid_top1"][-1], low), high)
        x = _LEFT + across * _place(searched, trial["hyperparameters"][name])
        y = _TOP + down * (high - top1) / (high - low)
        kind = "winner" if trial["trial"] == tuned["winner"] else "finished" if trial["finished"] else "weak"
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{5 if kind == "winner" else 3}"/>')
    return "\n".join(parts)


def _place(searched: Any, value: Any) -> float:
    """Return where a value stands, from 0 at the left to 1 at the right."""
    if isinstance(searched, list):
        return 0.5 if len(searched) == 1 else float(searched.index(value) / (len(searched) - 1))
    low, high = searched["min"], searched["max"]
    if searched["scale"] == "log":
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _labels(searched: Any) -> list[tuple[str, float]]:
    values = searched if isinstance(searched, list) else [searched["min"], searched["max"]]
    return [(f"{value:g}" if not isinstance(value, str) else value, _place(searched, value)) for value in values]
