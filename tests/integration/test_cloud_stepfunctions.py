"""State machines that train, wait, stop and fail on the laptop cloud, with AWS's error names."""

import json
import uuid
from typing import Any

import pytest

from tests.integration.laptop import ROLE, Cloud, eventually

PROGRAM = """
import json, sys, time
from pathlib import Path
root = Path(__file__).resolve().parents[3]
parameters = json.loads((root / "input/config/hyperparameters.json").read_text())
time.sleep(float(parameters["sleep"]))
if parameters["fail"] == "yes":
    (root / "output/failure").write_text("no dogs")
    sys.exit(1)
"""


@pytest.fixture(scope="module")
def states(cloud: Cloud, s3: Any) -> Any:
    s3.put_object(Bucket="kennel", Key="sfn/launch.py", Body=PROGRAM.encode())
    return cloud.client("stepfunctions")


def training(name: str, fail: str = "no", sleep: str = "0") -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://kennel/sfn/"}
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "x",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/launch.py"],
        },
        "HyperParameters": {"fail": fail, "sleep": sleep},
        "InputDataConfig": [{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": "s3://kennel/sfn-out"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }


def task(resource: str, arguments: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"arn:aws:states:::{resource}",
        "Arguments": arguments,
        "TimeoutSeconds": 60,
        "End": True,
        **members,
    }


def start(states: Any, *tasks: dict[str, Any]) -> str:
    """Start a state machine of tasks, one after the other; the execution's ARN."""
    names = [f"Task{number}" for number in range(len(tasks))]
    definition = {
        "QueryLanguage": "JSONata",
        "StartAt": names[0],
        "States": {
            name: {**{key: value for key, value in each.items() if key != "End"}, "Next": following}
            if following
            else each
            for name, each, following in zip(names, tasks, [*names[1:], None], strict=True)
        },
    }
    machine = states.create_state_machine(
        name=f"machine-{uuid.uuid4().hex[:8]}", definition=json.dumps(definition), roleArn=ROLE
    )
    arn: str = states.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"]
    return arn


def ended(states: Any, arn: str) -> dict[str, Any]:
    return eventually(lambda: states.describe_execution(executionArn=arn), lambda seen: seen["status"] != "RUNNING")


def test_sync_training_returns_the_description(states: Any) -> None:
    name = f"sync-{uuid.uuid4().hex[:6]}"
    done = ended(states, start(states, task("sagemaker:createTrainingJob.sync", training(name))))
    assert done["status"] == "SUCCEEDED", done.get("cause")
    output = json.loads(done["output"])
    assert output["TrainingJobStatus"] == "Completed"
    assert output["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://kennel/sfn-out/{name}/output/model.tar.gz"
    assert output["TrainingEndTime"] > 1_600_000_000_000  # epoch milliseconds
    assert output["SecondaryStatusTransitions"][0]["StartTime"] > 1_600_000_000_000


def test_a_failed_job_fails_the_task_with_its_description(states: Any) -> None:
    name = f"fails-{uuid.uuid4().hex[:6]}"
    done = ended(states, start(states, task("sagemaker:createTrainingJob.sync", training(name, fail="yes"))))
    assert (done["status"], done["error"]) == ("FAILED", "States.TaskFailed")
    assert json.loads(done["cause"])["FailureReason"] == "AlgorithmError: no dogs, exit code: 1"


def test_a_refused_request_has_the_name_of_aws(states: Any) -> None:
    request = training("wrong_name")
    done = ended(states, start(states, task("sagemaker:createTrainingJob.sync", request)))
    assert (done["status"], done["error"]) == ("FAILED", "SageMaker.AmazonSageMakerException")
    assert "regular expression" in done["cause"]


def test_stopping_the_execution_stops_the_job(states: Any, sagemaker: Any) -> None:
    name = f"aborted-{uuid.uuid4().hex[:6]}"
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 3}]
    request = training(name, sleep="60")
    arn = start(states, task("sagemaker:createTrainingJob.sync", request, Retry=retry))

    def look() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
        return found

    eventually(look, lambda found: bool(found) and found[0]["TrainingJobStatus"] == "InProgress")
    states.stop_execution(executionArn=arn, error="Interrupted", cause="Ctrl-C")
    eventually(look, lambda found: found[0]["TrainingJobStatus"] == "Stopped")
    assert ended(states, arn)["status"] == "ABORTED"  # and stays so: nothing writes FAILED over it
    assert len(look()) == 1  # the retrier did not run


def test_a_task_that_times_out_stops_its_job(states: Any, sagemaker: Any) -> None:
    name = f"timed-out-{uuid.uuid4().hex[:6]}"
    request = training(name, sleep="60")
    arn = start(states, task("sagemaker:createTrainingJob.sync", request, TimeoutSeconds=1))
    assert ended(states, arn)["error"] == "States.Timeout"
    eventually(
        lambda: sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"],
        lambda status: status == "Stopped",
    )


@pytest.mark.parametrize(
    ("resource", "arguments", "error"),
    [
        ("sagemaker:describeEndpoint", {"EndpointName": "nobody"}, "SageMaker.SageMakerException"),
        (
            "sagemaker:describeEndpointConfig",
            {"EndpointConfigName": "nobody"},
            "SageMaker.SageMakerException",
        ),
        (
            "applicationautoscaling:deregisterScalableTarget",
            {
                "ServiceNamespace": "sagemaker",
                "ResourceId": "endpoint/nobody/variant/AllTraffic",
                "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            },
            "ApplicationAutoScaling.ObjectNotFoundException",
        ),
        ("ssm:getParameter", {"Name": "/nobody"}, "Ssm.ParameterNotFoundException"),
    ],
)
def test_sdk_integrations_fail_with_the_names_of_aws(
    states: Any, resource: str, arguments: dict[str, Any], error: str
) -> None:
    done = ended(states, start(states, task(f"aws-sdk:{resource}", arguments)))
    assert (done["status"], done["error"]) == ("FAILED", error), done


def test_sdk_integrations_answer_as_the_sdk_does(cloud: Cloud, states: Any) -> None:
    topic = cloud.client("sns").create_topic(Name="news")["TopicArn"]
    name = f"/kennel/{uuid.uuid4().hex[:6]}"
    done = ended(
        states,
        start(
            states,
            task("aws-sdk:ssm:putParameter", {"Name": name, "Value": "v", "Type": "String", "Overwrite": False}),
            task("aws-sdk:ssm:getParameter", {"Name": name}, Output="{% $states.result.Parameter.Value %}"),
            task("aws-sdk:ssm:deleteParameter", {"Name": name}),
            task("sns:publish", {"TopicArn": topic, "Message": "done"}),
            task("aws-sdk:sagemaker:listEndpoints", {"NameContains": "nobody"}),
        ),
    )
    assert done["status"] == "SUCCEEDED", done.get("cause")
    assert json.loads(done["output"]) == {"Endpoints": []}


def test_a_taken_parameter_and_a_second_run_of_a_name_are_told_apart(states: Any) -> None:
    name = f"/kennel/{uuid.uuid4().hex[:6]}"
    put = task("aws-sdk:ssm:putParameter", {"Name": name, "Value": "v", "Type": "String", "Overwrite": False})
    done = ended(states, start(states, put, put))
    assert (done["status"], done["error"]) == ("FAILED", "Ssm.ParameterAlreadyExistsException")
