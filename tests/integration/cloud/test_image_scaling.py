"""Provisioned concurrency that follows the load; the scaler's waits are sixty times as short as on AWS."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.image_functions import build_images
from tests.integration.laptop import ROLE, Cloud, eventually, serving_cloud

NAME = "scaled"
TARGET = {
    "ServiceNamespace": "lambda",
    "ScalableDimension": "lambda:function:ProvisionedConcurrency",
    "ResourceId": f"function:{NAME}:live",
}


def template(image: str) -> str:
    function = {
        "FunctionName": NAME,
        "PackageType": "Image",
        "ImageUri": image,
        "Role": ROLE,
        "MemorySize": 256,
        "Timeout": 30,
        "AutoPublishAlias": "live",
        "ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": 1},
    }
    tracking = {
        "TargetValue": 0.7,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"},
    }
    policy = {
        "PolicyName": "utilization",
        "PolicyType": "TargetTrackingScaling",
        "ScalingTargetId": {"Ref": "Target"},
        "TargetTrackingScalingPolicyConfiguration": tracking,
    }
    resources = {
        "Function": {"Type": "AWS::Serverless::Function", "Properties": function},
        "Target": {
            "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
            "DependsOn": "FunctionAliaslive",
            "Properties": {**TARGET, "MinCapacity": 1, "MaxCapacity": 3},
        },
        "Policy": {"Type": "AWS::ApplicationAutoScaling::ScalingPolicy", "Properties": policy},
    }
    return json.dumps({"Transform": "AWS::Serverless-2016-10-31", "Resources": resources})


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A separate cloud with a stack whose function has one to three environments."""
    with serving_cloud(tmp_path_factory.mktemp("fast") / "home", KENNEL_TIME_SCALE="60") as cloud:
        formation = cloud.client("cloudformation")
        body = template(build_images(cloud)[0])
        formation.create_stack(StackName=NAME, TemplateBody=body, Capabilities=["CAPABILITY_AUTO_EXPAND"])
        await_stack(cloud, "CREATE_COMPLETE")
        yield cloud


def await_stack(cloud: Cloud, status: str) -> None:
    formation = cloud.client("cloudformation")
    ended = eventually(
        lambda: formation.describe_stacks(StackName=NAME)["Stacks"][0]["StackStatus"],
        lambda current: not current.endswith("_IN_PROGRESS"),
    )
    assert ended == status, formation.describe_stack_events(StackName=NAME)["StackEvents"]


def await_environments(cloud: Cloud, count: int) -> None:
    functions = cloud.client("lambda")

    def current() -> tuple[str, int, int]:
        config = functions.get_provisioned_concurrency_config(FunctionName=NAME, Qualifier="live")
        requested = config["RequestedProvisionedConcurrentExecutions"]
        return config["Status"], requested, config["AvailableProvisionedConcurrentExecutions"]

    eventually(current, lambda each: each == ("READY", count, count), 60)


@contextmanager
def load(cloud: Cloud, callers: int) -> Iterator[None]:
    """Keep one request of half a second in flight for each caller."""
    functions, done = cloud.client("lambda"), threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            response = functions.invoke(FunctionName=NAME, Qualifier="live", Payload=b'{"sleep": 0.5}')
            assert "FunctionError" not in response

    with ThreadPoolExecutor(callers) as pool:
        running = [pool.submit(keep_asking) for _ in range(callers)]
        try:
            yield
        finally:
            done.set()
    assert [each.exception() for each in running] == [None] * callers


def test_provisioned_concurrency_rises_under_load_and_falls_after_it(fast: Cloud) -> None:
    scaling = fast.client("application-autoscaling")
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="lambda")["ScalingPolicies"]
    high, low = (each["AlarmName"] for each in policy["Alarms"])
    with load(fast, 4):
        await_environments(fast, 3)  # Four at once at seven tenths would need six; three is the greatest capacity.
    with load(fast, 1):
        await_environments(fast, 2)  # One at seven tenths needs 1.43.
    activities = scaling.describe_scaling_activities(ServiceNamespace="lambda")["ScalingActivities"]
    causes = [each["Cause"] for each in activities]
    assert causes[0] == f"monitor alarm {low} in state ALARM triggered policy utilization"
    assert set(causes[1:]) == {f"monitor alarm {high} in state ALARM triggered policy utilization"}
    assert {each["StatusCode"] for each in activities} == {"Successful"}


def test_who_registers_an_alias_needs_the_rights_that_the_scaler_uses(fast: Cloud) -> None:
    request = {**TARGET, "MinCapacity": 1, "MaxCapacity": 3}
    action = {"Effect": "Allow", "Action": ["application-autoscaling:*", "iam:*"], "Resource": "*"}
    lacking = fast.make_role("lacking", action)
    scaling = fast.client("application-autoscaling", role=lacking)
    with pytest.raises(ClientError, match="not authorized to perform: lambda:GetProvisionedConcurrencyConfig"):
        scaling.register_scalable_target(**request)
    may: dict[str, Any] = {
        "Effect": "Allow",
        "Action": [f"lambda:{verb}ProvisionedConcurrencyConfig" for verb in ("Get", "Put", "Delete")],
        "Resource": f"arn:aws:lambda:*:*:function:{NAME}:live",
    }
    fast.client("application-autoscaling", role=fast.make_role("having", action, may)).register_scalable_target(
        **request
    )


def test_a_deleted_stack_leaves_no_target_and_no_process(fast: Cloud) -> None:
    fast.client("cloudformation").delete_stack(StackName=NAME)
    eventually(lambda: fast.pids(f"functions/{NAME}"), lambda pids: pids == [])
    scaling = fast.client("application-autoscaling")
    assert scaling.describe_scalable_targets(ServiceNamespace="lambda")["ScalableTargets"] == []
    assert fast.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
