"""Milliseconds that the warm prediction function adds to a call of the endpoint, compared with other functions.

    python -m benchmarks lambda_handler [--rounds N] [--requests N] [--bytes N]

Each round runs every function in an interpreter of its own, in another order. A request through the handler and a
direct InvokeEndpoint with the same photo take turns, both to an endpoint that answers at once; their medians are
compared. The time that API Gateway and Lambda add is not included.

For several sizes of memory it derives the milliseconds of a request, by the share of a core that comes with the memory
and the endpoint's own time (``--wait``), and its dollars.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.figures import goal, rotated, rounded, spreads
from benchmarks.functions import OURS, PEERS, handler_runner
from benchmarks.servers import print_progress
from prices import HOME_REGION, known
from prices.billed import function_item
from prices.cores import CORE_MEGABYTES, elapsed_ms

MEGABYTES = (256, 512, 1024, CORE_MEGABYTES)
_ARCHITECTURES = ("x86_64", "arm64")


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure milliseconds.

    Raises:
        LocalError: A function failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks lambda_handler", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interpreters of each function (default %(default)s)")
    parser.add_argument("--requests", type=int, default=300, help="requests of each interpreter (default %(default)s)")
    parser.add_argument(
        "--wait", type=float, default=13, help="milliseconds that the endpoint takes (default %(default)s)"
    )
    parser.add_argument("--bytes", type=int, default=122_000, help="bytes of a photo (default %(default)s)")
    options = parser.parse_args(arguments)
    modules = {"ours": OURS, **PEERS}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in modules}
    with handler_runner() as runner:
        for number in range(options.rounds):
            for name in rotated(list(modules), number):
                times = runner.run(modules[name], options.requests, options.bytes)
                handler, direct, cpu = (
                    statistics.median(times[figure]) for figure in ("handler_ms", "direct_ms", "handler_cpu_ms")
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
                print_progress(f"round {number + 1}/{options.rounds}  {name:34} +{handler - direct:.2f} ms")
    figures = {name: spreads(times) for name, times in rounds.items()}
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
    """Derive the milliseconds of a warm request, and the dollars of a million without the fee per request.

    Args:
        megabytes: Memory of the function.
        cpu_ms: Milliseconds of CPU on a whole core.
        wait_ms: Milliseconds without CPU use, which are paid too.
    """
    milliseconds = wait_ms + elapsed_ms(cpu_ms, megabytes)
    gb_seconds = 1e3 * milliseconds * megabytes / 1024  # GB-seconds of a million requests
    dollars = {
        f"dollars_per_million_{kind}": known(function_item(kind), gb_seconds, HOME_REGION) for kind in _ARCHITECTURES
    }
    return {name: rounded(value) for name, value in {"milliseconds": milliseconds, **dollars}.items()}
