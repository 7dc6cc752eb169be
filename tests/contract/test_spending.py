"""The limits of spending: template, state machine and meter agree, and no caller can end what serves by spending."""

import json
import re
from dataclasses import fields

import pytest

from meter import usage
from meter.limits import LONGEST_RUN_SECONDS
from plan.spending import JOB_VOLUME_GB
from shared.spending import Spending
from tests.contract.conftest import ROOT, evaluated
from tests.contract.test_permissions import Resolver


def test_settings_of_the_meter_are_exactly_its_environment(template, monkeypatch):
    variables = template["Resources"]["MeterFunction"]["Properties"]["Environment"]["Variables"]
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in variables:
        monkeypatch.setenv(name, "1")
    from meter.app import MeterSettings

    assert {field.name.upper() for field in fields(MeterSettings)} == set(variables)


def test_meter_counts_every_function_and_log_that_grow_with_the_requests(template):
    resolver, resources = Resolver(template), template["Resources"]
    variables = resources["MeterFunction"]["Properties"]["Environment"]["Variables"]
    own = [resources[f"{name}Function"]["Properties"]["FunctionName"] for name in ("Classify", "Page", "Admit")]
    logs = [
        resources[f"{name}Logs"]["Properties"]["LogGroupName"] for name in ("Classify", "Page", "Admit", "ApiAccess")
    ]
    assert set(resolver.resolve(variables["FUNCTIONS"]).split(",")) == {resolver.resolve(name) for name in own}
    counted = set(resolver.resolve(variables["LOG_GROUPS"]).split(","))
    assert {resolver.resolve(name) for name in logs} <= counted
    assert not any(" " in name for name in counted)


def test_meter_asks_for_warm_functions_where_there_are_some_by_the_alias_that_callers_start(template):
    resources = template["Resources"]
    function = resources["ClassifyFunction"]["Properties"]
    warm = resources["MeterFunction"]["Properties"]["Environment"]["Variables"]["WARM_FUNCTION"]["Fn::If"]
    assert warm == ["HasProvisionedConcurrency", {"Ref": "ClassifyFunction"}, ""]
    assert function["ProvisionedConcurrencyConfig"]["Fn::If"][0] == warm[0]
    assert function["AutoPublishAlias"] == usage.ALIAS
    statements = resources["MeterFunctionRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    [resource] = [each["Resource"] for each in statements if each["Sid"] == "SeeHowManyFunctionsAreKeptWarm"]
    assert resource == {"Fn::Sub": f"${{ClassifyFunction.Arn}}:{usage.ALIAS}"}


def test_nothing_of_the_meter_exists_without_a_limit(template):
    resources = template["Resources"]
    own = [name for name in resources if name.startswith("Meter") or name == "Spending"]
    assert len(own) == 9
    conditions = {name: resources[name]["Condition"] for name in own}
    assert set(conditions.values()) == {
        "HasMonthlyDollars",
        "OwnRolesAndMonthlyDollars",
        "OwnRolesAndTeardownOnOverspend",
    }
    resolver = Resolver(template)
    assert not any(resolver.holds(template["Conditions"][condition]) for condition in conditions.values())


def test_callers_cannot_end_what_serves_by_spending(template):
    """Without OnOverspend=teardown the meter may change nothing of what serves but the range of its scaling."""
    role = template["Resources"]["MeterFunctionRole"]["Properties"]
    statements = role["Policies"][0]["PolicyDocument"]["Statement"]
    listed = [each["Action"] if isinstance(each["Action"], list) else [each["Action"]] for each in statements]
    actions = {action for each in listed for action in each}
    changing = {
        each for each in actions if not each.partition(":")[2].startswith(("Get", "List", "Describe", "BatchGet"))
    }
    assert changing == {
        "ssm:PutParameter",  # its document and its lock
        "ssm:DeleteParameter",  # its lock
        "application-autoscaling:RegisterScalableTarget",
        "iam:CreateServiceLinkedRole",  # that of Application Auto Scaling, which asks for it with each registration
        "sagemaker:UpdateEndpointWeightsAndCapacities",  # by Application Auto Scaling, within the range
        "lambda:PutProvisionedConcurrencyConfig",  # likewise; the function answers without it, too
        "lambda:DeleteProvisionedConcurrencyConfig",
        "sns:Publish",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    condition, _, otherwise = role["ManagedPolicyArns"][1]["Fn::If"]
    assert (condition, otherwise) == ("HasTeardownOnOverspend", {"Ref": "AWS::NoValue"})
    assert template["Parameters"]["OnOverspend"]["Default"] == "cap"
    deletions = {
        each["Resource"]["Fn::Sub"].rpartition("/")[2] for each in statements if each["Sid"] == "ReleaseItsLock"
    }
    assert deletions == {"meter-lock"}


def test_meter_keeps_the_cap_lifted_as_long_as_a_run_may_last(machines):
    assert machines["pipeline"]["TimeoutSeconds"] == LONGEST_RUN_SECONDS


def test_max_dollars_pays_the_volumes_that_the_jobs_get():
    text = (ROOT / "statemachine/pipeline.asl.yaml").read_text()
    assert set(re.findall(r"VolumeSizeInGB\W+(\d+)", text)) == {str(JOB_VOLUME_GB)}


@pytest.mark.parametrize(("capped", "most"), [(True, 1), (False, 4)])
def test_run_that_promotes_does_not_lift_the_cap(machines, capped, most):
    states = machines["pipeline"]["States"]
    endpoint = {"min_instances": 1, "max_instances": 4, "name": "dogs", "variant": "main", "config_name": "dogs-r"}
    run = {"endpoint": endpoint}
    document = Spending(at=1.5, capped=capped, months={"2026-12": {"endpoints": 2.0}}).model_dump_json()
    result = {"result": {"Parameters": [{"Name": "${SpendingParameter}", "Value": document}]}}
    scaling = {"target_value": 4, "burst_value": 8}
    assigned = evaluated(states["ReadSpending"]["Assign"], run=run, states=result, scaling=scaling)
    assert assigned["hostingBefore"] == "none"  # SSM leaves out a parameter that a hand has deleted.
    arguments = evaluated(states["RegisterScalableTarget"]["Arguments"], run=run, **assigned)
    assert (arguments["MinCapacity"], arguments["MaxCapacity"]) == (1, most)
    planned = {"result": {"Payload": {"endpoint": {"max_instances": 4, "bake_seconds": 3}}}}
    assert evaluated(states["Plan"]["Assign"]["maxInstances"], states=planned) == 4
    assert json.loads(document)["capped"] is capped
