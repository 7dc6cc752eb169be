"""The branch of the pipeline that trains, run by the laptop's interpreter with scripted answers of an account."""

import json
from collections import ChainMap
from typing import Any

import pytest

from cloud.stepfunctions import expressions, integrations, interpreter
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope, Task
from prices import billed

REPOSITORY = "000000000000.dkr.ecr.us-east-1.amazonaws.com/kennel-images"
DIGEST = f"sha256:{'0' * 64}"
OUTPUT = "s3://bucket/training/0123"
MODEL = f"{OUTPUT}/kennel-x/output/model.tar.gz"
RUN: dict[str, Any] = {
    "id": "x",
    "dataset": {"uri": "s3://bucket/dataset/", "counts": {"valid": 150}},
    "training": {
        "reused": None,
        "job_name": "kennel-x",
        "weights_uri": "s3://bucket/weights/w.pth",
        "output_uri": OUTPUT,
        "checkpoint_uri": "s3://bucket/checkpoints/w",
        "hyperparameters": {"epochs": "3"},
        "instance_type": "ml.c7i.xlarge",
        "instance_count": 2,
        "volume_key": {"VolumeKmsKeyId": "arn:k"},
        "spot": True,
        "ec2": None,
        "trained_models_uri": "s3://bucket/TrainedModels",
        "max_seconds": 14400,
        "max_attempts": 10,
        "spent": "",
    },
    "images": {
        "train": f"{REPOSITORY}@{DIGEST}",
        "repository": REPOSITORY,
        "training_build": None,
        "context": "bucket/images/1.zip",
        "context_version": "v1",
    },
    "network": {},
}
TO_BUILD = {
    "train": f"{REPOSITORY}:train-12ab",
    "base": "python:3@sha256:12",
    "training_build": {"targets": ["train"], "content_hash": "12ab"},
}
VPC = {"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}
NAME_TAKEN = StatesError("SageMaker.ResourceInUseException", "training job names must be unique")


PIN = {"etag": '"2"', "version_id": "v2"}


def versions(model: str = MODEL) -> dict[str, Any]:
    """Return ListObjectVersions's answer for a model that was written twice, with an object of a longer name beside."""
    key = model.removeprefix("s3://bucket/")
    named = [(key, '"2"', "v2", True), (key, '"1"', "v1", False), (f"{key}.bak", '"3"', "v3", True)]
    return {"Versions": [{"Key": k, "ETag": e, "VersionId": v, "IsLatest": latest} for k, e, v, latest in named]}


def job(status: str, model: str = MODEL, **more: str) -> dict[str, Any]:
    """Return DescribeTrainingJob's answer; SageMaker does not name the model while the job runs."""
    artifacts = {} if status == "InProgress" else {"ModelArtifacts": {"S3ModelArtifacts": model}}
    return {"TrainingJobStatus": status, "SecondaryStatus": status, **artifacts, **more}


class Account:
    """Services that answer as told.

    Args:
        answers: the answers of each action in their order; the last is repeated, and errors are raised.

    Attributes:
        calls: action and arguments of each call.
    """

    wait_scale = 0.0
    region = "us-east-1"

    def __init__(self, **answers: list[Any]) -> None:
        self._answers = {"listObjectVersions": [versions()]} | answers
        self.calls: list[tuple[str, Any]] = []

    def evaluate(self, expression: str, scope: Scope) -> Any:
        return expressions.evaluate(expression, scope.variables, scope.states())

    def check(self, resource: str, arguments: Any) -> None:
        integrations.check(resource, arguments)

    def invoke(self, task: Task) -> Any:
        resource, arguments = task.resource, task.arguments
        action = resource.rpartition(":")[2]
        self.calls.append((action, arguments))
        answers = self._answers[action]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, StatesError):
            raise answer
        return answer

    def record(self, _kind: str, _details: Any, previous: int) -> int:
        return previous + 1

    def of(self, action: str) -> list[Any]:
        return [arguments for called, arguments in self.calls if called == action]


@pytest.fixture
def train(machines, monkeypatch):
    """Return a function that runs the branch."""
    monkeypatch.setattr(interpreter, "sleep", lambda _: None)
    text = json.dumps(machines["pipeline"]["States"]["TrainAndBuildImages"]["Branches"][0])
    branch = json.loads(text.replace("${Bucket}", "bucket"))

    def run(account: Account, **changed: Any) -> Any:
        return Interpreter(account).run(branch, {}, Scope({}, ChainMap({"run": RUN | changed})))

    return run


def test_missing_image_is_built_before_the_training_which_names_its_digest(train):
    account = Account(
        **{"startBuild.sync": [{"Build": {"Id": "kennel-images:1"}}]},
        batchGetImage=[{"Images": [{"ImageId": {"ImageTag": "train-12ab", "ImageDigest": DIGEST}}]}],
        createTrainingJob=[{"TrainingJobArn": "arn"}],
        describeTrainingJob=[job("InProgress"), job("InProgress"), job("Completed")],
    )
    assert train(account, images=RUN["images"] | TO_BUILD) == {"job": "kennel-x", "model_uri": MODEL, **PIN}
    asked = ["startBuild.sync", "batchGetImage", "createTrainingJob"] + ["describeTrainingJob"] * 3
    asked += ["listObjectVersions"]
    assert [action for action, _ in account.calls] == asked
    (build,), (tag,), (request,) = (account.of(action) for action in asked[:3])
    assert (build["SourceLocationOverride"], build["SourceVersion"]) == ("bucket/images/1.zip", "v1")
    variables = {each["Name"]: each["Value"] for each in build["EnvironmentVariablesOverride"]}
    assert variables == {"TARGETS": "train", "CONTENT_HASH": "12ab", "BASE_IMAGE": "python:3@sha256:12"}
    assert tag["ImageIds"] == [{"ImageTag": "train-12ab"}]
    assert request["AlgorithmSpecification"]["TrainingImage"] == f"{REPOSITORY}@{DIGEST}"
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 14400, "MaxWaitTimeInSeconds": 28800}
    assert request["EnableInterContainerTrafficEncryption"] is True
    assert "VpcConfig" not in request


def test_image_that_exists_is_not_built(train):
    account = Account(createTrainingJob=[{}], describeTrainingJob=[job("Completed")])
    assert train(account)["job"] == "kennel-x"
    assert account.calls[0][1]["AlgorithmSpecification"]["TrainingImage"] == RUN["images"]["train"]


def test_training_in_a_vpc_sends_the_same_request_and_the_network(train):
    plain, in_vpc = (Account(createTrainingJob=[{}], describeTrainingJob=[job("Completed")]) for _ in range(2))
    train(plain)
    train(in_vpc, network=VPC)
    assert in_vpc.calls[0][1] == plain.calls[0][1] | VPC


def test_lost_answer_finds_the_job_that_the_first_request_started(train):
    account = Account(
        createTrainingJob=[StatesError("SageMaker.SageMakerException", "try again"), NAME_TAKEN],
        describeTrainingJob=[job("InProgress"), job("Completed")],
    )
    assert train(account) == {"job": "kennel-x", "model_uri": MODEL, **PIN}
    assert len(account.of("createTrainingJob")) == 2


@pytest.mark.parametrize(
    ("described", "cause"),
    [
        (job("Failed", FailureReason="AlgorithmError: no dogs, exit code: 1"), "AlgorithmError: no dogs, exit code: 1"),
        (
            job("Stopped") | {"SecondaryStatus": "MaxRuntimeExceeded"},
            "the training job kennel-x ended early: MaxRuntimeExceeded",
        ),
        (
            job("Completed", "s3://bucket/training/4567/kennel-x/output/model.tar.gz"),
            "there is an older training job kennel-x; start the run again",
        ),
    ],
    ids=["failed", "stopped", "of another training"],
)
def test_training_that_does_not_give_its_model_fails_the_run_with_the_reason(train, described, cause):
    account = Account(createTrainingJob=[NAME_TAKEN], describeTrainingJob=[job("InProgress"), described])
    with pytest.raises(StatesError) as failure:
        train(account)
    assert (failure.value.error, failure.value.cause) == ("TrainingFailed", cause)


LIMITED = {
    "max_seconds": 90,
    "max_attempts": 1,
    "spent": "max_dollars: spent; the training goes on from the checkpoint",
}


def test_training_whose_money_is_spent_says_so_and_every_other_end_is_told_as_before(train):
    limited = RUN["training"] | LIMITED
    stopped = {"TrainingJobStatus": "Stopped", "ModelArtifacts": {"S3ModelArtifacts": MODEL}}
    ends = {
        "MaxRuntimeExceeded": ("SpendingLimitError", LIMITED["spent"]),
        "MaxWaitTimeExceeded": ("TrainingFailed", "the training job kennel-x ended early: MaxWaitTimeExceeded"),
        "Stopped": ("TrainingFailed", "the training job kennel-x ended early: Stopped"),
    }
    for secondary, expected in ends.items():
        account = Account(createTrainingJob=[{}], describeTrainingJob=[stopped | {"SecondaryStatus": secondary}])
        with pytest.raises(StatesError) as failure:
            train(account, training=limited)
        assert (failure.value.error, failure.value.cause) == expected
    (request,) = account.of("createTrainingJob")
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 90, "MaxWaitTimeInSeconds": 14490}


def test_training_that_does_not_end_is_given_up_after_nine_hours(train, monkeypatch):
    account = Account(createTrainingJob=[{}], describeTrainingJob=[job("InProgress")])
    evaluate, now = account.evaluate, [1_000_000]

    def later(expression: str, scope: Scope) -> Any:
        now[0] += 3_600_000 * ("trainingDeadline" in expression)  # An hour passes between two checks.
        return evaluate(expression.replace("$millis()", str(now[0])), scope)

    monkeypatch.setattr(account, "evaluate", later)
    with pytest.raises(StatesError, match="the training job did not end within 9 hours"):
        train(account)
    assert len(account.of("describeTrainingJob")) == 10


ON_EC2 = RUN["training"] | {
    "job_name": "kennel-x-ec2",
    "output_uri": "s3://bucket/training/0123",
    "ec2": {
        "instance_type": "c7i.xlarge",
        "ranks": 2,
        "queue": "arn:queue",
        "needs": [{"Type": "VCPU", "Value": "4"}, {"Type": "MEMORY", "Value": "7168"}],
    },
}
DEFINED = {"JobDefinitionArn": "arn:definition:1"}


def failed(reason: str, **container: str) -> StatesError:
    """Return the error of a job of Batch that did not succeed."""
    ended = {"JobName": "kennel-x-ec2", "StatusReason": reason, "Container": container}
    return StatesError("States.TaskFailed", json.dumps(ended))


def ec2_account(**answers: list[Any]) -> Account:
    defaults = {"registerJobDefinition": [DEFINED], "deregisterJobDefinition": [{}]}
    return Account(**defaults | {"submitJob.sync": [{}]} | answers)


def test_training_on_ec2_defines_its_job_runs_it_and_forgets_it(train):
    model = "s3://bucket/training/0123/kennel-x-ec2/output/model.tar.gz"
    account = ec2_account(listObjectVersions=[versions(model)])
    assert train(account, training=ON_EC2) == {"job": "kennel-x-ec2", "model_uri": model, **PIN}
    assert [action for action, _ in account.calls] == [
        "registerJobDefinition",
        "submitJob.sync",
        "deregisterJobDefinition",
        "listObjectVersions",
    ]
    (definition,), (job_request,) = account.of("registerJobDefinition"), account.of("submitJob.sync")
    container = definition["ContainerProperties"]
    assert (container["Image"], container["Command"]) == (RUN["images"]["train"], ["batch"])
    variables = {each["Name"]: each["Value"] for each in container["Environment"]}
    assert variables["OUTPUT_URI"] == "s3://bucket/training/0123/kennel-x-ec2/output"
    assert variables["TRAINED_MODELS_URI"] == "s3://bucket/TrainedModels/kennel-x-ec2"
    assert json.loads(variables["HYPERPARAMETERS"]) == {"epochs": "3"}
    assert variables["RANKS"] == "2"
    told = {"container": {"environment": [{"name": name, "value": value} for name, value in variables.items()]}}
    assert billed.ec2_type(told) == ON_EC2["ec2"]["instance_type"]
    assert definition["RetryStrategy"]["EvaluateOnExit"][0] == {"OnStatusReason": "Host EC2*", "Action": "RETRY"}
    assert job_request == {"JobName": "kennel-x-ec2", "JobQueue": "arn:queue", "JobDefinition": "arn:definition:1"}


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ({"getObject": [{"Body": "training: no dogs"}]}, "training: no dogs"),
        (
            {"getObject": [StatesError("S3.NoSuchKeyException", "no such key")]},
            "the job on EC2 kennel-x-ec2 failed: Task failed to start; CannotPullContainerError: no such image",
        ),
    ],
    ids=["a job that ran", "a job that never ran"],
)
def test_failed_training_on_ec2_fails_the_run_with_the_reason(train, answers, cause):
    end = failed("Task failed to start", Reason="CannotPullContainerError: no such image")
    account = ec2_account(**{"submitJob.sync": [end]}, **answers)
    with pytest.raises(StatesError) as failure:
        train(account, training=ON_EC2)
    assert (failure.value.error, failure.value.cause) == ("TrainingFailed", cause)
    assert len(account.of("submitJob.sync")) == 1
    assert account.of("deregisterJobDefinition") == [{"JobDefinition": "arn:definition:1"}]


@pytest.mark.parametrize(
    ("reason", "more", "error"),
    [
        ("Job attempt duration exceeded timeout", LIMITED, "SpendingLimitError"),
        ("Job attempt duration exceeded timeout", {}, "TrainingFailed"),
        ("Host EC2 (instance i-0) terminated.", LIMITED, "TrainingFailed"),
    ],
)
def test_training_on_ec2_whose_money_is_spent_says_so(train, reason, more, error):
    missing = StatesError("S3.NoSuchKeyException", "no such key")
    for forget in ({}, StatesError("Batch.ClientException", "no")):
        account = ec2_account(
            **{"submitJob.sync": [failed(reason)]}, getObject=[missing], deregisterJobDefinition=[forget]
        )
        with pytest.raises(StatesError) as failure:
            train(account, training=ON_EC2 | more)
        assert failure.value.error == error
        assert (failure.value.cause == LIMITED["spent"]) == (error == "SpendingLimitError")
    (definition,) = account.of("registerJobDefinition")
    seconds, attempts = (90, 1) if more else (14400, 10)
    assert definition["Timeout"] == {"AttemptDurationSeconds": seconds}
    assert definition["RetryStrategy"]["Attempts"] == attempts


def test_model_that_was_trained_elsewhere_is_taken_without_a_job(train):
    account = Account()
    own = {"uri": "s3://bucket/TrainedModels/model.pth", "etag": "e", "backbone": "resnet18"}
    taken = train(account, training=None, own_model=own)
    model = {"model_uri": "s3://bucket/TrainedModels/model.pth", "etag": "e", "version_id": ""}
    assert taken == {"job": "none", **model}
    assert account.calls == []


def teardown_states(machines, begin, end, queues):
    """Return states of teardown up to another, in a stack with these queues."""
    states = machines["teardown"]["States"]
    text = json.dumps({"StartAt": begin, "States": {begin: states[begin], end: {"Type": "Pass", "End": True}}})
    spot, on_demand = queues
    for name, value in {"EndpointName": "kennel", "Ec2SpotQueue": spot, "Ec2OnDemandQueue": on_demand}.items():
        text = text.replace(f"${{{name}}}", value)
    return json.loads(text)


def ec2_jobs(*statuses):
    jobs = [{"JobId": f"{each}-{n}", "JobName": f"kennel-{n}-ec2", "Status": each} for n, each in enumerate(statuses)]
    return {"JobSummaryList": jobs}


@pytest.mark.parametrize(
    ("queues", "ended"), [(("arn:spot", "arn:demand"), ["RUNNABLE-0", "RUNNING-2", "STARTING-0"]), (("none",) * 2, [])]
)
def test_teardown_ends_the_jobs_on_ec2_of_an_abandoned_run(machines, queues, ended):
    account = Account(
        listJobs=[ec2_jobs("RUNNABLE", "FAILED", "RUNNING"), ec2_jobs("STARTING", "SUCCEEDED")], terminateJob=[{}]
    )
    states = teardown_states(machines, "StopEc2Trainings", "ListEndpoints", queues)
    Interpreter(account).run(states, {}, Scope({}, ChainMap({})))
    asked = [each["JobQueue"] for each in account.of("listJobs")]
    assert sorted(asked) == sorted(each for each in queues if each != "none")
    assert all(each["Filters"] == [{"Name": "JOB_NAME", "Values": ["kennel-*"]}] for each in account.of("listJobs"))
    assert sorted(each["JobId"] for each in account.of("terminateJob")) == ended


def test_teardown_goes_on_when_batch_refuses(machines):
    account = Account(listJobs=[StatesError("Batch.ClientException", "no such queue")])
    states = teardown_states(machines, "StopEc2Trainings", "ListEndpoints", ("arn:spot", "none"))
    Interpreter(account).run(states, {}, Scope({}, ChainMap({})))
    assert account.of("listJobs")


@pytest.mark.parametrize(("queues", "found"), [(("arn:spot", "arn:demand"), 2), (("none",) * 2, 0)])
def test_teardown_of_everything_waits_for_jobs_on_ec2(machines, queues, found):
    account = Account(listJobs=[ec2_jobs("RUNNING", "FAILED")])
    states = teardown_states(machines, "FindEc2Trainings", "CheckJobs", queues)
    names = Interpreter(account).run(states, {"names": ["kennel-x"]}, Scope({}, ChainMap({})))["names"]
    assert names == ["kennel-x"] + ["kennel-0-ec2"] * found
