"""Whatever task fails, the run ends in Fail and says which state failed and why, also if nobody can explain it."""

import json
from collections import ChainMap

import pytest
import yaml

from cloud.stepfunctions import expressions
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope
from shared.sentence import sentence_of
from tests.contract.conftest import ROOT
from tests.contract.test_permissions import sample_run, sample_variables

PIPELINE = yaml.safe_load((ROOT / "statemachine/pipeline.asl.yaml").read_text())
STATES = PIPELINE["States"]
CAUGHT = [
    name for name, state in STATES.items() if any(each["Next"] == "ExplainFailure" for each in state.get("Catch", []))
]
NO_STAGING = {"listEndpoints": {"Endpoints": [{"EndpointName": "other"}]}}
# Every task fails, and so does the receipt; the message says so.
NO_RECEIPT = "\n\nThere is no receipt: "
REPORT = json.dumps({"errorMessage": "no dogs", "errorType": "Broken"})


class Broken:
    """A cloud in which every task fails, except what explains and notifies.

    failure: how every task fails.
    said: the messages that were published.
    works: the results of the actions that succeed as well, for example of ``createEndpoint``.
    entered: the names of the states that were entered.
    """

    wait_scale = 0.0
    region = "us-east-1"

    def __init__(self, explain, works, failure):
        self.failure = failure
        self.said, self.entered, self.works = [], [], works or {}
        self._explain = explain

    def evaluate(self, expression, scope):
        return expressions.evaluate(expression, scope.variables, scope.states())

    def check(self, resource, arguments):
        pass

    def invoke(self, task):
        resource, arguments = task.resource, task.arguments
        if resource.endswith("sns:publish"):
            self.said.append(arguments["Message"])
            return {}
        if arguments.get("FunctionName") == "${ExplainFunctionArn}":
            return {"Payload": self._explain(arguments["Payload"])}
        action = resource.rpartition(":")[2]
        if action in self.works:
            return self.works[action]
        raise self.failure

    def record(self, kind, details, previous):
        if kind.endswith("StateEntered"):
            self.entered.append(details["stateEnteredEventDetails"]["name"])
        return previous + 1


def explained(payload):
    return {"cause": sentence_of(payload["cause"])}


def unreachable(payload):
    raise StatesError("Lambda.TooManyRequestsException", "Rate Exceeded")


def speechless(payload):
    return {}


def run_from(name, data, explain, template, works=None, endpoint=None, failure=None, **assigned):
    """Begin an execution in the middle; returns how it failed and the cloud that it ran on."""
    variables = {
        **sample_variables(sample_run(template)),
        "planned": True,
        "instances": 1,
        "productionDeadline": 0,
        "productionSeconds": 5100,
        "stagingDeadline": 0,
        "stagingStarted": 0,
        "typeBefore": "ml.c7i.large",
        **dict.fromkeys(("productionTouched", "created", "registered", "hostingTouched", "promoted"), False),
        **{before: [] for before in ("rangeBefore", "policiesBefore")},
        **assigned,
    }
    variables["run"]["endpoint"] |= endpoint or {}
    variables["run"]["network"] = {"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}
    cloud = Broken(explain, works, failure or StatesError("Broken", REPORT))
    context = {"Execution": {"Id": "arn:x", "Name": "x"}}
    with pytest.raises(StatesError) as failed:
        Interpreter(cloud).run({**PIPELINE, "StartAt": name}, data, Scope(context, ChainMap(variables)))
    return failed.value, cloud


@pytest.mark.parametrize("name", CAUGHT)
def test_failed_task_is_named_and_explained(name, template):
    error, cloud = run_from(name, {}, explained, template)
    assert (error.error, error.cause) == ("Broken", "no dogs")
    assert cloud.said == [f"x failed in {name}: Broken: no dogs{NO_RECEIPT}Broken"]


@pytest.mark.parametrize("explain", [explained, unreachable])
@pytest.mark.parametrize("name", CAUGHT)
def test_task_that_times_out_gets_a_reason_in_words(name, explain, template):
    error, cloud = run_from(name, {}, explain, template, failure=StatesError("States.Timeout", None))
    assert (error.error, error.cause) == ("States.Timeout", "no answer came in time")
    assert cloud.said == [f"x failed in {name}: States.Timeout: no answer came in time{NO_RECEIPT}States.Timeout"]
    assert "NotifyFailure" in cloud.entered


@pytest.mark.parametrize("explain", [unreachable, speechless])
def test_failure_that_nobody_explains_ends_in_fail_with_the_whole_report(explain, template):
    error, cloud = run_from("Measure", {}, explain, template)
    assert (error.error, error.cause) == ("Broken", REPORT)
    assert cloud.said == [f"x failed in Measure: Broken: {REPORT}{NO_RECEIPT}Broken"]


@pytest.mark.parametrize(
    ("name", "data", "state", "error", "cause"),
    [
        (
            "IsTrainedModelTheSame",
            {"found": []},
            "Evaluate",
            "TamperedError",
            "was replaced after its training had ended",
        ),
        ("CheckStaging", {"status": "Failed", "reason": "no memory"}, "CreateStaging", "StagingFailed", "no memory"),
        ("CheckStaging", {"status": "Creating"}, "CreateStaging", "StagingTimeout", "within 30 minutes"),
        ("CheckProduction", {"desired": 1}, "UpdateProduction", "CapacityLost", "left 1 instance(s) of 2"),
        ("CheckProduction", {"config": "old"}, "UpdateProduction", "ProductionRolledBack", "alarm"),
        ("CheckProduction", {"status": "Failed"}, "CreateProduction", "ProductionFailed", "the endpoint failed: alarm"),
        ("CheckProduction", {"status": "Updating"}, "DescribeProduction", "ProductionTimeout", "within 85 minutes"),
    ],
)
def test_failure_that_a_choice_finds_is_ascribed_to_its_state(name, data, state, error, cause, template):
    served = {"status": "InService", "config": sample_run(template).endpoint.config_name}
    found, cloud = run_from(
        name, {**served, "desired": 2, "instances": 2, "reason": "alarm", **data}, explained, template
    )
    assert found.error == error
    assert cause in found.cause
    assert cloud.said == [f"x failed in {state}: {error}: {found.cause}{NO_RECEIPT}Broken"]


@pytest.mark.parametrize(
    ("name", "action", "way_back", "never"),
    [
        ("CreateProduction", "createEndpoint", ["ProductionTouched", "DeregisterProduction"], "DescribeTouched"),
        ("UpdateProduction", "updateEndpoint", ["ProductionTouched", "DescribeTouched"], "DeregisterProduction"),
    ],
)
def test_failure_after_production_changed_removes_a_creation_and_takes_back_an_update(
    name, action, way_back, never, template
):
    """The flags that the compensation follows are set by the state that changes production."""
    _, cloud = run_from(name, {}, explained, template, works={action: {}, **NO_STAGING})
    start = cloud.entered.index(way_back[0])
    assert cloud.entered[start : start + 2] == way_back
    assert never not in cloud.entered


def test_failure_before_production_changed_leaves_production_alone(template):
    _, cloud = run_from("CreateProduction", {}, explained, template, works=NO_STAGING)
    assert "ProductionTouched" in cloud.entered
    assert not {"DeregisterProduction", "DescribeTouched"} & set(cloud.entered)
