"""The laptop cloud as a process: how it starts, refuses to start, and ends without leaving processes."""

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud.core import processes
from tests.integration.laptop import IMAGE, ROLE, ROOT, Cloud, build_image, eventually, start_cloud

# The program's child leaves the process group, as torchrun's workers do, and both ignore SIGTERM.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
    print("up", flush=True)
time.sleep(120)
"""


@pytest.fixture
def busy_cloud(tmp_path: Path) -> Cloud:
    """Start a cloud of its own with a training job that ignores SIGTERM."""
    cloud = start_cloud(tmp_path / "home")
    build_image(cloud)
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="kennel")
    s3.put_object(Bucket="kennel", Key="code/launch.py", Body=STUBBORN.encode())
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://kennel/code/"}
    cloud.client("sagemaker").create_training_job(
        TrainingJobName="stubborn",
        RoleArn=ROLE,
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/launch.py"],
        },
        InputDataConfig=[{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": "s3://kennel/out"},
        ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 100},
    )
    eventually(children_of(cloud), lambda pids: len(pids) >= 2)
    return cloud


def children_of(cloud: Cloud) -> Callable[[], list[int]]:
    """Return a function that returns the ids of all live processes with the cloud's mark."""
    return lambda: processes.marked(f"cloud-{cloud.process.pid}-")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_a_cloud_that_is_asked_to_end(busy_cloud: Cloud, number: signal.Signals) -> None:
    assert busy_cloud.stop(number) == 0
    assert children_of(busy_cloud)() == []


def test_no_process_outlives_a_cloud_that_is_killed(busy_cloud: Cloud) -> None:
    assert busy_cloud.stop(signal.SIGKILL) == -signal.SIGKILL
    eventually(children_of(busy_cloud), lambda pids: pids == [])


def test_it_listens_on_loopback_only_and_reports_when_it_is_ready(cloud: Cloud) -> None:
    with urllib.request.urlopen(f"{cloud.url}/_ministack/health", timeout=5) as answer:
        assert answer.status == 200
    table = Path("/proc/net/tcp")
    if not table.exists():
        pytest.skip("reads /proc/net/tcp")
    listening = [line.split()[1] for line in table.read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert f"0100007F:{cloud.port:04X}" in listening
    assert f"00000000:{cloud.port:04X}" not in listening


def test_the_identity_is_the_laptops(cloud: Cloud) -> None:
    identity: Any = cloud.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"


def refusal(*arguments: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "cloud", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return ended.returncode, ended.stderr.strip()


def test_a_port_in_use_is_refused_in_one_sentence(cloud: Cloud, tmp_path: Path) -> None:
    code, message = refusal("--port", str(cloud.port), "--home", str(tmp_path / "home"))
    assert code == 1
    sentence = f"port {cloud.port} is in use; stop what listens there or give another --port."
    assert message.splitlines() == [f"The laptop cloud cannot start: {sentence}"]


def test_a_home_with_other_files_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    code, message = refusal("--port", "14999", "--home", str(tmp_path))
    assert (code, message.count("\n")) == (1, 0)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_names_that_ministack_lacks_are_listed() -> None:
    program = (
        "from cloud import hooks\n"
        "del hooks.stepfunctions.stepfunctions._run_execution, hooks.lambdas.lambda_runtime.reset\n"
        "hooks.check()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "HookMissingError: MiniStack" in ended.stderr
    missing = "ministack.core.lambda_runtime.reset, ministack.services.stepfunctions._run_execution"
    assert f"has no {missing};" in ended.stderr
