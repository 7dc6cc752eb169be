"""Answers of Step Functions' API that are completed, in AWS's words."""

import json
from typing import Any

import pytest

from cloud.stepfunctions import history, hooks


def missing(_request: Any) -> Any:
    return 400, {}, json.dumps({"__type": "ExecutionDoesNotExist", "message": "Execution x not found"}).encode()


@pytest.mark.parametrize(
    ("arn", "code", "message"),
    [
        ("no_arn", "InvalidArn", "Invalid Arn: 'Invalid ARN prefix: no_arn'"),
        ("arn:aws:states:x", "ExecutionDoesNotExist", "Execution Does Not Exist: 'arn:aws:states:x'"),
    ],
)
def test_what_does_not_exist_is_told_as_on_aws(arn: str, code: str, message: str) -> None:
    status, _, body = hooks._told_as_aws_does(missing, "executionArn", "Execution")({"executionArn": arn})
    answer = json.loads(body)
    assert (status, answer["__type"].rpartition("#")[2], answer["message"]) == (400, code, message)


@pytest.mark.parametrize(
    ("status", "redrive"),
    [
        ("FAILED", {"redriveStatus": "REDRIVABLE"}),
        (
            "SUCCEEDED",
            {
                "redriveStatus": "NOT_REDRIVABLE",
                "redriveStatusReason": "Execution is SUCCEEDED and cannot be redriven",
            },
        ),
    ],
)
def test_a_description_says_whether_the_execution_can_be_redriven(status: str, redrive: dict[str, str]) -> None:
    assert hooks._redrive_of(status) == {"redriveCount": 0, **redrive}


@pytest.mark.parametrize("text", ['{"a": NaN}', "[Infinity]", "-Infinity"])
def test_an_input_that_json_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no number of JSON"):
        history.value_of(text)


def test_half_of_a_pair_becomes_a_question_mark() -> None:
    assert history.text_of(["\ud83d", "\ude00", "\U0001f600é"]) == '["?","?","\U0001f600é"]'
    assert history.failure("E", "a\ud83d") == {"error": "E", "cause": "a?"}
