"""The meter on a deployed stack: it counts with its own rights, tells, refuses runs, and is gone without a limit."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from local.mailbox import subscribed
from tests.integration.pipeline.kennel import Kennel, deploy, wait_for


@pytest.fixture
def mails(bare: Kennel) -> Iterator[list[dict[str, Any]]]:
    """Subscribe to the stack's topic; yield the list of its messages."""
    with subscribed(bare.laptop, bare.outputs()["TopicArn"]) as received:
        yield received


def call(bare: Kennel, function: str, event: dict[str, Any]) -> Any:
    """Call a function, and return its answer, or its error."""
    answer = bare.client("lambda").invoke(FunctionName=f"kennel-{function}", Payload=json.dumps(event))
    return json.loads(answer["Payload"].read())


def plan(bare: Kennel) -> Any:
    """Call Plan with a dataset that does not exist, so that nothing is planned; return its error."""
    name = uuid.uuid4().hex
    arn = bare.outputs()["PipelineArn"].replace(":stateMachine:", ":execution:") + f":{name}"
    return call(bare, "plan", {"request": {"dataset": "dataset/none/"}, "execution": {"arn": arn, "name": name}})


def document(bare: Kennel) -> dict[str, Any]:
    value = bare.client("ssm").get_parameter(Name="/kennel/spending")["Parameter"]["Value"]
    return {} if value == "none" else dict(json.loads(value))


def test_meter_counts_tells_refuses_runs_and_lets_them_start_again(bare: Kennel, mails: list[dict[str, Any]]) -> None:
    assert plan(bare)["errorType"] == "DatasetError"
    deploy(bare, "MonthlyDollars=1000")
    spent = call(bare, "meter", {})
    assert spent["capped"] is False, spent
    assert sum(spent["months"][max(spent["months"])].values()) > 0  # the key and the alarms
    decisions = (bare.home / "cloud" / "authorizations.jsonl").read_text().splitlines()
    asked = [json.loads(line) for line in decisions if "MeterFunctionRole" in line]
    assert {each["action"] for each in asked} >= {"sagemaker:ListTrainingJobs", "cloudwatch:GetMetricStatistics"}
    assert [each for each in asked if not each["allowed"]] == []

    deploy(bare, "MonthlyDollars=0.0001")
    # Nobody calls the meter now: its schedule starts it.
    wait_for(lambda: any("MonthlyDollars is reached" in str(each.get("Subject")) for each in mails))
    wait_for(lambda: bool(document(bare).get("capped")))
    refused = plan(bare)
    assert refused["errorType"] == "SpendingLimitError"
    assert "MonthlyDollars is $0.0001" in refused["errorMessage"]

    deploy(bare, "MonthlyDollars=1000")
    wait_for(lambda: not document(bare)["capped"])
    assert plan(bare)["errorType"] == "DatasetError"

    deploy(bare, "MonthlyDollars=0")
    ssm = bare.client("ssm")
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        document(bare)
    assert bare.client("scheduler").list_schedules(GroupName="kennel")["Schedules"] == []
