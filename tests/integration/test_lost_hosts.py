"""Jobs of the real training program on two hosts; each job loses a host, a rank, its disk space or a channel."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from typing import Any

import pytest
import safetensors.torch
import torch

from cloud.core import spot
from tests.integration.laptop import Cloud, eventually
from tests.integration.training_jobs import program, put_program

SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 900, "MaxWaitTimeInSeconds": 900},
}
JOB_SECONDS = 900  # A job takes this long at most, on a machine that may be several times slower.


@pytest.fixture(scope="module", autouse=True)
def channels(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    put_program(s3, tmp_path_factory.mktemp("program"))


def described(cloud: Cloud, name: str) -> dict[str, Any]:
    job: dict[str, Any] = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
    return job


def ended(cloud: Cloud, name: str) -> dict[str, Any]:
    final = ("Completed", "Failed", "Stopped")
    return eventually(lambda: described(cloud, name), lambda job: job["TrainingJobStatus"] in final, JOB_SECONDS)


def completed(cloud: Cloud, name: str) -> dict[str, Any]:
    job = ended(cloud, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    return job


def log_of(cloud: Cloud, name: str, host: str = "algo-1") -> str:
    file = cloud.home / f"training-jobs/{name}/{host}.log"
    return file.read_text() if file.is_file() else ""


def model_of(s3: Any, name: str) -> dict[str, bytes]:
    """Return the files of a job's model.tar.gz by their names."""
    body = s3.get_object(Bucket="kennel", Key=f"runs/{name}/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return {each.name: file.read() for each in archive if (file := archive.extractfile(each))}


def weights_of(model: dict[str, bytes]) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(model["model.safetensors"])


def ranks_of(cloud: Cloud, name: str, host: str = "") -> list[int]:
    """Return the process ids of a job's ranks, of one host or of all."""
    pids = cloud.pids(f"training-jobs/{name}/{host}".rstrip("/"))
    listed = subprocess.run(["ps", "-axww", "-o", "pid=", "-o", "command="], capture_output=True, text=True, check=True)
    ranks = [int(line.split(None, 1)[0]) for line in listed.stdout.splitlines() if "-m training.train" in line]
    return [pid for pid in pids if pid in ranks]


def train_until(cloud: Cloud, request: dict[str, Any], line: str) -> str:
    """Start a job, wait until its first host logs a line that begins so, and return the job's name."""
    name = str(request["TrainingJobName"])
    cloud.client("sagemaker").create_training_job(**request)
    eventually(lambda: re.search(f"^{line}", log_of(cloud, name), re.MULTILINE), bool, JOB_SECONDS)
    return name


@pytest.mark.parametrize(
    ("mode", "line", "hyperparameters"),
    [
        ("head", "epoch=3/200 ", {"epochs": "200", "global_batch_size": "4"}),
        pytest.param(
            *("full", "epoch=1/2 ", {"epochs": "1", "full_epochs": "2", "global_batch_size": "6"}),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["head", "full"],
)
def test_an_interrupted_job_ends_with_the_weights_of_an_uninterrupted_one(
    cloud: Cloud, s3: Any, mode: str, line: str, hyperparameters: dict[str, str]
) -> None:
    hyperparameters |= {"mode": mode, "checkpoint_seconds": "0", "precision": "fp32"}
    cut = train_until(cloud, program("cut", **hyperparameters) | SPOT, line)
    for pid in ranks_of(cloud, cut):
        os.kill(pid, signal.SIGSTOP)  # It must still be training when its checkpoint has reached S3.
    eventually(lambda: s3.list_objects_v2(Bucket="kennel", Prefix=f"kept/{cut}/{mode}-")["KeyCount"], bool)
    spot.interrupt(cloud.home, cut, "algo-2")
    steps = [each["Status"] for each in completed(cloud, cut)["SecondaryStatusTransitions"]]
    assert steps.count("Interrupted") == 1
    epochs = line.partition("/")[2].strip()
    assert re.search(rf"^resumed from epoch \d+ of {epochs}\b", log_of(cloud, cut), re.MULTILINE)

    whole = train_until(cloud, program("whole", **hyperparameters), line)
    completed(cloud, whole)
    model, expected = model_of(s3, cut), model_of(s3, whole)
    ddp = json.loads(model["ddp.json"])
    assert ddp == json.loads(expected["ddp.json"])
    assert (ddp["world_size"], ddp["in_sync"]) == (2, True)
    weights, expected_weights = weights_of(model), weights_of(expected)
    assert weights.keys() == expected_weights.keys()
    assert all(torch.equal(weights[key], tensor) for key, tensor in expected_weights.items())


@pytest.mark.parametrize("line", ["epoch=2/", r"\d+ photos"], ids=["in-a-step", "in-the-feature-pass"])
def test_a_rank_that_dies_fails_the_job_and_is_named(cloud: Cloud, line: str) -> None:
    name = train_until(cloud, program("dies", mode="head", epochs="10000"), line)
    (pid,) = ranks_of(cloud, name, "algo-2")
    os.kill(pid, signal.SIGKILL)
    job = eventually(lambda: described(cloud, name), lambda job: job["TrainingJobStatus"] == "Failed")
    reason = "AlgorithmError: training: rank 1 on algo-2 was killed by SIGKILL; the host may be out of memory"
    assert job["FailureReason"] == f"{reason}, exit code: 137"


FULL_DISK = 'mount -t tmpfs -o size=16k tmpfs "$1" && shift && exec "$0" "$@"'  # in its own mount namespace


def may_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return bool(shutil.which("unshare")) and subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["bash", "-c", 'ulimit -f 8; shift; exec "$0" "$@"'], r"\(File too large\)"),
        (
            ["unshare", "-rm", "sh", "-c", FULL_DISK],
            r"\(No space left on device\); give the job a larger volume",
        ),
    ],
    ids=["limit", "full"],
)
def test_a_disk_that_takes_no_more_is_named(cloud: Cloud, command: list[str], words: str) -> None:
    if command[0] == "unshare" and not may_mount():
        pytest.skip("needs the right to mount a small disk")
    request = program("full", mode="head", epochs="1")
    algorithm = request["AlgorithmSpecification"]
    _, *launcher = algorithm["ContainerEntrypoint"]
    request["AlgorithmSpecification"] = algorithm | {
        "ContainerEntrypoint": [*command, sys.executable, "/opt/ml/checkpoints", *launcher]
    }
    cloud.client("sagemaker").create_training_job(**request)
    reason = ended(cloud, request["TrainingJobName"])["FailureReason"]
    assert re.match(rf"AlgorithmError: storage: cannot write .*/checkpoints/.* {words}, exit code: 1$", reason)


def test_a_finished_training_leaves_a_few_bytes_which_the_next_one_deletes(cloud: Cloud, s3: Any) -> None:
    first = program("swept", mode="head", epochs="2", checkpoint_seconds="0")
    second = program("sweeps", mode="head", epochs="3") | {"CheckpointConfig": first["CheckpointConfig"]}
    prefix = f"{first['CheckpointConfig']['S3Uri'].removeprefix('s3://kennel/')}/"

    def kept(request: dict[str, Any]) -> dict[str, int]:
        """Run a job and return the size of each mirrored file that does not hold features."""
        cloud.client("sagemaker").create_training_job(**request)
        completed(cloud, request["TrainingJobName"])
        listed = s3.list_objects_v2(Bucket="kennel", Prefix=prefix)["Contents"]
        sizes = {each["Key"].removeprefix(prefix): each["Size"] for each in listed}
        assert not [name for name in sizes if name.startswith(".") or name.endswith(".tmp")]
        return {name: size for name, size in sizes.items() if name.startswith("head-")}

    ((old, size),) = kept(first).items()
    assert size == 55
    ((new, size),) = kept(second).items()
    assert (new != old, size) == (True, 55)


def test_a_missing_channel_is_named(cloud: Cloud) -> None:
    request = program("channel")
    request["InputDataConfig"] = [each for each in request["InputDataConfig"] if each["ChannelName"] != "dataset"]
    cloud.client("sagemaker").create_training_job(**request)
    reason = ended(cloud, request["TrainingJobName"])["FailureReason"]
    assert reason.startswith("AlgorithmError: launcher: no channel 'dataset' in ")
    assert "give the training job the input channels dataset and weights, exit code: 1" in reason
