"""Scalable targets and policies by the state of their endpoint, and how many policies there may be."""

from types import SimpleNamespace
from typing import Any

import pytest

from local.cloud.api import ApiError, invalid
from local.cloud.autoscaling import AutoScaling

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/dogs/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
RANGE = {"MinCapacity": 1, "MaxCapacity": 2}


def policy(name: str) -> dict[str, Any]:
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    return {
        **TARGET,
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 4.0, "PredefinedMetricSpecification": metric},
    }


@pytest.fixture
def endpoint() -> SimpleNamespace:
    return SimpleNamespace(status="InService", fleet={"main": object()})


@pytest.fixture
def scaling(endpoint: SimpleNamespace) -> AutoScaling:
    def find(name: str) -> Any:
        if name != "dogs":
            raise invalid(f"Could not find endpoint {name}.")
        return endpoint

    return AutoScaling(lambda: ("us-east-1", "000000000000"), find)


@pytest.mark.parametrize("status", ["Creating", "Updating", "Failed", "Deleting"])
def test_target_needs_an_endpoint_in_service(scaling: AutoScaling, endpoint: SimpleNamespace, status: str) -> None:
    endpoint.status = status
    with pytest.raises(ApiError, match=f"^ValidationException: SageMaker endpoint dogs is {status}, not InService"):
        scaling.register(TARGET | RANGE)
    assert not scaling.is_registered("dogs", "main")


def test_policy_needs_an_endpoint_in_service(scaling: AutoScaling, endpoint: SimpleNamespace) -> None:
    scaling.register(TARGET | RANGE)
    endpoint.status = "Updating"
    with pytest.raises(ApiError, match=r"^ValidationException: SageMaker endpoint dogs is Updating, not InService"):
        scaling.put_policy(policy("a"))


def test_maximum_cannot_be_moved_below_the_minimum(scaling: AutoScaling) -> None:
    scaling.register(TARGET | {"MinCapacity": 2, "MaxCapacity": 4})
    with pytest.raises(ApiError, match="Maximum capacity cannot be less than minimum capacity"):
        scaling.register(TARGET | {"MaxCapacity": 1})
    (target,) = scaling.describe_targets({"ServiceNamespace": "sagemaker"})["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 4)


def test_target_has_at_most_50_policies(scaling: AutoScaling) -> None:
    scaling.register(TARGET | RANGE)
    for number in range(50):
        scaling.put_policy(policy(f"p{number}"))
    with pytest.raises(ApiError, match=r"^LimitExceededException: "):
        scaling.put_policy(policy("one-more"))
    scaling.put_policy(policy("p0"))  # a change is no new policy
