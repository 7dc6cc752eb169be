"""Requests per second, latency and CPU per request of our server, beside those of peers with the same weights.

    python -m benchmarks serving [--model …] [--trained …] [--photos FOLDER] [--rounds N] [--seconds S]

In each round every system is started afresh, answers 8 clients in a closed loop (each asks again when it is answered)
and is ended; each round has another order. The limit is decoding and model on as many threads as our server has, in a
process without a server, while the same client sends the same photos to a server that does nothing, at the rate that
ours reached. All get one photo per request, as raw bytes over a kept connection, from one client of one thread, whose
CPU is counted apart. A peer with variants shows them all before the first round, and the fastest goes on; answers that
differ from ours on more than 3 % of the photos void the whole.

The knee is the highest rate of requests arriving at random whose p99 is at most five times the median of a single
client. At 70 % of it the latencies are taken.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.client import NULL_CLASS, Load, answers, closed_loop, open_loop
from benchmarks.figures import goal, knee, percentile, rotated, rounded, spreads
from benchmarks.inputs import Inputs, parser, prepared
from benchmarks.servers import Question, System, ours, peers, say, started, warmed_up
from local.home import ROOT, LocalError

_KNEE_OVER_UNLOADED = 5  # p99 at the knee over the median of a single client
_LOAD = 0.7  # of the knee, where latencies are taken
_AGREEMENT = 0.97  # share of the photos on which a peer must name our class

Figures = dict[str, float]


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures: requests/s and milliseconds.

    Raises:
        LocalError: something is missing or does not answer, or a peer answers otherwise than ours.
    """
    options = parser("serving", __doc__, rounds=5, seconds=5).parse_args(arguments)
    with prepared(options) as given, _limit(given) as limit:
        own = ours(given.model)
        classes, at_the_knee = _first_look(own, given, options.seconds)
        chosen = [_best_variant(variants, given, options.seconds) for variants in peers(given.peer_model).values()]
        agreement = {system.name: _agreement(system, given, classes) for system in chosen}
        systems = {system.name: system for system in (own, *chosen)}
        rounds: dict[str, list[Figures]] = {name: [] for name in ("ours", "limit", *(each.name for each in chosen))}
        latencies: list[Figures] = []
        rate = at_the_knee
        for number in range(options.rounds):
            for name in rotated(list(rounds), number):
                if name == "limit":
                    taken = limit(rate, options.seconds)
                else:
                    taken = _under_load(systems[name], given, options.seconds)
                if name == "ours":
                    rate = taken["requests_per_second"]
                rounds[name].append(taken)
                say(f"round {number + 1}/{options.rounds}  {name:24} {_in_words(taken)}")
            latencies.append(_at_rate(own, given, _LOAD * at_the_knee, 2 * options.seconds, seed=number))
            say(f"round {number + 1}/{options.rounds}  {'ours at 70 %':24} {_in_words(latencies[-1])}")
    return _report(given, rounds, latencies, at_the_knee, chosen, agreement)


def _report(
    given: Inputs,
    rounds: dict[str, list[Figures]],
    latencies: list[Figures],
    at_the_knee: float,
    chosen: Sequence[System],
    agreement: dict[str, float],
) -> dict[str, Any]:
    def ratio(name: str, other: str, figure: str = "requests_per_second") -> float:
        """Of the two in the same round; the median of all."""
        return statistics.median(a[figure] / b[figure] for a, b in zip(rounds[name], rounds[other], strict=True))

    rates = {name: statistics.median(each["requests_per_second"] for each in taken) for name, taken in rounds.items()}
    eager = max((system.name for system in chosen if system.eager), key=rates.__getitem__)
    own = spreads(
        [
            {**served, "cpu_ms_over_decode_and_model": served["cpu_ms"] - bare["cpu_ms"]}
            for served, bare in zip(rounds["ours"], rounds["limit"], strict=True)
        ]
    )
    at_load = spreads([{**each, "p99_over_p50": each["p99_ms"] / each["p50_ms"]} for each in latencies])
    return {
        "inputs": given.described,
        "rounds": len(latencies),
        "ours": {**own, "knee": rounded(at_the_knee), "at_70_percent_of_the_knee": at_load},
        "peers": {
            system.name: {
                "variant": system.variant,
                "eager": system.eager,
                "agreement": rounded(agreement[system.name]),
                **spreads(rounds[system.name]),
            }
            for system in chosen
        },
        "limit": spreads(rounds["limit"]),
        "ratio": rounded(ratio("ours", eager)),
        "goal": {
            "requests_per_second_over_best_eager": goal(ratio("ours", eager), at_least=4),
            "requests_per_second_over_same_model": goal(
                min(ratio("ours", system.name) for system in chosen if not system.eager), at_least=1.15
            ),
            "share_of_the_limit": goal(ratio("ours", "limit"), at_least=0.8),
            "cpu_ms_over_decode_and_model": goal(own["cpu_ms_over_decode_and_model"]["median"], at_most=0.4),
            "p99_over_p50_at_70_percent_of_the_knee": goal(at_load["p99_over_p50"]["median"], at_most=2.5),
        },
    }


def _first_look(own: System, given: Inputs, seconds: float) -> tuple[list[str], float]:
    """Our class for each photo, and the knee."""
    with started(own, given.questions[0]) as server:
        classes = _classes(server.port, given.requests())
        requests = given.requests()
        capacity = closed_loop(server.port, requests, seconds).rate
        unloaded = percentile(closed_loop(server.port, requests, seconds, clients=1).latencies, 0.5)

        def p99_at(rate: float) -> float:
            p99 = percentile(open_loop(server.port, requests, rate, seconds).latencies, 0.99)
            say(f"ours at {rate:.0f} requests/s: p99 {p99:.1f} ms")
            return p99

        say(f"ours: {capacity:.0f} requests/s, a single client waits {unloaded:.1f} ms")
        found = knee(capacity, p99_at, _KNEE_OVER_UNLOADED * unloaded)
    if not found:
        raise LocalError("ours has no knee: even at a fifth of its capacity p99 is too high; is the machine busy?")
    return classes, found


def _best_variant(variants: Sequence[System], given: Inputs, seconds: float) -> System:
    rates = {}
    for system in variants:
        rates[system.variant] = _under_load(system, given, seconds)["requests_per_second"]
        say(f"{system.name}, {system.variant}: {rates[system.variant]:.1f} requests/s")
    return max(variants, key=lambda system: rates[system.variant])


def _agreement(system: System, given: Inputs, classes: Sequence[str]) -> float:
    """Share of the photos for which the peer names our class.

    Raises:
        LocalError: too few, so that it computes another model.
    """
    with started(system, given.questions[0]) as server:
        theirs = _classes(server.port, given.requests(system.path))
    share = statistics.mean(a == b for a, b in zip(classes, theirs, strict=True))
    if share < _AGREEMENT:
        raise LocalError(
            f"{system.name} names our class on {share:.1%} of the photos only, so nothing can be compared; "
            "do --model and --trained belong together?"
        )
    return share


def _classes(port: int, requests: Sequence[bytes]) -> list[str]:
    return [json.loads(body).get("class", "") for _, body in answers(port, requests)]


def _under_load(system: System, given: Inputs, seconds: float) -> Figures:
    requests = given.requests(system.path)
    with warmed_up(system, given.questions[0], requests) as server:
        before = server.cpu_seconds()
        load = closed_loop(server.port, requests, seconds)
        cpu = server.cpu_seconds() - before
    _check(system, load)
    return {
        "requests_per_second": load.rate,
        "cpu_ms": cpu * 1e3 / load.answered,
        "client_cpu_ms": load.client_cpu_seconds * 1e3 / load.answered,
    }


def _at_rate(system: System, given: Inputs, rate: float, seconds: float, seed: int) -> Figures:
    requests = given.requests(system.path)
    with warmed_up(system, given.questions[0], requests) as server:
        load = open_loop(server.port, requests, rate, seconds, seed)
    _check(system, load)
    return {"p50_ms": percentile(load.latencies, 0.5), "p99_ms": percentile(load.latencies, 0.99)}


def _check(system: System, load: Load) -> None:
    if refused := len(load.latencies) - load.answered:
        raise LocalError(f"{system.name} refused {refused} of {len(load.latencies)} requests; is the machine busy?")


@contextmanager
def _limit(given: Inputs) -> Iterator[Callable[[float, float], Figures]]:
    """What measures decoding and model, given the client's requests/s and for how many seconds."""
    environment = {"PYTHONPATH": str(ROOT)}
    null = System("null server", "", (sys.executable, "-m", "benchmarks.client", "{port}"), environment)
    command = (sys.executable, "-m", "benchmarks.bare", str(given.model), *map(str, given.photos))
    with (
        started(null, Question(b"", "image/jpeg", NULL_CLASS)) as server,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise LocalError("the model cannot be computed here; `python -m serving` says why")
        requests, ask, answer = given.requests(), process.stdin, process.stdout

        def measured(rate: float, seconds: float) -> Figures:
            print(seconds, file=ask, flush=True)
            load = open_loop(server.port, requests, rate, seconds)
            photos, elapsed, cpu = json.loads(answer.readline())
            return {
                "requests_per_second": photos / elapsed,
                "cpu_ms": cpu * 1e3 / photos,
                "client_cpu_ms": load.client_cpu_seconds * 1e3 / load.answered,
            }

        yield measured


def _in_words(figures: Figures) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
