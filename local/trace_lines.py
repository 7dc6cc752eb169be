"""Find what the logs say about one request, by the calls that one makes on AWS: FilterLogEvents of CloudWatch Logs."""

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local.home import LocalError, file_error
from local.laptop import Cloud

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_ID = re.compile(r"[A-Za-z0-9+/=_-]{4,256}")
_IN_FILES = (
    re.compile(r'"correlation_id":\s*"([^"\s]+)"'),
    re.compile(r"^(?:x-correlation-id|x-amz-apigw-id):\s*(\S+)", re.IGNORECASE | re.MULTILINE),
    re.compile(r"^traceparent:\s*(\S+)", re.IGNORECASE | re.MULTILINE),
)
_MAX_FILE_BYTES = 1_000_000
_AROUND_MS = 120_000  # The model's clock and the function's differ by less, and no request takes longer.
# The fields by which lines name a request, or the trace that it belongs to.
_NAMES = ("correlation_id", "function_request_id", "trace_id", "xray_root", "id")


@dataclass(frozen=True)
class Groups:
    """The log groups that may name a request.

    Attributes:
        function: that of the prediction function.
        page: that of the function of what needs no key.
        endpoint: that of the model server on the endpoint's instances.
        model_function: that of the model's function.
        access: API Gateway's own, which exists with ApiAccessLog=true.
    """

    function: str
    page: str
    endpoint: str
    model_function: str
    access: str

    @classmethod
    def of(cls, stack: str, endpoint: str) -> "Groups":
        """Return the groups of a stack and its endpoint."""
        return cls(
            function=f"/aws/lambda/{stack}-classify",
            page=f"/aws/lambda/{stack}-page",
            endpoint=f"/aws/sagemaker/Endpoints/{endpoint}",
            model_function=f"/aws/lambda/{endpoint}-model",
            access=f"/aws/apigateway/{stack}",
        )


@dataclass(frozen=True)
class Line:
    """A line of a log.

    Attributes:
        group: its log group.
        stream: its log stream.
        at_ms: CloudWatch's time of it, in milliseconds since 1970.
        document: what it says.
    """

    group: str
    stream: str
    at_ms: float
    document: dict[str, Any]

    @property
    def event(self) -> str:
        """The name of what it tells, such as ``request``."""
        return str(self.document.get("message") or self.document.get("event") or "")


@dataclass
class Logs:
    """The logs of a cloud within a time.

    Attributes:
        cloud: the laptop cloud, or an account.
        groups: where is searched.
        hours: up to how many hours ago.
        missing: groups that were found not to exist.
    """

    cloud: Cloud
    groups: Groups
    hours: float
    missing: set[str] = field(default_factory=set)

    def requests(self, names: list[str]) -> list[list[Line]]:
        """Return the lines of each request that one of the names stands for, in the order of their first lines."""
        begin = round(1000 * (time.time() - 3600 * self.hours))
        named = [
            line for name in names for group in vars(self.groups).values() for line in self._find(group, name, begin)
        ]
        if not named:
            return []
        times = [line.at_ms for line in named]
        window = (round(min(times)) - _AROUND_MS, round(max(times)) + _AROUND_MS)
        requests = [
            [line for group in vars(self.groups).values() for line in self._find(group, id_, *window)]
            for id_ in dict.fromkeys(_id_of(line) for line in named)
        ]
        for lines in requests:
            lines.sort(key=lambda line: line.at_ms)
        return sorted((lines for lines in requests if lines), key=lambda lines: lines[0].at_ms)

    def _find(self, group: str, name: str, begin: int, end: int | None = None) -> Iterator[Line]:
        """Yield a group's lines that name a request or a trace."""
        if group in self.missing:
            return
        asked: dict[str, Any] = {"logGroupName": group, "startTime": begin, "filterPattern": f'"{name}"'}
        pages = self.cloud.client("logs").get_paginator("filter_log_events")
        try:
            events = [
                event
                for page in pages.paginate(**asked, **({"endTime": end} if end else {}))
                for event in page["events"]
            ]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            self.missing.add(group)
            return
        for event in events:
            document = _document(event["message"])
            if name in [document.get(field) for field in _NAMES]:
                yield Line(group, event["logStreamName"], event["timestamp"], document)


def names_of(text: str) -> list[str]:
    """Return the names under which a request may stand in the logs.

    Args:
        text: a correlation id, a trace id, a ``traceparent``, or the path of a file with an answer's document or with
            its headers, as ``curl --include`` or ``--dump-header`` write them.

    Raises:
        LocalError: it is none of these.
    """
    name = text.strip()
    if os.path.isfile(name):  # Path.is_file raises an error for names that are too long.
        name = _name_in(Path(name))
    if traceparent := _TRACEPARENT.fullmatch(name):
        name = traceparent[1]
    if _TRACE_ID.fullmatch(name):  # A trace that began at the door has the id of the invocation, a UUID.
        return [name, f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}"]
    if not _ID.fullmatch(name):
        raise LocalError(
            f"'{text}' is no id of a request; give the x-correlation-id of an answer's headers, the correlation_id of "
            "a refusal, a traceparent or its trace id, or the path of a file with an answer"
        )
    return [name]


def _name_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode(errors="replace")
    except OSError as error:
        raise LocalError(file_error(error)) from None
    for pattern in _IN_FILES:
        if found := pattern.search(text):
            return found[1]
    raise LocalError(
        f"{path} names no request: it has neither correlation_id nor the header x-correlation-id or traceparent; keep "
        "an answer's headers with curl --include, because a prediction has no id"
    )


def _id_of(line: Line) -> str:
    return str(line.document.get("correlation_id") or line.document.get("id"))


def _document(message: str) -> dict[str, Any]:
    try:
        document = json.loads(message)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
