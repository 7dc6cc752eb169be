"""What Application Auto Scaling does when an alarm goes off or a range changes: scaling activities and cool-downs."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloud.autoscaling import rules
from cloud.autoscaling.capacity import stepped, tracked
from cloud.cloudwatch.alarms import Alarm, Alarms
from cloud.core import emulator
from cloud.core.clock import scaled
from cloud.core.protocol import ApiError, Request
from cloud.core.store import now
from cloud.sagemaker.endpoints.endpoint import Endpoint

NAMESPACE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
HIGH, LOW = "GreaterThanThreshold", "LessThanThreshold"  # comparisons of a tracking policy's two alarms
_COOLDOWN_SECONDS = 300  # of endpoint variants, unless a policy says otherwise
_POLL_SECONDS = 0.05
_MAX_ACTIVITIES = 1000  # kept; AWS keeps those of six weeks

Activity = dict[str, Any]


@dataclass
class Target:
    """A scalable target.

    Attributes:
        policies: as DescribeScalingPolicies gives them, by name.
        activities: newest first, those included that did not scale.
        base: the capacity before the last scale-out; what that added counts for the next until ``out_until``.
        out_until, in_until: when the cool-downs of the last scale-out and scale-in end, in monotonic seconds.
    """

    arn: str
    document: dict[str, Any]
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    activities: list[Activity] = field(default_factory=list)
    base: int = 0
    out_until: float = 0.0
    in_until: float = 0.0

    @property
    def in_progress(self) -> bool:
        """Whether a scaling activity has not ended."""
        return any(activity["StatusCode"] == "InProgress" for activity in self.activities)

    def begin(self, description: str, cause: str) -> Activity:
        """A new scaling activity."""
        activity = {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": NAMESPACE,
            "ResourceId": self.document["ResourceId"],
            "ScalableDimension": DIMENSION,
            "Description": description,
            "Cause": cause,
            "StartTime": now(),
            "StatusCode": "InProgress",
        }
        self.activities = [activity, *self.activities[: _MAX_ACTIVITIES - 1]]
        return activity

    def note(self, cause: str, reason: Mapping[str, Any]) -> None:
        """Note an alarm that scaled nothing, once as long as the reason is the same."""
        if not self.activities or self.activities[0].get("NotScaledReasons") != [reason]:
            activity = self.begin("Attempting to scale due to alarm triggered", cause)
            activity.update(StatusCode="Failed", EndTime=now(), NotScaledReasons=[reason])

    def why_not(self, capacity: int, wanted: int) -> dict[str, Any]:
        """The NotScaledReason of a capacity that stays although another is wanted."""
        if wanted > capacity:
            return {"Code": "AlreadyAtMaxCapacity", "MaxCapacity": self.document["MaxCapacity"]}
        if wanted < capacity:
            return {"Code": "AlreadyAtMinCapacity", "MinCapacity": self.document["MinCapacity"]}
        return {"Code": "AlreadyAtDesiredCapacity", "CurrentCapacity": capacity}

    def bounded(self, capacity: int) -> int:
        """A capacity moved into the target's range."""
        return int(min(max(capacity, self.document["MinCapacity"]), self.document["MaxCapacity"]))


class Scaler:
    """Changes the capacity of endpoint variants."""

    def __init__(self, find: Callable[[str], Endpoint], resize: Callable[[Request], Any], alarms: Alarms) -> None:
        """Args:
        find: an endpoint by name; raises ApiError.
        resize: UpdateEndpointWeightsAndCapacities; raises ApiError.
        alarms: of the cloud.
        """
        self._find, self._resize, self._alarms = find, resize, alarms

    def follow(self, target: Target, policy: Mapping[str, Any], alarm: Alarm, datapoints: Sequence[float]) -> None:
        """Carry out a policy that an alarm triggers.

        Args:
            datapoints: by which the alarm was evaluated, oldest first.
        """
        name, state = alarm["AlarmName"], alarm["StateValue"]
        cause = f"monitor alarm {name} in state {state} triggered policy {policy['PolicyName']}"
        endpoint, capacity = self._look(target)
        if endpoint.status != "InService" or target.in_progress:
            target.note(cause, {"Code": "TargetServicePutResourceAsUnscalable"})
            return
        base = min(target.base, capacity) if time.monotonic() < target.out_until else capacity
        wanted = self._wanted(target, policy, alarm, datapoints, capacity, base)
        desired = target.bounded(wanted)
        if desired == capacity:
            target.note(cause, target.why_not(capacity, wanted))
            return
        way = "Out" if desired > capacity else "In"
        suspended = target.document["SuspendedState"].get(f"DynamicScaling{way}Suspended")
        if not suspended and (way == "Out" or time.monotonic() >= target.in_until):
            self._scale(target, capacity, desired, cause, _cooldown(policy, way), base)

    def fit(self, target: Target) -> None:
        """Move a variant's capacity into the range that was set."""
        _, capacity = self._look(target)
        if (desired := target.bounded(capacity)) != capacity:
            bound = "minimum" if desired > capacity else "maximum"
            self._scale(target, capacity, desired, f"{bound} capacity was set to {desired}", 0, capacity)

    def _look(self, target: Target) -> tuple[Endpoint, int]:
        name, variant = rules.scaled_variant(target.document["ResourceId"])
        endpoint = self._find(name)
        return endpoint, endpoint.fleet[variant].desired

    def _wanted(
        self,
        target: Target,
        policy: Mapping[str, Any],
        alarm: Alarm,
        datapoints: Sequence[float],
        capacity: int,
        base: int,
    ) -> int:
        """The capacity that a policy asks for, whatever the range is.

        Args:
            base: from which a scale-out starts; less than the capacity during the cool-down of another.
        """
        above = alarm["ComparisonOperator"].startswith("Greater")
        if tracking := policy.get("TargetTrackingScalingPolicyConfiguration"):
            if above:
                return max(capacity, tracked(base, datapoints[-1], tracking["TargetValue"]))
            return self._shrunk(target, capacity)
        steps, threshold = policy["StepScalingPolicyConfiguration"], alarm["Threshold"]
        grown = stepped(base, steps, threshold, above, datapoints)
        if grown > base:
            return max(capacity, grown)
        return min(capacity, stepped(capacity, steps, threshold, above, datapoints))

    def _shrunk(self, target: Target, capacity: int) -> int:
        """The capacity down to which every tracking policy would scale in; the given one if any would not."""
        wanted = [0]
        for policy in target.policies.values():
            tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
            if tracking is None or tracking.get("DisableScaleIn"):
                continue
            alarms = self._alarms.of(policy["PolicyARN"])
            low = next((each for each in alarms if each["ComparisonOperator"] == LOW), None)
            datapoints = self._alarms.datapoints(low) if low and low["StateValue"] == "ALARM" else ()
            if not datapoints:
                return capacity
            wanted.append(tracked(capacity, max(datapoints), tracking["TargetValue"]))
        return min(capacity, max(wanted))

    def _scale(self, target: Target, capacity: int, desired: int, cause: str, cooldown: float, base: int) -> None:
        """Start a scaling activity.

        Args:
            cooldown: seconds, after its end.
            base: of the next scale-out while that lasts.
        """
        activity = target.begin(f"Setting desired instance count to {desired}.", cause)
        done, failed = (f"{each} set desired instance count to {desired}." for each in ("Successfully", "Failed to"))
        name, variant = rules.scaled_variant(target.document["ResourceId"])
        change = {"VariantName": variant, "DesiredInstanceCount": desired}
        try:
            self._resize({"EndpointName": name, "DesiredWeightsAndCapacities": [change]})
        except ApiError as error:
            about = f"(Service: AmazonSageMaker; Status Code: 400; Error Code: {error.code})"
            _end(activity, "Failed", f"{failed} Reason: {error.message} {about}")
            return
        activity["StatusMessage"] = f"{done} Waiting for change to be fulfilled by sagemaker."

        def await_end() -> None:
            endpoint = self._find(name)
            while endpoint.status == "Updating":
                time.sleep(_POLL_SECONDS)
            if variant not in endpoint.fleet or endpoint.fleet[variant].desired != desired:
                reason = endpoint.failure_reason or f"The endpoint is {endpoint.status}."
                _end(activity, "Failed", f"{failed} Reason: {reason}")
                return
            until = time.monotonic() + scaled(cooldown)
            if desired > capacity:
                target.base, target.out_until, target.in_until = base, until, 0.0
            else:
                target.in_until = until
            _end(activity, "Successful", f"{done} Change successfully fulfilled by sagemaker.")

        emulator.spawn_thread(await_end, name=f"scaling-{name}")


def _cooldown(policy: Mapping[str, Any], way: str) -> float:
    """Seconds of the cool-down after a scale-out or -in, ``Out`` or ``In``; step policies have one for both."""
    configuration = policy[f"{policy['PolicyType']}PolicyConfiguration"]
    seconds: float = configuration.get(f"Scale{way}Cooldown", configuration.get("Cooldown", _COOLDOWN_SECONDS))
    return seconds


def _end(activity: Activity, status: str, message: str) -> None:
    activity.update(StatusCode=status, StatusMessage=message, EndTime=now())
