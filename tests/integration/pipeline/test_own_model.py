"""Runs with a model that plain PyTorch trained: the lines of docs/training.md, from its state dict to the endpoint."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.pipeline.kennel import DEPLOYED, ROOT, Kennel, run_local

# The document's lines run as they are. Beside a CPU build of torch, torchvision needs the declarations of this module.
SHIM = "from networks.torchvision_import import torchvision_models; torchvision_models()"
# The gate compares with the champion of the first run. It shall judge this model alone, by the floor of each test.
LENIENT = {
    "max_top1_loss": 0.99,
    "max_breed_loss": 1,
    "max_slowdown": 100,
    "max_calibration_error": 1,
    "backbone": "resnet18",
    "preprocess": {"image_size": 64},
}


@pytest.fixture(scope="module")
def lines() -> str:
    """The Python program of the document, with fewer photos in a step, because there are only 36."""
    document = (ROOT / "docs/training.md").read_text()
    (program,) = re.findall(r"```python\n(.+?)```", document, re.DOTALL)
    return str(program).replace("batch_size=32", "batch_size=12")


@pytest.fixture(scope="module")
def folder(kennel: Kennel, lines: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.pth``, and ``module.pth`` that holds the whole pickled module."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "dogImages").symlink_to(kennel.photos)
    (folder / "train.py").write_text(f"{SHIM}\ntorch_seed = __import__('torch').manual_seed(0)\n{lines}\n")
    with (folder / "train.py").open("a") as program:
        program.write('torch.save(model, "module.pth")\n')
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "train.py"], cwd=folder, env=environment, check=True, timeout=300)
    return folder


def run(kennel: Kennel, folder: Path, model: str, **fields: object) -> "subprocess.CompletedProcess[str]":
    event = folder / "event.json"
    event.write_text(json.dumps(LENIENT | fields))
    command = ("run", "--data", str(kennel.photos), "--event", str(event), "--model", str(folder / model))
    return run_local(kennel.home, *command, program=DEPLOYED)


def test_state_dict_is_judged_and_deployed_without_training(kennel: Kennel, folder: Path) -> None:
    jobs = kennel.training_jobs()
    command = run(kennel, folder, "model.pth", min_top1=0.0)
    assert command.returncode == 0, command.stdout + command.stderr
    assert "a resnet18 that was trained elsewhere" in command.stdout
    assert "✓  distribution  trained elsewhere" in command.stdout
    assert kennel.training_jobs() == jobs
    record = json.loads((kennel.home / "last-run.json").read_text())
    assert record["status"] == "promoted"
    assert record["trained"]["model_uri"].endswith("/model.pth")
    states = {state["name"] for state in record["states"]}
    assert "TakeOwnModel" in states
    assert not states & {"Train", "ReuseTraining", "BuildTrainingImage"}
    assert kennel.champion()["top1"] == pytest.approx(record["verdict"]["challenger_top1"])


@pytest.mark.slow
def test_state_dict_that_is_not_good_enough_is_refused_by_the_floor(kennel: Kennel, folder: Path) -> None:
    command = run(kennel, folder, "model.pth", min_top1=1.0)
    assert command.returncode == 3, command.stdout + command.stderr
    assert "below the floor of 100.0%" in command.stdout


@pytest.mark.slow
def test_whole_module_fails_the_run_with_the_way_out(kennel: Kennel, folder: Path) -> None:
    champion = kennel.champion()
    command = run(kennel, folder, "module.pth")
    assert command.returncode == 1
    printed = " ".join(command.stdout.split())
    assert "asks for torchvision.models.resnet.ResNet, so it was not loaded" in printed
    assert "torch.save(model.state_dict(), 'model.pth')" in printed
    assert kennel.champion() == champion
    assert not kennel.is_locked()
