"""An open-loop load on one endpoint: requests come at their own times, whatever the endpoint does."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

THREADS = 64  # requests in flight at most; more of them would find any endpoint of one instance overloaded
_GRACE_SECONDS = 5.0  # after the last is due, in which late ones are still sent; so an endpoint that is stuck ends, too


@dataclass(frozen=True)
class Load:
    """What came of some seconds of requests.

    rate: requests/s that were due. spans: from sending each to its answer, seconds since the beginning.
    latencies: milliseconds of those answered with 200, from when each was due, so that none is flattered by a
        sender that came late. failed: how many were answered otherwise, or not sent in time, for all senders waited.
    late_ms: by which a free sender woke up too late for half of its requests; of the sender's own making.
    """

    rate: float
    spans: list[tuple[float, float]]
    latencies: list[float]
    failed: int
    late_ms: float


def open_loop(ask: Callable[[], int], rate: float, seconds: float, seed: int) -> Load:
    """Ask at random moments (Poisson) at a rate.

    Args:
        ask: sends a request and gives the status of its answer; called by many threads at once.
        rate: requests/s.
        seed: of the moments.
    """
    chance = random.Random(seed)
    due = list(itertools.takewhile(lambda moment: moment < seconds, _arrivals(chance, rate)))
    numbers, lock = iter(range(len(due))), threading.Lock()
    latencies, lateness, failed, spans = list[float](), list[float](), list[int](), list[tuple[float, float]]()
    began = time.perf_counter()

    def send() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            early = began + due[number] - time.perf_counter()
            if time.perf_counter() - began > seconds + _GRACE_SECONDS:
                failed.append(0)
                continue
            if early > 0:
                time.sleep(early)
                lateness.append(_milliseconds_since(began + due[number]))
            sent = time.perf_counter() - began
            status = ask()
            spans.append((sent, time.perf_counter() - began))
            if status == 200:
                latencies.append(_milliseconds_since(began + due[number]))
            else:
                failed.append(status)

    with ThreadPoolExecutor(THREADS) as senders:
        for sender in [senders.submit(send) for _ in range(THREADS)]:
            sender.result()
    late = sorted(lateness)[len(lateness) // 2] if lateness else 0.0
    return Load(rate, spans, latencies, len(failed), late)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies; infinite where there is none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("inf")


def _arrivals(chance: random.Random, rate: float) -> "itertools.accumulate[float]":
    return itertools.accumulate(chance.expovariate(rate) for _ in itertools.count())


def _milliseconds_since(moment: float) -> float:
    return (time.perf_counter() - moment) * 1e3
