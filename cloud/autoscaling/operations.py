"""Application Auto Scaling for endpoint variants: targets, policies and the alarms that target tracking makes."""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cloud.autoscaling import rules
from cloud.autoscaling.scaler import DIMENSION, HIGH, LOW, NAMESPACE, Scaler, Target
from cloud.cloudwatch.alarms import Alarm, Alarms
from cloud.core.protocol import ApiError, Operation, Request, invalid
from cloud.core.store import now
from cloud.iam import permissions
from cloud.sagemaker.endpoints.endpoint import Endpoint

MAX_POLICIES = 50  # of one target
_NOT_SUSPENDED = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}

Key = tuple[str, str, str]  # region, account, resource id


# The alarms of target tracking. AWS documents of them that a metric of ten seconds scales out faster, and in as fast as
# one of a minute. The numbers of datapoints were seen on AWS; that the low alarm's threshold is nine tenths of the
# target was seen with other services and is assumed here.
_HIGH_DATAPOINTS, _LOW_DATAPOINTS, _LOW_SHARE = 3, 15, 0.9
# CloudWatch's metric, its statistic and the seconds of its high alarm's period, by the predefined metric.
_PREDEFINED = {
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": ("ConcurrentRequestsPerModel", "Maximum", 10),
    "SageMakerVariantInvocationsPerInstance": ("InvocationsPerInstance", "Sum", 60),
}


class AutoScaling:
    """The operations of Application Auto Scaling on ``endpoint/<name>/variant/<variant>``."""

    def __init__(
        self,
        scope: Callable[[], tuple[str, str]],
        find: Callable[[str], Endpoint],
        resize: Callable[[Request], Any],
        alarms: Alarms,
    ) -> None:
        """Args:
        scope: the (region, account) of the request being served.
        find: an endpoint by name; raises ApiError.
        resize: UpdateEndpointWeightsAndCapacities; raises ApiError.
        alarms: of the cloud.
        """
        self._scope, self._find, self._alarms = scope, find, alarms
        self._scaler = Scaler(find, resize, alarms)
        self._targets: dict[Key, Target] = {}
        self._lock = threading.Lock()

    def table(self) -> dict[str, Operation]:
        """The operations by name."""
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
        """Whether a variant of the caller's account and region is a scalable target."""
        return (*self._scope(), f"endpoint/{endpoint}/variant/{variant}") in self._targets

    def register(self, request: Request) -> dict[str, Any]:
        """Keep or change a target, and move its capacity into the range."""
        key = self._key(request)
        with self._lock:
            known = self._targets.get(key)
            document: dict[str, Any] = dict(known.document) if known else {"CreationTime": now()}
            document |= {name: value for name, value in request.items() if name != "Tags"}
            rules.scaling_range(document)
            if known:
                known.document = document
            else:
                self._check_variant(request["ResourceId"])
                arn = self._new_arn()
                document = {
                    "SuspendedState": dict(_NOT_SUSPENDED),
                    "RoleARN": permissions.scaling_role(key[1]),
                    **document,
                }
                document["ScalableTargetARN"] = arn
                known = self._targets[key] = Target(arn, document, tags=dict(request.get("Tags", {})))
        self._scaler.fit(known)
        return {"ScalableTargetARN": known.arn}

    def describe_targets(self, request: Request) -> dict[str, Any]:
        """Targets, of given resource ids or all."""
        wanted = request.get("ResourceIds")
        found = [target.document for id, target in self._mine(request) if wanted is None or id in wanted]
        return _page(request, "ScalableTargets", found)

    def deregister(self, request: Request) -> dict[str, Any]:
        """Forget a target, its policies and their alarms."""
        target = self._target(request)
        with self._lock:
            self._targets.pop(self._key(request), None)
        for policy in target.policies.values():
            self._drop_alarms(policy)
        return {}

    def put_policy(self, request: Request) -> dict[str, Any]:
        """Keep or change a policy of a registered target, and the alarms of one that tracks."""
        rules.scaling_policy(request)
        target = self._target(request, "registered")
        self._check_variant(request["ResourceId"])
        region, account = self._scope()
        name, kind = request["PolicyName"], request.get("PolicyType", "StepScaling")
        configuration = f"{kind}PolicyConfiguration"
        with self._lock:
            known = target.policies.get(name)
            if not known and len(target.policies) == MAX_POLICIES:
                raise ApiError("LimitExceededException", f"A scalable target has at most {MAX_POLICIES} policies.")
            arn = (
                known["PolicyARN"]
                if known
                else (
                    f"arn:aws:autoscaling:{region}:{account}:scalingPolicy:{uuid.uuid4()}:"
                    f"resource/{NAMESPACE}/{request['ResourceId']}:policyName/{name}"
                )
            )
            policy = target.policies[name] = {
                "PolicyARN": arn,
                "PolicyName": name,
                "ServiceNamespace": NAMESPACE,
                "ResourceId": request["ResourceId"],
                "ScalableDimension": DIMENSION,
                "PolicyType": kind,
                configuration: request[configuration],
                "CreationTime": known["CreationTime"] if known else now(),
            }
        if known and known["PolicyType"] != kind:
            self._drop_alarms(known)
        if kind == "TargetTrackingScaling":
            self._put_alarms(policy)
        return {"PolicyARN": arn, "Alarms": self._alarms_of(policy)}

    def describe_policies(self, request: Request) -> dict[str, Any]:
        """Policies, filtered by resource and name."""
        names, resource = request.get("PolicyNames"), request.get("ResourceId")
        found = [
            {**policy, "Alarms": self._alarms_of(policy)}
            for id, target in self._mine(request)
            for policy in target.policies.values()
            if (names is None or policy["PolicyName"] in names) and resource in (None, id)
        ]
        return _page(request, "ScalingPolicies", found)

    def delete_policy(self, request: Request) -> dict[str, Any]:
        """Forget a policy and the alarms that it made."""
        target = self._targets.get(self._key(request))
        with self._lock:
            policy = target.policies.pop(request["PolicyName"], None) if target else None
        if policy is None:
            raise ApiError(
                "ObjectNotFoundException",
                f"No scaling policy found for service namespace: {NAMESPACE}, resource ID: "
                f"{request['ResourceId']}, scalable dimension: {DIMENSION}, policy name: "
                f"{request['PolicyName']}",
            )
        self._drop_alarms(policy)
        return {}

    def describe_activities(self, request: Request) -> dict[str, Any]:
        """Scaling activities of registered targets, newest first; with alarms that scaled nothing if asked for."""
        resource, also_not_scaled = request.get("ResourceId"), request.get("IncludeNotScaledActivities", False)
        found = [
            dict(activity)
            for id, target in self._mine(request)
            for activity in target.activities
            if resource in (None, id) and (also_not_scaled or "NotScaledReasons" not in activity)
        ]
        found.sort(key=lambda activity: activity["StartTime"], reverse=True)
        return _page(request, "ScalingActivities", found)

    def trigger(self, policy: str, alarm: Alarm, datapoints: Sequence[float]) -> None:
        """Carry out a policy, given by its ARN, that an alarm of the scope names among its actions."""
        for (*scope, _), target in list(self._targets.items()):
            for each in list(target.policies.values()):
                if each["PolicyARN"] == policy and tuple(scope) == self._scope():
                    self._scaler.follow(target, each, alarm, datapoints)

    def tag(self, request: Request) -> dict[str, Any]:
        """Add tags to a target."""
        self._tagged(request).tags.update(request["Tags"])
        return {}

    def untag(self, request: Request) -> dict[str, Any]:
        """Take tags from a target."""
        target = self._tagged(request)
        for key in request["TagKeys"]:
            target.tags.pop(key, None)
        return {}

    def list_tags(self, request: Request) -> dict[str, Any]:
        """A target's tags."""
        return {"Tags": dict(self._tagged(request).tags)}

    def _put_alarms(self, policy: Mapping[str, Any]) -> None:
        """Make or change the two alarms of a tracking policy; it has but one when it may not scale in."""
        tracking = policy["TargetTrackingScalingPolicyConfiguration"]
        resource, arn = policy["ResourceId"], policy["PolicyARN"]
        value, metric = tracking["TargetValue"], _metric(resource, tracking)
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

    def _drop_alarms(self, policy: Mapping[str, Any]) -> None:
        if policy["PolicyType"] == "TargetTrackingScaling":
            self._alarms.delete(self._alarms.of(policy["PolicyARN"]))

    def _alarms_of(self, policy: Mapping[str, Any]) -> list[dict[str, str]]:
        alarms = self._alarms.of(policy["PolicyARN"])
        return [{"AlarmName": each["AlarmName"], "AlarmARN": each["AlarmArn"]} for each in alarms]

    def _key(self, request: Request) -> Key:
        if request["ServiceNamespace"] != NAMESPACE:
            raise invalid(f"The laptop cloud scales service namespace {NAMESPACE} only.")
        if request["ScalableDimension"] != DIMENSION:
            raise invalid(
                f"Unsupported service namespace, resource type or scalable dimension: the laptop cloud has {DIMENSION}."
            )
        return (*self._scope(), request["ResourceId"])

    def _target(self, request: Request, state: str = "found") -> Target:
        target = self._targets.get(self._key(request))
        if target is None:
            raise ApiError(
                "ObjectNotFoundException",
                f"No scalable target {state} for service namespace: {NAMESPACE}, resource ID: "
                f"{request['ResourceId']}, scalable dimension: {DIMENSION}",
            )
        return target

    def _mine(self, request: Request) -> Iterator[tuple[str, Target]]:
        if request["ServiceNamespace"] != NAMESPACE:
            return
        for (*scope, resource_id), target in list(self._targets.items()):
            if tuple(scope) == self._scope():
                yield resource_id, target

    def _tagged(self, request: Request) -> Target:
        for target in list(self._targets.values()):
            if target.arn == request["ResourceARN"]:
                return target
        raise ApiError("ResourceNotFoundException", f"No scalable target found: {request['ResourceARN']}")

    def _check_variant(self, resource_id: str) -> None:
        name, variant = rules.scaled_variant(resource_id)
        try:
            endpoint = self._find(name)
        except ApiError as error:
            raise invalid(f"SageMaker endpoint does not exist: {error.message}") from None
        if variant not in endpoint.fleet:
            raise invalid(f"SageMaker endpoint {name} has no variant {variant} in service.")
        if endpoint.status != "InService":
            raise invalid(f"SageMaker endpoint {name} is {endpoint.status}, not InService.")

    def _new_arn(self) -> str:
        region, account = self._scope()
        return f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/{uuid.uuid4().hex[:24]}"


def _metric(resource_id: str, tracking: Mapping[str, Any]) -> dict[str, Any]:
    """What the high alarm of a tracking policy watches, as PutMetricAlarm names it."""
    custom = tracking.get("CustomizedMetricSpecification")
    if custom:
        about = {name: custom[name] for name in ("Namespace", "MetricName", "Statistic", "Unit") if name in custom}
        return {**about, "Dimensions": custom.get("Dimensions", []), "Period": 60}
    endpoint, variant = rules.scaled_variant(resource_id)
    name, statistic, seconds = _PREDEFINED[tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]]
    return {
        "Namespace": "AWS/SageMaker",
        "MetricName": name,
        "Statistic": statistic,
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
        "Period": seconds,
    }


def _page(request: Request, member: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    try:
        start = int(request.get("NextToken", "0"))
    except ValueError:
        raise ApiError("InvalidNextTokenException", "The next token supplied was invalid.") from None
    end = start + request.get("MaxResults", 50)
    return {member: found[start:end], "NextToken": str(end) if end < len(found) else None}
