"""A spike: from one instance's rate to ten times that and back, under the measured policies and under usual ones.

The measured ones are target tracking on the requests within an instance, with a step policy for bursts and without; the
usual ones target tracking on the requests a minute, to the rate that was measured and to a guess, as tutorials have it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from local.home import HOME
from proofs.drills.picture import draw
from proofs.drills.report import Report
from proofs.drills.stage import Stage
from proofs.drills.traffic import Sample, Traffic, quantile, to_endpoint

_NAMESPACE, _DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
_MAX_INSTANCES = 12
_TIMES = 10  # the spike's height, in rates of one instance
_LIMIT_MS = 500.0  # of the p99: a few requests' time on a throttled instance
_SAFETY = 0.7  # of what an instance bears, its rate at ease
# The trace, in the clock of the laptop cloud, whose periods and cool-downs run as fast.
_BEFORE, _SPIKE, _AFTER = 120.0, 400.0, 1500.0  # seconds
_PERIOD, _DATAPOINTS = 10.0, 3  # of the tracking policy's high alarm
_GUESSED = 17.0  # requests/s and instance: a little more than a throttled one bears


@dataclass
class Played:
    """What came of the trace: instances over time, and every request; seconds of the laptop cloud's clock.

    scaled_out_after: until more instances were ordered. recovered_after: until the p99 was within its limit for good,
    infinite when it never was. scaled_in_after: since the spike's end; infinite likewise.
    """

    name: str
    instances: list[tuple[float, int]] = field(default_factory=list)
    desired: list[tuple[float, int]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    scaled_out_after: float = float("inf")
    recovered_after: float = float("inf")
    scaled_in_after: float = float("inf")

    def figures(self) -> dict[str, Any]:
        """In seconds and instances."""
        during = [each for each in self.samples if _BEFORE <= each.due < _BEFORE + _SPIKE]
        return {
            "scaled_out_after": _rounded(self.scaled_out_after),
            "p99_within_limit_after": _rounded(self.recovered_after),
            "scaled_in_after": _rounded(self.scaled_in_after),
            "most_instances": max(count for _, count in self.instances),
            "requests": len(self.samples),
            "failed_requests": sum(each.status != 200 for each in self.samples),
            "p99_ms_during_spike": _rounded(quantile(during, 0.99)),
        }


def spike(stage: Stage, report: Report) -> None:
    """Play the trace under each kind of policy, and hold the measured one to its promises."""
    per_second = float(os.environ["KENNEL_THROTTLE"])
    rate = _SAFETY * per_second
    minute = 60 / float(os.environ["KENNEL_TIME_SCALE"])  # seconds of this machine in one of the laptop cloud's
    champion = stage.laptop.client("application-autoscaling").describe_scaling_policies(ServiceNamespace=_NAMESPACE)
    measured = champion["ScalingPolicies"]
    tracking = [policy for policy in measured if policy["PolicyType"] == "TargetTrackingScaling"]
    kinds: dict[str, Callable[[], None]] = {
        "measured": lambda: _put(stage, measured),
        "measured, tracking alone": lambda: _put(stage, tracking),
        "one-minute metric": lambda: _put(stage, [_by_the_minute(minute * rate)]),
        "guessed target": lambda: _put(stage, [_by_the_minute(minute * _GUESSED)]),
    }
    played = []
    for name, put in kinds.items():
        _one_instance(stage)
        put()
        report.say(f"{name}: {rate:.0f} requests/s, {_TIMES} times as many for {_SPIKE:.0f} s, and back")
        played.append(_play(stage, name, rate))
        report.figures[name] = played[-1].figures()
        report.say(f"{name}: {report.figures[name]}")
    ours, tracked, *others = played
    report.figures["picture"] = str(draw(HOME / "spike.svg", played, rate, _TIMES, (_BEFORE, _SPIKE), _LIMIT_MS))
    report.promise("the step policy acts within two periods", ours.scaled_out_after <= 2 * _PERIOD)
    within = (_DATAPOINTS + 1) * _PERIOD
    report.promise("target tracking acts within its datapoints and one", tracked.scaled_out_after <= within)
    report.promise("p99 comes back within its limit during the spike", ours.recovered_after < _SPIKE)
    report.promise("it scales in again after the spike", ours.scaled_in_after < _AFTER)
    report.promise("sooner than by the minute", all(ours.recovered_after < other.recovered_after for other in others))
    _put(stage, measured)
    alarms = stage.laptop.client("cloudwatch")
    stage.wait(  # an update while one is in alarm would be taken back
        lambda: not alarms.describe_alarms(AlarmNamePrefix=stage.endpoint, StateValue="ALARM")["MetricAlarms"],
        "the alarms to end",
        120,
    )


def _play(stage: Stage, name: str, rate: float) -> Played:
    speed = float(os.environ["KENNEL_TIME_SCALE"])
    played = Played(name)
    with Traffic(to_endpoint(stage.laptop, stage.endpoint, stage.photo), rate) as load:
        while (moment := (time.monotonic() - load.began) * speed) < _BEFORE + _SPIKE + _AFTER:
            load.rate = _TIMES * rate if _BEFORE <= moment < _BEFORE + _SPIKE else rate
            variants = (stage.described() or {}).get("ProductionVariants", [])
            played.instances.append((moment, sum(each["CurrentInstanceCount"] for each in variants)))
            played.desired.append((moment, sum(each["DesiredInstanceCount"] for each in variants)))
            if moment > _BEFORE + _SPIKE and played.desired[-1][1] < max(count for _, count in played.desired) / 2:
                break  # it scales in; the rest is the same again
            time.sleep(0.1)
    played.samples = sorted(
        (Sample(each.due * speed, each.milliseconds, each.status) for each in load.samples), key=lambda each: each.due
    )
    base = next(count for moment, count in played.desired if moment <= _BEFORE)
    during = [(moment, count) for moment, count in played.desired if _BEFORE <= moment < _BEFORE + _SPIKE]
    played.scaled_out_after = next((moment - _BEFORE for moment, count in during if count > base), float("inf"))
    played.recovered_after = _recovered_after(played.samples)
    fewer = (later for earlier, later in pairwise(played.desired) if later[1] < earlier[1])
    over = _BEFORE + _SPIKE
    played.scaled_in_after = next((moment - over for moment, _ in fewer if moment >= over), float("inf"))
    return played


def windows(samples: list[Sample], width: float = 20.0) -> list[tuple[float, float]]:
    """(end of a window, p99 of the requests due in it), one after the other."""
    last = samples[-1].due if samples else 0.0
    ends = [width * number for number in range(1, int(last / width) + 1)]
    return [(end, quantile([each for each in samples if end - width <= each.due < end], 0.99)) for end in ends]


def _recovered_after(samples: list[Sample]) -> float:
    """Seconds from the spike's begin until the p99 kept its limit to the spike's end."""
    during = [(end, p99) for end, p99 in windows(samples) if _BEFORE < end <= _BEFORE + _SPIKE]
    broken = [end for end, p99 in during if p99 > _LIMIT_MS]
    if not broken:
        return 0.0
    return broken[-1] - _BEFORE if broken[-1] < during[-1][0] else float("inf")


def _one_instance(stage: Stage) -> None:
    """The fleet at its smallest, and no policy at work."""
    scaling, resource = stage.laptop.client("application-autoscaling"), _resource(stage)
    for policy in scaling.describe_scaling_policies(ServiceNamespace=_NAMESPACE)["ScalingPolicies"]:
        scaling.delete_scaling_policy(PolicyName=policy["PolicyName"], **resource)
    scaling.register_scalable_target(MinCapacity=1, MaxCapacity=_MAX_INSTANCES, **resource)
    if stage.instances() != 1:
        stage.wait(lambda: (stage.described() or {}).get("EndpointStatus") == "InService", "the endpoint", 120)
        stage.laptop.client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=stage.endpoint,
            DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 1}],
        )
    stage.wait(
        lambda: stage.instances() == 1 and (stage.described() or {}).get("EndpointStatus") == "InService",
        "one instance",
        120,
    )


def _put(stage: Stage, policies: list[dict[str, Any]]) -> None:
    """Put policies as they were described; the step policy's alarm names its ARN, which is a new one."""
    scaling, cloudwatch = stage.laptop.client("application-autoscaling"), stage.laptop.client("cloudwatch")
    for policy in policies:
        kind = f"{policy['PolicyType']}PolicyConfiguration"
        wanted = {name: policy[name] for name in ("PolicyName", "PolicyType", kind)}
        arn = scaling.put_scaling_policy(**wanted, **_resource(stage))["PolicyARN"]
        if policy["PolicyType"] == "StepScaling":
            [alarm] = cloudwatch.describe_alarms(AlarmNames=[f"{stage.endpoint}-burst"])["MetricAlarms"]
            own = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
            cloudwatch.put_metric_alarm(**{k: v for k, v in alarm.items() if k in own} | {"AlarmActions": [arn]})


def _by_the_minute(target: float) -> dict[str, Any]:
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


def _resource(stage: Stage) -> dict[str, str]:
    return {
        "ServiceNamespace": _NAMESPACE,
        "ResourceId": f"endpoint/{stage.endpoint}/variant/main",
        "ScalableDimension": _DIMENSION,
    }


def _rounded(value: float) -> float | None:
    """JSON knows no infinity."""
    return None if value == float("inf") else round(value, 1)
