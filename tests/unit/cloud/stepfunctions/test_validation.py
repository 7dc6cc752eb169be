"""Refused definitions in AWS's words, as CreateStateMachine and ValidateStateMachineDefinition tell them."""

import json
from typing import Any

import pytest

from cloud.stepfunctions import validation

PASS = {"Type": "Pass", "End": True}


def machine(**states: Any) -> str:
    return json.dumps({"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "SCHEMA_VALIDATION_FAILED: These fields are required: [States, StartAt] at /"),
        (" ", "SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object"),
        (
            machine(P={"Type": "Parallel", "Branches": [], "End": True}),
            "SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States/P/Branches",
        ),
        (
            machine(W={"Type": "Wait", "Timestamp": "2016-12-05", "End": True}),
            "SCHEMA_VALIDATION_FAILED: String does not match RFC3339 timestamp at /States/W/Timestamp",
        ),
        (
            machine(X={"Type": "No", "End": True}),
            "SCHEMA_VALIDATION_FAILED: The field 'Type' should have one of these values: "
            "[Task, Wait, Pass, Succeed, Fail, Choice, Parallel, Map] at /States/X/Type",
        ),
        (
            machine(A={"Type": "Pass", "Next": "C"}, B=PASS),
            "MISSING_TRANSITION_TARGET: Missing 'Next' target: C at /States/A/Next, "
            'MISSING_TRANSITION_TARGET: State "B" is not reachable. at /States/B',
        ),
        (
            machine(A={"Type": "Pass", "Next": "A"}),
            "MISSING_END_STATE: Workflow has no terminal state at null",
        ),
        (
            machine(A={**PASS, "Output": "{% x %}"}),
            "UNSUPPORTED_JSONATA_EXPRESSION: Reference to 'x' at the top level is not supported. at /States/A/Output",
        ),
    ],
)
def test_a_refusal_has_code_message_and_location(text: str, message: str) -> None:
    assert validation.refusal(text) == f"Invalid State Machine Definition: '{message}'"


def test_what_is_right_is_not_refused() -> None:
    assert validation.refusal(machine(A=PASS)) is None
    assert validation.refusal(None) is None
    assert validation.diagnosis({"definition": machine(A=PASS)}) == {
        "result": "OK",
        "diagnostics": [],
        "truncated": False,
    }


def test_a_number_that_json_does_not_have_is_refused() -> None:
    text = machine(A={**PASS, "Output": float("nan")})
    assert str(validation.refusal(text)).startswith("Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION: NaN")


def test_a_diagnosis_takes_the_refusal_apart() -> None:
    found = validation.diagnosis({"definition": machine(A={**PASS, "Retry": []})})
    assert found == {
        "result": "FAIL",
        "diagnostics": [
            {
                "severity": "ERROR",
                "code": "SCHEMA_VALIDATION_FAILED",
                "message": "Field 'Retry' is not supported",
                "location": "/States/A",
            }
        ],
        "truncated": False,
    }
    loop = validation.diagnosis({"definition": machine(A={"Type": "Pass", "Next": "A"})})["diagnostics"]
    assert loop == [{"severity": "ERROR", "code": "MISSING_END_STATE", "message": "Workflow has no terminal state"}]


def test_text_that_is_no_json_is_told_with_its_place() -> None:
    [found] = validation.diagnosis({"definition": "not a definition"})["diagnostics"]
    place = '[Source: (String)"not a definition"; line: 1, column: 4]'
    assert (found["code"], found["location"]) == ("INVALID_JSON_DESCRIPTION", place)
    assert found["message"].startswith("Unrecognized token 'not': was expecting (JSON String, Number, Array, Object")
    assert found["message"].endswith(f"\n at {place}")


def test_a_diagnosis_has_a_longest_list() -> None:
    text = machine(A={**PASS, "Retry": [], "Catch": []})
    answer = validation.diagnosis({"definition": text, "maxResults": 1})
    assert (len(answer["diagnostics"]), answer["truncated"]) == (1, True)
    assert len(validation.diagnosis({"definition": text, "maxResults": 0})["diagnostics"]) == 2
