"""Look whether the parts of the stack are there that a run needs after hours, and that nobody misses before."""

import shlex
from typing import TYPE_CHECKING

from shared.errors import StackError

if TYPE_CHECKING:
    from mypy_boto3_apigateway import APIGatewayClient
    from mypy_boto3_cloudwatch import CloudWatchClient

    from plan.run import PlanSettings


def check_alarms(cloudwatch: "CloudWatchClient", settings: "PlanSettings") -> None:
    """Look for the alarms that take an update back; SageMaker refuses an update that names an alarm which is gone.

    A function's update would go on without them, and nobody would notice a bad model.

    A deployment of the same template makes no resource again that a hand deleted, and one that reverts drift
    (``REVERT_DRIFT``) would write ``none`` into the champion pointer, so the message has the commands.

    Raises:
        StackError: they are gone.
    """
    commands = alarm_commands(settings)
    answer = cloudwatch.describe_alarms(AlarmNames=list(commands), AlarmTypes=["MetricAlarm"])
    found = {each["AlarmName"] for each in answer["MetricAlarms"]}
    if gone := [name for name in commands if name not in found]:
        raise StackError(
            f"deleted by hand: {' and '.join(gone)}, without which no update is taken back; make again what is "
            f"gone: {' && '.join(shlex.join(commands[name]) for name in gone)}"
        )


def alarm_commands(settings: "PlanSettings") -> dict[str, list[str]]:
    """Return by name the commands that make the alarms which the template has."""
    endpoint = settings.endpoint_name
    common = [
        *("--namespace", "Kennel", "--period", "60", "--treat-missing-data", "notBreaching"),
        *("--dimensions", f"Name=EndpointName,Value={endpoint}"),
        *("--alarm-actions", settings.topic_arn),
    ]
    parts = {
        f"{endpoint}-model-errors": [
            *("--metric-name", "ServerErrors", "--statistic", "Sum", "--evaluation-periods", "1"),
            *("--threshold", "5", "--comparison-operator", "GreaterThanOrEqualToThreshold"),
        ],
        f"{endpoint}-model-time": [
            *("--metric-name", "ModelMicroseconds", "--extended-statistic", "p99", "--evaluation-periods", "3"),
            *("--datapoints-to-alarm", "2", "--threshold", settings.max_p99_microseconds),
            *("--comparison-operator", "GreaterThanThreshold"),
        ],
    }
    command = ["aws", "cloudwatch", "put-metric-alarm", "--alarm-name"]
    return {
        name: [*command, name, "--alarm-description", _runbook(settings, name), *common, *own]
        for name, own in parts.items()
    }


def _runbook(settings: "PlanSettings", alarm: str) -> str:
    """Return the words that lead from an alarm's mail to its paragraph, as each alarm of the template ends."""
    return f"Runbook: {settings.runbook_url}#{alarm.removeprefix(f'{settings.endpoint_name}-')}"


def check_key(apigateway: "APIGatewayClient", settings: "PlanSettings") -> None:
    """Look for the key and the usage plan with which the last smoke test asks the API. Those of callers are not needed.

    Raises:
        StackError: they are gone.
    """
    key = settings.api_key_id
    try:
        is_enabled = apigateway.get_api_key(apiKey=key)["enabled"]
    except apigateway.exceptions.NotFoundException:
        raise StackError(
            f"the pipeline's API key {key} was deleted by hand, so that the smoke test cannot ask the API; make "
            "another: sam deploy --parameter-overrides SmokeApiKeyName=NAME, with a name that no key had before"
        ) from None
    if not is_enabled:
        raise StackError(
            f"the pipeline's API key {key} is disabled, so that the smoke test cannot ask the API; enable it: aws "
            f"apigateway update-api-key --api-key {key} --patch-operations op=replace,path=/enabled,value=true"
        )
    if not _plans(apigateway, settings, key):
        own = settings.api_plan_id
        plan = own if own in _plans(apigateway, settings) else f'"$({shlex.join(_plan_command(settings))})"'
        raise StackError(
            f"the pipeline's key {key} is in no usage plan of the API, so that the smoke test cannot ask it; put it "
            f"into one: aws apigateway create-usage-plan-key --key-type API_KEY --key-id {key} --usage-plan-id {plan}"
        )


def _plans(apigateway: "APIGatewayClient", settings: "PlanSettings", key: str = "") -> list[str]:
    """Return the ids of the usage plans of the stack's API; with a key, of those that have it."""
    plans = apigateway.get_paginator("get_usage_plans")
    return [
        plan["id"]
        for page in (plans.paginate(keyId=key) if key else plans.paginate())
        for plan in page["items"]
        if any(stage["apiId"] == settings.api_id for stage in plan.get("apiStages", []))
    ]


def _plan_command(settings: "PlanSettings") -> list[str]:
    """Return the command that makes the smoke test's usage plan of the template again; it prints the plan's id."""
    return [
        *("aws", "apigateway", "create-usage-plan", "--name", f"{settings.endpoint_name}-smoke"),
        *("--api-stages", f"apiId={settings.api_id},stage=v1", "--throttle", "rateLimit=10,burstLimit=20"),
        *("--query", "id", "--output", "text"),
    ]
