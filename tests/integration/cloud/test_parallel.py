"""Parallel and Map states: scopes of variables, failures that stop the other branches, timeouts, stopped executions."""

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import Cloud, eventually
from tests.integration.machines import PASS, branch, definition, ended, entered, failure, output, run, start, task
from tests.integration.training_jobs import training

# A Wait of 20 s takes 1 s on the laptop cloud.


@pytest.fixture(scope="module")
def states(cloud: Cloud) -> Any:
    return cloud.client("stepfunctions")


def parallel(*branches: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"Type": "Parallel", "Branches": list(branches), **({} if "Next" in members else {"End": True}), **members}


def map_over(items: Any, processor: dict[str, Any], **members: Any) -> dict[str, Any]:
    end = {} if "Next" in members else {"End": True}
    return {"Type": "Map", "Items": items, "ItemProcessor": processor, **end, **members}


def job_status(sagemaker: Any, name: str) -> str:
    jobs = sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    return str(jobs[0]["TrainingJobStatus"]) if jobs else "none"


def test_a_branch_reads_outer_variables_and_keeps_its_own(states: Any) -> None:
    early = branch(
        A1={"Type": "Pass", "Assign": {"seen": "{% $outer + 1 %}"}, "Next": "A2"},
        A2={"Type": "Wait", "Seconds": 20, "Next": "A3"},
        A3={"Type": "Pass", "Output": "{% $seen %}", "End": True},
    )
    late = branch(
        B1={"Type": "Wait", "Seconds": 10, "Next": "B2"},
        B2={"Type": "Pass", "Assign": {"seen": "{% $outer + 10 %}"}, "Output": "{% $outer %}", "End": True},
    )
    machine = definition(
        First={"Type": "Pass", "Assign": {"outer": 1}, "Next": "Both"},
        Both=parallel(early, late, Next="Last"),
        Last={"Type": "Pass", "Output": ["{% $states.input %}", "{% $exists($seen) %}"], "End": True},
    )
    assert output(states, machine) == [[2, 1], False]


def test_a_parallel_state_hands_on_by_arguments_output_and_assign(states: Any) -> None:
    both = parallel(
        branch(A={"Type": "Pass", "Output": "{% $states.input.n + 1 %}", "End": True}),
        branch(B={"Type": "Pass", "Output": "{% $states.input.n * 10 %}", "End": True}),
        Arguments={"n": "{% $states.input.start %}"},
        Assign={"first": "{% $states.result[0] %}"},
        Output={"second": "{% $states.result[1] %}"},
        Next="Last",
    )
    last = {"Type": "Pass", "Output": "{% [$first, $states.input.second] %}", "End": True}
    assert output(states, definition(Both=both, Last=last), {"start": 4}) == [5, 40]


def test_a_failed_branch_stops_the_jobs_and_waits_of_the_others(states: Any, sagemaker: Any, s3: Any) -> None:
    name = f"sibling-{uuid.uuid4().hex[:6]}"
    failing = branch(
        Hold={"Type": "Wait", "Seconds": 40, "Next": "Break"},
        Break={"Type": "Fail", "Error": "Broken", "Cause": "by hand"},
    )
    job = branch(Train=task("sagemaker:createTrainingJob.sync", training(s3, name, sleep="60")))
    waiting = branch(Rest={"Type": "Wait", "Seconds": 2000, "End": True})
    caught = [{"ErrorEquals": ["Broken"], "Output": "{% $states.errorOutput %}", "Next": "Caught"}]
    machine = definition(All=parallel(failing, job, waiting, Catch=caught, Next="Missed"), Missed=PASS, Caught=PASS)
    arn = start(states, machine)
    eventually(lambda: job_status(sagemaker, name), lambda status: status == "InProgress")
    assert json.loads(ended(states, arn)["output"]) == {"Error": "Broken", "Cause": "by hand"}
    eventually(lambda: job_status(sagemaker, name), lambda status: status == "Stopped")
    assert set(entered(states, arn)) == {"All", "Hold", "Break", "Train", "Rest", "Caught"}
    events = states.get_execution_history(executionArn=arn)["events"]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    ends = ["ParallelStateExited", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]
    assert [event["type"] for event in events[-4:]] == ends


def test_a_parallel_state_is_retried_as_a_whole(states: Any) -> None:
    retry = [{"ErrorEquals": ["Broken"], "IntervalSeconds": 1, "MaxAttempts": 2}]
    broken = branch(Break={"Type": "Fail", "Error": "Broken"})
    arn = start(states, definition(All=parallel(broken, branch(Other=PASS), Retry=retry)))
    assert ended(states, arn)["error"] == "Broken"
    assert [entered(states, arn).count(name) for name in ("All", "Break", "Other")] == [1, 3, 3]


def test_items_see_their_index_and_keep_their_variables(states: Any) -> None:
    selector = {"at": "{% $states.context.Map.Item.Index %}", "value": "{% $states.context.Map.Item.Value & $unit %}"}
    process = branch(
        Keep={"Type": "Pass", "Assign": {"mine": "{% $states.input.value %}"}, "Next": "Tell"},
        Tell={"Type": "Pass", "Output": "{% $string($states.input.at) & $mine %}", "End": True},
    )
    machine = definition(
        First={"Type": "Pass", "Assign": {"unit": "s"}, "Next": "Each"},
        Each=map_over("{% ['a', 'b', 'c'] %}", process, ItemSelector=selector, MaxConcurrency=2),
    )
    assert output(states, machine) == ["0as", "1bs", "2cs"]


def test_a_failed_item_fails_the_map_with_its_own_error_and_starts_no_other(states: Any) -> None:
    process = branch(
        Look={
            "Type": "Choice",
            "Choices": [{"Condition": "{% $states.input = 2 %}", "Next": "Break"}],
            "Default": "Good",
        },
        Break={"Type": "Fail", "Error": "Broken", "Cause": "{% 'item ' & $string($states.input) %}"},
        Good=PASS,
    )
    caught = [{"ErrorEquals": ["States.TaskFailed"], "Next": "Caught"}]
    each = map_over([1, 2, 3], process, MaxConcurrency=1, Catch=caught, Next="Missed")
    arn = start(states, definition(Each=each, Missed=PASS, Caught=PASS))
    assert json.loads(ended(states, arn)["output"]) == {"Error": "Broken", "Cause": "item 2"}
    assert entered(states, arn).count("Look") == 2


def test_nothing_goes_on_behind_a_stopped_execution(cloud: Cloud, states: Any) -> None:
    name = f"/kennel/{uuid.uuid4().hex[:6]}"
    late = branch(
        Rest={"Type": "Wait", "Seconds": 20, "Next": "Write"},
        Write=task("aws-sdk:ssm:putParameter", {"Name": name, "Value": "late", "Type": "String"}),
    )
    catch_all = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    machine = definition(
        Each=map_over([1], branch(All=parallel(late, branch(Other=PASS)))) | {"Catch": catch_all}, Caught=PASS
    )
    arn = start(states, machine)
    eventually(lambda: entered(states, arn), lambda names: "Rest" in names)
    states.stop_execution(executionArn=arn, error="Interrupted", cause="Ctrl-C")
    run(states, definition(Clock={"Type": "Wait", "Seconds": 40, "End": True}))
    assert "Caught" not in entered(states, arn)
    with pytest.raises(ClientError, match="ParameterNotFound"):
        cloud.client("ssm").get_parameter(Name=name)


def test_an_execution_times_out(states: Any, sagemaker: Any, s3: Any) -> None:
    name = f"late-{uuid.uuid4().hex[:6]}"
    job = branch(Train=task("sagemaker:createTrainingJob.sync", training(s3, name, sleep="60")))
    catch_all = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    machine = definition(All=parallel(job, Catch=catch_all, Next="Caught"), Caught=PASS)
    arn = start(states, {**machine, "TimeoutSeconds": 2})
    done = ended(states, arn)
    assert (done["status"], done.get("error")) == ("TIMED_OUT", None)
    history = states.get_execution_history(executionArn=arn, reverseOrder=True)["events"]
    assert history[0]["type"] == "ExecutionTimedOut"
    eventually(lambda: job_status(sagemaker, name), lambda status: status == "Stopped")
    assert "Caught" not in entered(states, arn)


def test_a_timeout_may_be_an_expression_and_has_no_cause(states: Any, sagemaker: Any, s3: Any) -> None:
    name = f"slow-{uuid.uuid4().hex[:6]}"
    caught = [{"ErrorEquals": ["States.Timeout"], "Output": "{% $states.errorOutput.Cause %}", "Next": "Caught"}]
    job = task(
        "sagemaker:createTrainingJob.sync",
        training(s3, name, sleep="60"),
        TimeoutSeconds="{% $states.input.seconds %}",
        Catch=caught,
        Next="Missed",
    )
    assert output(states, definition(Train=job, Missed=PASS, Caught=PASS), {"seconds": 1}) == ""
    eventually(lambda: job_status(sagemaker, name), lambda status: status == "Stopped")


def test_wildcards_do_not_catch_what_aws_keeps_from_them(states: Any) -> None:
    big = branch(Big={"Type": "Pass", "Output": "{% $pad('', 262143, 'x') %}", "End": True})
    named = [{"ErrorEquals": ["States.DataLimitExceeded"], "Output": "caught", "Next": "Caught"}]
    for catch, status in (([{"ErrorEquals": ["States.ALL"], "Next": "Caught"}], "FAILED"), (named, "SUCCEEDED")):
        machine = definition(All=parallel(big, Catch=catch, Next="Missed"), Missed=PASS, Caught=PASS)
        assert run(states, machine)["status"] == status
    unknown = task(
        "aws-sdk:ssm:getParameter",
        "{% {'Nome': '/x'} %}",
        Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
        Next="Caught",
    )
    assert failure(states, definition(Ask=unknown, Caught=PASS)) == "States.Runtime"
