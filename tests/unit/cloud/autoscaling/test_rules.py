"""Requests that Application Auto Scaling refuses beyond botocore's model; each test breaks one rule."""

from typing import Any

import pytest

from cloud.autoscaling import rules
from cloud.autoscaling.services import EndpointVariants, ProvisionedConcurrency
from cloud.core.protocol import ApiError

POLICY: dict[str, Any] = {
    "PolicyName": "p",
    "PolicyType": "TargetTrackingScaling",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    "TargetTrackingScalingPolicyConfiguration": {
        "TargetValue": 4.0,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        },
    },
}


def check(request: dict[str, Any], service: Any = EndpointVariants) -> None:
    rules.scaling_policy(request, service.policy_types, service.metrics)


def refused(message: str) -> Any:
    return pytest.raises(ApiError, match=f"^ValidationException: {message}")


def test_a_request_within_the_rules_passes() -> None:
    check(POLICY)


@pytest.mark.parametrize("resource", ["endpoint/dogs", "variant/main/endpoint/dogs", "dogs", "endpoint/a/variant/b/c"])
def test_resource_id_names_endpoint_and_variant(resource: str) -> None:
    assert rules.scaled_variant("endpoint/dogs/variant/main") == ("dogs", "main")
    with refused("Unsupported service namespace, resource type or scalable dimension"):
        rules.scaled_variant(resource)


@pytest.mark.parametrize("resource", ["function:f", "function:f:$LATEST", "f:live", "function:f:live:1"])
def test_resource_id_names_function_and_alias_or_version(resource: str) -> None:
    assert rules.scaled_function("function:f:live") == ("f", "live")
    assert rules.scaled_function("function:f:12") == ("f", "12")
    with refused("Unsupported service namespace, resource type or scalable dimension"):
        rules.scaled_function(resource)


def test_provisioned_concurrency_is_scaled_by_target_tracking_of_its_utilization() -> None:
    utilization = {"PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"}
    dimension = {"ScalableDimension": "lambda:function:ProvisionedConcurrency"}
    request = policy(TargetValue=0.7, PredefinedMetricSpecification=utilization) | dimension
    check(request, ProvisionedConcurrency)
    with refused("Scalable dimension .* only supports the following predefined metric types: SageMaker"):
        check(request)
    with refused("Scalable dimension .* only supports the following predefined metric types: LambdaProvisionedConcurr"):
        check(POLICY | dimension, ProvisionedConcurrency)
    with refused("Scalable dimension .* only supports the following policy types: TargetTrackingScaling"):
        check({**steps((0, None)), **dimension}, ProvisionedConcurrency)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"MinCapacity": 1}, "You must specify MinCapacity and MaxCapacity"),
        ({"MinCapacity": -1, "MaxCapacity": 1}, "Minimum capacity cannot be less than 0"),
        ({"MinCapacity": 3, "MaxCapacity": 2}, "Maximum capacity cannot be less than minimum capacity"),
    ],
)
def test_scaling_range_is_whole_and_ordered(target: dict[str, int], message: str) -> None:
    rules.scaling_range({"MinCapacity": 0, "MaxCapacity": 0})
    with refused(message):
        rules.scaling_range(target)


def policy(**tracking: Any) -> dict[str, Any]:
    return POLICY | {"TargetTrackingScalingPolicyConfiguration": {"TargetValue": 4.0, **tracking}}


PREDEFINED = POLICY["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]
STEP = {"StepScalingPolicyConfiguration": {"AdjustmentType": "ChangeInCapacity"}}
CUSTOMIZED = {"MetricName": "m", "Namespace": "n", "Statistic": "Average"}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"PolicyName": "p"}, "StepScaling policy configuration must be specified"),
        ({**POLICY, **STEP}, "You must only provide a single scaling policy configuration, which must match"),
        (POLICY | {"PolicyType": "PredictiveScaling"}, "PredictiveScaling policy configuration must be specified"),
        (policy(), "PredefinedMetricSpecification or CustomizedMetricSpecification must be set for target tracking"),
        (
            policy(PredefinedMetricSpecification=PREDEFINED, CustomizedMetricSpecification=CUSTOMIZED),
            "Only one of PredefinedMetricSpecification or CustomizedMetricSpecification can be set",
        ),
        (
            policy(PredefinedMetricSpecification={"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}),
            "Scalable dimension sagemaker:variant:DesiredInstanceCount only supports the following predefined metric",
        ),
        (
            policy(PredefinedMetricSpecification=PREDEFINED | {"ResourceLabel": "app/x"}),
            "You can't specify a resource label unless the metric type is ALBRequestCountPerTarget",
        ),
    ],
)
def test_policy_has_one_configuration_and_one_metric_of_endpoints(request_: dict[str, Any], message: str) -> None:
    with refused(message):
        check(request_)
    check(policy(CustomizedMetricSpecification=CUSTOMIZED))


def steps(*adjustments: tuple[float | None, float | None], kind: str = "ChangeInCapacity", by: int = 1) -> Any:
    """Return the members of a request whose step adjustments have these bounds."""
    documents = []
    for lower, upper in adjustments:
        bounds = {"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper}
        members = {name: bound for name, bound in bounds.items() if bound is not None}
        documents.append({**members, "ScalingAdjustment": by})
    return {"StepScalingPolicyConfiguration": {"AdjustmentType": kind, "StepAdjustments": documents}}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (STEP, "You must specify an AdjustmentType and at least one StepAdjustment"),
        (steps((0, None), kind="ExactCapacity", by=-1), ".*must be a non-negative value"),
        (steps((2, 2)), ".*must be greater than its lower bound"),
        (steps((None, None)), ".*at least one of upper bound or lower bound"),
        (steps((0, 2), (1, None)), ".*can't overlap or have a gap"),
        (steps((0, 2), (3, None)), ".*can't overlap or have a gap"),
        (steps((0, None), (2, None)), ".*can't overlap or have a gap"),
        (steps((-5, 0)), ".*an unspecified lower bound"),
        (steps((0, 5)), ".*an unspecified upper bound"),
    ],
)
def test_steps_cover_what_they_begin(request_: dict[str, Any], message: str) -> None:
    with refused(message):
        check({"PolicyType": "StepScaling", **request_})
    check(steps((None, -5), (-5, 0), (0, 5), (5, None)))  # StepScaling is the default PolicyType.


@pytest.mark.parametrize(
    "request_",
    [
        {"PolicyType": "PredictiveScaling", "PredictiveScalingPolicyConfiguration": {"MetricSpecifications": []}},
        policy(CustomizedMetricSpecification={"Metrics": [{"Id": "m", "Expression": "1"}]}),
    ],
)
def test_policies_that_the_laptop_lacks_are_refused_plainly(request_: dict[str, Any]) -> None:
    with refused(".*[Tt]he laptop cloud"):
        check(request_)
