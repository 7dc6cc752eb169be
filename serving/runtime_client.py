"""A client of Lambda's Runtime API, by which a function's process gets requests and gives answers.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import http.client
import json
import time
from collections.abc import Mapping
from typing import NamedTuple

_BASE = "/2018-06-01/runtime"
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"


class RuntimeApiError(Exception):
    """Lambda refused an answer or gave no request; the process cannot go on."""


class Invocation(NamedTuple):
    """A request.

    Attributes:
        id: Its id.
        deadline: When the function's timeout ends, by ``time.time``.
        payload: The event, JSON.
    """

    id: str
    deadline: float
    payload: bytes

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()


class RuntimeClient:
    """Calls the Runtime API over one connection. The process is frozen while it waits for the next request.

    Args:
        address: Host and port, the variable ``AWS_LAMBDA_RUNTIME_API``.
    """

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address)  # Without a timeout, as AWS's page says.

    def next(self) -> Invocation:
        """Wait for the next request.

        Raises:
            RuntimeApiError: There will be none.
        """
        status, headers, body = self._call("GET", "/invocation/next")
        if status != 200:
            raise RuntimeApiError(f"the Runtime API answered {status} to the question for the next request")
        deadline = int(headers["Lambda-Runtime-Deadline-Ms"]) / 1000
        return Invocation(headers["Lambda-Runtime-Aws-Request-Id"], deadline, body)

    def respond(self, invocation: Invocation, document: bytes) -> None:
        """Answer a request.

        Args:
            invocation: The request.
            document: The answer, JSON.

        Raises:
            RuntimeApiError: Lambda does not take the answer.
        """
        self._post(f"/invocation/{invocation.id}/response", document)

    def fail(self, invocation: Invocation, kind: str, message: str) -> None:
        """Tell that the function failed on a request; Lambda counts it among the function's errors."""
        self._post_error(f"/invocation/{invocation.id}/error", kind, message)

    def fail_init(self, kind: str, message: str) -> None:
        """Tell that the function cannot be initialized. The process must then end."""
        self._post_error("/init/error", kind, message)

    def _post_error(self, path: str, kind: str, message: str) -> None:
        document = {"errorMessage": message, "errorType": kind, "stackTrace": []}
        self._post(path, json.dumps(document).encode(), {_ERROR_TYPE: kind})

    def _post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        status, _, _ = self._call("POST", path, body, {"Content-Type": "application/json", **(headers or {})})
        if status not in (202, 413):  # With 413 Lambda has told the caller that the answer is too large.
            raise RuntimeApiError(f"the Runtime API answered {status} to POST {path}")

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        self._connection.request(method, _BASE + path, body, headers or {})
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()
