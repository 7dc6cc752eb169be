"""The operations of Application Auto Scaling: scalable targets, policies and the alarms of target tracking."""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cloud.autoscaling import rules
from cloud.autoscaling.scaler import HIGH, LOW, ScalableTarget, Scaler
from cloud.autoscaling.services import Service
from cloud.cloudwatch.alarms import Alarms
from cloud.cloudwatch.notifications import Alarm
from cloud.core.clock import now
from cloud.core.protocol import ApiError, Operation, Request, invalid
from cloud.iam import permissions

MAX_POLICIES = 50  # for each scalable target
_NOT_SUSPENDED = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}

TargetKey = tuple[str, str, str]  # region, account, resource id

# The alarms of target tracking. AWS documents that a metric with a period of ten seconds scales out faster than one of
# a minute, and scales in as fast. The numbers of datapoints were seen on AWS. The low alarm's threshold, nine tenths of
# the target, was seen with other services and is assumed here.
_HIGH_DATAPOINTS, _LOW_DATAPOINTS, _LOW_SHARE = 3, 15, 0.9


class AutoScaling:
    """The operations of Application Auto Scaling."""

    def __init__(self, scope: Callable[[], tuple[str, str]], services: Sequence[Service], alarms: Alarms) -> None:
        """Create the operations.

        Args:
            scope: returns (region, account) of the current request.
            services: what can be scaled.
            alarms: CloudWatch's alarms.
        """
        self._scope, self._alarms = scope, alarms
        self._services = {service.namespace: service for service in services}
        self._scaler = Scaler(alarms)
        self._targets: dict[TargetKey, ScalableTarget] = {}
        self._lock = threading.Lock()

    def table(self) -> dict[str, Operation]:
        """Return the operations by name."""
        return {
            "RegisterScalableTarget": self.register,
            "DescribeScalableTargets": self.describe_targets,
            "DeregisterScalableTarget": self.deregister,
            "PutScalingPolicy": self.put_policy,
            "DescribeScalingPolicies": self.describe_policies,
            "DeleteScalingPolicy": self.delete_policy,
            "DescribeScalingActivities": self.describe_activities,
            "TagResource": self.tag,
            "UntagResource": self.untag,
            "ListTagsForResource": self.list_tags,
        }

    def is_registered(self, endpoint: str, variant: str) -> bool:
        """Whether a variant in the caller's account and region is a scalable target."""
        return (*self._scope(), f"endpoint/{endpoint}/variant/{variant}") in self._targets

    def register(self, request: Request) -> dict[str, Any]:
        """Create or change a target, and move its capacity into the range."""
        key, service = self._key(request), self._service(request)
        with self._lock:
            target = self._targets.get(key)
            document: dict[str, Any] = dict(target.document) if target else {"CreationTime": now()}
            document |= {name: value for name, value in request.items() if name != "Tags"}
            rules.scaling_range(document)
            if target:
                target.document = document
            else:
                service.check(request["ResourceId"])
                arn = self._new_arn()
                document = {
                    "SuspendedState": dict(_NOT_SUSPENDED),
                    "RoleARN": permissions.scaling_role(service.namespace, key[1]),
                    **document,
                }
                document["ScalableTargetARN"] = arn
                target = self._targets[key] = ScalableTarget(arn, service, document, tags=dict(request.get("Tags", {})))
        self._scaler.move_into_range(target)
        return {"ScalableTargetARN": target.arn}

    def describe_targets(self, request: Request) -> dict[str, Any]:
        """List targets, all of them or those with the requested resource ids."""
        ids = request.get("ResourceIds")
        documents = [target.document for id, target in self._targets_in_scope(request) if ids is None or id in ids]
        return _page(request, "ScalableTargets", documents)

    def deregister(self, request: Request) -> dict[str, Any]:
        """Delete a target, its policies and their alarms."""
        target = self._target(request)
        with self._lock:
            self._targets.pop(self._key(request), None)
        for policy in target.policies.values():
            self._delete_alarms(policy)
        return {}

    def put_policy(self, request: Request) -> dict[str, Any]:
        """Create or change a policy of a registered target, and the alarms of a target tracking policy."""
        service = self._service(request)
        rules.scaling_policy(request, service.policy_types, service.metrics)
        target = self._target(request, "registered")
        service.check(request["ResourceId"])
        region, account = self._scope()
        name, kind = request["PolicyName"], request.get("PolicyType", "StepScaling")
        configuration = f"{kind}PolicyConfiguration"
        with self._lock:
            old_policy = target.policies.get(name)
            if not old_policy and len(target.policies) == MAX_POLICIES:
                raise ApiError("LimitExceededException", f"A scalable target has at most {MAX_POLICIES} policies.")
            arn = (
                old_policy["PolicyARN"]
                if old_policy
                else (
                    f"arn:aws:autoscaling:{region}:{account}:scalingPolicy:{uuid.uuid4()}:"
                    f"resource/{service.namespace}/{request['ResourceId']}:policyName/{name}"
                )
            )
            policy = target.policies[name] = {
                "PolicyARN": arn,
                "PolicyName": name,
                "ServiceNamespace": service.namespace,
                "ResourceId": request["ResourceId"],
                "ScalableDimension": service.dimension,
                "PolicyType": kind,
                configuration: request[configuration],
                "CreationTime": old_policy["CreationTime"] if old_policy else now(),
            }
        if old_policy and old_policy["PolicyType"] != kind:
            self._delete_alarms(old_policy)
        if kind == "TargetTrackingScaling":
            self._put_alarms(service, policy)
        return {"PolicyARN": arn, "Alarms": self._alarms_of(policy)}

    def describe_policies(self, request: Request) -> dict[str, Any]:
        """List policies, filtered by resource and name."""
        names, resource = request.get("PolicyNames"), request.get("ResourceId")
        policies = [
            {**policy, "Alarms": self._alarms_of(policy)}
            for id, target in self._targets_in_scope(request)
            for policy in target.policies.values()
            if (names is None or policy["PolicyName"] in names) and resource in (None, id)
        ]
        return _page(request, "ScalingPolicies", policies)

    def delete_policy(self, request: Request) -> dict[str, Any]:
        """Delete a policy and its own alarms."""
        target = self._targets.get(self._key(request))
        with self._lock:
            policy = target.policies.pop(request["PolicyName"], None) if target else None
        if policy is None:
            raise ApiError(
                "ObjectNotFoundException",
                f"No scaling policy found for service namespace: {request['ServiceNamespace']}, resource ID: "
                f"{request['ResourceId']}, scalable dimension: {request['ScalableDimension']}, policy name: "
                f"{request['PolicyName']}",
            )
        self._delete_alarms(policy)
        return {}

    def describe_activities(self, request: Request) -> dict[str, Any]:
        """List scaling activities, the newest first; those that did not scale are included on request."""
        resource, include_not_scaled = request.get("ResourceId"), request.get("IncludeNotScaledActivities", False)
        activities = [
            dict(activity)
            for id, target in self._targets_in_scope(request)
            for activity in target.activities
            if resource in (None, id) and (include_not_scaled or "NotScaledReasons" not in activity)
        ]
        activities.sort(key=lambda activity: activity["StartTime"], reverse=True)
        return _page(request, "ScalingActivities", activities)

    def trigger(self, policy: str, alarm: Alarm, datapoints: Sequence[float]) -> None:
        """Carry out a policy that is among an alarm's actions.

        Args:
            policy: the policy's ARN.
            alarm: an alarm in the current account and region.
            datapoints: the datapoints that set the alarm off, oldest first.
        """
        for (*scope, _), target in list(self._targets.items()):
            for each in list(target.policies.values()):
                if each["PolicyARN"] == policy and tuple(scope) == self._scope():
                    self._scaler.carry_out(target, each, alarm, datapoints)

    def tag(self, request: Request) -> dict[str, Any]:
        """Add tags to a target."""
        self._target_by_arn(request).tags.update(request["Tags"])
        return {}

    def untag(self, request: Request) -> dict[str, Any]:
        """Remove tags from a target."""
        target = self._target_by_arn(request)
        for key in request["TagKeys"]:
            target.tags.pop(key, None)
        return {}

    def list_tags(self, request: Request) -> dict[str, Any]:
        """Return a target's tags."""
        return {"Tags": dict(self._target_by_arn(request).tags)}

    def _put_alarms(self, service: Service, policy: Mapping[str, Any]) -> None:
        """Create or change the two alarms of a tracking policy; it has the high one only when it may not scale in."""
        tracking = policy["TargetTrackingScalingPolicyConfiguration"]
        resource, arn = policy["ResourceId"], policy["PolicyARN"]
        value, metric = tracking["TargetValue"], _watched_metric(service, resource, tracking)
        seconds = metric.pop("Period")
        known = {each["ComparisonOperator"]: each["AlarmName"] for each in self._alarms.of(arn)}
        for comparison, side, threshold, period, datapoints in (
            (HIGH, "AlarmHigh", value, seconds, _HIGH_DATAPOINTS),
            (LOW, "AlarmLow", _LOW_SHARE * value, 60, _LOW_DATAPOINTS),
        ):
            alarm = {
                **metric,
                "AlarmName": known.get(comparison, f"TargetTracking-{resource}-{side}-{uuid.uuid4()}"),
                "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {arn}.",
                "ComparisonOperator": comparison,
                "Threshold": threshold,
                "Period": period,
                "EvaluationPeriods": datapoints,
                "AlarmActions": [arn],
            }
            if comparison == HIGH or not tracking.get("DisableScaleIn"):
                self._alarms.put(alarm)
            elif comparison in known:
                self._alarms.delete([alarm])

    def _delete_alarms(self, policy: Mapping[str, Any]) -> None:
        if policy["PolicyType"] == "TargetTrackingScaling":
            self._alarms.delete(self._alarms.of(policy["PolicyARN"]))

    def _alarms_of(self, policy: Mapping[str, Any]) -> list[dict[str, str]]:
        alarms = self._alarms.of(policy["PolicyARN"])
        return [{"AlarmName": each["AlarmName"], "AlarmARN": each["AlarmArn"]} for each in alarms]

    def _service(self, request: Request) -> Service:
        """Return the service that a request is about.

        Raises:
            ApiError: the laptop cloud does not scale it, or not in this dimension.
        """
        service = self._services.get(request["ServiceNamespace"])
        if not service:
            raise invalid(f"The laptop cloud scales service namespaces {' and '.join(self._services)} only.")
        if request["ScalableDimension"] != service.dimension:
            raise invalid(
                "Unsupported service namespace, resource type or scalable dimension: the laptop cloud has "
                f"{service.dimension} only."
            )
        return service

    def _key(self, request: Request) -> TargetKey:
        self._service(request)
        return (*self._scope(), request["ResourceId"])

    def _target(self, request: Request, state: str = "found") -> ScalableTarget:
        target = self._targets.get(self._key(request))
        if target is None:
            raise ApiError(
                "ObjectNotFoundException",
                f"No scalable target {state} for service namespace: {request['ServiceNamespace']}, resource ID: "
                f"{request['ResourceId']}, scalable dimension: {request['ScalableDimension']}",
            )
        return target

    def _targets_in_scope(self, request: Request) -> Iterator[tuple[str, ScalableTarget]]:
        """Yield the targets of the current account and region with their resource ids."""
        namespace, dimension = request["ServiceNamespace"], request.get("ScalableDimension")
        for (*scope, resource_id), target in list(self._targets.items()):
            is_meant = namespace == target.service.namespace and dimension in (None, target.service.dimension)
            if is_meant and tuple(scope) == self._scope():
                yield resource_id, target

    def _target_by_arn(self, request: Request) -> ScalableTarget:
        for target in list(self._targets.values()):
            if target.arn == request["ResourceARN"]:
                return target
        raise ApiError("ResourceNotFoundException", f"No scalable target found: {request['ResourceARN']}")

    def _new_arn(self) -> str:
        region, account = self._scope()
        return f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/{uuid.uuid4().hex[:24]}"


def _watched_metric(service: Service, resource_id: str, tracking: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of PutMetricAlarm that name the metric of a tracking policy's high alarm."""
    custom = tracking.get("CustomizedMetricSpecification")
    if custom:
        members = {name: custom[name] for name in ("Namespace", "MetricName", "Statistic", "Unit") if name in custom}
        return {**members, "Dimensions": custom.get("Dimensions", []), "Period": 60}
    metric = service.metrics[tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]]
    dimensions = service.metric_dimensions(resource_id)
    return {
        "Namespace": service.metric_namespace,
        "MetricName": metric.name,
        "Statistic": metric.statistic,
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
        "Period": metric.seconds,
    }


def _page(request: Request, member: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the page of a list that a request asks for, under the name of the answer's member."""
    try:
        start = int(request.get("NextToken", "0"))
    except ValueError:
        raise ApiError("InvalidNextTokenException", "The next token supplied was invalid.") from None
    end = start + request.get("MaxResults", 50)
    return {member: entries[start:end], "NextToken": str(end) if end < len(entries) else None}
