"""Training jobs of the laptop cloud: real processes, configuration, channels, metrics, checkpoints, logs."""

import io
import json
import os
import signal
import tarfile
import uuid
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud.core import containers, spot
from tests.integration.builds import build
from tests.integration.laptop import IMAGE, REPOSITORY, ROLE, Cloud, eventually
from tests.integration.training_jobs import IMAGE as AWS_IMAGE

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Nothing else would end process 1 of a container early.
root = Path(__file__).resolve().parents[4]  # <root>/input/data/code/training/launch.py
config = json.loads((root / "input/config/resourceconfig.json").read_text())
parameters = json.loads((root / "input/config/hyperparameters.json").read_text())
rank = config["hosts"].index(config["current_host"])
(root / "checkpoints").mkdir(exist_ok=True)
before = sorted(path.name for path in (root / "checkpoints").iterdir())
if parameters.get("fail_on_rank") == str(rank):
    (root / "output/failure").write_text("the photos are upside down")
    sys.exit(3)
if parameters.get("sleep") and not before:  # A job that starts again finds checkpoints and does not sleep.
    (root / "model/unfinished.txt").write_text("half a model")
    (root / f"checkpoints/rank{rank}.pt").write_text("half way")
    print("sleeping", flush=True)
    time.sleep(float(parameters["sleep"]))
(root / "checkpoints/first.pt").unlink(missing_ok=True)
for epoch in (1, 2):
    print(f"epoch={epoch}/2 train_loss={1 / epoch:.4f}", flush=True)
(root / f"checkpoints/rank{rank}.pt").write_text("done")
report = {"rank": rank, "config": config, "before": before, "environment": dict(os.environ),
        "arguments": sys.argv[1:], "data": (root / "input/data/dataset/train/a.txt").read_text(),
        "channels": json.loads((root / "input/config/inputdataconfig.json").read_text())}
(root / "output/data" / f"rank{rank}.json").write_text(json.dumps(report))
if rank == 0:
    (root / "model/model.txt").write_text("weights")
"""


@pytest.fixture(scope="module", autouse=True)
def code(s3: Any) -> None:
    s3.put_object(Bucket="kennel", Key="code/training/launch.py", Body=PROGRAM.encode())
    s3.put_object(Bucket="kennel", Key="data/train/a.txt", Body=b"a photo")


def job(name: str, **changes: Any) -> dict[str, Any]:
    request = {
        "TrainingJobName": f"{name}-{uuid.uuid4().hex[:6]}",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": AWS_IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/training/launch.py"],
            "ContainerArguments": ["--model", "/opt/ml/model", "--out=/opt/ml/output/data", "/opt/mlx"],
            "MetricDefinitions": [{"Name": "train:loss", "Regex": r"train_loss=([0-9.]+)"}],
        },
        "HyperParameters": {"epochs": "2"},
        "InputDataConfig": [channel("code", "s3://kennel/code"), channel("dataset", "s3://kennel/data/")],
        "OutputDataConfig": {"S3OutputPath": "s3://kennel/runs"},
        "ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    return request | changes


def channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    """Return a job's description once it has ended."""
    return eventually(
        lambda: sagemaker.describe_training_job(TrainingJobName=name),
        lambda description: description["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"),
    )


def test_two_hosts_train_and_leave_model_checkpoints_metrics_and_logs(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    for checkpoint in ("earlier.pt", "first.pt"):
        s3.put_object(Bucket="kennel", Key=f"checkpoints/a/{checkpoint}", Body=b"from before")
    request = job(
        "two-hosts",
        CheckpointConfig={"S3Uri": "s3://kennel/checkpoints/a"},
        Environment={"GREETING": "hello", "CACHE": "/opt/ml/cache"},
        Tags=[{"Key": "run", "Value": "1"}],
    )
    name = request["TrainingJobName"]
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    assert arn == f"arn:aws:sagemaker:us-east-1:000000000000:training-job/{name}"
    done = ended(sagemaker, name)
    assert done["TrainingJobStatus"] == "Completed", done.get("FailureReason")
    assert [each["Status"] for each in done["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert done["BillableTimeInSeconds"] == done["TrainingTimeInSeconds"] >= 1
    assert done["FinalMetricDataList"][0]["MetricName"] == "train:loss"
    assert done["FinalMetricDataList"][0]["Value"] == pytest.approx(0.5)
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "run", "Value": "1"}]

    outputs = archive(s3, f"runs/{name}/output/output.tar.gz")
    assert archive(s3, done["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://kennel/")) == {
        "model.txt": b"weights"
    }
    assert list(outputs) == ["rank0.json"]  # SageMaker keeps the output of algo-1 only.
    report = json.loads(outputs["rank0.json"])
    root = "/opt/ml" if containers.available() else f"{cloud.home}/training-jobs/{name}/algo-1/opt/ml"
    assert report["arguments"] == ["--model", f"{root}/model", f"--out={root}/output/data", "/opt/mlx"]
    assert report["before"] == ["earlier.pt", "first.pt"]
    assert report["data"] == "a photo"
    assert report["config"]["hosts"] == ["algo-1", "algo-2"]
    assert report["channels"]["dataset"]["TrainingInputMode"] == "File"
    second = json.loads((cloud.home / f"training-jobs/{name}/algo-2/opt/ml/output/data/rank1.json").read_text())
    assert second["config"]["current_host"] == "algo-2"
    environment = report["environment"]
    assert environment["GREETING"] == "hello"
    assert environment["CACHE"] == f"{root}/cache"
    assert (environment["TRAINING_JOB_NAME"], environment["TRAINING_JOB_ARN"]) == (name, arn)
    assert environment.get("MASTER_ADDR") == (None if containers.available() else "127.0.0.1")
    assert environment["MASTER_PORT"] == second["environment"]["MASTER_PORT"]
    assert environment["OMP_NUM_THREADS"] == str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert not [key for key in environment if key.startswith(("AWS_", "SM_", "PYTEST"))]

    checkpoints = s3.list_objects_v2(Bucket="kennel", Prefix="checkpoints/a/")["Contents"]
    assert sorted(each["Key"].rpartition("/")[2] for each in checkpoints) == ["earlier.pt", "rank0.pt", "rank1.pt"]
    # No host uploads a checkpoint that it has downloaded: its old copy could overwrite a newer one of another host.
    decisions = [json.loads(line) for line in (cloud.home / "authorizations.jsonl").read_text().splitlines()]
    earlier = [each for each in decisions if each["resource"] == "arn:aws:s3:::kennel/checkpoints/a/earlier.pt"]
    assert "s3:PutObject" not in [each["action"] for each in earlier if "assumed-role" in each["principal"]]

    logs = cloud.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
    assert [each["logStreamName"].split("/")[1][:7] for each in streams] == ["algo-1-", "algo-2-"]
    events = logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"])["events"]
    assert [each["message"] for each in events] == [
        "epoch=1/2 train_loss=1.0000",
        "epoch=2/2 train_loss=0.5000",
    ]
    assert (cloud.home / f"training-jobs/{name}/algo-1.log").read_text().splitlines() == [
        each["message"] for each in events
    ]
    metrics = cloud.client("cloudwatch").list_metrics(Namespace=group, MetricName="train:loss")["Metrics"]
    assert {"Name": "TrainingJobName", "Value": name} in [each["Dimensions"][0] for each in metrics]


def archive(s3: Any, key: str) -> dict[str, bytes]:
    body = s3.get_object(Bucket="kennel", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {each.name: file.read() for each in tar if (file := tar.extractfile(each))}


def test_a_failing_host_stops_the_others_and_gives_the_reason(sagemaker: Any, s3: Any) -> None:
    request = job("fails", HyperParameters={"fail_on_rank": "1", "sleep": "30"})
    sagemaker.create_training_job(**request)
    done = ended(sagemaker, request["TrainingJobName"])
    assert done["TrainingJobStatus"] == done["SecondaryStatus"] == "Failed"
    assert done["FailureReason"] == "AlgorithmError: the photos are upside down, exit code: 3"
    assert "Contents" not in s3.list_objects_v2(Bucket="kennel", Prefix=f"runs/{request['TrainingJobName']}")


def test_a_stopped_job_ends_soon_and_keeps_its_checkpoints(sagemaker: Any, s3: Any) -> None:
    request = job(
        "stops",
        HyperParameters={"sleep": "60"},
        CheckpointConfig={"S3Uri": "s3://kennel/checkpoints/stops"},
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 100},
    )
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    eventually(
        lambda: s3.list_objects_v2(Bucket="kennel", Prefix="checkpoints/stops/").get("KeyCount"),
        lambda count: count == 2,
    )
    sagemaker.stop_training_job(TrainingJobName=name)
    assert ended(sagemaker, name)["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="is in status Stopped"):
        sagemaker.stop_training_job(TrainingJobName=name)


def test_a_job_past_its_time_is_stopped_and_its_model_kept(sagemaker: Any, s3: Any) -> None:
    request = job("late", HyperParameters={"sleep": "60"}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    sagemaker.create_training_job(**request)
    done = ended(sagemaker, request["TrainingJobName"])
    assert (done["TrainingJobStatus"], done["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert archive(s3, done["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://kennel/")) == {
        "unfinished.txt": b"half a model"
    }


SPOT = {"EnableManagedSpotTraining": True, "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}}


def start_sleeping(cloud: Cloud, job: dict[str, Any]) -> None:
    """Start a job that sleeps, and wait until it sleeps and, if it has checkpoints, until they are in S3."""
    cloud.client("sagemaker").create_training_job(**job)
    log = cloud.home / f"training-jobs/{job['TrainingJobName']}/algo-2.log"
    eventually(lambda: log.is_file() and "sleeping" in log.read_text(), bool)
    if "CheckpointConfig" in job:
        prefix = job["CheckpointConfig"]["S3Uri"].removeprefix("s3://kennel/")
        s3 = cloud.client("s3")
        eventually(lambda: s3.list_objects_v2(Bucket="kennel", Prefix=prefix)["KeyCount"], lambda count: count == 2)


def statuses(description: dict[str, Any]) -> list[str]:
    return [each["Status"] for each in description["SecondaryStatusTransitions"]]


def test_an_interrupted_spot_job_starts_again_with_its_checkpoints_alone(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    config = {"CheckpointConfig": {"S3Uri": "s3://kennel/checkpoints/spot"}}
    request = job("spot", HyperParameters={"sleep": "60"}, **config, **SPOT)
    name = request["TrainingJobName"]
    start_sleeping(cloud, request)
    spot.interrupt(cloud.home, name, "algo-2")
    done = ended(sagemaker, name)
    assert statuses(done) == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert done["TrainingStartTime"] <= done["SecondaryStatusTransitions"][1]["StartTime"]
    assert done["BillableTimeInSeconds"] == done["TrainingTimeInSeconds"] >= 1
    model = archive(s3, done["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://kennel/"))
    assert list(model) == ["model.txt"]
    report = json.loads(archive(s3, f"runs/{name}/output/output.tar.gz")["rank0.json"])
    assert report["before"] == ["rank0.pt", "rank1.pt"]
    assert report["data"] == "a photo"
    log = (cloud.home / f"training-jobs/{name}/algo-1.log").read_text().splitlines()
    assert log == ["sleeping", "epoch=1/2 train_loss=1.0000", "epoch=2/2 train_loss=0.5000"]


def test_a_host_that_dies_by_itself_is_no_interruption(cloud: Cloud, sagemaker: Any) -> None:
    request = job("crashes", HyperParameters={"sleep": "60"}, **SPOT)
    name = request["TrainingJobName"]
    start_sleeping(cloud, request)
    for pid in cloud.pids(f"training-jobs/{name}/algo-2"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    done = ended(sagemaker, name)
    assert statuses(done)[-1] == "Failed"
    assert "Interrupted" not in statuses(done)
    assert done["FailureReason"] == "AlgorithmError: , exit code: 137"


def test_a_job_that_is_no_spot_job_keeps_its_instances(cloud: Cloud, sagemaker: Any) -> None:
    request = job("on-demand", HyperParameters={"sleep": "2"})
    start_sleeping(cloud, request)
    spot.interrupt(cloud.home, request["TrainingJobName"], "algo-2")
    done = ended(sagemaker, request["TrainingJobName"])
    assert statuses(done) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]


def test_a_spot_job_past_its_waiting_time_is_stopped(sagemaker: Any) -> None:
    # The job waits before it runs, so the waiting time is over first.
    limits = {"MaxRuntimeInSeconds": 2, "MaxWaitTimeInSeconds": 2}
    request = job("waits", HyperParameters={"sleep": "60"}, **SPOT | {"StoppingCondition": limits})
    sagemaker.create_training_job(**request)
    done = ended(sagemaker, request["TrainingJobName"])
    assert done["TrainingJobStatus"] == "Stopped"
    assert statuses(done)[2:] == ["Training", "Stopping", "Uploading", "MaxWaitTimeExceeded"]


@pytest.mark.parametrize("uri", ["s3://kennel/nothing-here/", "s3://kennel-nobody/code/", "s3://kennel-west/code/"])
def test_a_channel_without_objects_in_the_region_is_refused(sagemaker: Any, s3: Any, uri: str) -> None:
    if "west" in uri:
        s3.create_bucket(Bucket="kennel-west", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        s3.put_object(Bucket="kennel-west", Key="code/launch.py", Body=b"")
    with pytest.raises(ClientError, match=rf'ValidationException.*No S3 objects found under S3 URL "{uri}" given in'):
        sagemaker.create_training_job(**job("empty", InputDataConfig=[channel("code", uri)]))


def test_names_are_unique_and_unknown_jobs_are_named(sagemaker: Any) -> None:
    request = job("twice")
    sagemaker.create_training_job(**request)
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="must be unique"):
        sagemaker.create_training_job(**request)
    with pytest.raises(ClientError, match=r"ValidationException.*Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName="nobody")
    ended(sagemaker, request["TrainingJobName"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TrainingJobName": "under_score"}, "regular expression pattern"),
        (
            {"ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.toy", "VolumeSizeInGB": 1}},
            "enum value set",
        ),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds"),
        ({"InputDataConfig": [channel("a b", "s3://kennel/code")]}, "regular expression pattern"),
        (
            {"AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": AWS_IMAGE}},
            "ContainerEntrypoint",
        ),
        (
            {"AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": f"{REPOSITORY}:nobody"}},
            f"Cannot find the requested image: {REPOSITORY}:nobody",
        ),
        (
            {"AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": f"{REPOSITORY}-no:serve-1"}},
            "Cannot find repository: model-server-no in registry ID: 000000000000 Please check if your ECR repository",
        ),
        (
            {
                "AlgorithmSpecification": job("x")["AlgorithmSpecification"]
                | {"MetricDefinitions": [{"Name": "loss", "Regex": "loss=("}]}
            },
            r"MetricDefinitions: missing \)",
        ),
        (
            {"InputDataConfig": [channel("code", "http://kennel/code")]},
            "InputDataConfig|inputDataConfig|S3 URI",
        ),
    ],
)
def test_requests_that_cannot_run_are_refused(sagemaker: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=f"(?s)ValidationException.*({message})"):
        sagemaker.create_training_job(**job("refused", **changes))


def test_jobs_are_listed_in_pages(sagemaker: Any) -> None:
    data = [channel("data", "s3://kennel/data/")]  # There is no code, so each job fails at once.
    names = [job("listed")["TrainingJobName"] for _ in range(3)]
    for name in names:
        sagemaker.create_training_job(**job("x", TrainingJobName=name, InputDataConfig=data))
    for name in names:
        ended(sagemaker, name)
    first = sagemaker.list_training_jobs(NameContains="listed", MaxResults=2)
    rest = sagemaker.list_training_jobs(NameContains="listed", NextToken=first["NextToken"])
    summaries = first["TrainingJobSummaries"] + rest["TrainingJobSummaries"]
    assert [each["TrainingJobName"] for each in summaries] == names
    assert len(first["TrainingJobSummaries"]) == 2
    assert not sagemaker.list_training_jobs(NameContains="listed", StatusEquals="Completed")["TrainingJobSummaries"]


def test_a_processing_job_of_the_same_name_is_another_job(sagemaker: Any) -> None:
    request = job("same-name", HyperParameters={"sleep": "300"})
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    eventually(
        lambda: sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"],
        lambda status: status == "Training",
    )
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        RoleArn=ROLE,
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": ["true"]},
        ProcessingResources={"ClusterConfig": cluster},
    )
    eventually(
        lambda: sagemaker.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"],
        lambda status: status == "Completed",
    )
    running = sagemaker.describe_training_job(TrainingJobName=name)
    assert running["TrainingJobStatus"] == "InProgress"
    assert "ModelArtifacts" not in running
    sagemaker.stop_training_job(TrainingJobName=name)
    assert ended(sagemaker, name)["TrainingJobStatus"] == "Stopped"


# It is started as ``docker run IMAGE train`` and sees its image's files, variables and working directory.
TRAINER = """
import os, sys
from pathlib import Path
root = Path(__file__).parents[1] / "ml"  # beside /opt/trainer
facts = [*sys.argv[1:], os.environ["GREETING"], os.environ["KEPT"], Path.cwd().name]
(root / "model/facts.txt").write_text(" ".join(facts))
"""
TRAINER_DOCKERFILE = """
FROM base AS train
ENV PYTHONPATH=/opt/trainer GREETING=hello KEPT=image
WORKDIR /opt/trainer
COPY trainer.py trainer.py
ENTRYPOINT ["python", "-m", "trainer"]
FROM base AS silent
COPY trainer.py trainer.py
"""


@pytest.fixture(scope="module")
def trainer(cloud: Cloud) -> str:
    """Build images with and without an entry point, and return their URI without the target."""
    files = {"serving/Dockerfile": TRAINER_DOCKERFILE, "trainer.py": TRAINER}
    ended = build(cloud, files, "train silent", "t1")
    assert ended["buildStatus"] == "SUCCEEDED"
    return REPOSITORY


def test_an_image_is_started_by_its_entrypoint_with_the_word_train(
    trainer: str, cloud: Cloud, sagemaker: Any, s3: Any
) -> None:
    request = job("trainer", Environment={"GREETING": "welcome"})
    request["AlgorithmSpecification"] = {"TrainingImage": f"{trainer}:train-t1", "TrainingInputMode": "File"}
    sagemaker.create_training_job(**request)
    done = ended(sagemaker, request["TrainingJobName"])
    assert done["TrainingJobStatus"] == "Completed", done.get("FailureReason")
    model = archive(s3, done["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://kennel/"))
    assert model == {"facts.txt": b"train welcome image trainer"}
    assert list(cloud.home.glob("images/*/opt/ml")) == []  # Each host has a copy of the image.


def test_an_image_without_an_entrypoint_fails_in_aws_words(trainer: str, sagemaker: Any) -> None:
    request = job("silent")
    request["AlgorithmSpecification"] = {"TrainingImage": f"{trainer}:silent-t1", "TrainingInputMode": "File"}
    sagemaker.create_training_job(**request)
    done = ended(sagemaker, request["TrainingJobName"])
    assert done["TrainingJobStatus"] == "Failed"
    assert done["FailureReason"].startswith(
        "ClientError: CannotStartContainerError. Please make sure the container can be run with "
        "'docker run <image> train'."
    )
