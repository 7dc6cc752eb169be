"""Executions without a cloud: the delays of retries, timestamps, and the sizes of variables."""

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import pytest

from cloud.stepfunctions import interpreter
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope, Task

BROKEN = {
    "Type": "Parallel",
    "Branches": [{"StartAt": "Break", "States": {"Break": {"Type": "Fail", "Error": "Broken"}}}],
}


class ContextOnly:
    """Services whose expressions are paths into the context object, and which have no tasks."""

    wait_scale = 1.0
    region = "us-east-1"

    def evaluate(self, expression: str, scope: Scope) -> Any:
        value: Any = scope.context
        for name in expression.split("."):
            value = value[name]
        return value

    def check(self, resource: str, arguments: Any) -> None:
        raise AssertionError(resource, arguments)

    def invoke(self, task: Task) -> Any:
        raise AssertionError(task)

    def record(self, _kind: str, _details: Mapping[str, Any] | None, previous: int) -> int:
        return previous + 1


def run(states: dict[str, Any]) -> Any:
    machine = {"StartAt": next(iter(states)), "States": states}
    return Interpreter(ContextOnly()).run(machine, {}, Scope({}, ChainMap()))


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(interpreter, "sleep", slept.append)
    return slept


def test_retries_back_off_up_to_the_longest_delay(delays: list[float]) -> None:
    retry = {"ErrorEquals": ["Broken"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxDelaySeconds": 10, "MaxAttempts": 4}
    with pytest.raises(StatesError, match="Broken"):
        run({"All": {**BROKEN, "Retry": [retry], "End": True}})
    assert delays == [2, 6, 10, 10]


def test_jitter_keeps_delays_below_the_backed_off_ones(delays: list[float]) -> None:
    retry = {"ErrorEquals": ["Broken"], "IntervalSeconds": 8, "MaxAttempts": 3, "JitterStrategy": "FULL"}
    with pytest.raises(StatesError):
        run({"All": {**BROKEN, "Retry": [retry], "End": True}})
    assert all(0 <= delay <= limit for delay, limit in zip(delays, [8, 16, 32], strict=True))
    assert delays != [8, 16, 32]


def test_each_retrier_counts_for_itself_and_all_count_for_the_context(delays: list[float]) -> None:
    states = {
        "All": {
            **BROKEN,
            "Retry": [{"ErrorEquals": ["Other"]}, {"ErrorEquals": ["Broken"], "MaxAttempts": 2}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% State.RetryCount %}", "Next": "Caught"}],
            "End": True,
        },
        "Caught": {"Type": "Succeed"},
    }
    assert run(states) == 2
    assert delays == [1, 2]


def test_a_catcher_sees_its_own_states_name_whatever_failed_inside() -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Assign": {"failedIn": "{% State.Name %}"}, "Next": "Caught"}]
    scope = Scope({}, ChainMap())
    states = {"All": {**BROKEN, "Catch": catch, "End": True}, "Caught": {"Type": "Succeed"}}
    output = Interpreter(ContextOnly()).run({"StartAt": "All", "States": states}, {}, scope)
    assert scope.variables == {"failedIn": "All"}
    assert output == {"Error": "Broken", "Cause": ""}


@pytest.mark.parametrize("text", ["2026-03-14T01:59:00", "2026-03-14", "soon"])
def test_a_timestamp_needs_a_zone(text: str) -> None:
    with pytest.raises(StatesError, match=f"ISO-8601 extended offset date-time format string: {text}") as failure:
        run({"Rest": {"Type": "Wait", "Timestamp": text, "End": True}})
    assert failure.value.error == "States.QueryEvaluationError"


def test_the_context_has_no_retry_count_where_nothing_is_retried() -> None:
    with pytest.raises(KeyError, match="RetryCount"):
        run({"Look": {"Type": "Pass", "Output": "{% State.RetryCount %}", "End": True}})


def test_all_variables_together_have_a_limit() -> None:
    names = [f"Step{number}" for number in range(43)]
    states = {
        name: {"Type": "Pass", "Assign": {name: "x" * 250_000}, **({"Next": after} if after else {"End": True})}
        for name, after in zip(names, [*names[1:], None], strict=True)
    }
    with pytest.raises(StatesError, match="all variables"):  # 43 times 250 kB is more than 10 MiB; 41 times is less.
        run(states)
    del states["Step41"], states["Step42"]
    assert run({**states, "Step40": {"Type": "Pass", "Assign": {"last": "x" * 250_000}, "End": True}}) == {}
