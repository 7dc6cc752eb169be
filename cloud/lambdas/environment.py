"""An execution environment: one process of a function's image, which answers one request at a time.

It is frozen while it has no request, limited in memory and in processor time, and never used again after a failure of
its process.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import termios
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cloud.core import containers, processes
from cloud.ecr.images import ContainerImage
from cloud.lambdas.errors import EXITED, OUT_OF_MEMORY, TIMED_OUT, exit_reason, platform_error
from cloud.lambdas.function_version import FunctionVersion
from cloud.lambdas.processor import Credits, seconds_used
from cloud.lambdas.runtime_api import Event, Reply, RuntimeApi

_HAS_PROC = os.path.isdir("/proc/self")
_TICK = 0.01 if _HAS_PROC else 0.25  # seconds between two looks at the memory; ps is slower than /proc
_SCAN = 1.0  # seconds between two searches for processes that have left the process group
_MEGABYTE = 1 << 20


class Ended(NamedTuple):
    """How a request, or the initialization, ended.

    Attributes:
        reply: What the caller gets.
        seconds: How long the function's process took.
        status: ``success``, ``error`` or ``timeout``.
        error_type: The failure's type when the process failed; empty when it answered, even with an error.
    """

    reply: Reply
    seconds: float
    status: str = "success"
    error_type: str = ""


class Environment:
    """One environment.

    Attributes:
        function: The version that it runs.
        init_seconds: How long it took until the process asked for its first request.
        is_provisioned: Whether it was started before anybody asked for it.
        last_used: When its last request ended, by ``time.monotonic``.
        has_served: Whether it has had a request.
    """

    def __init__(self, function: FunctionVersion, is_provisioned: bool = False) -> None:
        """Prepare an environment; ``initialize`` starts its process.

        Args:
            function: The version that it runs.
            is_provisioned: Whether it is started before anybody asks for it.
        """
        self.function, self.is_provisioned = function, is_provisioned
        self.init_seconds = 0.0
        self.has_served = False
        self.last_used = time.monotonic()
        self.id = uuid.uuid4().hex
        self._mark = processes.mark_of("functions", function.name, function.version, self.id)
        self._api: RuntimeApi | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._copy: Path | None = None  # the image's files, where there are no namespaces
        self._output = bytearray()
        self._output_lock = threading.Lock()
        self._is_running = threading.Event()  # not set while the processes are frozen
        self._signals = threading.Lock()  # held while the processes are stopped or continued
        self._credits = Credits(function.memory, time.monotonic())
        self._is_limited = False  # The initialization is not.
        self._is_waiting = False  # for credits, between a request and its answer
        self._has_ended = False
        self._is_too_large = False
        self._peak = 0  # bytes
        self._pids: list[int] = []

    @property
    def is_alive(self) -> bool:
        """Whether the process can answer requests."""
        return self._process is not None and self._process.poll() is None and not self._is_too_large

    @property
    def pid(self) -> int:
        """Id of the function's process; 0 before there is one."""
        return self._process.pid if self._process else 0

    @property
    def max_memory(self) -> int:
        """MB that all processes have used together at most, as far as the limit allows."""
        return min(-(-self._peak // _MEGABYTE), self.function.memory)

    def initialize(
        self, image: ContainerImage, credentials: Mapping[str, str], folder: Path, seconds: float, request_id: str = ""
    ) -> Ended | None:
        """Start the process and wait until it asks for its first request.

        Args:
            image: The function's image.
            credentials: Variables with the credentials of the function's role.
            folder: Folder for what the environment writes.
            seconds: How long it may take.
            request_id: Id of the request in whose time it happens.

        Returns:
            None when the process is ready; otherwise how it failed, and the environment has ended.
        """
        begin = time.monotonic()
        self._api = api = RuntimeApi()
        try:
            self._start(image, credentials, folder)
        except OSError as error:
            words = self.function.command_line(image.entrypoint, image.cmd) or [""]
            reason = f"fork/exec {words[0]}: {(error.strerror or str(error)).lower()}"
            return self._failed("Runtime.InvalidEntrypoint", reason, time.monotonic() - begin, request_id)
        api.wait(lambda: api.is_idle or api.init_error is not None or self._has_ended, begin + seconds)
        self.init_seconds = time.monotonic() - begin
        if api.is_idle:
            self._freeze()
            return None
        if api.init_error:
            ended = Ended(api.init_error, self.init_seconds, "error", api.init_error.error_type or "Runtime.Unknown")
            self.end()
            return ended
        return self._explain(self.init_seconds, request_id)

    def invoke(self, event: Event) -> Ended:
        """Let the process answer a request, and freeze it."""
        assert self._api is not None
        api = self._api
        begin = time.monotonic()
        limit = event.deadline - time.time()
        self._thaw()
        api.send(event)
        # The process has done with a request when it asks for the next one; what it does before is part of it.
        api.wait(lambda: self._has_ended or (api.reply is not None and api.is_idle), begin + limit)
        if api.reply is None and self._has_ended:
            api.wait(lambda: api.reply is not None, time.monotonic() + 0.05)  # It may lie between two threads.
        seconds = time.monotonic() - begin
        self.has_served, self.last_used = True, time.monotonic()
        if api.reply is None:
            return self._explain(seconds, event.id)
        ended = Ended(api.reply, seconds)
        if api.is_idle:
            self._freeze()
        else:
            self.end()  # It answered, but did not come back for the next request.
        return ended

    def end(self) -> None:
        """Kill all processes and close the Runtime API; what was written can still be taken."""
        if self._process:
            # Frozen processes die of SIGKILL, too.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            processes.kill_marked(self._mark)
            self._process.wait()
        self._is_running.set()  # The thread that watches can end.
        api, self._api = self._api, None
        if api:
            api.close()
        if self._copy:
            shutil.rmtree(self._copy, ignore_errors=True)

    def take_log(self) -> str:
        """Return what the processes have written since this was called last."""
        deadline = time.monotonic() + 0.2
        while True:
            with self._output_lock:
                if not self._waiting_output() or time.monotonic() > deadline:
                    text = self._output.decode("utf-8", "replace")
                    self._output.clear()
                    return text.rstrip("\n")
            time.sleep(0.001)

    def _start(self, image: ContainerImage, credentials: Mapping[str, str], folder: Path) -> None:
        """Start the process.

        Raises:
            OSError: It cannot be started.
        """
        assert self._api is not None
        function, scratch = self.function, folder / self.id
        command = function.command_line(image.entrypoint, image.cmd)
        if not command:
            raise OSError(2, "no such file or directory")
        now = time.gmtime()
        stream = f"{now.tm_year:04d}/{now.tm_mon:02d}/{now.tm_mday:02d}/[{function.version}]{self.id}"
        own = function.environment(self._api.address, stream, self.is_provisioned) | dict(credentials)
        machine = processes.clean_environment(folder / "tmp")
        workdir = function.folder or image.workdir
        if containers.available():
            machine = containers.environment_of(machine)
            variables = {**machine, **image.variables(machine), **own}
            container = containers.Container(image.root, (), workdir, own_pids=False, scratch=function.storage)
            self._process = containers.spawn(command, variables, self._mark, container)
        else:
            self._copy = scratch
            shutil.copytree(image.root, scratch)
            (scratch / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
            variables = {**machine, **image.variables(machine)}
            variables = {name: _moved(value, scratch) for name, value in variables.items()} | own
            command = [_moved(word, scratch) for word in command]
            self._process = processes.spawn(command, variables, self._mark, scratch / workdir.lstrip("/"))
        self._pids = [self._process.pid]
        self._is_running.set()
        for work in (self._read_output, self._watch):
            threading.Thread(target=work, name=f"function-{function.name}", daemon=True).start()

    def _failed(self, kind: str, message: str, seconds: float, request_id: str = "", status: str = "error") -> Ended:
        self.end()
        payload = json.dumps(platform_error(kind, message, request_id)).encode()
        return Ended(Reply(payload, kind), seconds, status, kind)

    def _explain(self, seconds: float, request_id: str = "") -> Ended:
        """End the environment, and return why its process did not answer."""
        assert self._process is not None
        if not self._has_ended:
            reason = f"Task timed out after {self.function.timeout:.2f} seconds"
            return self._failed(TIMED_OUT, reason, seconds, request_id, "timeout")
        if self._is_too_large:
            return self._failed(OUT_OF_MEMORY, exit_reason(-signal.SIGKILL), seconds, request_id)
        return self._failed(EXITED, exit_reason(self._process.poll()), seconds, request_id)

    def _freeze(self) -> None:
        self._measure()
        with self._signals:
            self._is_running.clear()
            self._signal_tree(signal.SIGSTOP)

    def _thaw(self) -> None:
        self._credits.start(seconds_used(self._pids), time.monotonic())
        with self._signals:
            self._signal_tree(signal.SIGCONT)
            self._is_limited, self._is_waiting = _HAS_PROC, False
            self._is_running.set()

    def _limit(self) -> None:
        """Stop the processes while they have used more than their share of the cores."""
        is_waiting = not self._credits.has_some(seconds_used(self._pids), time.monotonic())
        with self._signals:
            if is_waiting != self._is_waiting and self._is_running.is_set():
                self._is_waiting = is_waiting
                self._signal_tree(signal.SIGSTOP if is_waiting else signal.SIGCONT)

    def _signal_tree(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != self._process.pid and _has_mark(pid, self._mark):
                    os.kill(pid, number)

    def _watch(self) -> None:
        """Note when the process ends, kill it when its tree uses too much memory, and limit its processor time."""
        process, next_scan = self._process, time.monotonic() + _SCAN
        assert process is not None
        while process.poll() is None:
            if not self._is_running.wait(1.0):
                continue
            if time.monotonic() > next_scan:
                found = processes.marked_lately(self._mark, _SCAN / 2)
                self._pids = [process.pid, *(pid for pid in found if pid != process.pid)]
                next_scan = time.monotonic() + _SCAN
            if self._measure() > self.function.memory * _MEGABYTE:
                self._is_too_large = True
                processes.kill_marked(self._mark)
            if self._is_limited:
                self._limit()
            time.sleep(_TICK)
        self._has_ended = True
        if api := self._api:
            api.wake()

    def _measure(self) -> int:
        """Return how many bytes the processes use now."""
        used = _memory_of(self._pids)
        self._peak = max(self._peak, used)
        return used

    def _read_output(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while True:
            # The part that is read next stays in the pipe until the lock is held, so none is ever between the two.
            _wait_readable(descriptor)
            with self._output_lock:
                part = os.read(descriptor, 1 << 16)
                self._output += part
                if not part:
                    self._process.stdout.close()
                    return

    def _waiting_output(self) -> int:
        """Return how many bytes the processes have written that nobody has read yet; the lock is held."""
        stdout = self._process.stdout if self._process else None
        if stdout is None or stdout.closed:
            return 0
        number = bytearray(4)
        fcntl.ioctl(stdout.fileno(), termios.FIONREAD, number)
        return int.from_bytes(number, "little")


def _wait_readable(descriptor: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        selector.select()


def _has_mark(pid: int, mark: str) -> bool:
    """Whether a process belongs to an environment; the id may be another's by now."""
    try:
        return f"{processes.MARK}={mark}".encode() in Path("/proc", str(pid), "environ").read_bytes()
    except OSError:
        return False


def _memory_of(pids: list[int]) -> int:
    """Return the bytes of memory in which processes reside."""
    if not _HAS_PROC:
        command = ["ps", "-o", "rss=", "-p", ",".join(map(str, pids))]
        return 1024 * sum(map(int, subprocess.run(command, capture_output=True, check=False).stdout.split()))
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path("/proc", str(pid), "statm").read_bytes().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE")


def _moved(text: str, root: Path) -> str:
    """Return a word, or a variable, with the paths of the image's files replaced by those of their copy."""
    parts = text.split(":")
    moved = (str(root / part.lstrip("/")) if part.startswith("/") and len(part) > 1 else part for part in parts)
    return ":".join(new if os.path.exists(new) else old for old, new in zip(parts, moved, strict=True))
