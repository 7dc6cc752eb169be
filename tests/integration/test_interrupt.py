"""``python -m local interrupt``: its output, its refusals, and the job afterwards."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.laptop import ROOT, Cloud, eventually
from tests.integration.training_jobs import training

SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    "ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
}


@pytest.fixture
def home(cloud: Cloud, tmp_path: Path) -> Path:
    """The runner's folder; its laptop cloud is the one of the tests."""
    (tmp_path / "cloud").symlink_to(cloud.home)
    (tmp_path / "cloud.json").write_text(json.dumps({"pid": cloud.process.pid, "port": cloud.port}))
    return tmp_path


@pytest.fixture
def job(sagemaker: Any, s3: Any) -> Iterator[Any]:
    """Return a function that starts a sleeping job, waits until it trains, and returns its name."""
    names = []

    def start(**changes: Any) -> str:
        names.append(f"interrupt-{uuid.uuid4().hex[:6]}")
        sagemaker.create_training_job(**training(s3, names[-1], sleep="60") | changes)
        eventually(lambda: statuses(sagemaker, names[-1])[-1], lambda status: status == "Training")
        return names[-1]

    yield start
    for name in names:
        if sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress":
            sagemaker.stop_training_job(TrainingJobName=name)
        eventually(lambda name=name: statuses(sagemaker, name)[-1], lambda status: status == "Stopped")  # type: ignore[misc]


def statuses(sagemaker: Any, name: str) -> list[str]:
    described = sagemaker.describe_training_job(TrainingJobName=name)
    return [each["Status"] for each in described["SecondaryStatusTransitions"]]


def interrupt(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "local", "interrupt", *arguments]
    environment = os.environ | {"KENNEL_HOME": str(home)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_interrupt_prints_the_steps_back_to_training(home: Path, job: Any, sagemaker: Any) -> None:
    name = job(**SPOT)
    process = interrupt(home)
    assert (process.returncode, process.stderr) == (0, "")
    first, *steps = process.stdout.splitlines()
    assert first == f"{name}: algo-2 is taken away, and with it the job's other instances"
    assert [step.split()[0] for step in steps] == ["Interrupted", "Starting", "Downloading", "Training"]
    assert statuses(sagemaker, name)[3:] == ["Interrupted", "Starting", "Downloading", "Training"]
    assert interrupt(home, name, "--host", "algo-1").stdout.startswith(f"{name}: algo-1 is taken away")
    assert statuses(sagemaker, name).count("Interrupted") == 2


def test_interrupt_refuses_with_a_sentence(home: Path, job: Any, sagemaker: Any) -> None:
    assert refusal(interrupt(home)).endswith("; make run EVENT=events/pipeline-spot.json starts one")
    assert refusal(interrupt(home, "nobody")) == "there is no training job nobody (Requested resource not found.)"
    on_demand = job()
    assert (
        refusal(interrupt(home, on_demand))
        == f"training job {on_demand} is not a spot job, so its instances cannot be taken away"
    )
    assert refusal(interrupt(home)).startswith("no spot training job is running (")
    one, other = job(**SPOT), job(**SPOT)
    assert refusal(interrupt(home)) == f"2 spot training jobs are running; name one: {one}, {other}"
    assert refusal(interrupt(home, one, "--host", "algo-3")) == (
        f"training job {one} has no host algo-3; it has algo-1, algo-2"
    )
    sagemaker.stop_training_job(TrainingJobName=one)
    eventually(lambda: statuses(sagemaker, one)[-1], lambda status: status == "Stopped")
    assert refusal(interrupt(home, one)) == f"training job {one} has ended: it is Stopped"
    assert statuses(sagemaker, other) == ["Starting", "Downloading", "Training"]


def refusal(process: "subprocess.CompletedProcess[str]") -> str:
    """Return the sentence with which a command was refused."""
    assert (process.returncode, process.stdout) == (1, "")
    return process.stderr.strip()
