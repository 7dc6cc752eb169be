import asyncio

from benchmarks import client
from benchmarks.client import LoadResult, photo_request


class AnswersOnce(asyncio.Transport):
    """A connection that answers its first request, after which the server closes it."""

    def __init__(self, connection: asyncio.Protocol) -> None:
        super().__init__()
        self._connection, self._closing = connection, False
        connection.connection_made(self)

    def write(self, data: bytes) -> None:
        assert data == b"photo"
        assert not self._closing, "a request was lost"
        self._closing = True
        asyncio.get_running_loop().call_soon(self._connection.data_received, b"HTTP/1.1 200 OK\r\n\r\n")

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True


def test_open_loop_uses_no_connection_that_the_server_closed(monkeypatch):
    transports = []

    async def connect(port: int) -> client._ClientConnection:
        connection = client._ClientConnection()
        transports.append(AnswersOnce(connection))
        return connection

    monkeypatch.setattr(client, "_connect", connect)
    load = client.open_loop(0, [b"photo"], rate=1000, seconds=0.02)
    assert load.answered == len(load.latencies) == len(transports) > 1


def test_photo_request_is_http_with_the_photo_as_its_body():
    assert photo_request("/invocations", b"\xff\xd8photo", "image/png") == (
        b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 7\r\n\r\n"
        b"\xff\xd8photo"
    )


def test_load_counts_answered_requests_only():
    load = LoadResult(seconds=2.0, latencies=[10.0, float("inf"), 30.0, 20.0], client_cpu_seconds=0.1)
    assert (load.answered, load.rate) == (3, 1.5)
