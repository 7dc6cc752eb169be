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


@pytest.mark.parametrize("text", ['{"max_latency_ms": 1e999}', "[-1.5E400]"])
def test_an_input_with_a_number_that_nothing_can_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is larger than any number can be"):
        history.value_of(text)
    assert history.value_of("[1e308, 0.5, 2]") == [1e308, 0.5, 2]


def test_half_of_a_pair_becomes_a_question_mark() -> None:
    assert history.text_of(["\ud83d", "\ude00", "\U0001f600é"]) == '["?","?","\U0001f600é"]'
    assert history.failure("E", "a\ud83d") == {"error": "E", "cause": "a?"}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e-7, "1.0E-7"),
        (-1.5e-5, "-1.5E-5"),
        (0.001, "0.001"),
        (0.00099, "9.9E-4"),
        (0.1 + 0.2, "0.30000000000000004"),
        (9999999.5, "9999999.5"),
        (12345678.5, "1.23456785E7"),
        (1e20, "1.0E20"),
        (9.223372036854776e18, "9.223372036854776E18"),
        (5e-324, "4.9E-324"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (10**17, "100000000000000000"),
    ],
)
def test_fractions_have_the_form_of_java(number: float, text: str) -> None:
    """The values are those of the documentation of Double.toString, and of its implementation."""
    assert history.text_of(number) == text
    written = history.text_of({"é": [number, True, None, "1e-7"]})
    assert written == f'{{"é":[{text},true,null,"1e-7"]}}'
    assert json.loads(written)["é"][0] == number
