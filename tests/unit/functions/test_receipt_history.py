"""What the receipt reads in an execution's history."""

from receipt import history
from tests.unit.functions.executions import Execution, at

CREATE = "aws-sdk:sagemaker:createTrainingJob"


def test_tasks_of_branches_that_write_in_turns_belong_to_their_states():
    execution = Execution()
    parallel = execution.enter("Both", 0, kind="Parallel")
    left = execution.enter("Left", 1, before=parallel)
    right = execution.enter("Right", 1, before=parallel)
    left = execution.schedule(CREATE, {"TrainingJobName": "l"}, 2, left)
    right = execution.schedule("lambda:invoke", {"FunctionName": "r"}, 3, right)
    left = execution.succeed(4, left, {"TrainingJobArn": "arn:l"})
    execution.fail(9, right, "Broken", "no dogs")
    read = history.read(execution.events)
    assert [(task.state, task.begun, task.ended) for task in read.tasks] == [
        ("Left", at(2), at(4)),
        ("Right", at(3), at(9)),
    ]
    assert [(task.succeeded, task.error) for task in read.tasks] == [(True, ""), (False, "Broken")]
    assert read.of(CREATE)[0].output == {"TrainingJobArn": "arn:l"}
    assert read.transitions == 3


def test_a_retry_is_a_task_and_a_transition_of_its_own():
    execution = Execution()
    first = execution.schedule("lambda:invoke", {"FunctionName": "f"}, 0, execution.enter("Plan", 0))
    failed = execution.fail(1, first, "Lambda.ServiceException")
    again = execution.schedule("lambda:invoke", {"FunctionName": "f"}, 3, failed)
    execution.succeed(5, again, {"Payload": {"id": "r"}})
    execution.function("Gate", "gate", 5, 6)
    read = history.read(execution.events)
    assert [(task.state, task.begun, task.ended) for task in read.tasks[:2]] == [
        ("Plan", at(0), at(1)),
        ("Plan", at(3), at(5)),
    ]
    assert read.transitions == 3  # Plan, its retry, Gate
    assert read.run() == {"id": "r"}


def test_a_task_that_goes_on_has_no_end_and_knows_what_was_submitted():
    execution = Execution()
    started = execution.schedule("codebuild:startBuild.sync", {}, 0, execution.enter("BuildImages", 0))
    execution.submit(1, started, {"Build": {"Id": "images:1"}})
    (task,) = history.read(execution.events).tasks
    assert (task.ended, task.submitted) == (None, {"Build": {"Id": "images:1"}})


def test_texts_that_are_no_json_count_as_nothing():
    execution = Execution()
    number = execution.schedule("lambda:invoke", {}, 0, execution.enter("Plan", 0))
    execution.events[number - 2]["taskScheduledEventDetails"]["parameters"] = '{"FunctionName": "f'
    execution.add("TaskSucceeded", 1, number, taskSucceededEventDetails={"output": "[1]"})
    read = history.read(execution.events)
    assert (read.tasks[0].parameters, read.tasks[0].output) == ({}, {})
    assert read.run() is None


def test_a_run_that_plan_refused_has_no_document():
    execution = Execution()
    number = execution.schedule("lambda:invoke", {}, 0, execution.enter("Plan", 0))
    execution.fail(1, number, "RequestError", "no dogs")
    read = history.read(execution.events)
    assert read.run() is None
    assert read.transitions == 1
