"""The launcher that SageMaker starts on every host of the training job.

    python3 /opt/ml/input/data/code/training/launch.py

It starts this host's ranks, one ``python -m training.train`` per GPU, or one without GPUs, and reports why they failed.

It reads only ``<root>/input/config/*.json`` and the input channels. It finds ``<root>`` from its own location,
``<root>/input/data/code/training/launch.py``, so ``<root>`` is ``/opt/ml`` in a container and any folder on a laptop.
The ranks connect to the first host by its name. On a laptop, hosts are processes of one machine and have no names;
there MASTER_ADDR and MASTER_PORT give the address.

The launcher sets the variables that torchrun would set.
See "The launcher starts the ranks itself, without torchrun" in docs/decisions/training.md.

This module imports the standard library only, so that mistakes are reported before torch is loaded.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any

DEFAULT_PORT = "29500"
CHANNELS = ("code", "dataset", "weights")
GRACE_SECONDS = 10  # between SIGTERM and SIGKILL for the remaining ranks; SageMaker itself gives 120
PEER_LOST_EXIT_CODE = 75  # A rank that lost another rank exits with it.
# A host whose rank lost another waits this long before it fails, so that the host of the lost rank fails first. Also,
# SageMaker then notices first if a spot instance was taken away, and does not count that as a failure.
# See "A lost rank is named by the host that lost it" in docs/decisions/training.md.
YIELD_SECONDS = 30
# Time until the first host's name must resolve: hosts start minutes apart, and SageMaker names them late.
RESOLVE_SECONDS = 600
# Variables that ranks must not inherit, from the SageMaker toolkit and from a torchrun around this process. Torch would
# use the store of that torchrun.
_FOREIGN_PREFIXES = ("SM_", "TORCHELASTIC_")
# Exit codes of a rank that lost another rank. Under NCCL, torch's watchdog then aborts the process.
_PEER_LOST_CODES = (PEER_LOST_EXIT_CODE, -signal.SIGABRT)
_HINTS = {
    signal.SIGABRT: "; on GPUs this happens when another rank was lost, whose log says why",
    signal.SIGBUS: "; the disk or the shared memory may be full",
    signal.SIGKILL: "; the host may be out of memory",
}
_FAILURE_LIMIT = 1024  # SageMaker shows this many characters of the failure file.


class LaunchError(RuntimeError):
    """The job cannot start; the message says what is missing and where."""


class HostConfig:
    """This host's part of the job, from SageMaker's configuration files.

    Args:
        root: the folder that SageMaker calls ``/opt/ml``.

    Raises:
        LaunchError: a file or a channel is missing or unusable.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        resources = self._config("resourceconfig.json")
        self.hyperparameters = self._config("hyperparameters.json")
        try:
            self.name, self.hosts = resources["current_host"], sorted(resources["hosts"], key=_host_number)
            self.rank = self.hosts.index(self.name)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LaunchError(f"launcher: resourceconfig.json names no current_host among hosts ({error})") from error
        self.code = self._channel("code")
        self.interface: str = resources.get("network_interface_name", "")
        self.master_address = os.environ.get("MASTER_ADDR", self.hosts[0])
        self.master_port = os.environ.get("MASTER_PORT", DEFAULT_PORT)
        for channel in CHANNELS:
            if not self._channel(channel).is_dir():
                raise LaunchError(
                    f"launcher: no channel '{channel}' in {self._channel(channel)}; "
                    f"give the training job the input channels {' and '.join(CHANNELS)}"
                )
        files = sorted(self._channel("weights").iterdir())
        if len(files) != 1:
            raise LaunchError(
                f"launcher: channel 'weights' holds {len(files)} files; it must hold one, the backbone's weights"
            )
        self.weights = files[0]

    def command(self) -> list[str]:
        """Return the command of the training program, with this host's folders and the job's hyperparameters."""
        return [
            *(sys.executable, "-m", "training.train"),
            *("--data", str(self._channel("dataset"))),
            *("--weights", str(self.weights)),
            *("--model-dir", str(self.root / "model")),
            *("--checkpoint-dir", str(self.root / "checkpoints")),
            *("--hyperparameters", json.dumps(self.hyperparameters)),
        ]

    def environment(self, local_rank: int, num_local: int) -> dict[str, str]:
        """Return the environment of one rank: the host's variables, overridden by those that torchrun would set."""
        inherited = os.environ.get("PYTHONPATH")
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)},
            "PYTHONPATH": os.pathsep.join([str(self.code), *([inherited] if inherited else [])]),
            "PYTHONUNBUFFERED": "1",
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": self.master_port,
            "RANK": str(self.rank * num_local + local_rank),
            "WORLD_SIZE": str(len(self.hosts) * num_local),
            "LOCAL_RANK": str(local_rank),
            "LOCAL_WORLD_SIZE": str(num_local),
            "HOST_NAME": self.name,
        }
        if self.interface:
            variables |= {"GLOO_SOCKET_IFNAME": self.interface, "NCCL_SOCKET_IFNAME": self.interface}
        return variables

    def _channel(self, name: str) -> Path:
        return self.root / "input" / "data" / name

    def _config(self, name: str) -> dict[str, Any]:
        path = self.root / "input" / "config" / name
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise LaunchError(f"launcher: cannot read {path} ({error})") from error
        if not isinstance(document, dict):
            raise LaunchError(f"launcher: {path} holds no JSON object")
        return document


class Ranks:
    """The ranks of this host; when one fails, or a signal stops the launcher, all end.

    Args:
        host: this host's part of the job.
        num_local: ranks to start.
    """

    def __init__(self, host: HostConfig, num_local: int) -> None:
        self._host, self._stopped_by, self._stopping = host, "", threading.Event()
        self._processes = [
            subprocess.Popen(
                host.command(),
                cwd=host.code,  # ``python -m`` searches this folder first.
                env=host.environment(rank, num_local),
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            for rank in range(num_local)
        ]
        self._last_lines = [deque[str](maxlen=1) for _ in self._processes]
        self._readers = [
            threading.Thread(target=self._relay, args=pair, daemon=True)
            for pair in zip(self._processes, self._last_lines, strict=True)
        ]
        for reader in self._readers:
            reader.start()

    def stop(self, signum: int, _frame: FrameType | None) -> None:
        """Handle a signal: terminate the ranks, which end at once; their last checkpoint is always complete."""
        self._stopped_by = signal.Signals(signum).name
        self._stopping.set()
        self._terminate()

    def _terminate(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()

    def wait(self) -> tuple[int, str]:
        """Wait until all ranks have succeeded or one has failed, and end the rest.

        Returns:
            The exit code and the reason of the rank that failed first; 0 and "" if all succeeded.
        """
        while True:
            codes = [process.poll() for process in self._processes]
            failed = [rank for rank, code in enumerate(codes) if code]
            if failed:
                # A rank that failed by itself comes before ranks that lost another.
                first = min(failed, key=lambda rank: codes[rank] in _PEER_LOST_CODES)
                self._end_the_rest()
                if codes[first] in _PEER_LOST_CODES:
                    self._stopping.wait(YIELD_SECONDS)
                return self._reason(first)
            if all(code == 0 for code in codes):
                return 0, ""
            time.sleep(0.1)

    def _end_the_rest(self) -> None:
        self._terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _reason(self, rank: int) -> tuple[int, str]:
        self._readers[rank].join(timeout=5)
        code = self._processes[rank].returncode
        if self._stopped_by:
            return 128 + signal.Signals[self._stopped_by], f"training: stopped by {self._stopped_by} before it finished"
        name = f"rank {self._host.rank * len(self._processes) + rank} on {self._host.name}"
        if code < 0:
            signum = signal.Signals(-code)
            return 128 - code, f"training: {name} was killed by {signum.name}{_HINTS.get(signum, '')}"
        return code, (self._last_lines[rank] or [f"training: {name} ended with exit code {code}"])[0]

    @staticmethod
    def _relay(process: "subprocess.Popen[str]", last_line: "deque[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            sys.stderr.flush()
            if line.strip():
                last_line.append(line.strip())


def _host_number(name: str) -> tuple[int, str]:
    """Return a sort key that orders ``algo-2`` before ``algo-10``."""
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else 0, name)


def wait_for_name(name: str, seconds: float = RESOLVE_SECONDS) -> None:
    """Wait until a host's name resolves.

    Args:
        name: the host's name.
        seconds: the timeout.

    Raises:
        LaunchError: the name did not resolve in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.getaddrinfo(name, None)
            return
        except socket.gaierror as error:
            if time.monotonic() >= deadline:
                raise LaunchError(
                    f"launcher: the name of host {name} did not resolve within {seconds:g} s ({error.strerror}); "
                    "the hosts cannot connect"
                ) from error
        time.sleep(1)


def num_gpus() -> int:
    """Return the number of GPUs of this host, without loading torch; 0 without a driver."""
    try:
        gpus = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return len(gpus.stdout.splitlines())


def write_failure(root: Path, reason: str) -> None:
    """Write the reason into the file that becomes the job's ``FailureReason``."""
    try:
        (root / "output").mkdir(parents=True, exist_ok=True)
        (root / "output" / "failure").write_text(reason[:_FAILURE_LIMIT])
    except OSError as error:
        print(f"launcher: cannot write the failure file ({error})", file=sys.stderr)


def main() -> int:
    """Run this host's ranks to their end.

    Returns:
        The exit code of the rank that failed first, otherwise 0.
    """
    root = Path(__file__).resolve().parents[4]
    try:
        host = HostConfig(root)
        if len(host.hosts) > 1:
            wait_for_name(host.master_address)
    except LaunchError as error:
        print(error, file=sys.stderr)
        write_failure(root, str(error))
        return 1
    ranks = Ranks(host, max(1, num_gpus()))
    signal.signal(signal.SIGTERM, ranks.stop)
    signal.signal(signal.SIGINT, ranks.stop)
    code, reason = ranks.wait()
    if code:
        write_failure(root, reason)
    return code


if __name__ == "__main__":
    sys.exit(main())
