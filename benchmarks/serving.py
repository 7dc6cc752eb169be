"""Requests per second, latency and CPU per request of our server, compared with peers that have the same weights.

    python -m benchmarks serving [--model …] [--trained …] [--photos FOLDER] [--rounds N] [--seconds S]

In each round every system is started anew, answers 8 clients in a closed loop (each sends its next request when it has
its answer) and is ended. The order changes with each round. The limit is decoding and the model on as many threads as
our server has, in a process without a server, while the same client sends the same photos to a server that does
nothing, at the rate that ours reached. Every system gets one photo per request, as raw bytes over a kept connection,
from one client with one thread, whose CPU is counted separately. All variants of a peer are measured before the first
round, and the fastest takes part. If a peer's answers differ from ours on more than 3 % of the photos, the benchmark
fails.

The knee is the highest rate of requests at random times whose p99 is at most five times the median latency of a single
client. Latencies are measured at 70 % of the knee.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.client import NULL_CLASS, LoadResult, answers, closed_loop, open_loop
from benchmarks.figures import goal, max_rate_within, percentile, rotated, rounded, spreads
from benchmarks.inputs import Inputs, parser, prepare_inputs
from benchmarks.servers import Question, System, our_server, peer_servers, print_progress, started, warmed_up
from local.home import ROOT, LocalError

_KNEE_OVER_UNLOADED = 5  # p99 at the knee divided by the median of a single client
_LOAD = 0.7  # share of the knee at which latencies are measured
_MIN_AGREEMENT = 0.97  # share of the photos for which a peer must name our class

Figures = dict[str, float]


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure requests/s and milliseconds.

    Raises:
        LocalError: An input is missing, a server does not answer, or a peer's answers differ from ours.
    """
    options = parser("serving", __doc__, rounds=5, seconds=5).parse_args(arguments)
    with prepare_inputs(options) as inputs, _limit(inputs) as limit:
        own = our_server(inputs.model)
        classes, knee = _first_look(own, inputs, options.seconds)
        fastest_peers = [
            _best_variant(variants, inputs, options.seconds) for variants in peer_servers(inputs.peer_model).values()
        ]
        agreement = {system.name: _agreement(system, inputs, classes) for system in fastest_peers}
        systems = {system.name: system for system in (own, *fastest_peers)}
        rounds: dict[str, list[Figures]] = {
            name: [] for name in ("ours", "limit", *(peer.name for peer in fastest_peers))
        }
        latencies: list[Figures] = []
        rate = knee
        for number in range(options.rounds):
            for name in rotated(list(rounds), number):
                if name == "limit":
                    figures = limit(rate, options.seconds)
                else:
                    figures = _under_load(systems[name], inputs, options.seconds)
                if name == "ours":
                    rate = figures["requests_per_second"]
                rounds[name].append(figures)
                print_progress(f"round {number + 1}/{options.rounds}  {name:24} {_in_words(figures)}")
            latencies.append(_at_rate(own, inputs, _LOAD * knee, 2 * options.seconds, seed=number))
            print_progress(f"round {number + 1}/{options.rounds}  {'ours at 70 %':24} {_in_words(latencies[-1])}")
    return _report(inputs, rounds, latencies, knee, fastest_peers, agreement)


def _report(
    inputs: Inputs,
    rounds: dict[str, list[Figures]],
    latencies: list[Figures],
    knee: float,
    fastest_peers: Sequence[System],
    agreement: dict[str, float],
) -> dict[str, Any]:
    def ratio(name: str, other: str, figure: str = "requests_per_second") -> float:
        """Return the ratio of two systems in the same round: the median over the rounds."""
        return statistics.median(a[figure] / b[figure] for a, b in zip(rounds[name], rounds[other], strict=True))

    rates = {name: statistics.median(figures["requests_per_second"] for figures in rounds[name]) for name in rounds}
    best_eager = max((system.name for system in fastest_peers if system.eager), key=rates.__getitem__)
    own = spreads(
        [
            {**served, "cpu_ms_over_decode_and_model": served["cpu_ms"] - bare["cpu_ms"]}
            for served, bare in zip(rounds["ours"], rounds["limit"], strict=True)
        ]
    )
    at_load = spreads([{**measured, "p99_over_p50": measured["p99_ms"] / measured["p50_ms"]} for measured in latencies])
    return {
        "inputs": inputs.described,
        "rounds": len(latencies),
        "ours": {**own, "knee": rounded(knee), "at_70_percent_of_the_knee": at_load},
        "peers": {
            system.name: {
                "variant": system.variant,
                "eager": system.eager,
                "agreement": rounded(agreement[system.name]),
                **spreads(rounds[system.name]),
            }
            for system in fastest_peers
        },
        "limit": spreads(rounds["limit"]),
        "ratio": rounded(ratio("ours", best_eager)),
        "goal": {
            "requests_per_second_over_best_eager": goal(ratio("ours", best_eager), at_least=4),
            "requests_per_second_over_same_model": goal(
                min(ratio("ours", system.name) for system in fastest_peers if not system.eager), at_least=1.15
            ),
            "share_of_the_limit": goal(ratio("ours", "limit"), at_least=0.8),
            "cpu_ms_over_decode_and_model": goal(own["cpu_ms_over_decode_and_model"]["median"], at_most=0.4),
            "p99_over_p50_at_70_percent_of_the_knee": goal(at_load["p99_over_p50"]["median"], at_most=2.5),
        },
    }


def _first_look(own: System, inputs: Inputs, seconds: float) -> tuple[list[str], float]:
    """Return our class for each photo, and the knee in requests/s."""
    with started(own, inputs.questions[0]) as server:
        classes = _classes(server.port, inputs.requests())
        requests = inputs.requests()
        capacity = closed_loop(server.port, requests, seconds).rate
        unloaded = percentile(closed_loop(server.port, requests, seconds, clients=1).latencies, 0.5)

        def p99_at(rate: float) -> float:
            p99 = percentile(open_loop(server.port, requests, rate, seconds).latencies, 0.99)
            print_progress(f"ours at {rate:.0f} requests/s: p99 {p99:.1f} ms")
            return p99

        print_progress(f"ours: {capacity:.0f} requests/s, a single client waits {unloaded:.1f} ms")
        knee = max_rate_within(capacity, p99_at, _KNEE_OVER_UNLOADED * unloaded)
    if not knee:
        raise LocalError(
            "our server has no knee: p99 is too high even at a fifth of its capacity; is the machine busy?"
        )
    return classes, knee


def _best_variant(variants: Sequence[System], inputs: Inputs, seconds: float) -> System:
    rates = {}
    for system in variants:
        rates[system.variant] = _under_load(system, inputs, seconds)["requests_per_second"]
        print_progress(f"{system.name}, {system.variant}: {rates[system.variant]:.1f} requests/s")
    return max(variants, key=lambda system: rates[system.variant])


def _agreement(system: System, inputs: Inputs, classes: Sequence[str]) -> float:
    """Return the share of the photos for which the peer names our class.

    Raises:
        LocalError: The share is so small that the peer must have another model.
    """
    with started(system, inputs.questions[0]) as server:
        peer_classes = _classes(server.port, inputs.requests(system.path))
    share = statistics.mean(a == b for a, b in zip(classes, peer_classes, strict=True))
    if share < _MIN_AGREEMENT:
        raise LocalError(
            f"{system.name} names our class on only {share:.1%} of the photos, so the two cannot be compared; "
            "are --model and --trained from the same run?"
        )
    return share


def _classes(port: int, requests: Sequence[bytes]) -> list[str]:
    return [json.loads(body).get("class", "") for _, body in answers(port, requests)]


def _under_load(system: System, inputs: Inputs, seconds: float) -> Figures:
    requests = inputs.requests(system.path)
    with warmed_up(system, inputs.questions[0], requests) as server:
        before = server.cpu_seconds()
        load = closed_loop(server.port, requests, seconds)
        cpu = server.cpu_seconds() - before
    _check(system, load)
    return {
        "requests_per_second": load.rate,
        "cpu_ms": cpu * 1e3 / load.answered,
        "client_cpu_ms": load.client_cpu_seconds * 1e3 / load.answered,
    }


def _at_rate(system: System, inputs: Inputs, rate: float, seconds: float, seed: int) -> Figures:
    requests = inputs.requests(system.path)
    with warmed_up(system, inputs.questions[0], requests) as server:
        load = open_loop(server.port, requests, rate, seconds, seed)
    _check(system, load)
    return {"p50_ms": percentile(load.latencies, 0.5), "p99_ms": percentile(load.latencies, 0.99)}


def _check(system: System, load: LoadResult) -> None:
    if refused := len(load.latencies) - load.answered:
        raise LocalError(f"{system.name} refused {refused} of {len(load.latencies)} requests; is the machine busy?")


@contextmanager
def _limit(inputs: Inputs) -> Iterator[Callable[[float, float], Figures]]:
    """Yield a function of requests/s and seconds, which measures decoding and model while the client sends requests."""
    environment = {"PYTHONPATH": str(ROOT)}
    null = System("null server", "", (sys.executable, "-m", "benchmarks.client", "{port}"), environment)
    command = (sys.executable, "-m", "benchmarks.bare", str(inputs.model), *map(str, inputs.photos))
    with (
        started(null, Question(b"", "image/jpeg", NULL_CLASS)) as server,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise LocalError("the model cannot be computed on this machine; run `python -m serving` to see why")
        requests, stdin, stdout = inputs.requests(), process.stdin, process.stdout

        def measure_limit(rate: float, seconds: float) -> Figures:
            print(seconds, file=stdin, flush=True)
            load = open_loop(server.port, requests, rate, seconds)
            photos, elapsed, cpu = json.loads(stdout.readline())
            return {
                "requests_per_second": photos / elapsed,
                "cpu_ms": cpu * 1e3 / photos,
                "client_cpu_ms": load.client_cpu_seconds * 1e3 / load.answered,
            }

        yield measure_limit


def _in_words(figures: Figures) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
