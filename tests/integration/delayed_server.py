"""A server whose delays are known, so that latencies can be worked out by hand.

    python -m tests.integration.delayed_server PORT [PAUSE_AFTER]

answers each request after 100 ms. With PAUSE_AFTER, the request of that number, counted from 0, begins a pause: what
comes within two seconds is held until they are over, and answered 100 ms later.
"""

import asyncio
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

DELAY, PAUSE = 0.1, 2.0  # seconds
KEY = "key-of-the-tests"


@dataclass
class DelayedServer:
    """What it does, and what it has got.

    Attributes:
        port: where it listens; 0 for any.
        pause_after: the number of the request that begins the pause; below 0 for none.
        statuses: of the answers, each for the next request; then 200.
        on_request: called with each request's number.
        num_requests: the requests so far.
    """

    port: int = 0
    pause_after: int = -1
    statuses: list[int] = field(default_factory=list)
    on_request: Callable[[int], object] = lambda _number: None
    num_requests: int = 0
    _pause_ends: float = -math.inf
    _task: "asyncio.Task[None] | None" = None

    @property
    def url(self) -> str:
        """The address that takes photos."""
        return f"http://127.0.0.1:{self.port}/v1/classify"

    async def serve(self, started: threading.Event | None = None) -> None:
        """Answer until it is stopped."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=1024)
        self.port, self._task = server.sockets[0].getsockname()[1], asyncio.current_task()
        if started:
            started.set()
        async with server:
            await server.serve_forever()

    def stop(self) -> None:
        """Stop from another thread."""
        assert self._task
        self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, named, length = head.lower().partition(b"content-length:")
                await reader.readexactly(int(length.split()[0]) if named else 0)
                await self._answer(head, writer)
        writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        number, self.num_requests = self.num_requests, self.num_requests + 1
        self.on_request(number)
        if number == self.pause_after:
            self._pause_ends = time.monotonic() + PAUSE
        await asyncio.sleep(max(0.0, self._pause_ends - time.monotonic()) + DELAY)
        status = self.statuses.pop(0) if self.statuses else 200
        if b"x-api-key" in head.lower() and KEY.encode() not in head:
            status = 403
        body = b'{"model_version": "run-1"}' if status == 200 else b'{"detail": "no such thing"}'
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


@contextmanager
def delayed_server(pause_after: int = -1, statuses: list[int] | None = None) -> Iterator[DelayedServer]:
    """Start such a server in a thread of this process."""
    server, started = DelayedServer(0, pause_after, statuses or []), threading.Event()

    def run() -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(server.serve(started))

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


if __name__ == "__main__":
    asyncio.run(DelayedServer(*map(int, sys.argv[1:])).serve())
