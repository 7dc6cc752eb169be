"""Histories and causes as AWS recorded them. The ids and their chains are the recordings', the names are ours."""

import json
import threading
from typing import Any

import pytest

from cloud.stepfunctions.executions import ExecutionTimeoutError, StatesError
from tests.unit.cloud.stepfunctions.recorder import failing, run

INVOKE = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": {"FunctionName": "f"}, "End": True}
FUNCTION = {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": True}
FAIL = {"Type": "Fail", "Error": "E", "Cause": "C"}


def parallel(*states: dict[str, Any], **members: Any) -> dict[str, Any]:
    branches = [{"StartAt": f"B{index}", "States": {f"B{index}": state}} for index, state in enumerate(states)]
    return {"Type": "Parallel", "Branches": branches, "End": True, **members}


def mapped(state: dict[str, Any], **members: Any) -> dict[str, Any]:
    processor = {"StartAt": "Each", "States": {"Each": state}}
    return {"Type": "Map", "ItemProcessor": processor, "MaxConcurrency": 1, "End": True, **members}


# --- chains ---------------------------------------------------------------------------------------


def test_a_map_goes_on_behind_its_last_iteration_and_iterations_follow_each_other() -> None:
    output, cloud = run({"M": mapped({"Type": "Pass", "End": True}, Items=[1, 2])})
    assert output == "[1,2]"
    assert cloud.chain == [
        "2<0 MapStateEntered",
        "3<2 MapStateStarted",
        "4<3 MapIterationStarted",
        "5<4 PassStateEntered",
        "6<5 PassStateExited",
        "7<6 MapIterationSucceeded",
        "8<6 MapIterationStarted",
        "9<8 PassStateEntered",
        "10<9 PassStateExited",
        "11<10 MapIterationSucceeded",
        "12<11 MapStateSucceeded",
        "13<11 MapStateExited",
    ]
    assert cloud.details("MapStateStarted") == [{"length": 2}]
    assert cloud.details("MapIterationStarted") == [{"name": "M", "index": 0}, {"name": "M", "index": 1}]


def test_a_map_without_items_goes_on_behind_its_start() -> None:
    _, cloud = run({"M": mapped({"Type": "Pass", "End": True}, Items=[])})
    assert cloud.chain[1:] == ["3<2 MapStateStarted", "4<3 MapStateSucceeded", "5<3 MapStateExited"]


def test_a_failed_iteration_is_passed_by() -> None:
    error, cloud = run({"M": mapped(FAIL, Items=[1])})
    assert (error.error, error.cause) == ("E", "C")
    assert cloud.chain[2:] == [
        "4<3 MapIterationStarted",
        "5<4 FailStateEntered",
        "6<5 MapIterationFailed",
        "7<5 MapStateFailed",
    ]


def test_a_retried_map_starts_again_behind_what_failed() -> None:
    retry = [{"ErrorEquals": ["E"], "MaxAttempts": 1}]
    _, cloud = run({"M": mapped(FAIL, Items=[1], Retry=retry)})
    assert cloud.chain[4:] == [
        "6<5 MapIterationFailed",
        "7<5 MapStateStarted",
        "8<7 MapIterationStarted",
        "9<8 FailStateEntered",
        "10<9 MapIterationFailed",
        "11<9 MapStateFailed",
    ]


def test_a_caught_map_exits_behind_its_failure() -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    output, cloud = run({"M": mapped(FAIL, Items=[1], Catch=catch), "Caught": {"Type": "Succeed"}})
    assert output == '{"Error":"E","Cause":"C"}'
    assert cloud.chain[5:8] == ["7<5 MapStateFailed", "8<7 MapStateExited", "9<8 SucceedStateEntered"]


def test_a_failed_parallel_state() -> None:
    _, cloud = run({"P": parallel(FAIL)})
    assert cloud.chain == [
        "2<0 ParallelStateEntered",
        "3<2 ParallelStateStarted",
        "4<3 FailStateEntered",
        "5<4 ParallelStateFailed",
    ]


def test_a_parallel_state_goes_on_behind_its_last_branch() -> None:
    _, cloud = run({"P": parallel({"Type": "Pass", "End": True})})
    assert cloud.chain[2:] == [
        "4<3 PassStateEntered",
        "5<4 PassStateExited",
        "6<5 ParallelStateSucceeded",
        "7<5 ParallelStateExited",
    ]


def test_a_task_that_fails_its_branch_is_aborted_too() -> None:
    _, cloud = run({"P": parallel(INVOKE)}, work=failing("E", "C"))
    assert cloud.chain[2:] == [
        "4<3 TaskStateEntered",
        "5<4 TaskScheduled",
        "6<5 TaskStarted",
        "7<6 TaskFailed",
        "8<7 TaskStateAborted",
        "9<7 ParallelStateFailed",
    ]


def test_an_error_that_nothing_catches_leaves_no_events_of_the_states_around() -> None:
    choice = {"Type": "Choice", "Choices": [{"Condition": False, "Next": "B0"}]}
    error, cloud = run({"P": parallel(choice)})
    assert error.error == "States.Runtime"
    assert error.cause == (
        "An error occurred while executing the state 'B0' (entered at the event id #4). "
        "Failed to transition out of the state. The state does not point to a next state."
    )
    assert cloud.chain[-1] == "4<3 ChoiceStateEntered"


# --- evaluations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "location", "expression"),
    [
        ({"Type": "Pass", "Output": {"a": ["{% $nope %}"]}}, "Output/a[0]", "$nope"),
        ({"Type": "Pass", "Assign": {"x": "{% $nope %}"}}, "Assign/x", "$nope"),
        ({**INVOKE, "Arguments": {"FunctionName": "{% $nope %}"}}, "Arguments/FunctionName", "$nope"),
        ({"Type": "Choice", "Choices": [{"Condition": "{% $nope %}", "Next": "S"}]}, "Choices[0]/Condition", "$nope"),
        (
            {"Type": "Choice", "Choices": [{"Condition": True, "Output": {"v": "{% $nope %}"}, "Next": "S"}]},
            "Choices[0]/Output/v",
            "$nope",
        ),
        ({"Type": "Wait", "Seconds": "{% $nope %}"}, "Seconds", "$nope"),
        ({"Type": "Fail", "Error": "{% $nope %}"}, "Error", "$nope"),
    ],
)
def test_a_failed_evaluation_names_state_event_and_field(state: Any, location: str, expression: str) -> None:
    error, cloud = run({"S": {"End": True, **state}})
    cause = (
        f"An error occurred while executing the state 'S' (entered at the event id #2). The JSONata expression "
        f"'{expression}' specified for the field '{location}' returned nothing (undefined)."
    )
    assert (error.error, error.cause) == ("States.QueryEvaluationError", cause)
    assert cloud.chain[1:] == ["3<0 EvaluationFailed"]
    details = {"error": "States.QueryEvaluationError", "cause": cause, "location": location, "state": "S"}
    assert cloud.details("EvaluationFailed") == [details]


def test_a_failed_evaluation_can_be_caught_and_a_catcher_can_fail() -> None:
    state = {**INVOKE, "Arguments": "{% $nope %}", "Catch": [{"ErrorEquals": ["Other"], "Next": "Done"}]}
    state["Catch"].append(
        {"ErrorEquals": ["States.QueryEvaluationError"], "Output": {"v": "{% $nope %}"}, "Next": "Done"}
    )
    error, _ = run({"S": state, "Done": {"Type": "Succeed"}})
    assert "specified for the field 'Catch[1]/Output/v' returned nothing" in error.cause
    state["Catch"][1]["Output"] = "{% $states.errorOutput.Error %}"
    assert run({"S": state, "Done": {"Type": "Succeed"}})[0] == '"States.QueryEvaluationError"'


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ({"Items": "{% {'foo': 'bar'} %}"}, """Expected 'array', but was 'object' for value: {"foo":"bar"}"""),
        ({"Items": "{% 'x' %}"}, """Expected 'array', but was 'string' for value: "x\""""),
        ({"Items": "{% null %}"}, "Expected 'array', but was 'null' for value: null"),
        ({}, "Map state input must be an array but was: {}"),
    ],
)
def test_a_map_takes_only_arrays(items: Any, problem: str) -> None:
    error, cloud = run({"M": mapped({"Type": "Pass", "End": True}, **items)})
    assert error.cause.endswith(problem)
    assert cloud.chain[1:] == ["3<0 EvaluationFailed", "4<3 MapStateFailed"]
    assert ("location" in cloud.details("EvaluationFailed")[0]) == bool(items)


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ({"ToleratedFailurePercentage": "{% 101 %}"}, "ToleratedFailurePercentage must be between 0 and 100."),
        ({"ToleratedFailureCount": "{% -1 %}"}, "ToleratedFailureCount cannot be negative."),
    ],
)
def test_tolerances_are_evaluated_after_the_start(member: Any, problem: str) -> None:
    error, cloud = run({"M": mapped({"Type": "Pass", "End": True}, Items=[1], **member)})
    assert error.cause.endswith(problem)
    assert cloud.chain[1:3] == ["3<2 MapStateStarted", "4<0 EvaluationFailed"]


@pytest.mark.parametrize("text", ["2016-12-05 21:29:29Z", "2016-12-05T21:29:29", "2016-13-05T21:29:29Z"])
def test_a_timestamp_that_is_none_is_found_after_the_evaluation(text: str) -> None:
    error, cloud = run(
        {"W": {"Type": "Wait", "Timestamp": "{% $states.input.t %}", "End": True}}, json.dumps({"t": text})
    )
    assert error.cause == (
        "An error occurred while executing the state 'W' (entered at the event id #2). The Timestamp field cannot be "
        f"parsed as an ISO-8601 extended offset date-time format string: {text}"
    )
    assert cloud.chain[1:] == ["3<2 EvaluationFailed"]


def test_a_wait_has_a_longest_time() -> None:
    error, cloud = run({"W": {"Type": "Wait", "Timestamp": "2199-01-01T00:00:00Z", "End": True}})
    assert error.error == "States.Runtime"
    assert error.cause.endswith("(entered at the event id #2). Wait state delay is too long.")
    assert cloud.chain == ["2<0 WaitStateEntered"]


# --- tasks ----------------------------------------------------------------------------------------


def test_a_task_tells_its_region_and_its_limits() -> None:
    state = {**INVOKE, "TimeoutSeconds": 5, "HeartbeatSeconds": "{% 2 %}"}
    _, cloud = run({"T": state}, work=lambda _: {"Payload": 1})
    assert cloud.chain == [
        "2<0 TaskStateEntered",
        "3<2 TaskScheduled",
        "4<3 TaskStarted",
        "5<4 TaskSucceeded",
        "6<5 TaskStateExited",
    ]
    task = {"resourceType": "lambda", "resource": "invoke"}
    assert cloud.details("TaskScheduled") == [
        {
            **task,
            "parameters": '{"FunctionName":"f"}',
            "region": "us-east-1",
            "timeoutInSeconds": 5,
            "heartbeatInSeconds": 2,
        }
    ]
    assert cloud.details("TaskStarted") == [task]
    assert cloud.details("TaskSucceeded") == [
        {**task, "output": '{"Payload":1}', "outputDetails": {"truncated": False}}
    ]


def test_a_task_that_waits_for_its_end_is_submitted() -> None:
    def work(task: Any) -> Any:
        task.submitted({"TrainingJobArn": "a"})
        return {"TrainingJobName": "n"}

    resource = "arn:aws:states:::sagemaker:createTrainingJob.sync"
    _, cloud = run({"T": {**INVOKE, "Resource": resource}}, work=work)
    assert cloud.chain[2:5] == ["4<3 TaskStarted", "5<4 TaskSubmitted", "6<5 TaskSucceeded"]
    submitted = cloud.details("TaskSubmitted")[0]
    assert (submitted["resource"], submitted["output"]) == ("createTrainingJob.sync", '{"TrainingJobArn":"a"}')


def test_a_function_as_resource_has_its_own_events() -> None:
    _, cloud = run({"T": FUNCTION}, '{"a": 1}', work=lambda _: 5)
    assert [event.split()[1] for event in cloud.chain[1:4]] == [
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
    ]
    scheduled = {"input": '{"a":1}', "inputDetails": {"truncated": False}, "resource": FUNCTION["Resource"]}
    assert cloud.details("LambdaFunctionScheduled") == [scheduled]
    _, cloud = run({"T": FUNCTION}, work=failing("E", "C"))
    assert cloud.details("LambdaFunctionFailed") == [{"error": "E", "cause": "C"}]


def test_a_timeout_has_no_cause_and_its_catcher_an_empty_one() -> None:
    state = {**INVOKE, "TimeoutSeconds": 1, "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Done"}]}
    output, cloud = run({"T": state, "Done": {"Type": "Succeed"}}, work=lambda _: threading.Event().wait(5))
    assert output == '{"Error":"States.Timeout","Cause":""}'
    assert cloud.details("TaskTimedOut") == [
        {"resource": "invoke", "resourceType": "lambda", "error": "States.Timeout"}
    ]


def test_a_fail_state_without_words_has_none() -> None:
    error, _ = run({"F": {"Type": "Fail"}})
    assert isinstance(error, StatesError)
    assert (error.error, error.cause, error.output) == (None, None, {"Error": "", "Cause": ""})


# --- what is shown --------------------------------------------------------------------------------


def test_what_no_expression_changes_keeps_its_spaces() -> None:
    text = '[[1, 2],  {"a": "\\u00e9"}]'
    output, cloud = run({"P": parallel({"Type": "Pass", "End": True})}, text)
    assert output == f"[{text}]"
    assert cloud.details("ParallelStateEntered")[0]["input"] == text


def test_what_an_expression_makes_is_written_without_spaces() -> None:
    output, _ = run({"P": {"Type": "Pass", "Output": {"a": "{% $states.input %}", "b": [1, 2]}, "End": True}}, '"é"')
    assert output == '{"a":"é","b":[1,2]}'


def test_assigned_variables_are_shown_in_json() -> None:
    _, cloud = run({"P": {"Type": "Pass", "Assign": {"a": "text", "b": {"c": [1]}}, "End": True}})
    shown = cloud.details("PassStateExited")[0]
    assert shown["assignedVariables"] == {"a": '"text"', "b": '{"c":[1]}'}
    assert shown["assignedVariablesDetails"] == {"truncated": False}


def test_the_whole_of_states_can_be_taken() -> None:
    output, _ = run({"P": {"Type": "Pass", "Output": "{% $states %}", "End": True}}, '{"k": 1}')
    states = json.loads(output)
    assert set(states) == {"input", "context"}
    assert set(states["context"]) == {"Execution", "StateMachine", "State"}
    assert set(states["context"]["State"]) == {"Name", "EnteredTime"}
    output, _ = run({"T": {**INVOKE, "Output": "{% $states %}"}}, work=lambda _: 5)
    states = json.loads(output)
    assert states["result"] == 5
    assert states["context"]["State"]["RetryCount"] == 0


def test_items_are_in_the_context() -> None:
    state = {"Type": "Pass", "Output": "{% $states.context.Map.Item %}", "End": True}
    assert run({"M": mapped(state, Items=["a"])})[0] == '[{"Index":0,"Value":"a"}]'


# --- time -----------------------------------------------------------------------------------------


def test_a_shortened_wait_counts_in_full() -> None:
    wait = {"Type": "Wait", "Seconds": 10, "End": True}
    assert isinstance(run({"W": wait}, seconds=9)[0], ExecutionTimeoutError)
    assert run({"W": wait}, seconds=11)[0] == "{}"
    states = {"W": {**wait, "Next": "V"}, "V": wait}
    del states["W"]["End"]
    assert isinstance(run(states, seconds=15)[0], ExecutionTimeoutError)


def test_branches_wait_at_the_same_time() -> None:
    wait = {"Type": "Wait", "Seconds": 10, "End": True}
    assert run({"P": parallel(wait, wait)}, seconds=15)[0] == "[{},{}]"
    slow = {**parallel(wait), "Next": "W"}
    del slow["End"]
    assert isinstance(run({"P": slow, "W": wait}, seconds=15)[0], ExecutionTimeoutError)


def test_a_wait_that_polls_counts_as_long_as_it_takes() -> None:
    polls = iter(range(100))
    states = {
        "Ask": {**INVOKE, "Assign": {"n": "{% $states.result %}"}, "Next": "Enough"},
        "Enough": {"Type": "Choice", "Choices": [{"Condition": "{% $n > 50 %}", "Next": "Done"}], "Default": "W"},
        "W": {"Type": "Wait", "Seconds": 10, "Next": "Ask"},
        "Done": {"Type": "Succeed"},
    }
    del states["Ask"]["End"]
    assert run(states, work=lambda _: next(polls), seconds=60)[0] == "51"


def test_a_task_ends_with_its_execution() -> None:
    state = {**INVOKE, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Done"}]}
    error, _ = run({"T": state, "Done": {"Type": "Succeed"}}, work=lambda _: threading.Event().wait(5), seconds=0.2)
    assert isinstance(error, ExecutionTimeoutError)


# --- sizes ----------------------------------------------------------------------------------------

LARGE = "x" * 262_143  # With its quotes, it is one byte larger than allowed.


@pytest.mark.parametrize(
    ("states", "name"),
    [
        ({"S": {"Type": "Pass", "Output": LARGE, "End": True}}, "S"),
        ({"S": {"Type": "Succeed", "Output": LARGE}}, "S"),
        ({"S": {"Type": "Wait", "Seconds": 0, "Output": LARGE, "End": True}}, "S"),
        ({"S": {**INVOKE, "Arguments": LARGE}}, "S"),
        ({"S": {**INVOKE, "Output": LARGE}}, "S"),
        ({"S": INVOKE}, "lambda"),
        ({"S": FUNCTION}, FUNCTION["Resource"]),
        ({"S": parallel({"Type": "Pass", "Output": LARGE, "End": True})}, "B0"),
        ({"S": parallel({"Type": "Pass", "End": True}, Arguments=LARGE)}, "S"),
        ({"S": parallel(*[{"Type": "Pass", "Output": LARGE[1:200_000], "End": True}] * 2)}, "S"),
        ({"S": mapped({"Type": "Pass", "Output": LARGE[1:200_000], "End": True}, Items=[1, 2])}, "S"),
        ({"S": mapped({"Type": "Pass", "End": True}, Items=[1], ItemSelector=LARGE)}, "Each"),
        (
            {
                "S": {"Type": "Choice", "Choices": [{"Condition": True, "Output": LARGE, "Next": "T"}]},
                "T": {"Type": "Succeed"},
            },
            "S",
        ),
    ],
)
def test_what_is_too_large_fails_every_kind_of_state(states: Any, name: str) -> None:
    """The words for a Pass, for an integration and for a function are recorded."""
    is_answer = name not in states and "Resource" in states["S"]
    error, _ = run(states, work=lambda _: LARGE if is_answer else 1)
    assert (error.error, error.cause) == (
        "States.DataLimitExceeded",
        f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes service limit.",
    )


@pytest.mark.parametrize("names", [["States.ALL"], ["States.DataLimitExceeded"]])
@pytest.mark.parametrize("task", [FUNCTION, INVOKE], ids=["function", "integration"])
def test_a_catcher_of_everything_selects_a_task_s_oversized_result(task: dict[str, Any], names: list[str]) -> None:
    caught = {**task, "Catch": [{"ErrorEquals": names, "Next": "T"}]}
    output, _ = run({"S": caught, "T": {"Type": "Succeed"}}, work=lambda _: LARGE)
    assert json.loads(output)["Error"] == "States.DataLimitExceeded"
