"""What IAM holds the pipeline to, whatever a request or a changed state machine asks for."""

import copy

import pytest

from cloud.iam import hooks, permissions
from cloud.iam.hooks import Decision
from tests.contract import test_permissions
from tests.contract.test_permissions import SCOPE, requests, sample_run, statements

CREATING = {
    "Train": "CreateTrainingJob",
    "Search": "CreateHyperParameterTuningJob",
    "Evaluate": "CreateProcessingJob",
    "CreateModel": "CreateModel",
    "ConfigureStaging": "CreateEndpointConfig",
    "ConfigureStagingWithoutKey": "CreateEndpointConfig",
    "ConfigureProduction": "CreateEndpointConfig",
}
FOREIGN_KEY = SCOPE.arn("kms", "key/foreign")
# What each request must not ask for: the path to the member, and its value. None takes the member away.
FORBIDDEN = [
    ("Train", "ResourceConfig.InstanceType", "ml.p5.48xlarge"),
    ("Train", "ResourceConfig.InstanceType", None),
    ("Train", "ResourceConfig.VolumeKmsKeyId", FOREIGN_KEY),
    ("Train", "OutputDataConfig.KmsKeyId", FOREIGN_KEY),
    ("Train", "OutputDataConfig.KmsKeyId", None),
    ("Train", "EnableNetworkIsolation", False),
    ("Train", "EnableNetworkIsolation", None),
    ("Train", "EnableInterContainerTrafficEncryption", False),
    ("Search", "TrainingJobDefinition.ResourceConfig.InstanceType", "ml.p5.48xlarge"),
    ("Search", "TrainingJobDefinition.EnableNetworkIsolation", False),
    ("Search", "TrainingJobDefinition.EnableInterContainerTrafficEncryption", None),
    ("Search", "TrainingJobDefinition.OutputDataConfig.KmsKeyId", FOREIGN_KEY),
    ("Evaluate", "ProcessingResources.ClusterConfig.InstanceType", "ml.p5.48xlarge"),
    ("Evaluate", "ProcessingResources.ClusterConfig.VolumeKmsKeyId", FOREIGN_KEY),
    ("Evaluate", "ProcessingOutputConfig.KmsKeyId", None),
    ("Evaluate", "NetworkConfig.EnableNetworkIsolation", False),
    ("Evaluate", "NetworkConfig", None),
    ("CreateModel", "EnableNetworkIsolation", False),
    ("CreateModel", "EnableNetworkIsolation", None),
    ("ConfigureStaging", "ProductionVariants.0.InstanceType", "ml.p5.48xlarge"),
    ("ConfigureStaging", "KmsKeyId", FOREIGN_KEY),
    ("ConfigureStagingWithoutKey", "ProductionVariants.0.InstanceType", "ml.p5.48xlarge"),
    ("ConfigureProduction", "ProductionVariants.0.InstanceType", None),  # a serverless variant has none
]


@pytest.fixture(scope="module")
def capped(template, machines):
    """Return a function that asks IAM about a task's changed request, in a stack that allows two instance types."""
    lists = {"AllowedTrainingTypes": ["ml.c7i.*", "ml.m7i.large"], "AllowedServingTypes": ["ml.c7i.large"]}
    run = sample_run(template)
    sent = {name: arguments for name, _, arguments in requests("Pipeline", machines, template, run)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_permissions, "PARAMETERS", test_permissions.PARAMETERS | lists)
        policy = {"Statement": list(statements(template, "PipelineRole"))}

    def allowed(task, member="", value=None):
        changed = copy.deepcopy(sent[task])
        if member:
            *path, last = member.split(".")
            place = changed
            for part in path:
                place = place[int(part)] if part.isdigit() else place[part]
            place.pop(last)
            if value is not None:
                place[last] = value
        (needed,) = [
            each
            for each in permissions.for_operation("sagemaker", CREATING[task], changed, SCOPE)
            if each.action == f"sagemaker:{CREATING[task]}"
        ]
        principal = f"arn:aws:sts::{SCOPE.account}:assumed-role/pipelinerole/x"
        return hooks.permits(Decision(principal, *needed, False, ""), [policy], None)

    return allowed


@pytest.mark.parametrize("task", CREATING)
def test_what_the_pipeline_sends_is_allowed(capped, task):
    assert capped(task)


@pytest.mark.parametrize(("task", "member", "value"), FORBIDDEN, ids=lambda each: str(each)[-40:])
def test_what_the_stack_does_not_allow_is_denied_by_iam(capped, task, member, value):
    assert not capped(task, member, value)


def test_a_machine_whose_disks_take_no_key_may_be_used(capped):
    assert capped("Train", "ResourceConfig.VolumeKmsKeyId", None)
    assert capped("Evaluate", "ProcessingResources.ClusterConfig.VolumeKmsKeyId", None)


def test_machines_of_ec2_have_the_cap_of_the_parameter(template):
    for name in ("Ec2SpotMachines", "Ec2OnDemandMachines"):
        resources = template["Resources"][name]["Properties"]["ComputeResources"]
        assert resources["MaxvCpus"] == {"Ref": "MaxEc2Vcpus"}
