"""What the log says about the trace and the steps of a request to the prediction function."""

import base64
import importlib
import json
import logging
import re
import time

import pytest

from tests.unit.functions.test_classify import (  # noqa: F401  (fixtures)
    PHOTO,
    UNAVAILABLE,
    answer,
    app,
    prediction,
    rest_event,
    routes,
    runtime,
    url_event,
)

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def traced(app, caplog, event, body=PHOTO, **headers):  # noqa: F811
    """Send a photo with these headers, and return what the log says about its trace and steps."""
    caplog.set_level(logging.INFO, "kennel")
    caplog.clear()
    sent = base64.b64encode(body).decode()
    answer(app, event("POST", "/classify", sent, True, {"Content-Type": "image/jpeg", **headers}), 28)
    lines = [json.loads(app.logger.registered_formatter.format(record)) for record in caplog.records]
    names = ("message", "trace_id", "parent_id", "span_id", "xray_root", "attempt")
    times = ("door_ms", "read_ms", "shrink_ms", "asked_ms", "attempt_ms")
    return [
        {name: line[name] for name in names if name in line} | {"times": [name for name in times if name in line]}
        for line in lines
    ]


@pytest.mark.parametrize("event", [rest_event, url_event])
def test_log_names_a_callers_trace_and_the_steps_where_he_records_it(app, runtime, caplog, event, monkeypatch):  # noqa: F811
    for _ in range(3):
        runtime.add_response("invoke_endpoint", prediction())
    plain, steps = {"message": "request", "times": []}, ["read_ms", "shrink_ms", "asked_ms", "attempt_ms"]
    assert traced(app, caplog, event) == [plain]
    named = {**plain, "trace_id": TRACE, "parent_id": PARENT}
    assert traced(app, caplog, event, traceparent=f"00-{TRACE}-{PARENT}-00", tracestate="secret=1") == [named]
    assert "secret" not in caplog.text
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1")
    (line,) = traced(app, caplog, event, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert re.fullmatch("[0-9a-f]{16}", line.pop("span_id"))
    root = "1-5759e988-bd862e3fe1be46a994272793"
    assert line == {**named, "xray_root": root, "attempt": 1, "times": steps}


def test_each_attempt_has_its_line_and_its_id_in_the_trace(app, runtime, caplog, monkeypatch):  # noqa: F811
    monkeypatch.setattr(importlib.import_module("classify.invoke").time, "sleep", lambda _: None)
    sent = []
    runtime.add_client_error("invoke_endpoint", **UNAVAILABLE)
    runtime.add_response("invoke_endpoint", prediction())
    client = importlib.import_module("classify.routes").hosting.model.runtime
    keep = client.meta.events.register("before-parameter-build", lambda params, **_: sent.append(params))
    again, line = traced(app, caplog, rest_event, traceparent=f"00-{TRACE}-{PARENT}-01")
    client.meta.events.unregister("before-parameter-build", keep)
    assert (again["message"], again["attempt"], again["times"]) == ("asking again", 1, ["attempt_ms"])
    assert (line["message"], line["attempt"]) == ("request", 2)
    ids = [params["CustomAttributes"] for params in sent]
    assert ids == [f"request-1;traceparent=00-{TRACE}-{each['span_id']}-01" for each in (again, line)]
    assert again["span_id"] != line["span_id"]


def test_refusal_has_its_steps_in_the_log_and_the_way_from_the_door(app, caplog):  # noqa: F811
    def arrived(*parts):
        event = rest_event(*parts)
        event["requestContext"]["requestTimeEpoch"] = int(time.time() * 1e3) - 500
        return event

    assert traced(app, caplog, arrived, b"words") == [{"message": "request", "times": ["door_ms", "read_ms"]}]


@pytest.mark.parametrize("event", [rest_event, url_event])
def test_no_header_makes_a_line_of_the_log_much_longer(app, runtime, caplog, event):  # noqa: F811
    """A valid traceparent of a recorded trace brings 0.3 kB, and nothing that a caller could choose to be longer."""
    lengths = []
    for headers in (
        {},
        {"traceparent": f"00-{TRACE}-{PARENT}-01"},
        {"traceparent": f"cc-{TRACE}-{PARENT}-01-{'x' * 8000}", "tracestate": f"a={'y' * 8000}"},
        {"traceparent": f'00-{TRACE}-{PARENT}-01"}}\n{{"level": "ERROR"}}', "tracestate": "a=1\n"},
    ):
        runtime.add_response("invoke_endpoint", prediction())
        traced(app, caplog, event, **headers)
        (line,) = [app.logger.registered_formatter.format(record) for record in caplog.records]
        assert "\n" not in line
        lengths.append(len(line))
    assert max(lengths) - lengths[0] < 300
    assert lengths[3] - lengths[0] < 10  # It is not valid.
