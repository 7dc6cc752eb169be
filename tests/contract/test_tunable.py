"""Plan's table of the hyperparameters that can be searched agrees with the training program."""

import dataclasses
import math

import pytest

from plan import ranges, tuning
from plan.tunable import TUNABLE, default_ranges
from shared.contracts import Dataset, Request
from training import search, train
from training.hyperparameters import Hyperparameters
from training.search import DEFAULT_RANGES

FIELDS = {field.name: field for field in dataclasses.fields(Hyperparameters)}


def test_every_hyperparameter_that_decides_the_model_can_be_searched():
    assert TUNABLE.keys() == FIELDS.keys() - search._NEVER_SEARCHED


def test_kinds_limits_and_modes_are_those_of_the_training_program():
    for name, tunable in TUNABLE.items():
        meta, default = FIELDS[name].metadata, FIELDS[name].default
        kind = {str: "categorical", int: "integer", float: "continuous"}[type(default)]
        assert (tunable.kind, tunable.mode) == (kind, meta["mode"]), name
        assert tunable.values == meta.get("choices", ()), name
        assert (tunable.low, tunable.high) == (meta.get("low", 0), meta.get("high", 0)), name


def test_default_ranges_contain_the_defaults():
    for mode in ("head", "full"):
        for name, each in default_ranges(mode).items():
            assert each["min"] <= FIELDS[name].default <= each["max"], name


def test_the_training_program_has_the_same_default_ranges():
    assert default_ranges("head") == DEFAULT_RANGES


@pytest.mark.parametrize(
    "tune",
    [
        {},
        {"trials": 750, "strategy": "random", "minutes": 2, "objective": "valid_loss", "seed": 7, "max_parallel": 3},
        {"strategy": "hyperband", "ranges": {"epochs": {"min": 1, "max": 90, "scale": "log"}}, "trials": 9},
        {"ranges": {"backbone": ["efficientnet_lite0", "efficientnet_lite2"], "pull": [0.05, 1]}},
    ],
)
def test_the_training_program_reads_what_plan_writes(tune):
    request = Request(tune=tune)
    counts = {"train": 7200, "valid": 1800, "test": 1200}
    dogs = Dataset(
        uri="s3://b/d",
        fingerprint="f",
        num_classes=120,
        counts=counts,
        made_splits="",
        left_out=[],
        unreadable=[],
        not_compared=0,
        reading="",
    )
    planned = tuning.plan(
        request, tuning.Machines("ml.c7i.xlarge", 2, False), dogs, "kennel", "run", "s3://b/t", "s3://b/c"
    )
    read = search.parse(tuning.hyperparameter(planned), Hyperparameters())
    for name in ("trials", "strategy", "max_parallel", "seed", "objective"):
        assert getattr(read, name) == getattr(planned, name), name
    assert read.minutes == (planned.minutes or math.inf)
    assert read.document()["ranges"] == planned.ranges


def test_plan_chooses_the_mode_as_the_training_does():
    assert tuning._MIN_PHOTOS_PER_CLASS == train._MIN_PHOTOS_PER_CLASS


@pytest.mark.parametrize(
    ("low", "high", "count"),
    [
        (0.01, 0.010001, 2),
        (0.5, 0.5003, 4),
        (0.9998, 1.001, 4),
        (0.5, 0.5749, 750),
        (0.5, 0.58, math.inf),
        (0, 1, math.inf),
    ],
)
def test_plan_counts_the_values_of_fractions_as_the_training_does(low, high, count):
    each = {"min": low, "max": high, "scale": "linear"}
    assert search._num_values(search._range("pull", each)) == count
    assert ranges.num_combinations({"pull": each}) == count
    assert ranges.MAX_TRIALS == search.MAX_TRIALS
