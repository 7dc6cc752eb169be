"""Seconds from a server's start to its first right answer, and its memory, beside the peers'.

    python -m benchmarks serving_start [--model …] [--trained …] [--photos FOLDER] [--rounds N]

Each round starts every system once, in another order: a process of its own on a warm page cache, asked for a golden
photo from its start on until the answer is right; then 300 photos more. Peers in their first variant. The limit is a
process that loads the artifact and answers its golden photos without a server.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.client import answers
from benchmarks.figures import goal, rotated, rounded, spreads
from benchmarks.inputs import Inputs, parser, prepared
from benchmarks.servers import System, await_answer, launched, ours, peers, say
from local.home import ROOT

_MEBIBYTE = 1 << 20

Figures = dict[str, float]


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures: seconds, and mebibytes of resident memory.

    Raises:
        LocalError: something is missing or does not answer.
    """
    options = parser("serving_start", __doc__, rounds=9).parse_args(arguments)
    with prepared(options) as given:
        chosen = [variants[0] for variants in peers(given.peer_model).values()]
        turns = {system.name: partial(_start, system, given) for system in (ours(given.model), *chosen)}
        turns["limit"] = partial(_start_bare, given)
        rounds: dict[str, list[Figures]] = {name: [] for name in turns}
        for number in range(options.rounds):
            for name in rotated(list(turns), number):
                rounds[name].append(turns[name]())
                say(f"round {number + 1}/{options.rounds}  {name:24} {rounds[name][-1]['seconds']:.2f} s")
    taken = {name: spreads(each) for name, each in rounds.items()}
    eager = min(taken[system.name]["seconds"]["median"] for system in chosen if system.eager)
    own = taken["ours"]
    return {
        "inputs": given.described,
        "rounds": options.rounds,
        "ours": own,
        "peers": {system.name: {"eager": system.eager, **taken[system.name]} for system in chosen},
        "limit": taken["limit"],
        "ratio": rounded(eager / own["seconds"]["median"]),
        "goal": {
            "seconds_to_the_first_answer": goal(own["seconds"]["median"], at_most=2),
            "resident_mebibytes": goal(own["mebibytes_after_the_photos"]["median"], at_most=350),
        },
    }


def _start(system: System, given: Inputs) -> Figures:
    began = time.perf_counter()
    with launched(system) as server:
        await_answer(server.port, given.questions[0], system.path, server.process)
        seconds, first = time.perf_counter() - began, server.resident_bytes()
        answers(server.port, given.requests(system.path))
        return {
            "seconds": seconds,
            "mebibytes_after_the_start": first / _MEBIBYTE,
            "mebibytes_after_the_photos": server.resident_bytes() / _MEBIBYTE,
        }


def _start_bare(given: Inputs) -> Figures:
    began = time.perf_counter()
    command = (sys.executable, "-m", "benchmarks.bare", str(given.model))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # "ready"
        return {"seconds": time.perf_counter() - began}
