"""The hosts of a job: each is a container, or a process tree where there are none, with a log of its own."""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloud.core import clock, containers, processes
from cloud.ecr.images import ContainerImage
from cloud.logs import streams
from cloud.sagemaker.container import SageMakerContainer

_POLL_SECONDS = 0.05
_TICK_SECONDS = 0.25
# Between SIGTERM and SIGKILL, when somebody stops a job or its time is up
STOP_SECONDS = max(processes.GRACE_SECONDS, clock.scaled(120.0))
# Paths that rewriting does not reach, such as those in a shell's command
_UNREACHABLE = "ClientError: {where} names /opt/ml where the laptop cloud cannot replace it by {root}. {why}"
WITHOUT_NAMESPACES = (
    "This machine allows no namespaces, so /opt/ml is another folder here, and a program finds it by its arguments and "
    "its environment only. See 'Where the kernel allows no namespaces' in docs/laptop-cloud.md."
)


class JobError(Exception):
    """The job fails; the message becomes its FailureReason."""


class JobHost:
    """One host of a job, for example ``algo-1``.

    Attributes:
        name: the host's name.
        opt_ml: the folder that is ``/opt/ml`` in the container, or replaces it.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        log: streams.LogStream,
        mark: str,
        image: ContainerImage | None,
    ) -> None:
        """Create the host's folders.

        Args:
            name: the host's name.
            folder: the job's folder; the host gets a folder in it.
            log: receives what the host prints.
            mark: the mark of the host's processes.
            image: the container's image; None for an image that is not on this machine.
        """
        self.name = name
        self._folder = folder / name
        self._container = SageMakerContainer(self._folder, image, mark)
        self.opt_ml = self._container.opt_ml
        self._mark, self._log = mark, log
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None

    def start(
        self,
        command: Sequence[str],
        defaults: Mapping[str, str],
        environment: Mapping[str, str],
        peers: Sequence[str],
        *line_readers: Callable[[str], None],
    ) -> None:
        """Start the process.

        Args:
            command: the program and its arguments, with the container's paths.
            defaults: variables that the image and the request may override.
            environment: variables of the request, with the container's paths.
            peers: the names of all hosts of the job.
            *line_readers: each is called with every line that the process writes.

        Raises:
            OSError: the program cannot be started.
            JobError: its result would be lost on this machine.
        """
        for word in command:
            self.refuse_unreachable("the command", word)
        hosts = containers.hosts_file(peers, self._folder.with_suffix(".hosts"))
        self._process = self._container.start(command, defaults, environment, [hosts])
        assert self._process.stdout is not None
        self._pump = streams.pump(self._process.stdout, self._log.write, *line_readers)

    def refuse_unreachable(self, where: str, text: str) -> None:
        """Check that rewriting reaches every ``/opt/ml`` in a text of the request.

        Args:
            where: the text's place in the request, for the message.
            text: the text.

        Raises:
            JobError: it does not, and this machine has no containers.
        """
        if not containers.available() and self.opt_ml.is_unreachable(text):
            raise JobError(_UNREACHABLE.format(where=where, root=self.opt_ml.root, why=WITHOUT_NAMESPACES))

    def say(self, line: str) -> None:
        """Write a line of the laptop cloud into the host's log."""
        self._log.write(f"laptop cloud: {line}")
        self._log.flush()

    @property
    def exit_code(self) -> int | None:
        """The exit code of the process: negative for a signal, None while it runs."""
        return None if self._process is None else self._process.poll()

    def flush(self) -> None:
        """Send the pending lines to CloudWatch Logs."""
        self._log.flush()

    def terminate(self) -> None:
        """Send SIGTERM to the first process, and to no other, as SageMaker does."""
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        """Kill every process of this host that is left, and read its last lines."""
        processes.kill_marked(self._mark)
        if self._process is not None:
            self._process.wait()
        if self._pump is not None:
            self._pump.join(timeout=5)
        self._log.flush()

    def close(self) -> None:
        """End the host and its log."""
        self.end()
        self._log.close()

    def vanish(self) -> None:
        """Simulate the loss of the instance: kill its processes without notice and delete its disk."""
        while processes.marked(self._mark):  # One kill is not enough: a process may start another one meanwhile.
            processes.kill_marked(self._mark)
            time.sleep(0.01)
        self.close()
        shutil.rmtree(self._folder)


def wait_for_hosts(
    hosts: Sequence[JobHost], seconds: float, stop: threading.Event, tick: Callable[[], None] = lambda: None
) -> JobHost | None:
    """Wait until all hosts have ended, one has failed, the time is up, or ``stop`` is set.

    Hosts that still run then get SIGTERM, and SIGKILL after ``STOP_SECONDS``, or earlier when another one has failed.

    Args:
        hosts: hosts that have been started.
        seconds: the longest wait.
        stop: set when somebody asks the job to stop.
        tick: called every ``_TICK_SECONDS`` after the logs were flushed, and once when all hosts have ended.

    Returns:
        The host that failed first, or None.

    Raises:
        TimeoutError: the time is up.
    """
    deadline, last_tick = time.monotonic() + seconds, 0.0
    grace = STOP_SECONDS
    try:
        while any(host.exit_code is None for host in hosts):
            if failed := next((host for host in hosts if host.exit_code), None):
                grace = processes.GRACE_SECONDS
                return failed
            if stop.is_set():
                return None
            if time.monotonic() > deadline:
                raise TimeoutError
            if time.monotonic() - last_tick > _TICK_SECONDS:
                last_tick = time.monotonic()
                for host in hosts:
                    host.flush()
                tick()
            time.sleep(_POLL_SECONDS)
        return next((host for host in hosts if host.exit_code), None)
    finally:
        _end(hosts, grace)
        tick()


def _end(hosts: Sequence[JobHost], grace: float) -> None:
    for host in hosts:
        if host.exit_code is None:
            host.terminate()
    deadline = time.monotonic() + grace
    while any(host.exit_code is None for host in hosts) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for host in hosts:
        host.end()
