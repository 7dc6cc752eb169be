"""A dashboard's body as this program reads it."""

import json

import pytest

from local.dashboard import document
from local.dashboard.document import AlarmList, Chart, Custom, Limit, Line, Prose
from local.home import LocalError


def body(*widgets):
    return json.dumps({"widgets": [{"width": 6, "properties": {}, **each} for each in widgets]})


def test_metrics_inherit_from_their_widget_and_dots_from_the_line_before():
    properties = {
        "title": "t",
        "stat": "Sum",
        "period": 60,
        "metrics": [
            ["AWS/Lambda", "Errors", "FunctionName", "f", "Resource", "f:live", {"label": "failed"}],
            [".", "Throttles", ".", "g", {"stat": "p99", "period": 10}],
            ["...", "h"],
            [{"expression": "a / 2", "id": "half"}],
            ["Kennel", "Failures", {"id": "a", "visible": False}],
        ],
        "annotations": {"horizontal": [{"label": "limit", "value": 5}]},
        "yAxis": {"left": {"label": "requests", "max": 9}},
    }
    [chart] = document.read(body({"type": "metric", "properties": properties}))
    alias = {"FunctionName": "f", "Resource": "f:live"}
    assert chart == Chart(
        "t",
        (
            Line("line0", "failed", "", "AWS/Lambda", "Errors", alias, "Sum", 60),
            Line("line1", "Throttles", "", "AWS/Lambda", "Throttles", {"FunctionName": "g"}, "p99", 10),
            Line("line2", "Throttles", "", "AWS/Lambda", "Throttles", {"FunctionName": "h"}, "Sum", 60),
            Line("half", "a / 2", "a / 2"),
            Line("a", "Failures", "", "Kennel", "Failures", {}, "Sum", 60, is_hidden=True),
        ),
        (Limit("limit", 5.0),),
        "requests",
        9,
        6,
    )


def test_widgets_come_line_by_line_from_the_top():
    arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:kennel-errors"
    read = document.read(
        body(
            {"type": "text", "x": 0, "y": 9, "properties": {"markdown": "# m"}},
            {"type": "custom", "x": 9, "y": 0, "properties": {"endpoint": "arn:f", "params": {"a": 1}}},
            {"type": "alarm", "x": 0, "y": 0, "properties": {"title": "A", "alarms": [arn]}},
        )
    )
    assert read == [AlarmList("A", (arn,), 6), Custom("", "arn:f", {"a": 1}, 6), Prose("# m", 6)]
    assert read[0].names == ["kennel-errors"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the dashboard's body cannot be read"),
        ("{}", "the dashboard's body cannot be read"),
        (
            body({"type": "metric", "properties": {"metrics": [["AWS/Lambda", "Errors", "FunctionName"]]}}),
            "cannot be read",
        ),
        (body({"type": "log", "properties": {}}), "a widget of type 'log', which only CloudWatch's console shows"),
    ],
)
def test_what_cannot_be_shown_is_told_in_words(text, words):
    with pytest.raises(LocalError) as error:
        document.read(text)
    assert words in str(error.value)
