"""The contract of the training job with SageMaker: its image, its channels and its metrics."""

import re

import pytest

from cloud.sagemaker import rules
from networks.torchvision_import import torchvision_models
from plan import weights
from prices.disks import has_own_disks
from tests.contract.conftest import states_of
from training.head import epoch_line
from training.hyperparameters import Hyperparameters
from training.launch import CHANNELS
from training.weights import SUFFIXES


def training_job(machines, name="Train"):
    (state,) = [state for found, state in states_of(machines["pipeline"]) if found == name]
    return state["Arguments"]


def test_training_job_names_an_image_and_nothing_that_starts_in_it(machines):
    """The image's own entry point is the launcher; no code comes from the bucket."""
    job = training_job(machines)
    assert job["AlgorithmSpecification"].keys() == {"TrainingImage", "TrainingInputMode", "MetricDefinitions"}
    assert [channel["ChannelName"] for channel in job["InputDataConfig"]] == list(CHANNELS)


def test_training_in_a_vpc_is_the_same_training(machines):
    job, in_vpc = training_job(machines), training_job(machines, "TrainInVpc")
    assert in_vpc == {**job, "VpcConfig": "{% $run.network.VpcConfig %}"}
    states = dict(states_of(machines["pipeline"]))
    plain, vpc = ({**states[name], "Arguments": {}, "Comment": ""} for name in ("Train", "TrainInVpc"))
    assert plain == vpc


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
