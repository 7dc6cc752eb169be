"""How the function that has the model is asked: its answers, and Lambda's reports in both formats of logs."""

import json

import pytest

from shared import function_answers
from shared.function_answers import FunctionReport, report_in
from tests.unit.functions.timed_functions import Clock, TimedFunction

TEXT = "REPORT RequestId: 1f\tDuration: 31.42 ms\tBilled Duration: 2033 ms\t"
TEXT += "Memory Size: 1769 MB\tMax Memory Used: 171 MB\t"
FAILED = "INIT_REPORT Init Duration: 10009.50 ms\tPhase: init\tStatus: timeout\n"
FAILED += "INIT_REPORT Init Duration: 9.00 ms\tPhase: invoke\tStatus: success\n"
METRICS = {"durationMs": 31.42, "billedDurationMs": 2033, "memorySizeMB": 1769, "maxMemoryUsedMB": 171}


def json_line(**more):
    record = {"requestId": "1f", "metrics": METRICS | more, "status": "success"}
    return json.dumps({"time": "2026-11-30T12:00:00.000Z", "type": "platform.report", "record": record})


def json_init(phase):
    metrics = {"durationMs": 10009.5 if phase == "init" else 9}
    record = {"initializationType": "on-demand", "phase": phase, "status": "timeout", "metrics": metrics}
    return json.dumps({"time": "2026-11-30T12:00:00.000Z", "type": "platform.initReport", "record": record})


@pytest.mark.parametrize(
    ("log", "report"),
    [
        (f"START\nEND\n{TEXT}\n", FunctionReport(31.42, 2033, 1769, None)),
        (f"{TEXT}Init Duration: 2001.05 ms\t\n", FunctionReport(31.42, 2033, 1769, 2001.05)),
        (f'{{"level": "INFO"}}\n{json_line()}\n', FunctionReport(31.42, 2033, 1769, None)),
        (json_line(initDurationMs=2001.05), FunctionReport(31.42, 2033, 1769, 2001.05)),
        (f"{FAILED}START\n{TEXT}\n", FunctionReport(31.42, 2033, 1769, 10009.5)),
        (f"{json_init('init')}\n{json_init('invoke')}\n{json_line()}", FunctionReport(31.42, 2033, 1769, 10009.5)),
        ('{"event": "loaded"}\n{"level": "INFO', None),
        ("", None),
    ],
)
def test_report_is_read_from_text_and_json(log, report):
    assert report_in(log) == report


def test_a_report_tells_gb_seconds():
    """Two seconds of two and a half GB."""
    assert FunctionReport(10, 2000, 2560, None).gb_seconds == 5


def test_answer_has_the_status_and_the_document_of_the_model():
    function = TimedFunction(Clock())
    function.answer = {"status": 415, "body": {"error": {"code": "UnsupportedImage"}}}
    answer = function_answers.ask(function, "kennel-model", "live", b"no photo")
    assert (answer.status, json.loads(answer.body)) == (415, {"error": {"code": "UnsupportedImage"}})
    assert function.asked == [(b"no photo", "live")]
    assert answer.report == FunctionReport(30, 2030, 1769, 2000)


def test_failed_function_is_a_fault_of_the_model():
    function = TimedFunction(Clock())
    function.answer = {"errorType": "Model.ArtifactError", "errorMessage": "another model"}
    answer = function_answers.ask(function, "kennel-model", "$LATEST", b"")
    assert (answer.status, json.loads(answer.body)["errorType"]) == (500, "Model.ArtifactError")
