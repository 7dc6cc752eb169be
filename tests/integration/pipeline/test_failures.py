"""Runs that fail: each names its reason, and the champion goes on serving."""

import json
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.integration.pipeline.kennel import DEPLOYED, Kennel, revoked, run_local, states_entered


def test_failed_training_is_compensated(kennel: Kennel) -> None:
    champion = kennel.champion()
    kennel.client("s3").put_object(Bucket=kennel.outputs()["BucketName"], Key="TrainedModels/w.pth", Body=b"no weights")
    request = {"dataset": kennel.dataset, "weights": "TrainedModels/w.pth"}
    execution = kennel.finish(kennel.start(request | {"hyperparameters": {"backbone": "resnet18"}}))
    assert execution["status"] == "FAILED"
    assert execution["error"] == "TrainingFailed"
    assert execution["cause"].startswith("AlgorithmError: backbone resnet18: cannot read w.pth")
    assert kennel.champion() == champion
    assert kennel.endpoints() == ["kennel"]
    assert not kennel.is_locked()


@pytest.mark.parametrize(
    ("role", "action", "request_", "last", "never"),
    [
        ("PipelineRole", "lambda:InvokeFunction", {}, "Plan", "FindStaging"),  # ExplainFailure fails too.
        ("PipelineRole", "iam:PassRole", {"reuse": False}, "Train", "Evaluate"),
        ("TrainingRole", "s3:GetObject", {"reuse": False}, "Train", "Evaluate"),
        ("PipelineRole", "ssm:PutParameter", {"promote": 1}, "Promote", "NotifyResult"),
    ],
)
def test_run_fails_at_the_step_whose_right_is_missing(
    kennel: Kennel, role: str, action: str, request_: dict[str, Any], last: str, never: str
) -> None:
    champion = kennel.champion()
    with revoked(kennel, role, action):
        arn = kennel.start(request_ if "promote" in request_ else request_ | {"dataset": kennel.dataset})
        execution = kennel.finish(arn)
    assert execution["status"] == "FAILED"
    assert f"is not authorized to perform: {action} on resource: " in execution["cause"]
    entered = states_entered(kennel, arn)
    assert last in entered
    assert never not in entered
    assert kennel.champion() == champion
    assert kennel.endpoints() == ["kennel"]
    assert not kennel.is_locked()


def test_wrong_request_fails_with_every_field_named(kennel: Kennel) -> None:
    execution = kennel.finish(kennel.start({"datset": "x", "min_top1": 7}))
    assert (execution["status"], execution["error"]) == ("FAILED", "RequestError")
    assert "datset" in execution["cause"]
    assert "min_top1" in execution["cause"]
    assert not kennel.is_locked()


def test_missing_dataset_fails_with_its_name(kennel: Kennel) -> None:
    execution = kennel.finish(kennel.start({"dataset": "datasets/nothing/"}))
    assert (execution["status"], execution["error"]) == ("FAILED", "DatasetError")
    assert "datasets/nothing/" in execution["cause"]


@pytest.mark.parametrize(
    ("request_", "parameter"),
    [
        ({"dataset": "photos/"}, "DatasetPrefix"),
        ({"weights": "runs/w.pth"}, "ModelPrefix"),
        ({"trained_model": "model.pth", "backbone": "resnet18"}, "ModelPrefix"),
    ],
)
def test_a_file_that_the_jobs_may_not_read_is_refused_before_anything_costs(
    kennel: Kennel, request_: dict[str, Any], parameter: str
) -> None:
    execution = kennel.finish(kennel.start({"dataset": kennel.dataset} | request_))
    assert (execution["status"], execution["error"]) == ("FAILED", "RequestError")
    assert f"deploy the stack with another {parameter}" in execution["cause"]
    assert not kennel.is_locked()


def test_archive_that_reaches_outside_itself_is_refused(kennel: Kennel, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../outside.jpg", b"x")
    kennel.client("s3").upload_file(str(tmp_path / "evil.zip"), kennel.outputs()["BucketName"], "datasets/evil.zip")
    execution = kennel.finish(kennel.start({"dataset": "datasets/evil.zip"}))
    assert execution["error"] == "DatasetError"
    assert "../outside.jpg" in execution["cause"]


def test_failed_run_exits_with_1_and_says_why(kennel: Kennel, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{"min_top1": 7}')
    command = ("run", "--data", str(kennel.photos), "--event", str(tmp_path / "event.json"))
    process = run_local(kennel.home, *command, program=DEPLOYED)
    assert process.returncode == 1
    assert "FAILED  RequestError: min_top1" in process.stdout
    assert json.loads((kennel.home / "last-run.json").read_text())["error"]["name"] == "RequestError"


def test_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = run_local(tmp_path, "up", "--port", str(port))
    assert process.returncode == 1
    assert process.stderr.startswith(f"port {port} is in use by another program")
    assert "Traceback" not in process.stderr
