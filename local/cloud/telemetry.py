"""What processes write, into CloudWatch Logs and Metrics, in process, from worker threads only."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from local.cloud import iam, ministack, permissions
from local.cloud.permissions import Permission, Place

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
            _tell("logs", "Logs_20140328.PutLogEvents", batch)

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

    return ministack.spawn_thread(run, name="log-pump")


def put_metrics(
    namespace: str, dimensions: Mapping[str, str], data: Sequence[Mapping[str, Any]], caller: str = ""
) -> None:
    """Put metric data, each under the same dimensions, if the caller may; without one SageMaker puts its own."""
    if data and (not caller or _may(caller, permissions.metrics(namespace))):
        pairs = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        request = {"Namespace": namespace, "MetricData": [{**datum, "Dimensions": pairs} for datum in data]}
        _tell("monitoring", "GraniteServiceVersion20100801.PutMetricData", request)


def _open(target: Mapping[str, str], caller: str) -> bool:
    """Make a log stream, and its group if there is none; whether the caller may write to it."""
    group, place = target["logGroupName"], Place(*ministack.scope())
    if not _may(caller, *permissions.log_stream(group, target["logStreamName"], place)):
        return False
    try:
        ministack.call_json("logs", "Logs_20140328.CreateLogStream", target)
    except ministack.CallError as error:
        if "ResourceNotFoundException" not in str(error):
            return "ResourceAlreadyExistsException" in str(error)
        if not _may(caller, permissions.log_group(group, place)):
            return False
        with contextlib.suppress(ministack.CallError):  # another stream's may have made it meanwhile
            ministack.call_json("logs", "Logs_20140328.CreateLogGroup", {"logGroupName": group})
        _tell("logs", "Logs_20140328.CreateLogStream", target)
    return True


def _may(caller: str, *needed: Permission) -> bool:
    try:
        iam.authorize(caller, needed)
    except iam.DeniedError as error:
        log.info("%s", error)  # authorizations.jsonl has it; the job itself goes on
        return False
    return True


def _tell(service: str, target: str, request: Mapping[str, Any]) -> None:
    # Telemetry that cannot be delivered must not end a job.
    try:
        ministack.call_json(service, target, request)
    except ministack.CallError as error:
        log.warning("%s", error)
