"""Threads that each work on photos of their own, and how far they are."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

_S = TypeVar("_S")
_T = TypeVar("_T")


class Progress:
    """``features 1234/9000 photos_per_s=210.3 eta_s=36.9`` at most once a second."""

    def __init__(self, what: str, total: int, talks: bool) -> None:
        self._what, self._total, self._talks, self._done = what, total, talks, 0
        self._start = self._last = time.monotonic()

    def skip(self, count: int) -> None:
        """So many need not be done."""
        self._total -= count

    def add(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        if self._talks and now - self._last >= 1:
            self._last = now
            rate = self._done / (now - self._start)
            eta = (self._total - self._done) / rate
            print(f"{self._what} {self._done}/{self._total} photos_per_s={rate:.1f} eta_s={eta:.1f}", flush=True)


@contextmanager
def workers(num_threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads whose calls of torch compute on one core each, as do this one's meanwhile."""
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(num_threads)


def ahead(pool: ThreadPoolExecutor, work: Callable[[_S], _T], items: Iterable[_S], depth: int) -> Iterator[_T]:
    """``map`` over a pool that keeps at most ``depth`` results waiting, so that memory stays bounded."""
    waiting = iter(items)
    futures = deque(pool.submit(work, item) for item in itertools.islice(waiting, depth))
    while futures:
        yield futures.popleft().result()
        futures.extend(pool.submit(work, item) for item in itertools.islice(waiting, 1))
