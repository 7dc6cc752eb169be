"""The auto scaler of the laptop cloud under a real load; its waits are sixty times as short as on AWS."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from benchmarks.load_target import EndpointWatch, Fleet
from tests.integration.laptop import Cloud, eventually, make_config, put_alarm, serving_cloud
from tests.integration.machines import definition, failure

TIME_SCALE = 60
CALLERS = 8
RESOURCE = "endpoint/dogs/variant/main"
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": RESOURCE,
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
METRIC = {
    "Namespace": "AWS/SageMaker",
    "MetricName": "ConcurrentRequestsPerModel",
    "Dimensions": [{"Name": "EndpointName", "Value": "dogs"}, {"Name": "VariantName", "Value": "main"}],
}


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A separate cloud with the endpoint ``dogs`` of one instance in service."""
    home = tmp_path_factory.mktemp("fast") / "home"
    with serving_cloud(home, KENNEL_TIME_SCALE=str(TIME_SCALE)) as cloud:
        config = make_config(cloud, "v1", VariantName="main")
        cloud.client("sagemaker").create_endpoint(EndpointName="dogs", EndpointConfigName=config)
        await_instances(cloud, 1)
        yield cloud


@pytest.fixture
def scaling(fast: Cloud) -> Iterator[Any]:
    """A client of Application Auto Scaling; the endpoint is a scalable target of one to three instances."""
    client = fast.client("application-autoscaling")
    client.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=3)
    yield client
    client.deregister_scalable_target(**TARGET)


def await_instances(cloud: Cloud, count: int, seconds: float = 20.0) -> None:
    sagemaker = cloud.client("sagemaker")

    def status_and_count() -> tuple[str, int | None]:
        description = sagemaker.describe_endpoint(EndpointName="dogs")
        variants = description.get("ProductionVariants", [{}])
        return description["EndpointStatus"], variants[0].get("CurrentInstanceCount")

    eventually(status_and_count, lambda current: current == ("InService", count), seconds)


@pytest.mark.usefixtures("scaling")
def test_a_load_from_outside_reads_how_many_instances_an_endpoint_has_and_may_have(fast: Cloud) -> None:
    watch = EndpointWatch(fast.client, "dogs")
    await_instances(fast, 1)
    assert watch.fleet() == Fleet("ml.c6i.large", 1, 3)
    assert watch.counts() == (1, 1)
    nobody = EndpointWatch(fast.client, "cats")
    assert (nobody.fleet(), nobody.counts()) == (None, None)
    assert "Could not find endpoint" in nobody.problem


@contextmanager
def load(cloud: Cloud, callers: int = CALLERS) -> Iterator[None]:
    """Keep one request of a second in flight for each caller."""
    runtime, done = cloud.client("sagemaker-runtime"), threading.Event()

    def keep_invoking() -> None:
        while not done.is_set():
            runtime.invoke_endpoint(EndpointName="dogs", Body=b"slow", ContentType="image/jpeg")

    with ThreadPoolExecutor(callers) as pool:
        running = [pool.submit(keep_invoking) for _ in range(callers)]
        try:
            yield
        finally:
            done.set()
    assert [each.exception() for each in running] == [None] * callers


def activities(scaling: Any) -> list[dict[str, Any]]:
    """Return the scaling activities, the newest first, once they have ended."""

    def current() -> list[dict[str, Any]]:
        answer: dict[str, list[dict[str, Any]]] = scaling.describe_scaling_activities(ServiceNamespace="sagemaker")
        return answer["ScalingActivities"]

    return eventually(current, lambda activities: all(each["StatusCode"] != "InProgress" for each in activities))


def await_state(cloudwatch: Any, alarm: str, state: str) -> None:
    def current() -> str:
        return str(cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"])

    eventually(current, lambda value: value == state)


def test_target_tracking_scales_out_under_load_and_in_after_it(fast: Cloud, scaling: Any) -> None:
    tracking = {
        "TargetValue": 3.0,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        },
        "ScaleInCooldown": 60,
        "ScaleOutCooldown": 30,
    }
    put = scaling.put_scaling_policy(
        **TARGET,
        PolicyName="concurrency",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=tracking,
    )
    cloudwatch = fast.client("cloudwatch")
    high, low = (each["AlarmName"] for each in put["Alarms"])
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert policy["Alarms"] == put["Alarms"]
    with load(fast):
        await_instances(fast, 3)  # 8 concurrent requests at a target of 3 for each instance
        out = activities(scaling)
        invocations = eventually(
            lambda: cloudwatch.get_metric_statistics(
                **METRIC | {"MetricName": "Invocations"},
                StartTime=datetime.now(UTC) - timedelta(hours=1),
                EndTime=datetime.now(UTC) + timedelta(hours=1),
                Period=86_400,
                Statistics=["Sum"],
            )["Datapoints"],
            lambda points: sum(point["Sum"] for point in points) >= CALLERS,
        )
    assert invocations
    assert out[0]["Description"] == "Setting desired instance count to 3."
    assert {each["Cause"] for each in out} == {f"monitor alarm {high} in state ALARM triggered policy concurrency"}
    assert {each["StatusCode"] for each in out} == {"Successful"}
    await_instances(fast, 1, seconds=30)  # The low alarm takes fifteen minutes on AWS.
    assert activities(scaling)[0]["Cause"] == f"monitor alarm {low} in state ALARM triggered policy concurrency"
    states = {each["AlarmName"]: each["StateValue"] for each in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert states == {high: "OK", low: "ALARM"}
    scaling.delete_scaling_policy(**TARGET, PolicyName="concurrency")
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


def test_step_policy_scales_out_when_its_alarm_goes_off(fast: Cloud, scaling: Any) -> None:
    cloudwatch = fast.client("cloudwatch")
    steps = [
        {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 100.0, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 100.0, "ScalingAdjustment": 2},
    ]
    arn = scaling.put_scaling_policy(
        **TARGET,
        PolicyName="burst",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": steps,
            "MetricAggregationType": "Maximum",
            "Cooldown": 600,
        },
    )["PolicyARN"]
    cloudwatch.put_metric_alarm(
        AlarmName="burst",
        **METRIC,
        Statistic="Maximum",
        Period=10,
        EvaluationPeriods=2,
        Threshold=4.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[arn],
    )
    with load(fast):
        await_instances(fast, 2)
    (out,) = activities(scaling)
    assert out["Cause"] == "monitor alarm burst in state ALARM triggered policy burst"
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert [each["AlarmName"] for each in policy["Alarms"]] == ["burst"]
    await_state(cloudwatch, "burst", "OK")
    changes = cloudwatch.describe_alarm_history(AlarmName="burst", HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert "Alarm updated from ALARM to OK" in [change["HistorySummary"] for change in changes]
    scaling.delete_scaling_policy(**TARGET, PolicyName="burst")
    # Deleting a step policy keeps the alarm, because its user created it.
    assert [each["AlarmName"] for each in cloudwatch.describe_alarms()["MetricAlarms"]] == ["burst"]
    cloudwatch.delete_alarms(AlarmNames=["burst"])
    scaling.register_scalable_target(**TARGET, MaxCapacity=1)
    await_instances(fast, 1)
    assert activities(scaling)[0]["Cause"] == "maximum capacity was set to 1"


def test_alarm_of_a_percentile_sees_slow_answers_of_its_own_endpoint(fast: Cloud) -> None:
    cloudwatch = fast.client("cloudwatch")
    elsewhere = [{"Name": "EndpointName", "Value": "cats"}, {"Name": "VariantName", "Value": "main"}]
    for name, dimensions in (("p99", METRIC["Dimensions"]), ("p99-of-cats", elsewhere)):
        metric = {"Namespace": "AWS/SageMaker", "MetricName": "ModelLatency", "Dimensions": dimensions}
        put_alarm(cloudwatch, name, **metric, ExtendedStatistic="p99", Threshold=900_000.0)
        await_state(cloudwatch, name, "OK")
    with load(fast, callers=1):
        await_state(cloudwatch, "p99", "ALARM")
        await_state(cloudwatch, "p99-of-cats", "OK")
    await_state(cloudwatch, "p99", "OK")
    cloudwatch.delete_alarms(AlarmNames=["p99", "p99-of-cats"])


def test_alarm_of_a_state_machine_sees_failed_executions(fast: Cloud) -> None:
    cloudwatch, states = fast.client("cloudwatch"), fast.client("stepfunctions")
    fails = definition(Only={"Type": "Fail", "Error": "Broken"})
    assert failure(states, fails) == "Broken"
    (machine,) = states.list_state_machines()["stateMachines"]
    put_alarm(
        cloudwatch,
        "failures",
        Namespace="AWS/States",
        MetricName="ExecutionsFailed",
        Dimensions=[{"Name": "StateMachineArn", "Value": machine["stateMachineArn"]}],
        Statistic="Sum",
        Threshold=1.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    states.start_execution(stateMachineArn=machine["stateMachineArn"])
    await_state(cloudwatch, "failures", "ALARM")
    await_state(cloudwatch, "failures", "OK")
    cloudwatch.delete_alarms(AlarmNames=["failures"])
