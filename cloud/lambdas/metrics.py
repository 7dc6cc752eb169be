"""The metrics of AWS/Lambda: what is counted, and under which dimensions.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html and
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-concurrency.html have the metrics. A request counts for its
function; if it names a version or an alias, for that ``Resource``, too; and by an alias also for the version that
answers (``ExecutedVersion``).
"""

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Dimensions = tuple[tuple[str, str], ...]
_LATEST = "$LATEST"


class Point(NamedTuple):
    """A value of a metric.

    Attributes:
        name: The metric's name.
        value: The value.
        unit: CloudWatch's unit.
    """

    name: str
    value: float
    unit: str = "Count"


Record = Callable[[Dimensions, Point], None]


def dimensions_of(name: str, qualifier: str, version: str) -> tuple[Dimensions, ...]:
    """Return the sets of dimensions under which a request counts.

    Args:
        name: The function's name.
        qualifier: The version or alias that the request names; empty for none.
        version: The version that answers; empty when it does not matter.
    """
    function = (("FunctionName", name),)
    if not qualifier:
        return (function,)
    resource = (*function, ("Resource", f"{name}:{qualifier}"))
    if qualifier == _LATEST or qualifier.isdecimal() or not version:
        return function, resource
    return function, resource, (*resource, ("ExecutedVersion", version))


def dimensions_in(config: Mapping[str, Any]) -> tuple[Dimensions, ...]:
    """Return the sets of dimensions of a request; ``FunctionArn`` is the ARN by which the function is invoked."""
    qualifier = ":".join(config["FunctionArn"].split(":")[7:])
    return dimensions_of(config["FunctionName"], qualifier, config.get("Version", _LATEST))


def of_invocation(milliseconds: float, has_failed: bool) -> list[Point]:
    """Return the points of a request that was not throttled."""
    return [
        Point("Invocations", 1),
        Point("Errors", int(has_failed)),
        Point("Throttles", 0),
        Point("Duration", milliseconds, "Milliseconds"),
    ]


def of_throttle() -> list[Point]:
    """Return the points of a request that was throttled; it is no invocation and no error."""
    return [Point("Throttles", 1)]


def of_provisioned(is_spillover: bool, in_use: int, allocated: int) -> list[Point]:
    """Return the points of a request to a version or an alias with provisioned concurrency.

    Args:
        is_spillover: Whether none of its environments was free.
        in_use: How many of them have a request.
        allocated: How many there are.
    """
    kind = "SpilloverInvocations" if is_spillover else "Invocations"
    return [Point(f"ProvisionedConcurrency{kind}", 1), *of_use(in_use, allocated)]


def of_use(in_use: int, allocated: int) -> list[Point]:
    """Return how much of provisioned concurrency is in use; nothing when there is none yet."""
    if not allocated:
        return []
    return [
        Point("ProvisionedConcurrentExecutions", in_use),
        Point("ProvisionedConcurrencyUtilization", in_use / allocated),
    ]


class Concurrency:
    """Counts requests in progress, and tells ``ConcurrentExecutions`` whenever one begins."""

    def __init__(self, scope: Callable[[], tuple[str, str]], record: Record) -> None:
        """Start with no request.

        Args:
            scope: Returns region and account of the current request.
            record: Called with each point.
        """
        self._scope, self._record = scope, record
        self._lock = threading.Lock()
        self._running: dict[tuple[tuple[str, str], Dimensions], tuple[int, contextvars.Context]] = {}

    @contextlib.contextmanager
    def counting(self, sets: tuple[Dimensions, ...]) -> Iterator[None]:
        """Count a request, under each set of dimensions, until the end of the context."""
        scope = self._scope()
        for dimensions in sets:
            self._record(dimensions, Point("ConcurrentExecutions", self._add((scope, dimensions), 1)))
        try:
            yield
        finally:
            for dimensions in sets:
                self._add((scope, dimensions), -1)

    def sample(self) -> None:
        """Tell the number of requests that go on, for periods in which none begins."""
        with self._lock:
            running = list(self._running.items())
        for (_, dimensions), (count, context) in running:
            context.run(self._record, dimensions, Point("ConcurrentExecutions", count))

    def _add(self, key: tuple[tuple[str, str], Dimensions], change: int) -> int:
        with self._lock:
            count = self._running.get(key, (0, None))[0] + change
            if count:
                self._running[key] = count, contextvars.copy_context()
            else:
                self._running.pop(key, None)
            return count
