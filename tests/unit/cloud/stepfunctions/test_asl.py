"""Definitions with one fault each, which AWS refuses."""

import json
from datetime import UTC
from typing import Any

import pytest

from cloud.stepfunctions import asl

PASS = {"Type": "Pass", "End": True}
TASK = {
    "Type": "Task",
    "Resource": "arn:aws:states:::aws-sdk:ssm:getParameter",
    "Arguments": {"Name": "/x"},
    "End": True,
}
MAP = {"Type": "Map", "ItemProcessor": {"StartAt": "Each", "States": {"Each": PASS}}, "End": True}


def machine(**states: Any) -> dict[str, Any]:
    return {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}


def parallel(*branches: dict[str, Any]) -> dict[str, Any]:
    return {
        "Type": "Parallel",
        "Branches": [{"StartAt": next(iter(states)), "States": states} for states in branches],
        "End": True,
    }


def on(resource: str) -> dict[str, Any]:
    return {**TASK, "Resource": f"arn:aws:states:::{resource}"}


def retried(**members: Any) -> dict[str, Any]:
    return {**TASK, "Retry": [{"ErrorEquals": ["X"], **members}]}


def test_definitions_are_taken_in_yaml() -> None:
    """A definition file contains YAML or JSON; JSON is returned as it is, because a later check reports its errors."""
    text = "States:\n  One:\n    Type: Pass\n    Output: >-\n      {% 'a'\n      & 'b' %}\n    End: true\n"
    output = "{% 'a' & 'b' %}"
    assert json.loads(asl.to_json(text)) == {"States": {"One": {"Type": "Pass", "Output": output, "End": True}}}
    assert asl.to_json('{"StartAt": ') == '{"StartAt": '


@pytest.mark.parametrize("text", ["States: [", "Comment: !!binary aGk="])
def test_yaml_that_cannot_be_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="INVALID_YAML_DESCRIPTION"):
        asl.to_json(text)


def test_a_whole_definition_has_no_problems() -> None:
    catch = [
        {"ErrorEquals": ["Ssm.SsmException"], "Assign": {"why": "{% $states.errorOutput.Cause %}"}, "Next": "Wait"},
        {"ErrorEquals": ["States.ALL"], "Next": "Done"},
    ]
    retry = [{"ErrorEquals": ["Ssm.SsmException"], "BackoffRate": 1.5, "MaxDelaySeconds": 9, "JitterStrategy": "FULL"}]
    task = {**TASK, "TimeoutSeconds": "{% $n %}", "Retry": retry, "Catch": catch, "Output": "{% $states.result %}"}
    choice = {"Type": "Choice", "Choices": [{"Condition": "{% $n > 1 %}", "Next": "Both"}], "Default": "Done"}
    definition = machine(
        First={"Type": "Pass", "Assign": {"n": 1}, "Next": "Ask"},
        Ask={**task, "End": True},
        Wait={"Type": "Wait", "Seconds": "{% $n %}", "Next": "Until"},
        Until={"Type": "Wait", "Timestamp": "2026-03-14T01:59:00.5+01:00", "Next": "Choose"},
        Choose=choice,
        Both=parallel({"Left": {**PASS, "Assign": {"own": "{% $n %}"}}}, {"Right": {**PASS, "Assign": {"own": 2}}}),
        Done={"Type": "Succeed", "Output": "{% $states.input %}"},
    )
    assert asl.problems({**definition, "TimeoutSeconds": 60, "Comment": "whole"}) == []


@pytest.mark.parametrize(
    ("states", "problem"),
    [
        ({"A": {"Type": "Pass", "Next": "B"}}, "Missing 'Next' target: B at /States/A/Next"),
        ({"A": PASS, "B": PASS}, 'State "B" is not reachable. at /States/B'),
        ({"A": {"Type": "Pass"}}, "One of the fields Next and End is required, and only one at /States/A"),
        ({"A": {**PASS, "Next": "A"}}, "One of the fields Next and End is required, and only one at /States/A"),
        (
            {"A": {"Type": "Pass", "End": False}},
            "One of the fields Next and End is required, and only one at /States/A",
        ),
        ({"A": {"End": True}}, "These fields are required: [Type] at /States/A"),
        (
            {"A": {**PASS, "ResultPath": "$"}},
            "field 'ResultPath' is only supported for the 'JSONPath' QueryLanguage at /States/A",
        ),
        ({"A": {**PASS, "Retry": []}}, "Field 'Retry' is not supported at /States/A"),
        ({"A": {**TASK, "Parameters": {}}}, "field 'Parameters' is only supported for the 'JSONPath'"),
        (
            {"A": {key: value for key, value in TASK.items() if key != "Resource"}},
            "These fields are required: [Resource] at /States/A",
        ),
        ({"A" * 81: PASS}, "INVALID_STATE_NAME: A state's name has 1 to 80 characters"),
        ({"A": parallel({"B": PASS}, {"B": PASS})}, "DUPLICATE_STATE_NAME: Duplicate State name: B"),
        (
            {"A": parallel({"B": {"Type": "Pass", "Next": "A"}})},
            "Missing 'Next' target: A at /States/A/Branches[0]/States/B/Next",
        ),
        (
            {"A": {**MAP, "ItemProcessor": {"StartAt": "X"}}},
            "These fields are required: [States] at /States/A/ItemProcessor",
        ),
        ({"A": {**MAP, "ToleratedFailureCount": -1}}, "must be from 0 to 99999999, not -1 at /States/A/Tol"),
        ({"A": {**MAP, "Items": 5}}, "The value must be an array or an expression at /States/A/Items"),
        ({"A": {**MAP, "Items": "all"}}, "The value must be an array or an expression at /States/A/Items"),
        (
            {"A": {**MAP, "ItemProcessor": {**MAP["ItemProcessor"], "ProcessorConfig": {"Mode": "NONSENSE"}}}},
            "The mode must be INLINE",
        ),
        ({"A": {"Type": "Parallel", "Branches": [], "End": True}}, "Value cannot be empty at /States/A/Branches"),
        ({"A": {"Type": "Fail", "Error": 5}}, "The value must be a string at /States/A/Error"),
        ({"A": {"Type": "Fail", "Cause": ["x"]}}, "The value must be a string at /States/A/Cause"),
        ({"A": {**TASK, "Credentials": {"RoleArn": "r"}}}, "The laptop cloud does not support them"),
        ({"A": {**TASK, "Arguments": None}}, "The value for the field 'Arguments' must be an OBJECT"),
        ({"A": {**TASK, "Resource": "garbage"}}, "has no resource garbage"),
        ({"A": {**TASK, "Resource": 5}}, "has no resource 5"),
        ({"A": on("nonsense:doIt")}, "has no resource arn:aws:states:::nonsense:doIt"),
        ({"A": on("ssm:getParameter")}, "has no resource arn:aws:states:::ssm:getParameter"),
        ({"A": on("sns:publish.sync")}, "has no resource arn:aws:states:::sns:publish.sync"),
        ({"A": on("lambda:invoke.sync")}, "has no resource arn:aws:states:::lambda:invoke.sync"),
        ({"A": on("lambda:invoke.waitForTaskToken")}, "has no resource arn:aws:states:::lambda:invoke.waitFor"),
        ({"A": on("aws-sdk:ssm:getParameter.waitForTaskToken")}, "The laptop cloud has no resource"),
        (
            {"A": on("aws-sdk:ssm:getParameter.sync")},
            "getParameter.sync is not recognized. The value is not a valid resource ARN",
        ),
        ({"A": on("aws-sdk:ssm:getParametr")}, "getParametr is not recognized"),
        ({"A": {**TASK, "TimeoutSeconds": 0}}, "The value of the field 'TimeoutSeconds' must be from 1"),
        ({"A": {**TASK, "TimeoutSeconds": None}}, "The value of the field 'TimeoutSeconds' must be from 1"),
        ({"A": {**TASK, "TimeoutSeconds": 5, "HeartbeatSeconds": 5}}, "must be smaller than TimeoutSeconds"),
        ({"A": {"Type": "Wait", "End": True}}, "Exactly one of the fields Seconds and Timestamp"),
        ({"A": {"Type": "Wait", "Seconds": 1, "Timestamp": "x", "End": True}}, "Exactly one of the fields Seconds"),
        ({"A": {"Type": "Wait", "Seconds": -1, "End": True}}, "The value of the field 'Seconds' must be from 0"),
        (
            {"A": {"Type": "Wait", "Timestamp": "yesterday", "End": True}},
            "String does not match RFC3339 timestamp at /States/A/Timestamp",
        ),
        (
            {"A": {"Type": "Wait", "Timestamp": "2026-03-14T01:59:00", "End": True}},
            "String does not match RFC3339 timestamp",
        ),
        (
            {"A": {"Type": "Wait", "Timestamp": "2026-13-14T01:59:00Z", "End": True}},
            "String does not match RFC3339 timestamp",
        ),
        ({"A": {"Type": "Wait", "Timestamp": 5, "End": True}}, "a field has a wrong type"),
        ({"A": {"Type": "Choice", "Choices": []}}, "Value cannot be empty at /States/A/Choices"),
        (
            {"A": {"Type": "Choice", "Choices": [{"Condition": "yes", "Next": "A"}]}},
            "must be a boolean or an expression",
        ),
        ({"A": {"Type": "Choice", "Choices": [{"Variable": "$.x", "Next": "A"}]}}, "'Variable' is not supported"),
        ({"A": {**TASK, "Catch": [{"ErrorEquals": [], "Next": "A"}]}}, "one or more names of errors"),
        ({"A": {**TASK, "Catch": [{"ErrorEquals": "X", "Next": "A"}]}}, "The value must be a list of one or more"),
        ({"A": retried(MaxAttempts="{% 1 %}")}, "'MaxAttempts' must be from 0"),
        ({"A": retried(BackoffRate="{% 1 %}")}, "'BackoffRate' must be from 1"),
        ({"A": retried(MaxDelaySeconds="{% 2 %}")}, "'MaxDelaySeconds' must be from 2"),
        ({"A": retried(IntervalSeconds="{% 1 %}", MaxDelaySeconds=9)}, "'IntervalSeconds' must be from 1"),
        (
            {"A": {**TASK, "Catch": [{"ErrorEquals": ["States.ALL", "X"], "Next": "A"}]}},
            "must be the only name, and in the last rule",
        ),
        (
            {"A": {**TASK, "Retry": [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["X"]}]}},
            "must be the only name, and in the last rule",
        ),
        ({"A": {**TASK, "Retry": [{"ErrorEquals": ["X"], "BackoffRate": 0.5}]}}, "'BackoffRate' must be from 1"),
        ({"A": {**TASK, "Retry": [{"ErrorEquals": ["X"], "IntervalSeconds": 0}]}}, "'IntervalSeconds' must be from 1"),
        (
            {"A": {**TASK, "Retry": [{"ErrorEquals": ["X"], "IntervalSeconds": 9, "MaxDelaySeconds": 9}]}},
            "'MaxDelaySeconds' must be from 10",
        ),
        ({"A": {**TASK, "Retry": [{"ErrorEquals": ["X"], "JitterStrategy": "SOME"}]}}, "FULL or NONE"),
        (
            {"A": {**TASK, "Retry": [{"ErrorEquals": ["X"], "Next": "A"}]}},
            "Field 'Next' is not supported at /States/A/Retry[0]",
        ),
        ({"A": {**PASS, "Output": "{% $x"}}, "An expression begins with {% and ends with %}"),
        ({"A": {**PASS, "Output": "{% $states.result %}"}}, "Field '$states.result' does not exist. at"),
        ({"A": {**TASK, "Arguments": {"Name": "{% $states.result %}"}}}, "Field '$states.result' does not exist. at"),
        ({"A": {**TASK, "Output": "{% $states.errorOutput %}"}}, "Field '$states.errorOutput' does not exist. at"),
        ({"A": {**PASS, "Assign": {"x.y": 1}}}, "'x.y' is not a valid name of a variable"),
        ({"A": {**PASS, "Assign": {"states": 1}}}, "'states' is not a valid name of a variable"),
        (
            {
                "A": {"Type": "Pass", "Assign": {"x": 2}, "Next": "B"},
                "B": parallel({"C": {**PASS, "Assign": {"x": 1}}}),
            },
            "Variable 'x' is assigned in an outer scope already",
        ),
        ({"A": {**TASK, "Arguments": {"Nome": "/x"}}}, "The field 'Nome' is not supported by Step Functions"),
        ({"A": "Pass"}, "a field has a wrong type"),
        ({"A": {**PASS, "QueryLanguage": "JSONPath"}}, "'QueryLanguage' can not be 'JSONPath'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_thing_wrong_is_told(states: dict[str, Any], problem: str) -> None:
    problems = asl.problems(machine(**states))
    assert any(problem in each for each in problems), problems


def test_fields_of_the_machine_are_checked() -> None:
    assert asl.problems([]) == ["Definition must be a valid JSON object"]
    assert asl.problems({**machine(A=PASS), "TimeoutSeconds": "{% 5 %}"}) == [
        "The value of the field 'TimeoutSeconds' must be from 1 to 99999999, not {% 5 %} at /TimeoutSeconds"
    ]
    wrong = {"QueryLanguage": "JSONata", "States": {"A": PASS}, "Timeout": 5, "TimeoutSeconds": "soon"}
    assert asl.problems(wrong)[:3] == [
        "Field 'Timeout' is not supported at /",
        "These fields are required: [StartAt] at /",
        "The value of the field 'TimeoutSeconds' must be from 1 to 99999999, not soon at /TimeoutSeconds",
    ]
    assert asl.problems({}) == ["These fields are required: [States, StartAt] at /"]


def test_a_state_may_choose_jsonata_itself() -> None:
    chosen = {"StartAt": "A", "States": {"A": {**PASS, "QueryLanguage": "JSONata", "Output": "{% 1 %}"}}}
    assert asl.problems(chosen) == []
    paths = {"StartAt": "A", "States": {"A": {**PASS, "ResultPath": "$.x"}}}
    assert asl.problems(paths) == [
        'The laptop cloud runs only states in JSONata: "QueryLanguage": "JSONata" at /States/A'
    ]


def test_a_machine_without_an_end_is_told_once() -> None:
    """Measured on AWS: a missing target is told too, and no state as unreachable."""
    loop = machine(A={"Type": "Pass", "Next": "B"}, B={"Type": "Pass", "Next": "A"}, C={"Type": "Pass", "Next": "A"})
    assert asl.problems(loop) == ["MISSING_END_STATE: Workflow has no terminal state at null"]
    assert asl.problems(machine(A={"Type": "Pass", "Next": "NOPE"})) == [
        "MISSING_TRANSITION_TARGET: Missing 'Next' target: NOPE at /States/A/Next",
        "MISSING_END_STATE: Workflow has no terminal state at null",
    ]


def test_a_state_may_assign_what_its_branches_assign() -> None:
    """Taken by AWS: the state assigns only after its branches have ended."""
    branch = parallel({"B": {**PASS, "Assign": {"x": 1}}})
    assert asl.problems(machine(A={**branch, "Assign": {"x": 2}})) == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-14T01:59Z", "2026-03-14T01:59:00+00:00"),
        ("2026-03-14t01:59:00z", "2026-03-14T01:59:00+00:00"),
        ("2026-03-14T01:59:00.Z", "2026-03-14T01:59:00+00:00"),
        ("2026-03-14T01:59:00.123456789Z", "2026-03-14T01:59:00.123456+00:00"),
        ("2026-03-14T01:59:00+01", "2026-03-14T00:59:00+00:00"),
        ("2026-03-14T01:59:00+01:00:30", "2026-03-14T00:58:30+00:00"),
        ("2026-03-14T01:59:00.5+05:30", "2026-03-13T20:29:00.500000+00:00"),
        ("2026-03-14T01:59:00+18:00", "2026-03-13T07:59:00+00:00"),
        ("+12026-03-14T01:59:00Z", "9999-12-31T23:59:59.999999+00:00"),
        ("-0001-03-14T01:59:00Z", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_an_expressions_timestamp_is_what_java_parses(text: str, moment: str) -> None:
    """The values are those of Java 17's OffsetDateTime.parse with ISO_OFFSET_DATE_TIME."""
    assert asl.parse_timestamp(text).astimezone(UTC).isoformat() == moment


@pytest.mark.parametrize(
    "text",
    [
        *("2026-03-14T01:59:00.1234567891Z", "2026-03-14T01:59:00,5Z", "2026-03-14T01:59.5Z", "2026-03-14T01Z"),
        *(
            "2026-03-14T01:59:00+0100",
            "2026-03-14T01:59:00+1",
            "2026-03-14T01:59:00+18:01",
            "2026-03-14T01:59:00+01:60",
        ),
        *("2026-03-14T24:00:00Z", "2026-03-14T23:59:60Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z"),
        *("12026-03-14T01:59:00Z", "+2026-03-14T01:59:00Z", "2026-3-14T01:59:00Z", "20260314T015900Z"),
        *("2026-03-14 01:59:00Z", "2026-03-14T01:59:00", "2026-03-14", "2026-W10-1T00:00:00Z", "", " ", "1773453540"),
        *("2026-03-14T01:59:00 Z", " 2026-03-14T01:59:00Z", "\u0662026-03-14T01:59:00Z"),
    ],
)
def test_a_timestamp_that_java_does_not_parse_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|range|month|hour|second"):
        asl.parse_timestamp(text)
