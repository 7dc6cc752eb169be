"""The training image as a job of AWS Batch trains what SageMaker trains, also when its spot machine is taken away."""

import io
import json
import os
import re
import signal
import subprocess
import tarfile
import uuid
from pathlib import Path
from typing import Any

import pytest

from cloud.core import spot
from tests.integration.builds import build
from tests.integration.laptop import REPOSITORY, ROLE, ROOT, Cloud, eventually
from tests.integration.training_jobs import program, put_program

IMAGE = f"{REPOSITORY}:train-ec2"
DOCKERFILE = """
FROM base AS train
ENV PYTHONPATH=/opt/kennel
WORKDIR /opt/kennel
COPY dataset/ dataset/
COPY networks/ networks/
COPY training/ training/
ENTRYPOINT ["python", "-m", "training.launch", "--root", "/opt/ml"]
"""
JOB_SECONDS = 900  # A job takes this long at most, on a machine that may be several times slower.
HYPERPARAMETERS = {"epochs": "40", "global_batch_size": "4", "checkpoint_seconds": "0", "precision": "fp32"}
RULES = [{"onStatusReason": "Host EC2*", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]


@pytest.fixture(scope="module")
def queue(cloud: Cloud, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a queue for spot machines, beside the image and the channels."""
    put_program(s3, tmp_path_factory.mktemp("program"))
    code = [file for package in ("training", "networks", "dataset") for file in (ROOT / package).glob("*.py")]
    files = {str(file.relative_to(ROOT)): file.read_text() for file in code} | {"serving/Dockerfile": DOCKERFILE}
    assert build(cloud, files, "train", "ec2")["buildStatus"] == "SUCCEEDED"
    batch, name = cloud.client("batch"), f"train-{uuid.uuid4().hex[:6]}"
    iam = cloud.client("iam")
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=ROLE.rpartition("/")[2])
    resources = {
        "type": "SPOT",
        "allocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED",
        "maxvCpus": 4,
        "instanceTypes": ["c7i.xlarge"],
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
        "instanceRole": name,
    }
    batch.create_compute_environment(computeEnvironmentName=name, type="MANAGED", computeResources=resources)
    order = [{"order": 1, "computeEnvironment": name}]
    batch.create_job_queue(jobQueueName=name, priority=1, computeEnvironmentOrder=order)
    return name


def submit(cloud: Cloud, queue: str, name: str, **hyperparameters: str) -> str:
    """Submit a job as the pipeline does, and return its id."""
    variables = {
        "DATASET_URI": "s3://kennel/program/dataset/",
        "WEIGHTS_URI": "s3://kennel/program/weights",
        "CHECKPOINT_URI": f"s3://kennel/kept/{name}",
        "OUTPUT_URI": f"s3://kennel/runs/{name}/output",
        "TRAINED_MODELS_URI": f"s3://kennel/TrainedModels/{name}",
        "HYPERPARAMETERS": json.dumps(hyperparameters),
        "RANKS": "2",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    batch = cloud.client("batch")
    container = {
        "image": IMAGE,
        "command": ["batch"],
        "jobRoleArn": ROLE,
        "environment": [{"name": key, "value": value} for key, value in variables.items()],
        "resourceRequirements": [{"type": "VCPU", "value": "4"}, {"type": "MEMORY", "value": "7168"}],
    }
    strategy = {"attempts": 3, "evaluateOnExit": RULES}
    batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=container, retryStrategy=strategy
    )
    return str(batch.submit_job(jobName=name, jobQueue=queue, jobDefinition=name)["jobId"])


def ended(cloud: Cloud, job: str) -> dict[str, Any]:
    batch = cloud.client("batch")
    return eventually(
        lambda: batch.describe_jobs(jobs=[job])["jobs"][0],
        lambda found: found["status"] in ("SUCCEEDED", "FAILED"),
        JOB_SECONDS,
    )


def log_of(cloud: Cloud, job: str) -> str:
    files = sorted(Path(cloud.home / "batch-jobs" / job).glob("*.log"))
    return "".join(file.read_text() for file in files)


def ranks_of(cloud: Cloud, job: str) -> list[int]:
    listed = subprocess.run(["ps", "-axww", "-o", "pid=", "-o", "command="], capture_output=True, text=True, check=True)
    ranks = {int(line.split(None, 1)[0]) for line in listed.stdout.splitlines() if "-m training.train" in line}
    return [pid for pid in cloud.pids(f"batch-jobs/{job}") if pid in ranks]


def document_of(s3: Any, key: str, name: str) -> dict[str, Any]:
    body = s3.get_object(Bucket="kennel", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        file = archive.extractfile(name)
        assert file
        document: dict[str, Any] = json.load(file)
    return document


@pytest.mark.slow
def test_interrupted_training_on_ec2_ends_with_the_parameters_of_two_hosts_on_sagemaker(
    cloud: Cloud, s3: Any, queue: str
) -> None:
    name = f"ec2-{uuid.uuid4().hex[:6]}"
    job = submit(cloud, queue, name, **HYPERPARAMETERS)
    eventually(lambda: re.search("^epoch=3/40 ", log_of(cloud, job), re.MULTILINE), bool, JOB_SECONDS)
    assert len(ranks_of(cloud, job)) == 2
    for pid in ranks_of(cloud, job):
        os.kill(pid, signal.SIGSTOP)  # It must still be training when its checkpoint has reached S3.
    eventually(lambda: s3.list_objects_v2(Bucket="kennel", Prefix=f"kept/{name}/head-")["KeyCount"], bool)
    spot.interrupt(cloud.home, job, "", spot.BATCH_JOBS)
    found = ended(cloud, job)
    assert (found["status"], len(found["attempts"])) == ("SUCCEEDED", 2), log_of(cloud, job)
    second = (cloud.home / "batch-jobs" / job / "2.log").read_text()
    assert "epoch=40/40 " in second
    assert "epoch=1/40 " not in second
    ours = document_of(s3, f"runs/{name}/output/model.tar.gz", "ddp.json")
    assert ours == document_of(s3, f"TrainedModels/{name}/model.tar.gz", "ddp.json")
    assert ours["world_size"] == 2

    request = program("peer", **HYPERPARAMETERS)
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_training_job(**request)
    peer = request["TrainingJobName"]
    eventually(
        lambda: sagemaker.describe_training_job(TrainingJobName=peer)["TrainingJobStatus"],
        lambda status: status == "Completed",
        JOB_SECONDS,
    )
    theirs = document_of(s3, f"runs/{peer}/output/model.tar.gz", "ddp.json")
    assert ours["parameter_checksums"] == theirs["parameter_checksums"]
    assert (ours["steps"], ours["samples_per_rank"]) == (theirs["steps"], theirs["samples_per_rank"])


def test_failed_training_on_ec2_leaves_its_reason_and_no_model(cloud: Cloud, s3: Any, queue: str) -> None:
    name = f"ec2-{uuid.uuid4().hex[:6]}"
    found = ended(cloud, submit(cloud, queue, name, epochs="many"))
    assert (found["status"], len(found["attempts"]), found["container"]["exitCode"]) == ("FAILED", 1, 1)
    reason = s3.get_object(Bucket="kennel", Key=f"runs/{name}/output/failure")["Body"].read().decode()
    assert reason.startswith("hyperparameters: 'epochs' must be a whole number")
    assert s3.list_objects_v2(Bucket="kennel", Prefix=f"TrainedModels/{name}/")["KeyCount"] == 0
