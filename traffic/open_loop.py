"""Open-loop load: requests are sent at moments that do not depend on how fast they are answered.

A latency counts from the moment at which its request had to be sent. So neither a client that is late nor a server
that holds everything up makes latencies look shorter (coordinated omission).
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

NUM_SENDERS = 192

Send = Callable[[], int]  # Sends one request and returns the HTTP status, or 0 when no answer came.


@dataclass(frozen=True)
class Sample:
    """One request.

    Attributes:
        due: the moment at which it had to be sent, in seconds since the start.
        milliseconds: from that moment to the answer.
        status: the HTTP status; 0 when no answer came.
        late: seconds from that moment until a sender took it.
    """

    due: float
    milliseconds: float
    status: int
    late: float = 0.0


class Traffic(AbstractContextManager["Traffic"]):
    """Sends requests until the block ends; then it waits for the answers to those that were sent.

    Attributes:
        samples: the answered requests in the order of their answers. After the block they include the requests that no
            sender has started, as never answered.
        started: time by the monotonic clock.
        num_due: requests whose moment has come.
    """

    def __init__(self, send: Send, moments: Iterable[float], num_senders: int | None = None) -> None:
        """Prepare the load.

        Args:
            send: sends one request.
            moments: when to send each, in seconds since the start.
            num_senders: how many requests may wait for their answers at once.
        """
        self.samples, self.num_due = list[Sample](), 0
        self.num_senders = num_senders or NUM_SENDERS
        self.started = time.monotonic()
        self._request, self._moments = send, moments
        self._stopped = threading.Event()
        self._senders = ThreadPoolExecutor(self.num_senders)
        self._not_started = set[float]()  # the due times of requests that no sender has started
        self._next = math.inf  # the moment for which the clock waits
        self._clock = threading.Thread(target=self._run)

    def __enter__(self) -> "Traffic":
        self.started = time.monotonic()
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._clock.join()
        self._senders.shutdown(cancel_futures=True)
        self.samples += [Sample(due, math.inf, 0, math.inf) for due in self._not_started]

    @property
    def failed(self) -> list[Sample]:
        """The requests that did not get status 200."""
        return [sample for sample in self.samples if sample.status != 200]

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to send and every request has its answer."""
        return not self._clock.is_alive() and len(self.samples) >= self.num_due

    @property
    def num_waiting(self) -> int:
        """How many requests are due and have no answer yet."""
        return self.num_due - len(self.samples)

    @property
    def lateness(self) -> float:
        """Seconds for which the oldest request has been due that no sender has started."""
        return max(0.0, time.monotonic() - self.started - min({self._next, *self._not_started.copy()}))

    def _run(self) -> None:
        for due in self._moments:
            self._next = due
            if self._stopped.wait(max(0.0, self.started + due - time.monotonic())):
                return
            self._not_started.add(due)
            self.num_due += 1
            self._senders.submit(self._send, due)
        self._next = math.inf

    def _send(self, due: float) -> None:
        self._not_started.remove(due)
        begin = time.monotonic() - self.started
        status = self._request()
        now = time.monotonic() - self.started
        self.samples.append(Sample(due, 1000 * (now - due), status, begin - due))


def quantile(samples: Sequence[Sample], share: float) -> float:
    """Return the milliseconds in which that share of the requests got status 200. The others count as infinite."""
    times = sorted(each.milliseconds if each.status == 200 else float("inf") for each in samples)
    return times[min(len(times) - 1, int(share * len(times)))] if times else float("inf")


def windows(samples: Iterable[Sample], width: float, seconds: float = 0.0) -> list[tuple[float, list[Sample]]]:
    """Return for each window of ``width`` seconds, up to the last whole one, its end and the requests due in it.

    Args:
        samples: the requests.
        width: seconds of a window.
        seconds: the time that the windows cover, if it does not end with the last request.
    """
    samples = list(samples)
    last = seconds or max((each.due for each in samples), default=0.0)
    found: list[tuple[float, list[Sample]]] = [(width * (number + 1), []) for number in range(int(last / width))]
    for each in samples:
        if each.due < width * len(found):
            found[int(each.due / width)][1].append(each)
    return found
