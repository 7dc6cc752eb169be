"""CPU time of the prediction function until it has answered its first request, compared with other functions.

    python -m benchmarks lambda_cold [--rounds N]

Each round starts every function once, in another order, in an interpreter of its own that finds only what Lambda would
have. The time covers the import of the handler's module and its first request, to a model that answers at once. It
does not cover the interpreter's own start. All functions have their bytecode. Ours starts twice in each round: the
model is hosted by an endpoint, or by a function.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.figures import goal, rotated, rounded, spreads
from benchmarks.functions import OURS, PEERS, handler_runner
from benchmarks.servers import print_progress

_BARE = "boto3 alone"
_OURS_BY_FUNCTION = "ours_by_function"


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure seconds of CPU.

    Raises:
        LocalError: A function failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks lambda_cold", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="starts of each function (default %(default)s)")
    options = parser.parse_args(arguments)
    modules = {"ours": OURS, _OURS_BY_FUNCTION: OURS, **PEERS}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in modules}
    with handler_runner() as runner:
        for name, module in modules.items():
            runner.run(module, hosting=_hosting(name))  # This writes the bytecode and warms the page cache.
        for number in range(options.rounds):
            for name in rotated(list(modules), number):
                times = runner.run(modules[name], hosting=_hosting(name))
                parts = {"import": times["import"], "first_request": times["first"]}
                rounds[name].append({"cpu_seconds": sum(parts.values()), **parts})
                print_progress(
                    f"round {number + 1}/{options.rounds}  {name:34} {rounds[name][-1]['cpu_seconds']:.3f} s"
                )

    def over(name: str, other: str) -> float:
        """Return the ratio of two functions in the same round: the median over the rounds."""
        pairs = zip(rounds[name], rounds[other], strict=True)
        return statistics.median(one["cpu_seconds"] / another["cpu_seconds"] for one, another in pairs)

    figures = {name: {**spreads(times), "over_bare": rounded(over(name, _BARE))} for name, times in rounds.items()}
    return {
        "rounds": options.rounds,
        "ours": figures.pop("ours"),
        _OURS_BY_FUNCTION: figures.pop(_OURS_BY_FUNCTION),
        "peers": figures,
        "limit": None,
        "ratio": None,
        "goal": {
            "cpu_over_bare": goal(over("ours", _BARE), at_most=1.35),
            "function_over_instances": goal(over(_OURS_BY_FUNCTION, "ours"), at_most=1.0),
        },
    }


def _hosting(name: str) -> str:
    return "function" if name == _OURS_BY_FUNCTION else "instances"
