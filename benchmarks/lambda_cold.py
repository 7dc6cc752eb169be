"""CPU time of the prediction function until it has answered its first request, compared with other functions.

    python -m benchmarks lambda_cold [--rounds N]

Each round starts every function once, in another order, in an interpreter of its own that finds only what Lambda would
have. The time covers the import of the handler's module and its first request, to an endpoint that answers at once. It
does not cover the interpreter's own start. All functions have their bytecode.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.figures import goal, rotated, rounded, spreads
from benchmarks.functions import OURS, PEERS, handler_runner
from benchmarks.servers import print_progress

_BARE = "boto3 alone"


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure seconds of CPU.

    Raises:
        LocalError: A function failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks lambda_cold", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="starts of each function (default %(default)s)")
    options = parser.parse_args(arguments)
    modules = {"ours": OURS, **PEERS}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in modules}
    with handler_runner() as runner:
        for module in modules.values():
            runner.run(module)  # This writes the bytecode and warms the page cache.
        for number in range(options.rounds):
            for name in rotated(list(modules), number):
                times = runner.run(modules[name])
                parts = {"import": times["import"], "first_request": times["first"]}
                rounds[name].append({"cpu_seconds": sum(parts.values()), **parts})
                print_progress(
                    f"round {number + 1}/{options.rounds}  {name:34} {rounds[name][-1]['cpu_seconds']:.3f} s"
                )

    def over_bare(name: str) -> float:
        """Return the ratio to the bare function in the same round: the median over the rounds."""
        pairs = zip(rounds[name], rounds[_BARE], strict=True)
        return statistics.median(one["cpu_seconds"] / bare["cpu_seconds"] for one, bare in pairs)

    figures = {name: {**spreads(times), "over_bare": rounded(over_bare(name))} for name, times in rounds.items()}
    return {
        "rounds": options.rounds,
        "ours": figures.pop("ours"),
        "peers": figures,
        "limit": None,
        "ratio": None,
        "goal": {"cpu_over_bare": goal(over_bare("ours"), at_most=1.35)},
    }
