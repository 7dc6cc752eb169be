"""The functions that the benchmarks compare, each in an interpreter of its own before a real server."""

import pytest

from benchmarks.functions import OURS, PEERS, lambdas


@pytest.mark.parametrize("module", [OURS, *PEERS.values()])
def test_function_answers_and_is_timed(module: str) -> None:
    with lambdas() as place:
        times = place.run(module, requests=3)
    assert {name: len(times[name]) for name in ("handler_ms", "direct_ms", "handler_cpu_ms")} == {
        "handler_ms": 3,
        "direct_ms": 3,
        "handler_cpu_ms": 3,
    }
