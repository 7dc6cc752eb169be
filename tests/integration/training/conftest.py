"""Fixtures: a tiny dataset of coloured noise, and an opt/ml tree as SageMaker creates it."""

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.weights import packaged_weights

CLASSES = ("001.Beagle", "002.Pug", "003.Unicorn_hound")
PHOTOS = {"train": 5, "valid": 2, "test": 1}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Write a dataset of 3 classes with 5 training, 2 validation and 1 test photos each; each photo is unique."""
    root = tmp_path / "dogImages"
    random = np.random.default_rng(0)
    for split, count in PHOTOS.items():
        for channel, label in enumerate(CLASSES):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 96, (40, 48, 3), dtype=np.uint8)
                pixels[..., channel] += 128
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def opt_ml(tmp_path: Path, dataset: Path) -> Callable[..., Path]:
    """Return a function that builds the opt/ml tree of one host and returns its root."""

    def build(host: str = "algo-1", hosts: tuple[str, ...] = ("algo-1",), **hyperparameters: str) -> Path:
        hyperparameters = {"backbone": "efficientnet_lite0", **hyperparameters}  # the smallest that is installed
        root = tmp_path / host
        for folder in ("input/config", "input/data/weights", "model", "output", "checkpoints"):
            (root / folder).mkdir(parents=True)
        (root / "input/data/dataset").symlink_to(dataset, target_is_directory=True)
        weights = packaged_weights(hyperparameters["backbone"])
        assert weights
        (root / "input/data/weights" / weights.name).symlink_to(weights)
        interface = "lo0" if sys.platform == "darwin" else "lo"
        resources = {"current_host": host, "hosts": list(hosts), "network_interface_name": interface}
        for name, value in (("resourceconfig", resources), ("hyperparameters", hyperparameters)):
            (root / f"input/config/{name}.json").write_text(json.dumps(value))
        return root

    return build
