"""Full training over two ranks of one thread each, compared with twice the rate of one such rank.

    python -m benchmarks ddp [--data FOLDER] [--backbone NAME] [--batch N] [--side N] [--rounds N] [--steps N]

Each rank is a process on its own core and takes its own batches from its own loader; the ranks communicate over
loopback (gloo). The limit is two independent processes at the same time, which share memory, caches and clock in the
same way. The peer is torchvision's loop with DistributedDataParallel's defaults, compared with twice one rank of it, on
a batch in memory. One system runs at a time, in an order that changes with each round.
"""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.figures import goal, rotated, rounded, spread
from benchmarks.servers import print_progress
from benchmarks.trainers import own_cores, parser, trainer, training_work
from local.home import LocalError


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure photos per second.

    Raises:
        LocalError: A loop ended, or this process has only one core.
    """
    options = parser("ddp", __doc__, steps=4).parse_args(arguments)
    if len(own_cores()) < 2:
        raise LocalError("two ranks of one thread need two cores; this process may use one")
    ours = _measure_rates("ours", "photos", options)
    peer = _measure_rates("peer", "synthetic", options)

    def ratio(rates: dict[str, list[float]], name: str) -> float:
        """Return the rate over twice one rank's rate in the same round: the median over the rounds."""
        return statistics.median(a / (2 * b) for a, b in zip(rates[name], rates["one"], strict=True))

    scaling = ratio(ours, "two")
    return {
        "inputs": {**vars(training_work(options)), "data": "given" if options.data else "the sketchbook"},
        "rounds": options.rounds,
        "ours": {"one": spread(ours["one"]), "two": spread(ours["two"]), "over_twice_one": rounded(scaling)},
        "peers": {
            "torchvision's reference": {
                "one": spread(peer["one"]),
                "two": spread(peer["two"]),
                "over_twice_one": rounded(ratio(peer, "two")),
                "apart_over_twice_one": rounded(ratio(peer, "apart")),
            }
        },
        "limit": {"apart": spread(ours["apart"]), "over_twice_one": rounded(ratio(ours, "apart"))},
        "ratio": rounded(statistics.median(a / b for a, b in zip(ours["two"], peer["two"], strict=True))),
        "goal": {"two_over_twice_one": goal(scaling, at_least=0.95)},
    }


def _measure_rates(loop: str, source: str, options: Any) -> dict[str, list[float]]:
    """Return photos/s of each round: of one rank, of two ranks together, and of two independent ranks."""
    work = training_work(options)
    first, second = ([core] for core in own_cores()[:2])
    with ExitStack() as stack:
        one, other = (stack.enter_context(trainer(loop, work, [core])) for core in (first, second))
        two = stack.enter_context(trainer(loop, work, [first, second]))

        def apart(steps: int) -> float:
            for rank in (one, other):
                rank.ask(source, steps)
            return one.rate() + other.rate()

        systems: dict[str, Callable[[int], float]] = {
            "one": lambda steps: one.measure(source, steps),
            "two": lambda steps: two.measure(source, steps),
            "apart": apart,
        }
        rates: dict[str, list[float]] = {name: [] for name in systems}
        for system in systems.values():
            system(2)  # The first steps plan the kernels for these shapes, so they are not measured.
        for number in range(options.rounds):
            for name in rotated(list(systems), number):
                rates[name].append(systems[name](options.steps))
                print_progress(f"round {number + 1}/{options.rounds}  {loop} {name:5}  {rates[name][-1]:.1f} photos/s")
    return rates
