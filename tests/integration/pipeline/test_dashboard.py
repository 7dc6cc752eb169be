"""The deployed dashboard, read back from the laptop's CloudWatch and rendered with figures of requests really sent."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.api import Api
from local.dashboard import document, figures
from local.dashboard.document import Chart
from shared.names import run_id
from tests.integration.laptop import eventually
from tests.integration.pipeline.kennel import Kennel, revoked

SCALE = 20.0  # of the cloud's clock, see ``environment`` in kennel.py
NAME = "kennel-us-east-1"


def sums(kennel: Kennel, title: str) -> Counter[str]:
    """Return the sum of each line of a chart over all the cloud's life, as the command asks for it."""
    cloud = kennel.laptop
    body = cloud.client("cloudwatch").get_dashboard(DashboardName=NAME)["DashboardBody"]
    [chart] = [each for each in document.read(body) if isinstance(each, Chart) and each.title == title]
    now = datetime.now(UTC)
    lines = figures.series_of(cloud, chart, now - timedelta(hours=2), now, SCALE)
    return Counter({each.label: round(sum(point.value for point in each.points)) for each in lines})


def test_dashboard_counts_the_requests_that_were_sent(kennel: Kennel) -> None:
    """Three photos, of which one is none, and two requests with a wrong key, which reach no function."""
    cloud = kennel.drill_cloud()
    titles = ("Requests a minute", "Refused a minute: bad photos, keys, too many requests")
    requests, refused = (sums(kennel, title) for title in titles)
    api = Api(cloud.deployed.api_url, cloud.deployed.api_key)
    assert [api.classify(body, "image/jpeg").status for body in (cloud.photo, cloud.photo, b"\xff\xd8\xff no")] == [
        *(200, 200),
        400,
    ]
    strangers = Api(cloud.deployed.api_url, "wrong")
    assert {strangers.classify(cloud.photo, "image/jpeg").status for _ in range(2)} == {403}

    # SageMaker's metrics come when their minute is over.
    more = eventually(
        lambda: sums(kennel, titles[0]) - requests, lambda found: found["at the endpoint"] >= 2, seconds=120
    )
    assert more["at the REST API"] == 5
    assert more["at the API's function, by both doors"] == 3
    assert sums(kennel, titles[1]) - refused == {"by the API's function (4xx)": 1, "4xx at the REST API": 3}


def test_dashboard_is_rendered_from_the_document_with_everything_known(kennel: Kennel, tmp_path: Path) -> None:
    file = tmp_path / "dashboard.html"
    command = kennel.local("dashboard", "--once", "--minutes", "600", "--html", str(file))
    assert command.returncode == 0, command.stdout + command.stderr
    [last, *_] = kennel.client("stepfunctions").list_executions(stateMachineArn=kennel.outputs()["PipelineArn"])[
        "executions"
    ]
    html = file.read_text()
    for shown in (command.stdout, html):
        assert f"{NAME}" in shown
        assert "instances in service (ml.c7i.large), scaling between 1 and" in shown
        assert f"of run {kennel.champion()['run']}, top-1" in shown
        assert run_id(last["name"]) in shown
        assert "not metered: MonthlyDollars is 0" in shown
        assert "kennel-function-throttles" in shown
        assert "MaxP99Microseconds" in shown
        assert "not known" not in shown
        assert "clock runs 20 times as fast, so its minute is 3 s" in shown
    assert "no data in these 600 minutes: the model's" in command.stdout
    body = kennel.client("cloudwatch").get_dashboard(DashboardName=NAME)["DashboardBody"]
    assert html.count("<svg") == sum(each["type"] == "metric" for each in json.loads(body)["widgets"]) == 10
    assert "http-equiv" not in html
    assert file.resolve().as_uri() in command.stdout


def test_widget_asks_with_its_own_rights(kennel: Kennel) -> None:
    """Without one right, one row says what is not known, and the others stay."""
    function = kennel.client("lambda")

    def answer(event: dict[str, object]) -> str:
        response = function.invoke(FunctionName="kennel-widget", Payload=json.dumps(event))
        return str(json.loads(response["Payload"].read()))

    assert answer({"describe": True}).startswith("## Kennel")
    with revoked(kennel, "WidgetFunctionRole", "states:ListExecutions"):
        html = eventually(lambda: answer({}), lambda found: "not known" in found)
    assert html.count("not known") == 1
    assert "instances in service" in html
