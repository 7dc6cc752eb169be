"""Child processes, and how none of them outlives the cloud.

Every child carries a mark in its environment, which its own children inherit: a tree is found by
its mark even where a launcher (torchrun does) puts workers into sessions of their own, or died
before them. A guard process holds the read end of a pipe whose write end dies with the cloud,
however that ends; it then ends everything marked. The guard is this very file run as a script, so
it imports the standard library only.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

MARK = "KENNEL_PROCESS"
GRACE_SECONDS = 10.0
CLOUD = f"cloud-{os.getpid()}-{time.time_ns():x}"


def mark_of(*parts: str) -> str:
    """The mark of one tree of this cloud, for example ``cloud-17-c0ffee/job/algo-1/``."""
    return "/".join((CLOUD, *parts, ""))


def clean_environment(scratch: Path) -> dict[str, str]:
    """What a job's process starts with: nothing of the user's but PATH, HOME and the locale."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    scratch.mkdir(parents=True, exist_ok=True)
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "TMPDIR": str(scratch),
        "PYTHONUNBUFFERED": "1",  # lines must be seen when they are written, as on a terminal
        "CI": "true",  # else openvino-telemetry, which the images lack, reports each import of OpenVINO to its makers
    }


def spawn(command: Sequence[str], environment: Mapping[str, str], mark: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process group whose stdout and stderr come through one pipe."""
    return subprocess.Popen(
        command,
        env={**environment, MARK: mark},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process started by ``spawn`` and to its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def marked(mark: str) -> list[int]:
    """Ids of the live processes whose mark starts so, but for this one."""
    wanted = f"{MARK}={mark}".encode()
    found = _marked_in_proc(wanted) if os.path.isdir("/proc/self") else _marked_by_ps(wanted)
    return [pid for pid in found if pid != os.getpid()]


def _marked_in_proc(wanted: bytes) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                environment = Path("/proc", entry, "environ").read_bytes()
            except OSError:
                continue  # gone, or somebody else's
            if any(pair.startswith(wanted) for pair in environment.split(b"\0")):
                found.append(int(entry))
    return found


def _marked_by_ps(wanted: bytes) -> list[int]:
    # The environment is shown by e after the options on Linux, by -E on macOS.
    everything = "-axEww" if sys.platform == "darwin" else "axeww"
    command = ["ps", everything, "-o", "pid=", "-o", "command="]
    listing = subprocess.run(command, capture_output=True, check=False).stdout
    return [int(line.split(None, 1)[0]) for line in listing.splitlines() if wanted in line]


def end_marked(mark: str, grace: float = GRACE_SECONDS) -> None:
    """End every process so marked: SIGTERM, and SIGKILL to what is left after ``grace`` seconds."""
    _signal_all(marked(mark), signal.SIGTERM)
    deadline = time.monotonic() + grace
    while left := marked(mark):
        if time.monotonic() > deadline:
            _signal_all(left, signal.SIGKILL)
        time.sleep(0.05)


def kill_marked(mark: str) -> None:
    """SIGKILL to every process so marked, without waiting."""
    _signal_all(marked(mark), signal.SIGKILL)


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def start_guard() -> None:
    """Start the guard. The pipe's write end stays open in this process until it is gone."""
    reader, writer = os.pipe()
    subprocess.Popen(
        [sys.executable, "-E", "-S", __file__, CLOUD],
        stdin=reader,
        start_new_session=True,  # Ctrl-C on the terminal is for the cloud alone
    )
    os.close(reader)
    os.set_inheritable(writer, False)


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _guard(cloud: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    end_marked(f"{cloud}/", grace=3.0)


if __name__ == "__main__":
    _guard(sys.argv[1])
