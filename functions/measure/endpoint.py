"""Many requests a second to one endpoint: each photo is signed once for a while, connections are kept.

A call through the SDK costs a millisecond of processor time, several times what sending does; it would be the SDK that
is measured.
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


class Endpoint:
    """The photos as requests to an endpoint, which may be sent by many threads at once.

    Args:
        photos: JPEGs, sent in turns.
        connections: kept at most.
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
        self.sign()

    def sign(self) -> None:
        """Sign every photo anew; AWS takes a signature for five minutes."""
        requests = [AWSRequest("POST", self._url, {"Content-Type": "image/jpeg"}, photo) for photo in self._photos]
        for request in requests:
            self._signer.add_auth(request)
        self._headers = [dict(request.headers) for request in requests]

    def ask(self) -> int:
        """Send the next photo; the answer's status, 0 when none came."""
        turn = next(self._turns) % len(self._photos)
        try:
            answer = self._pool.request("POST", self._url, body=self._photos[turn], headers=self._headers[turn])
        except urllib3.exceptions.HTTPError:
            return 0
        return answer.status
