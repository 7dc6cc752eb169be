"""Changes of capacity: when an alarm goes off or a range changes, with scaling activities and cool-downs."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloud.autoscaling.capacity import step_scaling_capacity, target_tracking_capacity
from cloud.autoscaling.services import Service
from cloud.cloudwatch.alarms import Alarms
from cloud.cloudwatch.notifications import Alarm
from cloud.core import emulator
from cloud.core.clock import now, scaled
from cloud.core.protocol import ApiError

HIGH, LOW = "GreaterThanThreshold", "LessThanThreshold"  # ComparisonOperator of a tracking policy's two alarms
_MAX_ACTIVITIES = 1000  # kept for each target; AWS keeps those of six weeks

Activity = dict[str, Any]


@dataclass
class ScalableTarget:
    """A scalable target.

    Attributes:
        arn: the target's ARN.
        service: the service that it belongs to.
        document: as DescribeScalableTargets returns it.
        policies: as DescribeScalingPolicies returns them, by name.
        tags: the target's tags.
        activities: the newest first, including those that did not scale.
        base: the capacity before the last scale-out. Until ``out_until`` a further scale-out is computed from it, so
            that the instances already added count as part of the new ones.
        out_until, in_until: when the cool-downs of the last scale-out and scale-in end, in monotonic seconds.
    """

    arn: str
    service: Service
    document: dict[str, Any]
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    activities: list[Activity] = field(default_factory=list)
    base: int = 0
    out_until: float = 0.0
    in_until: float = 0.0

    @property
    def resource_id(self) -> str:
        """Id of the resource that is scaled."""
        return str(self.document["ResourceId"])

    @property
    def in_progress(self) -> bool:
        """Whether a scaling activity has not ended."""
        return any(activity["StatusCode"] == "InProgress" for activity in self.activities)

    def begin(self, description: str, cause: str) -> Activity:
        """Begin a scaling activity."""
        activity = {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": self.service.namespace,
            "ResourceId": self.resource_id,
            "ScalableDimension": self.service.dimension,
            "Description": description,
            "Cause": cause,
            "StartTime": now(),
            "StatusCode": "InProgress",
        }
        self.activities = [activity, *self.activities[: _MAX_ACTIVITIES - 1]]
        return activity

    def record_not_scaled(self, cause: str, reason: Mapping[str, Any]) -> None:
        """Record that an alarm did not scale the target; only once while the reason stays the same.

        Args:
            cause: the alarm and the policy, as text.
            reason: an entry of NotScaledReasons.
        """
        if not self.activities or self.activities[0].get("NotScaledReasons") != [reason]:
            activity = self.begin("Attempting to scale due to alarm triggered", cause)
            activity.update(StatusCode="Failed", EndTime=now(), NotScaledReasons=[reason])

    def not_scaled_reason(self, capacity: int, requested: int) -> dict[str, Any]:
        """Return the NotScaledReason when the capacity stays although a policy asks for another one."""
        if requested > capacity:
            return {"Code": "AlreadyAtMaxCapacity", "MaxCapacity": self.document["MaxCapacity"]}
        if requested < capacity:
            return {"Code": "AlreadyAtMinCapacity", "MinCapacity": self.document["MinCapacity"]}
        return {"Code": "AlreadyAtDesiredCapacity", "CurrentCapacity": capacity}

    def clamp(self, capacity: int) -> int:
        """Return the capacity of the target's range that is nearest to the given one."""
        return int(min(max(capacity, self.document["MinCapacity"]), self.document["MaxCapacity"]))


class Scaler:
    """Changes the capacity of scalable targets."""

    def __init__(self, alarms: Alarms) -> None:
        """Create the scaler.

        Args:
            alarms: CloudWatch's alarms.
        """
        self._alarms = alarms

    def carry_out(
        self, target: ScalableTarget, policy: Mapping[str, Any], alarm: Alarm, datapoints: Sequence[float]
    ) -> None:
        """Carry out a policy that an alarm triggers.

        Args:
            target: the target of the policy.
            policy: the policy, as DescribeScalingPolicies returns it.
            alarm: the alarm.
            datapoints: the datapoints that decided the alarm's state, oldest first.
        """
        name, state = alarm["AlarmName"], alarm["StateValue"]
        cause = f"monitor alarm {name} in state {state} triggered policy {policy['PolicyName']}"
        capacity = target.service.capacity(target.resource_id)
        if not target.service.is_ready(target.resource_id) or target.in_progress:
            target.record_not_scaled(cause, {"Code": "TargetServicePutResourceAsUnscalable"})
            return
        base = min(target.base, capacity) if time.monotonic() < target.out_until else capacity
        requested = self._requested_capacity(target, policy, alarm, datapoints, capacity, base)
        desired = target.clamp(requested)
        if desired == capacity:
            target.record_not_scaled(cause, target.not_scaled_reason(capacity, requested))
            return
        direction = "Out" if desired > capacity else "In"
        suspended = target.document["SuspendedState"].get(f"DynamicScaling{direction}Suspended")
        if not suspended and (direction == "Out" or time.monotonic() >= target.in_until):
            self._scale(target, capacity, desired, cause, _cooldown(target.service, policy, direction), base)

    def move_into_range(self, target: ScalableTarget) -> None:
        """Move a resource's capacity into its target's range."""
        capacity = target.service.capacity(target.resource_id)
        if (desired := target.clamp(capacity)) != capacity:
            bound = "minimum" if desired > capacity else "maximum"
            self._scale(target, capacity, desired, f"{bound} capacity was set to {desired}", 0, capacity)

    def _requested_capacity(
        self,
        target: ScalableTarget,
        policy: Mapping[str, Any],
        alarm: Alarm,
        datapoints: Sequence[float],
        capacity: int,
        base: int,
    ) -> int:
        """Return the capacity that a policy asks for, without regard to the target's range.

        Args:
            target: the target of the policy.
            policy: the policy.
            alarm: the alarm that triggers it.
            datapoints: the datapoints that decided the alarm's state, oldest first.
            capacity: the present number of instances.
            base: the number from which a scale-out is computed; smaller than ``capacity`` during the cool-down of an
                earlier scale-out.
        """
        above = alarm["ComparisonOperator"].startswith("Greater")
        if tracking := policy.get("TargetTrackingScalingPolicyConfiguration"):
            if above:
                return max(capacity, target_tracking_capacity(base, datapoints[-1], tracking["TargetValue"]))
            return self._smallest_capacity(target, capacity)
        steps, threshold = policy["StepScalingPolicyConfiguration"], alarm["Threshold"]
        from_base = step_scaling_capacity(base, steps, threshold, above, datapoints)
        if from_base > base:
            return max(capacity, from_base)
        return min(capacity, step_scaling_capacity(capacity, steps, threshold, above, datapoints))

    def _smallest_capacity(self, target: ScalableTarget, capacity: int) -> int:
        """Return the smallest capacity to which all tracking policies of a target agree to scale in.

        It is the present capacity if the low alarm of one of them is not in state ALARM.
        """
        requested = [0]
        for policy in target.policies.values():
            tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
            if tracking is None or tracking.get("DisableScaleIn"):
                continue
            alarms = self._alarms.of(policy["PolicyARN"])
            low = next((each for each in alarms if each["ComparisonOperator"] == LOW), None)
            datapoints = self._alarms.datapoints(low) if low and low["StateValue"] == "ALARM" else ()
            if not datapoints:
                return capacity
            requested.append(target_tracking_capacity(capacity, max(datapoints), tracking["TargetValue"]))
        return min(capacity, max(requested))

    def _scale(
        self, target: ScalableTarget, capacity: int, desired: int, cause: str, cooldown: float, base: int
    ) -> None:
        """Start a scaling activity.

        Args:
            target: the target.
            capacity: the present number of instances.
            desired: the new number of instances.
            cause: the cause, as text.
            cooldown: seconds on AWS, from the end of the activity.
            base: the number from which a further scale-out is computed during this cool-down.
        """
        service, resource_id = target.service, target.resource_id
        activity = target.begin(f"Setting desired {service.noun} to {desired}.", cause)
        succeeded = f"Successfully set desired {service.noun} to {desired}."
        failed = f"Failed to set desired {service.noun} to {desired}."
        try:
            service.resize(resource_id, desired)
        except ApiError as error:
            details = f"(Service: {service.sdk_name}; Status Code: 400; Error Code: {error.code})"
            _end(activity, "Failed", f"{failed} Reason: {error.message} {details}")
            return
        activity["StatusMessage"] = f"{succeeded} Waiting for change to be fulfilled by {service.namespace}."

        def await_end() -> None:
            if reason := service.await_change(resource_id, desired):
                _end(activity, "Failed", f"{failed} Reason: {reason}")
                return
            until = time.monotonic() + scaled(cooldown)
            if desired > capacity:
                target.base, target.out_until, target.in_until = base, until, 0.0
            else:
                target.in_until = until
            _end(activity, "Successful", f"{succeeded} Change successfully fulfilled by {service.namespace}.")

        emulator.spawn_thread(await_end, name=f"scaling-{resource_id}")


def _cooldown(service: Service, policy: Mapping[str, Any], direction: str) -> float:
    """Return the cool-down of a policy in seconds on AWS; a step policy has the same one in both directions.

    Args:
        service: the service of the policy's target.
        policy: the policy.
        direction: ``Out`` or ``In``.
    """
    configuration = policy[f"{policy['PolicyType']}PolicyConfiguration"]
    seconds: float = configuration.get(f"Scale{direction}Cooldown", configuration.get("Cooldown", service.cooldown))
    return seconds


def _end(activity: Activity, status: str, message: str) -> None:
    activity.update(StatusCode=status, StatusMessage=message, EndTime=now())
