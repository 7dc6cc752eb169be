import pytest

from benchmarks import serving
from benchmarks.servers import System


def round_of(rate: float, cpu_ms: float) -> dict[str, float]:
    return {"requests_per_second": rate, "cpu_ms": cpu_ms, "client_cpu_ms": 0.1}


@pytest.fixture
def report(tmp_path) -> dict:
    """Three rounds of a machine that is half as fast in the second round, for all systems alike."""
    inputs = serving.Inputs(tmp_path, None, tmp_path, [], {"model": "m"})
    speeds = (1.0, 0.5, 1.0)
    rounds = {
        "ours": [round_of(100 * s, 10.3) for s in speeds],
        "limit": [round_of(110 * s, 10.0) for s in speeds],
        "slow eager": [round_of(10 * s, 90.0) for s in speeds],
        "fast eager": [round_of(20 * s, 50.0) for s in speeds],
        "same model": [round_of(90 * s, 11.0) for s in speeds],
    }
    fastest_peers = [System(name, "def", (), {}, eager="eager" in name) for name in list(rounds)[2:]]
    latencies = [{"p50_ms": 10.0, "p99_ms": p99} for p99 in (20.0, 40.0, 30.0)]
    return serving._report(inputs, rounds, latencies, 95.0, fastest_peers, {peer.name: 1.0 for peer in fastest_peers})


def test_report_has_the_form_of_every_benchmark(report):
    assert list(report) == ["inputs", "rounds", "ours", "peers", "limit", "ratio", "goal"]
    assert report["rounds"] == 3
    assert report["ours"]["requests_per_second"] == {"median": 100.0, "min": 50.0, "max": 100.0}
    assert list(report["peers"]) == ["slow eager", "fast eager", "same model"]


def test_ratio_compares_with_the_fastest_eager_peer_of_the_same_round(report):
    assert report["ratio"] == 5.0


def test_goals_compare_with_eager_same_model_and_limit(report):
    measured = {name: (goal["measured"], goal["met"]) for name, goal in report["goal"].items()}
    assert measured == {
        "requests_per_second_over_best_eager": (5.0, True),
        "requests_per_second_over_same_model": (1.111, False),
        "share_of_the_limit": (0.9091, True),
        "cpu_ms_over_decode_and_model": (0.3, True),
        "p99_over_p50_at_70_percent_of_the_knee": (3.0, False),
    }
