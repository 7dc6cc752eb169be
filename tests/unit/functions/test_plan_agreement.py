"""Pointer, endpoint, bucket, registry and scaling are compared before anything costs; a hand may have changed each."""

import hashlib
import json

import boto3
import pytest
from botocore.exceptions import ClientError

from plan.agreement import Agreement
from shared.contracts import RegisteredChampion, Request
from shared.errors import ChampionError
from tests.unit.functions.buckets import Bucket

URI, OLDER = "s3://b/runs/r/artifact/model.tar.gz", "s3://b/runs/older/artifact/model.tar.gz"
GROUP = "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/dogs"
VERSIONS = {7: URI, 6: OLDER}
CHAMPION = RegisteredChampion(
    run="r",
    artifact_uri=URI,
    model_package_arn="arn:aws:sagemaker:us-east-1:000000000000:model-package/dogs/7",
    instance_type="ml.c7i.large",
    top1=0.9,
)
POINTER = CHAMPION.model_dump_json(exclude={"manifest"})
PROMOTED = {"config": "dogs-x", "min_instances": "1", "max_instances": "3", "target_value": "4", "burst_value": "8"}


def environment(manifest):
    return {"Environment": {"KENNEL_MANIFEST": manifest}} if manifest else {}


def absent(code="ValidationException"):
    return ClientError({"Error": {"Code": code, "Message": "none"}}, "Describe")


class Account:
    """All that names the model of the endpoint ``dogs``, in agreement until a test changes an attribute.

    There is no function before a test makes ``alias`` that of one.
    """

    exceptions = boto3.client("ssm", region_name="us-east-1").exceptions

    def __init__(self):
        body = b"weights"
        report = json.dumps({"artifact_sha256": hashlib.sha256(body).hexdigest()}).encode()
        self.files = {"runs/r/artifact/model.tar.gz": body, "runs/r/report/evaluation.json": report}
        self.pointer, self.status, self.serving = POINTER, "InService", URI
        self.hosting, self.alias, self.environment = "instances", None, {"KENNEL_ARTIFACT": URI}
        self.config, self.config_exists, self.variant = "dogs-x", True, "main"
        self.instance_type, self.model_exists = "ml.c7i.large", True
        self.served_manifest = self.registered_manifest = ""
        self.packages = {number: {"ModelApprovalStatus": "Approved", "metadata": {}} for number in VERSIONS}
        self.packages[7]["metadata"] = PROMOTED
        self.targets = [{"MinCapacity": 1, "MaxCapacity": 3, "SuspendedState": {"DynamicScalingInSuspended": False}}]
        self.policies = [
            {"PolicyName": "dogs-concurrency", "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 4.0}},
            {"PolicyName": "dogs-burst", "PolicyARN": "arn:step"},
        ]
        self.alarms = [{"AlarmActions": ["arn:step"], "Threshold": 8.0, "ActionsEnabled": True}]

    def get_parameter(self, Name):
        value = {"/k/champion": self.pointer, "/dogs/hosting": self.hosting}[Name]
        if value is None:
            raise self.exceptions.ParameterNotFound({"Error": {}}, "GetParameter")
        return {"Parameter": {"Value": value, "Version": 4}}

    def get_alias(self, FunctionName, Name):
        assert (FunctionName, Name) == ("dogs-model", "live")
        if self.alias is None:
            raise absent("ResourceNotFoundException")
        return self.alias

    def get_function(self, FunctionName, Qualifier):
        assert (FunctionName, Qualifier) == ("dogs-model", "live")
        configuration = {"Version": "3", "Environment": {"Variables": self.environment}}
        return {"Configuration": configuration, "Code": {"ResolvedImageUri": "repo@sha256:1"}}

    def describe_endpoint(self, **_):
        if self.status is None:
            raise absent()
        return {"EndpointStatus": self.status, "EndpointConfigName": self.config}

    def describe_endpoint_config(self, **_):
        if not self.config_exists:
            raise absent()
        variant = {"ModelName": "m", "VariantName": self.variant, "InstanceType": self.instance_type}
        return {"ProductionVariants": [variant]}

    def describe_model(self, **_):
        if not self.model_exists:
            raise absent()
        container = {"ModelDataUrl": self.serving, "Image": "repo@sha256:1"}
        return {"PrimaryContainer": container | environment(self.served_manifest)}

    def describe_model_package(self, ModelPackageName):
        number = int(ModelPackageName.rpartition("/")[2])
        if number not in self.packages:
            raise absent()
        package = self.packages[number]
        return {
            "ModelApprovalStatus": package["ModelApprovalStatus"],
            "InferenceSpecification": {
                "Containers": [{"ModelDataUrl": VERSIONS[number]} | environment(self.registered_manifest)]
            },
            "CustomerMetadataProperties": package["metadata"],
        }

    def get_paginator(self, operation):
        assert operation == "list_model_packages"
        return self

    def paginate(self, **request):
        assert request["ModelPackageGroupName"] == GROUP
        listed = [n for n, each in self.packages.items() if each["ModelApprovalStatus"] == "Approved"]
        yield {"ModelPackageSummaryList": [{"ModelPackageArn": f"arn:dogs/{number}"} for number in listed]}

    def describe_scalable_targets(self, **_):
        return {"ScalableTargets": self.targets}

    def describe_scaling_policies(self, **_):
        return {"ScalingPolicies": self.policies}

    def describe_alarms(self, AlarmNames):
        assert AlarmNames == ["dogs-burst"]
        return {"MetricAlarms": self.alarms}


def agreement(account):
    bucket = Bucket(account.files)
    clients = bucket, *[account] * 5
    return Agreement(*clients, "/k/champion", "/dogs/hosting", "dogs", GROUP)


def refusal(account, **request):
    with pytest.raises(ChampionError) as refused:
        agreement(account).champion(Request(**request))
    return str(refused.value)


def changed(**attributes):
    account = Account()
    for name, value in attributes.items():
        assert hasattr(account, name)
        setattr(account, name, value)
    return account


@pytest.mark.parametrize("status", ["InService", "Updating", "Failed", None])
def test_champion_with_which_everything_agrees_is_returned(status):
    assert agreement(changed(status=status)).champion(Request()) == CHAMPION


ALIAS = {"FunctionVersion": "3", "Name": "live"}


def by_function(**attributes):
    """Return an account in which a function serves, and no endpoint."""
    return changed(**{"hosting": "function", "status": None, "alias": ALIAS, **attributes})


@pytest.mark.parametrize("account", [by_function(), by_function(alias=None), by_function(hosting="none")])
def test_champion_with_which_the_function_agrees_is_returned(account):
    """What scales an endpoint, and its machines, do not count."""
    account.targets, account.policies, account.alarms = [], [], []
    assert agreement(account).champion(Request()) == CHAMPION


@pytest.mark.parametrize("hosting", ["instances", "function", "none", None])
def test_what_the_hosting_pointer_names_serves(hosting):
    """Beside it the rest of a change may be left, which callers ask no more."""
    serving = agreement(changed(hosting=hosting, alias=ALIAS)).serving()
    assert serving.who == ("function dogs-model" if hosting == "function" else "endpoint dogs")
    alone = agreement(by_function(hosting=hosting)).serving()
    assert (alone and alone.who) == (None if hosting == "instances" else "function dogs-model")


@pytest.mark.parametrize("pointer", ["none", None, "nobody"])
def test_pointer_without_a_champion_is_refused_while_a_function_serves(pointer):
    said = refusal(by_function(pointer=pointer))
    assert f'but the function dogs-model serves {URI}; start a run with {{"promote": 7}}' in said


def test_function_that_serves_another_version_is_refused_with_its_number():
    said = refusal(by_function(environment={"KENNEL_ARTIFACT": OLDER}))
    assert f"the function dogs-model serves {OLDER}, and the champion pointer names {URI}" in said
    assert 'start a run with {"promote": 6}, the version that serves' in said
    said = refusal(by_function(environment={}))
    assert "serves no artifact, because its version 3 names none, and the champion pointer names" in said


@pytest.mark.parametrize("manifest", [{}, {"KENNEL_MANIFEST": "34cd"}])
def test_function_that_does_not_check_the_manifest_of_its_version_is_refused(manifest):
    account = by_function(registered_manifest="12ab", environment={"KENNEL_ARTIFACT": URI, **manifest})
    assert "the function dogs-model serves version 7 without checking that its artifact has the" in refusal(account)
    account.environment = {"KENNEL_ARTIFACT": URI, "KENNEL_MANIFEST": "12ab"}
    assert agreement(account).champion(Request()) == CHAMPION.model_copy(update={"manifest": "12ab"})
    del account.packages[7]
    said = refusal(account)
    assert '"Image": "repo@sha256:1"' in said
    assert '"KENNEL_MANIFEST": "12ab"' in said


def test_alias_that_leads_to_two_versions_is_refused_with_the_command_that_mends_it():
    shared = ALIAS | {"RoutingConfig": {"AdditionalVersionWeights": {"4": 0.1}}}
    said = refusal(by_function(alias=shared))
    assert "the alias live of the function dogs-model leads to version 3 and also to 4 (10%)" in said
    assert said.endswith("--function-name dogs-model --name live --routing-config AdditionalVersionWeights={}")
    assert agreement(by_function(alias=ALIAS | {"RoutingConfig": {"AdditionalVersionWeights": {}}})).serving()


def test_champion_has_the_manifest_that_the_registry_names():
    """An older pointer does not know it, and whoever may write the bucket cannot change the registry."""
    account = changed(served_manifest="12ab", registered_manifest="12ab")
    assert agreement(account).champion(Request()) == CHAMPION.model_copy(update={"manifest": "12ab"})


@pytest.mark.parametrize("served", ["", "34cd"])
def test_endpoint_that_does_not_check_the_manifest_of_its_version_is_refused(served):
    refused = refusal(changed(served_manifest=served, registered_manifest="12ab"))
    assert "without checking that its artifact has the manifest 12ab, which the registry names" in refused
    assert 'start a run with {"promote": 7}' in refused


def test_version_that_is_registered_again_keeps_its_manifest():
    account = changed(served_manifest="12ab", registered_manifest="12ab")
    del account.packages[7]
    assert '"Environment": {"KENNEL_MANIFEST": "12ab"}' in refusal(account)


def test_artifact_and_report_that_were_replaced_together_are_refused():
    account = Account()
    report = account.files["runs/r/report/evaluation.json"]
    account.packages[7]["metadata"] = PROMOTED | {"report": hashlib.sha256(report).hexdigest()}
    assert agreement(account).champion(Request())
    account.files["runs/r/artifact/model.tar.gz"] = b"others"
    account.files["runs/r/report/evaluation.json"] = json.dumps(
        {"artifact_sha256": hashlib.sha256(b"others").hexdigest()}
    ).encode()
    assert "the report s3://b/runs/r/report/evaluation.json is not the one that" in refusal(account)


def test_endpoint_that_does_not_serve_contradicts_nothing():
    account = changed(status="Failed", serving=OLDER, targets=[], policies=[])
    assert agreement(account).champion(Request()) == CHAMPION


@pytest.mark.parametrize("pointer", ["none", None])
def test_without_pointer_and_endpoint_the_run_counts_as_the_first(pointer):
    assert agreement(changed(pointer=pointer, status=None)).champion(Request()) is None


@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        (None, "/k/champion is gone"),
        ("none", "/k/champion names no champion"),
        ("nobody", "/k/champion holds 'nobody', which names no champion"),
        (json.dumps(CHAMPION.model_dump() | {"top1": "x"}), "which names no champion"),
    ],
)
def test_pointer_without_a_champion_is_refused_while_an_endpoint_serves(pointer, words):
    said = refusal(changed(pointer=pointer))
    assert words in said
    assert f'but the endpoint dogs serves {URI}; start a run with {{"promote": 7}}' in said


@pytest.mark.parametrize("pointer", ["", "nobody", "{}", "[1]", "null"])
def test_garbled_pointer_without_an_endpoint_is_mended_by_teardown(pointer):
    said = refusal(changed(pointer=pointer, status=None))
    assert "which names no champion, and nothing serves; start teardown with {}, which writes 'none' into it" in said


def test_pointer_to_another_version_than_the_one_that_serves_is_refused_with_its_number():
    said = refusal(changed(serving=OLDER))
    assert f"the endpoint dogs serves {OLDER}, and the champion pointer names {URI}" in said
    assert 'start a run with {"promote": 6}, the version that serves, or another one (the pointer has 7)' in said


def test_model_that_was_deleted_is_refused_with_the_run_that_mends_it():
    said = refusal(changed(model_exists=False))
    assert "serves the model m, which was deleted, and" in said
    assert 'start a run with {"promote": N}, where N is the version that shall serve (the pointer has 7)' in said


def test_configuration_that_was_deleted_is_refused_for_runs_and_promotions():
    account = changed(config_exists=False)
    sentence = "the configuration dogs-x, with which the endpoint dogs serves, was deleted"
    assert sentence in refusal(account)
    with pytest.raises(
        ChampionError, match=rf'{sentence}.* start teardown with {{}}, then a run with {{"promote": N}}'
    ):
        agreement(account).serving()


@pytest.mark.parametrize("change", [{"config": "by-hand"}, {"variant": "AllTraffic"}])
def test_configuration_that_was_replaced_is_refused_for_runs_and_promotions(change):
    said = refusal(changed(**change))
    assert "which no run made and to which none can go back" in said
    assert 'start teardown with {}, then a run with {"promote": 7}' in said
    with pytest.raises(ChampionError, match="which no run made"):
        agreement(changed(**change)).serving()


def test_instance_type_that_was_changed_is_refused_with_the_run_that_mends_it():
    said = refusal(changed(instance_type="ml.m5.4xlarge"))
    assert "runs on ml.m5.4xlarge, and the champion pointer names ml.c7i.large" in said
    assert '{"promote": 7, "serving_instance_type": …}' in said


def test_artifact_that_is_gone_is_refused_with_what_mends_it():
    account = Account()
    del account.files["runs/r/artifact/model.tar.gz"]
    said = refusal(account)
    assert f"the champion's artifact {URI} is gone" in said
    assert 'put the file back, or start a run with {"promote": N}' in said


def test_artifact_that_is_another_file_is_refused():
    account = Account()
    account.files["runs/r/artifact/model.tar.gz"] = b"Weights"
    assert f"the champion's artifact {URI} is another file than the one that was judged" in refusal(account)


@pytest.mark.parametrize("report", [None, b"{}", b"rubbish"])
def test_artifact_of_an_earlier_release_is_not_compared(report):
    account = Account()
    del account.files["runs/r/report/evaluation.json"]
    if report is not None:
        account.files["runs/r/report/evaluation.json"] = report
    account.files["runs/r/artifact/model.tar.gz"] = b"Weights"
    assert agreement(account).champion(Request()) == CHAMPION


@pytest.mark.parametrize("status", ["Rejected", "PendingManualApproval"])
def test_version_that_is_not_approved_is_refused_with_the_command_that_approves_it(status):
    account = Account()
    account.packages[7]["ModelApprovalStatus"] = status
    said = refusal(account)
    assert f"version 7, which the champion pointer names, is {status} in the registry; approve it: aws sage" in said
    assert f"--model-package-arn {CHAMPION.model_package_arn} --model-approval-status Approved" in said


def test_version_that_was_deleted_is_refused_with_the_command_that_registers_it():
    account = Account()
    del account.packages[7]
    said = refusal(account)
    assert "version 7, which the champion pointer names, was deleted from the registry" in said
    containers = f'{{"Containers": [{{"Image": "repo@sha256:1", "ModelDataUrl": "{URI}"}}]}}'
    assert f"--inference-specification '{containers}' --customer-metadata-properties run=r,top1=0.9" in said
    account.status = None
    assert "start teardown with {}, after which the next run counts as the first" in refusal(account)


def test_pointer_whose_version_has_another_artifact_is_refused():
    other = CHAMPION.model_copy(update={"model_package_arn": CHAMPION.model_package_arn[:-1] + "6"})
    said = refusal(changed(pointer=other.model_dump_json(exclude={"manifest"})))
    assert f'names {URI} as version 6, which is {OLDER} in the registry; start a run with {{"promote": 7}}' in said


def policies(*, target=4.0, without=""):
    account = Account()
    account.policies[0]["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] = target
    return [each for each in account.policies if each["PolicyName"] != without]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": []}, "no range"),
        ({"policies": policies(without="dogs-concurrency")}, "no policy dogs-concurrency"),
        ({"policies": policies(without="dogs-burst")}, "no policy dogs-burst"),
        ({"policies": policies(target=9.0)}, "keeps 9.0 requests in an instance, and should keep 4"),
        ({"alarms": []}, "no alarm dogs-burst"),
        ({"alarms": [{"AlarmActions": ["arn:old"], "Threshold": 8.0}]}, "does not start its policy"),
        ({"alarms": [{"AlarmActions": ["arn:step"], "Threshold": 8.0, "ActionsEnabled": False}]}, "does not start"),
        ({"alarms": [{"AlarmActions": ["arn:step"], "Threshold": 90.0}]}, "goes off at 90.0 requests, and should at 8"),
    ],
)
def test_scaling_that_was_removed_or_changed_is_refused_with_the_promotion_that_mends_it(change, words):
    said = refusal(changed(**change))
    assert "the endpoint dogs does not scale as its promotion set it up: " in said
    assert words in said
    assert said.endswith('start a run with {"promote": 7}, which sets it up again')


def test_scaling_that_was_suspended_is_refused_with_the_command_that_resumes_it():
    account = Account()
    account.targets[0]["SuspendedState"] = {"DynamicScalingInSuspended": True}
    said = refusal(account)
    assert "the scaling of the endpoint dogs is suspended; resume it: aws application-autoscaling register-" in said
    assert "--resource-id endpoint/dogs/variant/main " in said
    assert said.endswith("--suspended-state DynamicScalingInSuspended=false")


def test_range_that_was_changed_is_refused_unless_the_request_says_what_holds():
    account = changed(targets=[{"MinCapacity": 2, "MaxCapacity": 9}])
    said = refusal(account)
    assert "scales from 2 to 9 instances, and was promoted with 1 to 3" in said
    assert '{"min_instances": 2, "max_instances": 9}' in said
    assert agreement(account).champion(Request(max_instances=9)) == CHAMPION


def test_scaling_of_another_promotion_is_compared_by_its_parts_alone():
    """The run that wrote the figures was stopped before the pointer moved, or an earlier release wrote none."""
    for metadata in ({**PROMOTED, "config": "dogs-stopped", "target_value": "99"}, {}):
        account = changed(targets=[{"MinCapacity": 2, "MaxCapacity": 9}])
        account.packages[7]["metadata"] = metadata
        assert agreement(account).champion(Request()) == CHAMPION
        account.policies.pop()
        assert "no policy dogs-burst" in refusal(account)
