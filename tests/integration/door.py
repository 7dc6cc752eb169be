"""The prediction function behind a small API gateway, with an endpoint whose answer the test sets."""

import base64
import importlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3

from tests.prediction_function import imported

KEY = "key-of-the-tests"
STAGE = "/v1"


class Door(ThreadingHTTPServer):
    """A server of two APIs: API Gateway at ``/v1/``, with one valid key, and SageMaker's runtime at ``/endpoints/``.

    Attributes:
        prediction: the endpoint's answer to a photo; None while there is no endpoint.
        photos: the photos that reached the endpoint.
        throttled: whether the key has used up its quota.
        late: the next answer to ``/classify`` waits for this event after the function has returned it.
    """

    daemon_threads = True

    def __init__(self, function: ModuleType, page: ModuleType) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.function = function
        self.page = page  # the function of what needs no key
        self.prediction: dict[str, Any] | None = None
        self.photos: list[bytes] = []
        self.throttled = False
        self.late: threading.Event | None = None
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self.url = f"{self.origin}{STAGE}/"
        self.one_at_a_time = threading.Lock()  # An instance of a function handles one event at a time.


class _Handler(BaseHTTPRequestHandler):
    server: Door
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self._ask_function("GET", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/endpoints/"):
            self._infer(body)
        else:
            self._ask_function("POST", body)

    def _infer(self, body: bytes) -> None:
        if self.server.prediction is None:
            error = {"message": "Endpoint dogs of account 000000000000 not found."}
            return self._answer(400, {"x-amzn-ErrorType": "ValidationError"}, json.dumps(error).encode())
        document: dict[str, Any] = {"breeds": ["Beagle", "Pug"]}
        if self.headers["Content-Type"] != "application/json":
            self.server.photos.append(body)
            document = self.server.prediction
        return self._answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _ask_function(self, method: str, body: bytes) -> None:
        path = self.path.removeprefix(STAGE)
        keyless = path in ("/", "/sign-in") or path.startswith("/page/")
        if not keyless:
            if self.headers["x-api-key"] != KEY:
                return self._refuse(403, "the header x-api-key contains no key of this API")
            if self.server.throttled:
                return self._refuse(429, "too many requests at once; try again shortly")
        event = {
            "httpMethod": method,
            "path": path,
            "resource": path,
            "headers": dict(self.headers),
            "multiValueHeaders": {name: [value] for name, value in self.headers.items()},
            "queryStringParameters": None,
            "requestContext": {
                "requestId": "request-1",
                "extendedRequestId": "request-1",
                "stage": "v1",
                "path": self.path,
                "httpMethod": method,
            },
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        context = SimpleNamespace(
            function_name="f", memory_limit_in_mb=1024, invoked_function_arn="a", aws_request_id="r"
        )
        context.get_remaining_time_in_millis = lambda: 3000
        with self.server.one_at_a_time:
            response = (self.server.page if keyless else self.server.function).handler(event, context)
            late, self.server.late = self.server.late, None
        if late:
            late.wait(10)
        content = response["body"].encode()
        if response["isBase64Encoded"]:
            content = base64.b64decode(content)
        headers = {name: values[0] for name, values in response["multiValueHeaders"].items()}
        return self._answer(response["statusCode"], headers, content)

    def _refuse(self, status: int, detail: str) -> None:
        """Refuse with a problem document, as the gateway responses of the template do."""
        problem = {
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "correlation_id": "gateway-1",
        }
        headers = {"Content-Type": "application/problem+json"} | ({"Retry-After": "1"} if status == 429 else {})
        self._answer(status, headers, json.dumps(problem).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        with suppress(ConnectionError):  # The page may have given up.
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def open_door() -> Iterator[Door]:
    """Yield a door on a free port of loopback."""
    with imported("classify.app") as (function, patch), Door(function, importlib.import_module("page.app")) as door:
        runtime: Any = boto3.client("sagemaker-runtime", endpoint_url=door.origin)
        patch.setattr("classify.routes.hosting.model.runtime", runtime)
        threading.Thread(target=door.serve_forever, daemon=True).start()
        yield door
        door.shutdown()
