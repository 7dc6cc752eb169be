"""What the log says of a request's trace and steps. An instance of the function answers one request at a time."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from classify.trace_context import TraceContext, trace_of, xray_root

SLOW_MS = 1000.0  # An answer that took so long has its steps in the log, as one that is no prediction has.


class Steps:
    """The steps of the request that is being answered.

    Attributes:
        trace: the trace that it belongs to; None before the first request.
        attempt: the last attempt to ask the model: its number, its milliseconds, and its id in the trace; empty if
            there was none.
    """

    def __init__(self) -> None:
        self.trace: TraceContext | None = None
        self.attempt: dict[str, Any] = {}
        self._times: dict[str, float] = {}

    def begin(self, event: Mapping[str, Any], invocation_id: str) -> None:
        """Forget the last request.

        Args:
            event: a proxy event of API Gateway (payload 1.0) or of a function URL (payload 2.0).
            invocation_id: Lambda's.
        """
        self.trace, self.attempt, self._times = trace_of(event, invocation_id), {}, {}
        context = event["requestContext"]
        if isinstance(arrived := context.get("requestTimeEpoch") or context.get("timeEpoch"), int):
            self._times["door_ms"] = max(0.0, time.time() * 1e3 - arrived)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time that the body takes to a step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._times[name] = self._times.get(name, 0.0) + (time.perf_counter() - began) * 1e3

    @contextmanager
    def attempting(self, span_id: str) -> Iterator[None]:
        """Take the time of an attempt to ask the model.

        Args:
            span_id: its id in the trace; empty without one.
        """
        began, number = time.perf_counter(), self.attempt.get("attempt", 0) + 1
        try:
            yield
        finally:
            took = round((time.perf_counter() - began) * 1e3, 1)
            self.attempt = {"attempt": number, "attempt_ms": took, "span_id": span_id}

    def facts(self, status: int, milliseconds: float) -> dict[str, Any]:
        """Return what the log's line says.

        AWS charges for each byte. So a trace is named where a caller sent one, and the steps' times where the caller
        records the trace, the model was asked again, or the answer came late or is an error.

        Args:
            status: of the answer.
            milliseconds: that the request took.
        """
        trace, facts = self.trace, dict[str, Any]()
        if trace and trace.parent_id:
            facts |= {"trace_id": trace.trace_id, "parent_id": trace.parent_id}
        if root := xray_root(os.environ.get("_X_AMZN_TRACE_ID", "")):
            facts["xray_root"] = root
        is_told = status != 200 or milliseconds >= SLOW_MS or self.attempt.get("attempt", 0) > 1
        if is_told or (trace and trace.is_sampled):
            facts |= {name: round(value, 1) for name, value in self._times.items()} | self.attempt
        return facts


steps = Steps()
