"""Open-loop load: requests are sent at times that do not depend on how fast the endpoint answers."""

import functools
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.laptop import REGION, Laptop
from local.stack import Stack

_NUM_SENDERS = 192
_TIMEOUT = urllib3.Timeout(connect=5, read=60)

Send = Callable[[], int]  # Sends one request and returns the HTTP status, or 0 when no answer came.


@dataclass(frozen=True)
class Sample:
    """One request.

    Attributes:
        due: the moment at which it had to be sent, in seconds since the start.
        milliseconds: from that moment to the answer.
        status: the HTTP status; 0 when no answer came.
    """

    due: float
    milliseconds: float
    status: int


def through_api(deployed: Stack, photo: bytes) -> Send:
    """Return a function that sends the photo to the API, without retries."""
    pool = urllib3.PoolManager(maxsize=_NUM_SENDERS, retries=False, timeout=_TIMEOUT)
    headers = {"x-api-key": deployed.api_key, "content-type": "image/jpeg"}
    return lambda: _post(pool, deployed.api_url, photo, headers)


def to_endpoint(laptop: Laptop, name: str, photo: bytes) -> Send:
    """Return a function that sends the photo to an endpoint.

    The request is signed once a minute: signing each request by the SDK takes more processor time than the endpoint's
    answer, and SageMaker takes a signature for five minutes.
    """
    url = f"{laptop.url}/endpoints/{name}/invocations"
    pool = urllib3.PoolManager(maxsize=_NUM_SENDERS, retries=False, timeout=_TIMEOUT)
    credentials = Credentials(*laptop.root_key)

    @functools.lru_cache(maxsize=1)
    def signed_headers(_minute: int) -> dict[str, str]:
        request = AWSRequest("POST", url, {"Content-Type": "image/jpeg"}, photo)
        SigV4Auth(credentials, "sagemaker", REGION).add_auth(request)
        return dict(request.headers)

    return lambda: _post(pool, url, photo, signed_headers(int(time.monotonic() // 60)))


def _post(pool: urllib3.PoolManager, url: str, photo: bytes, headers: dict[str, str]) -> int:
    try:
        return pool.request("POST", url, body=photo, headers=headers).status
    except urllib3.exceptions.HTTPError:
        return 0


class Traffic(AbstractContextManager["Traffic"]):
    """Sends requests at random moments (Poisson) until the block ends.

    Attributes:
        rate: requests/s; a new value takes effect at once.
        samples: the answered requests in the order of their answers. After the block they include the requests that no
            sender has started, as never answered.
        started: time by the monotonic clock.
    """

    def __init__(self, send: Send, rate: float, seed: int = 0) -> None:
        self.rate, self.samples = rate, list[Sample]()
        self.started = time.monotonic()
        self._request, self._random = send, random.Random(seed)
        self._stopped = threading.Event()
        self._senders = ThreadPoolExecutor(_NUM_SENDERS)
        self._not_started = set[float]()  # the due times of requests that no sender has started
        self._clock = threading.Thread(target=self._run)

    def __enter__(self) -> "Traffic":
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._clock.join()
        self._senders.shutdown(cancel_futures=True)
        self.samples += [Sample(due, math.inf, 0) for due in self._not_started]

    @property
    def failed(self) -> list[Sample]:
        """The requests that did not get status 200."""
        return [sample for sample in self.samples if sample.status != 200]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            due += self._random.expovariate(self.rate)
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return
            self._not_started.add(due - self.started)
            self._senders.submit(self._send, due)

    def _send(self, due: float) -> None:
        self._not_started.remove(due - self.started)
        status = self._request()
        self.samples.append(Sample(due - self.started, 1000 * (time.monotonic() - due), status))


def quantile(samples: Sequence[Sample], share: float) -> float:
    """Return the milliseconds in which that share of the requests got status 200. The others count as infinite."""
    times = sorted(each.milliseconds if each.status == 200 else float("inf") for each in samples)
    return times[min(len(times) - 1, int(share * len(times)))] if times else float("inf")
