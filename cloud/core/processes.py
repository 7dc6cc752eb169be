"""Start, find and end child processes; none of them outlives the cloud.

Every child has a mark in its environment, and its own children inherit the mark. A process tree is found by its
mark even where a launcher such as torchrun puts workers into sessions of their own, or ended before them.

A guard process holds the read end of a pipe. The write end closes when the cloud's process ends, for whatever
reason; then the guard ends every process with the cloud's mark. The guard is this file run as a script, so this
file imports the standard library only.
See "Child processes carry a mark, and a guard ends them" in docs/decisions/laptop-cloud.md.
"""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MARK = "KENNEL_PROCESS"
GRACE_SECONDS = 10.0
CLOUD = f"cloud-{os.getpid()}-{time.time_ns():x}"
_starts = threading.Lock()
_ending = threading.Event()
_looks = threading.Lock()
_last_look: dict[str, Any] = {"at": -math.inf, "marks": []}  # when, by the monotonic clock, and ids with their marks


def mark_of(*parts: str) -> str:
    """Return the mark of one process tree of this cloud, for example ``cloud-17-c0ffee/job/algo-1/``."""
    return "/".join((CLOUD, *parts, ""))


def clean_environment(scratch: Path) -> dict[str, str]:
    """Return the environment that a job's process starts with.

    Of the user's environment it contains only PATH, the locale, the time zone and the library paths.

    Args:
        scratch: Folder for temporary files, also the home folder; created if missing.
    """
    kept = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    scratch.mkdir(parents=True, exist_ok=True)
    # ``python`` is this Python, whoever asks for it.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "PATH": path,
        "HOME": str(scratch),  # The user's own home has secrets, such as the credentials of their AWS account.
        "TMPDIR": str(scratch),
        "PYTHONUNBUFFERED": "1",  # The log shows each line as soon as the process writes it.
        "PYTHONUTF8": "1",  # The images' locale is UTF-8; that of the user's shell may be another.
        # Without CI, openvino-telemetry reports each import of OpenVINO to its makers. The images do not contain it.
        "CI": "true",
    }


def spawn(
    command: Sequence[str], environment: Mapping[str, str], mark: str, folder: Path, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, with stdout and stderr in one pipe.

    Raises:
        OSError: The program cannot be started, or the cloud is ending.
    """
    with starting():
        return subprocess.Popen(
            command,
            env={**environment, MARK: mark},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
            umask=0o022,  # As in a container, so that what a job makes has the same modes in its archives as on AWS.
        )


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Let the end of the cloud wait while a process starts, so that it finds every process.

    Raises:
        OSError: The cloud is ending.
    """
    with _starts:
        if _ending.is_set():
            raise OSError("the cloud is ending")
        yield


def marked(mark: str) -> list[int]:
    """Return the ids of all live processes, except this one, whose mark starts with ``mark``."""
    variable = f"{MARK}={mark}".encode()
    pids = _marked_in_proc(variable) if os.path.isdir("/proc/self") else _marked_by_ps(variable)
    return [pid for pid in pids if pid != os.getpid()]


def marked_lately(mark: str, seconds: float) -> list[int]:
    """Return what ``marked`` would have returned, by a look at all processes that is at most so many seconds old.

    Those who watch many process trees share the looks: each reads the environment of every process of the machine.
    """
    if not os.path.isdir("/proc/self"):
        return marked(mark)
    with _looks:
        if time.monotonic() - _last_look["at"] > seconds:
            _last_look.update(at=time.monotonic(), marks=list(_marks_in_proc()))
        marks: list[tuple[int, bytes]] = _last_look["marks"]
    return [pid for pid, found in marks if found.startswith(mark.encode()) and pid != os.getpid()]


def _marked_in_proc(variable: bytes) -> list[int]:
    mark = variable.partition(b"=")[2]
    return [pid for pid, found in _marks_in_proc() if found.startswith(mark)]


def _marks_in_proc() -> Iterator[tuple[int, bytes]]:
    """Yield the id and the mark of each process that has one."""
    name = f"{MARK}=".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                environment = Path("/proc", entry, "environ").read_bytes()
            except OSError:
                continue  # The process has ended, or belongs to another user.
            if name in environment:
                for pair in environment.split(b"\0"):
                    if pair.startswith(name):
                        yield int(entry), pair.removeprefix(name)


def _marked_by_ps(variable: bytes) -> list[int]:
    # On Linux the letter e makes ps show the environment; on macOS the option -E does.
    options = "-axEww" if sys.platform == "darwin" else "axeww"
    command = ["ps", options, "-o", "pid=", "-o", "command="]
    listing = subprocess.run(command, capture_output=True, check=False).stdout
    return [int(line.split(None, 1)[0]) for line in listing.splitlines() if variable in line]


def command_of(pid: int) -> str:
    """Return the command line of a live process; empty if there is none, or if only its exit code is left."""
    if os.path.isdir("/proc/self"):  # Small containers have no ps.
        try:
            return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    command = ["ps", "-ww", "-o", "stat=", "-o", "command=", "-p", str(pid)]
    listed = subprocess.run(command, capture_output=True, check=False).stdout.decode(errors="replace").strip()
    return "" if listed.startswith("Z") else listed.partition(" ")[2].strip()


def end_marked(mark: str, grace: float = GRACE_SECONDS) -> None:
    """Send SIGTERM to every process with this mark, wait, and send SIGKILL to those left after ``grace`` seconds."""
    _signal_all(marked(mark), signal.SIGTERM)
    deadline = time.monotonic() + grace
    while remaining := marked(mark):
        if time.monotonic() > deadline:
            _signal_all(remaining, signal.SIGKILL)
        time.sleep(0.05)


def end_all(grace: float) -> None:
    """Let no process start any more, and end all of this cloud's processes as ``end_marked`` does."""
    with _starts:
        _ending.set()
    end_marked(mark_of(), grace)


def kill_marked(mark: str) -> None:
    """Send SIGKILL to every process with this mark, without waiting for its end."""
    _signal_all(marked(mark), signal.SIGKILL)


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def start_guard() -> None:
    """Start the guard process. This process keeps the pipe's write end open until it ends."""
    reader, writer = os.pipe()
    subprocess.Popen(
        [sys.executable, "-E", "-S", __file__, CLOUD],
        stdin=reader,
        start_new_session=True,  # Ctrl-C on the terminal must reach the cloud only.
    )
    os.close(reader)
    os.set_inheritable(writer, False)


def num_cores() -> int:
    """Return the number of cores that the cloud may use; macOS tells only how many the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_port() -> int:
    """Return a port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _guard(cloud: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):  # It returns b"" when the cloud's end of the pipe closes.
        pass
    end_marked(f"{cloud}/", grace=3.0)


if __name__ == "__main__":
    _guard(sys.argv[1])
