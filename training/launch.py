"""The launcher: process 1 of the training image, which SageMaker starts on every host of a training job.

    python -m training.launch --root /opt/ml train

It starts this host's ranks, one ``python -m training.train`` per GPU, or one without GPUs, and reports why they failed.
SIGTERM goes on to the ranks, which write a checkpoint and end.
See "The launcher is process 1" in docs/decisions/training.md. With ``batch`` in place of ``train`` it is a job of AWS
Batch on one machine, whose folder ``training.batch`` fills from S3.

It reads only ``<root>/input/config/*.json`` and the input channels; ``<root>`` is ``/opt/ml`` in a container and any
folder elsewhere. The ranks connect to the first host by its name. Where hosts are processes of one machine and have no
names, MASTER_ADDR and MASTER_PORT give the address.

The launcher sets the variables that torchrun would set.
See "The launcher starts the ranks itself, without torchrun" in docs/decisions/training.md.

This module imports the standard library only, so that mistakes are reported before torch is loaded.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

DEFAULT_PORT = "29500"
CHANNELS = ("dataset", "weights")
OBJECTIVE = "_tuning_objective_metric"  # the hyperparameter by which a tuning job names its objective
CANDIDATE = "candidate"  # the hyperparameter with which the state machine trains the best trials again
CODE = Path(__file__).resolve().parents[1]  # the folder that contains the packages ``training`` and ``dataset``
GRACE_SECONDS = 10  # between SIGTERM and SIGKILL for the remaining ranks, after one has failed
# The same after somebody stopped the launcher. SageMaker gives 120 seconds, of which some are left to report the end.
STOP_SECONDS = 100
STOPPED_EXIT_CODE = 128 + signal.SIGTERM  # A rank that stopped on SIGTERM, with a checkpoint, exits with it.
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
        self.hyperparameters, self.is_trial = _own(self._config("hyperparameters.json"))
        try:
            self.name, self.hosts = resources["current_host"], sorted(resources["hosts"], key=_host_number)
            self.rank = self.hosts.index(self.name)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LaunchError(f"launcher: resourceconfig.json names no current_host among hosts ({error})") from error
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
        chosen = str(self.hyperparameters.get("backbone", "")).strip('" ') + ".pth"
        is_choice = "tune" in self.hyperparameters or chosen in [file.name for file in files]
        if len(files) != 1 and not (files and is_choice):
            raise LaunchError(
                f"launcher: channel 'weights' holds {len(files)} files; it must hold one, the backbone's weights"
            )
        # A search among several backbones has a file for each, by its name.
        self.weights = files[0] if len(files) == 1 else self._channel("weights")

    def command(self) -> list[str]:
        """Return the command of the training program, with this host's folders and the job's hyperparameters."""
        return [
            *(sys.executable, "-m", "training.train"),
            *("--data", str(self._channel("dataset"))),
            *("--weights", str(self.weights)),
            *("--model-dir", str(self.root / "model")),
            *("--checkpoint-dir", str(self._checkpoints)),
            *("--hyperparameters", json.dumps(self.hyperparameters)),
        ]

    def environment(self, local_rank: int, num_local: int) -> dict[str, str]:
        """Return the environment of one rank: the host's variables, overridden by those that torchrun would set."""
        inherited = os.environ.get("PYTHONPATH")
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)},
            "PYTHONPATH": os.pathsep.join([str(CODE), *([inherited] if inherited else [])]),
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

    @property
    def _checkpoints(self) -> Path:
        """The folder of the checkpoints. The training jobs of a tuning job share a place in S3, so each has its own."""
        folder = self.root / "checkpoints"
        return folder / os.environ.get("TRAINING_JOB_NAME", "trial") if self.is_trial else folder

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


def _own(delivered: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the hyperparameters of the training program, and whether a tuning job starts this training.

    A tuning job adds the name of its objective. When the best trials are trained again, each of them is one category
    of the hyperparameter ``candidate``: the others as JSON. Those that are too long for a category are a
    hyperparameter ``candidate_N`` of their own, which the category names.

    Args:
        delivered: what SageMaker delivers.

    Raises:
        LaunchError: the candidate is no JSON object.
    """
    own = {
        name: value
        for name, value in delivered.items()
        if name not in (OBJECTIVE, CANDIDATE) and not name.startswith(f"{CANDIDATE}_")
    }
    candidate = _object(delivered, CANDIDATE) if CANDIDATE in delivered else {}
    if "of" in candidate:
        candidate |= _object(delivered, str(candidate.pop("of")))
    return own | {name: str(value) for name, value in candidate.items()}, OBJECTIVE in delivered


def _object(delivered: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        value = json.loads(delivered.get(name, ""))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise LaunchError(f"launcher: hyperparameter {name} is no JSON object: {delivered.get(name, 'it is missing')}")
    return value


class StopSignal:
    """A signal that asks this host to stop. Its handler does nothing but note it, because it may interrupt anything.

    Attributes:
        name: the signal's name; empty as long as there was none.
    """

    def __init__(self) -> None:
        self.name = ""

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """Note the signal."""
        self.name = signal.Signals(signum).name

    def wait(self, seconds: float) -> None:
        """Wait some seconds, or until there was a signal."""
        deadline = time.monotonic() + seconds
        while not self.name and time.monotonic() < deadline:
            time.sleep(0.1)


class Ranks:
    """The ranks of this host; when one fails, or a signal stops the launcher, all end.

    Args:
        host: this host's part of the job.
        num_local: ranks to start.
        stop: the signal that ends them.
    """

    def __init__(self, host: HostConfig, num_local: int, stop: StopSignal) -> None:
        self._host, self._stop = host, stop
        self._processes = [
            subprocess.Popen(
                host.command(),
                cwd=CODE,  # ``python -m`` searches this folder first.
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

    def _terminate(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()

    def wait(self) -> tuple[int, str]:
        """Wait until all ranks have succeeded or one has failed, and end the rest.

        Returns:
            The exit code and the reason of the rank that failed first; 0 and "" if all succeeded.
        """
        kill_at = 0.0
        while True:
            codes = [process.poll() for process in self._processes]
            failed = [rank for rank, code in enumerate(codes) if code]
            if failed:
                # A rank that failed by itself comes before ranks that lost another.
                first = min(failed, key=lambda rank: codes[rank] in _PEER_LOST_CODES)
                self._end_the_rest()
                if codes[first] in _PEER_LOST_CODES:
                    self._stop.wait(YIELD_SECONDS)
                return self._reason(first)
            if all(code == 0 for code in codes):
                return 0, ""
            if self._stop.name and not kill_at:
                self._terminate()
                kill_at = time.monotonic() + STOP_SECONDS
            elif kill_at and time.monotonic() >= kill_at:
                self._kill()
            if os.getpid() == 1:
                reap_orphans({process.pid for process in self._processes})
            time.sleep(0.1)

    def _kill(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()

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
        if self._stop.name:
            return 128 + signal.Signals[self._stop.name], f"training: stopped by {self._stop.name} before it finished"
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


def reap_orphans(own: Collection[int]) -> None:
    """Collect processes that have ended and whose parents ended before them, which only process 1 can do.

    Args:
        own: ids of this process's own children, which it collects itself.
    """
    with suppress(ChildProcessError):  # It has no children at all.
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in own:
            os.waitpid(ended.si_pid, 0)


def wait_for_name(name: str, stop: StopSignal, seconds: float = RESOLVE_SECONDS) -> None:
    """Wait until a host's name resolves.

    Args:
        name: the host's name.
        stop: the signal that ends the wait.
        seconds: the timeout.

    Raises:
        LaunchError: the name did not resolve in time, or the signal came.
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
        stop.wait(1)
        if stop.name:
            raise LaunchError(f"launcher: stopped by {stop.name} while it waited for the name of host {name}")


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run this host's ranks to their end.

    Args:
        arguments: the command line's arguments; None reads those of the process.

    Returns:
        The exit code of the rank that failed first, otherwise 0.
    """
    parser = argparse.ArgumentParser(prog="python -m training.launch")
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="SageMaker's folder (default: %(default)s)")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["train", "batch"],
        help="train: what SageMaker starts images with; batch: fill the folder from S3 and bring the results back",
    )
    options = parser.parse_args(arguments)
    root: Path = options.root.resolve()
    # Without handlers of its own, process 1 ignores these signals.
    stop = StopSignal()
    signal.signal(signal.SIGTERM, stop.handle)
    signal.signal(signal.SIGINT, stop.handle)
    if options.command == "batch":
        from training import batch  # It needs boto3, which nothing else here does.

        return batch.run(root, stop)
    return run(root, stop, max(1, num_gpus()))


def run(root: Path, stop: StopSignal, num_local: int) -> int:
    """Run this host's ranks to their end, and write the failure file if they fail.

    Args:
        root: the folder that SageMaker calls ``/opt/ml``.
        stop: the signal that ends them.
        num_local: ranks to start on this host.

    Returns:
        The exit code of the rank that failed first, otherwise 0.
    """
    try:
        host = HostConfig(root)
        # SageMaker's clients show a job's log only once every host has written a line.
        print(f"launcher: this is host {host.name}, {host.rank + 1} of {len(host.hosts)}", flush=True)
        if len(host.hosts) > 1:
            wait_for_name(host.master_address, stop)
    except LaunchError as error:
        print(error, file=sys.stderr)
        write_failure(root, str(error))
        return 1
    code, reason = Ranks(host, num_local, stop).wait()
    if code:
        write_failure(root, reason)
    return code


if __name__ == "__main__":
    sys.exit(main())
