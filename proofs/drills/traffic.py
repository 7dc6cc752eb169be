"""Open-loop load: requests come at their own times, whatever is done to the endpoint meanwhile."""

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

_SENDERS = 192
_TIMEOUT = urllib3.Timeout(connect=5, read=60)

Ask = Callable[[], int]


@dataclass(frozen=True)
class Sample:
    """One request: when it was due (seconds since the beginning), the milliseconds from then on, and the status.

    The status is 0 when no answer came.
    """

    due: float
    milliseconds: float
    status: int


def through_api(deployed: Stack, photo: bytes) -> Ask:
    """Asks as a caller does who never tries twice."""
    pool = urllib3.PoolManager(maxsize=_SENDERS, retries=False, timeout=_TIMEOUT)
    headers = {"x-api-key": deployed.api_key, "content-type": "image/jpeg"}
    return lambda: _status(pool, deployed.api_url, photo, headers)


def to_endpoint(laptop: Laptop, name: str, photo: bytes) -> Ask:
    """Asks the endpoint itself; signed once, for the SDK would take more of the processor than the endpoint does."""
    url = f"{laptop.url}/endpoints/{name}/invocations"
    request = AWSRequest("POST", url, {"Content-Type": "image/jpeg"}, photo)
    SigV4Auth(Credentials("test", "test"), "sagemaker", REGION).add_auth(request)
    pool = urllib3.PoolManager(maxsize=_SENDERS, retries=False, timeout=_TIMEOUT)
    return lambda: _status(pool, url, photo, dict(request.headers))


def _status(pool: urllib3.PoolManager, url: str, photo: bytes, headers: dict[str, str]) -> int:
    try:
        return pool.request("POST", url, body=photo, headers=headers).status
    except urllib3.exceptions.HTTPError:
        return 0


class Traffic(AbstractContextManager["Traffic"]):
    """Requests at random moments (Poisson) at a rate that may be changed, until the block ends.

    Attributes:
        rate: requests/s, from now on.
        samples: of the requests that were answered so far, in the order of their answers; at the end also those that
            waited for a sender still, as never answered.
        began: by the monotonic clock.
    """

    def __init__(self, ask: Ask, rate: float, seed: int = 0) -> None:
        self.rate, self.samples = rate, list[Sample]()
        self.began = time.monotonic()
        self._ask, self._chance = ask, random.Random(seed)
        self._over = threading.Event()
        self._senders = ThreadPoolExecutor(_SENDERS)
        self._waiting = set[float]()  # when requests were due that no sender has begun with
        self._clock = threading.Thread(target=self._run)

    def __enter__(self) -> "Traffic":
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._clock.join()
        self._senders.shutdown(cancel_futures=True)
        self.samples += [Sample(due, math.inf, 0) for due in self._waiting]

    @property
    def failed(self) -> list[Sample]:
        """Those that were not answered with 200."""
        return [sample for sample in self.samples if sample.status != 200]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            due += self._chance.expovariate(self.rate)
            if self._over.wait(max(0.0, due - time.monotonic())):
                return
            self._waiting.add(due - self.began)
            self._senders.submit(self._send, due)

    def _send(self, due: float) -> None:
        self._waiting.remove(due - self.began)
        status = self._ask()
        self.samples.append(Sample(due - self.began, 1000 * (time.monotonic() - due), status))


def quantile(samples: Sequence[Sample], share: float) -> float:
    """Milliseconds below which that share of the requests was answered; those that failed count as never answered."""
    times = sorted(each.milliseconds if each.status == 200 else float("inf") for each in samples)
    return times[min(len(times) - 1, int(share * len(times)))] if times else float("inf")
