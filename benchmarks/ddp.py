"""Full training over two ranks of one thread each, beside twice one such rank.

    python -m benchmarks ddp [--data FOLDER] [--backbone NAME] [--batch N] [--side N] [--rounds N] [--steps N]

Each rank is a process on a core of its own and takes a batch of its own from its own loader; the ranks speak over
loopback (gloo). The limit is two processes that do not know of each other, at the same time: what memory, cache and
clock leave. The peer is torchvision's loop with DistributedDataParallel as it comes, against twice one of it, on a
batch in memory. One system works at a time, in an order that changes with each round.
"""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.figures import goal, rotated, rounded, spread
from benchmarks.servers import say
from benchmarks.trainers import own_cores, parser, trainer, work
from local.home import LocalError


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures: photos per second.

    Raises:
        LocalError: a loop ended, or there is one core only.
    """
    options = parser("ddp", __doc__, steps=4).parse_args(arguments)
    if len(own_cores()) < 2:
        raise LocalError("two ranks of one thread need two cores; this process may use one")
    ours = _measured("ours", "photos", options)
    peer = _measured("peer", "synthetic", options)

    def ratio(taken: dict[str, list[float]], name: str) -> float:
        """To twice one rank in the same round; the median of all."""
        return statistics.median(a / (2 * b) for a, b in zip(taken[name], taken["one"], strict=True))

    scaling = ratio(ours, "two")
    return {
        "inputs": {**vars(work(options)), "data": "given" if options.data else "the sketchbook"},
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


def _measured(loop: str, source: str, options: Any) -> dict[str, list[float]]:
    """Photos/s of each round: of one rank, of two together, and of two apart."""
    given = work(options)
    first, second = ([core] for core in own_cores()[:2])
    with ExitStack() as stack:
        one, other = (stack.enter_context(trainer(loop, given, [core])) for core in (first, second))
        two = stack.enter_context(trainer(loop, given, [first, second]))

        def apart(steps: int) -> float:
            for each in (one, other):
                each.ask(source, steps)
            return one.rate() + other.rate()

        systems: dict[str, Callable[[int], float]] = {
            "one": lambda steps: one.measure(source, steps),
            "two": lambda steps: two.measure(source, steps),
            "apart": apart,
        }
        taken: dict[str, list[float]] = {name: [] for name in systems}
        for system in systems.values():
            system(2)  # what they plan for these shapes
        for number in range(options.rounds):
            for name in rotated(list(systems), number):
                taken[name].append(systems[name](options.steps))
                say(f"round {number + 1}/{options.rounds}  {loop} {name:5}  {taken[name][-1]:.1f} photos/s")
    return taken
