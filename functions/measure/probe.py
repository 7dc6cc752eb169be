"""Put an open-loop load on one endpoint: the times of requests do not depend on the answers.

See "The highest rate is found by open-loop load" in docs/decisions/deployment-and-scaling.md.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

THREADS = 64  # most requests in flight; an endpoint of one instance is overloaded long before
# Late requests are still sent for so long after the last one is due. The limit ends a trial on a stuck endpoint.
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class ProbeLoad:
    """The results of some seconds of requests.

    Attributes:
        rate: requests per second that were due.
        spans: times of sending and of the answer for each request, in seconds since the beginning.
        latencies: milliseconds of the requests answered with 200, counted from when each was due. A late
            sender therefore cannot make them look better.
        failed: number of requests with another answer, or not sent in time because all senders waited.
        late_ms: median delay of a free sender after the time when its request was due. The sender alone
            causes it.
    """

    rate: float
    spans: list[tuple[float, float]]
    latencies: list[float]
    failed: int
    late_ms: float


def open_loop(ask: Callable[[], int], rate: float, seconds: float, seed: int) -> ProbeLoad:
    """Send requests at random times (Poisson) at a rate.

    Args:
        ask: sends a request and returns the status of its answer. Many threads call it at once.
        rate: requests per second.
        seconds: duration.
        seed: seed of the random times.
    """
    rng = random.Random(seed)
    due = list(itertools.takewhile(lambda moment: moment < seconds, _arrivals(rng, rate)))
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
    return ProbeLoad(rate, spans, latencies, len(failed), late)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values is; infinity if there are no values."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("inf")


def _arrivals(rng: random.Random, rate: float) -> "itertools.accumulate[float]":
    return itertools.accumulate(rng.expovariate(rate) for _ in itertools.count())


def _milliseconds_since(moment: float) -> float:
    return (time.perf_counter() - moment) * 1e3
