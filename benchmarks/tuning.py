"""What a search for hyperparameters costs and gains, beside one training with the defaults.

    python -m benchmarks tuning [--data FOLDER] [--photos FOLDER] [--trials N] [--tune JSON]

Both are new processes of the training program, without any cached features, and use all cores. Then both models become
what would be deployed, and answer the test photos and those of ``--photos``, a folder of class folders with whole
photos. No search has seen any of these. Both answer the same photos, so the gains are paired comparisons.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.accuracy import paired_gain
from benchmarks.figures import goal, rounded
from benchmarks.servers import print_progress
from dataset import open_source
from dataset.cores import num_cores
from local.data import sketches
from local.home import ROOT, LocalError
from prices import HOME_REGION, known
from serving.challenger import make_challenger, read_trained
from serving.model import ServedModel
from serving.served_artifact import pack

_MOST_TIMES = 1.5
_INSTANCE, _CORES = "ml.c7i.xlarge", 4
_SEED = 0


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure seconds, the gains in percentage points, and derive the cost.

    Raises:
        LocalError: A training failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks tuning", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: the sketchbook)")
    parser.add_argument("--photos", type=Path, help="folder of class folders with whole photos (default: none)")
    parser.add_argument("--trials", type=int, default=64, help="(%(default)s)")
    parser.add_argument("--tune", type=json.loads, default={}, help="more fields of the search, as JSON")
    options = parser.parse_args(arguments)
    data = (options.data or sketches()).resolve()
    sets = {"test": sorted((data / "test").glob("*/*"))}
    if options.photos:
        sets["photos"] = sorted(options.photos.resolve().glob("*/*"))
    search = {"trials": options.trials, **options.tune}
    with TemporaryDirectory() as folder:
        plain, tuned = Path(folder, "plain"), Path(folder, "tuned")
        seconds = {"training": _train(data, plain), "tuned": _train(data, tuned, "--tune", json.dumps(search))}
        document = json.loads((tuned / "tuned.json").read_text())
        before, after = (_answers(each, data, sets) for each in (plain, tuned))
    gains = {name: vars(paired_gain(before[name], after[name], _SEED)) for name in sets}
    distinct = len({json.dumps(trial["hyperparameters"], sort_keys=True) for trial in document["trials"]})
    times = seconds["tuned"] / seconds["training"]
    core_hours = (seconds["tuned"] - seconds["training"]) * num_cores() / 3600
    return {
        "inputs": {"data": "given" if options.data else "the sketchbook", **search},
        "rounds": 1,
        "ours": {
            "seconds": rounded(seconds["tuned"]),
            "searching_seconds": document["seconds"],
            "searching_core_seconds": document["cpu_seconds"],
            "distinct_trials": distinct,
            "finished_trials": sum(trial["finished"] for trial in document["trials"]),
            "dollars_of_searching": rounded(known(f"training/{_INSTANCE}", core_hours / _CORES, HOME_REGION)),
            "winner": document["train_again"]["hyperparameters"],
            "gain_on_valid": document["gain"],
            "top1": {name: rounded(sum(each) / len(each)) for name, each in after.items()},
        },
        "peers": {
            "training with the defaults": {
                "seconds": rounded(seconds["training"]),
                "top1": {name: rounded(sum(each) / len(each)) for name, each in before.items()},
            }
        },
        "limit": None,
        "ratio": {"seconds": rounded(times), **gains},
        "goal": {
            "distinct_trials": goal(distinct, at_least=options.trials),
            "times_the_wall_time": goal(times, at_most=_MOST_TIMES),
        },
    }


def _train(data: Path, folder: Path, *options: str) -> float:
    """Train in a new process without cached features, and return the seconds that it took.

    Raises:
        LocalError: It failed.
    """
    program = ["-m", "training.train", "--data", str(data), "--model-dir", str(folder)]
    checkpoints = folder.with_name(f"{folder.name}-checkpoints")
    print_progress(f"training {' '.join(options) or 'with the defaults'}")
    begin = time.monotonic()
    command = [sys.executable, *program, "--checkpoint-dir", str(checkpoints), *options]
    done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    if done.returncode:
        raise LocalError(f"tuning: the training ended with {done.returncode}; its last output is above")
    return time.monotonic() - begin


def _answers(folder: Path, data: Path, sets: dict[str, list[Path]]) -> dict[str, list[bool]]:
    """Make the model that would be deployed, and return for each photo of each set whether it names it correctly."""
    archive = folder.with_suffix(".tar.gz")
    pack(folder, archive)
    trained = read_trained(archive, folder.with_name(f"{folder.name}-unpacked"))
    model = ServedModel(make_challenger(trained, open_source(data), folder.name).artifact)

    def is_correct(photo: Path) -> bool:
        return model.predict(photo.read_bytes()).ranking[0][0].id == photo.parent.name

    with ThreadPoolExecutor(num_cores()) as threads:
        return {name: list(threads.map(is_correct, photos)) for name, photos in sets.items()}
