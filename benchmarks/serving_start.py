"""Seconds from a server's start to its first correct answer, and its memory, compared with the peers.

    python -m benchmarks serving_start [--model …] [--trained …] [--photos FOLDER] [--rounds N]

Each round starts every system once, in another order, as a process of its own with a warm page cache. It receives a
golden photo again and again from its start until the answer is correct, and then 300 photos more. Peers run in their
first variant. The limit is a process that loads the artifact and answers its golden photos without a server.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.client import answers
from benchmarks.figures import goal, rotated, rounded, spreads
from benchmarks.inputs import Inputs, parser, prepare_inputs
from benchmarks.servers import System, await_answer, launched, our_server, peer_servers, print_progress
from local.home import ROOT

_MEBIBYTE = 1 << 20

Figures = dict[str, float]


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure seconds and mebibytes of resident memory.

    Raises:
        LocalError: An input is missing, or a server does not answer.
    """
    options = parser("serving_start", __doc__, rounds=9).parse_args(arguments)
    with prepare_inputs(options) as inputs:
        first_variants = [variants[0] for variants in peer_servers(inputs.peer_model).values()]
        turns = {system.name: partial(_start, system, inputs) for system in (our_server(inputs.model), *first_variants)}
        turns["limit"] = partial(_start_bare, inputs)
        rounds: dict[str, list[Figures]] = {name: [] for name in turns}
        for number in range(options.rounds):
            for name in rotated(list(turns), number):
                rounds[name].append(turns[name]())
                print_progress(f"round {number + 1}/{options.rounds}  {name:24} {rounds[name][-1]['seconds']:.2f} s")
    figures = {name: spreads(rounds[name]) for name in rounds}
    best_eager = min(figures[system.name]["seconds"]["median"] for system in first_variants if system.eager)
    own = figures["ours"]
    return {
        "inputs": inputs.described,
        "rounds": options.rounds,
        "ours": own,
        "peers": {system.name: {"eager": system.eager, **figures[system.name]} for system in first_variants},
        "limit": figures["limit"],
        "ratio": rounded(best_eager / own["seconds"]["median"]),
        "goal": {
            "seconds_to_the_first_answer": goal(own["seconds"]["median"], at_most=2),
            "resident_mebibytes": goal(own["mebibytes_after_the_photos"]["median"], at_most=350),
        },
    }


def _start(system: System, inputs: Inputs) -> Figures:
    began = time.perf_counter()
    with launched(system) as server:
        await_answer(server.port, inputs.questions[0], system.path, server.process)
        seconds, first = time.perf_counter() - began, server.resident_bytes()
        answers(server.port, inputs.requests(system.path))
        return {
            "seconds": seconds,
            "mebibytes_after_the_start": first / _MEBIBYTE,
            "mebibytes_after_the_photos": server.resident_bytes() / _MEBIBYTE,
        }


def _start_bare(inputs: Inputs) -> Figures:
    began = time.perf_counter()
    command = (sys.executable, "-m", "benchmarks.bare", str(inputs.model))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # "ready"
        return {"seconds": time.perf_counter() - began}
