"""One instance of an endpoint: a model server, started by its image's entry point with the word ``serve``."""

import asyncio
import contextlib
import http.client
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud.core import containers, processes
from cloud.ecr.images import ContainerImage
from cloud.logs import streams
from cloud.sagemaker.container import SageMakerContainer

PING_TIMEOUT_SECONDS = 2.0
_THROTTLE = float(os.environ.get("KENNEL_THROTTLE", "0"))  # requests/s that each instance answers; 0 means no limit
_MAX_LATENESS_SECONDS = 0.01  # A waiting request that begins at most this late counts as begun on time.


class EndpointInstance:
    """A model server, and what the router knows about it.

    Attributes:
        id: for example ``i-0123456789abcdef0``.
        port: the server's port on loopback.
        in_flight: number of requests that are being answered or wait for their turn. The router counts them on the
            event loop.
        idle: open connections to the server that the router does not use at the moment.
        draining: the instance ends soon and takes no new request.
    """

    def __init__(
        self,
        endpoint: str,
        variant: str,
        model_folder: Path,
        environment: Mapping[str, str],
        home: Path,
        image: ContainerImage,
        caller: str,
    ) -> None:
        """Start the server; it is not ready yet.

        Args:
            endpoint: the endpoint's name.
            variant: the variant's name.
            model_folder: the folder that the container sees as ``/opt/ml/model``.
            environment: variables of the model's container.
            home: the cloud's home folder.
            image: the image of the model's container.
            caller: access key of the model's role.

        Raises:
            OSError: the server cannot be started.
        """
        self.id = f"i-{uuid.uuid4().hex[:17]}"
        self.port = processes.free_port()
        self.in_flight = 0
        self.idle: list[Any] = []
        self.draining = False
        self._turn_lock = asyncio.Lock()
        self._turn_end = 0.0  # monotonic seconds; the present turn lasts at least until then
        folder = home / "endpoints" / endpoint / self.id
        self._mark = processes.mark_of("endpoint", endpoint, self.id)
        self._log = streams.LogStream(
            f"/aws/sagemaker/Endpoints/{endpoint}", f"{variant}/{self.id}", folder / "server.log", caller
        )
        # On AWS each container has port 8080 to itself. Here all of them share the machine's network.
        command = [*image.entrypoint, "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        self._root = folder / "root"
        container = SageMakerContainer(self._root, image, self._mark)
        model = container.opt_ml.root / "model"
        binds = []
        if containers.available():
            binds.append((str(model_folder), "/opt/ml/model", True))
        else:
            model.symlink_to(model_folder)
            command += ["--model-dir", "/opt/ml/model"]
            if os.geteuid() == 0:
                command += ["--user", "0"]  # Another user could not read root's Python and files.
        # The server keeps the machine's process ids, because drills kill instances by them.
        self._process: subprocess.Popen[bytes] = container.start(command, {}, environment, binds, own_pids=False)
        # AWS has no operation that kills an instance, so the laptop cloud has none. Drills read the process id here.
        self._pid_file = folder / "pid"
        self._pid_file.write_text(str(self._process.pid))
        assert self._process.stdout is not None
        self._pump: threading.Thread = streams.pump(self._process.stdout, self._log.write)

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process.poll() is None

    @property
    def last_line(self) -> str:
        """The last line that the server wrote."""
        return self._log.last_line

    def ping(self) -> bool:
        """Whether the server answers 200 to ``GET /ping``."""
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
        """Give a request its turn: wait for it, and hold it while the request is answered.

        Without a throttle there is nothing to wait for. With one, an instance answers one request after the other,
        and each takes 1 / ``KENNEL_THROTTLE`` seconds. So a machine with few cores can run many instances of a known
        request rate.
        """
        if not _THROTTLE:
            yield
            return
        waited = self._turn_lock.locked()
        async with self._turn_lock:
            now = time.monotonic()
            # A request that waited begins at the planned end of the one before it. The event loop may notice that end
            # later, and counting from then would lower the rate.
            planned_start = max(self._turn_end, now - _MAX_LATENESS_SECONDS) if waited else now
            self._turn_end = planned_start + 1 / _THROTTLE
            yield
            await asyncio.sleep(self._turn_end - time.monotonic())

    def flush(self) -> None:
        """Send the pending lines of the log to CloudWatch Logs."""
        self._log.flush()

    def drain(self, seconds: float) -> None:
        """Wait until no request is in flight, or until the time is up."""
        deadline = time.monotonic() + seconds
        while self.in_flight and time.monotonic() < deadline:
            time.sleep(0.02)

    def terminate(self) -> None:
        """Ask the server to end."""
        self._process.terminate()

    def close(self) -> None:
        """Wait a few seconds for the server's end, kill the processes that are left, and finish the log."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        processes.kill_marked(self._mark)
        self._process.wait()
        self._pid_file.unlink(missing_ok=True)
        self._pump.join(timeout=2)
        self._log.close()
        shutil.rmtree(self._root, ignore_errors=True)


def end_instances(instances: Sequence[EndpointInstance], drain_seconds: float = 0.0) -> None:
    """End instances together.

    Args:
        instances: the instances.
        drain_seconds: the longest wait, for all of them together, until no request is in flight.
    """
    deadline = time.monotonic() + drain_seconds
    # Mark all of them before waiting for the first one, so that none takes a request that another one turns away.
    for instance in instances:
        instance.draining = True
    for instance in instances:
        instance.drain(max(0.0, deadline - time.monotonic()))
        instance.terminate()
    for instance in instances:
        instance.close()
