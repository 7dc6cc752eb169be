"""The trace of the spike drill, and what was measured while it was played under one kind of scaling policy."""

from dataclasses import dataclass, field
from typing import Any

from traffic.open_loop import Sample, quantile, windows
from traffic.picture import Column

# The parts of the trace, in seconds of the laptop cloud's clock; periods and cool-downs run by the same clock.
BEFORE, SPIKE, AFTER = 120.0, 400.0, 1500.0
TIMES = 10  # the request rate during the spike, as a multiple of the rate before it
_WIDTH = 20.0  # of the windows in which the p99 is taken
_SHOWN_MS = 60_000.0  # in the picture, for a p99 that is longer or infinite
LIMIT_MS = 500.0  # the limit of the p99: the time of a few requests on a throttled instance


@dataclass
class SpikeResult:
    """The number of instances over time, and every request. Times are in seconds of the laptop cloud's clock.

    Attributes:
        name: of the kind of policy.
        instances: moments with the number of instances in service.
        desired: moments with the number of instances that scaling ordered.
        samples: all requests in the order of their due times.
        scaled_out_after: from the start of the spike until more instances were ordered; infinite if none were.
        recovered_after: from the start of the spike until the p99 stayed within its limit; infinite if it did not.
        scaled_in_after: from the end of the spike until fewer instances were ordered; infinite if that did not happen.
        times: the request rate during the spike, as a multiple of the rate before it.
    """

    name: str
    instances: list[tuple[float, int]] = field(default_factory=list)
    desired: list[tuple[float, int]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    scaled_out_after: float = float("inf")
    recovered_after: float = float("inf")
    scaled_in_after: float = float("inf")
    times: float = TIMES

    def figures(self) -> dict[str, Any]:
        """Return the figures of the report, in seconds and instances."""
        during = [each for each in self.samples if BEFORE <= each.due < BEFORE + SPIKE]
        return {
            "scaled_out_after": _finite(self.scaled_out_after),
            "p99_within_limit_after": _finite(self.recovered_after),
            "scaled_in_after": _finite(self.scaled_in_after),
            "most_instances": max(count for _, count in self.instances),
            "requests": len(self.samples),
            "failed_requests": sum(each.status != 200 for each in self.samples),
            "p99_ms_during_spike": _finite(quantile(during, 0.99)),
        }

    def column(self, rate: float) -> Column:
        """Return what is drawn.

        Args:
            rate: requests/s before and after the spike.
        """
        steps = ((0.0, rate), (BEFORE, self.times * rate), (BEFORE + SPIKE, rate), (self.instances[-1][0], rate))
        return Column(
            self.name,
            rates={"offered": steps},
            latencies={"p99": [(end, min(p99, _SHOWN_MS)) for end, p99 in p99_by_window(self.samples)]},
            instances={"ordered": self.desired, "in service": self.instances},
            limit_ms=LIMIT_MS,
        )


def p99_by_window(samples: list[Sample]) -> list[tuple[float, float]]:
    """Return for each window its end and the p99 of the requests that were due in it."""
    return [(end, quantile(due, 0.99)) for end, due in windows(samples, _WIDTH)]


def recovered_after(samples: list[Sample]) -> float:
    """Return the seconds from the start of the spike until the p99 stayed within its limit to the spike's end."""
    during = [(end, p99) for end, p99 in p99_by_window(samples) if BEFORE < end <= BEFORE + SPIKE]
    over_limit = [end for end, p99 in during if p99 > LIMIT_MS]
    if not over_limit:
        return 0.0
    return over_limit[-1] - BEFORE if over_limit[-1] < during[-1][0] else float("inf")


def _finite(value: float) -> float | None:
    """Return the rounded value, or None for infinity, which JSON does not have."""
    return None if value == float("inf") else round(value, 1)
