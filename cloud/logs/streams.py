"""What processes print, into CloudWatch Logs; called from worker threads only."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from cloud.core import emulator
from cloud.iam import authorization, permissions
from cloud.iam.permissions import Permission, Place

log = logging.getLogger("kennel.telemetry")

MAX_LINE = 256 * 1024 - 26  # CloudWatch's limit of one event
_MAX_BATCH = 5000


class LogStream:
    """Lines of one process: to a file at once, to CloudWatch Logs at each ``flush`` if its role may.

    Attributes:
        last_line: the last line that was not blank, for failure reasons.
    """

    def __init__(self, group: str, stream: str, file: Path, caller: str) -> None:
        """Args:
        file: on this machine; gets every line, whatever the role may.
        caller: access key of who writes the log.
        """
        self._target = {"logGroupName": group, "logStreamName": stream}
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("a", encoding="utf-8")
        self._pending: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.last_line = ""
        self._delivers = _open(self._target, caller)

    def write(self, line: str) -> None:
        """Take one line, without its end."""
        self._file.write(f"{line}\n")
        self._file.flush()
        if line.strip():
            self.last_line = line.strip()
            if not self._delivers:
                return
            with self._lock:
                self._pending.append({"timestamp": int(time.time() * 1000), "message": line[:MAX_LINE]})

    def flush(self) -> None:
        """Hand the pending lines to CloudWatch Logs."""
        with self._lock:
            pending, self._pending = self._pending, []
        for start in range(0, len(pending), _MAX_BATCH):
            batch = {**self._target, "logEvents": pending[start : start + _MAX_BATCH]}
            deliver("logs", "Logs_20140328.PutLogEvents", batch)

    def close(self) -> None:
        """Flush and close the file."""
        self.flush()
        self._file.close()


def pump(pipe: IO[bytes], *takers: Callable[[str], None]) -> threading.Thread:
    """Give each line of a pipe to every taker, on a thread of its own that ends with the pipe."""

    def run() -> None:
        with pipe:
            for raw in pipe:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                for take in takers:
                    take(line)

    return emulator.spawn_thread(run, name="log-pump")


def _open(target: Mapping[str, str], caller: str) -> bool:
    """Make a log stream, and its group if there is none; whether the caller may write to it."""
    group, place = target["logGroupName"], Place(*emulator.scope())
    if not may(caller, *permissions.log_stream(group, target["logStreamName"], place)):
        return False
    try:
        emulator.call_json("logs", "Logs_20140328.CreateLogStream", target)
    except emulator.CallError as error:
        if "ResourceNotFoundException" not in str(error):
            return "ResourceAlreadyExistsException" in str(error)
        if not may(caller, permissions.log_group(group, place)):
            return False
        with contextlib.suppress(emulator.CallError):  # another stream's may have made it meanwhile
            emulator.call_json("logs", "Logs_20140328.CreateLogGroup", {"logGroupName": group})
        deliver("logs", "Logs_20140328.CreateLogStream", target)
    return True


def may(caller: str, *needed: Permission) -> bool:
    """Whether the caller has the permissions; a refusal is logged."""
    try:
        authorization.authorize(caller, needed)
    except authorization.DeniedError as error:
        log.info("%s", error)  # authorizations.jsonl has it; the job itself goes on
        return False
    return True


def deliver(service: str, target: str, request: Mapping[str, Any]) -> None:
    """Call an operation of a JSON service; a refusal is logged and nothing more."""
    # Telemetry that cannot be delivered must not end a job.
    try:
        emulator.call_json(service, target, request)
    except emulator.CallError as error:
        log.warning("%s", error)
