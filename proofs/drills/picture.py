"""The spike as a picture: load, instances and p99 of each kind of policy side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proofs.drills.spike import Played


def draw(
    path: Path, played: Sequence["Played"], rate: float, times: int, spike: tuple[float, float], limit_ms: float
) -> Path:
    """Draw an SVG.

    Args:
        played: one column each.
        rate: requests/s before and after the spike, which has ``times`` as many.
        spike: when it begins and how long it lasts, seconds.
        limit_ms: of the p99.
    """
    from matplotlib.figure import Figure  # half a second, which only this needs

    from proofs.drills.spike import windows

    begin, lasts = spike
    figure = Figure(figsize=(4.5 * len(played), 6), layout="constrained")
    axes = figure.subplots(3, len(played), sharex=True, sharey="row", squeeze=False)
    for column, each in zip(axes.T, played, strict=True):
        load, instances, p99 = column
        end = each.instances[-1][0]
        load.step([0, begin, begin + lasts, end], [rate, times * rate, rate, rate], where="post", color="#555")
        load.set_title(each.name)
        instances.step(*zip(*each.desired, strict=True), where="post", color="#bbb", label="ordered")
        instances.step(*zip(*each.instances, strict=True), where="post", color="#1d4ed8", label="in service")
        ends, values = zip(*windows(each.samples), strict=True)
        p99.plot(ends, [min(value, 60_000) for value in values], color="#b45309")
        p99.axhline(limit_ms, color="#b42318", linestyle=":", label="limit")
        p99.set_yscale("log")
        p99.set_xlabel("seconds")
        instances.yaxis.get_major_locator().set_params(integer=True)
        instances.legend(loc="upper right")
        p99.legend(loc="upper right")
    for row, label in zip(axes, ("requests/s", "instances", "p99, ms"), strict=True):
        row[0].set_ylabel(label)
    figure.savefig(path)
    return path
