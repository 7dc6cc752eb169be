"""Worker threads, each with photos of its own, and a log of their progress."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from training.stopping import raise_if_stop_is_requested

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class WorkerProgress:
    """Counts finished photos and prints ``features 1234/9000 photos_per_s=210.3 eta_s=36.9`` at most once a second.

    Args:
        task: first word of the line; the runner expects lower-case letters and spaces.
        total: photos to do.
        prints: whether this rank prints at all.
    """

    def __init__(self, task: str, total: int, prints: bool) -> None:
        self._task, self._total, self._prints, self._done = task, total, prints, 0
        self._start = self._last_print = time.monotonic()

    def skip(self, count: int) -> None:
        """Take photos that need no work off the total."""
        self._total -= count

    def add(self, count: int) -> None:
        """Count photos as done."""
        self._done += count
        now = time.monotonic()
        if self._prints and now - self._last_print >= 1:
            self._last_print = now
            rate = self._done / (now - self._start)
            eta = (self._total - self._done) / rate
            print(f"{self._task} {self._done}/{self._total} photos_per_s={rate:.1f} eta_s={eta:.1f}", flush=True)


@contextmanager
def worker_pool(num_threads: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool in which torch computes on one core per thread; the calling thread also uses one."""
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(num_threads)


def map_ahead(
    pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item], depth: int
) -> Iterator[_Result]:
    """Map over a pool in order, with at most ``depth`` results waiting, so that memory stays bounded.

    Raises:
        StopRequestedError: this rank should end; at most ``depth`` calls are still finished.
    """
    remaining = iter(items)
    futures = deque(pool.submit(work, item) for item in itertools.islice(remaining, depth))
    while futures:
        yield futures.popleft().result()
        raise_if_stop_is_requested()
        futures.extend(pool.submit(work, item) for item in itertools.islice(remaining, 1))
