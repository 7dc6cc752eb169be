"""What a job finds at /opt/ml, and what its owner is told when it leaves nothing there: in containers and without."""

import io
import tarfile
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from cloud.core import containers
from tests.integration.builds import build
from tests.integration.laptop import REPOSITORY, ROLE, Cloud, eventually, serving_cloud

DOCKERFILE = """
FROM base AS train
WORKDIR /opt/program
COPY program.py program.py
ENTRYPOINT ["python", "program.py"]
"""
# It takes no path from its arguments or its environment.
PROGRAM = """
import json, socket
from pathlib import Path
config = json.loads(Path("/opt/ml/input/config/resourceconfig.json").read_text())
for name in config["hosts"]:
    socket.gethostbyname(name)
if not Path("/opt/ml/input/config/hyperparameters.json").read_text().count("empty"):
    Path("/opt/ml/model/weights").write_text(config["current_host"])
if config["current_host"] == "algo-1":
    print("done")
"""
NOTHING = "laptop cloud: the job succeeded, but left nothing in /opt/ml/{}; SageMaker completes such a job, too"
CLUSTER = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A laptop cloud that behaves as on a machine whose kernel allows no namespaces."""
    with serving_cloud(tmp_path_factory.mktemp("without") / "home", KENNEL_NAMESPACES="off") as running:
        build_program(running)
        yield running


@pytest.fixture(scope="module")
def within(cloud: Cloud) -> Cloud:
    """The laptop cloud of the other tests, whose jobs run in containers."""
    if not containers.available():
        pytest.skip("this machine allows no namespaces")
    build_program(cloud)
    return cloud


def build_program(cloud: Cloud) -> None:
    files = {"serving/Dockerfile": DOCKERFILE, "program.py": PROGRAM}
    assert build(cloud, files, "train", "p1")["buildStatus"] == "SUCCEEDED"


def train(cloud: Cloud, count: int = 1, **hyperparameters: str) -> dict[str, Any]:
    """Run the program as a training job and return its description at the end."""
    sagemaker, name = cloud.client("sagemaker"), f"container-{uuid.uuid4().hex[:6]}"
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=ROLE,
        AlgorithmSpecification={"TrainingImage": f"{REPOSITORY}:train-p1", "TrainingInputMode": "File"},
        HyperParameters=hyperparameters,
        OutputDataConfig={"S3OutputPath": "s3://kennel/containers"},
        ResourceConfig=CLUSTER | {"InstanceCount": count},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    return eventually(
        lambda: dict(sagemaker.describe_training_job(TrainingJobName=name)),
        lambda job: job["TrainingJobStatus"] in ("Completed", "Failed"),
    )


def process(cloud: Cloud, *command: str) -> dict[str, Any]:
    """Run a command as a processing job with one output and return its description at the end."""
    sagemaker, name = cloud.client("sagemaker"), f"container-{uuid.uuid4().hex[:6]}"
    output = {"S3Uri": f"s3://kennel/{name}", "LocalPath": "/opt/ml/processing/report", "S3UploadMode": "EndOfJob"}
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        RoleArn=ROLE,
        AppSpecification={"ImageUri": f"{REPOSITORY}:train-p1", "ContainerEntrypoint": list(command)},
        ProcessingOutputConfig={"Outputs": [{"OutputName": "report", "S3Output": output}]},
        ProcessingResources={"ClusterConfig": CLUSTER},
    )
    return eventually(
        lambda: dict(sagemaker.describe_processing_job(ProcessingJobName=name)),
        lambda job: job["ProcessingJobStatus"] in ("Completed", "Failed"),
    )


def model(cloud: Cloud, job: dict[str, Any]) -> dict[str, str]:
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://kennel/")
    body = cloud.client("s3").get_object(Bucket="kennel", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {each.name: file.read().decode() for each in tar if (file := tar.extractfile(each))}


def log(cloud: Cloud, kind: str, job: str) -> list[str]:
    """Return what the first host's log in CloudWatch says."""
    logs, group = cloud.client("logs"), f"/aws/sagemaker/{kind}Jobs"
    (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/algo-1")["logStreams"]
    return eventually(
        lambda: [
            each["message"]
            for each in logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        ],
        lambda lines: len(lines) > 1 or kind == "Processing",
    )


def test_a_model_written_to_opt_ml_arrives_and_peers_are_known(within: Cloud) -> None:
    job = train(within, count=2)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    assert model(within, job) == {"weights": "algo-1"}


def test_a_host_has_a_log_stream_once_it_has_written_a_line(within: Cloud) -> None:
    job = train(within, count=2)
    streams = within.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{job['TrainingJobName']}/"
    )
    assert [each["logStreamName"].partition("/")[2][:6] for each in streams["logStreams"]] == ["algo-1"]


def test_an_empty_model_is_told(within: Cloud) -> None:
    job = train(within, empty="yes")
    assert (job["TrainingJobStatus"], model(within, job)) == ("Completed", {})
    assert log(within, "Training", job["TrainingJobName"]) == ["done", NOTHING.format("model")]


def test_an_empty_output_is_told(within: Cloud) -> None:
    job = process(within, "true")
    assert job["ProcessingJobStatus"] == "Completed"
    lines = eventually(lambda: log(within, "Processing", job["ProcessingJobName"]), bool)
    assert lines == [NOTHING.format("processing/report")]


def test_without_namespaces_a_job_that_leaves_nothing_fails(without: Cloud) -> None:
    job = process(without, "true")
    assert job["ProcessingJobStatus"] == "Failed"
    folder = f"{without.home}/processing-jobs/{job['ProcessingJobName']}/algo-1/opt/ml/processing/report"
    assert job["FailureReason"].startswith(
        f"ClientError: the job succeeded, but left nothing in /opt/ml/processing/report, which is {folder}. "
        "This machine allows no namespaces"
    )


def test_without_namespaces_paths_out_of_reach_are_refused(without: Cloud) -> None:
    job = process(without, "sh", "-c", "echo report > /opt/ml/processing/report/x")
    assert job["FailureReason"].startswith("ClientError: the command names /opt/ml where the laptop cloud cannot")
    job = train(without, output="/opt/ml/model")
    assert job["FailureReason"].startswith("ClientError: hyperparameter output names /opt/ml where the laptop cloud")


def test_without_namespaces_arguments_lead_to_opt_ml(without: Cloud) -> None:
    write = "import sys; open(sys.argv[1] + '/x', 'w').write('report')"
    job = process(without, "python3", "-c", write, "/opt/ml/processing/report")
    assert job["ProcessingJobStatus"] == "Completed"
    key = f"{job['ProcessingJobName']}/x"
    assert without.client("s3").get_object(Bucket="kennel", Key=key)["Body"].read() == b"report"
