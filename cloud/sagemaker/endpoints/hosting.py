"""One endpoint instance: a model server of ``serving/`` as a process of this machine."""

import asyncio
import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
import weakref
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud.core import processes
from cloud.core.uris import S3Uri, StorageError
from cloud.logs import streams
from cloud.s3 import objects

PING_TIMEOUT_SECONDS = 2.0
_THROTTLE = float(os.environ.get("KENNEL_THROTTLE", "0"))  # requests/s that each instance answers at most; 0: no limit
_LATE_SECONDS = 0.01  # by which a turn may begin late


class Artifact:
    """A model's ``model.tar.gz`` as a folder; unpacked once, when first needed, and gone with the last variant."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self._folder = folder
        self._lock = threading.Lock()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def folder(self, caller: str) -> Path:
        """The folder that stands for ``/opt/ml/model``.

        Args:
            caller: access key of the model's role.

        Raises:
            StorageError: the object is gone, is no archive, or reaches outside itself.
        """
        with self._lock:
            if not self._folder.exists():
                self._folder.parent.mkdir(parents=True, exist_ok=True)
                # Beside it first, for a folder that is half filled would pass for unpacked.
                with tempfile.TemporaryDirectory(dir=self._folder.parent) as scratch:
                    self._unpack(Path(scratch), caller).rename(self._folder)
        return self._folder

    def _unpack(self, scratch: Path, caller: str) -> Path:
        archive, fresh = scratch / "model.tar.gz", scratch / "model"
        objects.download(S3Uri.parse(self.uri), archive, caller)
        fresh.mkdir()
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(fresh, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise StorageError(
                f'Failed to extract model data archive for container "container_1" from URL "{self.uri}". '
                "Please ensure that the object located at the URL is a valid tar.gz archive."
            ) from error
        return fresh


class Instance:
    """A model server and what the router knows of it.

    Attributes:
        port: on loopback.
        in_flight: requests being answered or waiting for their turn; the router counts them on the event loop.
        idle: the router's idle connections to it.
        draining: it is to end and takes no new request.
    """

    def __init__(
        self,
        endpoint: str,
        variant: str,
        model_folder: Path,
        environment: Mapping[str, str],
        home: Path,
        code: Path,
        caller: str,
    ) -> None:
        """Start the server; it is not ready yet.

        Raises:
            OSError: it cannot be started.
        """
        self.id = f"i-{uuid.uuid4().hex[:17]}"
        self.port = processes.free_port()
        self.in_flight = 0
        self.idle: list[Any] = []
        self.draining = False
        self._turn = asyncio.Lock()
        self._over = 0.0  # when the request whose turn it is may be answered
        folder = home / "endpoints" / endpoint / self.id
        self._mark = processes.mark_of("endpoint", endpoint, self.id)
        self._log = streams.LogStream(
            f"/aws/sagemaker/Endpoints/{endpoint}", f"{variant}/{self.id}", folder / "server.log", caller
        )
        command = [sys.executable, "-m", "serving", "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        variables = processes.clean_environment(folder / "tmp") | dict(environment)
        variables["PYTHONPATH"] = str(code)
        self._process: subprocess.Popen[bytes] = processes.spawn(
            [*command, "--model-dir", str(model_folder)], variables, self._mark, folder
        )
        self._pid = folder / "pid"  # for drills: AWS has no operation that kills an instance, so here is none either
        self._pid.write_text(str(self._process.pid))
        assert self._process.stdout is not None
        self._pump = streams.pump(self._process.stdout, self._log.write)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def last_line(self) -> str:
        """The last line that the server wrote."""
        return self._log.last_line

    def ping(self) -> bool:
        """Whether ``GET /ping`` answers 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PING_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """What a request waits for and keeps while it is answered.

        Where the cloud throttles, an instance answers one request after the other, each in as long as the rate
        says, so that a few cores can show a fleet of instances whose rate is known.
        """
        if not _THROTTLE:
            yield
            return
        waited = self._turn.locked()
        async with self._turn:
            now = time.monotonic()
            # Who waited begins when the one before was to end, not when the loop came round to it: the rate is exact.
            self._over = (max(self._over, now - _LATE_SECONDS) if waited else now) + 1 / _THROTTLE
            yield
            await asyncio.sleep(self._over - time.monotonic())

    def flush(self) -> None:
        """Hand the log's pending lines on."""
        self._log.flush()

    def drain(self, seconds: float) -> None:
        """Wait until no request is in flight, at most so long."""
        deadline = time.monotonic() + seconds
        while self.in_flight and time.monotonic() < deadline:
            time.sleep(0.02)

    def terminate(self) -> None:
        """Ask the server to end."""
        processes.signal_group(self._process, signal.SIGTERM)

    def close(self) -> None:
        """Wait for the server's end, kill what is left after that, and finish its log."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        processes.kill_marked(self._mark)
        self._process.wait()
        self._pid.unlink(missing_ok=True)
        self._pump.join(timeout=2)
        self._log.close()


def end(instances: Sequence[Instance], drain_seconds: float = 0.0) -> None:
    """End servers together, each after the requests in flight, for which it waits so long at most."""
    deadline = time.monotonic() + drain_seconds
    for instance in instances:
        instance.draining = True  # before any is waited for: none may get what another gives up
    for instance in instances:
        instance.drain(max(0.0, deadline - time.monotonic()))
        instance.terminate()
    for instance in instances:
        instance.close()
