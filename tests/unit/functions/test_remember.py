"""What a failed run restores: scaling policies, and the model's function."""

from datetime import UTC, datetime

import boto3
import pytest
from botocore.validate import ParamValidator

from remember.function import before
from remember.policies import scaling_policies
from shared.restoring import FunctionBefore
from tests.unit.functions.model_functions import NAME, NEW, OLD, RESOURCE, ROLE, Lambda, Scaling

OF_VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/dogs/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
DESCRIBED = {"PolicyARN": "arn:p", "Alarms": [], "CreationTime": datetime(2026, 3, 14, tzinfo=UTC), **OF_VARIANT}
TRACKING = {"TargetValue": 5.0, "ScaleInCooldown": 300, "ScaleOutCooldown": 60}
STEPS = {
    "AdjustmentType": "PercentChangeInCapacity",
    "StepAdjustments": [
        {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 10.0, "ScalingAdjustment": 100},
        {"MetricIntervalLowerBound": 10.0, "ScalingAdjustment": 300},
    ],
}
CONCURRENCY = {
    "PolicyName": "dogs-concurrency",
    "PolicyType": "TargetTrackingScaling",
    "TargetTrackingScalingPolicyConfiguration": TRACKING,
}
BURST = {"PolicyName": "dogs-burst", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": STEPS}


def test_policies_are_valid_requests_of_application_auto_scaling():
    restored = scaling_policies([{**DESCRIBED, **CONCURRENCY}, {**DESCRIBED, **BURST}])
    assert restored.policies == [{**OF_VARIANT, **CONCURRENCY}, {**OF_VARIANT, **BURST}]
    client = boto3.client("application-autoscaling", region_name="us-east-1")
    shape = client.meta.service_model.operation_model("PutScalingPolicy").input_shape
    assert [ParamValidator().validate(each, shape).generate_report() for each in restored.policies] == ["", ""]


def test_burst_value_is_the_first_steps_upper_bound():
    assert scaling_policies([{**DESCRIBED, **CONCURRENCY}, {**DESCRIBED, **BURST}]).burst_value == 10.0


@pytest.mark.parametrize("policies", [[], [{**DESCRIBED, **CONCURRENCY}]])
def test_burst_value_is_0_without_a_step_policy(policies):
    assert scaling_policies(policies).burst_value == 0


@pytest.mark.parametrize("versions", [{}, {"$LATEST": ""}])
def test_function_that_no_alias_makes_serve_is_none(versions):
    assert before(Lambda(None, versions), Scaling(), NAME) is None


def test_function_is_remembered_with_the_version_that_serves_all_callers_but_a_few():
    versions = {OLD: "run-before", NEW: "run"}
    canary = {"AdditionalVersionWeights": {NEW: 0.1}}
    assert before(Lambda((OLD, canary), versions), Scaling(), NAME) == FunctionBefore(
        version=OLD, description="run-before", role=ROLE, provisioned=0, reserved=None, ranges=[], policies=[]
    )


def test_function_is_remembered_with_what_keeps_it_ready():
    own = {"ServiceNamespace": "lambda", "ResourceId": RESOURCE, "PolicyName": "dogs-provisioned"}
    described = {**own, "PolicyType": "TargetTrackingScaling", "PolicyARN": "arn:p", "Alarms": []}
    ranges = [{"MinCapacity": 2, "MaxCapacity": 4, "RoleARN": "arn:r"}]
    found = before(Lambda((OLD, {}), {OLD: "x"}, provisioned=3, reserved=50), Scaling(ranges, [described]), NAME)
    assert (found.provisioned, found.reserved) == (3, 50)
    assert found.ranges == [{"MinCapacity": 2, "MaxCapacity": 4}]
    assert found.policies == [{**own, "PolicyType": "TargetTrackingScaling"}]
