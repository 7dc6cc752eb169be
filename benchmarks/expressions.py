"""Milliseconds of a JSONata expression in the laptop cloud, and its agreement with the reference in Node.js.

    python -m benchmarks expressions [--rounds N] [--random N] [--seed N]

It times every expression of both state machines on a payload of 3 KB, and four expressions on one of 200 KB. It then
evaluates random expressions here and by the reference implementation, which Node.js (``node``, 18 or newer) runs from
the same file, and prints those that differ. The peers are the reference in Node.js, where nothing crosses from one
language to the other, and the Python port that MiniStack uses.
"""

import argparse
import json
import math
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonata
import yaml

from benchmarks.figures import goal, percentile, rounded
from benchmarks.random_expressions import Generator
from benchmarks.servers import print_progress
from cloud.stepfunctions import asl, expressions
from local.home import LocalError

ROOT = Path(__file__).resolve().parents[1]
_SMALL = {"job": "kennel-x-0", "items": [{"name": f"item {index}", "size": index / 7} for index in range(60)]}
_LARGE = {
    "photos": [{"key": f"train/{index:05d}.jpg", "size": index * 7, "ok": True} for index in range(4_000)],
    "a": 1,
}
_ON_LARGE = (
    *("$states.input.a + 1", "$count($states.input.photos)", "$states.input"),
    "$count($states.input.photos[size > 700])",
)

Case = tuple[str, dict[str, Any], dict[str, Any]]  # expression, variables, $states


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure milliseconds and differences.

    Raises:
        LocalError: Node.js is missing or failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks expressions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="evaluations of each expression (default %(default)s)")
    parser.add_argument("--random", type=int, default=2_000, help="random expressions (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random expressions (default %(default)s)")
    options = parser.parse_args(arguments)
    cases: list[Case] = [
        (text, {}, {"input": _SMALL, "result": _SMALL, "context": _SMALL}) for text in _project_expressions()
    ]
    ours = [_time(_ours, case, options.rounds) for case in cases]
    port = [_time(_port, case, options.rounds) for case in cases]
    large: list[Case] = [(text, {}, {"input": _LARGE, "context": {}}) for text in _ON_LARGE]
    ours_large = [_time(_ours, case, options.rounds) for case in large]
    reference = [answer.get("ms", 0.0) for answer in _reference([*cases, *large], options.rounds)]
    differences = list(_differences(options.random, options.seed))
    for expression, here, there in differences[:20]:
        print_progress(f"{expression}\n   here       {here}\n   reference  {there}")
    timed = [ms for ms in reference[: len(cases)] if ms] or [0.0]
    return {
        "rounds": options.rounds,
        "ours": {
            "median_ms": rounded(statistics.median(ours)),
            "p95_ms": rounded(percentile(ours, 0.95)),
            "max_ms": rounded(max(ours)),
            "on_200_kb_ms": dict(zip(_ON_LARGE, map(rounded, ours_large), strict=True)),
            "random": options.random,
            "differences": len(differences),
        },
        "peers": {
            "reference in Node.js": {
                "median_ms": rounded(statistics.median(timed)),
                "on_200_kb_ms": dict(zip(_ON_LARGE, map(rounded, reference[len(cases) :]), strict=True)),
            },
            "Python port": {"median_ms": rounded(statistics.median(port)), "max_ms": rounded(max(port))},
        },
        "limit": None,
        "ratio": None,
        "goal": {
            "p95_ms": goal(percentile(ours, 0.95), at_most=1.0),
            "differences": goal(len(differences), at_most=0),
        },
    }


def _project_expressions() -> list[str]:
    texts: list[str] = []
    for name in ("pipeline", "teardown"):
        definition = yaml.safe_load((ROOT / f"statemachine/{name}.asl.yaml").read_text())
        texts += [text[2:-2].strip() for text in asl.texts_of(definition) if text.startswith("{%")]
    return texts


def _time(evaluate: Any, case: Case, rounds: int) -> float:
    """Return the median of the milliseconds that an evaluation takes, the first one not counted."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        evaluate(*case)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[1:])


def _ours(expression: str, variables: Mapping[str, Any], states: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome in the form of the reference's."""
    try:
        return {"value": expressions.evaluate(expression, variables, states)}
    except expressions.ExpressionError as error:
        return {"kind": error.kind, "message": error.message if error.kind == "threw" else ""}


def _port(expression: str, variables: Mapping[str, Any], states: Mapping[str, Any]) -> Any:
    try:
        return jsonata.Jsonata(expression).evaluate(None, {**variables, "states": states})
    except Exception as error:  # The port raises errors of every kind.
        return error


def _reference(cases: Sequence[Case], times: int) -> list[dict[str, Any]]:
    """Return the outcomes of the reference implementation in Node.js."""
    lines = [
        json.dumps({"expression": text, "bindings": {**variables, "states": states}, "times": times})
        for text, variables, states in cases
    ]
    script, library = ROOT / "benchmarks/peers/expressions.js", ROOT / "cloud/stepfunctions/jsonata/jsonata.min.js"
    try:
        command = ["node", str(script), str(library)]
        done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LocalError(f"expressions needs Node.js: {error}") from None
    return [json.loads(line) for line in done.stdout.splitlines()]


def _differences(count: int, seed: int) -> list[tuple[str, Any, Any]]:
    """Return the random expressions whose outcomes differ, with both outcomes."""
    generator = Generator(seed)
    cases: list[Case] = [
        (generator.expression(), {"v": generator.data()}, {"input": generator.data(4), "context": {}})
        for _ in range(count)
    ]
    pairs = zip(cases, [_ours(*case) for case in cases], _reference(cases, 0), strict=True)
    return [(case[0], here, there) for case, here, there in pairs if not _is_same_outcome(here, there)]


def _is_same_outcome(here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Whether two outcomes are equal: values, or codes of errors.

    Messages are not compared, because the reference names a function as the expressions before called it last. Where it
    fails in its own code, Step Functions refuses the picture of a number, or the size of a text.
    """
    if there.get("kind") == "internal":
        return here.get("kind") in ("internal", "limit") or here.get("message", "").startswith(("D3085", "D3086"))
    return _is_same(*({**outcome, "message": outcome.get("message", "")[:5], "ms": 0} for outcome in (here, there)))


def _is_same(here: Any, there: Any) -> bool:
    """Whether two values are equal: numbers by their values, the rest by their kinds as well."""
    if isinstance(here, dict) and isinstance(there, dict):
        return here.keys() == there.keys() and all(_is_same(here[name], there[name]) for name in here)
    if isinstance(here, list) and isinstance(there, list):
        return len(here) == len(there) and all(map(_is_same, here, there))
    if isinstance(here, bool) or isinstance(there, bool) or isinstance(here, str):
        return type(here) is type(there) and bool(here == there)
    if isinstance(here, int | float) and isinstance(there, int | float):
        return math.isclose(here, there, rel_tol=1e-15)  # Versions of V8 differ in the last bit of powers.
    return bool(here == there)
