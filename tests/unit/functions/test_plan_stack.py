"""Parts of the stack that a hand deleted are told by Plan, with the command that makes them again."""

import pytest
from botocore.exceptions import ClientError

from plan import stack
from shared.errors import StackError
from tests.unit.functions.test_plan import SETTINGS


class Alarms:
    def __init__(self, *names):
        self.names = names

    def describe_alarms(self, AlarmNames, **_):
        return {"MetricAlarms": [{"AlarmName": name} for name in AlarmNames if name in self.names]}


def test_alarms_that_are_there_are_no_problem():
    stack.check_alarms(Alarms("dogs-model-errors", "dogs-model-time"), SETTINGS)


@pytest.mark.parametrize(
    ("left", "gone"), [(["dogs-model-errors"], ["dogs-model-time"]), ([], ["dogs-model-errors", "dogs-model-time"])]
)
def test_rollback_alarms_that_are_gone_are_told_with_the_commands(left, gone):
    with pytest.raises(StackError) as refused:
        stack.check_alarms(Alarms(*left), SETTINGS)
    assert str(refused.value).startswith(f"deleted by hand: {' and '.join(gone)}, without which no update is taken")
    assert str(refused.value).count("aws cloudwatch put-metric-alarm --alarm-name dogs-") == len(gone)


class NotFoundError(ClientError):
    def __init__(self):
        super().__init__({"Error": {"Code": "NotFoundException", "Message": ""}}, "Get")


class Gateway:
    """API Gateway with usage plans: the API and the keys of each."""

    class exceptions:
        NotFoundException = NotFoundError

    def __init__(self, plans, *, keys=("key1",), enabled=True):
        self.plans, self.keys, self.enabled = plans, keys, enabled

    def get_api_key(self, apiKey):
        if apiKey not in self.keys:
            raise NotFoundError
        return {"enabled": self.enabled}

    def get_paginator(self, operation):
        assert operation == "get_usage_plans"
        return self

    def paginate(self, keyId=None):
        listed = [(id, api) for id, (api, keys) in self.plans.items() if keyId is None or keyId in keys]
        yield {"items": [{"id": id, "apiStages": [{"apiId": api}]} for id, api in listed]}
        yield {"items": [{"id": "bare"}] if keyId is None else []}


def test_key_in_a_plan_of_the_api_is_no_problem():
    stack.check_key(Gateway({"other": ("a2", []), "p": ("a1", []), "again": ("a1", ["key1"])}), SETTINGS)


@pytest.mark.parametrize(
    ("gateway", "words"),
    [
        (Gateway({}, keys=()), "key1 was deleted by hand.*sam deploy --parameter-overrides SmokeApiKeyName=NAME"),
        (
            Gateway({"p": ("a1", ["key1"])}, enabled=False),
            "key1 is disabled.*aws apigateway update-api-key --api-key k",
        ),
        (
            Gateway({"callers": ("a1", []), "smoke": ("a1", [])}),
            "in no usage plan of the API.*create-usage-plan-key .*--usage-plan-id smoke$",
        ),
        (Gateway({"callers": ("a1", [])}), "create-usage-plan --name dogs-smoke .*apiId=a1"),
        (Gateway({"p": ("a2", ["key1"])}), r"--usage-plan-id \"\$\(aws apigateway create-usage-plan .*apiId=a1,stage"),
    ],
)
def test_key_without_which_the_smoke_test_cannot_ask_is_told_with_the_command(gateway, words):
    with pytest.raises(StackError, match=words):
        stack.check_key(gateway, SETTINGS)
