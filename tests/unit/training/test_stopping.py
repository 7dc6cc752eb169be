"""Tests of the stop on SIGTERM, in one process."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from training.distributed import World
from training.stopping import StopRequestedError, stop_is_requested, stop_together, stopping_on_sigterm
from training.workers import map_ahead

WORLD = World(0, 1, 0, 1, torch.device("cpu"), "none", "algo-1")


def test_sigterm_is_a_request_inside_the_block_only() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, _: received.append(signum))
    try:
        with stopping_on_sigterm():
            assert not stop_is_requested()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop_is_requested()
        assert not stop_is_requested()  # A later training in the same process begins without a request.
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_other_threads_leave_the_signal_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def train() -> None:
        with stopping_on_sigterm():
            assert signal.getsignal(signal.SIGTERM) == before

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()


def test_work_in_a_pool_ends_after_what_was_begun() -> None:
    begun: list[int] = []
    results: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    def stop_at_the_first_result(pool: ThreadPoolExecutor) -> None:
        for result in map_ahead(pool, work, range(100), depth=3):
            results.append(result)
            os.kill(os.getpid(), signal.SIGTERM)

    raises = pytest.raises(StopRequestedError, match="stopped by SIGTERM")
    with stopping_on_sigterm(), ThreadPoolExecutor(1) as pool, raises:
        stop_at_the_first_result(pool)
    assert results == [0]
    assert len(begun) <= 4


def test_all_ranks_raise_when_they_stop_together() -> None:
    with pytest.raises(StopRequestedError):
        stop_together(WORLD)
