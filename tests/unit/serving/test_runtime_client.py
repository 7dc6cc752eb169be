import http.client
import io
import json

import pytest

from serving.runtime_client import RuntimeApiError, RuntimeClient

EVENT = (
    b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\nLambda-Runtime-Deadline-Ms: 1790000000500\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)
TAKEN = b'HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{"status":"OK"}'
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}"
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}"


class Socket:
    """Stands for the connection to the Runtime API: it has all answers, and keeps what was sent."""

    def __init__(self, answers):
        self.answers, self.sent = io.BytesIO(answers), b""
        self.answers.close = lambda: None

    def sendall(self, data):
        self.sent += data

    def makefile(self, _):
        return self.answers


@pytest.fixture
def api(monkeypatch):
    sockets = []

    def connect(self):
        self.sock = sockets[0]

    def start(*answers):
        sockets.append(Socket(b"".join(answers)))
        return RuntimeClient("127.0.0.1:9001"), sockets[0]

    monkeypatch.setattr(http.client.HTTPConnection, "connect", connect)
    return start


def test_request_is_taken_and_answered(api):
    client, socket = api(EVENT, TAKEN)
    invocation = client.next()
    assert (invocation.id, invocation.deadline, invocation.payload) == ("r-1", 1790000000.5, b"{}")
    client.respond(invocation, b'{"status":200}')
    first, _, second = socket.sent.partition(b"\r\n\r\n")
    assert first.startswith(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n")
    assert second.startswith(b"POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\n")
    assert second.endswith(b'\r\n\r\n{"status":200}')


@pytest.mark.parametrize(
    ("tell", "path"),
    [
        (lambda client, invocation: client.fail(invocation, "Model.Broken", "no"), b"/invocation/r-1/error"),
        (lambda client, _: client.fail_init("Model.Broken", "no"), b"/init/error"),
    ],
)
def test_failures_are_told_with_their_type(api, tell, path):
    client, socket = api(EVENT, TAKEN)
    tell(client, client.next())
    _, _, post = socket.sent.partition(b"\r\n\r\n")
    head, _, body = post.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /2018-06-01/runtime" + path + b" HTTP/1.1\r\n")
    assert b"Lambda-Runtime-Function-Error-Type: Model.Broken" in head
    assert json.loads(body) == {"errorMessage": "no", "errorType": "Model.Broken", "stackTrace": []}


def test_process_goes_on_after_an_answer_that_was_too_large_only(api):
    client, _ = api(EVENT, TOO_LARGE, EVENT, REFUSED, REFUSED)
    client.respond(client.next(), b"{}")
    invocation = client.next()
    with pytest.raises(RuntimeApiError, match="403 to POST /invocation/r-1/response"):
        client.respond(invocation, b"{}")
    with pytest.raises(RuntimeApiError, match="403 to the question for the next request"):
        client.next()
