"""Draws loads over time: requests, latencies and instances below each other, with one column for each load."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Line = Sequence[tuple[float, float]]  # moments in seconds, with values
_COLOURS = {
    "offered": "#999999",
    "answered": "#15803d",
    "failed": "#b42318",
    "p50": "#e0a458",
    "p99": "#b45309",
    "ordered": "#bbbbbb",
    "in service": "#1d4ed8",
}


@dataclass(frozen=True)
class Column:
    """One load.

    Attributes:
        title: what is written above it.
        rates: requests/s by name, each of which holds until the next moment.
        latencies: milliseconds by name; below 1 counts as 1.
        instances: number of instances by name, each of which holds until the next moment; empty if nobody knows it.
        limit_ms: the limit of the latencies; 0 for none.
    """

    title: str
    rates: Mapping[str, Line]
    latencies: Mapping[str, Line]
    instances: Mapping[str, Line] = field(default_factory=dict)
    limit_ms: float = 0.0


def draw(path: Path, columns: Sequence[Column]) -> Path:
    """Draw a picture, in the format that the path's ending names, such as .png or .svg, and return its path."""
    from matplotlib.figure import Figure  # The import takes half a second, and only this function needs it.

    rows = {"requests/s": "rates", "milliseconds": "latencies", "instances": "instances"}
    if not any(column.instances for column in columns):
        del rows["instances"]
    figure = Figure(figsize=(max(7.0, 4.5 * len(columns)), 2.3 * len(rows)), layout="constrained", dpi=110)
    grid = figure.subplots(len(rows), len(columns), sharex=True, sharey="row", squeeze=False)
    for axes, (label, row) in zip(grid, rows.items(), strict=True):
        axes[0].set_ylabel(label)
        for axis, column in zip(axes, columns, strict=True):
            lines: Mapping[str, Line] = getattr(column, row)
            for name, line in lines.items():
                if line:
                    style = {} if row == "latencies" else {"drawstyle": "steps-post"}
                    axis.plot(*zip(*line, strict=True), color=_COLOURS[name], label=name, **style)
            if row == "latencies":
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter("{x:,g}")
                if column.limit_ms:
                    axis.axhline(column.limit_ms, color=_COLOURS["failed"], linestyle=":", label="limit")
            else:
                axis.set_ylim(bottom=0)
            if row == "instances":
                axis.yaxis.get_major_locator().set_params(integer=True)
            if axis.lines:
                axis.legend(loc="upper right", fontsize="small")
    _show_whole_decades(grid[list(rows).index("milliseconds")], columns)
    for axis, column in zip(grid[0], columns, strict=True):
        axis.set_title(column.title)
    for axis in grid[-1]:
        axis.set_xlabel("seconds")
    figure.savefig(path)
    return path


def _show_whole_decades(axes: Sequence[Any], columns: Sequence[Column]) -> None:
    """Let a logarithmic axis begin and end with powers of ten, so that its marks are few and plain."""
    values = [value for column in columns for line in column.latencies.values() for _, value in line]
    values += [column.limit_ms for column in columns if column.limit_ms]
    if values:
        bottom, top = math.floor(math.log10(max(min(values), 1))), math.ceil(math.log10(max([*values, 10])))
        axes[0].set_ylim(10**bottom, 10 ** max(top, bottom + 1))
