"""The proof for AWS accounts on laptop clouds: everything is deployed, proven and deleted again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.laptop import ROOT, Cloud, start_cloud

DEADLINE = 1200
# The steps that an emulator cannot prove and must not claim to prove.
UNPROVEN = {"nothing is left under the stack's tag"}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Start a laptop cloud, which replaces the account."""
    running = start_cloud(tmp_path_factory.mktemp("account") / "home")
    yield running
    running.stop()


@contextmanager
def smoke(home: Path, *arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Start the proof as a process, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proofs.aws_smoke", *arguments],
        cwd=ROOT,
        env=os.environ | {"KENNEL_HOME": str(home)} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # Then it deletes what it created.
            try:
                process.communicate(timeout=DEADLINE)
            finally:
                process.kill()


def read_record(home: Path) -> dict[str, Any]:
    return dict(json.loads((home / "aws-smoke.json").read_text()))


@pytest.mark.slow
def test_smoke_proves_everything_but_the_unproven_steps_and_leaves_nothing(account: Cloud, tmp_path: Path) -> None:
    with smoke(tmp_path, "--yes", **account.environment) as process:
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, output
    record = read_record(tmp_path)
    assert {row["what"] for row in record["rows"] if row["result"] == "not checked here"} == UNPROVEN
    proven = {row["what"]: row["detail"] for row in record["rows"] if row["result"] == "proven"}
    assert proven.keys() | UNPROVEN == {row["what"] for row in record["rows"]}
    assert proven["the API refuses a wrong key and a body that is not a photo"].startswith("403; 4")
    assert "1 endpoints, 1 configs, 1 models, 1 packages" in proven["teardown of everything succeeds"]
    assert record["left"] == []

    name = record["stack"]
    names = [bucket["Name"] for bucket in account.client("s3").list_buckets()["Buckets"]]
    names += [role["RoleName"] for role in account.client("iam").list_roles()["Roles"]]
    names += [policy["PolicyName"] for policy in account.client("iam").list_policies(Scope="Local")["Policies"]]
    names += [group["logGroupName"] for group in account.client("logs").describe_log_groups()["logGroups"]]
    names += [each["Name"] for each in account.client("ssm").describe_parameters()["Parameters"]]
    names += [each["TopicArn"] for each in account.client("sns").list_topics()["Topics"]]
    names += [each["repositoryName"] for each in account.client("ecr").describe_repositories()["repositories"]]
    sagemaker = account.client("sagemaker")
    names += [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]]
    names += [each["ModelName"] for each in sagemaker.list_models()["Models"]]
    groups = sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
    names += [each["ModelPackageGroupName"] for each in groups]
    assert [each for each in names if name in each] == []
    assert any(
        "samclisourcebucket" in each for each in names
    )  # SAM's own bucket stays, which shows that the lists work.
    keys = [account.client("kms").describe_key(KeyId=key["KeyId"]) for key in account.client("kms").list_keys()["Keys"]]
    states = {key["KeyMetadata"]["KeyState"] for key in keys if name in key["KeyMetadata"]["Description"]}
    assert states == {"PendingDeletion"}


@pytest.mark.slow
def test_ctrl_c_during_training_deletes_everything(tmp_path: Path) -> None:
    with smoke(tmp_path, "--laptop", "--yes") as process:
        assert process.stdout is not None
        deadline = time.monotonic() + DEADLINE
        for line in process.stdout:
            assert time.monotonic() < deadline
            if "epoch" in line:  # The training has started.
                break
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, output
    record = read_record(tmp_path)
    assert record["left"] == []
    results = {row["what"]: row["result"] for row in record["rows"]}
    assert results["a run is promoted"] == "failed"
    assert results["teardown of everything succeeds"] == "proven"
    assert results["nothing is left"] == "proven"


def test_without_yes_nothing_is_done(account: Cloud, tmp_path: Path) -> None:
    with smoke(tmp_path, **account.environment) as process:
        output, _ = process.communicate("no\n", timeout=DEADLINE)
    assert process.returncode == 1
    assert "ml.c7i.large, 10 min" in output
    assert output.endswith("nothing was done\n")
    assert not (tmp_path / "aws-smoke.json").exists()
