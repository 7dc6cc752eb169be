import pytest

from benchmarks.lambda_handler import by_memory


def test_memory_brings_its_share_of_a_core_and_its_price():
    figures = by_memory(1769, cpu_ms=2, wait_ms=8)
    assert figures["milliseconds"] == 10
    assert figures["dollars_per_million_x86_64"] == pytest.approx(10_000 * 1769 / 1024 * 0.0000166667, rel=1e-3)
    half = by_memory(884, cpu_ms=2, wait_ms=8)
    assert half["milliseconds"] == 10
    assert half["dollars_per_million_arm64"] == pytest.approx(10_000 * 884 / 1024 * 0.0000133334, rel=1e-3)


def test_work_beyond_the_share_of_a_period_waits():
    """19 ms of work with half a core, 10 of 20 ms, by what is left of the period when it begins.

    More than 10 ms: 24 on average; 9 to 10: 19; less: always 29. That is 26 on average, and 8 of waiting.
    """
    assert by_memory(884, cpu_ms=19, wait_ms=8)["milliseconds"] == pytest.approx(34, abs=0.1)


def test_more_than_one_core_does_not_help_one_request():
    assert by_memory(3538, cpu_ms=2, wait_ms=8)["milliseconds"] == 10
