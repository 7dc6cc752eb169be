"""Scalable targets and scaling policies of endpoint variants on the laptop cloud."""

import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import IMAGE, ROLE, Cloud, eventually

RESOURCE = "endpoint/scaled/variant/AllTraffic"
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": RESOURCE,
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
TRACKING = {
    "TargetValue": 4.0,
    "PredefinedMetricSpecification": {
        "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    },
    "ScaleInCooldown": 60,
    "ScaleOutCooldown": 30,
}


@pytest.fixture(scope="module")
def scaling(cloud: Cloud) -> Any:
    return cloud.client("application-autoscaling")


@pytest.fixture(scope="module", autouse=True)
def endpoint(sagemaker: Any, s3: Any) -> Iterator[None]:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("version.txt")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"v1"))
    s3.put_object(Bucket="kennel", Key="models/scaled.tar.gz", Body=archive.getvalue())
    container = {"Image": IMAGE, "ModelDataUrl": "s3://kennel/models/scaled.tar.gz"}
    sagemaker.create_model(ModelName="scaled", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": "scaled", "InstanceType": "ml.c6i.large"}
    for name, kind in (("scaled", "ml.c6i.large"), ("scaled-larger", "ml.c6i.xlarge")):
        variants = [variant | {"InitialInstanceCount": 1, "InstanceType": kind}]
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="scaled", EndpointConfigName="scaled")
    eventually(
        lambda: sagemaker.describe_endpoint(EndpointName="scaled")["EndpointStatus"],
        lambda status: status == "InService",
    )
    yield
    sagemaker.delete_endpoint(EndpointName="scaled")


def test_a_target_and_its_policy_are_kept_and_guard_the_endpoint(scaling: Any, sagemaker: Any) -> None:
    first = scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=2, Tags={"team": "dogs"})
    again = scaling.register_scalable_target(**TARGET, MaxCapacity=3)
    assert first["ScalableTargetARN"] == again["ScalableTargetARN"]
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[RESOURCE])[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 3)
    assert scaling.list_tags_for_resource(ResourceARN=first["ScalableTargetARN"])["Tags"] == {"team": "dogs"}

    policy = {"PolicyName": "concurrency", "PolicyType": "TargetTrackingScaling"}
    arn = scaling.put_scaling_policy(**TARGET, **policy, TargetTrackingScalingPolicyConfiguration=TRACKING)["PolicyARN"]
    (kept,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=RESOURCE)["ScalingPolicies"]
    assert kept["PolicyARN"] == arn
    assert kept["TargetTrackingScalingPolicyConfiguration"] == TRACKING
    activities = scaling.describe_scaling_activities(ServiceNamespace="sagemaker", ResourceId=RESOURCE)
    assert activities["ScalingActivities"] == []

    with pytest.raises(ClientError, match="scalable target exists for a variant being deleted, AllTraffic"):
        sagemaker.delete_endpoint(EndpointName="scaled")
    with pytest.raises(ClientError, match="must be deregistered as scalable targets"):
        sagemaker.update_endpoint(EndpointName="scaled", EndpointConfigName="scaled-larger")

    scaling.delete_scaling_policy(**TARGET, PolicyName="concurrency")
    with pytest.raises(scaling.exceptions.ObjectNotFoundException):
        scaling.delete_scaling_policy(**TARGET, PolicyName="concurrency")
    scaling.deregister_scalable_target(**TARGET)
    with pytest.raises(scaling.exceptions.ObjectNotFoundException):
        scaling.deregister_scalable_target(**TARGET)
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ResourceId": "endpoint/nobody/variant/AllTraffic"}, "does not exist"),
        ({"ResourceId": "endpoint/scaled/variant/Other"}, "no variant Other"),
        ({"ResourceId": "endpoint/scaled"}, "Unsupported service namespace, resource type or scalable dimension"),
        ({"MinCapacity": 4}, "cannot be less than minimum"),
        ({"ScalableDimension": "ecs:service:DesiredCount"}, "scalable dimension"),
    ],
)
def test_targets_that_cannot_scale_are_refused(scaling: Any, changes: dict[str, Any], message: str) -> None:
    request = {**TARGET, "MinCapacity": 1, "MaxCapacity": 2, **changes}
    with pytest.raises(scaling.exceptions.ValidationException, match=message):
        scaling.register_scalable_target(**request)


def test_a_policy_needs_its_target(scaling: Any) -> None:
    with pytest.raises(scaling.exceptions.ObjectNotFoundException, match="No scalable target registered for"):
        scaling.put_scaling_policy(
            **TARGET,
            PolicyName="early",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=TRACKING,
        )
