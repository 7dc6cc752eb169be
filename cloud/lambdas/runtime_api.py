"""The Runtime API of one execution environment: a server on loopback that hands a function's process its requests.

The paths, headers, states and errors are those of AWS's OpenAPI document and of the emulator that AWS publishes:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html,
https://github.com/aws/aws-lambda-runtime-interface-emulator
"""

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

MAX_PAYLOAD = 6 * 1024 * 1024 + 100  # bytes; the emulator's MaxPayloadSize, which AWS's messages name too
_PATH = re.compile(r"/2018-06-01/runtime/(?:(invocation/next)|(init/error)|invocation/([^/]+)/(response|error))/?")


class Event(NamedTuple):
    """A request for the function.

    Attributes:
        id: The request's id.
        payload: The event, JSON.
        arn: ARN by which the function was invoked.
        deadline: When the function times out, in seconds since 1970.
        trace: X-Ray's header of this request; empty without one.
    """

    id: str
    payload: bytes
    arn: str
    deadline: float
    trace: str = ""


class Reply(NamedTuple):
    """What the function's process answered.

    Attributes:
        payload: The answer, or the description of the error.
        error_type: What the runtime called the error; None when there is none.
    """

    payload: bytes
    error_type: str | None = None


class RuntimeApi:
    """The server and the state of one environment; one request is in progress at a time."""

    def __init__(self) -> None:
        """Start to serve on a free port of loopback."""
        self._changed = threading.Condition()
        self._next: Event | None = None  # the request that nobody has fetched yet
        self._running = ""  # id of the request that the runtime has fetched
        self._reply: Reply | None = None
        self._is_idle = False  # whether the runtime waits for its next request
        self._init_error: Reply | None = None
        self._closed = False
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="runtime-api", daemon=True).start()

    @property
    def address(self) -> str:
        """Host and port, as ``AWS_LAMBDA_RUNTIME_API`` names them."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def is_idle(self) -> bool:
        """Whether the runtime has asked for a request and has none."""
        return self._is_idle

    @property
    def init_error(self) -> Reply | None:
        """The error that the runtime reported instead of asking for its first request."""
        return self._init_error

    @property
    def reply(self) -> Reply | None:
        """The answer to the current request; None while there is none."""
        return self._reply

    def send(self, event: Event) -> None:
        """Hand the runtime its next request."""
        with self._changed:
            self._reply, self._next = None, event
            self._is_idle = False  # The next time that it is idle, it has done with this request.
            self._changed.notify_all()

    def wait(self, is_over: Callable[[], bool], deadline: float) -> bool:
        """Wait until something is over, and return whether it is.

        Args:
            is_over: Asked after each step of the runtime, and whenever ``wake`` is called.
            deadline: When to give up, by ``time.monotonic``.
        """
        with self._changed:
            return self._changed.wait_for(is_over, max(0.0, deadline - time.monotonic()))

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stop to serve, and end the runtime's waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    # What the runtime calls; each returns the status and the document of the answer.

    def fetch(self) -> Event | None:
        """Wait for the next request and return it; None when the environment ends or the runtime may not ask now."""
        with self._changed:
            if self._running and self._reply is None:
                return None
            self._running, self._is_idle = "", self._next is None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._next is not None or self._closed)
            event, self._next, self._is_idle = self._next, None, False
            self._running = event.id if event else ""
            return event

    def answer(self, request_id: str, reply: Reply) -> tuple[int, dict[str, str]]:
        """Take the answer to the current request."""
        with self._changed:
            if request_id != self._running:
                return _refusal(400, "InvalidRequestID", "Invalid request ID")
            if self._reply is not None:
                return _refusal(403, "InvalidStateTransition", "the request is answered already")
            is_large = len(reply.payload) > MAX_PAYLOAD
            self._reply = _too_large() if is_large else reply
            self._changed.notify_all()
        if is_large:
            words = f"Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
            return _refusal(413, "RequestEntityTooLarge", words)
        return 202, {"status": "OK"}

    def fail_init(self, reply: Reply) -> tuple[int, dict[str, str]]:
        """Take the error that the runtime met before its first request."""
        with self._changed:
            if self._is_idle or self._running or self._init_error:
                return _refusal(403, "InvalidStateTransition", "the runtime is initialized already")
            self._init_error = reply
            self._changed.notify_all()
        return 202, {"status": "OK"}


def _refusal(status: int, kind: str, message: str) -> tuple[int, dict[str, str]]:
    return status, {"errorMessage": message, "errorType": kind}


def _too_large() -> Reply:
    """Return the error that the function's caller gets for an answer that is too large."""
    kind = "Function.ResponseSizeTooLarge"
    words = f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
    return Reply(json.dumps({"errorMessage": words, "errorType": kind}).encode(), kind)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a runtime that ends or is killed leaves its connections broken."""


def _handler(api: RuntimeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            match = _PATH.fullmatch(self.path)
            if not match or not match[1]:
                return self._send(404, b"404 page not found\n")
            event = api.fetch()
            if event is None:
                return self._send_document(*_refusal(403, "InvalidStateTransition", "no request can be fetched now"))
            fields = {
                "Lambda-Runtime-Aws-Request-Id": event.id,
                "Lambda-Runtime-Deadline-Ms": str(int(event.deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": event.arn,
                **({"Lambda-Runtime-Trace-Id": event.trace} if event.trace else {}),
                "Content-Type": "application/json",
            }
            return self._send(200, event.payload, fields)

        def do_POST(self) -> None:
            body = self._read()
            match = _PATH.fullmatch(self.path)
            kind = self.headers.get("Lambda-Runtime-Function-Error-Type") or "Runtime.Unknown"
            if match and match[2]:
                self._send_document(*api.fail_init(Reply(body, kind)))
            elif match and match[3]:
                self._send_document(*api.answer(match[3], Reply(body, kind if match[4] == "error" else None)))
            else:
                self._send(404, b"404 page not found\n")

        def _read(self) -> bytes:
            """Read the body; of one that is too large, as much as shows that it is."""
            if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
                return self._read_some(int(self.headers.get("Content-Length") or 0), 0)
            read = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                read += self._read_some(size, len(read))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # Trailers tell how a streamed answer ended; only whole answers are handed on here.
            return read

        def _read_some(self, size: int, before: int) -> bytes:
            kept = self.rfile.read(min(size, max(0, MAX_PAYLOAD + 1 - before)))
            rest = size - len(kept)
            while rest > 0 and (part := self.rfile.read(min(rest, 1 << 20))):
                rest -= len(part)
            return kept

        def _send_document(self, status: int, document: dict[str, str]) -> None:
            self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

        def _send(self, status: int, body: bytes, fields: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (fields or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, format: str, *values: object) -> None:
            pass

    return Handler
