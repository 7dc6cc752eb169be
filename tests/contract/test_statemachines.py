"""The state machines are whole: names, paths, errors, expressions, arguments and documents fit."""

import functools
import json
import re
from collections.abc import Iterator

import botocore.session
import jsonata
import pytest
from pydantic import BaseModel

from plan.run import VARIANT
from shared.contracts import Run, Smoke, Verdict

LAMBDA_ERRORS = {
    f"Lambda.{name}"
    for name in ("ServiceException", "AWSLambdaException", "SdkClientException", "TooManyRequestsException")
}
# What Step Functions itself and its optimized SageMaker integrations raise.
STATES_ERRORS = {"States.ALL", "States.TaskFailed", "States.Timeout"}
OPTIMIZED_ERRORS = {"SageMaker.AmazonSageMakerException", "SageMaker.ResourceLimitExceededException"}
SERVICES = {  # in an aws-sdk resource: botocore's name, and the prefix of its errors
    "sagemaker": ("sagemaker", "SageMaker"),
    "ssm": ("ssm", "Ssm"),
    "applicationautoscaling": ("application-autoscaling", "ApplicationAutoScaling"),
}
OPTIMIZED = {
    "sagemaker:createTrainingJob.sync": "CreateTrainingJob",
    "sagemaker:createProcessingJob.sync": "CreateProcessingJob",
}


@functools.cache
def model(service):
    return botocore.session.get_session().get_service_model(service)


def states_of(machine) -> Iterator[tuple[str, dict]]:
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states_of(state["ItemProcessor"])


def followers(state) -> Iterator[str]:
    for rule in [state, *state.get("Choices", []), *state.get("Catch", [])]:
        yield from (rule[key] for key in ("Next", "Default") if key in rule)


def texts(node) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from texts(child)


def expressions(node) -> list[str]:
    return [text[2:-2].strip() for text in texts(node) if text.startswith("{%")]


@pytest.fixture(params=["pipeline", "teardown"])
def machine(request, machines):
    return machines[request.param]


def test_every_next_exists_and_every_state_is_reached(machine):
    def check(part):
        states, seen, todo = part["States"], set(), [part["StartAt"]]
        while todo:
            name = todo.pop()
            assert name in states, f"'{name}' is followed but does not exist"
            if name not in seen:
                seen.add(name)
                todo += followers(states[name])
        assert seen == set(states)

    check(machine)
    for _, state in states_of(machine):
        if "ItemProcessor" in state:
            check(state["ItemProcessor"])


def test_every_state_goes_on_or_ends(machine):
    for name, state in states_of(machine):
        if state["Type"] not in ("Fail", "Succeed", "Choice"):
            assert ("Next" in state) != ("End" in state), name


def test_every_task_has_a_timeout(machine):
    assert [n for n, s in states_of(machine) if s["Type"] == "Task" and "TimeoutSeconds" not in s] == []


def test_retries_name_errors_that_exist(machine):
    for name, state in states_of(machine):
        for rule in [*state.get("Retry", []), *state.get("Catch", [])]:
            for error in rule["ErrorEquals"]:
                assert _is_real(error), f"{name}: no such error '{error}'"
        for rule in state.get("Retry", []):
            assert "States.ALL" not in rule["ErrorEquals"], name


def _is_real(error):
    if error in LAMBDA_ERRORS | STATES_ERRORS | OPTIMIZED_ERRORS:
        return True
    prefix, _, short = error.partition(".")
    for service, known in SERVICES.values():
        if prefix == known:
            modelled = {_as_java_names_it(shape.name) for shape in model(service).error_shapes}
            return short in modelled or short == f"{known}Exception"
    return False


def _as_java_names_it(shape):
    """Step Functions shows the AWS SDK for Java's names, which all end in Exception."""
    return shape if shape.endswith("Exception") else f"{shape}Exception"


def test_no_caught_failure_of_the_pipeline_ends_as_a_success(machines):
    """From ExplainFailure every path ends in Fail; only steps that may fail lead back to the good end."""
    states = machines["pipeline"]["States"]
    seen, todo = set(), ["ExplainFailure"]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += followers(states[name])
    ends = {name for name in seen if states[name]["Type"] in ("Fail", "Succeed") or "End" in states[name]}
    assert ends == {"Fail"}
    forgiving = {
        name
        for name, state in states.items()
        if name not in seen and any(rule["Next"] != "ExplainFailure" for rule in state.get("Catch", []))
    }
    assert forgiving == {"NotifyResult", "ReleaseLock"}


def test_every_task_before_the_end_is_caught(machines):
    states = machines["pipeline"]["States"]
    good = [name for name, state in states.items() if state["Type"] == "Task" and "Catch" not in state]
    assert good == []


def test_expressions_parse(machine):
    found = expressions(machine)
    assert len(found) > 10
    for expression in found:
        jsonata.Jsonata(expression)
        assert "$eval" not in expression  # the one function that Step Functions leaves out


@pytest.mark.parametrize("name", ["pipeline", "teardown"])
def test_substitutions_of_definition_and_template_are_the_same(name, machines, template):
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(machines[name])))
    given = template["Resources"][name.capitalize()]["Properties"]["DefinitionSubstitutions"]
    assert used == set(given)


def test_arguments_fit_the_apis(machine):
    checked = 0
    for name, state in states_of(machine):
        if shape := _input_shape(state.get("Resource", "")):
            checked += 1
            _assert_fits(state["Arguments"], shape, name)
    assert checked >= 5


def _input_shape(resource):
    short = resource.removeprefix("arn:aws:states:::")
    if short in OPTIMIZED:
        return model("sagemaker").operation_model(OPTIMIZED[short]).input_shape
    if short.startswith("aws-sdk:"):
        _, service, action = short.split(":")
        return model(SERVICES[service][0]).operation_model(action[0].upper() + action[1:]).input_shape
    return None


def _assert_fits(value, shape, where):
    """Unknown members and missing required ones; an expression may stand for any value."""
    if isinstance(value, str) and value.startswith("{%"):
        return
    if shape.type_name == "structure":
        assert isinstance(value, dict), where
        assert set(value) <= set(shape.members), f"{where}: unknown {set(value) - set(shape.members)}"
        assert set(shape.required_members) <= set(value), f"{where}: missing {set(shape.required_members) - set(value)}"
        for key, item in value.items():
            _assert_fits(item, shape.members[key], f"{where}.{key}")
    elif shape.type_name == "list":
        for item in value:
            _assert_fits(item, shape.member, f"{where}[]")
    elif shape.type_name == "string":
        assert isinstance(value, str), where
        assert not shape.enum or value in shape.enum, f"{where}: {value}"
    elif shape.type_name in ("integer", "long", "float", "double"):
        assert isinstance(value, int | float), where
    elif shape.type_name == "boolean":
        assert isinstance(value, bool), where


DOCUMENTS: dict[str, type[BaseModel]] = {"run": Run, "verdict": Verdict, "smoke": Smoke}


def test_fields_that_expressions_read_exist_in_the_documents(machines):
    read = {
        (document, path)
        for expression in expressions(machines["pipeline"])
        for document, path in re.findall(r"\$(run|verdict|smoke)\.([a-z_0-9.]+)", expression)
    }
    assert len(read) > 20
    for document, path in sorted(read):
        fields = DOCUMENTS[document].model_fields
        for part in path.split("."):
            assert part in fields, f"${document}.{path}"
            annotation = fields[part].annotation
            fields = (
                annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
            )


def test_both_machines_scale_the_variant_that_plan_names(machines):
    teardown = machines["teardown"]["States"]["DeregisterScalableTarget"]["Arguments"]["ResourceId"]
    assert teardown == f"endpoint/${{EndpointName}}/variant/{VARIANT}"
