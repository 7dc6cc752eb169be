"""The receipt's function from event to document."""

import importlib
import json
from types import SimpleNamespace

import boto3
import pytest
from botocore.stub import Stubber

from tests.unit.functions.executions import Execution, at
from tests.unit.functions.model_functions import Lambda
from tests.unit.functions.test_receipt import RUN, known_prices  # noqa: F401 (its prices are for these tests, too)


class Pages:
    """A client whose paginators give these items."""

    def __init__(self, **items):
        self.items, self.put = items, []

    def get_paginator(self, _operation):
        (name, found) = next(iter(self.items.items()))
        pages = [{name: found[:2]}, {name: found[2:]}] if found else [{}]
        return SimpleNamespace(paginate=lambda **_: pages)

    def list_objects_v2(self, **request):
        assert request == {"Bucket": "b", "Prefix": "runs/r-0a1b2c/", "MaxKeys": 1}
        return {"KeyCount": len(self.items["Contents"])}

    def put_object(self, **request):
        self.put.append(request)


@pytest.fixture
def app(monkeypatch):
    """The function's module, as a function of the stack ``kennel`` imports it."""
    settings = {
        "BUCKET": "b",
        "ENDPOINT_NAME": "kennel",
        "ARCHITECTURE": "x86_64",
        "MEMORY": '{"plan": 1024}',
        "WARM_FUNCTIONS": "0",
        "MONTHLY_DOLLARS": "0",
        "HAS_DASHBOARD": "true",
        "IMAGE_REPOSITORY": "000000000000.dkr.ecr.us-east-1.amazonaws.com/kennel-images-x",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    module = importlib.import_module("receipt.app")
    monkeypatch.setattr(module, "ecr", Pages(imageDetails=[{"imageSizeInBytes": 2 * 10**9, "imagePushedAt": at(-9)}]))
    monkeypatch.setattr(module, "lambdas", Lambda())
    return module


CONTEXT = SimpleNamespace(
    get_remaining_time_in_millis=lambda: 300_000,
    function_name="kennel-receipt",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:x",
    aws_request_id="1",
)
ARN = "arn:aws:states:us-east-1:000000000000:execution:kennel-pipeline:20261130-101500"


def test_a_run_that_plan_refused_gets_a_receipt_of_its_transitions_and_functions(app, monkeypatch):
    execution = Execution()
    number = execution.schedule("lambda:invoke", {"FunctionName": "arn:f:kennel-plan"}, 0, execution.enter("Plan", 0))
    execution.fail(2, number, "RequestError", "no dogs")
    missing = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    bucket = Pages(Contents=[])
    monkeypatch.setattr(app, "states", Pages(events=execution.events))
    monkeypatch.setattr(app, "sagemaker", missing)
    monkeypatch.setattr(app, "s3", bucket)
    with Stubber(missing) as stubber:
        stubber.add_client_error("describe_endpoint", "ValidationException", "no")
        receipt = app.handler({"execution": ARN, "to_come": 2}, CONTEXT)
    # 2 s with 1 GB, one call, and three transitions
    assert receipt["dollars"] == pytest.approx(2e-05 + 2e-07 + 3 * 2e-05)
    (images,) = [line for line in receipt["monthly"] if "images of earlier runs" in line["what"]]
    assert images["dollars_per_month"] == pytest.approx(0.2)
    (dashboard,) = [line for line in receipt["monthly"] if "dashboard" in line["what"]]
    assert dashboard["dollars_per_month"] == 3.0
    assert not receipt["is_lower_bound_per_month"]
    assert receipt["run"].startswith("20261130-101500-")
    assert bucket.put[0]["Key"] == f"runs/{receipt['run']}/receipt.json"
    assert json.loads(bucket.put[0]["Body"]) == receipt


def test_a_service_that_refuses_leaves_a_note_and_a_lower_bound(app, monkeypatch):
    execution = Execution()
    execution.function("Plan", "plan", 0, 1, RUN)
    execution.task("Train", "aws-sdk:sagemaker:createTrainingJob", {"TrainingJobName": "kennel-r"}, 1, 2)
    refusing = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    monkeypatch.setattr(app, "states", Pages(events=execution.events))
    monkeypatch.setattr(app, "sagemaker", refusing)
    monkeypatch.setattr(app, "s3", Pages(Contents=[{"Key": "k", "Size": 1000}, {"Key": "l", "Size": 24}]))
    with Stubber(refusing) as stubber:
        stubber.add_client_error("describe_training_job", "ThrottlingException", "Rate exceeded")
        stubber.add_client_error("describe_endpoint", "ValidationException", "no")
        receipt = app.write(ARN, 2, lambda: True)
    assert receipt.is_lower_bound
    assert "Not metered: the training, because of" in receipt.notes[0]
    puts = next(line for line in receipt.lines if line.item == "s3/put")
    assert puts.quantity == 5  # two objects below each of two prefixes, and the receipt


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            {**RUN, "quote": "$1"},
            "Not metered: the jobs and endpoints of the run, because the answer of Plan lacks quote",
        ),
        (
            {**RUN, "training": "kennel-r"},
            "Not metered: the training on EC2, because documents of the run have another form (string indices must be",
        ),
        (
            {"dogs": 1},
            "Not metered: the jobs and endpoints of the run, because the answer of Plan lacks id, quote, endpoint",
        ),
        (
            {**RUN, "quote": {"build": None}, "training": {"job_name": "kennel-r"}},
            "Not metered: the training on EC2, because documents of the run lack 'ec2'; were they",
        ),
        (
            {**RUN, "endpoint": {"name": "kennel"}, "training": "kennel-r"},
            "Not metered: the endpoints, because documents of the run lack 'instance_type'; were they",
        ),
    ],
)
def test_a_run_of_another_release_has_a_receipt_that_says_what_it_leaves_out(app, monkeypatch, document, sentence):
    """Its state transitions and functions are priced in any case, and so is what Smoke sent."""
    execution = Execution()
    execution.function("Plan", "plan", 0, 1, document)
    execution.task("TrainOnEc2", "batch:submitJob.sync", {}, 1, 2, {}, {"JobId": "1"})
    execution.task("CreateStaging", "aws-sdk:sagemaker:createEndpoint", {"EndpointName": "kennel-r-s"}, 1, 2)
    execution.function("Smoke", "smoke", 2, 3, {"num_requests": 9})
    job = {"jobId": "1", "jobName": "j", "jobQueue": "q", "jobDefinition": "d", "status": "SUCCEEDED", "startedAt": 0}
    missing = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    monkeypatch.setattr(app, "states", Pages(events=execution.events))
    monkeypatch.setattr(app, "sagemaker", missing)
    monkeypatch.setattr(app, "batch", SimpleNamespace(describe_jobs=lambda jobs: {"jobs": [job] if jobs else []}))
    monkeypatch.setattr(app, "s3", Pages(Contents=[]))
    with Stubber(missing) as stubber:
        stubber.add_client_error("describe_endpoint", "ValidationException", "no")
        receipt = app.write(ARN, 2, lambda: True)
    assert sentence in receipt.text
    assert "Not priced: the bytes of the photos of Smoke, because its answer has no bytes_in" in receipt.notes
    assert receipt.is_lower_bound
    # Plan 1 s with 1 GB, Smoke 1 s with half a GB, two calls, four states and two to come
    known = [line for line in receipt.lines if line.item.startswith(("lambda/", "states/"))]
    assert sum(line.dollars for line in known) == pytest.approx(1.5e-05 + 4e-07 + 6 * 2e-05)


def test_a_repository_that_cannot_be_asked_leaves_a_line_without_a_price(app, monkeypatch):
    execution = Execution()
    ecr, sagemaker = (
        boto3.client(name, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        for name in ("ecr", "sagemaker")
    )
    monkeypatch.setattr(app, "states", Pages(events=execution.events))
    for name, client in (("ecr", ecr), ("sagemaker", sagemaker)):
        monkeypatch.setattr(app, name, client)
    with Stubber(ecr) as images, Stubber(sagemaker) as endpoint:
        images.add_client_error("describe_images", "AccessDeniedException", "no", expected_params=REPOSITORY)
        endpoint.add_client_error("describe_endpoint", "ValidationException", "no")
        receipt = app.write(ARN, 2, lambda: True)
    assert receipt.is_lower_bound_per_month
    assert receipt.monthly[-1].what.startswith("Not metered: the images of earlier runs in ECR, because of")


REPOSITORY = {"repositoryName": "kennel-images-x"}
