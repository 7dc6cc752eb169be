"""What a stack costs that nobody asks: the counts in prices.per_million are those of template and state machine."""

import re
from collections import Counter
from unittest import mock

import pytest

import prices
from meter import usage
from prices import per_million
from tests.contract.conftest import ROOT, states_of
from tests.contract.test_permissions import Resolver

FAST = 60  # An alarm with a shorter period costs more.
# The alarms that Application Auto Scaling makes for a policy of target tracking: for scaling out and in. Those for
# scaling out have the period of the metric (see docs/laptop-cloud.md).
TRACKING = {
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": ("fast", "standard"),
    "LambdaProvisionedConcurrencyUtilization": ("standard", "standard"),
}


def kind(period):
    return "fast" if period < FAST else "standard"


def resources(template, kind_of_resource):
    return [each for each in template["Resources"].values() if each["Type"] == kind_of_resource]


def test_alarms_are_counted_as_template_and_run_make_them(template, machines):
    """Alarms of the template, of the run's own tasks, and of the policies by which endpoint and function scale.

    That of a canary is there only while a run watches a new version.
    """
    own = resources(template, "AWS::CloudWatch::Alarm")
    assert {kind(each["Properties"]["Period"]) for each in own} == {"standard"}
    by_condition = Counter(each.get("Condition") for each in own)
    assert by_condition == {None: per_million.STACK_ALARMS, "HasMonthlyDollars": per_million.METER_ALARMS}
    counts: Counter[str] = Counter()
    alarms, policies = {}, {}
    warm: list[tuple[str, str]] = []
    for _, state in states_of(machines["pipeline"]):
        arguments = state.get("Arguments")
        if state.get("Resource", "").endswith(":cloudwatch:putMetricAlarm"):
            alarms[arguments["AlarmName"]] = arguments["Period"]
        elif state.get("Resource", "").endswith(":putScalingPolicy") and isinstance(arguments, dict):
            policies[arguments["PolicyName"]] = arguments
    assert [name for name in alarms if name.endswith("-canary' %}")] == ["{% $run.endpoint.name & '-canary' %}"]
    counts.update(kind(period) for name, period in alarms.items() if not name.endswith("-canary' %}"))
    for policy in policies.values():
        tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
        if isinstance(tracking, dict):
            made = TRACKING[tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]]
            if policy["ServiceNamespace"] == "lambda":
                warm.append(made)
            else:
                counts.update(made)
    assert [len(made) for made in warm] == [per_million.WARM_ALARMS]
    assert (counts["standard"], counts["fast"]) == (per_million.ENDPOINT_ALARMS, per_million.FAST_ALARMS)


def test_functions_that_are_kept_warm_bring_the_alarms_of_their_policy(template):
    [policy] = resources(template, "AWS::ApplicationAutoScaling::ScalingPolicy")
    assert policy["Condition"] == "HasProvisionedConcurrency"
    tracking = policy["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    metric = tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]
    assert len(TRACKING[metric]) == per_million.WARM_ALARMS
    assert set(TRACKING[metric]) == {"standard"}


def test_the_meter_is_counted_as_often_as_it_runs_and_asks(template):
    schedule = template["Resources"]["MeterSchedule"]["Properties"]["ScheduleExpression"]
    assert schedule == "rate(5 minutes)"
    assert per_million._METER_TICKS == 60 / 5 * per_million.HOURS_A_MONTH
    function = template["Resources"]["MeterFunction"]["Properties"]
    assert function.get("MemorySize", template["Globals"]["Function"]["MemorySize"]) == per_million._METER_MEGABYTES
    names = Resolver(template).resolve(function["Environment"]["Variables"]["FUNCTIONS"]).split(",")
    groups = Resolver(template).resolve(function["Environment"]["Variables"]["LOG_GROUPS"]).split(",")
    asked = mock.Mock(return_value={"Datapoints": []})
    known = usage.Names("dogs", "k", "arn:p", tuple(names), tuple(groups))
    metered = usage.Usage(mock.Mock(get_metric_statistics=asked), mock.Mock(), known)
    metered.megabytes["k-meter"] = per_million._METER_MEGABYTES
    metered.dollars(1_796_083_200.0)
    metered.of_function("x86_64", {}, 1_796_083_200.0)
    assert asked.call_count == per_million.METER_QUESTIONS
    meter = per_million.idle(per_million.Standing("", 0, has_meter=True), prices.HOME_REGION)["meter"]
    assert f"and its questions to CloudWatch, about ${meter:.2f} a month)" in (ROOT / "docs/aws.md").read_text()


def test_nothing_else_of_the_stack_costs_while_nobody_asks(template):
    """One key, and none of the resources that cost by the hour or the month beside what is counted."""
    types = Counter(each["Type"] for each in template["Resources"].values())
    assert types["AWS::KMS::Key"] == 1
    for dear in (
        "AWS::CloudWatch::Dashboard",
        "AWS::EC2::NatGateway",
        "AWS::EC2::VPCEndpoint",
        "AWS::EC2::Instance",
        "AWS::SageMaker::Endpoint",
        "AWS::SecretsManager::Secret",
        "AWS::WAFv2::WebACL",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
    ):
        assert not types[dear], f"prices.per_million.idle does not know {dear}"
    computing = resources(template, "AWS::Batch::ComputeEnvironment")
    assert {each["Properties"]["ComputeResources"].get("MinvCpus", 0) for each in computing} == {0}


def test_the_function_is_as_large_as_the_prices_say_and_logs_what_they_count(template):
    """Lambda's own lines for each invocation, and traces of requests at the function's URL, would cost in addition."""
    function = template["Resources"]["ClassifyFunction"]["Properties"]
    assert function["MemorySize"] == per_million.MEGABYTES
    assert function["LoggingConfig"]["SystemLogLevel"] == "WARN"
    assert function["Tracing"] == "PassThrough"
    admit = template["Resources"]["AdmitFunction"]["Properties"]
    assert admit.get("MemorySize", template["Globals"]["Function"]["MemorySize"]) == per_million._AUTHORIZER_MEGABYTES
    assert template["Parameters"]["LogRetentionDays"]["Default"] == 30  # a month of storage


ASSUMED = per_million.Endpoint("ml.c7i.large", rate=168, answer_ms=10, max_instances=4)  # as docs/aws.md says


def section():
    text = (ROOT / "docs/aws.md").read_text()
    return text.partition("### What a million answers cost\n")[2].partition("\n## ")[0].replace("\n", " ")


def test_page_tells_what_the_prices_say():
    rows = re.findall(r"\| (\d+) KB \| \$([\d.]+) \| \$([\d.]+) \| \$([\d.]+) \|", section())
    doors = (per_million.REST_API, per_million.SIGN_IN, per_million.FUNCTION_URL)
    assert {int(size) * 1000: [float(amount) for amount in amounts] for size, *amounts in rows} == {
        size: [
            pytest.approx(
                per_million.total(per_million.parts(ASSUMED, call, door, region=prices.HOME_REGION)), abs=0.006
            )
            for door in doors
        ]
        for size, call in per_million.CALLS.items()
    }
    readme = (ROOT / "README.md").read_text()
    of_100 = dict(zip(doors, rows[1][1:], strict=True))
    assert f"about ${of_100[per_million.FUNCTION_URL]} by the function" in readme
    assert f"${of_100[per_million.REST_API]} by the REST API" in readme


def test_page_tells_the_parts_of_a_price():
    parts = per_million.parts(ASSUMED, per_million.CALLS[100_000], per_million.REST_API, region=prices.HOME_REGION)
    url = per_million.parts(ASSUMED, per_million.CALLS[100_000], per_million.FUNCTION_URL, region=prices.HOME_REGION)
    told = (
        ("the instance is", parts["instances"]),
        ("its volume", parts["volume"]),
        (r"\(\$0\.016 per GB\)", parts["data_in"] + parts["data_out"]),
        ("function's time", parts["function_time"]),
        ("its requests", parts["function_requests"]),
        ("data to callers on the internet", parts["transfer"]),
        ("logs with a month's storage", url["logs"]),
        ("REST API adds", parts["door"]),
        ("3.50 and about", parts["traces"]),
    )
    for words, amount in told:
        [found] = re.findall(rf"{words} \$(\d+\.\d\d)", section())
        assert float(found) == pytest.approx(amount, abs=0.006), words


def test_page_tells_what_few_requests_cost():
    told = re.search(
        r"\$([\d.]+) a million at 10,000 a day, \$([\d.]+) at 100,000 and \$([\d.]+) at a million", section()
    )
    for words, requests in zip(told.groups(), (10_000, 100_000, 1_000_000), strict=True):
        day = per_million.on_a_day(
            ASSUMED, per_million.CALLS[100_000], per_million.FUNCTION_URL, requests, region=prices.HOME_REGION
        )
        assert float(words) == pytest.approx(per_million.total(day), rel=2e-3)


def test_page_tells_what_an_idle_month_costs():
    page, readme = ((ROOT / name).read_text() for name in ("docs/aws.md", "README.md"))
    idle = per_million.idle(per_million.Standing("ml.c7i.large", 1), prices.HOME_REGION)
    words = f"about ${per_million.total(idle):.0f} a month"
    assert words in page
    assert words in readme
    assert f"about ${idle['endpoint']:.0f} for the endpoint, ${idle['volume']:.2f} for its volume" in page
