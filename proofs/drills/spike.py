"""The spike drill: load rises from 70 % of what one instance can answer to ten times that, and falls back.

It is played under four kinds of scaling policies. Two follow from what Measure found: target tracking on the concurrent
requests per instance, with and without a step policy for bursts. Two are those of tutorials: target tracking on the
requests per minute, once with the measured rate as its target and once with a guess.
"""

import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from local.home import HOME
from proofs.drills.drill_cloud import DrillCloud
from proofs.drills.spike_trace import AFTER, BEFORE, SPIKE, TIMES, SpikeResult, recovered_after
from proofs.promises import Report
from traffic.arrivals import Poisson
from traffic.open_loop import Sample, Traffic
from traffic.picture import draw

_NAMESPACE, _DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
_MAX_INSTANCES = 12
SAFETY = 0.7  # The rate before the spike, as a share of the highest rate of one instance.
_PERIOD, _DATAPOINTS = 10.0, 3  # of the tracking policy's high alarm: seconds, and periods until it acts
_GUESSED_RATE = 17.0  # requests/s for each instance: a little more than a throttled instance can answer


def spike(cloud: DrillCloud, report: Report) -> None:
    """Play the trace under each kind of policy, and check the promises of the measured policies."""
    per_second = float(os.environ["KENNEL_THROTTLE"])
    rate = SAFETY * per_second
    minute = 60 / float(os.environ["KENNEL_TIME_SCALE"])  # real seconds in a minute of the laptop cloud's clock
    policies = cloud.client("application-autoscaling").describe_scaling_policies(ServiceNamespace=_NAMESPACE)
    measured = policies["ScalingPolicies"]
    tracking = [policy for policy in measured if policy["PolicyType"] == "TargetTrackingScaling"]
    kinds: dict[str, Callable[[], None]] = {
        "measured": lambda: _put_policies(cloud, measured),
        "measured, tracking alone": lambda: _put_policies(cloud, tracking),
        "one-minute metric": lambda: _put_policies(cloud, [_one_minute_policy(minute * rate)]),
        "guessed target": lambda: _put_policies(cloud, [_one_minute_policy(minute * _GUESSED_RATE)]),
    }
    results = []
    for name, put_policies in kinds.items():
        _reset_to_one_instance(cloud)
        put_policies()
        report.log(f"{name}: {rate:.0f} requests/s, {TIMES} times as many for {SPIKE:.0f} s, and back")
        results.append(_play(cloud, name, rate))
        report.figures[name] = results[-1].figures()
        report.log(f"{name}: {report.figures[name]}")
    ours, tracked, *others = results
    picture = draw(HOME / "spike.png", [result.column(rate) for result in results])
    report.figures["picture"] = str(picture)
    report.log(f"the picture: {picture}")
    report.promise("the step policy acts within two periods", ours.scaled_out_after <= 2 * _PERIOD)
    limit = (_DATAPOINTS + 1) * _PERIOD
    report.promise("target tracking acts within its datapoints and one more", tracked.scaled_out_after <= limit)
    report.promise("the p99 is back within its limit during the spike", ours.recovered_after < SPIKE)
    report.promise("the endpoint scales in after the spike", ours.scaled_in_after < AFTER)
    report.promise(
        "the p99 is back earlier than under one-minute metrics",
        all(ours.recovered_after < other.recovered_after for other in others),
    )
    _put_policies(cloud, measured)
    cloudwatch = cloud.client("cloudwatch")
    cloud.wait(  # While an alarm is on, an update of the endpoint is rolled back.
        lambda: not cloudwatch.describe_alarms(AlarmNamePrefix=cloud.endpoint, StateValue="ALARM")["MetricAlarms"],
        "the alarms to end",
        120,
    )


def play_measured(cloud: DrillCloud, rate: float, times: float) -> SpikeResult:
    """Play the trace once, from one instance on, under the policies that follow from what Measure found.

    Args:
        cloud: the cloud; the policies are those that its run has put.
        rate: requests/s before and after the spike.
        times: how many times as many there are during the spike.
    """
    policies = cloud.client("application-autoscaling").describe_scaling_policies(ServiceNamespace=_NAMESPACE)
    _reset_to_one_instance(cloud)
    _put_policies(cloud, policies["ScalingPolicies"])
    return _play(cloud, "measured", rate, times)


def _play(cloud: DrillCloud, name: str, rate: float, times: float = TIMES) -> SpikeResult:
    speed = float(os.environ["KENNEL_TIME_SCALE"])
    result = SpikeResult(name, times=times)
    arrivals = Poisson(rate)
    with Traffic(cloud.to_endpoint(), arrivals) as traffic:
        while (moment := (time.monotonic() - traffic.started) * speed) < BEFORE + SPIKE + AFTER:
            arrivals.rate = times * rate if BEFORE <= moment < BEFORE + SPIKE else rate
            variants = (cloud.describe_endpoint() or {}).get("ProductionVariants", [])
            result.instances.append((moment, sum(each["CurrentInstanceCount"] for each in variants)))
            result.desired.append((moment, sum(each["DesiredInstanceCount"] for each in variants)))
            if moment > BEFORE + SPIKE and result.desired[-1][1] < max(count for _, count in result.desired) / 2:
                break  # The endpoint scales in, and nothing new follows.
            time.sleep(0.1)
    result.samples = sorted(
        (Sample(each.due * speed, each.milliseconds, each.status) for each in traffic.samples),
        key=lambda each: each.due,
    )
    base = next(count for moment, count in result.desired if moment <= BEFORE)
    during = [(moment, count) for moment, count in result.desired if BEFORE <= moment < BEFORE + SPIKE]
    result.scaled_out_after = next((moment - BEFORE for moment, count in during if count > base), float("inf"))
    result.recovered_after = recovered_after(result.samples)
    decreases = (later for earlier, later in pairwise(result.desired) if later[1] < earlier[1])
    end = BEFORE + SPIKE
    result.scaled_in_after = next((moment - end for moment, _ in decreases if moment >= end), float("inf"))
    return result


def _reset_to_one_instance(cloud: DrillCloud) -> None:
    """Delete all scaling policies and wait until one instance serves."""
    scaling, resource = cloud.client("application-autoscaling"), _resource(cloud)
    for policy in scaling.describe_scaling_policies(ServiceNamespace=_NAMESPACE)["ScalingPolicies"]:
        scaling.delete_scaling_policy(PolicyName=policy["PolicyName"], **resource)
    scaling.register_scalable_target(MinCapacity=1, MaxCapacity=_MAX_INSTANCES, **resource)
    if cloud.num_instances() != 1:
        cloud.wait(lambda: cloud.endpoint_status() == "InService", "the endpoint", 120)
        cloud.client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=cloud.endpoint,
            DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 1}],
        )
    cloud.wait(lambda: cloud.num_instances() == 1 and cloud.endpoint_status() == "InService", "one instance", 120)


def _put_policies(cloud: DrillCloud, policies: list[dict[str, Any]]) -> None:
    """Put policies as they were described. The step policy gets a new ARN, so its alarm is put again with that."""
    scaling, cloudwatch = cloud.client("application-autoscaling"), cloud.client("cloudwatch")
    for policy in policies:
        configuration = f"{policy['PolicyType']}PolicyConfiguration"
        request = {name: policy[name] for name in ("PolicyName", "PolicyType", configuration)}
        arn = scaling.put_scaling_policy(**request, **_resource(cloud))["PolicyARN"]
        if policy["PolicyType"] == "StepScaling":
            [alarm] = cloudwatch.describe_alarms(AlarmNames=[f"{cloud.endpoint}-burst"])["MetricAlarms"]
            fields = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
            cloudwatch.put_metric_alarm(**{k: v for k, v in alarm.items() if k in fields} | {"AlarmActions": [arn]})


def _one_minute_policy(target: float) -> dict[str, Any]:
    return {
        "PolicyName": "by-the-minute",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": target,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            "ScaleInCooldown": 300,
            "ScaleOutCooldown": 300,
        },
    }


def _resource(cloud: DrillCloud) -> dict[str, str]:
    return {
        "ServiceNamespace": _NAMESPACE,
        "ResourceId": f"endpoint/{cloud.endpoint}/variant/main",
        "ScalableDimension": _DIMENSION,
    }
