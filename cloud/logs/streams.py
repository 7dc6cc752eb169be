"""Write the output of processes into CloudWatch Logs. Call these functions from worker threads only."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from cloud.core import emulator
from cloud.iam import authorization, permissions
from cloud.iam.permissions import Permission, RequestScope

log = logging.getLogger("kennel.telemetry")

MAX_LINE = 256 * 1024 - 26  # CloudWatch's limit for the message of one event, in bytes
_MAX_BATCH = 5000  # events in one PutLogEvents request


class LogStream:
    """The log of one process: each line goes to a file at once, and to CloudWatch Logs at the next ``flush``.

    The log stream is created with its first line, as on AWS.

    Attributes:
        last_line: The last line that was not blank; failure reasons quote it.
    """

    def __init__(self, group: str, stream: str, file: Path, caller: str) -> None:
        """Open the file.

        Args:
            group: Name of the log group.
            stream: Name of the log stream.
            file: File on this machine that receives every line, even if the caller may not write the log stream.
            caller: Access key of the caller that writes the log stream.
        """
        self._target = {"logGroupName": group, "logStreamName": stream}
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("a", encoding="utf-8")
        self._pending: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.last_line = ""
        self._caller = caller
        self._has_stream: bool | None = None  # None before the first line

    def write(self, line: str) -> None:
        """Write one line, given without its line end."""
        self._file.write(f"{line}\n")
        self._file.flush()
        if line.strip():
            self.last_line = line.strip()
            with self._lock:
                self._pending.append({"timestamp": int(time.time() * 1000), "message": line[:MAX_LINE]})

    def flush(self) -> None:
        """Send the pending lines to CloudWatch Logs."""
        with self._lock:
            pending, self._pending = self._pending, []
        if pending and self._has_stream is None:
            self._has_stream = _open(self._target, self._caller)
        if not self._has_stream:
            return
        for start in range(0, len(pending), _MAX_BATCH):
            batch = {**self._target, "logEvents": pending[start : start + _MAX_BATCH]}
            deliver("logs", "Logs_20140328.PutLogEvents", batch)

    def close(self) -> None:
        """Send the pending lines and close the file."""
        self.flush()
        self._file.close()


def pump(pipe: IO[bytes], *consumers: Callable[[str], None]) -> threading.Thread:
    """Start a thread that passes each line of a pipe to every consumer and ends when the pipe ends."""

    def run() -> None:
        with pipe:
            for raw in pipe:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                for consume in consumers:
                    consume(line)

    return emulator.spawn_thread(run, name="log-pump")


def _open(target: Mapping[str, str], caller: str) -> bool:
    """Create a log stream, and its group if there is none; return whether the caller may write to the stream."""
    group, scope = target["logGroupName"], RequestScope(*emulator.scope())
    if not is_allowed(caller, *permissions.log_stream(group, target["logStreamName"], scope)):
        return False
    try:
        emulator.call_json("logs", "Logs_20140328.CreateLogStream", target)
    except emulator.CallError as error:
        if "ResourceNotFoundException" not in str(error):
            return "ResourceAlreadyExistsException" in str(error)
        if not is_allowed(caller, permissions.log_group(group, scope)):
            return False
        with contextlib.suppress(emulator.CallError):  # Another stream's thread may have created the group meanwhile.
            emulator.call_json("logs", "Logs_20140328.CreateLogGroup", {"logGroupName": group})
        deliver("logs", "Logs_20140328.CreateLogStream", target)
    return True


def is_allowed(caller: str, *needed: Permission) -> bool:
    """Whether a caller has all permissions; a denial is logged.

    Args:
        caller: The caller's access key.
        needed: The permissions.
    """
    try:
        authorization.authorize(caller, needed)
    except authorization.DeniedError as error:
        log.info("%s", error)  # The job continues without its log. authorizations.jsonl contains the decision too.
        return False
    return True


def deliver(service: str, target: str, request: Mapping[str, Any]) -> None:
    """Call an operation of a service that speaks JSON; a refusal is only logged, because it must not end a job."""
    try:
        emulator.call_json(service, target, request)
    except emulator.CallError as error:
        log.warning("%s", error)
