"""What SageMaker starts on every host of the training job: starts this host's ranks and says why they failed.

Reads only ``<root>/input/config/*.json`` and its own place, ``<root>/input/data/code/training/launch.py``,
so ``<root>`` is ``/opt/ml`` in a container and any folder on a laptop. The hosts meet at the first one's name,
unless MASTER_ADDR and MASTER_PORT say where: hosts that are processes of one machine have no names. It sets the
variables that torchrun would set and starts one ``python -m training.train`` per GPU (or one). torchrun itself
is not used: of its services we need only these variables and the watching below, and importing it costs every
host two seconds.

Standard library only, so that a mistake is reported before torch is loaded.
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
GRACE_SECONDS = 10  # between SIGTERM and SIGKILL for ranks that must end; SageMaker itself gives 120
PEER_LOST = 75  # exit code of a rank that lost another
# After which a host says so: the job's reason is that of the host that fails first, and should be the lost one's. Nor
# is a spot instance that is taken away a failure, if SageMaker notices that before the others' failures.
YIELD_SECONDS = 30
RESOLVE_SECONDS = 600  # for the first host's name: hosts start minutes apart, and SageMaker names them late
# Of the SageMaker toolkit and of a torchrun around us; the latter's store would be taken for ours.
_FOREIGN = ("SM_", "TORCHELASTIC_")
_LOSSES = (PEER_LOST, -signal.SIGABRT)  # by the latter NCCL's watchdog ends a rank that lost another
_HINTS = {
    signal.SIGABRT: "; on GPUs a rank ends so that lost another, whose log then says why",
    signal.SIGBUS: "; the disk or the shared memory may be full",
    signal.SIGKILL: "; the host may be out of memory",
}
_FAILURE_LIMIT = 1024  # characters of the failure file that SageMaker shows


class LaunchError(RuntimeError):
    """The job cannot start; the message says what is missing and where."""


class Host:
    """This host's part of the job, as SageMaker's configuration files describe it."""

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
        """The training program with this host's folders and the job's hyperparameters."""
        return [
            *(sys.executable, "-m", "training.train"),
            *("--data", str(self._channel("dataset"))),
            *("--weights", str(self.weights)),
            *("--model-dir", str(self.root / "model")),
            *("--checkpoint-dir", str(self.root / "checkpoints")),
            *("--hyperparameters", json.dumps(self.hyperparameters)),
        ]

    def environment(self, local_rank: int, num_local: int) -> dict[str, str]:
        """The variables of one rank: those that torchrun would set, over the host's own."""
        inherited = os.environ.get("PYTHONPATH")
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)},
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
    """The processes of this host: when one fails, or we are told to stop, none stays."""

    def __init__(self, host: Host, num_local: int) -> None:
        self._host, self._stopped_by, self._stopping = host, "", threading.Event()
        self._processes = [
            subprocess.Popen(
                host.command(),
                cwd=host.code,  # python -m looks there first
                env=host.environment(rank, num_local),
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            for rank in range(num_local)
        ]
        self._last_words = [deque[str](maxlen=1) for _ in self._processes]
        self._readers = [
            threading.Thread(target=self._relay, args=pair, daemon=True)
            for pair in zip(self._processes, self._last_words, strict=True)
        ]
        for reader in self._readers:
            reader.start()

    def stop(self, signum: int, _frame: FrameType | None) -> None:
        """Hand the signal's wish on; the ranks end at once, and their last checkpoint is whole at any time."""
        self._stopped_by = signal.Signals(signum).name
        self._stopping.set()
        self._terminate()

    def _terminate(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()

    def wait(self) -> tuple[int, str]:
        """Until all ranks ended well (0, ""), or the first failed: its exit code and the reason."""
        while True:
            codes = [process.poll() for process in self._processes]
            failed = [rank for rank, code in enumerate(codes) if code]
            if failed:
                first = min(failed, key=lambda rank: codes[rank] in _LOSSES)
                self._end_the_rest()
                if codes[first] in _LOSSES:
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
            return 128 + signal.Signals[self._stopped_by], f"training: stopped by {self._stopped_by} before its end"
        name = f"rank {self._host.rank * len(self._processes) + rank} on {self._host.name}"
        if code < 0:
            killer = signal.Signals(-code)
            return 128 - code, f"training: {name} was killed by {killer.name}{_HINTS.get(killer, '')}"
        return code, (self._last_words[rank] or [f"training: {name} ended with exit code {code}"])[0]

    @staticmethod
    def _relay(process: "subprocess.Popen[str]", last_words: "deque[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            sys.stderr.flush()
            if line.strip():
                last_words.append(line.strip())


def _host_number(name: str) -> tuple[int, str]:
    """Order of ``algo-1`` … ``algo-10``: by number, so that algo-1 is rank 0 and algo-10 the last."""
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else 0, name)


def await_name(name: str, seconds: float = RESOLVE_SECONDS) -> None:
    """Wait until a host's name resolves.

    Raises:
        LaunchError: it does not within so many seconds.
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
                    "the hosts cannot meet"
                ) from error
        time.sleep(1)


def num_gpus() -> int:
    """GPUs of this host, without loading torch for it; 0 where there is no driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return len(listed.stdout.splitlines())


def write_failure(root: Path, reason: str) -> None:
    """Leave the reason where SageMaker reads it (``FailureReason`` of the job)."""
    try:
        (root / "output").mkdir(parents=True, exist_ok=True)
        (root / "output" / "failure").write_text(reason[:_FAILURE_LIMIT])
    except OSError as error:
        print(f"launcher: cannot write the failure file ({error})", file=sys.stderr)


def main() -> int:
    """Run this host's ranks to their end; the exit code is that of the first that failed."""
    root = Path(__file__).resolve().parents[4]
    try:
        host = Host(root)
        if len(host.hosts) > 1:
            await_name(host.master_address)
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
