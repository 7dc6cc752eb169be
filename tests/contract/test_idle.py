"""What a stack costs that nobody asks: the counts in prices.per_million are those of template and state machine."""

import re
from collections import Counter
from unittest import mock

import pytest

import prices
from local import dollars
from local.console import console
from meter import usage
from prices import per_million
from receipt import burn
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
    idle = per_million.idle(per_million.Standing("", 0, has_meter=True), prices.HOME_REGION)
    aws, operations = ((ROOT / f"docs/{name}.md").read_text().replace("\n", " ") for name in ("aws", "operations"))
    assert f"and its questions to CloudWatch, about ${idle['meter']:.2f} a month" in aws
    ticks, questions = (
        prices.dollars(item, quantity, prices.HOME_REGION)
        for item, quantity in (
            ("lambda/gb-second", per_million._METER_TICKS * per_million._METER_SECONDS / 2),  # of 512 MB
            ("cloudwatch/get-metric", per_million._METER_TICKS * per_million.METER_QUESTIONS),
        )
    )
    alarms = idle["alarms"] - per_million.idle(per_million.Standing("", 0), prices.HOME_REGION)["alarms"]
    assert (
        f"costs about ${idle['meter']:.2f} a month ({per_million._METER_TICKS:,.0f} ticks, of two seconds by our "
        f"estimate, ${ticks:.2f}; their questions to CloudWatch, ${questions:.2f}"
    ) in operations
    assert f"and its two alarms ${alarms:.2f}." in operations


def test_a_dashboard_is_counted_where_the_stack_has_one(template):
    for name in ("ReceiptFunction", "MeterFunction"):
        variables = template["Resources"][name]["Properties"]["Environment"]["Variables"]
        assert variables["HAS_DASHBOARD"] == {"Ref": "Dashboard"}
    idle = per_million.idle(per_million.Standing("", 0, dashboards=1), prices.HOME_REGION)
    asked = mock.Mock(return_value={"Datapoints": []})
    for has, part in ((True, idle["dashboards"] / 2), (False, None)):
        names = usage.Names("dogs", "k", "arn:p", (), (), has_dashboard=has)
        metered = usage.Usage(mock.Mock(get_metric_statistics=asked), mock.Mock(), names)
        half = metered.dollars(1_796_083_200.0 + 15.5 * 86_400)  # the middle of December
        assert half.get("dashboard") == part
    pages = {
        name: (ROOT / f"docs/{name}.md").read_text().replace("\n", " ") for name in ("aws", "operations", "reference")
    }
    for page in pages.values():
        assert f"${idle['dashboards']:.0f} a month" in page


def test_nothing_else_of_the_stack_costs_while_nobody_asks(template):
    """One key, and none of the resources that cost by the hour or the month beside what is counted."""
    types = Counter(each["Type"] for each in template["Resources"].values())
    assert types["AWS::KMS::Key"] == 1
    [dashboard] = resources(template, "AWS::CloudWatch::Dashboard")
    assert dashboard["Condition"] == "HasDashboard"
    for dear in (
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


def test_readme_shows_dollars_as_a_run_prints_them():
    """The rows of the README's sample are those that the program prints for the endpoint that the page assumes."""
    trial = {"rate": ASSUMED.rate / 2, "p50_ms": ASSUMED.answer_ms, "within_limits": True}
    output = {
        "run": {"endpoint": {"instance_type": ASSUMED.instance_type, "min_instances": 1, "max_instances": 4}},
        "endpoint": {"scaling": {"measurement": {"knee_per_second": ASSUMED.rate, "trials": [trial]}}},
    }
    out = console()
    with out.capture() as capture:
        out.print(dollars.table(output))
    printed = [line.strip() for line in capture.get().splitlines()]
    shown = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    [begin] = [number for number, line in enumerate(shown) if line.startswith("photos of")]
    assert shown[begin] == printed[0]
    assert shown[begin + 1] in printed
    monthly = burn.monthly(per_million.Standing(ASSUMED.instance_type, 1), burn.Stored())
    assert f"${monthly[0].dollars_per_month:,.2f}  {monthly[0].what}" in shown


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


def test_page_tells_what_few_requests_cost_a_function_and_an_instance():
    """The function is as large as one core needs it, answers as fast as the instance, and starts in a second."""
    rows = re.findall(r"\| ([\d,]+) \| ([\d.]+) % \| (\$[\d.,]+ \| \$[\d.,]+ \| \$[\d.,]+ \| \$[\d.,]+) \|", section())
    assert "function](function.md) of 1,769 MB that takes as long, 10 ms, and starts in 1 s (assumed" in section()
    told = {int(requests.replace(",", "")): (float(share), amounts) for requests, share, amounts in rows}
    assert list(told) == [1_000, 10_000, 100_000, 1_000_000, 10_000_000]
    call, home = per_million.CALLS[100_000], prices.HOME_REGION
    for requests, (share, amounts) in told.items():
        cold_share = per_million.cold_share(requests)
        assert share == pytest.approx(100 * cold_share, abs=0.06)
        host = per_million.ModelFunction(1769, ASSUMED.answer_ms, hop_ms=3, cold_share=cold_share, cold_ms=1000)
        rate = requests / 24 / 3600
        parts = (
            per_million.parts_of_function(host, call, "", rate, home),
            per_million.parts_of_function(host, call, per_million.REST_API, rate, home),
            per_million.on_a_day(ASSUMED, call, per_million.FUNCTION_URL, requests, region=home),
            per_million.on_a_day(ASSUMED, call, per_million.REST_API, requests, region=home),
        )
        assert [float(amount.lstrip("$").replace(",", "")) for amount in amounts.split(" | ")] == [
            pytest.approx(per_million.total(each), abs=0.006) for each in parts
        ]


def test_page_tells_what_stack_and_traces_cost_beside_the_table():
    alone = per_million.idle(per_million.Standing("", 0), prices.HOME_REGION)
    around = per_million.idle(per_million.Standing("ml.c7i.large", 1), prices.HOME_REGION)
    with_instance = per_million.total({k: v for k, v in around.items() if k not in ("endpoint", "volume")})
    beside = f"about ${per_million.total(alone):.0f} a month with a function, and ${with_instance:.0f} with an instance"
    assert beside in section()
    assert "one request a second, 86,400 a day" in section()
    assert per_million.traced(86_400 / 24 / 3600) == 1.0
    traces = prices.dollars("xray/trace", per_million.MILLION, prices.HOME_REGION)
    assert f"which is ${traces:.2f} of a million" in section()


def test_page_tells_what_an_idle_month_costs():
    page, readme = ((ROOT / name).read_text() for name in ("docs/aws.md", "README.md"))
    idle = per_million.idle(per_million.Standing("ml.c7i.large", 1), prices.HOME_REGION)
    words = f"about ${per_million.total(idle):.0f} a month"
    assert words in page
    assert words in readme
    assert f"about ${idle['endpoint']:.0f} for the endpoint, ${idle['volume']:.2f} for its volume" in page
