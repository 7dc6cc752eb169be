"""What Lambda refuses while a function is created or updated, and the sizes of requests."""

import pytest

from cloud.lambdas import states

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
NOT_NOW = "The operation cannot be performed at this time."
CREATED = {"FunctionArn": ARN, "State": "Pending", "StateReasonCode": "Creating", "LastUpdateStatus": "InProgress"}
UPDATED = {"FunctionArn": ARN, "State": "Active", "LastUpdateStatus": "InProgress"}
READY = {"FunctionArn": ARN, "State": "Active", "LastUpdateStatus": "Successful"}


def test_a_function_that_is_created_is_neither_invoked_nor_changed():
    assert states.invoke_problem(CREATED) == f"{NOT_NOW} The function is currently in the following state: Pending"
    assert states.change_problem(CREATED) == (
        f"{NOT_NOW} The resource {ARN} is currently in the following state: 'Pending'. StateReasonCode: 'Creating'"
    )


def test_a_function_that_is_updated_is_invoked_and_not_changed():
    assert states.invoke_problem(UPDATED) is None
    assert states.change_problem(UPDATED) == f"{NOT_NOW} An update is in progress for resource: {ARN}"


def test_a_function_that_is_ready_is_invoked_and_changed():
    assert states.invoke_problem(READY) is None
    assert states.change_problem(READY) is None
    assert states.change_problem({}) is None


@pytest.mark.parametrize(
    ("path", "kind", "size", "words"),
    [
        ("/2015-03-31/functions/f/invocations", "", 6291456, None),
        ("/2015-03-31/functions/f/invocations", "", 6291457, "Request must be smaller than 6291456 bytes for the Invo"),
        ("/2021-11-15/functions/f/response-streaming-invocations", "", 6291457, "Request must be smaller than 6291456"),
        ("/2015-03-31/functions/f/invocations", "Event", 1048576, None),
        ("/2015-03-31/functions/f/invocations", "Event", 1048577, "1048577 byte payload is too large for the Event in"),
        ("/2015-03-31/functions/f/code", "", 9000000, None),
    ],
)
def test_requests_have_the_sizes_that_aws_takes(path, kind, size, words):
    problem = states.size_problem("POST", path, kind, size)
    assert problem == words if words is None else problem.startswith(words)


def test_an_update_hides_the_state_of_a_creation():
    config = {**CREATED, "StateReason": "The function is being updated."}
    states.stay_active(config)
    assert config == UPDATED
