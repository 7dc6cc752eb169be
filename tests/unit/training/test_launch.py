"""Tests of the launcher on one host: SageMaker's configuration files, the ranks' variables, the first host's name."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from training import launch
from training.launch import (
    PEER_LOST_EXIT_CODE,
    HostConfig,
    LaunchError,
    Ranks,
    StopSignal,
    wait_for_name,
    write_failure,
)

RESOURCES = {"current_host": "algo-2", "hosts": ["algo-1", "algo-10", "algo-2"], "network_interface_name": "eth0"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def opt_ml(root: Path, **documents: Any) -> Path:
    """Build a host's tree; a string is written as it is, and None writes no file."""
    for channel in launch.CHANNELS:
        (root / "input/data" / channel).mkdir(parents=True)
    (root / "input/data/weights/resnet50.pth").touch()
    (root / "input/config").mkdir()
    for name, document in {"resourceconfig": RESOURCES, "hyperparameters": {"epochs": "3"}, **documents}.items():
        if document is not None:
            text = document if isinstance(document, str) else json.dumps(document)
            (root / f"input/config/{name}.json").write_text(text)
    return root


def test_ranks_are_numbered_and_wired_by_resourceconfig_alone(tmp_path: Path) -> None:
    variables = HostConfig(opt_ml(tmp_path)).environment(local_rank=1, num_local=2)
    assert variables["HOST_NAME"] == "algo-2"  # The second host, before algo-10.
    assert (variables["RANK"], variables["WORLD_SIZE"]) == ("3", "6")
    assert (variables["LOCAL_RANK"], variables["LOCAL_WORLD_SIZE"]) == ("1", "2")
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("algo-1", "29500")
    assert (variables["GLOO_SOCKET_IFNAME"], variables["NCCL_SOCKET_IFNAME"]) == ("eth0", "eth0")


def test_the_hyperparameters_of_a_tuning_job_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_JOB_NAME", "kennel-x-r-001-c0ffee00")
    delivered = {
        "epochs": "3",
        "candidate": '{"pull":"0.2","seed":"8"}',
        "_tuning_objective_metric": "valid:top1",
    }
    command = HostConfig(opt_ml(tmp_path, hyperparameters=delivered)).command()
    assert json.loads(command[command.index("--hyperparameters") + 1]) == {"epochs": "3", "pull": "0.2", "seed": "8"}
    # The training jobs of a tuning job share a place in S3.
    folder = command[command.index("--checkpoint-dir") + 1]
    assert folder == str(tmp_path / "checkpoints/kennel-x-r-001-c0ffee00")


def test_the_hyperparameters_that_a_candidate_names_are_unpacked(tmp_path: Path) -> None:
    delivered = {
        "candidate": '{"of":"candidate_1","seed":"8"}',
        "candidate_0": '{"pull":"0.1"}',
        "candidate_1": '{"pull":"0.2"}',
    }
    command = HostConfig(opt_ml(tmp_path, hyperparameters=delivered)).command()
    assert json.loads(command[command.index("--hyperparameters") + 1]) == {"pull": "0.2", "seed": "8"}
    with pytest.raises(LaunchError, match="hyperparameter candidate_2 is no JSON object: it is missing"):
        HostConfig(opt_ml(tmp_path / "2", hyperparameters={"candidate": '{"of":"candidate_2","seed":"8"}'}))


def test_other_trainings_have_the_whole_folder_of_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_JOB_NAME", "kennel-x")
    command = HostConfig(opt_ml(tmp_path)).command()
    assert command[command.index("--checkpoint-dir") + 1] == str(tmp_path / "checkpoints")


def test_a_candidate_that_is_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="hyperparameter candidate is no JSON object: 3"):
        HostConfig(opt_ml(tmp_path, hyperparameters={"candidate": "3"}))


def test_ranks_get_no_stray_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SM_HOSTS", "SM_NUM_GPUS", "TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "GLOO_SOCKET_IFNAME", "KEPT"):
        monkeypatch.setenv(name, "77")
    variables = HostConfig(opt_ml(tmp_path)).environment(local_rank=0, num_local=1)
    assert not [name for name in variables if name.startswith(("SM_", "TORCHELASTIC_"))]
    assert (variables["RANK"], variables["WORLD_SIZE"], variables["GLOO_SOCKET_IFNAME"]) == ("1", "3", "eth0")
    assert variables["KEPT"] == "77"


def test_hosts_of_one_machine_connect_to_the_given_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "4242")
    variables = HostConfig(opt_ml(tmp_path)).environment(local_rank=0, num_local=1)
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("127.0.0.1", "4242")


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ({"resourceconfig": None}, "cannot read .*/input/config/resourceconfig.json .*No such file"),
        ({"hyperparameters": "{epochs: 3}"}, "cannot read .*/hyperparameters.json .*Expecting property name"),
        ({"hyperparameters": ["epochs", 3]}, "hyperparameters.json holds no JSON object"),
        ({"resourceconfig": {"hosts": ["algo-1"]}}, "names no current_host among hosts .'current_host'"),
        ({"resourceconfig": {"current_host": "algo-3", "hosts": ["algo-1"]}}, "names no current_host among hosts"),
        ({"resourceconfig": {"current_host": "algo-1", "hosts": 1}}, "names no current_host among hosts"),
        ({"resourceconfig": {"current_host": "algo-1", "hosts": [1]}}, "names no current_host among hosts"),
    ],
)
def test_configuration_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, documents: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(LaunchError, match=f"^launcher: .*{sentence}"):
        HostConfig(opt_ml(tmp_path, **documents))


def test_backbone_is_read_from_the_one_file_of_its_channel(tmp_path: Path) -> None:
    command = HostConfig(opt_ml(tmp_path)).command()
    weights = tmp_path / "input/data/weights"
    assert command[command.index("--weights") + 1] == str(weights / "resnet50.pth")
    (weights / "resnet50.pth.bak").touch()
    with pytest.raises(LaunchError, match="channel 'weights' holds 2 files; it must hold one"):
        HostConfig(tmp_path)
    # A search among backbones, and a job that it started, have a file for each.
    for hyperparameters in ({"tune": "{}"}, {"backbone": '"resnet50"'}):
        (tmp_path / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
        command = HostConfig(tmp_path).command()
        assert command[command.index("--weights") + 1] == str(weights)


def ranks(root: Path, monkeypatch: pytest.MonkeyPatch, *programs: str) -> Ranks:
    """Start ranks of the second of three hosts that run other programs instead of the training."""
    command = f"import os, signal, sys, time\n[{', '.join(programs)}][int(os.environ['LOCAL_RANK'])]()"
    monkeypatch.setattr(HostConfig, "command", lambda _: [sys.executable, "-c", command])
    return Ranks(HostConfig(opt_ml(root)), len(programs), StopSignal())


LOSES = f"lambda: (print('lost another', file=sys.stderr), sys.exit({PEER_LOST_EXIT_CODE}))"
DIES = "lambda: os.kill(os.getpid(), signal.SIGKILL)"
SLEEPS = "lambda: time.sleep(60)"


def test_reason_is_that_of_the_lost_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = ranks(tmp_path, monkeypatch, LOSES, DIES)
    for process in running._processes:
        process.wait()
    reason = "training: rank 3 on algo-2 was killed by SIGKILL; the host may be out of memory"
    assert running.wait() == (128 + signal.SIGKILL, reason)


def test_host_that_lost_another_lets_that_one_fail_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    running = ranks(tmp_path, monkeypatch, SLEEPS, LOSES)
    monkeypatch.setattr(running._stop, "wait", waited.append)
    assert running.wait() == (PEER_LOST_EXIT_CODE, "lost another")
    assert waited == [launch.YIELD_SECONDS]


def test_failure_is_cut_to_what_sagemaker_shows(tmp_path: Path) -> None:
    write_failure(tmp_path, "é" * 2000)
    assert (tmp_path / "output/failure").read_text() == "é" * 1024


def test_launcher_waits_for_a_name_that_does_not_resolve_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def resolve(name: str, _port: None) -> None:
        names.append(name)
        if len(names) < 3:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(StopSignal, "wait", lambda *_: None)
    wait_for_name("algo-1", StopSignal())
    assert names == ["algo-1"] * 3
    names.clear()
    with pytest.raises(LaunchError, match=r"the name of host algo-1 did not resolve within 0 s \(Name or service"):
        wait_for_name("algo-1", StopSignal(), seconds=0)


def test_signal_ends_the_wait_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(_name: str, _port: None) -> None:
        stop.handle(signal.SIGTERM, None)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    stop = StopSignal()
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(LaunchError, match="stopped by SIGTERM while it waited for the name of host algo-1"):
        wait_for_name("algo-1", stop)


def test_ranks_get_the_signal_and_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = (
        "lambda: (signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), print('saved', file=sys.stderr), "
        "sys.exit(143))), print('ready', file=sys.stderr, flush=True), time.sleep(60))"
    )
    running = ranks(tmp_path, monkeypatch, saves)
    while "ready" not in running._last_lines[0]:
        time.sleep(0.01)
    running._stop.handle(signal.SIGTERM, None)
    assert running.wait() == (143, "training: stopped by SIGTERM before it finished")
    assert list(running._last_lines[0]) == ["saved"]


def test_rank_that_ignores_the_signal_is_killed_before_sagemaker_ends_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch.STOP_SECONDS + launch.GRACE_SECONDS < 120
    monkeypatch.setattr(launch, "STOP_SECONDS", 0.2)
    ignores = (
        "lambda: (signal.signal(signal.SIGTERM, signal.SIG_IGN), print('ready', file=sys.stderr, flush=True), "
        "time.sleep(60))"
    )
    running = ranks(tmp_path, monkeypatch, ignores)
    while "ready" not in running._last_lines[0]:
        time.sleep(0.01)
    running._stop.handle(signal.SIGTERM, None)
    assert running.wait()[0] == 143
    assert running._processes[0].returncode == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="process 1 of a container exists on Linux only")
def test_process_1_collects_orphans_and_leaves_its_own_children(tmp_path: Path) -> None:
    """The check runs in a process of its own, which becomes the parent of orphans as process 1 does."""
    program = """
import ctypes, os, subprocess, sys, time
from training.launch import reap_orphans
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
middle = subprocess.Popen([sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '0.2'])"])
middle.wait()
own = subprocess.Popen(["sleep", "60"])
children = lambda: open(f"/proc/self/task/{os.getpid()}/children").read().split()
assert len(children()) == 2, children()
time.sleep(0.5)
reap_orphans({own.pid})
assert children() == [str(own.pid)], children()
own.kill()
time.sleep(0.2)
reap_orphans({own.pid})
assert own.wait() == -9
reap_orphans(set())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30, cwd=Path(launch.__file__).parents[1])
