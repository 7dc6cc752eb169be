"""Starting our server and the peers', and reading their CPU time and memory. It needs Linux's /proc."""

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import closed_loop
from cloud.core.processes import free_port
from local.home import HOME, ROOT, LocalError

_DEADLINE_SECONDS = 60
_STOP_SECONDS = 25
_POLL_SECONDS = 0.005
_WARM_UP_SECONDS = 1.0
_REQUIREMENTS = ROOT / "benchmarks/peers/requirements.txt"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Question:
    """A photo, its media type, and the class that the model must name."""

    photo: bytes
    content_type: str
    answer: str


@dataclass(frozen=True)
class System:
    """A server that can be started.

    Attributes:
        name: Name in the report.
        variant: Name of the variant; empty if there is only one.
        command: Command line, with ``{port}`` in place of the port.
        environment: Environment variables.
        path: Path that takes photos.
        eager: Whether it computes in eager PyTorch.
    """

    name: str
    variant: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    path: str = "/invocations"
    eager: bool = False


@dataclass(frozen=True)
class RunningServer:
    """A running server. Its process leads a session, to which all its processes belong."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of its processes, in user and kernel mode, ended child processes included."""
        return sum(sum(map(int, stat[11:15])) for _, stat in self._processes()) / _TICKS

    def resident_bytes(self, field: str = "VmRSS") -> int:
        """Return the memory of its processes. Files that they share count once.

        Args:
            field: ``VmRSS`` for the present memory, or ``VmHWM`` for the peaks of its processes together.
        """
        statuses = [sizes(Path(f"/proc/{pid}/status").read_text()) for pid, _ in self._processes()]
        if len(statuses) == 1 or field == "VmHWM":
            return sum(status[field] for status in statuses)
        return sum(status["RssAnon"] for status in statuses) + max(
            status["RssFile"] + status["RssShmem"] for status in statuses
        )

    def _processes(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the id of each process of the session, and the fields of its /proc/ID/stat from the state on."""
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):  # The process may have ended meanwhile.
                    fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == self.process.pid:
                        yield int(entry), fields


def our_server(model: Path, environment: Mapping[str, str] | None = None) -> System:
    """Return our server with the artifact in a folder."""
    command = ("-m", "serving", "serve", "--host", "127.0.0.1", "--port", "{port}", "--model-dir", str(model))
    return System("ours", "", (sys.executable, *command), {"PYTHONPATH": str(ROOT), **(environment or {})})


def peer_servers(model: Path, environment: Mapping[str, str] | None = None) -> dict[str, list[System]]:
    """Return each peer's variants, by its name. ``model`` is the folder of the peers' model."""
    python = str(_peer_python())
    variables = {"PYTHONPATH": str(ROOT), "PEER_MODEL": str(model), "CI": "true", **(environment or {})}

    def fastapi(name: str, app: str, eager: bool) -> list[System]:
        command = (python, "-m", "uvicorn", f"benchmarks.peers.{app}:app", "--port", "{port}", "--no-access-log")
        return [
            System(name, "def", command, variables, eager=eager),
            System(name, "async def", command, variables, "/invocations-async", eager),
        ]

    def litserve(workers: int, batch: int) -> System:
        options = ("--port", "{port}", "--workers", str(workers), "--batch", str(batch))
        command = (python, "-m", "benchmarks.peers.litserve_eager", *options)
        return System("LitServe, eager PyTorch", f"workers={workers} batch={batch}", command, variables, eager=True)

    systems = [
        *fastapi("FastAPI, eager PyTorch", "fastapi_eager", eager=True),
        *(litserve(workers, batch) for workers in (1, 2) for batch in (1, 4)),
        *fastapi("FastAPI, OpenVINO", "fastapi_openvino", eager=False),
    ]
    return {
        name: [system for system in systems if system.name == name] for name in dict.fromkeys(s.name for s in systems)
    }


@contextmanager
def started(system: System, question: Question) -> Iterator[RunningServer]:
    """Start a server, and yield it after its first correct answer.

    Raises:
        LocalError: It ended, or did not answer correctly in time. The message has the end of its log.
    """
    with launched(system) as server:
        try:
            await_answer(server.port, question, system.path, server.process)
        except LocalError as error:
            raise LocalError(f"{system.name}: {error}:\n{server.log.read_text()[-1000:]}") from error
        yield server


@contextmanager
def warmed_up(system: System, question: Question, requests: Sequence[bytes]) -> Iterator[RunningServer]:
    """Start a server, and yield it after a second under load, because it will be measured under load."""
    with started(system, question) as server:
        closed_loop(server.port, requests, _WARM_UP_SECONDS)
        yield server


@contextmanager
def launched(system: System, folder: Path = ROOT, inherited: Mapping[str, str] = os.environ) -> Iterator[RunningServer]:
    """Start a server, yield it at once, although it does not listen yet, and end it afterwards.

    Args:
        system: The server.
        folder: Its working directory.
        inherited: Environment variables in addition to the system's own.
    """
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in system.command]
    with tempfile.NamedTemporaryFile(prefix="kennel-", suffix=".log") as log:
        process = subprocess.Popen(
            command,
            env={**inherited, **system.environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield RunningServer(port, process, Path(log.name))
        finally:
            _end(process)


def await_answer(
    port: int, question: Question, path: str = "/invocations", process: "subprocess.Popen[bytes] | None" = None
) -> None:
    """Send a photo again and again until the answer is correct.

    Raises:
        LocalError: The process ended, or there was no correct answer within a minute.
    """
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while ask(port, question, path) != question.answer:
        if process is not None and process.poll() is not None:
            raise LocalError("the server ended before it answered")
        if time.monotonic() > deadline:
            raise LocalError(f"the server did not name {question.answer} within {_DEADLINE_SECONDS} s of its start")
        time.sleep(_POLL_SECONDS)


def ask(port: int, question: Question, path: str = "/invocations") -> str:
    """Send a photo, and return the class that the server names; empty if the server does not listen yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_DEADLINE_SECONDS)
    try:
        connection.request("POST", path, question.photo, {"Content-Type": question.content_type})
        return str(json.load(connection.getresponse()).get("class", ""))
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def sizes(status: str) -> dict[str, int]:
    """Return the sizes of a /proc/ID/status, in bytes."""
    fields = (line.partition(":") for line in status.splitlines())
    return {name: 1024 * int(rest.split()[0]) for name, _, rest in fields if "kB" in rest}


def run(*command: str) -> str:
    """Run a command, and return its output.

    Raises:
        LocalError: The command failed.
    """
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise LocalError(f"{' '.join(command[:4])} … failed: {process.stderr.strip()[-500:]}")
    return process.stdout


def print_progress(line: str) -> None:
    """Print a line of progress on stderr, because stdout is for the JSON."""
    print(line, file=sys.stderr, flush=True)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the whole process group, which contains LitServe's workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _peer_python() -> Path:
    """Return the interpreter of the peers' own environment; make the environment if the requirements are new."""
    requirements = _REQUIREMENTS.read_text()
    folder = HOME / f"peers-{hashlib.sha256(requirements.encode()).hexdigest()[:12]}"
    python = folder / "bin/python"
    if not (folder / "complete").exists():
        print_progress(f"making the peers' environment in {folder} (a few minutes, once)")
        run(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = (str(python), "-m", "pip", "install", "--quiet")
        run(*pip, next(line for line in requirements.splitlines() if line.startswith("torch==")))
        run(*pip, "--requirement", str(_REQUIREMENTS))
        (folder / "complete").touch()
    return python
