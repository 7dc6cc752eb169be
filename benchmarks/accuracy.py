"""Accuracy that training adds to ImageNet's own rows, measured at the deployed API photo by photo.

    python -m benchmarks accuracy [--data FOLDER] [--photos FOLDER] [--backbone NAME] [--port N]

The benchmark starts a laptop cloud of its own, whose home is the folder ``accuracy`` inside this one's. It runs the
pipeline twice: first with an untrained head (``epochs`` 0: classes that match ImageNet have its rows, the others have
none), then with the defaults. After each run it sends every photo of the data's test split to the API, and those of
``--photos``, a folder of class folders with whole photos. Both heads answer the same photos, so the gain is a paired
comparison.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import goal, rounded
from benchmarks.servers import print_progress
from dataset import open_source
from local import laptop
from local.api import CONTENT_TYPES, Api
from local.data import sketches
from local.home import HOME, LAST_RUN, ROOT, LocalError, write_json
from serving.evaluation_metrics import mcnemar, wilson

_TARGETS = {  # top-1 on the crops of the 120 breeds, and on whole photos
    "efficientnet_lite0": {"test": 0.88, "photos": 0.85},
    "efficientnet_lite2": {"test": 0.89, "photos": 0.86},
}
_HOME = HOME / "accuracy"
_UNTRAINED = {"mode": "head", "epochs": 0}
_ABOVE_ZERO = 0.01  # percentage points, which is less than one photo of any set here
_RESAMPLES = 100_000
_SEED = 0
_PROGRESS_INTERVAL = 200  # photos


@dataclass(frozen=True)
class Gain:
    """The gain on one set of photos, in percentage points.

    Attributes:
        points: The gain.
        interval: Its 95 % interval, by a paired bootstrap over the photos.
        gained: Number of photos that only the trained head classifies correctly.
        lost: Number of photos that only the untrained head classifies correctly.
        p_value: The p-value of McNemar's exact test.
    """

    points: float
    interval: tuple[float, float]
    gained: int
    lost: int
    p_value: float


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure top-1, in [0, 1], and the gains, in percentage points.

    Raises:
        LocalError: A run failed, or a photo got no answer.
    """
    options = _options(arguments)
    data = (options.data or sketches()).resolve()
    classes = open_source(data).listing.classes
    sets = {"test": _photos(data / "test", classes)}
    if options.photos:
        sets["photos"] = _photos(options.photos, classes)
    backbone = {"backbone": options.backbone}
    try:
        untrained = _run(backbone | _UNTRAINED, data, sets, options.port)
        trained = _run(backbone, data, sets, options.port)
    finally:
        _local("down")
    gains = {name: paired_gain(untrained[name], trained[name], _SEED) for name in sets}
    ours = {name: _share(correct) for name, correct in trained.items()}
    targets = _TARGETS.get(options.backbone, {}) if options.data else {}
    return {
        "inputs": {"data": "given" if options.data else "the sketchbook", **backbone, "resamples": _RESAMPLES},
        "rounds": 1,
        "ours": ours,
        "peers": {"untrained": {name: _share(correct) for name, correct in untrained.items()}},
        "limit": None,
        "ratio": {name: vars(gain) for name, gain in gains.items()},
        "goal": {
            "lower_bound_of_gain_on_test": goal(gains["test"].interval[0], at_least=_ABOVE_ZERO),
            **({"gain_on_photos": goal(gains["photos"].points, at_least=-0.5)} if "photos" in gains else {}),
            **{f"top1_on_{name}": goal(ours[name]["top1"], at_least=targets[name]) for name in ours if name in targets},
        },
    }


def paired_gain(untrained: Sequence[bool], trained: Sequence[bool], seed: int) -> Gain:
    """Compare two heads on the same photos.

    Args:
        untrained: Whether the untrained head classified each photo correctly.
        trained: Whether the trained head did, in the same order.
        seed: Seed of the bootstrap.
    """
    total = len(trained)
    pairs = list(zip(untrained, trained, strict=True))
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    # Photos differ only in their kind: gained, lost or neither. So a resample is a draw of the kinds.
    shares = np.array([gained, lost, total - gained - lost]) / total
    resamples = np.random.default_rng(seed).multinomial(total, shares, size=_RESAMPLES)
    low, high = np.quantile(100 * (resamples[:, 0] - resamples[:, 1]) / total, (0.025, 0.975))
    return Gain(
        rounded(100 * (gained - lost) / total),
        (rounded(low), rounded(high)),
        gained,
        lost,
        rounded(mcnemar(gained, lost)),
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--data", type=Path, help="folder of photos (default: the sketchbook)")
    options.add_argument("--photos", type=Path, help="folder of class folders with whole photos (default: none)")
    options.add_argument("--backbone", default="efficientnet_lite2", help="(%(default)s)")
    options.add_argument(
        "--port", type=int, default=laptop.DEFAULT_PORT + 1, help="port of the laptop cloud (%(default)s)"
    )
    return options.parse_args(arguments)


def _photos(folder: Path, classes: Sequence[str]) -> list[Path]:
    """Return every photo of a folder of class folders."""
    photos = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in CONTENT_TYPES)
    if not photos:
        raise LocalError(f"{folder} contains no class folders with photos")
    if unknown := sorted({path.parent.name for path in photos} - set(classes)):
        raise LocalError(
            f"{folder}: {', '.join(unknown)} are not classes of the data; name the folders as the data does"
        )
    return photos


def _run(
    hyperparameters: Mapping[str, Any], data: Path, sets: Mapping[str, Sequence[Path]], port: int
) -> dict[str, list[bool]]:
    """Run the pipeline, and return for each photo of each set whether the API classifies it correctly."""
    print_progress(f"run with {dict(hyperparameters)}")
    event = _HOME / "event.json"
    # The gate must let every head pass, even an untrained one with low accuracy and bad calibration.
    write_json(event, {"hyperparameters": hyperparameters, "min_top1": 0, "max_calibration_error": 1})
    _local("run", "--data", str(data), "--event", str(event), "--port", str(port))
    api = Api(**json.loads((_HOME / LAST_RUN.name).read_text())["api"])
    return {name: _ask(api, name, photos) for name, photos in sets.items()}


def _local(*arguments: str) -> None:
    environment = os.environ | {"KENNEL_HOME": str(_HOME)}
    command = (sys.executable, "-m", "local", *arguments)
    if subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, check=False).returncode:
        raise LocalError(f"local {arguments[0]} failed; its message is above, and its files are in {_HOME}")


def _ask(api: Api, name: str, photos: Sequence[Path]) -> list[bool]:
    """Send photos to the API, and return whether each is classified correctly.

    Raises:
        LocalError: A photo got no answer, or another model answered in between.
    """
    correct, versions = [], set()
    for photo, answer in zip(photos, api.classify_files(map(str, photos)), strict=True):
        if not answer.ok:
            raise LocalError(f"{photo}: the API did not classify it: {answer.problem}")
        correct.append(answer.document["class"] == photo.parent.name)
        versions.add(answer.document["model_version"])
        if len(correct) % _PROGRESS_INTERVAL == 0 or len(correct) == len(photos):
            print_progress(f"{name}: sent {len(correct)}/{len(photos)}, {sum(correct) / len(correct):.1%} correct")
    if len(versions) > 1:
        raise LocalError(
            f"{name}: several models answered ({', '.join(sorted(versions))}); did somebody deploy meanwhile?"
        )
    return correct


def _share(correct: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(correct), len(correct))
    return {
        "top1": rounded(sum(correct) / len(correct)),
        "interval": (rounded(low), rounded(high)),
        "num_photos": len(correct),
    }
