"""Features per second: training's pass over photos, compared with the bare network and with plain PyTorch.

    python -m benchmarks feature_pass [--data FOLDER] [--backbone NAME] [--rounds N] [--photos N]

Ours takes decoded photos from memory, and in a second measurement the files. It chooses precision and batch size itself
and writes the features to its cache. The limit is the network as the pass has configured it, on one batch in memory, in
as many threads. The peer is the same backbone as it is in its file: fp32, channels first, no gradients, one batch in
memory, on all cores. Both run in processes that stay; one works at a time, in an order that changes with each round.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import goal, rotated, rounded, spread
from benchmarks.servers import print_progress
from benchmarks.trainers import Trainer
from local.data import sketches
from local.home import ROOT, LocalError

_SYSTEMS = (("ours", "memory"), ("ours", "files"), ("ours", "batch"), ("peer", "batch"))


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure photos per second.

    Raises:
        LocalError: A loop ended.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks feature_pass", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: the sketchbook)")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=1024, help="number of photos of each measurement")
    options = parser.parse_args(arguments)
    rounds: dict[tuple[str, str], list[float]] = {system: [] for system in _SYSTEMS}
    with _started("ours", options) as ours, _started("peer", options) as peer:
        loops = {"ours": ours, "peer": peer}
        for loop, source in _SYSTEMS:
            loops[loop].measure(source, options.photos // 8)  # The first photos plan the kernels for these shapes.
        for number in range(options.rounds):
            for loop, source in rotated(_SYSTEMS, number):
                rate = loops[loop].measure(source, options.photos)
                rounds[loop, source].append(rate)
                print_progress(f"round {number + 1}/{options.rounds}  {loop} from {source:6}  {rate:.1f} photos/s")

    def ratio(one: tuple[str, str], other: tuple[str, str]) -> float:
        """Return the ratio of two systems in the same round: the median over the rounds."""
        return statistics.median(a / b for a, b in zip(rounds[one], rounds[other], strict=True))

    return {
        "inputs": {**vars(options), "data": "given" if options.data else "the sketchbook"},
        "rounds": options.rounds,
        "ours": {
            "photos_per_s": spread(rounds["ours", "memory"]),
            "photos_per_s_from_files": spread(rounds["ours", "files"]),
        },
        "peers": {"plain PyTorch": {"photos_per_s": spread(rounds["peer", "batch"])}},
        "limit": {"photos_per_s": spread(rounds["ours", "batch"])},
        "ratio": rounded(ratio(("ours", "memory"), ("peer", "batch"))),
        "goal": {"share_of_the_limit": goal(ratio(("ours", "memory"), ("ours", "batch")), at_least=0.85)},
    }


@contextmanager
def _started(loop: str, options: argparse.Namespace) -> Iterator[Trainer]:
    """Start ``ours`` or ``peer``, and yield it once it is ready."""
    data = (options.data or sketches()).resolve()
    command = [sys.executable, "-m", "benchmarks.feature_loops", loop, "--data", data, "--backbone", options.backbone]
    arguments = [str(word) for word in command]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise LocalError("a loop ended too early; its last output is above")
        yield Trainer([process], batch=1)
        process.kill()
