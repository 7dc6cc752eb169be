"""``python -m local capstone`` on a kennel with a small model: all rows, what a second call keeps, and Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from proofs.capstone.table import ROWS
from sketchbook import write
from tests.integration.laptop import ROOT
from tests.slow.test_notebook import BREEDS, COUNTS, REQUEST, Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]  # seconds; the machine may be shared


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A laptop cloud on which a small model serves."""
    folder = tmp_path_factory.mktemp("capstone")
    photos = write(folder / "sketches", seed=5, counts=COUNTS, breeds=BREEDS, size=160)
    (folder / "request.json").write_text(json.dumps(REQUEST))
    home = Home(folder / "home")
    try:
        home.local("run", "--data", str(photos), "--event", str(folder / "request.json"), "--port", str(home.port))
        yield home
    finally:
        home.local("down")


def capstone(home: Home, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "local", "capstone", *options],
        cwd=ROOT,
        env={**os.environ, "KENNEL_HOME": str(home.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left(home: Home) -> list[str]:
    """Return what would cost by the hour, and roles and buckets that belong to nobody any more."""
    sagemaker, iam, s3 = home.client("sagemaker"), home.client("iam"), home.client("s3")
    names = [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]]
    names += [each["RoleName"] for each in iam.list_roles()["Roles"]]
    names += [each["Name"] for each in s3.list_buckets()["Buckets"]]
    names += [each["FunctionName"] for each in home.client("lambda").list_functions()["Functions"]]
    names += [
        each["TrainingJobName"]
        for each in sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
    ]
    return [name for name in names if re.match(r"capstone|sagemaker-loot|AmazonSageMaker-|classify-", name)]


def test_ctrl_c_leaves_nothing_and_is_told(home: Home) -> None:
    process = capstone(home, "--only", "training")
    sagemaker, deadline = home.client("sagemaker"), time.monotonic() + 120
    while not sagemaker.list_training_jobs(NameContains="capstone-pair")["TrainingJobSummaries"]:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command goes on from there" in output
    assert "Traceback" not in output
    while left(home):  # A stopping job takes a moment.
        assert time.monotonic() < deadline + 120
        time.sleep(0.1)
    assert not (home.folder / "capstone" / "training.json").exists()


def test_all_rows_are_green_and_a_second_call_keeps_them(home: Home) -> None:
    process = capstone(home)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert f"{len(ROWS)} of {len(ROWS)} rows green" in output
    assert left(home) == []
    page = (home.folder / "capstone.html").read_text()
    assert page.count('<h2><span class="mark green">') == len(ROWS)
    again, _ = (second := capstone(home)).communicate()
    assert second.returncode == 0, again
    assert len(re.findall(r"^  \w+ +kept ", again, re.MULTILINE)) == len(ROWS)


def test_evidence_that_somebody_changed_is_collected_again(home: Home) -> None:
    file = home.folder / "capstone" / "data.json"
    kept = json.loads(file.read_text())
    kept["evidence"]["found"]["fingerprint"] = "0" * 16
    file.write_text(json.dumps(kept))
    process = capstone(home, "--only", "data")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "1 row, 1 to collect" in output
    assert json.loads(file.read_text())["evidence"]["found"]["fingerprint"] != "0" * 16
