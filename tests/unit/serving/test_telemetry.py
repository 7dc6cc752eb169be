import json
import logging

import pytest

from serving.telemetry import JsonLines, RequestFigures

TIMES = {"decode_ms": 2.0, "queue_ms": 0.5, "model_ms": 5.0}


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kennel.serving")


def test_figures_are_a_line_of_embedded_metrics(caplog: pytest.LogCaptureFixture) -> None:
    figures = RequestFigures()
    for status, facts in [(200, TIMES), (200, {**TIMES, "model_ms": 7.0}), (415, {}), (503, {}), (500, {})]:
        figures.add(status, facts)
    figures.flush()
    line = json.loads(JsonLines().format(caplog.records[0]))
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["service"]]
    assert {m["Name"]: line[m["Name"]] for m in directive["Metrics"]} == {
        "Requests": 5,
        "ClientErrors": 1,
        "Refused": 1,
        "ServerErrors": 1,
        "DecodeTime": [2.0, 2.0],
        "QueueTime": [0.5, 0.5],
        "ModelTime": [5.0, 7.0],
    }
    assert {m["Unit"] for m in directive["Metrics"]} == {"Count", "Milliseconds"}


def test_faults_that_callers_cannot_cause_are_metrics_of_the_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals, bad photos, waiting and decoding must not be among them: they take an update back."""
    figures = RequestFigures("dogs")
    slow = {"decode_ms": 9000.0, "queue_ms": 9000.0, "model_ms": 5.25}
    for status, facts in [(200, slow), (415, {}), (408, {}), (503, {}), (500, {})]:
        figures.add(status, facts)
    figures.flush()
    figures.add(503, {})
    figures.flush()
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    directives = [line["_aws"]["CloudWatchMetrics"][1] for line in lines]
    assert [each["Dimensions"] for each in directives] == [[["EndpointName"]]] * 2
    assert [line["EndpointName"] for line in lines] == ["dogs", "dogs"]
    first, second = (
        {m["Name"]: line[m["Name"]] for m in d["Metrics"]} for line, d in zip(lines, directives, strict=True)
    )
    assert first == {"ServerErrors": 1, "ModelMicroseconds": [5250]}
    assert second == {"ServerErrors": 0}
    assert [each["Unit"] for each in directives[0]["Metrics"]] == ["Count", "Microseconds"]


def test_figures_start_anew_and_log_nothing_without_requests(caplog: pytest.LogCaptureFixture) -> None:
    figures = RequestFigures()
    figures.add(503, {})
    figures.flush()
    figures.flush()
    assert len(caplog.records) == 1


def test_sample_of_the_times_stays_within_the_format_and_is_fair(caplog: pytest.LogCaptureFixture) -> None:
    figures = RequestFigures()
    for number in range(2000):
        figures.add(200, {**TIMES, "queue_ms": number})
    figures.flush()
    values = json.loads(JsonLines().format(caplog.records[0]))["QueueTime"]
    assert len(values) == 100
    assert len(set(values)) == 100
    # The mean of 100 values out of 0 to 1999 is 1000 with a standard deviation of 56. A fair sample exceeds six of them
    # less than once in 10^8 runs.
    assert 660 < sum(values) / 100 < 1340
