"""Drill: whoever has a key to the API can stop neither an update nor the way back to an earlier version."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from local import stack
from proofs.drills.attack import Attack, worst_bodies
from proofs.drills.drill_cloud import DrillCloud
from proofs.drills.fuzz import temporary_key
from proofs.drills.stopping import dataset_of, entered
from proofs.promises import Report

_UPDATE_SECONDS = 900  # An update under attack waits for its baking times, and the smoke test for the attackers.
_TAKING_BACK = ("model-errors", "model-time")
_CALLING = ("errors", "latency", "no-capacity")


def blockade(cloud: DrillCloud, report: Report) -> None:
    """Attack by a valid key while the endpoint is updated, and while an earlier version is promoted again."""
    began = datetime.now(UTC)
    bodies = worst_bodies(cloud.photo, random.Random(0))
    with temporary_key(cloud, "attacker") as key, _callers_key(cloud) as callers:
        execution = cloud.start(cloud.deployed.pipeline_arn, {"dataset": dataset_of(cloud)})
        cloud.wait(lambda: "UpdateProduction" in entered(cloud, execution), "the update", 300)
        report.log(f"a new version is about to serve; an attacker sends: {', '.join(bodies)}")
        with Attack(cloud.deployed.api_url, key, bodies) as attack:
            callers.use_up_the_quota()
            status = cloud.to_api()()
            report.log(f"the quota of the callers' key is used up: status {status}")
            report.promise("the callers' key is refused with 429 meanwhile", status == 429)
            _promise_success(cloud, report, "the update succeeds", execution)

            cloud.wait(lambda: bool(_gone_off(cloud, _CALLING, began)), "an alarm that calls a person", 300)
            report.log(f"alarms that only call a person went off: {', '.join(_gone_off(cloud, _CALLING, began))}")
            callers.disable()
            status = cloud.to_api()()
            report.log(f"the callers' key is disabled: status {status}; version 1 is promoted again")
            report.promise("the callers' key is refused with 403 meanwhile", status == 403)
            _promise_success(cloud, report, "the way back to version 1 succeeds", cloud.promote())
    champion = cloud.champion()
    assert champion
    off, felt = _gone_off(cloud, _TAKING_BACK, began), _gone_off(cloud, _CALLING, began)
    report.figures |= {"tried": attack.by_kind(), "alarms that went off": [*felt, *off], **_server_figures(cloud)}
    report.promise("version 1 serves again", str(champion["model_package_arn"]).endswith("/1"))
    report.promise("the attack was felt: an alarm that calls a person went off", bool(felt))
    report.promise("no alarm that takes an update back went off", not off)
    report.promise("all attackers' requests were answered", all(status for _, status in attack.tried))


class _CallersKey:
    """The key and the usage plan that the stack makes for callers."""

    def __init__(self, cloud: DrillCloud) -> None:
        self._gateway = cloud.client("apigateway")
        (described,) = cloud.client("cloudformation").describe_stacks(StackName=stack.STACK)["Stacks"]
        (self._key,) = (each["OutputValue"] for each in described["Outputs"] if each["OutputKey"] == "ApiKeyId")
        (plan,) = self._gateway.get_usage_plans(keyId=self._key)["items"]
        self._plan, self._limit = plan["id"], plan["quota"]["limit"]

    def use_up_the_quota(self) -> None:
        """Lower the quota to what was used, instead of sending a day's requests."""
        self._set_quota(1)

    def disable(self) -> None:
        """Disable the key, as its owner does when it has leaked."""
        self._enable("false")

    def mend(self) -> None:
        """Undo both."""
        self._set_quota(self._limit)
        self._enable("true")

    def _set_quota(self, limit: int) -> None:
        operation = {"op": "replace", "path": "/quota/limit", "value": str(limit)}
        self._gateway.update_usage_plan(usagePlanId=self._plan, patchOperations=[operation])

    def _enable(self, value: str) -> None:
        operation = {"op": "replace", "path": "/enabled", "value": value}
        self._gateway.update_api_key(apiKey=self._key, patchOperations=[operation])


@contextmanager
def _callers_key(cloud: DrillCloud) -> Iterator[_CallersKey]:
    key = _CallersKey(cloud)
    try:
        yield key
    finally:
        key.mend()


def _promise_success(cloud: DrillCloud, report: Report, words: str, execution: str) -> None:
    ended = cloud.await_end(execution, _UPDATE_SECONDS)
    seconds = (ended["stopDate"] - ended["startDate"]).total_seconds()
    report.log(f"{words}: it ended as {ended['status']} after {seconds:.0f} s {ended.get('cause') or ''}".rstrip())
    report.promise(words, ended["status"] == "SUCCEEDED")


def _gone_off(cloud: DrillCloud, ends: tuple[str, ...], since: datetime) -> list[str]:
    """Return the names of the alarms that entered the state ALARM."""
    cloudwatch, found = cloud.client("cloudwatch"), []
    for name in (f"{cloud.endpoint}-{end}" for end in ends):
        history = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")["AlarmHistoryItems"]
        if any("to ALARM" in each["HistorySummary"] and each["Timestamp"] >= since for each in history):
            found.append(name)
    return found


def _server_figures(cloud: DrillCloud) -> dict[str, Any]:
    """Return what the model's own alarms are about, from every line of the server's log instead of its figures."""
    pages = cloud.client("logs").get_paginator("filter_log_events")
    group = f"/aws/sagemaker/Endpoints/{cloud.endpoint}"
    lines = [
        json.loads(event["message"])
        for page in pages.paginate(logGroupName=group, filterPattern='"invocation"')
        for event in page["events"]
    ]
    times = sorted(line["model_ms"] for line in lines if "model_ms" in line)
    return {
        "server errors": sum(line["status"] >= 500 and line["status"] != 503 for line in lines),
        "refusals": sum(line["status"] == 503 for line in lines),
        "p99 of the network, ms": times[int(0.99 * len(times))] if times else None,
    }
