"""A client that costs little, with prebuilt requests over kept connections, and a server that costs nothing.

    python -m benchmarks.client PORT

is a server that takes each request and answers without looking at it: what the client alone can do.
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
_NULL_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"class":"nothing"}'


@dataclass(frozen=True)
class Load:
    """What came of some seconds of requests.

    seconds: until the last answer.
    latencies: milliseconds of each request; infinite where the answer was no 200.
    client_cpu_seconds: this process's own.
    """

    seconds: float
    latencies: list[float]
    client_cpu_seconds: float

    @property
    def answered(self) -> int:
        """How many were answered with 200."""
        return sum(map(math.isfinite, self.latencies))

    @property
    def rate(self) -> float:
        """Requests/s answered with 200."""
        return self.answered / self.seconds


def photo_request(path: str, photo: bytes, content_type: str = "image/jpeg") -> bytes:
    """A POST of a photo over a connection that is kept."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(photo)}"
    return head.encode() + _END_OF_HEAD + photo


def closed_loop(port: int, requests: Sequence[bytes], seconds: float, clients: int = 8) -> Load:
    """So many clients, each of which sends its next request when it has its answer."""
    return asyncio.run(_closed_loop(port, requests, seconds, clients))


def open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> Load:
    """Requests that arrive at random (Poisson) at a rate, whatever the server does.

    Latencies count from a request's due time, so that none is flattered by a client that came late.
    """
    return asyncio.run(_open_loop(port, requests, rate, seconds, seed))


def answers(port: int, requests: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Status and body of the answer to each request, one after the other."""

    async def ask() -> list[tuple[int, bytes]]:
        connection = await _connect(port)
        with closing(connection):
            return [await connection.ask(request) for request in requests]

    return asyncio.run(ask())


async def _closed_loop(port: int, requests: Sequence[bytes], seconds: float, clients: int) -> Load:
    connections = [await _connect(port) for _ in range(clients)]
    todo, latencies = cycle(requests), list[float]()
    began, cpu = time.perf_counter(), time.process_time()

    async def client(connection: _Connection) -> None:
        with closing(connection):
            while (sent := time.perf_counter()) < began + seconds:
                status, _ = await connection.ask(next(todo))
                latencies.append(_milliseconds_since(sent, status))

    await asyncio.gather(*map(client, connections))
    return Load(time.perf_counter() - began, latencies, time.process_time() - cpu)


async def _open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int) -> Load:
    chance, idle, latencies = random.Random(seed), list[_Connection](), list[float]()
    began, cpu, due = time.perf_counter(), time.process_time(), 0.0

    async def ask(request: bytes, due: float) -> None:
        while idle and idle[-1].closed:  # by the server, for it was long unused
            idle.pop()
        connection = idle.pop() if idle else await _connect(port)
        status, _ = await connection.ask(request)
        latencies.append(_milliseconds_since(began + due, status))
        idle.append(connection)

    async with asyncio.TaskGroup() as tasks:
        for request in cycle(requests):
            due += chance.expovariate(rate)
            if due > seconds:
                break
            await asyncio.sleep(began + due - time.perf_counter())
            tasks.create_task(ask(request, due))
    for connection in idle:
        connection.close()
    return Load(time.perf_counter() - began, latencies, time.process_time() - cpu)


def _milliseconds_since(moment: float, status: int) -> float:
    return (time.perf_counter() - moment) * 1e3 if status == 200 else math.inf


class _Connection(asyncio.Protocol):
    """One request at a time: asyncio's streams would cost twice as much."""

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
        """Whether nothing can be asked any more."""
        return self._transport.is_closing()

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self._transport.close()


async def _connect(port: int) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
    return connection


def _content_length(head: bytes | bytearray) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)


class _NullServer(asyncio.Protocol):
    """Answers as soon as a request is there; it looks at nothing but its length."""

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
