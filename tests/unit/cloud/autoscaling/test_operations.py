"""Scalable targets, policies, and the capacity that follows from their alarms."""

from types import SimpleNamespace
from typing import Any

import pytest

from cloud.autoscaling import scaler
from cloud.autoscaling.operations import AutoScaling
from cloud.autoscaling.services import EndpointVariants, ProvisionedConcurrency
from cloud.core import emulator, quotas
from cloud.core.protocol import ApiError, Request, invalid

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/dogs/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
RANGE = {"MinCapacity": 1, "MaxCapacity": 2}


CONCURRENCY = "SageMakerVariantConcurrentRequestsPerModelHighResolution"


def policy(name: str, target: float = 4.0, metric: str = CONCURRENCY, **members: Any) -> dict[str, Any]:
    tracking = {"TargetValue": target, "PredefinedMetricSpecification": {"PredefinedMetricType": metric}, **members}
    return {
        **TARGET,
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": tracking,
    }


class FakeAlarms:
    """Alarms by name; the test sets their states and the datapoints that decided."""

    def __init__(self) -> None:
        self.by_name: dict[str, dict[str, Any]] = {}
        self.deciding: dict[str, list[float]] = {}

    def put(self, alarm: dict[str, Any]) -> None:
        name = alarm["AlarmName"]
        self.by_name[name] = {**alarm, "AlarmArn": f"arn:aws:cloudwatch:::alarm:{name}", "StateValue": "OK"}

    def delete(self, alarms: list[dict[str, Any]]) -> None:
        for alarm in alarms:
            del self.by_name[alarm["AlarmName"]]

    def of(self, arn: str) -> list[dict[str, Any]]:
        return [alarm for alarm in self.by_name.values() if arn in alarm["AlarmActions"]]

    def datapoints(self, alarm: dict[str, Any]) -> list[float]:
        return self.deciding[alarm["AlarmName"]]


class FakeEndpoint:
    """An endpoint of one variant whose capacity changes at once."""

    def __init__(self) -> None:
        self.status = "InService"
        self.failure_reason: str | None = None
        self.fleet = {"main": SimpleNamespace(desired=1)}
        self.has_capacity = True

    @property
    def desired(self) -> int:
        return int(self.fleet["main"].desired)

    def resize(self, request: Request) -> None:
        if self.status != "InService":
            raise invalid("Cannot update in-progress endpoint.")
        if self.has_capacity:
            self.fleet["main"].desired = request["DesiredWeightsAndCapacities"][0]["DesiredInstanceCount"]
        else:
            self.failure_reason = "no capacity"


class FakeFunction:
    """The function ``f`` with the alias ``live``, whose provisioned concurrency changes at once."""

    def __init__(self) -> None:
        self.count = 0
        self.failure = ""
        self.asked: list[str] = []

    def __call__(self, method: str, name: str, qualifier: str, request: Request | None) -> dict[str, Any]:
        if (name, qualifier) != ("f", "live"):
            raise ApiError("ResourceNotFoundException", f"Function not found: {name}:{qualifier}")
        self.asked.append(method)
        if method == "DELETE":
            self.count = 0
        elif request:
            self.count = request["ProvisionedConcurrentExecutions"]
        elif not self.count:
            raise ApiError("ProvisionedConcurrencyConfigNotFoundException", "No Provisioned Concurrency Config found")
        status = {"Status": "FAILED", "StatusReason": self.failure} if self.failure else {"Status": "READY"}
        return {"RequestedProvisionedConcurrentExecutions": self.count, **status}


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def endpoint() -> FakeEndpoint:
    return FakeEndpoint()


@pytest.fixture
def alarms() -> Any:
    return FakeAlarms()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scaler, "time", clock)
    return clock


@pytest.fixture
def function() -> FakeFunction:
    return FakeFunction()


@pytest.fixture
def scaling(
    endpoint: FakeEndpoint, function: FakeFunction, alarms: Any, monkeypatch: pytest.MonkeyPatch
) -> AutoScaling:
    def find(name: str) -> Any:
        if name != "dogs":
            raise invalid(f"Could not find endpoint {name}.")
        return endpoint

    monkeypatch.setattr(emulator, "spawn_thread", lambda work, **_: work())
    variants: Any = EndpointVariants(find, endpoint.resize)
    concurrency: Any = ProvisionedConcurrency(function)
    return AutoScaling(lambda: ("us-east-1", "000000000000"), (variants, concurrency), alarms)


class Driver:
    """Sets alarms off."""

    def __init__(self, scaling: AutoScaling, alarms: FakeAlarms) -> None:
        self._scaling, self._alarms = scaling, alarms

    def put(self, request: dict[str, Any]) -> str:
        """Put a policy and return its ARN."""
        return str(self._scaling.put_policy(request)["PolicyARN"])

    def set_alarm(self, arn: str, side: str, *datapoints: float) -> dict[str, Any]:
        """Put an alarm of a tracking policy, ``High`` or ``Low``, into state ALARM and return it."""
        alarm = next(each for each in self._alarms.of(arn) if f"-Alarm{side}-" in each["AlarmName"])
        alarm["StateValue"] = "ALARM"
        self._alarms.deciding[alarm["AlarmName"]] = list(datapoints)
        return alarm

    def trigger(self, arn: str, side: str, *datapoints: float) -> None:
        """Put an alarm into state ALARM and let it carry out its policy."""
        self._scaling.trigger(arn, self.set_alarm(arn, side, *datapoints), datapoints)

    def activities(self, **members: Any) -> list[dict[str, Any]]:
        """Return the scaling activities, the newest first."""
        answer = self._scaling.describe_activities({"ServiceNamespace": "sagemaker", **members})
        activities: list[dict[str, Any]] = answer["ScalingActivities"]
        return activities


@pytest.fixture
def driver(scaling: AutoScaling, alarms: FakeAlarms) -> Driver:
    """A driver with a scalable target of 1 to 6 instances."""
    scaling.register(TARGET | {"MinCapacity": 1, "MaxCapacity": 6})
    return Driver(scaling, alarms)


@pytest.mark.parametrize("status", ["Creating", "Updating", "Failed", "Deleting"])
def test_target_needs_an_endpoint_in_service(scaling: AutoScaling, endpoint: FakeEndpoint, status: str) -> None:
    endpoint.status = status
    with pytest.raises(ApiError, match=f"^ValidationException: SageMaker endpoint dogs is {status}, not InService"):
        scaling.register(TARGET | RANGE)
    assert not scaling.is_registered("dogs", "main")


def test_policy_needs_an_endpoint_in_service(scaling: AutoScaling, endpoint: FakeEndpoint) -> None:
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
    scaling.put_policy(policy("p0"))  # Changing a policy does not count as a new one.


def test_tracking_policy_has_two_alarms_of_its_metric(scaling: AutoScaling, alarms: FakeAlarms) -> None:
    scaling.register(TARGET | RANGE)
    answer = scaling.put_policy(policy("fast"))
    assert [each["AlarmName"] for each in answer["Alarms"]] == list(alarms.by_name)
    high, low = alarms.by_name.values()
    assert high["AlarmName"].startswith("TargetTracking-endpoint/dogs/variant/main-AlarmHigh-")
    dimensions = [{"Name": "EndpointName", "Value": "dogs"}, {"Name": "VariantName", "Value": "main"}]
    for alarm in (high, low):
        assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SageMaker", "ConcurrentRequestsPerModel")
        assert (alarm["Statistic"], alarm["Dimensions"]) == ("Maximum", dimensions)
        assert alarm["AlarmActions"] == [answer["PolicyARN"]]
    assert (high["Period"], high["EvaluationPeriods"]) == (10, 3)
    assert (high["ComparisonOperator"], high["Threshold"]) == ("GreaterThanThreshold", 4.0)
    assert (low["Period"], low["EvaluationPeriods"]) == (60, 15)
    assert (low["ComparisonOperator"], low["Threshold"]) == ("LessThanThreshold", pytest.approx(3.6))


def test_alarms_follow_their_policy(scaling: AutoScaling, alarms: FakeAlarms) -> None:
    scaling.register(TARGET | RANGE)
    scaling.put_policy(policy("a"))
    before = list(alarms.by_name)
    scaling.put_policy(policy("a", target=8.0, metric="SageMakerVariantInvocationsPerInstance"))
    assert list(alarms.by_name) == before
    assert [(each["Statistic"], each["Period"]) for each in alarms.by_name.values()] == [("Sum", 60), ("Sum", 60)]
    scaling.put_policy(policy("a", DisableScaleIn=True))
    assert list(alarms.by_name) == before[:1]
    scaling.put_policy(policy("b"))
    scaling.delete_policy({**TARGET, "PolicyName": "a"})
    assert len(alarms.by_name) == 2
    scaling.deregister(dict(TARGET))
    assert alarms.by_name == {}


def test_customized_metric_is_watched_as_it_is(scaling: AutoScaling, alarms: FakeAlarms) -> None:
    scaling.register(TARGET | RANGE)
    metric = {"MetricName": "Backlog", "Namespace": "Kennel", "Statistic": "Average", "Unit": "Count"}
    request = policy("own")
    request["TargetTrackingScalingPolicyConfiguration"] = {"TargetValue": 2.0, "CustomizedMetricSpecification": metric}
    scaling.put_policy(request)
    for alarm in alarms.by_name.values():
        assert {name: alarm[name] for name in metric} == metric
        assert (alarm["Period"], alarm["Dimensions"]) == (60, [])


def test_high_alarm_scales_out_in_proportion_and_records_it(driver: Driver, endpoint: FakeEndpoint) -> None:
    arn = driver.put(policy("p"))
    alarm = driver.set_alarm(arn, "High", 1.0, 9.0, 12.0)
    driver.trigger(arn, "High", 1.0, 9.0, 12.0)
    assert endpoint.desired == 3
    (activity,) = driver.activities()
    assert activity["Description"] == "Setting desired instance count to 3."
    assert activity["Cause"] == f"monitor alarm {alarm['AlarmName']} in state ALARM triggered policy p"
    assert activity["StatusCode"] == "Successful"
    assert activity["StatusMessage"].endswith("to 3. Change successfully fulfilled by sagemaker.")
    assert activity["StartTime"] <= activity["EndTime"]


def test_cool_down_counts_added_instances_and_allows_more(driver: Driver, endpoint: FakeEndpoint, clock: Clock) -> None:
    arn = driver.put(policy("p", ScaleOutCooldown=30))
    driver.trigger(arn, "High", 12.0)  # 1 * 12 / 4
    clock.now += 29.9
    driver.trigger(arn, "High", 12.0)  # 1 * 12 / 4 again: the 3 instances exist already.
    assert endpoint.desired == 3
    driver.trigger(arn, "High", 17.0)  # 1 * 17 / 4, rounded up
    assert endpoint.desired == 5
    clock.now += 30.0
    driver.trigger(arn, "High", 4.5)  # 5 * 4.5 / 4, rounded up
    assert endpoint.desired == 6


def test_capacity_stays_within_its_range_and_the_reason_is_recorded_once(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    arn = driver.put(policy("p"))
    driver.trigger(arn, "High", 400.0)
    assert endpoint.desired == 6
    for _ in range(2):
        driver.trigger(arn, "High", 400.0)
    assert len(driver.activities()) == 1
    not_scaled, scaled = driver.activities(IncludeNotScaledActivities=True)
    assert not_scaled["NotScaledReasons"] == [{"Code": "AlreadyAtMaxCapacity", "MaxCapacity": 6}]
    assert not_scaled["StatusCode"] == "Failed"
    assert "NotScaledReasons" not in scaled


def test_low_alarm_scales_in_by_the_busiest_datapoint(driver: Driver, endpoint: FakeEndpoint) -> None:
    arn = driver.put(policy("p"))
    endpoint.fleet["main"].desired = 6
    driver.trigger(arn, "Low", 1.0, 2.2, 0.0)  # 6 * 2.2 / 4, rounded up
    assert endpoint.desired == 4


def test_scale_in_needs_all_tracking_policies_that_allow_it(driver: Driver, endpoint: FakeEndpoint) -> None:
    first, second = driver.put(policy("a")), driver.put(policy("b"))
    driver.put(policy("only-out", DisableScaleIn=True))
    endpoint.fleet["main"].desired = 6
    driver.trigger(first, "Low", 0.0)
    assert endpoint.desired == 6
    driver.set_alarm(second, "Low", 1.0)  # 6 * 1 / 4, rounded up
    driver.trigger(first, "Low", 0.0)
    assert endpoint.desired == 2


def test_scale_in_waits_for_the_cool_down_of_a_scale_in_but_not_of_a_scale_out(
    driver: Driver, endpoint: FakeEndpoint, clock: Clock
) -> None:
    arn = driver.put(policy("p", ScaleInCooldown=60, ScaleOutCooldown=0))
    endpoint.fleet["main"].desired = 6
    driver.trigger(arn, "Low", 3.0)  # 6 * 3 / 4, rounded up
    driver.trigger(arn, "Low", 2.0)
    assert endpoint.desired == 5
    driver.trigger(arn, "High", 4.5)  # A scale-out ends the cool-down of the scale-in.
    assert endpoint.desired == 6
    driver.trigger(arn, "Low", 2.0)
    assert endpoint.desired == 3
    clock.now += 60.0
    driver.trigger(arn, "Low", 2.0)  # 3 * 2 / 4, rounded up
    assert endpoint.desired == 2


@pytest.mark.parametrize(
    ("suspended", "counts"), [("DynamicScalingOutSuspended", [3, 1]), ("DynamicScalingInSuspended", [4, 4])]
)
def test_suspended_scaling_changes_nothing(
    driver: Driver, scaling: AutoScaling, endpoint: FakeEndpoint, suspended: str, counts: list[int]
) -> None:
    arn = driver.put(policy("p"))
    endpoint.fleet["main"].desired = 3
    scaling.register(TARGET | {"SuspendedState": {suspended: True}})
    driver.trigger(arn, "High", 5.0)
    after_high = endpoint.desired
    driver.trigger(arn, "Low", 0.0)
    assert [after_high, endpoint.desired] == counts


def test_step_policy_acts_on_its_alarm(
    driver: Driver, scaling: AutoScaling, endpoint: FakeEndpoint, clock: Clock
) -> None:
    steps = [
        {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 5.0, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 5.0, "ScalingAdjustment": 3},
    ]
    configuration = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps, "Cooldown": 60}
    arn = driver.put({**TARGET, "PolicyName": "burst", "StepScalingPolicyConfiguration": configuration})
    burst = {
        "AlarmName": "burst",
        "StateValue": "ALARM",
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 8.0,
    }
    # During the cool-down every step counts from the 1 instance before the first scale-out.
    for value, count in ((9.0, 2), (9.0, 2), (13.0, 4), (13.0, 4)):
        scaling.trigger(arn, burst, [value])
        assert endpoint.desired == count
    clock.now += 60.0
    scaling.trigger(arn, burst, [9.0])
    assert endpoint.desired == 5
    assert {each["Cause"] for each in driver.activities()} == {
        "monitor alarm burst in state ALARM triggered policy burst"
    }


@pytest.mark.parametrize("status", ["Updating", "RollingBack"])
def test_nothing_scales_while_the_endpoint_changes(driver: Driver, endpoint: FakeEndpoint, status: str) -> None:
    arn = driver.put(policy("p"))
    endpoint.status = status
    driver.trigger(arn, "High", 12.0)
    assert endpoint.desired == 1
    (activity,) = driver.activities(IncludeNotScaledActivities=True)
    assert activity["NotScaledReasons"] == [{"Code": "TargetServicePutResourceAsUnscalable"}]


def test_activity_fails_when_the_endpoint_gets_no_capacity(driver: Driver, endpoint: FakeEndpoint) -> None:
    arn = driver.put(policy("p"))
    endpoint.has_capacity = False
    driver.trigger(arn, "High", 12.0)
    (activity,) = driver.activities()
    assert activity["StatusCode"] == "Failed"
    assert activity["StatusMessage"] == "Failed to set desired instance count to 3. Reason: no capacity"


@pytest.mark.parametrize(
    ("range_", "count", "cause"),
    [
        ({"MinCapacity": 3}, 3, "minimum capacity was set to 3"),
        ({"MinCapacity": 1, "MaxCapacity": 1}, 1, "maximum capacity was set to 1"),
    ],
)
def test_capacity_is_moved_into_a_new_range(
    driver: Driver, scaling: AutoScaling, endpoint: FakeEndpoint, range_: dict[str, int], count: int, cause: str
) -> None:
    endpoint.fleet["main"].desired = 2
    scaling.register(TARGET | range_)
    assert endpoint.desired == count
    assert [each["Cause"] for each in driver.activities()] == [cause]


def test_activity_fails_when_the_endpoint_refuses_to_resize(
    driver: Driver, scaling: AutoScaling, endpoint: FakeEndpoint
) -> None:
    endpoint.status = "Updating"
    scaling.register(TARGET | {"MinCapacity": 2})
    (activity,) = driver.activities()
    assert activity["StatusMessage"] == (
        "Failed to set desired instance count to 2. Reason: Cannot update in-progress endpoint. (Service: "
        "AmazonSageMaker; Status Code: 400; Error Code: ValidationException)"
    )


def test_scale_out_beyond_the_quota_fails_in_the_activities(
    driver: Driver, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise ApiError("ResourceLimitExceeded", quotas.exceeded("ml.c7i.large for endpoint usage", 32, 2) or "")

    monkeypatch.setattr(EndpointVariants, "resize", refuse)
    driver.trigger(driver.put(policy("p")), "High", 12.0)
    (activity,) = driver.activities()
    assert activity["StatusCode"] == "Failed"
    message = activity["StatusMessage"]
    assert message.startswith(
        "Failed to set desired instance count to 3. Reason: The account-level service limit 'ml.c7i.large for endpoint "
        "usage' is 32 Instances, with current utilization of 32 Instances and a request delta of 2 Instances."
    )
    assert message.endswith("(Service: AmazonSageMaker; Status Code: 400; Error Code: ResourceLimitExceeded)")
    assert endpoint.desired == 1


FUNCTION = {
    "ServiceNamespace": "lambda",
    "ResourceId": "function:f:live",
    "ScalableDimension": "lambda:function:ProvisionedConcurrency",
}


@pytest.fixture
def utilization(scaling: AutoScaling, alarms: Any, clock: Clock) -> tuple[Driver, str]:
    """The alias is a target of one to four environments, with a policy that keeps seven tenths of them in use."""
    scaling.register(FUNCTION | {"MinCapacity": 1, "MaxCapacity": 4})
    driver = Driver(scaling, alarms)
    metric = "LambdaProvisionedConcurrencyUtilization"
    return driver, driver.put(policy("utilization", 0.7, metric) | FUNCTION)


def test_provisioned_concurrency_moves_into_its_range_and_its_alarms_watch_the_utilization(
    utilization: tuple[Driver, str], function: FakeFunction, alarms: Any
) -> None:
    assert function.count == 1
    high, low = alarms.of(utilization[1])
    for alarm, threshold, periods in ((high, 0.7, 3), (low, 0.63, 15)):
        assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "ProvisionedConcurrencyUtilization")
        assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]} == {
            "FunctionName": "f",
            "Resource": "f:live",
        }
        assert (alarm["Statistic"], alarm["Period"], alarm["EvaluationPeriods"]) == ("Average", 60, periods)
        assert alarm["Threshold"] == pytest.approx(threshold)


def test_provisioned_concurrency_scales_within_its_range_and_has_no_cool_down(
    utilization: tuple[Driver, str], function: FakeFunction
) -> None:
    driver, arn = utilization
    driver.trigger(arn, "High", 1.0, 1.0, 1.0)
    assert function.count == 2  # One in use at seven tenths needs 1.43.
    driver.trigger(arn, "High", 1.0, 1.0, 1.0)
    driver.trigger(arn, "High", 1.0, 1.0, 1.0)
    assert function.count == 4  # 2.86 are 3, and then no more than the greatest.
    driver.trigger(arn, "Low", 0.1, 0.35)
    assert function.count == 2
    first, *_ = driver.activities(ServiceNamespace="lambda")
    assert (first["Description"], first["StatusMessage"]) == (
        "Setting desired concurrency to 2.",
        "Successfully set desired concurrency to 2. Change successfully fulfilled by lambda.",
    )
    assert driver.activities() == []  # SageMaker's are others.


def test_provisioned_concurrency_is_given_up_at_nought(scaling: AutoScaling, function: FakeFunction) -> None:
    scaling.register(FUNCTION | {"MinCapacity": 2, "MaxCapacity": 4})
    scaling.register(FUNCTION | {"MinCapacity": 0, "MaxCapacity": 0})
    assert (function.count, function.asked[-2:]) == (0, ["DELETE", "GET"])


def test_provisioned_concurrency_that_cannot_start_is_a_failed_activity(
    scaling: AutoScaling, alarms: Any, function: FakeFunction
) -> None:
    function.failure = "FUNCTION_ERROR_INIT_FAILURE"
    scaling.register(FUNCTION | {"MinCapacity": 1, "MaxCapacity": 4})
    (activity,) = Driver(scaling, alarms).activities(ServiceNamespace="lambda")
    assert activity["StatusMessage"] == "Failed to set desired concurrency to 1. Reason: FUNCTION_ERROR_INIT_FAILURE"


def test_a_target_needs_its_function(scaling: AutoScaling) -> None:
    with pytest.raises(ApiError, match="Lambda function g has no version or alias live: Function not found"):
        scaling.register(FUNCTION | RANGE | {"ResourceId": "function:g:live"})
    with pytest.raises(ApiError, match="scales service namespaces sagemaker and lambda only"):
        scaling.register(FUNCTION | RANGE | {"ServiceNamespace": "ecs"})
