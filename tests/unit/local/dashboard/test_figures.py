"""What is asked of a cloud for a dashboard, and what its answers become."""

import io
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from local.dashboard import figures
from local.dashboard.document import AlarmList, Chart, Custom, Line
from local.dashboard.figures import AlarmState, Fact, Point, Series

END = datetime(2026, 11, 30, 12, 0, 3, tzinfo=UTC)
CHART = Chart(
    "t",
    (
        Line("e", "quotient", "a / b"),
        Line("a", "A", "", "N", "A", {"D": "d"}, "Sum", 60, is_hidden=True),
        Line("b", "B", "", "N", "B", {}, "p99", 300),
    ),
    (),
    "",
    None,
    8,
)


class Answers:
    """A cloud that answers as it was told, and keeps what it was asked."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, {}

    def client(self, _service):
        def ask(name):
            def answer(**request):
                self.asked[name] = request
                return self.answers[name]

            return answer

        return SimpleNamespace(**{name: ask(name) for name in self.answers})


def test_chart_is_one_question_with_periods_by_the_clouds_clock():
    """With a clock of ten times the speed a minute is six seconds, and the window of half an hour three minutes."""
    at = END - timedelta(seconds=63)  # 11:59:00
    results = [
        {"Id": "e", "Timestamps": [at], "Values": [2.0]},
        {"Id": "b", "Timestamps": [END - timedelta(seconds=3), at], "Values": [9.0, 7.0]},
    ]
    cloud = Answers(get_metric_data={"MetricDataResults": results})
    series = figures.series_of(cloud, CHART, END - timedelta(minutes=3), END, 10)
    asked = cloud.asked["get_metric_data"]
    # 11:57:03 lies in a period of six seconds that begins at 11:57:00.
    assert asked["StartTime"] == datetime(2026, 11, 30, 11, 57, tzinfo=UTC)
    assert asked["EndTime"] == END
    assert asked["MetricDataQueries"] == [
        {"Id": "e", "Expression": "a / b"},
        {
            "Id": "a",
            "MetricStat": {
                "Metric": {"Namespace": "N", "MetricName": "A", "Dimensions": [{"Name": "D", "Value": "d"}]},
                "Stat": "Sum",
                "Period": 6,
            },
            "ReturnData": False,
        },
        {
            "Id": "b",
            "MetricStat": {
                "Metric": {"Namespace": "N", "MetricName": "B", "Dimensions": []},
                "Stat": "p99",
                "Period": 30,
            },
            "ReturnData": True,
        },
    ]
    first, last = at.timestamp(), END.timestamp() - 3
    assert series == (
        Series("quotient", (Point(first, 2.0, True),), 6),
        Series("B", (Point(first, 7.0, True), Point(last, 9.0, False)), 30),
    )


@pytest.mark.parametrize(("period", "scale", "seconds"), [(60, 1, 60), (60, 20, 3), (10, 20, 1), (10, 1, 10)])
def test_period_is_at_least_a_second(period, scale, seconds):
    assert figures.period_of(Line("a", "A", period=period), scale) == seconds


def test_alarms_that_ring_come_first_and_one_that_is_gone_is_told():
    def alarm(name, state, minutes):
        since = END - timedelta(minutes=minutes)
        return {"AlarmName": name, "StateValue": state, "StateReason": "why", "StateUpdatedTimestamp": since}

    found = [alarm("a", "OK", 1), alarm("b", "ALARM", 9), alarm("d", "ALARM", 2), alarm("e", "INSUFFICIENT_DATA", 3)]
    cloud = Answers(describe_alarms={"MetricAlarms": found})
    arns = tuple(f"arn:aws:cloudwatch:us-east-1:000000000000:alarm:{name}" for name in "abcde")
    states = figures.alarms_of(cloud, AlarmList("A", arns, 8))
    assert [each.name for each in states] == ["d", "b", "c", "e", "a"]
    assert states[2] == AlarmState("c", "", None, "")
    assert cloud.asked["describe_alarms"]["AlarmNames"] == list("abcde")


@pytest.mark.parametrize(
    ("answer", "error", "facts"),
    [
        (
            '<table><tr><th style="x">Last run</th><td class="bad" style="y">FAILED, &lt;b&gt; &amp; more</td></tr>'
            '<tr><th>Model</th><td class="plain">3</td></tr></table>',
            {},
            (Fact("Last run", "FAILED, <b> & more", "bad"), Fact("Model", "3", "plain")),
        ),
        (
            {"errorMessage": "Task timed out", "errorType": "Timeout"},
            {"FunctionError": "Unhandled"},
            (Fact("This widget", "its function failed: Task timed out", "bad"),),
        ),
        ("", {}, (Fact("This widget", "its function answered no table", "bad"),)),
    ],
)
def test_custom_widget_is_the_table_that_its_function_answers(answer, error, facts):
    cloud = Answers(invoke={"Payload": io.BytesIO(json.dumps(answer).encode()), **error})
    widget = Custom("t", "arn:f", {"a": 1}, 8)
    assert figures.facts_of(cloud, "kennel", widget, END - timedelta(minutes=3), END) == facts
    sent = json.loads(cloud.asked["invoke"]["Payload"])
    assert (sent["a"], sent["widgetContext"]["dashboardName"]) == (1, "kennel")
