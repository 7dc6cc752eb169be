"""Requests that AWS refuses before it does anything, in the words that it was recorded with."""

import json
from typing import Any

import pytest
from ministack.services import stepfunctions

from cloud.core.protocol import ApiError
from cloud.stepfunctions import hooks, requests

ARN = "arn:aws:states:us-east-1:000000000000"
VALUE = "JSON String, Number, Array, Object or token 'null', 'true' or 'false'"


def refusal_of(check: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        check(request)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    "name",
    [
        *(f"a{letter}name" for letter in '<>{}[]?*"#%\\^|~`$&,;:/ \t\n'),
        *(f"a{letter}" for letter in "\0\x1f\x7f\x85\x9f\u2003\ufffe\uffff\U0010ffff"),
    ],
)
def test_a_name_with_a_letter_that_aws_excludes_is_refused(name: str) -> None:
    assert refusal_of(requests.check_name, name=name) == ("InvalidName", f"Invalid Name: '{name}'")


@pytest.mark.parametrize("name", ["a-name_123", "a.name.v2", "a" * 80, "é", "it's(1)+=@!", None])
def test_other_names_are_accepted(name: str | None) -> None:
    requests.check_name({"name": name})
    requests.check_name({})


def test_a_name_has_1_to_80_letters() -> None:
    problem = "1 validation error detected: Value '{}' at 'name' failed to satisfy constraint: Member must have length"
    long = "a" * 81
    found = refusal_of(requests.check_name, name=long)
    assert found == ("ValidationException", f"{problem.format(long)} less than or equal to 80")
    found = refusal_of(requests.check_name, name="")
    assert found == ("ValidationException", f"{problem.format('')} greater than or equal to 1")


def test_an_input_is_measured_in_bytes() -> None:
    requests.check_input({"input": json.dumps("a" * 262_142)})
    requests.check_input({"input": json.dumps("é" * 131_071, ensure_ascii=False)})
    problem = "1 validation error detected: Value at 'input' failed to satisfy constraint: Member must have length "
    for text in ("a" * 262_143, "é" * 131_072):
        found = refusal_of(requests.check_input, input=json.dumps(text, ensure_ascii=False))
        assert found == ("ValidationException", f"{problem}less than or equal to 262144")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Invalid execution input."),
        ("not some json", f"Unrecognized token 'not': was expecting ({VALUE})"),
        ("{'not': 'json'", "Unexpected character (''' (code 39)): was expecting double-quote to start field name"),
        ('{"a" 1}', "Unexpected character ('1' (code 49)): was expecting a colon to separate field name and value"),
        ("[,]", f"Unexpected character (',' (code 44)): expected a valid value ({VALUE})"),
    ],
)
def test_an_input_that_is_no_json_is_refused(text: str, problem: str) -> None:
    """The first three are recorded."""
    message = f"Invalid State Machine Execution Input: '{problem}'"
    assert refusal_of(requests.check_input, input=text) == ("InvalidExecutionInput", message)


@pytest.mark.parametrize("text", ["2", '"some text"', "null", "[]", '{"a": 1}'])
def test_an_input_may_be_any_json(text: str) -> None:
    requests.check_input({"input": text})


# --- StartExecution and CreateStateMachine --------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Have a standard and an express state machine; return the requests that reach MiniStack."""
    calls: list[Any] = []
    machines = {f"{ARN}:stateMachine:{name}": {"name": name, "type": name} for name in ("STANDARD", "EXPRESS")}
    executions: dict[str, Any] = {}

    def start(request: Any) -> Any:
        calls.append(request)
        machine = request["stateMachineArn"].rpartition(":")[2]
        arn = f"{ARN}:execution:{machine}:{request.get('name', len(calls))}"
        assert arn not in executions
        executions[arn] = {"status": "RUNNING", "input": request.get("input", "{}"), "startDate": f"day {len(calls)}"}
        return stepfunctions.json_response({"executionArn": arn, "startDate": f"day {len(calls)}"})

    monkeypatch.setattr(stepfunctions, "_state_machines", machines)
    monkeypatch.setattr(stepfunctions, "_executions", executions)
    monkeypatch.setattr(stepfunctions, "_resolve_state_machine_arn", lambda arn: arn if arn in machines else None)
    monkeypatch.setattr(hooks, "scope", lambda: ("us-east-1", "000000000000"))
    calls.append(hooks._started_once(start))
    return calls


def answers(calls: list[Any], machine: str, *parts: dict[str, str]) -> list[Any]:
    found = []
    for part in parts:
        status, _, body = calls[0]({"stateMachineArn": f"{ARN}:stateMachine:{machine}", **part})
        found.append((status, json.loads(body)))
    return found


def test_a_repeated_start_of_a_running_execution_has_the_first_answer(started: list[Any]) -> None:
    first, second, default, other = answers(
        started, "STANDARD", {"name": "n", "input": "{}"}, {"name": "n", "input": "{}"}, {"name": "n"}, {"name": "m"}
    )
    assert first == second == default == (200, {"executionArn": f"{ARN}:execution:STANDARD:n", "startDate": "day 2"})
    assert other[1]["executionArn"].endswith(":m")
    assert len(started) == 3


@pytest.mark.parametrize(("status", "text"), [("RUNNING", '{"a":1}'), ("SUCCEEDED", "{}"), ("ABORTED", "{}")])
def test_another_input_or_a_closed_execution_cannot_be_started_again(
    started: list[Any], status: str, text: str
) -> None:
    answers(started, "STANDARD", {"name": "n"})
    arn = f"{ARN}:execution:STANDARD:n"
    stepfunctions._executions[arn]["status"] = status
    [(code, body)] = answers(started, "STANDARD", {"name": "n", "input": text})
    assert (code, body["__type"], body["message"]) == (
        400,
        "ExecutionAlreadyExists",
        f"Execution Already Exists: '{arn}'",
    )
    assert len(started) == 2


def test_names_of_express_executions_may_repeat(started: list[Any]) -> None:
    assert [status for status, _ in answers(started, "EXPRESS", {"name": "n"}, {"name": "n"})] == [200, 200]
    assert len(started) == 3


def test_a_state_machine_that_exists_is_told_as_on_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "scope", lambda: ("us-east-1", "000000000000"))

    def create(_request: Any) -> Any:
        return stepfunctions.error_response_json("StateMachineAlreadyExists", "State machine n already exists", 400)

    status, _, body = hooks._one_of_a_name(create)({"name": "n"})
    message = f"State Machine Already Exists: '{ARN}:stateMachine:n'"
    assert (status, json.loads(body)["message"]) == (400, message)


def test_a_refused_request_reaches_nothing() -> None:
    checked = hooks._checked(lambda _: pytest.fail("it was answered"), requests.check_name)
    status, _, body = checked({"name": "a name"})
    assert (status, json.loads(body)["__type"]) == (400, "InvalidName")
