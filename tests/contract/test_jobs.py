"""The contract of the training job with SageMaker: its code channel, its metrics and its image."""

import ast
import re
import shutil
import sys
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from cloud.sagemaker import rules
from dataset.source import ARCHIVE_SUFFIXES
from plan import code, weights
from plan.run import has_own_disks
from tests.contract.conftest import states_of
from training.head import epoch_line
from training.hyperparameters import Hyperparameters
from training.launch import CHANNELS
from training.torchvision_import import torchvision_models
from training.weights import SUFFIXES

ROOT = Path(__file__).resolve().parents[2]
CODE_CHANNEL = "/opt/ml/input/data/code"
# Packages of AWS's PyTorch training images. Pillow is the only decoder of photos that all of them contain.
IN_AWS_IMAGE = {"torch", "torchvision", "numpy", "PIL"}


def uploaded(layer):
    """Return the keys below the channel's prefix that Plan uploads from a layer."""
    keys = []
    s3 = SimpleNamespace(
        list_objects_v2=lambda **_: {"KeyCount": 0},
        upload_file=lambda _file, _bucket, key: keys.append(key),
        put_object=lambda **_: None,
    )
    prefix = code.upload(s3, "b", layer).removeprefix("s3://b/")
    assert all(key.startswith(f"{prefix}/") for key in keys)
    return {key.removeprefix(f"{prefix}/") for key in keys}


def training_job(machines):
    (state,) = [state for name, state in states_of(machines["pipeline"]) if name == "DescribeTraining"]
    return state["Output"]


def test_code_channel_has_plain_files_and_the_entry_point(tmp_path, machines):
    for folder in ("training", "dataset"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    keys = uploaded(tmp_path)
    assert not [key for key in keys if key.endswith((*ARCHIVE_SUFFIXES, ".whl", ".pyc"))]
    job = training_job(machines)
    program = PurePosixPath(job["AlgorithmSpecification"]["ContainerEntrypoint"][-1])
    assert str(program.relative_to(CODE_CHANNEL)) in keys
    assert {"training/train.py", "dataset/source.py"} <= keys
    assert {channel["ChannelName"] for channel in job["InputDataConfig"]} == set(CHANNELS)


def test_metric_definitions_match_the_line_of_an_epoch(machines):
    names = ("train_loss", "valid_loss", "valid_top1", "photos_per_s", "data_wait", "comm_wait", "peak_memory_mb")
    figures = dict(zip(names, (0.5, 0.25, 0.875, 120.0, 0.125, 0.0625, 900.0), strict=True))
    line = epoch_line({"epoch": 3, **figures}, epochs=20, eta=1.5)
    metrics = training_job(machines)["AlgorithmSpecification"]["MetricDefinitions"]
    values = {each["Name"].replace(":", "_"): float(re.search(each["Regex"], line)[1]) for each in metrics}
    assert values == pytest.approx(figures, abs=0.001)


def test_plan_knows_the_backbones_that_training_supports():
    """Plan has a list, because it cannot import torchvision. Squeezenets do not end in a linear layer."""
    models = torchvision_models()
    assert {*weights.TORCHVISION, "squeezenet1_0", "squeezenet1_1"} == {*models.list_models(module=models)}
    assert Hyperparameters().backbone == weights.DEFAULT_BACKBONE
    assert weights.SUFFIXES == SUFFIXES


def test_plan_knows_the_instances_that_encrypt_their_own_disks():
    assert all(has_own_disks(f"ml.{family}.xlarge") for family in rules._LOCAL_DISKS)
    assert not any(
        has_own_disks(f"ml.{family}.large") for family in ("c7i", "c6g", "m5", "m7i-flex", "p2", "r7i", "t3")
    )


def test_job_imports_only_packages_of_awss_image():
    files = [path for folder in ("training", "dataset") for path in (ROOT / folder).rglob("*.py")]
    imported = set()
    for node in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    third_party = imported - sys.stdlib_module_names - {"training", "dataset"}
    assert "PIL" in third_party
    assert third_party <= IN_AWS_IMAGE
