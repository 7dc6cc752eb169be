"""Milliseconds that the prediction function adds to a call of the endpoint, warm, beside other functions.

    python -m benchmarks lambda_handler [--rounds N] [--requests N] [--bytes N]

Each round runs every function in an interpreter of its own, in another order. A request through the handler and a
direct InvokeEndpoint with the same photo take turns, both to an endpoint that costs nothing; the medians are compared.
What API Gateway and Lambda themselves add is not here.

Derived for several sizes of memory: the milliseconds of a request, by the share of a core that goes with the memory and
the endpoint's own time (``--wait``), and its dollars.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.figures import goal, rotated, rounded, spreads
from benchmarks.functions import OURS, PEERS, lambdas
from benchmarks.servers import say

MEGABYTES = (256, 512, 1024, 1769)
_MEGABYTES_OF_A_CORE = 1769
PER_GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}  # dollars, us-east-1, read 2026-11-23


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures: milliseconds.

    Raises:
        LocalError: a function failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks lambda_handler", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interpreters of each function (default %(default)s)")
    parser.add_argument("--requests", type=int, default=300, help="of each interpreter (default %(default)s)")
    parser.add_argument("--wait", type=float, default=13, help="milliseconds for the endpoint (default %(default)s)")
    parser.add_argument("--bytes", type=int, default=122_000, help="of a photo (default %(default)s)")
    options = parser.parse_args(arguments)
    modules = {"ours": OURS, **PEERS}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in modules}
    with lambdas() as place:
        for number in range(options.rounds):
            for name in rotated(list(modules), number):
                times = place.run(modules[name], options.requests, options.bytes)
                handler, direct, cpu = (
                    statistics.median(times[each]) for each in ("handler_ms", "direct_ms", "handler_cpu_ms")
                )
                rounds[name].append(
                    {
                        "added_p50_ms": handler - direct,
                        "handler_p50_ms": handler,
                        "direct_p50_ms": direct,
                        "cpu_p50_ms": cpu,
                        "mebibytes": times["mebibytes"],
                    }
                )
                say(f"round {number + 1}/{options.rounds}  {name:34} +{handler - direct:.2f} ms")
    figures = {name: spreads(each) for name, each in rounds.items()}
    own: dict[str, Any] = figures.pop("ours")
    cpu = own["cpu_p50_ms"]["median"]
    own["by_megabytes"] = {str(size): by_memory(size, cpu, options.wait) for size in MEGABYTES}
    return {
        "inputs": {"photo_bytes": options.bytes, "requests": options.requests, "wait_ms": options.wait},
        "rounds": options.rounds,
        "ours": own,
        "peers": figures,
        "limit": None,
        "ratio": None,
        "goal": {"added_p50_ms": goal(own["added_p50_ms"]["median"], at_most=3)},
    }


def by_memory(megabytes: int, cpu_ms: float, wait_ms: float) -> dict[str, float]:
    """What a warm request takes with so much memory, and a million of them cost besides the fee per request.

    Args:
        cpu_ms: of a whole core.
        wait_ms: in which no CPU is used, but paid.
    """
    milliseconds = wait_ms + cpu_ms / min(megabytes / _MEGABYTES_OF_A_CORE, 1)
    gb_seconds = 1e3 * milliseconds * megabytes / 1024  # of a million
    dollars = {f"dollars_per_million_{kind}": gb_seconds * price for kind, price in PER_GB_SECOND.items()}
    return {name: rounded(value) for name, value in {"milliseconds": milliseconds, **dollars}.items()}
