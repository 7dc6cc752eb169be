"""A client that takes little CPU, with prebuilt requests over kept connections, and a server that does nothing.

    python -m benchmarks.client PORT

starts that server. It answers each request without looking at it, and so shows what the client alone can do.
"""

import asyncio
import math
import random
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle

_END_OF_HEAD = b"\r\n\r\n"
NULL_CLASS = "nothing"
# An endpoint's answer, and also that of a function that has the model (docs/function.md).
_NULL_DOCUMENT = b'{"class":"nothing","status":200,"body":{"class":"nothing"}}'
_NULL_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_NULL_DOCUMENT), _NULL_DOCUMENT)


@dataclass(frozen=True)
class LoadResult:
    """The result of sending requests for some seconds.

    Attributes:
        seconds: Seconds until the last answer.
        latencies: Milliseconds of each request; infinite if the status was not 200.
        client_cpu_seconds: CPU time of this process.
    """

    seconds: float
    latencies: list[float]
    client_cpu_seconds: float

    @property
    def answered(self) -> int:
        """The number of requests that were answered with 200."""
        return sum(map(math.isfinite, self.latencies))

    @property
    def rate(self) -> float:
        """Requests per second that were answered with 200."""
        return self.answered / self.seconds


def photo_request(path: str, photo: bytes, content_type: str = "image/jpeg") -> bytes:
    """Return the bytes of a POST of a photo over a connection that is kept open."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(photo)}"
    return head.encode() + _END_OF_HEAD + photo


def closed_loop(port: int, requests: Sequence[bytes], seconds: float, clients: int = 8) -> LoadResult:
    """Send requests from a number of clients, each of which sends its next request once it has its answer."""
    return asyncio.run(_closed_loop(port, requests, seconds, clients))


def open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> LoadResult:
    """Send requests at random times (a Poisson process) with a mean rate, independently of the server.

    A latency counts from the time when the request was due, so that a late client does not make it look shorter.
    """
    return asyncio.run(_open_loop(port, requests, rate, seconds, seed))


def answers(port: int, requests: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Send requests one after the other, and return the status and body of each answer."""

    async def ask() -> list[tuple[int, bytes]]:
        connection = await _connect(port)
        with closing(connection):
            return [await connection.ask(request) for request in requests]

    return asyncio.run(ask())


async def _closed_loop(port: int, requests: Sequence[bytes], seconds: float, clients: int) -> LoadResult:
    connections = [await _connect(port) for _ in range(clients)]
    remaining, latencies = cycle(requests), list[float]()
    began, cpu = time.perf_counter(), time.process_time()

    async def client(connection: _ClientConnection) -> None:
        with closing(connection):
            while (sent := time.perf_counter()) < began + seconds:
                status, _ = await connection.ask(next(remaining))
                latencies.append(_milliseconds_since(sent, status))

    await asyncio.gather(*map(client, connections))
    return LoadResult(time.perf_counter() - began, latencies, time.process_time() - cpu)


async def _open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int) -> LoadResult:
    rng, idle, latencies = random.Random(seed), list[_ClientConnection](), list[float]()
    began, cpu, due = time.perf_counter(), time.process_time(), 0.0

    async def ask(request: bytes, due: float) -> None:
        while idle and idle[-1].closed:  # The server closes connections that were unused for long.
            idle.pop()
        connection = idle.pop() if idle else await _connect(port)
        status, _ = await connection.ask(request)
        latencies.append(_milliseconds_since(began + due, status))
        idle.append(connection)

    async with asyncio.TaskGroup() as tasks:
        for request in cycle(requests):
            due += rng.expovariate(rate)
            if due > seconds:
                break
            await asyncio.sleep(began + due - time.perf_counter())
            tasks.create_task(ask(request, due))
    for connection in idle:
        connection.close()
    return LoadResult(time.perf_counter() - began, latencies, time.process_time() - cpu)


def _milliseconds_since(moment: float, status: int) -> float:
    return (time.perf_counter() - moment) * 1e3 if status == 200 else math.inf


class _ClientConnection(asyncio.Protocol):
    """A connection with one request at a time. asyncio's streams would take twice as much CPU."""

    _transport: asyncio.Transport
    _answer: "asyncio.Future[tuple[int, bytes]]"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(_END_OF_HEAD)
        if end and len(body) >= _content_length(head):
            self._answer.set_result((int(head[9:12]), bytes(body)))

    def connection_lost(self, error: Exception | None) -> None:
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection without an answer"))

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or being closed."""
        return self._transport.is_closing()

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self._transport.close()


async def _connect(port: int) -> _ClientConnection:
    _, connection = await asyncio.get_running_loop().create_connection(_ClientConnection, "127.0.0.1", port)
    return connection


def _content_length(head: bytes | bytearray) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)


class _NullServer(asyncio.Protocol):
    """Answers as soon as a request has arrived, and reads nothing but its length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._missing = transport, 0

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            head, end, _ = data.partition(_END_OF_HEAD)
            self._missing = len(head) + len(end) + _content_length(head)
        self._missing -= len(data)
        if not self._missing:
            self._transport.write(_NULL_ANSWER)


async def _serve_nothing(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_NullServer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve_nothing(int(sys.argv[1])))
