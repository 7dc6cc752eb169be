"""Send many requests per second to one endpoint: signatures are reused, and connections are kept open.

If requests went through the SDK, the measurement would measure the SDK.
See "The highest rate is found by open-loop load" in docs/decisions/deployment-and-scaling.md.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

_TIMEOUT = urllib3.Timeout(connect=3, read=15)


class MeasuredEndpoint:
    """Sends photos to the endpoint under test. Many threads may send at once.

    Args:
        photos: JPEGs, sent in turns.
        connections: largest number of open connections.
    """

    def __init__(
        self,
        session: "boto3.Session",
        runtime: "SageMakerRuntimeClient",
        name: str,
        photos: Sequence[bytes],
        connections: int,
    ) -> None:
        credentials = session.get_credentials()
        assert credentials
        self._signer = SigV4Auth(credentials, "sagemaker", runtime.meta.region_name)
        self._url = f"{runtime.meta.endpoint_url}/endpoints/{name}/invocations"
        self._pool = urllib3.PoolManager(maxsize=connections, block=True, retries=False, timeout=_TIMEOUT)
        self._photos = photos
        self._turns = itertools.count()
        self._exchanges: list[tuple[int, int]] = []  # bytes of each request and of its answer, from all threads
        self.sign()

    def sign(self) -> None:
        """Sign every photo again. AWS accepts a signature for five minutes."""
        requests = [AWSRequest("POST", self._url, {"Content-Type": "image/jpeg"}, photo) for photo in self._photos]
        for request in requests:
            self._signer.add_auth(request)
        self._headers = [dict(request.headers) for request in requests]

    def ask(self) -> int:
        """Send the next photo and return the status of the answer, 0 without an answer."""
        turn = next(self._turns) % len(self._photos)
        photo = self._photos[turn]
        try:
            answer = self._pool.request("POST", self._url, body=photo, headers=self._headers[turn])
        except urllib3.exceptions.HTTPError:
            self._exchanges.append((len(photo), 0))
            return 0
        self._exchanges.append((len(photo), len(answer.data)))
        return answer.status

    def sent(self) -> dict[str, int]:
        """Return the number of requests so far and their bytes, by the names of the fields of ``Scaling``."""
        exchanges = list(self._exchanges)
        return {
            "num_requests": len(exchanges),
            "bytes_in": sum(sent for sent, _ in exchanges),
            "bytes_out": sum(received for _, received in exchanges),
        }
