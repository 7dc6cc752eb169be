"""Times that belong together fit, for every value that the parameters allow."""

import pytest

from cloud.core.protocol import problems_of
from cloud.sagemaker import rules
from cloud.stepfunctions import integrations
from tests.contract.conftest import evaluated, states_of

LONGEST_UPDATE = 28_800  # the most that SageMaker takes as MaximumExecutionTimeoutInSeconds
START = 3600  # for the start of the new instances, 10 to 15 minutes on AWS


def assigned_by_plan(machines, bake_seconds):
    """Return $run and $updateSeconds as they are after Plan."""
    run = {"endpoint": {"name": "kennel", "config_name": "kennel-x", "bake_seconds": bake_seconds}}
    assign = machines["pipeline"]["States"]["Plan"]["Assign"]
    seconds = evaluated(assign["updateSeconds"], states={"result": {"Payload": run}})
    return {"run": run, "updateSeconds": seconds}


def update(machines, bake_seconds, capacity):
    variables = {**assigned_by_plan(machines, bake_seconds), "capacityBefore": capacity}
    state = machines["pipeline"]["States"]["UpdateProduction"]
    return evaluated(state["Arguments"], **variables), evaluated(state["Assign"], **variables)


@pytest.fixture(params=["MinValue", "Default", "MaxValue"])
def bake_seconds(request, template):
    return template["Parameters"]["BakeSeconds"][request.param]


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_update_has_time_for_its_waits_and_for_starting_instances(machines, bake_seconds, capacity):
    arguments, _ = update(machines, bake_seconds, capacity)
    policy = arguments["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    timeout = policy["MaximumExecutionTimeoutInSeconds"]
    assert START + 3 * bake_seconds <= timeout <= LONGEST_UPDATE
    routing = policy["TrafficRoutingConfiguration"]
    assert (routing["WaitIntervalInSeconds"], policy["TerminationWaitInSeconds"]) == (bake_seconds, bake_seconds)
    shape = integrations._operation("sagemaker", "updateEndpoint").input_shape
    assert list(problems_of(arguments, shape)) == []
    rules.deployment(arguments["DeploymentConfig"], {"main": capacity}, ["main"])


def test_run_waits_longer_than_sagemaker_and_names_the_time(machines, bake_seconds):
    arguments, assign = update(machines, bake_seconds, 1)
    timeout = arguments["DeploymentConfig"]["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"]
    assert assign["productionDeadline"] == 1000 * (timeout + 600)
    late = machines["pipeline"]["States"]["CheckProduction"]["Choices"][-1]
    cause = evaluated(late["Output"]["Cause"], productionSeconds=assign["productionSeconds"])
    assert cause == f"the endpoint was not in service within {(timeout + 600) // 60} minutes"


def test_created_production_is_named_late_by_the_time_that_it_had(machines):
    state = machines["pipeline"]["States"]["CreateProduction"]
    assign = evaluated(state["Assign"])
    assert assign["productionDeadline"] == 1000 * assign["productionSeconds"]


def restore_deadline(machines):
    """Return the expression of the time until which an update is taken back."""
    assigns = [each.get("Assign", {}) for each in machines["pipeline"]["States"]["ProductionTouched"]["Choices"]]
    [deadline] = [each["restoreDeadline"] for each in assigns if "restoreDeadline" in each]
    return deadline


def test_compensation_waits_for_an_update_and_for_its_return(machines, bake_seconds):
    variables = assigned_by_plan(machines, bake_seconds)
    restore = machines["pipeline"]["States"]["RestoreProduction"]["Arguments"]["DeploymentConfig"]
    back = restore["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"]
    deadline = evaluated(restore_deadline(machines), **variables)
    assert deadline >= 1000 * (variables["updateSeconds"] + back + 600)


def test_teardown_waits_for_an_update(machines, bake_seconds):
    machine = machines["teardown"]
    deadline = machine["States"]["ReadInput"]["Assign"]["deadline"].replace("${BakeSeconds}", str(bake_seconds))
    assert evaluated(deadline) >= 1000 * (assigned_by_plan(machines, bake_seconds)["updateSeconds"] + 1800)
    assert machine["TimeoutSeconds"] >= evaluated(deadline) / 1000 + 2 * 600  # the two deadlines that follow


def test_machine_lives_longer_than_all_that_it_waits_for(machines, template):
    variables = assigned_by_plan(machines, template["Parameters"]["BakeSeconds"]["MaxValue"])
    states = dict(states_of(machines["pipeline"]))
    jobs = sum(states[name]["TimeoutSeconds"] for name in ("Train", "Evaluate"))
    staging = 2 * evaluated(states["CreateStaging"]["Assign"])["stagingDeadline"] / 1000  # its start and its end
    production = variables["updateSeconds"] + 600 + evaluated(restore_deadline(machines), **variables) / 1000
    asking = 4 * 20 * 30  # for instances, and while the endpoint is scaled
    assert jobs + staging + production + asking <= machines["pipeline"]["TimeoutSeconds"]


def test_task_waits_longer_than_its_function_runs(machines, template):
    for name, state in states_of(machines["pipeline"]):
        if state.get("Resource", "").endswith(":lambda:invoke"):
            function = state["Arguments"]["FunctionName"].removeprefix("${").removesuffix("Arn}")
            timeout = template["Resources"][function]["Properties"].get("Timeout")
            assert state["TimeoutSeconds"] > (timeout or template["Globals"]["Function"]["Timeout"]), name
