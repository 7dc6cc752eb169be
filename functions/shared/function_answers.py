"""How the function of Lambda that has the model is asked, and what Lambda says that a request took.

The events and answers are those of docs/function.md.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_FAULT = 500  # the status that stands for an error of the function, as an endpoint answers a fault of the model
_FIGURE = re.compile(r"(?:^|\t)(Duration|Billed Duration|Memory Size|Init Duration): ([\d.]+)", re.MULTILINE)


class FunctionReport(NamedTuple):
    """Lambda's own line about a request.

    Attributes:
        duration_ms: milliseconds in which the function had the request.
        billed_ms: milliseconds that are billed, those of a cold start among them.
        memory_mb: MB of memory that the function had.
        init_ms: milliseconds in which the environment was initialized, in the attempt that failed if one did; None if
            it had served before.
    """

    duration_ms: float
    billed_ms: float
    memory_mb: int
    init_ms: float | None

    @property
    def gb_seconds(self) -> float:
        """What is billed, in GB-seconds."""
        return self.billed_ms / 1e3 * self.memory_mb / 1024


class ModelAnswer(NamedTuple):
    """The answer to one photo.

    Attributes:
        status: status of the answer, as an endpoint would give it; 500 if the function failed.
        body: the document of the answer, or what Lambda says of the failure; JSON.
        report: None if Lambda did not tell it.
    """

    status: int
    body: bytes
    report: FunctionReport | None


def ask(client: "LambdaClient", name: str, qualifier: str, photo: bytes) -> ModelAnswer:
    """Ask one version of the function about a photo, and wait for the answer.

    Args:
        client: Lambda.
        name: name of the function.
        qualifier: an alias, a version or ``$LATEST``.
        photo: the bytes of the photo.
    """
    event = json.dumps({"photo": base64.b64encode(photo).decode()})
    response = client.invoke(FunctionName=name, Qualifier=qualifier, LogType="Tail", Payload=event)
    report = report_in(base64.b64decode(response.get("LogResult", "")).decode("utf-8", "replace"))
    payload = response["Payload"].read()
    if "FunctionError" in response:
        return ModelAnswer(_FAULT, payload, report)
    answer: dict[str, Any] = json.loads(payload)
    return ModelAnswer(answer["status"], json.dumps(answer["body"]).encode(), report)


def report_in(log: str) -> FunctionReport | None:
    """Return Lambda's report from the end of a log, which is text or, where the function asks for it, JSON.

    None if there is no report, such as at a system log level beyond INFO. An initialization that fails, or takes longer
    than its 10 seconds, is repeated within the request; then a line of its own tells it.
    """
    report, failed_init_ms = None, None
    for line in log.splitlines():
        if line.startswith("REPORT "):
            figures = {name: float(value) for name, value in _FIGURE.findall(line)}
            report = _report(figures, "Duration", "Billed Duration", "Memory Size", "Init Duration")
        elif line.startswith("INIT_REPORT ") and "\tPhase: init" in line:
            failed_init_ms = float(line.split()[3])
        elif line.startswith("{") and '"platform.' in line:
            document = json.loads(line)
            kind, record = document["type"], document["record"]
            if kind == "platform.report":
                names = ("durationMs", "billedDurationMs", "memorySizeMB", "initDurationMs")
                report = _report(record["metrics"], *names)
            elif kind == "platform.initReport" and record.get("phase") == "init":
                failed_init_ms = record["metrics"]["durationMs"]
    return report._replace(init_ms=failed_init_ms) if report and report.init_ms is None else report


def _report(figures: Mapping[str, float], duration: str, billed: str, memory: str, init: str) -> FunctionReport:
    return FunctionReport(figures[duration], figures[billed], int(figures[memory]), figures.get(init))
