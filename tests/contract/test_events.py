"""The sample events have the form that the state machine and the template require."""

import json

import pytest

from local import invoke
from local.home import ROOT
from plan import request
from shared.reports import digest_in
from shared.scaling import FunctionMeasurePlan
from tests.contract.conftest import states_of

VALUES = {
    "BUCKET": "bucket",
    "RUN": "run",
    "ENDPOINT": "dogs",
    "DATASET": "datasets/photos.zip",
    "IMAGE": "image",
    "REPORT_SHA256": 64 * "a",
    "EXECUTION": "arn:x",
}


@pytest.mark.parametrize("function", sorted(set(invoke.SAMPLES.values()) - {"classify", "page"}))
def test_sample_has_the_fields_that_the_state_machine_sends(machines, function):
    calls = [
        state["Arguments"]
        for machine in machines.values()
        for _, state in states_of(machine)
        if state.get("Resource", "").endswith(":lambda:invoke")
    ]
    name = f"${{{function.capitalize()}FunctionArn}}"
    payloads = [set(call["Payload"]) for call in calls if call["FunctionName"] == name]
    assert set(invoke.sample(function, VALUES)) in payloads


@pytest.mark.parametrize("event", sorted((ROOT / "events").glob("pipeline*.json")), ids=lambda path: path.stem)
def test_samples_of_the_pipeline_are_valid_requests(event):
    sample = json.loads(event.read_text())
    assert sample == request.parse(sample).model_dump(exclude_unset=True)


def test_samples_contain_the_values_of_the_stack():
    gate = invoke.sample("gate", VALUES)
    assert gate["report_uri"] == "s3://bucket/runs/run/report"
    assert digest_in(gate["exit_message"]) == VALUES["REPORT_SHA256"]
    assert invoke.sample("smoke", VALUES) == {"endpoint_name": "dogs", "report_uri": "s3://bucket/runs/run/report"}
    assert invoke.sample("plan", VALUES)["request"] == {"dataset": "datasets/photos.zip"}


def test_every_function_of_the_template_has_a_sample(template):
    resources = template["Resources"].items()  # A function with a condition is not in every stack.
    functions = {
        name for name, each in resources if each["Type"] == "AWS::Serverless::Function" and "Condition" not in each
    }
    assert functions == {f"{name.capitalize()}Function" for name in invoke.SAMPLES.values()}


def test_sample_of_a_functions_measurement_is_one():
    sample = invoke.sample("measure-function", VALUES)
    assert FunctionMeasurePlan.model_validate(sample).function.name == "dogs-model"


def test_samples_of_the_api_have_the_forms_of_rest_api_and_url():
    rest, by_url = invoke.sample("classify", VALUES), invoke.sample("classify-url", VALUES)
    assert (rest["requestContext"]["stage"], by_url["requestContext"]["stage"]) == ("v1", "$default")
    assert (rest.get("version"), by_url["version"]) == (None, "2.0")
    location = json.loads(invoke.sample("classify-s3", VALUES)["body"])
    assert location == {"s3": "s3://bucket/uploads/sample.jpg"}
    assert invoke.sample("health", VALUES)["path"] == "/health"


def test_functions_declare_the_variable_for_the_laptops_address(template):
    """SAM sets only variables that the template declares. Without a value there, AWS never sees this one."""
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["AWS_ENDPOINT_URL"] == {"Ref": "AWS::NoValue"}


@pytest.mark.parametrize(
    ("output", "raised"),
    [
        ('{"num_photos": 8}', False),
        ('{"statusCode": 503}', False),
        ('noise\n{"errorType": "SmokeError", "errorMessage": "…"}', True),
        ("", True),
    ],
)
def test_output_shows_whether_the_function_raised(output, raised):
    assert invoke._raised(output) is raised
