"""What sends photos to an API or an endpoint over kept connections, without retries."""

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from traffic.open_loop import NUM_SENDERS

SECONDS = 60  # after which a request counts as never answered; API Gateway answers after 29 at the latest
_HEADERS = {"content-type": "image/jpeg"}  # Nobody reads it: the photo's bytes say what it is.


class Answer(NamedTuple):
    """An HTTP status and the body."""

    status: int
    body: bytes


class Sender:
    """Sends photos to one address, each in its turn.

    Attributes:
        url: the address.
        photos: the bodies.
        heard: called with each answer, by many threads at once.
    """

    def __init__(
        self,
        url: str,
        photos: Sequence[bytes],
        headers: Callable[[int], Mapping[str, str]],
        connections: int = NUM_SENDERS,
    ) -> None:
        """Open no connection yet.

        Args:
            url: the address.
            photos: the bodies.
            headers: returns those of the photo with that number.
            connections: the number of connections that are kept.
        """
        self.url, self.photos, self.heard = url, photos, _ignore
        self._headers, self._numbers = headers, itertools.count()
        timeout = urllib3.Timeout(connect=5, read=SECONDS)
        self._pool = urllib3.PoolManager(maxsize=connections, retries=False, timeout=timeout)

    def ask(self) -> Answer:
        """Send the next photo.

        Raises:
            urllib3.exceptions.HTTPError: no answer came.
        """
        number = next(self._numbers) % len(self.photos)
        answer = self._pool.request("POST", self.url, body=self.photos[number], headers=self._headers(number))
        return Answer(answer.status, answer.data)

    def __call__(self) -> int:
        """Send the next photo, and return the status of its answer; 0 if none came."""
        try:
            answer = self.ask()
        except urllib3.exceptions.HTTPError:
            return 0
        self.heard(answer)
        return answer.status


def with_key(url: str, key: str, photos: Sequence[bytes], connections: int = NUM_SENDERS) -> Sender:
    """Return what sends photos to the API with its key."""
    headers = {"x-api-key": key, **_HEADERS}
    return Sender(url, photos, lambda _number: headers, connections)


def signed(
    url: str,
    credentials: Credentials,
    service: str,
    region: str,
    photos: Sequence[bytes],
    connections: int = NUM_SENDERS,
) -> Sender:
    """Return what sends signed photos, to an endpoint (``sagemaker``) or to a function's URL (``lambda``).

    Each photo is signed once a minute: signing each request takes more processor time than the answer, and AWS takes a
    signature for five minutes (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_aws-signing.html).
    """

    @functools.lru_cache(maxsize=len(photos))
    def headers(number: int, _minute: int) -> dict[str, str]:
        request = AWSRequest("POST", url, _HEADERS, photos[number])
        SigV4Auth(credentials, service, region).add_auth(request)
        return dict(request.headers)

    return Sender(url, photos, lambda number: headers(number, int(time.monotonic() // 60)), connections)


def _ignore(answer: Answer) -> None:
    pass
