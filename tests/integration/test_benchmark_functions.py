"""The functions that the benchmarks compare, each in an interpreter of its own, with a real server as endpoint."""

import pytest

from benchmarks.functions import OURS, PEERS, handler_runner


@pytest.mark.parametrize(
    ("module", "hosting"), [(OURS, "function"), *((module, "instances") for module in (OURS, *PEERS.values()))]
)
def test_function_answers_and_its_times_are_measured(module: str, hosting: str) -> None:
    with handler_runner() as runner:
        times = runner.run(module, requests=3, hosting=hosting)
    assert {name: len(times[name]) for name in ("handler_ms", "direct_ms", "handler_cpu_ms")} == {
        "handler_ms": 3,
        "direct_ms": 3,
        "handler_cpu_ms": 3,
    }
