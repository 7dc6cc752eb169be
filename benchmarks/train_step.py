"""Steps of full training in one process, compared with torchvision's reference loop for the same network and batch.

    python -m benchmarks train_step [--data FOLDER] [--backbone NAME] [--batch N] [--side N] [--rounds N] [--steps N]

Each loop is a process that stays. One works at a time, on photos from its own loader or on one batch in memory, in an
order that changes with each round. Our loop on the batch in memory is the limit. The faster of the peer's two rates
counts. The weights do not affect the time: a network of torchvision's has random ones.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.figures import goal, rotated, rounded, spread
from benchmarks.servers import print_progress
from benchmarks.trainers import SOURCES, own_cores, parser, trainer, training_work
from training.launch import num_gpus

_SETTLE_SECONDS = 1.0  # In this time the previous loop's loader fills its queue again.


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure photos per second.

    Raises:
        LocalError: A loop ended.
    """
    options = parser("train_step", __doc__, steps=4).parse_args(arguments)
    work = training_work(options)
    systems = [(loop, source) for loop in ("ours", "peer") for source in SOURCES]
    rounds: dict[tuple[str, str], list[float]] = {system: [] for system in systems}
    with trainer("ours", work, [own_cores()]) as ours, trainer("peer", work, [own_cores()]) as peer:
        loops = {"ours": ours, "peer": peer}
        for loop, source in systems:
            loops[loop].measure(source, 2)  # The first steps plan the kernels for these shapes.
        for number in range(options.rounds):
            for loop, source in rotated(systems, number):
                time.sleep(_SETTLE_SECONDS)
                rounds[loop, source].append(loops[loop].measure(source, options.steps))
                rate = rounds[loop, source][-1]
                print_progress(f"round {number + 1}/{options.rounds}  {loop:4} on {source:9}  {rate:.1f} photos/s")

    def ratio(one: tuple[str, str], other: tuple[str, str]) -> float:
        """Return the ratio of two systems in the same round: the median over the rounds."""
        return statistics.median(a / b for a, b in zip(rounds[one], rounds[other], strict=True))

    over_peer = min(ratio(("ours", "photos"), ("peer", source)) for source in SOURCES)
    return {
        "inputs": {**vars(work), "data": "given" if options.data else "the sketchbook", "cores": len(own_cores())},
        "rounds": options.rounds,
        "ours": {"photos_per_s": spread(rounds["ours", "photos"])},
        "peers": {
            "torchvision's reference": {
                "photos_per_s": spread(rounds["peer", "photos"]),
                "photos_per_s_in_memory": spread(rounds["peer", "synthetic"]),
            }
        },
        "limit": {"photos_per_s": spread(rounds["ours", "synthetic"])},
        "ratio": rounded(over_peer),
        "goal": {
            "steps_over_peer": goal(over_peer, at_least=1.5 if num_gpus() else 1.3),
            "share_of_the_limit": goal(ratio(("ours", "photos"), ("ours", "synthetic")), at_least=0.9),
        },
    }
