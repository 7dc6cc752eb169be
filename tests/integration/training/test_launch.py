"""Tests of the launcher with real opt/ml trees; two hosts are two processes, as on the laptop cloud."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from networks.classifier import read_classifier

REPOSITORY = Path(__file__).parents[3]
CLASSES = ("001.Beagle", "002.Pug", "003.Unicorn_hound")  # the classes of the fixture ``dataset``
NUM_TRAIN = 15
HOSTS = ("algo-1", "algo-2")
# Variables that SageMaker's toolkit, or a torchrun around the launcher, would set.
STRAY = {
    "SM_HOSTS": '["other"]',
    "SM_CURRENT_HOST": "other",
    "SM_CHANNEL_DATASET": "/nowhere",
    "RANK": "5",
    "WORLD_SIZE": "9",
    "LOCAL_RANK": "3",
    "LOCAL_WORLD_SIZE": "4",
    "HOST_NAME": "other",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "GLOO_SOCKET_IFNAME": "none0",
}


def start(root: Path, port: int, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the launcher of one host; by default in this process's environment, with loopback as the main address."""
    if environment is None:
        environment = {**os.environ, "MASTER_ADDR": "127.0.0.1"}
    environment = {**environment, "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "training.launch", "--root", str(root), "train"],
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def await_line(process: subprocess.Popen[str], begin: str) -> None:
    assert process.stdout is not None
    while not process.stdout.readline().startswith(begin):
        assert process.poll() is None


def ranks_below(pid: int) -> list[int]:
    """Return the process ids of the ranks that a launcher, or torchrun, has started."""
    listed = subprocess.run(["ps", "-ax", "-o", "pid=", "-o", "ppid="], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in listed.stdout.splitlines()]
    return sorted(int(child) for child, parent in pairs if int(parent) == pid)


def document(root: Path, name: str) -> Any:
    return json.loads((root / "model" / name).read_text())


def test_two_hosts_train_one_model_over_all_photos(opt_ml: Callable[..., Path], dataset: Path, free_port: int) -> None:
    (dataset / "train" / CLASSES[0] / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (dataset / "train" / CLASSES[0] / "notes.txt").write_text("ignored")
    leaked = (dataset / "train" / CLASSES[1] / "0.png").read_bytes()
    (dataset / "valid" / CLASSES[1] / "leaked.png").write_bytes(leaked)
    (dataset / "other" / "cats").mkdir(parents=True)
    (dataset / "other" / "cats" / "0.png").write_bytes(leaked)  # Nothing reads this folder.
    roots = [opt_ml(host, HOSTS, epochs="3", global_batch_size="4") for host in HOSTS]

    processes = [start(root, free_port) for root in roots]
    logs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = f"{max(1, cores // 2)} of {cores} cores"  # Both hosts run on this machine.
    assert f"rank 0 on algo-1: {share}; rank 1 on algo-2: {share}\n" in logs[0]

    ddp = document(roots[0], "ddp.json")
    assert ddp["world_size"] == 2
    assert ddp["hosts"] == list(HOSTS)
    assert ddp["backend"] == "gloo"
    assert ddp["in_sync"] is True
    assert len(set(ddp["parameter_checksums"])) == 1
    assert ddp["num_train"] == NUM_TRAIN
    assert sum(ddp["samples_per_rank"]) == NUM_TRAIN
    assert min(ddp["samples_per_rank"]) >= NUM_TRAIN // 2 - 1
    assert ddp["steps"] == 3 * 4  # ceil(15 / 4) steps in each of 3 epochs
    assert not list((roots[1] / "model").iterdir())

    data = document(roots[0], "data.json")
    assert data["splits"]["train"] == {
        "photos": NUM_TRAIN,
        "unreadable": {f"train/{CLASSES[0]}/broken.jpg": "ends too early"},
    }
    assert data["leaked"] == [{"photo": f"valid/{CLASSES[1]}/leaked.png", "also": f"train/{CLASSES[1]}/0.png"}]
    assert data["ignored"] == 1
    assert len(data["hashes"]["train"]) == NUM_TRAIN
    assert f"1 unreadable photos in train/ left out: train/{CLASSES[0]}/broken.jpg" in logs[0]

    labels = document(roots[0], "labels.json")["classes"]
    assert [label["id"] for label in labels] == list(CLASSES)
    assert [label["imagenet_row"] for label in labels] == [162, 254, None]
    assert [line.split()[0] for line in logs[0].splitlines() if line.startswith("epoch=")] == [
        "epoch=1/3",
        "epoch=2/3",
        "epoch=3/3",
    ]
    assert [len(phase["epochs"]) for phase in document(roots[0], "history.json")["phases"]] == [3]
    assert document(roots[0], "training.json")["hyperparameters"]["epochs"] == 3

    files = document(roots[0], "manifest.json")["sha256"]
    assert {"model.safetensors", "labels.json", "training.json", "data.json", "ddp.json", "history.svg"} <= files.keys()
    for name, digest in files.items():
        assert hashlib.sha256((roots[0] / "model" / name).read_bytes()).hexdigest() == digest
    architecture = document(roots[0], "training.json")["backbone"]
    model = read_classifier(roots[0] / "model/model.safetensors", architecture, len(CLASSES))
    logits, p_dog = model(torch.zeros(5, 3, 256, 256))
    assert logits.shape == (5, 3)
    assert p_dog.shape == (5,)
    assert ((p_dog >= 0) & (p_dog <= 1)).all()


@pytest.mark.parametrize("stray", [{}, STRAY], ids=["bare", "misled"])
def test_hosts_connect_by_name_whatever_the_environment_says(
    opt_ml: Callable[..., Path], free_port: int, stray: dict[str, str]
) -> None:
    hosts = ("localhost", "algo-2")  # All connect to the first.
    roots = [opt_ml(host, hosts, epochs="1") for host in hosts]
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    processes = [start(root, free_port, bare | stray) for root in roots]
    logs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    assert [log.splitlines()[0] for log in logs] == [
        "launcher: this is host localhost, 1 of 2",
        "launcher: this is host algo-2, 2 of 2",
    ]
    ddp = document(roots[0], "ddp.json")
    assert (ddp["world_size"], ddp["hosts"], ddp["in_sync"]) == (2, list(hosts), True)
    assert sum(ddp["samples_per_rank"]) == NUM_TRAIN


def test_a_rank_that_dies_ends_its_host_first(opt_ml: Callable[..., Path], free_port: int) -> None:
    roots = [opt_ml(host, HOSTS, epochs="10000") for host in HOSTS]
    other, host = processes = [start(root, free_port) for root in roots]
    await_line(other, "epoch=2/")
    (rank,) = ranks_below(host.pid)
    os.kill(rank, signal.SIGKILL)
    host.communicate(timeout=300)
    assert host.returncode == 128 + signal.SIGKILL
    assert (roots[1] / "output/failure").read_text().startswith("training: rank 1 on algo-2 was killed by SIGKILL")
    await_line(other, "training: rank 0 on algo-1 lost another rank")
    other.terminate()  # The platform does this with the other hosts of a failed job.
    other.communicate(timeout=300)
    assert [process.returncode for process in processes] == [128 + signal.SIGTERM, 128 + signal.SIGKILL]


def test_a_rank_that_dies_ends_torchrun(dataset: Path, tmp_path: Path) -> None:
    folders = ["--data", str(dataset), "--model-dir", str(tmp_path / "model")]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *("-m", "training.train", *folders, "--mode", "head", "--epochs", "10000"),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    await_line(process, "epoch=2/")
    os.kill(ranks_below(process.pid)[1], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "training.train FAILED" in output
    assert "Signal 9 (SIGKILL) received by PID" in output


def parameters(root: Path) -> str:
    """Return a digest of the parameters of the model that a host has written."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(root / "model/model.safetensors").items()):
        digest.update(name.encode() + tensor.detach().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(("mode", "stopped_host"), [("head", "algo-2"), ("full", "algo-1")])
def test_sigterm_leaves_a_checkpoint_from_which_the_next_start_goes_on_bit_identically(
    opt_ml: Callable[..., Path], tmp_path: Path, free_port: int, mode: str, stopped_host: str
) -> None:
    """No checkpoint is due by time, and one host alone gets the signal; the ranks agree."""
    settings = {"head": {"epochs": "300"}, "full": {"epochs": "2", "full_epochs": "2", "global_batch_size": "2"}}[mode]
    roots = [opt_ml(host, HOSTS, mode=mode, checkpoint_seconds="86400", precision="fp32", **settings) for host in HOSTS]
    stop_after = {"head": "epoch=3/", "full": "before full"}[mode]

    processes = [start(root, free_port) for root in roots]
    await_line(processes[0], stop_after)
    assert not list((roots[0] / "checkpoints").glob(f"{mode}-*.pt"))
    began = time.monotonic()
    processes[HOSTS.index(stopped_host)].terminate()
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert time.monotonic() - began < 30
    assert [process.returncode for process in processes] == [128 + signal.SIGTERM] * 2, outputs
    assert "stopped by SIGTERM" in (roots[0] / "output/failure").read_text()
    (checkpoint,) = (roots[0] / "checkpoints").glob(f"{mode}-*.pt")
    assert torch.load(checkpoint, weights_only=True)["state"]["progress"]["steps"] > 0
    assert not list((roots[0] / "model").iterdir())

    processes = [start(root, free_port) for root in roots]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "\nresumed from epoch" in outputs[0]

    unstopped = [tmp_path / "unstopped" / host for host in HOSTS]
    for root, copy in zip(roots, unstopped, strict=True):
        shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns(f"{mode}-*.pt", "*.json.tmp"))
        shutil.rmtree(copy / "model")
    processes = [start(root, free_port) for root in unstopped]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "resumed" not in outputs[0]
    assert parameters(roots[0]) == parameters(unstopped[0])


def test_sigterm_keeps_the_features_that_were_computed(opt_ml: Callable[..., Path], free_port: int) -> None:
    root = opt_ml(epochs="1", checkpoint_seconds="86400")
    dataset = (root / "input/data/dataset").resolve()
    for number in range(600):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(dataset / "train" / CLASSES[0] / f"more-{number}.png")
    process = start(root, free_port)
    await_line(process, "features ")
    process.terminate()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, output
    process = start(root, free_port)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    cached = re.search(r"^(\d+) of 621 photos' features come from the cache$", output, re.MULTILINE)
    assert cached
    assert 6 < int(cached[1]) < 621


def test_mistakes_become_one_sentence_in_the_failure_file(opt_ml: Callable[..., Path], free_port: int) -> None:
    root = opt_ml(epoch="3")
    process = start(root, free_port)
    process.communicate(timeout=300)
    assert process.returncode == 1
    assert (
        (root / "output/failure").read_text().startswith("hyperparameters: 'epoch' is unknown (did you mean 'epochs'?)")
    )

    (root / "input/data/dataset").unlink()
    process = start(root, free_port)
    process.communicate(timeout=300)
    assert process.returncode == 1
    assert "no channel 'dataset'" in (root / "output/failure").read_text()

    (root / "input/config/resourceconfig.json").write_text("{" + "x" * 2000)
    process = start(root, free_port)
    output, _ = process.communicate(timeout=300)
    failure = (root / "output/failure").read_text()
    assert process.returncode == 1
    assert failure.startswith(f"launcher: cannot read {root / 'input/config/resourceconfig.json'} (Expecting property")
    assert output.splitlines() == [failure]
