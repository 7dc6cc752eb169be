"""Requests to AWS that are signed with botocore's signer and sent without a botocore client.

Making a client takes 0.06 to 0.08 s of CPU, most of it to read the service's model. The prediction function makes one
kind of request to Lambda and one to Systems Manager, which need none.
See "The model function is asked without a client of botocore" in docs/decisions/api.md.
"""

import os
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import NoCredentialsError
from botocore.httpsession import URLLib3Session
from botocore.session import Session


class SignedClient:
    """Sends requests to one service in the function's own region.

    Args:
        session: has the credentials.
        service: as host names and signatures have it, such as ``lambda``.
        connect_seconds: until the request is connected.
        read_seconds: for each read.

    Raises:
        NoCredentialsError: botocore's, the session has none.
    """

    def __init__(self, session: Session, service: str, connect_seconds: int, read_seconds: int) -> None:
        region, credentials = session.get_config_variable("region"), session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        self._address = _address(service, region)
        self._signer = SigV4Auth(credentials, service, region)
        # Its timeout may be a pair, as botocore's clients give it; the types know one number only.
        self._http = URLLib3Session(timeout=(connect_seconds, read_seconds))  # type: ignore[arg-type]

    def post(self, target: str, body: bytes, headers: Mapping[str, str]) -> AWSResponse:
        """Send a request once and return its answer, whatever its status.

        Args:
            target: path and query.

        Raises:
            HTTPClientError, ConnectionError: botocore's, there is no answer.
        """
        request = AWSRequest("POST", self._address + target, dict(headers), body)
        if trace := os.environ.get("_X_AMZN_TRACE_ID"):  # By it Lambda also notices functions that call each other.
            request.headers["X-Amzn-Trace-Id"] = trace
        self._signer.add_auth(request)
        return self._http.send(request.prepare())


def _address(service: str, region: str) -> str:
    """Return a service's URL; another one, such as the laptop cloud's, if the variables of AWS's SDKs name it."""
    named = os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or os.environ.get("AWS_ENDPOINT_URL")
    suffix = ".cn" if region.startswith("cn-") else ""
    return (named or f"https://{service}.{region}.amazonaws.com{suffix}").rstrip("/")
