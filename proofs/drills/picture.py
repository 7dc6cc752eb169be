"""Draws the results of the spike drill: load, instances and p99, with one column for each kind of policy."""

from collections.abc import Sequence
from pathlib import Path

from proofs.drills.spike_trace import BEFORE, LIMIT_MS, SPIKE, TIMES, SpikeResult, windows


def draw(path: Path, results: Sequence[SpikeResult], rate: float) -> Path:
    """Draw an SVG and return its path.

    Args:
        path: of the SVG.
        results: each gets a column.
        rate: requests/s before and after the spike.
    """
    from matplotlib.figure import Figure  # The import takes half a second, and only this function needs it.

    figure = Figure(figsize=(4.5 * len(results), 6), layout="constrained")
    axes = figure.subplots(3, len(results), sharex=True, sharey="row", squeeze=False)
    for column, result in zip(axes.T, results, strict=True):
        load, instances, p99 = column
        end = result.instances[-1][0]
        load.step([0, BEFORE, BEFORE + SPIKE, end], [rate, TIMES * rate, rate, rate], where="post", color="#555")
        load.set_title(result.name)
        instances.step(*zip(*result.desired, strict=True), where="post", color="#bbb", label="ordered")
        instances.step(*zip(*result.instances, strict=True), where="post", color="#1d4ed8", label="in service")
        ends, values = zip(*windows(result.samples), strict=True)
        p99.plot(ends, [min(value, 60_000) for value in values], color="#b45309")
        p99.axhline(LIMIT_MS, color="#b42318", linestyle=":", label="limit")
        p99.set_yscale("log")
        p99.set_xlabel("seconds")
        instances.yaxis.get_major_locator().set_params(integer=True)
        instances.legend(loc="upper right")
        p99.legend(loc="upper right")
    for row, label in zip(axes, ("requests/s", "instances", "p99, ms"), strict=True):
        row[0].set_ylabel(label)
    figure.savefig(path)
    return path
