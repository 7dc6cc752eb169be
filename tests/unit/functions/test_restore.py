"""What a stopped run changed in production is taken back, one step a call."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError

from restore.production import Production
from shared.names import run_id
from shared.restoring import Before
from shared.scaling import ScalingPolicies

NAME = "stopped"
OWN = f"dogs-{run_id(NAME)}"
MINE, OLD = "s3://b/mine", "s3://b/old"
BEFORE = Before(
    config="dogs-old",
    instance_type="ml.c7i.large",
    ranges=[{"MinCapacity": 1, "MaxCapacity": 3}],
    scaling=ScalingPolicies(
        policies=[
            {"PolicyName": "dogs-concurrency", "PolicyType": "TargetTrackingScaling"},
            {"PolicyName": "dogs-burst", "PolicyType": "StepScaling"},
        ],
        burst_value=9,
    ),
    pointer_version=4,
)


SSM = boto3.client("ssm", region_name="us-east-1").exceptions


class Aws:
    """SageMaker, scaling, CloudWatch, S3 and SSM: what a run leaves in them, and which calls change it."""

    exceptions = boto3.client("application-autoscaling", region_name="us-east-1").exceptions

    def __init__(self, *, config=OWN, status="InService", before=BEFORE, version=4, champion=OLD, scaled=True):
        self.endpoints = {"dogs": {"EndpointConfigName": config, "EndpointStatus": status}} if status else {}
        self.before, self.version, self.champion, self.scaled = before, version, champion, scaled
        self.types = {OWN: "ml.c7i.large"}
        self.approval, self.calls = "PendingManualApproval", []
        self.refusal = None

    def called(self, name):
        return [request for call, request in self.calls if call == name]

    def __getattr__(self, name):
        def call(**request):
            self.calls.append((name, request))
            return {"PolicyARN": f"arn:{request.get('PolicyName')}"}

        return call

    def update_endpoint(self, **request):
        if self.refusal:
            raise self.refusal
        self.calls.append(("update_endpoint", request))

    def describe_endpoint(self, EndpointName):
        if EndpointName not in self.endpoints:
            raise absent()
        return self.endpoints[EndpointName]

    def describe_endpoint_config(self, EndpointConfigName):
        return {"ProductionVariants": [{"InstanceType": self.types[EndpointConfigName]}]}

    def describe_model(self, ModelName):
        assert ModelName == OWN
        return {"PrimaryContainer": {"ModelDataUrl": MINE}}

    def describe_scalable_targets(self, **_):
        return {"ScalableTargets": [{}] if self.scaled else []}

    def get_parameter(self, **_):
        if self.champion == "gone":
            raise SSM.ParameterNotFound({"Error": {}}, "GetParameter")
        if self.champion is None:
            return {"Parameter": {"Value": "none", "Version": 1}}
        return {"Parameter": {"Value": json.dumps({"artifact_uri": self.champion}), "Version": self.version}}

    def list_model_packages(self, **_):
        return {"ModelPackageSummaryList": [{"ModelPackageArn": "arn:p/2"}, {"ModelPackageArn": "arn:p/1"}]}

    def describe_model_package(self, ModelPackageName):
        run = run_id(NAME) if ModelPackageName == "arn:p/2" else "another"
        return {"CustomerMetadataProperties": {"run": run}, "ModelApprovalStatus": self.approval}

    def get_object(self, **request):
        assert request == {"Bucket": "b", "Key": f"runs/{run_id(NAME)}/before.json"}
        if self.before is None:
            raise self.exceptions.NoSuchKey({"Error": {}}, "GetObject")
        return {"Body": Body(self.before.model_dump_json())}


class Body:
    def __init__(self, text):
        self.text = text

    def read(self):
        return self.text.encode()


class Parameters:
    """SSM, whose exceptions are not those of the other services."""

    exceptions = SSM

    def __init__(self, aws):
        self.get_parameter = aws.get_parameter


class S3(Aws):
    exceptions = boto3.client("s3", region_name="us-east-1").exceptions


def absent():
    return ClientError({"Error": {"Code": "ValidationException", "Message": "Could not find it."}}, "Describe")


def restore(aws):
    s3 = S3(before=aws.before)
    return Production(aws, aws, aws, s3, Parameters(aws), "b", "dogs", "/k/champion", "arn:g").restore(NAME)


@pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting"])
def test_endpoint_that_is_changing_is_awaited(status):
    aws = Aws(status=status)
    restoration = restore(aws)
    assert not restoration.done
    assert restoration.answer == f"the endpoint dogs is {status}"
    assert aws.calls == []


def test_staging_of_the_run_goes_first():
    aws = Aws()
    aws.endpoints[f"{OWN}-s"] = {"EndpointStatus": "InService"}
    assert not restore(aws).done
    assert aws.calls == [("delete_endpoint", {"EndpointName": f"{OWN}-s"})]


def test_endpoint_with_the_runs_configuration_goes_back_to_the_champions():
    aws = Aws()
    assert restore(aws).answer == "the endpoint dogs goes back to dogs-old"
    assert [each["EndpointConfigName"] for each in aws.called("update_endpoint")] == ["dogs-old"]
    assert not aws.called("deregister_scalable_target")


def test_other_instance_type_is_deregistered_first():
    aws = Aws()
    aws.types = {OWN: "ml.c7i.xlarge"}
    restore(aws)
    names = [name for name, _ in aws.calls]
    assert names.index("deregister_scalable_target") < names.index("update_endpoint")


def test_refused_update_is_tried_again_and_its_reason_is_told():
    aws = Aws()
    aws.refusal = absent()
    restoration = restore(aws)
    assert not restoration.done
    assert restoration.answer == "Could not find it."


def test_scaling_model_configuration_and_version_follow_the_endpoint():
    aws = Aws(config="dogs-old")
    assert restore(aws).done
    assert [each["MaxCapacity"] for each in aws.called("register_scalable_target")] == [3]
    assert len(aws.called("put_scaling_policy")) == 2
    (alarm,) = aws.called("put_metric_alarm")
    assert alarm["Threshold"] == 9
    assert alarm["AlarmActions"] == ["arn:dogs-burst"]
    assert {"EndpointConfigName": OWN} in aws.called("delete_endpoint_config")
    assert aws.called("delete_model") == [{"ModelName": OWN}]
    assert [each["ModelPackageArn"] for each in aws.called("update_model_package")] == ["arn:p/2"]


def test_champion_that_did_not_scale_gets_no_scaling():
    aws = Aws(config="dogs-old", before=BEFORE.model_copy(update={"ranges": []}))
    assert restore(aws).done
    assert not aws.called("register_scalable_target")


def test_run_that_had_moved_the_pointer_stays():
    aws = Aws(version=5)
    restoration = restore(aws)
    assert restoration.done
    assert "had moved the champion pointer" in restoration.answer
    assert [name for name, _ in aws.calls] == ["delete_endpoint_config"]  # Staging's, which may be left.


@pytest.mark.parametrize(("champion", "scaled"), [(OLD, True), (MINE, False)])
def test_endpoint_that_the_run_created_is_deleted_unless_it_was_promoted(champion, scaled):
    aws = Aws(before=None, champion=champion, scaled=scaled)
    assert restore(aws).answer == "the endpoint dogs is being deleted"
    assert len(aws.called("deregister_scalable_target")) == scaled
    assert aws.called("delete_endpoint") == [{"EndpointName": "dogs"}]


def test_endpoint_that_the_run_created_and_promoted_stays():
    aws = Aws(before=None, champion=MINE)
    assert restore(aws).done
    assert not aws.called("delete_endpoint")


def test_first_run_that_was_stopped_leaves_nothing_until_its_end():
    """There is no champion yet: the pointer says none, and nothing was kept, because there was nothing to keep."""
    aws = Aws(before=None, champion=None)
    aws.types = {}
    assert restore(aws).answer == "the endpoint dogs is being deleted"
    assert [name for name, _ in aws.calls][-2:] == ["deregister_scalable_target", "delete_endpoint"]
    aws.endpoints["dogs"]["EndpointStatus"] = "Deleting"
    assert restore(aws).answer == "the endpoint dogs is Deleting"
    aws.endpoints, aws.calls = {}, []
    assert restore(aws).done
    assert aws.called("delete_endpoint_config")[-1] == {"EndpointConfigName": OWN}
    assert aws.called("delete_model") == [{"ModelName": OWN}]
    assert [each["ModelApprovalStatus"] for each in aws.called("update_model_package")] == ["Rejected"]
    assert not aws.called("register_scalable_target")


def test_pointer_that_was_deleted_meanwhile_counts_as_not_moved():
    aws = Aws(champion="gone")
    assert restore(aws).answer == "the endpoint dogs goes back to dogs-old"


def test_nothing_is_rejected_twice():
    aws = Aws(config="dogs-old")
    aws.approval = "Rejected"
    assert restore(aws).done
    assert not aws.called("update_model_package")
