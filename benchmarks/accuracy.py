"""What training adds to what ImageNet's own rows know, asked of the deployed API photo by photo.

    python -m benchmarks accuracy [--data FOLDER] [--photos FOLDER] [--backbone NAME] [--port N]

A laptop cloud of its own, with its home in the folder ``accuracy`` of this one's, runs the pipeline twice: with a head
left as it starts (``epochs`` 0: the ImageNet rows of the classes that match, nothing for the others), then with the
defaults. After each run the API is asked about every photo of the data's test split, and of ``--photos``, whole photos
in folders named as the data's classes. Both answer the same photos, so the gain is judged by pairs.
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
from benchmarks.servers import say
from dataset import open_source
from local import laptop
from local.api import CONTENT_TYPES, Api
from local.data import sketches
from local.home import HOME, LAST_RUN, ROOT, LocalError, write_json
from serving.evaluation_metrics import mcnemar, wilson

_AIMS = {  # top-1 on the 120 breeds' crops and on whole photos
    "efficientnet_lite0": {"test": 0.88, "photos": 0.85},
    "efficientnet_lite2": {"test": 0.89, "photos": 0.86},
}
_HOME = HOME / "accuracy"
_UNTRAINED = {"mode": "head", "epochs": 0}
_ABOVE_ZERO = 0.01  # points; less than a photo of any set here
_RESAMPLES = 100_000
_SEED = 0
_TELL_EVERY = 200  # photos


@dataclass(frozen=True)
class Gain:
    """One set's gain in percentage points, with the 95 % interval of a paired bootstrap over its photos.

    gained, lost: photos that only the trained, and only the untrained, head named rightly.
    p_value: of McNemar's exact test.
    """

    points: float
    interval: tuple[float, float]
    gained: int
    lost: int
    p_value: float


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures: top-1 in [0, 1], gains in percentage points.

    Raises:
        LocalError: a run failed, or a photo got no answer.
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
    ours = {name: _share(right) for name, right in trained.items()}
    aims = _AIMS.get(options.backbone, {}) if options.data else {}
    return {
        "inputs": {"data": "given" if options.data else "the sketchbook", **backbone, "resamples": _RESAMPLES},
        "rounds": 1,
        "ours": ours,
        "peers": {"untrained": {name: _share(right) for name, right in untrained.items()}},
        "limit": None,
        "ratio": {name: vars(gain) for name, gain in gains.items()},
        "goal": {
            "lower_bound_of_gain_on_test": goal(gains["test"].interval[0], at_least=_ABOVE_ZERO),
            **({"gain_on_photos": goal(gains["photos"].points, at_least=-0.5)} if "photos" in gains else {}),
            **{f"top1_on_{name}": goal(ours[name]["top1"], at_least=aims[name]) for name in ours if name in aims},
        },
    }


def paired_gain(untrained: Sequence[bool], trained: Sequence[bool], seed: int) -> Gain:
    """By how many points the trained head is better on the same photos, and how sure that is.

    Args:
        untrained, trained: whether each photo was named rightly, in the same order.
        seed: of the bootstrap.
    """
    total = len(trained)
    pairs = list(zip(untrained, trained, strict=True))
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    # Photos drawn with replacement are these three kinds drawn so; which photo it was does not matter.
    kinds = np.array([gained, lost, total - gained - lost]) / total
    drawn = np.random.default_rng(seed).multinomial(total, kinds, size=_RESAMPLES)
    low, high = np.quantile(100 * (drawn[:, 0] - drawn[:, 1]) / total, (0.025, 0.975))
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
    options.add_argument("--backbone", default="efficientnet_lite0", help="(%(default)s)")
    options.add_argument("--port", type=int, default=laptop.DEFAULT_PORT + 1, help="of the laptop cloud (%(default)s)")
    return options.parse_args(arguments)


def _photos(folder: Path, classes: Sequence[str]) -> list[Path]:
    """Every photo of a folder of class folders."""
    found = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in CONTENT_TYPES)
    if not found:
        raise LocalError(f"{folder} holds no class folders with photos")
    if strange := sorted({path.parent.name for path in found} - set(classes)):
        raise LocalError(f"{folder}: {', '.join(strange)} are no classes of the data; name the folders as there")
    return found


def _run(
    hyperparameters: Mapping[str, Any], data: Path, sets: Mapping[str, Sequence[Path]], port: int
) -> dict[str, list[bool]]:
    """A run of the pipeline; then, whether its API names each photo of each set rightly."""
    say(f"run with {dict(hyperparameters)}")
    event = _HOME / "event.json"
    # The gate is not what is measured, and an untrained head may know nothing, not even how little it knows.
    write_json(event, {"hyperparameters": hyperparameters, "min_top1": 0, "max_calibration_error": 1})
    _local("run", "--data", str(data), "--event", str(event), "--port", str(port))
    api = Api(**json.loads((_HOME / LAST_RUN.name).read_text())["api"])
    return {name: _ask(api, name, photos) for name, photos in sets.items()}


def _local(*arguments: str) -> None:
    environment = os.environ | {"KENNEL_HOME": str(_HOME)}
    command = (sys.executable, "-m", "local", *arguments)
    if subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, check=False).returncode:
        raise LocalError(f"local {arguments[0]} failed and said why; its files are in {_HOME}")


def _ask(api: Api, name: str, photos: Sequence[Path]) -> list[bool]:
    right, versions = [], set()
    for photo, answer in zip(photos, api.classify_files(map(str, photos)), strict=True):
        if not answer.ok:
            raise LocalError(f"{photo}: the API did not classify it: {answer.problem}")
        right.append(answer.document["class"] == photo.parent.name)
        versions.add(answer.document["model_version"])
        if len(right) % _TELL_EVERY == 0 or len(right) == len(photos):
            say(f"{name}: asked about {len(right)}/{len(photos)}, {sum(right) / len(right):.1%} right")
    if len(versions) > 1:
        raise LocalError(f"{name}: several models answered ({', '.join(sorted(versions))}); does someone else deploy?")
    return right


def _share(right: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(right), len(right))
    return {
        "top1": rounded(sum(right) / len(right)),
        "interval": (rounded(low), rounded(high)),
        "num_photos": len(right),
    }
