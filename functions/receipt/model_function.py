"""Meter the model's function: the requests that a run sent to it, and the environments that the run had kept ready."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from prices import billed
from prices.billed import duration
from receipt.history import History, Task
from receipt.meter import Metered, is_through_api, sent

_PUBLISH = "aws-sdk:lambda:publishVersion"
_KEEP_READY = "aws-sdk:lambda:putProvisionedConcurrencyConfig"
_ENDS = ("aws-sdk:lambda:deleteProvisionedConcurrencyConfig", "aws-sdk:lambda:deleteFunction")


def has_deployed(history: History) -> bool:
    """Whether the run has published a version of the function, so that requests through the API reach it."""
    return any(task.succeeded for task in history.of(_PUBLISH))


def is_asked(history: History, task: Task, answer: Mapping[str, Any]) -> bool:
    """Whether the photos of a task went to the function, and not to an endpoint."""
    return bool(answer.get("gb_seconds")) or (is_through_api(task) and has_deployed(history))


def requests(history: History, run: Mapping[str, Any]) -> Iterator[Metered]:
    """Meter the requests of Smoke and Measure: what Lambda has told of each, cold starts included.

    Of those through the API nobody has told; they wait for the function as long as the API's own function does.
    """
    function = run.get("function") or {}
    item = billed.function_item(function.get("architecture", ""))
    for task, answer in sent(history):
        if not is_asked(history, task, answer):
            continue
        count = answer["num_requests"]
        yield Metered(task.state, "requests of the model's function", "lambda/request", count, "request")
        if told := answer.get("gb_seconds"):
            yield Metered(task.state, "the model's function", item, told, "GB-second")
        elif (latency_ms := answer.get("latency_ms")) is not None:
            spent = count * latency_ms / 1000 * _megabytes(history, function) / 1024
            what = f"the model's function, {latency_ms:.0f} ms a request"
            yield Metered(task.state, what, item, spent, "GB-second", how="estimated")


def kept_ready(history: History, run: Mapping[str, Any], now: datetime, gone: datetime | None) -> Iterator[Metered]:
    """Meter the environments that are kept ready, from the request for them to the end of the run.

    Args:
        history: the execution.
        run: the ``Run`` document.
        now: the time.
        gone: when a run that has ended early was taken back; None if not.
    """
    function = run.get("function") or {}
    for task in history.of(_KEEP_READY):
        if not task.succeeded:
            continue
        later = [each for each in history.of(*_ENDS) if each.succeeded and each.begun > task.begun]
        end = later[0].ended if later else None
        seconds = duration(task.ended or task.begun, end or gone or history.over or now)
        count, megabytes = task.parameters["ProvisionedConcurrentExecutions"], _megabytes(history, function)
        what = f"{count} environments of the model's function kept ready, {seconds:,.0f} s with {megabytes} MB"
        item = billed.warm_function_item(function.get("architecture", ""))
        yield Metered(task.state, what, item, count * megabytes / 1024 * seconds, "GB-second", how="derived")


def _megabytes(history: History, function: Mapping[str, Any]) -> int:
    """Return the function's memory as the run has measured it; what it began with if it has not."""
    measured = [answer["memory_mb"] for _, answer in sent(history) if answer.get("memory_mb")]
    return int(measured[-1] if measured else function.get("memory_mb", 0))
