"""Names that contain the stack's or the endpoint's name fit into AWS's limits, whatever those are."""

import json
import re

from cloud.cloudformation.hooks import NAME_LIMITS
from plan.run import run_id
from tests.contract import test_permissions
from tests.contract.conftest import ROOT
from tests.contract.test_permissions import Resolver

# What SAM makes of its own types, and the properties' names there.
OF_SAM = {
    ("AWS::Serverless::Function", "FunctionName"): ("AWS::Lambda::Function", "FunctionName"),
    ("AWS::Serverless::LayerVersion", "LayerName"): ("AWS::Lambda::LayerVersion", "LayerName"),
    ("AWS::Serverless::StateMachine", "Name"): ("AWS::StepFunctions::StateMachine", "StateMachineName"),
}
NAME = re.compile(r"(\w*Name|Name)")
LONGEST_ENDPOINT = "e" * 30


def named(template, stack, endpoint, monkeypatch):
    """Yield the names that the template gives: (type, property, name)."""
    monkeypatch.setitem(test_permissions.PSEUDO, "AWS::StackName", stack)
    monkeypatch.setitem(template["Parameters"]["EndpointName"], "Default", endpoint)
    for resource in template["Resources"].values():
        for key, value in resource.get("Properties", {}).items():
            if (resource["Type"], key) == ("AWS::Scheduler::Schedule", "GroupName"):  # It is another resource's.
                continue
            # The name of a key is a parameter of its own; a permission has another resource's.
            if resource["Type"] in ("AWS::ApiGateway::ApiKey", "AWS::Lambda::Permission"):
                continue
            if NAME.fullmatch(key) and isinstance(value, dict) and key not in ("StageName", "MetricName"):
                kind = resource["Type"], key
                yield *OF_SAM.get(kind, kind), Resolver(template).resolve(value)


def test_page_says_how_long_a_stacks_name_may_be(template, monkeypatch):
    """Functions have the shortest names: 64 characters, of which the longest ending takes nine."""
    names = list(named(template, "", LONGEST_ENDPOINT, monkeypatch))
    assert {(kind, key) for kind, key, _ in names} == set(NAME_LIMITS)
    room = min(NAME_LIMITS[kind, key] - len(name) for kind, key, name in names if LONGEST_ENDPOINT not in name)
    assert room == 55
    assert f"at most {room} characters" in (ROOT / "docs/aws.md").read_text()


def test_names_made_of_the_endpoints_name_fit(template, machines, monkeypatch):
    for kind, key, name in named(template, "s", LONGEST_ENDPOINT, monkeypatch):
        assert len(name) <= NAME_LIMITS[kind, key]
    run = run_id("An execution's name, with Capitals and of 80 characters".ljust(80, "x"))
    assert run == run.lower()  # SageMaker may return names in ARNs in lower case.
    assert len(f"{LONGEST_ENDPOINT}-{run}-s") <= len(f"{LONGEST_ENDPOINT}-{run}-10") <= 63  # staging, retried jobs


def test_model_package_group_has_a_name_that_sagemaker_returns_as_it_is(template, monkeypatch):
    """SageMaker has written names in ARNs in lower case, and policies are compared by case."""
    monkeypatch.setitem(test_permissions.PSEUDO, "AWS::StackName", "My-Stack")
    group = template["Resources"]["ModelPackageGroup"]
    assert Resolver(template).resolve(group["Properties"]["ModelPackageGroupName"]) == "kennel"
    assert re.fullmatch(r"\^\[a-z0-9\]\{1,30\}\$", template["Parameters"]["EndpointName"]["AllowedPattern"])
    assert group["UpdateReplacePolicy"] == "Retain"
    policies = [
        Resolver(template).resolve(template["Resources"][f"{name}Role"]["Properties"]["Policies"])
        for name in ("PlanFunction", "MeasureFunction", "RestoreFunction", "MeterFunction", "Pipeline", "Teardown")
    ]
    assert json.dumps(template).count(":model-package/") == len(policies)
    packages = re.findall(r":model-package/([^\"]*)", json.dumps(policies))
    assert len(packages) == 6
    assert set(packages) == {"kennel/*"}


def test_stack_of_an_earlier_release_may_keep_its_group(template, monkeypatch):
    parameter = template["Parameters"]["ModelPackageGroupName"]
    for name in ("My-Stack", "kennel", "a" * 63, ""):
        assert re.fullmatch(parameter["AllowedPattern"], name)
    for name in ("a" * 64, "-a", "a-", "a_b"):
        assert not re.fullmatch(parameter["AllowedPattern"], name)
    monkeypatch.setitem(parameter, "Default", "My-Stack")
    resolver = Resolver(template)
    assert resolver.resolve(template["Resources"]["ModelPackageGroup"]["Properties"]["ModelPackageGroupName"]) == (
        "My-Stack"
    )
    role = json.dumps(resolver.resolve(template["Resources"]["PipelineRole"]["Properties"]["Policies"]))
    assert ":model-package/My-Stack/*" in role
