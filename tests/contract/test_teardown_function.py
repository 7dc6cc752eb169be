"""Teardown and the model's function: what a person, a lease and the meter end, and what stays."""

import json
from collections import ChainMap

import pytest

from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope
from tests.contract.test_failures import Broken

CONTEXT = {"Execution": {"Id": "arn:teardown", "Name": "x"}}
NOTHING = {
    "putParameter": {},
    "deleteParameter": {},
    "deleteAlarms": {},
    "deregisterScalableTarget": {},
    "deleteSchedule": {},
    "listEndpointConfigs": {"EndpointConfigs": []},
    "listModels": {"Models": []},
}


class Account(Broken):
    """An account with a hosting pointer, and perhaps an endpoint and the model's function.

    holder: ARN of the execution that holds the lock; it runs.
    busy: how often Lambda still refuses to delete the function.
    """

    def __init__(self, hosting, *, function=True, endpoints=(), holder="", busy=0):
        super().__init__(None, dict(NOTHING), StatesError("Broken", "no such call"))
        self.pointers = {"${HostingParameter}": hosting, "${ChampionParameter}": "the model"}
        self.function, self.endpoints, self.holder, self.busy = function, list(endpoints), holder, busy
        self.targets = []

    def invoke(self, task):
        action, arguments = task.resource.rpartition(":")[2], task.arguments
        name = arguments.get("Name")
        if action == "putParameter" and name == "${LockParameter}" and self.holder:
            raise StatesError("Ssm.ParameterAlreadyExistsException", "")
        if action == "putParameter" and name in self.pointers:
            self.pointers[name] = arguments["Value"]
        if action == "getParameter":
            if (value := {**self.pointers, "${LockParameter}": self.holder}[name]) is None:
                raise StatesError("Ssm.ParameterNotFoundException", "")
            return {"Parameter": {"Value": value}}
        if action == "deregisterScalableTarget":
            self.targets.append(arguments["ResourceId"])
            if not self.function and arguments["ServiceNamespace"] == "lambda":
                raise StatesError("ApplicationAutoScaling.ObjectNotFoundException", "")
        if action == "deleteFunction":
            assert arguments == {"FunctionName": "kennel-model"}  # Without a version everything goes.
            self.busy -= 1
            if self.busy >= 0:
                raise StatesError("Lambda.ResourceConflictException", "An update is in progress")
            if not self.function:
                raise StatesError("Lambda.ResourceNotFoundException", "")
            self.function = False
            return {}
        if action == "deleteEndpoint":
            self.endpoints.remove(arguments["EndpointName"])
            return {}
        if action == "listEndpoints":
            return {"Endpoints": [{"EndpointName": each} for each in self.endpoints]}
        if action == "describeExecution":
            return {"Status": "RUNNING"}
        return super().invoke(task)


def torn_down(machines, account, request):
    text = json.dumps(machines["teardown"]).replace("${EndpointName}", "kennel").replace("${BakeSeconds}", "4")
    return Interpreter(account).run(json.loads(text), request, Scope(CONTEXT, ChainMap({})))


@pytest.mark.parametrize("request_", [{}, {"overspend": True}])
def test_function_is_deleted_with_its_scaling_and_both_pointers_say_none(machines, request_):
    account = Account("function", busy=2)
    output = torn_down(machines, account, request_)
    assert output["functions"] == ["kennel-model"]
    assert not account.function
    assert "function:kennel-model:live" in account.targets
    assert set(account.pointers.values()) == {"none"}
    assert account.entered.index("DeregisterModelFunction") < account.entered.index("DeleteModelFunction")


@pytest.mark.parametrize("hosting", ["none", "instances", None])
def test_endpoint_goes_without_a_function(machines, hosting):
    account = Account(hosting, function=False, endpoints=["kennel"])
    output = torn_down(machines, account, {})
    assert (output["endpoints"], output["functions"]) == (["kennel"], [])
    assert set(account.pointers.values()) == {"none"}


def test_lease_ends_an_endpoint_and_leaves_a_function_that_serves(machines):
    """A run that had changed the hosting may have left its endpoint, which costs by the hour."""
    account = Account("function", endpoints=["kennel"])
    output = torn_down(machines, account, {"lease": True})
    assert (output["endpoints"], output["functions"]) == (["kennel"], [])
    assert account.function
    assert account.pointers == {"${HostingParameter}": "function", "${ChampionParameter}": "the model"}
    assert account.targets == ["endpoint/kennel/variant/main"]
    assert "EndLease" in account.entered


def test_lease_of_an_endpoint_that_serves_ends_all(machines):
    account = Account("instances", endpoints=["kennel"])
    assert torn_down(machines, account, {"lease": True})["functions"] == ["kennel-model"]
    assert set(account.pointers.values()) == {"none"}


@pytest.mark.parametrize("request_", [{"lease": True}, {"overspend": True}])
def test_lease_and_meter_ask_again_while_a_run_is_at_work(machines, request_):
    account = Account("function", holder="arn:aws:states:us-east-1:000000000000:execution:kennel-pipeline:x")
    assert torn_down(machines, account, request_)["functions"] == []
    assert account.function


def test_person_is_refused_while_a_run_is_at_work(machines):
    account = Account("function", holder="arn:aws:states:us-east-1:000000000000:execution:kennel-pipeline:x")
    with pytest.raises(StatesError, match="nothing is deleted while this execution is at work"):
        torn_down(machines, account, {})
    assert account.function
