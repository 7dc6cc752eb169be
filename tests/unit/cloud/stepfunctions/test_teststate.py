"""TestState: answers as AWS recorded them, for states and inputs of our own."""

import json
from typing import Any

import pytest

from cloud.stepfunctions import teststate
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.teststate import TestStateRefusalError
from tests.unit.cloud.stepfunctions.recorder import Recorder, failing

INVOKE = {
    "QueryLanguage": "JSONata",
    "Type": "Task",
    "Resource": "arn:aws:states:::lambda:invoke",
    "Arguments": {"FunctionName": "foo", "Payload": "bar"},
    "End": True,
}
EACH = {"StartAt": "Each", "States": {"Each": {"Type": "Pass", "End": True}}}
MAP = {"QueryLanguage": "JSONata", "Type": "Map", "Items": "{% $states.input %}", "ItemProcessor": EACH, "End": True}
PARALLEL = {"QueryLanguage": "JSONata", "Type": "Parallel", "Branches": [EACH], "End": True}
PASS = {"QueryLanguage": "JSONata", "Type": "Pass", "End": True}
ERROR = {"errorOutput": {"error": "MockException", "cause": "why"}}


def ask(state: dict[str, Any], work: Any = None, **request: Any) -> dict[str, Any]:
    request = {"definition": json.dumps(state), **request}
    return teststate.test_state(request, Recorder(work), ("us-east-1", "000000000000"))


def refused(state: dict[str, Any], **request: Any) -> tuple[str, str]:
    with pytest.raises(TestStateRefusalError) as refusal:
        ask(state, **request)
    return refusal.value.code, str(refusal.value)


def test_a_mock_stands_for_the_service() -> None:
    answer = ask(INVOKE, mock={"result": '{"Payload": 1}'}, input='{"k": 1}', inspectionLevel="DEBUG")
    assert answer == {
        "status": "SUCCEEDED",
        "output": '{"Payload": 1}',
        "inspectionData": {
            "input": '{"k": 1}',
            "afterArguments": '{"FunctionName":"foo","Payload":"bar"}',
            "result": '{"Payload": 1}',
        },
    }


def test_without_a_mock_the_service_is_called() -> None:
    assert (
        ask({**INVOKE, "Output": "{% $states.result.Payload %}"}, lambda _: {"Payload": 2}, roleArn="r")["output"]
        == "2"
    )
    answer = ask(INVOKE, failing("E", "C"), roleArn="r")
    assert answer == {"status": "FAILED", "error": "E", "cause": "C"}


def test_a_caught_error_tells_the_catcher() -> None:
    catch = [{"ErrorEquals": ["Other"], "Next": "A"}, {"ErrorEquals": ["States.TaskFailed"], "Output": 5, "Next": "B"}]
    answer = ask({**INVOKE, "Catch": catch}, mock=ERROR, inspectionLevel="DEBUG")
    assert answer.pop("inspectionData")["errorDetails"] == {"catchIndex": 1}
    told = {"error": "MockException", "cause": "why"}
    assert answer == {"status": "CAUGHT_ERROR", "output": "5", "nextState": "B", **told}


@pytest.mark.parametrize(
    ("retries", "status", "details"),
    [
        (4, "RETRIABLE", {"retryIndex": 0, "retryBackoffIntervalSeconds": 16}),
        (5, "FAILED", {"retryIndex": 0}),
    ],
)
def test_a_retrier_counts(retries: int, status: str, details: dict[str, int]) -> None:
    retry = [{"ErrorEquals": ["MockException"], "IntervalSeconds": 1, "MaxAttempts": 5, "BackoffRate": 2.0}]
    configuration = {"retrierRetryCount": retries}
    answer = ask({**INVOKE, "Retry": retry}, mock=ERROR, stateConfiguration=configuration, inspectionLevel="DEBUG")
    assert (answer["status"], answer["inspectionData"]["errorDetails"]) == (status, details)


def test_a_failed_expression_does_not_name_the_state() -> None:
    answer = ask({**PASS, "Output": {"v": "{% $states.input.x %}"}})
    assert answer["error"] == "States.QueryEvaluationError"
    assert answer["cause"] == (
        "The JSONata expression '$states.input.x' specified for the field 'Output/v' returned nothing (undefined)."
    )


def test_one_state_of_a_machine_is_tested_with_variables() -> None:
    states = {"A": {"Type": "Pass", "Output": "{% $x + 1 %}", "Next": "B"}, "B": {"Type": "Succeed"}}
    machine = {"QueryLanguage": "JSONata", "StartAt": "A", "States": states}
    answer = ask(machine, stateName="A", variables='{"x": 1}', inspectionLevel="DEBUG")
    assert (answer["output"], answer["nextState"]) == ("2", "B")
    assert answer["inspectionData"]["variables"] == '{"x":1}'
    assert refused(machine, stateName="C")[0] == "ValidationException"


def test_the_context_is_the_callers_or_that_of_an_execution() -> None:
    context = json.loads(ask({**PASS, "Output": "{% $states.context %}"}, input="1")["output"])
    assert set(context["Execution"]) == {"Id", "Input", "Name", "RoleArn", "StartTime"}
    assert context["State"].keys() == {"Name", "EnteredTime", "RetryCount"}
    assert context["State"]["Name"] == "StateName"
    given = json.dumps({"Execution": {"Name": "mine"}})
    assert ask({**PASS, "Output": "{% $states.context %}"}, context=given)["output"] == '{"Execution":{"Name":"mine"}}'


@pytest.mark.parametrize(
    ("context", "problem"),
    [
        ({"Pokedex": 1}, "Field 'Pokedex' is not allowed"),
        ({"Execution": {"pokemon": 1}}, "Field 'pokemon' is not allowed"),
        ({"Execution": {"Id": 1}}, "Execution.Id must be a string"),
        ({"Map": {}}, "'Map' field is not supported when mocking a Context object"),
    ],
)
def test_a_wrong_context_is_refused(context: Any, problem: str) -> None:
    told = refused(INVOKE, context=json.dumps(context), mock=ERROR)
    assert told == ("ValidationException", f"Invalid Context object provided: {problem}")


@pytest.mark.parametrize(
    ("state", "request_", "told"),
    [
        (INVOKE, {"mock": {"result": "x"}}, "Mocked result must be valid JSON"),
        (
            INVOKE,
            {"mock": {"result": "{}", **ERROR}},
            "A test mock should have only one of the following fields: [result, errorOutput].",
        ),
        (
            INVOKE,
            {"mock": {"result": "{}"}, "revealSecrets": True},
            "TestState does not support RevealSecrets when a mock is specified.",
        ),
        (PASS, {"mock": {"result": "{}"}}, "State type 'Pass' is not supported when a mock is specified"),
        (MAP, {"mock": {"result": "{}"}}, "Mocked result must be an array."),
        (
            PARALLEL,
            {"mock": {"result": "[1, 2]"}},
            "Mocked result must contain the same number of items as number of Parallel branches.",
        ),
        (
            INVOKE,
            {"mock": {"result": '{"StatusCode": "x"}'}},
            "Mock result schema validation error: Field 'StatusCode' must be a number",
        ),
    ],
)
def test_wrong_mocks_are_refused(state: dict[str, Any], request_: dict[str, Any], told: str) -> None:
    assert refused(state, **request_) == ("ValidationException", told)


@pytest.mark.parametrize("state", [MAP, PARALLEL])
def test_what_has_states_inside_needs_a_mock(state: dict[str, Any]) -> None:
    code, message = refused(state)
    assert code == "InvalidDefinition"
    assert message.startswith("TestState API does not support Map or Parallel states.")


def test_a_job_needs_a_mock_and_the_fields_are_checked_in_any_case() -> None:
    job = {
        **INVOKE,
        "Resource": "arn:aws:states:::sagemaker:createProcessingJob.sync",
        "Arguments": "{% $states.input %}",
    }
    assert "createProcessingJob.sync" in refused(job, roleArn="r")[1]

    class Checking(Recorder):
        def check(self, *_: Any) -> None:
            raise StatesError("States.Runtime", "The field 'X' is not supported by Step Functions")

    request = {"definition": json.dumps(job), "input": '{"X": 1}', "mock": {"result": "{}"}}
    answer = teststate.test_state(request, Checking(), ("us-east-1", "0"))
    assert (answer["status"], answer["error"]) == ("FAILED", "States.Runtime")


def test_tolerated_failures_of_a_map_are_counted() -> None:
    state = {**MAP, "ToleratedFailureCount": 1}
    request: dict[str, Any] = {"input": "[1, 2, 3]", "mock": {"result": "[1, 1, 1]"}}
    assert ask(state, **request, stateConfiguration={"mapIterationFailureCount": 1})["output"] == "[1, 1, 1]"
    answer = ask(state, **request, stateConfiguration={"mapIterationFailureCount": 2})
    assert answer["error"] == "States.ExceedToleratedFailureThreshold"
