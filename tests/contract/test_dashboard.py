"""The body of the dashboard is one that CloudWatch takes, and what it shows is there.

The members of the widgets are those that AWS's CDK (aws-cdk-lib 2.276.0, read on 2026-11-30) writes for an alarm status
widget, a custom widget, a graph, one with an expression, and a text; the rules are those of
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html.
"""

import copy
import json
import re

import pytest

from cloud.apigateway.metrics import points_of
from cloud.cloudwatch.expressions import evaluate
from cloud.lambdas import metrics
from cloud.sagemaker.endpoints.variant_metrics import AnsweredRequest, concurrency_metrics, invocation_metrics
from local.dashboard import document
from prices import per_million
from tests.contract import test_permissions
from tests.contract.conftest import ROOT
from tests.contract.test_permissions import SCOPE, Resolver

COLUMNS = 24
MEMBERS = {
    "alarm": {"title", "alarms", "sortBy"},
    "custom": {"title", "endpoint", "params", "updateOn"},
    "metric": {"title", "view", "region", "metrics", "annotations", "yAxis", "period", "stat"},
    "text": {"markdown"},
}
NEEDED = {"alarm": {"alarms"}, "custom": {"endpoint"}, "metric": {"metrics", "region"}, "text": {"markdown"}}
OPTIONS = {"label", "stat", "period", "id", "visible", "expression"}
PERIODS = {1, 5, 10, 20, 30}  # and whole minutes
FREE_METRICS = 50  # of a dashboard that is one of the account's three free ones
# The parameters of a stack that has everything that the dashboard may show.
EVERYTHING = {"Dashboard": "true", "MonthlyDollars": "50", "ApiReservedConcurrency": "20"}


@pytest.fixture(params=[{}, EVERYTHING], ids=["defaults", "everything"])
def body(request, template, monkeypatch):
    """The dashboard's body, of a stack with the defaults and of one with everything."""
    monkeypatch.setattr(test_permissions, "PARAMETERS", request.param)
    monkeypatch.setitem(test_permissions.ARNS, "AWS::CloudWatch::Alarm", SCOPE.arn("cloudwatch", "alarm:{}"))
    changed = copy.deepcopy(template)
    for resource in changed["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            resource["Properties"]["Name"] = resource["Properties"]["AlarmName"]
    return Resolver(changed).resolve(changed["Resources"]["OnCallDashboard"]["Properties"]["DashboardBody"])


@pytest.fixture
def widgets(body):
    return json.loads(body)["widgets"]


def metric_lines(widgets):
    return [
        line
        for each in document.read(json.dumps({"widgets": widgets}))
        if isinstance(each, document.Chart)
        for line in each.lines
    ]


def test_body_has_the_members_that_cloudwatch_documents(body):
    whole = json.loads(body)
    assert whole.keys() == {"start", "periodOverride", "widgets"}
    assert re.fullmatch(r"-PT?\d+[MHDW]", whole["start"])
    assert whole["periodOverride"] in ("auto", "inherit")
    assert len(whole["widgets"]) <= 500
    for widget in whole["widgets"]:
        kind, properties = widget["type"], widget["properties"]
        assert widget.keys() == {"type", "x", "y", "width", "height", "properties"}
        assert NEEDED[kind] <= properties.keys() <= MEMBERS[kind], (kind, properties.get("title"))
        if kind == "metric":
            assert properties["view"] == "timeSeries"
            assert properties["yAxis"].keys() == {"left"}
            assert properties["yAxis"]["left"].keys() <= {"min", "max", "label", "showUnits"}
            for limit in properties.get("annotations", {}).get("horizontal", []):
                assert limit.keys() == {"label", "value"}
                assert isinstance(limit["value"], int | float)
            for metric in properties["metrics"]:
                options = metric[-1] if isinstance(metric[-1], dict) else {}
                assert options.keys() <= OPTIONS
                assert re.fullmatch(r"[a-z][a-zA-Z0-9_]*", options.get("id", "a"))
        if kind == "alarm":
            assert 1 <= len(properties["alarms"]) <= 100
            assert properties["sortBy"] in ("default", "stateUpdatedTimestamp", "timestamp")
        if kind == "custom":
            assert properties["updateOn"].keys() == {"refresh", "resize", "timeRange"}


def test_widgets_lie_on_the_grid_side_by_side(widgets):
    taken = {}
    for widget in widgets:
        assert 0 <= widget["x"] <= widget["x"] + widget["width"] <= COLUMNS
        assert 1 <= widget["height"] <= 1000
        for x in range(widget["x"], widget["x"] + widget["width"]):
            for y in range(widget["y"], widget["y"] + widget["height"]):
                assert (x, y) not in taken, f"{widget} lies on {taken[x, y]}"
                taken[x, y] = widget["properties"].get("title")
    assert len(taken) == COLUMNS * (1 + max(y for _, y in taken)), "there is a hole"


def statistics(point):
    """What CloudWatch can compute of a metric, by how its points are put."""
    simple = {"Sum", "Average", "Minimum", "Maximum", "SampleCount"}
    return simple if "StatisticValues" in point else simple | {"p50", "p99"}


@pytest.fixture
def emitted():
    """What is put by whom: namespace, name and names of dimensions, with the statistics that it allows.

    The server and the functions put Kennel's own; the laptop cloud puts AWS's as AWS documents them.
    """
    found = {}
    variant = [*invocation_metrics([AnsweredRequest(1.0, 1.0, 200)], 1.0), *concurrency_metrics([1])]
    for point in variant:
        found["AWS/SageMaker", point["MetricName"], ("EndpointName", "VariantName")] = statistics(point)
    lambda_points = [*metrics.of_invocation(1.0, False), *metrics.of_provisioned(False, 1, 1)]
    for dimensions in metrics.dimensions_of("f", "live", "1")[:2]:
        names = tuple(name for name, _ in dimensions)
        for name in (*(point.name for point in lambda_points), "ConcurrentExecutions"):
            found["AWS/Lambda", name, names] = statistics({})
    for point in points_of(200, 1.0):
        found["AWS/ApiGateway", point.name, ("ApiName",)] = statistics({})
    hooks = (ROOT / "cloud/stepfunctions/hooks.py").read_text()
    for event in {*re.findall(r'"Execution(\w+)"', hooks), "Started"}:
        found["AWS/States", f"Executions{event}", ("StateMachineArn",)] = statistics({})
    telemetry = (ROOT / "serving/telemetry.py").read_text()
    for name in re.findall(r'"Name": "(\w+)"', telemetry.partition("def _of_endpoint")[2]):
        found["Kennel", name, ("EndpointName",)] = statistics({})
    for path in (ROOT / "functions").rglob("*.py"):
        for names in re.findall(r"add_metric\(name=(.+?), unit", path.read_text()):
            for name in re.findall(r'"(\w+)"', names):
                found["Kennel", name, ("service",)] = statistics({})
    return found


def test_every_metric_is_one_that_something_puts(widgets, emitted):
    lines = metric_lines(widgets)
    assert len(lines) > 20
    for line in lines:
        if not line.expression:
            key = (line.namespace, line.name, tuple(line.dimensions))
            assert key in emitted, f"nothing puts {key}"
            assert line.stat in emitted[key], f"{line.stat} of {key}"
            assert line.period in PERIODS or line.period % 60 == 0
    assert len({(line.namespace, line.name, *line.dimensions.items()) for line in lines}) <= FREE_METRICS


def test_expressions_name_metrics_of_their_own_widget(widgets):
    for chart in document.read(json.dumps({"widgets": widgets})):
        if isinstance(chart, document.Chart):
            assert len({line.id for line in chart.lines}) == len(chart.lines)
            series = {line.id: {0: 6.0} for line in chart.lines if not line.expression}
            for line in chart.lines:
                if line.expression:
                    assert evaluate(line.expression, series) == {0: 1.0}
                    assert all(other.is_hidden for other in chart.lines if other != line)


def test_it_shows_all_alarms_of_the_stack(body, widgets, template):
    [shown] = [each["properties"]["alarms"] for each in widgets if each["type"] == "alarm"]
    alarms = [each for each in template["Resources"].values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    has_meter = "meter-failed" in "".join(shown)
    assert len(set(shown)) == len(shown) == len([each for each in alarms if has_meter or "Condition" not in each])
    assert has_meter == ("ApiReservedConcurrency" in body)  # those of the meter with a meter alone
    names = {arn.rpartition(":")[2] for arn in shown}
    assert {"kennel-model-errors", "kennel-no-capacity", "kennel-teardown-failed"} <= names


def test_each_alarm_has_a_link_to_its_paragraph(body, widgets):
    [text] = [each["properties"]["markdown"] for each in widgets if each["type"] == "text"]
    linked = re.findall(r"\[([\w-]+)\]\(([^)#]+)#\1\)", text)
    [shown] = [each["properties"]["alarms"] for each in widgets if each["type"] == "alarm"]
    suffixes = {arn.rpartition(":")[2].removeprefix("kennel-") for arn in shown}
    assert {name for name, _ in linked} >= suffixes | {"canary"}
    assert len({page for _, page in linked}) == 1


def test_limit_is_the_parameters_in_both_units(widgets, template):
    limit = template["Parameters"]["MaxP99Microseconds"]["Default"]
    limits = {
        each["properties"]["yAxis"]["left"]["label"]: each["properties"]["annotations"]["horizontal"]
        for each in widgets
        if each["type"] == "metric" and "annotations" in each["properties"]
    }
    assert limits["microseconds"] == [{"label": "MaxP99Microseconds", "value": limit}]
    assert limits["milliseconds"] == [{"label": "MaxP99Microseconds", "value": limit / 1000}]


def test_reservation_is_a_line_only_where_there_is_one(body, widgets):
    [limits] = [
        each["properties"]["annotations"]["horizontal"]
        for each in widgets
        if each["properties"].get("title") == "Functions at once"
    ]
    assert limits == ([{"label": "ApiReservedConcurrency", "value": 20}] if "ApiReservedConcurrency" in body else [])


def test_it_is_off_unless_somebody_asks_and_its_price_is_said_where_it_is_chosen(template):
    parameter = template["Parameters"]["Dashboard"]
    assert (parameter["Default"], per_million.Standing("", 0).dashboards) == ("false", 0)
    month = per_million.idle(per_million.Standing("", 0, dashboards=1), "us-east-1")["dashboards"]
    assert f"${month:.0f} a month" in parameter["Description"]
    own = {name for name, each in template["Resources"].items() if each.get("Condition") == "HasDashboard"}
    assert own == {"OnCallDashboard", "WidgetFunction", "WidgetLogs"}


def test_dashboards_of_two_regions_have_two_names(template):
    """A dashboard is an account's, not a region's: the second stack of a name would overwrite that of the first."""
    assert template["Resources"]["OnCallDashboard"]["Properties"]["DashboardName"] == {
        "Fn::Sub": "${AWS::StackName}-${AWS::Region}"
    }
