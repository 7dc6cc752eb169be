"""The hosts of a job: each is a process group with a root folder and a log of its own."""

import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloud.core import processes
from cloud.ecr.images import ContainerImage
from cloud.logs import streams
from cloud.sagemaker.jobs.opt_ml import OptMlFolder

_POLL_SECONDS = 0.05
_TICK_SECONDS = 0.25


class JobError(Exception):
    """The job fails; the message becomes its FailureReason."""


class JobHost:
    """One host of a job, for example ``algo-1``.

    Attributes:
        name: the host's name.
        opt_ml: the folder that replaces ``/opt/ml``.
    """

    def __init__(
        self, name: str, folder: Path, log_group: str, job: str, caller: str, image: ContainerImage | None
    ) -> None:
        """Create the host's folders and its log.

        Args:
            name: the host's name.
            folder: the job's folder; the host gets a folder in it.
            log_group: the log group in CloudWatch Logs.
            job: the job's name.
            caller: access key of the job's role.
            image: the container's image; None for an image that is not on this machine.
        """
        self.name = name
        self._folder = folder / name
        self._image = image
        self._workdir = self._folder / "opt" / "ml"
        if image:
            # Each host has a copy, so that no job can change the image.
            shutil.copytree(image.root, self._folder)
            self._workdir = self._folder / image.workdir.lstrip("/")
            self._workdir.mkdir(parents=True, exist_ok=True)
        self.opt_ml = OptMlFolder(self._folder / "opt" / "ml")
        self.opt_ml.root.mkdir(parents=True, exist_ok=True)
        self._scratch = self._folder / "tmp"
        self._mark = processes.mark_of(folder.parent.name, job, name)
        self._log = streams.LogStream(log_group, f"{job}/{name}-{int(time.time())}", folder / f"{name}.log", caller)
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None

    def start(
        self,
        command: Sequence[str],
        defaults: Mapping[str, str],
        environment: Mapping[str, str],
        *line_readers: Callable[[str], None],
    ) -> None:
        """Start the process.

        Args:
            command: the program and its arguments, with the container's paths.
            defaults: variables that the image and the request may override.
            environment: variables of the request, with the container's paths.
            *line_readers: each is called with every line that the process writes.

        Raises:
            OSError: the program cannot be started.
        """
        machine = processes.clean_environment(self._scratch)
        image = {name: _expand(value, machine) for name, value in self._image_environment.items()}
        variables = machine | self.opt_ml.environment({**defaults, **image, **environment})
        self._process = processes.spawn(self.opt_ml.command(command), variables, self._mark, self._workdir)
        assert self._process.stdout is not None
        self._pump = streams.pump(self._process.stdout, self._log.write, *line_readers)

    @property
    def _image_environment(self) -> Mapping[str, str]:
        return self._image.environment if self._image else {}

    @property
    def exit_code(self) -> int | None:
        """The exit code of the process: negative for a signal, None while it runs."""
        return None if self._process is None else self._process.poll()

    def flush(self) -> None:
        """Send the pending lines to CloudWatch Logs."""
        self._log.flush()

    def terminate(self) -> None:
        """Send SIGTERM to the process group."""
        if self._process is not None:
            processes.signal_group(self._process, signal.SIGTERM)

    def close(self) -> None:
        """Kill every process of this host that is left, and finish its log."""
        processes.kill_marked(self._mark)
        if self._process is not None:
            self._process.wait()
        if self._pump is not None:
            self._pump.join(timeout=5)
        self._log.close()

    def vanish(self) -> None:
        """Simulate the loss of the instance: kill its processes without notice and delete its disk."""
        while processes.marked(self._mark):  # One kill is not enough: a process may start another one meanwhile.
            processes.kill_marked(self._mark)
            time.sleep(0.01)
        self.close()
        shutil.rmtree(self._folder)


def _expand(value: str, machine: Mapping[str, str]) -> str:
    """Fill in what an ENV takes from its base image, such as ``$PATH``; this machine stands in for that image."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: machine.get(match[1], ""), value)


def wait_for_hosts(
    hosts: Sequence[JobHost], seconds: float, stop: threading.Event, tick: Callable[[], None] = lambda: None
) -> JobHost | None:
    """Wait until all hosts have ended, one has failed, the time is up, or ``stop`` is set.

    Hosts that still run then get SIGTERM, and SIGKILL after ``processes.GRACE_SECONDS``.

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
    try:
        while any(host.exit_code is None for host in hosts):
            if failed := next((host for host in hosts if host.exit_code), None):
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
        _end(hosts)
        tick()


def _end(hosts: Sequence[JobHost]) -> None:
    for host in hosts:
        if host.exit_code is None:
            host.terminate()
    deadline = time.monotonic() + processes.GRACE_SECONDS
    while any(host.exit_code is None for host in hosts) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for host in hosts:
        host.close()
