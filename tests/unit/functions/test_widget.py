"""The function of the dashboard's custom widget, with prices and times worked out by hand."""

import importlib
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from shared.model_function import Found
from shared.names import run_id
from shared.spending import Spending
from tests.unit.functions.buckets import Bucket
from widget import costs, facts, runs
from widget.facts import Function, Instances, Nothing
from widget.rows import Row, failing_softly, to_html

NOW = datetime(2026, 12, 1, 10, 0, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0)
# us-east-1: $0.107 an hour for ml.c7i.large, $0.14 for a GB of volume and 730 hours; each has a volume of 20 GB.
HOUR = 2 * (0.107 + 20 * 0.14 / 730)
TWO = Instances("dogs", "InService", MIDNIGHT + timedelta(hours=6), "ml.c7i.large", 2, 2, 1, 4)


@pytest.fixture(autouse=True)
def region(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def refused(code):
    def ask(**_):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "Ask")

    return ask


def execution(name, begin, end=None, status="SUCCEEDED"):
    told = {"executionArn": f"arn:{name}", "name": name, "startDate": begin, "status": status}
    return told | ({"stopDate": end} if end else {})


def receipts(**dollars):
    return Bucket(
        {f"runs/{run_id(name)}/receipt.json": json.dumps({"dollars": each}).encode() for name, each in dollars.items()}
    )


@pytest.mark.parametrize(
    ("fleet", "words", "mood"),
    [
        (TWO, "endpoint dogs, InService: 2 of 2 instances in service (ml.c7i.large), scaling between 1 and 4", "good"),
        (
            Instances("dogs", "Updating", NOW, "ml.c7i.large", 1, 3),
            "endpoint dogs, Updating: 1 of 3 instances in service (ml.c7i.large)",
            "bad",
        ),
        (
            Function("dogs-model", Found(1769), 1, 2, 20),
            "function dogs-model of 1,769 MB: 1 of 2 environments kept ready, at most 20 at once (reserved)",
            "bad",
        ),
        (
            Function("dogs-model", Found(1024), 0, 0, None),
            "function dogs-model of 1,024 MB: none kept ready, no concurrency reserved",
            "good",
        ),
        (Function("dogs-model", Found(), 0, 0, None), "function dogs-model should serve, and is not there", "bad"),
        (Nothing(), "nothing; a run deploys a model", "bad"),
    ],
)
def test_what_serves_is_told_beside_what_is_wanted(fleet, words, mood):
    assert fleet.row() == Row("Serves", words, mood)


def test_instances_are_those_that_the_endpoint_tells():
    variants = [{"VariantName": "main", "CurrentInstanceCount": 2, "DesiredInstanceCount": 3}]
    endpoint = {
        "EndpointStatus": "InService",
        "CreationTime": NOW,
        "EndpointConfigName": "c",
        "ProductionVariants": variants,
    }
    sagemaker = SimpleNamespace(
        describe_endpoint=lambda **_: endpoint,
        describe_endpoint_config=lambda **_: {"ProductionVariants": [{"InstanceType": "ml.c7i.large"}]},
    )
    targets = [{"MinCapacity": 1, "MaxCapacity": 4}]
    scaling = SimpleNamespace(describe_scalable_targets=lambda **_: {"ScalableTargets": targets})
    assert facts.fleet("instances", sagemaker, None, scaling, "dogs") == Instances(
        "dogs", "InService", NOW, "ml.c7i.large", 2, 3, 1, 4
    )
    targets.clear()
    assert facts.fleet("none", sagemaker, None, scaling, "dogs").most == 0  # Until a function has served.
    sagemaker.describe_endpoint = refused("ValidationException")
    assert facts.fleet("instances", sagemaker, None, scaling, "dogs") == Nothing()
    assert facts.fleet("none", sagemaker, None, scaling, "dogs") == Nothing()


def test_function_is_what_lambda_tells():
    lambdas = SimpleNamespace(
        get_provisioned_concurrency_config=lambda **_: {
            "AvailableProvisionedConcurrentExecutions": 1,
            "RequestedProvisionedConcurrentExecutions": 2,
        },
        get_function_concurrency=lambda **_: {"ReservedConcurrentExecutions": 20},
        get_function_configuration=lambda **_: {"MemorySize": 1769, "Architectures": ["arm64"]},
    )
    found = facts.fleet("function", None, lambdas, None, "dogs")
    assert found == Function("dogs-model", Found(1769, "arm64"), 1, 2, 20)
    lambdas.get_provisioned_concurrency_config = refused("ProvisionedConcurrencyConfigNotFoundException")
    lambdas.get_function_concurrency = lambda **_: {}
    assert facts.fleet("function", None, lambdas, None, "dogs") == Function(
        "dogs-model", Found(1769, "arm64"), 0, 0, None
    )


def test_hour_is_priced_by_the_book():
    assert costs.hourly(TWO) == pytest.approx(HOUR)
    assert costs.hourly(Instances("dogs", "InService", NOW, "ml.unheard.of", 1, 1)) is None
    # $0.0000041667 for a GB-second that is kept ready; two environments of 2 GB.
    ready = Function("dogs-model", Found(2048), 2, 2, None)
    assert costs.hourly(ready) == pytest.approx(2 * 2 * 3600 * 0.0000041667)
    assert costs.hourly(Nothing()) == 0
    assert costs.now(TWO).words == "$0.2217 an hour, $5.32 a day, while it serves as now; requests cost besides"
    assert costs.now(Nothing()).words.startswith("nothing by the hour")


def test_today_counts_the_runs_of_the_day_and_what_serves_since_it_was_made():
    """Two runs have ended today, one is at work, one was yesterday; the endpoint is there since six, four hours."""
    last = [
        execution("d", NOW - timedelta(minutes=1), status="RUNNING"),
        execution("c", MIDNIGHT + timedelta(hours=8), NOW),
        execution("b", MIDNIGHT, NOW, "FAILED"),
        execution("a", MIDNIGHT - timedelta(seconds=1), NOW),
    ]
    row = costs.today(TWO, last, receipts(a=100.0, b=0.25, c=0.5), "b", NOW)
    assert row.words == (
        f"about ${0.75 + 4 * HOUR:.2f}: $0.75 for 2 runs, ${4 * HOUR:.2f} for what serves, "
        "had it been as now for 4.0 h; without requests"
    )
    assert costs.today(TWO, last, receipts(c=0.5), "b", NOW).words.startswith(
        f"at least ${0.5 + 4 * HOUR:.2f}: $0.50 for 2"
    )
    many = [execution("c", NOW, NOW)] * runs.NEWEST
    assert costs.today(Nothing(), many, receipts(c=0.5), "b", NOW).words.startswith(
        "at least $10.00: $10.00 for 20 runs, $0.00"
    )


@pytest.mark.parametrize(
    ("limit", "document", "words", "mood"),
    [
        (0.0, None, "not metered: MonthlyDollars is 0", "plain"),
        (50.0, Spending(), "the meter has not counted yet", "plain"),
        (
            50.0,
            Spending(at=NOW.timestamp() - 60, months={"2026-12": {"x": 12.0, "y": 0.34}, "2026-11": {"x": 99.0}}),
            "about $12.34 of $50, counted at 09:59 UTC",
            "plain",
        ),
        (
            50.0,
            Spending(at=NOW.timestamp() - 86_400, months={"2026-12": {"x": 1.0}}, uncounted=1),
            "at least $1.00 of $50, counted at 10:00 UTC on 30 Nov; the meter is late",
            "bad",
        ),
        (
            10.0,
            Spending(at=NOW.timestamp(), months={"2026-12": {"x": 12.0}}, capped=True),
            "about $12.00 of $10, counted at 10:00 UTC; scaling is held at the fewest instances, and no new run starts",
            "bad",
        ),
    ],
)
def test_month_is_told_as_the_meter_counts_it(limit, document, words, mood):
    value = document.model_dump_json() if document else ""
    ssm = SimpleNamespace(get_parameter=lambda **_: {"Parameter": {"Value": value}})
    assert costs.month(ssm, "/k/spending", limit, NOW) == Row("This month", words, mood)


@pytest.mark.parametrize(
    ("status", "told", "words", "mood"),
    [
        (
            "SUCCEEDED",
            {"output": json.dumps({"status": "promoted", "verdict": {"reason": "better"}})},
            "PROMOTED, better",
            "good",
        ),
        (
            "SUCCEEDED",
            {"output": json.dumps({"status": "refused", "verdict": {"reason": "worse " * 100}})},
            "REFUSED, " + ("worse " * 100)[: 300 - 9 - 1] + "…",
            "plain",
        ),
        ("SUCCEEDED", {"output": json.dumps({"status": "unchanged", "cause": "same"})}, "UNCHANGED, same", "plain"),
        ("FAILED", {"error": "SmokeError", "cause": "no answer"}, "FAILED, SmokeError, no answer", "bad"),
        ("ABORTED", {}, "ABORTED", "bad"),
    ],
)
def test_last_run_is_told_with_its_verdict_and_its_receipt(status, told, words, mood):
    last = [execution("c", NOW - timedelta(minutes=5), NOW - timedelta(minutes=2), status)]
    states = SimpleNamespace(describe_execution=lambda **_: told)
    row = runs.row(states, last, receipts(c=0.0335), "b", NOW)
    assert row == Row("Last run", f"{run_id('c')} of 01 Dec 09:55 UTC, 3 min, $0.0335: {words}", mood)
    assert ", no receipt: " in runs.row(states, last, receipts(), "b", NOW).words


def test_run_at_work_and_none_are_told():
    last = [execution("c", NOW - timedelta(seconds=90), status="RUNNING")]
    assert runs.row(None, last, None, "b", NOW).words == f"{run_id('c')}: at work since 01 Dec 09:58 UTC, 90 s"
    assert runs.row(None, [], None, "b", NOW) == Row("Last run", "none yet")


def test_model_is_that_of_the_pointer():
    champion = {"run": "r-0a1b2c", "model_package_arn": "arn:x:model-package/dogs/3", "top1": 0.995}
    ssm = SimpleNamespace(get_parameter=lambda **_: {"Parameter": {"Value": json.dumps(champion), "Version": 1}})
    assert facts.model(ssm, "/k/champion").words == "version 3 of run r-0a1b2c, top-1 99.5%"


def test_html_escapes_what_others_wrote():
    html = to_html([Row("Last run", "FAILED, <script>alert(1)</script> & more", "bad"), Row("Model", "3")])
    assert "<script" not in html
    assert '<td class="bad" style="color:#d13212">FAILED, &lt;script&gt;alert(1)&lt;/script&gt; &amp; more</td>' in html
    assert '<td class="plain">3</td>' in html


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (refused("AccessDeniedException"), "not known: An error occurred (AccessDeniedException)"),
        (lambda: {}["verdict"], "not known: a document has another form (KeyError('verdict'))"),
    ],
)
def test_what_cannot_be_read_is_a_row_of_its_own(ask, words):
    row = failing_softly("Model", ask)
    assert (row.what, row.mood) == ("Model", "bad")
    assert row.words.startswith(words)


@pytest.fixture
def app(monkeypatch):
    """The function's module, as a function of the stack ``kennel`` imports it."""
    settings = {
        "BUCKET": "b",
        "ENDPOINT_NAME": "dogs",
        "PIPELINE_ARN": "arn:p",
        "CHAMPION_PARAMETER": "/kennel/champion",
        "HOSTING_PARAMETER": "/dogs/hosting",
        "SPENDING_PARAMETER": "/kennel/spending",
        "MONTHLY_DOLLARS": "0",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return importlib.import_module("widget.app")


CONTEXT = SimpleNamespace(
    function_name="kennel-widget", memory_limit_in_mb=512, invoked_function_arn="arn:x", aws_request_id="1"
)


def test_widget_answers_its_documentation_and_its_table(app, monkeypatch):
    assert app.handler({"describe": True}, CONTEXT).startswith("## Kennel")
    values = {"/dogs/hosting": "none", "/kennel/champion": "none"}
    ssm = SimpleNamespace(get_parameter=lambda Name: {"Parameter": {"Value": values[Name], "Version": 1}})
    monkeypatch.setattr(app, "ssm", ssm)
    sagemaker = SimpleNamespace(describe_endpoint=refused("ValidationException"))
    monkeypatch.setattr(app, "sagemaker", sagemaker)
    monkeypatch.setattr(app, "states", SimpleNamespace(list_executions=lambda **_: {"executions": []}))
    html = app.handler({"widgetContext": {}}, CONTEXT)
    told = [part.partition("</th>")[0].rpartition(">")[2] for part in html.split("<tr>")[1:]]
    assert told == ["Serves", "Model", "Costs", "Today (UTC)", "This month", "Last run"]
    monkeypatch.setattr(app, "states", SimpleNamespace(list_executions=refused("AccessDeniedException")))
    assert "not known: An error occurred (AccessDeniedException)" in app.handler({}, CONTEXT)
