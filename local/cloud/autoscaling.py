"""Application Auto Scaling for endpoint variants: targets and policies are kept; nothing scales yet."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from local.cloud import permissions, rules
from local.cloud.api import ApiError, Operation, Request, invalid
from local.cloud.endpoints import Endpoint
from local.cloud.store import now

NAMESPACE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
MAX_POLICIES = 50  # of one target
_NOT_SUSPENDED = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}

Key = tuple[str, str, str]  # region, account, resource id


@dataclass
class Target:
    """A scalable target, its policies by name, its tags."""

    arn: str
    document: dict[str, Any]
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class AutoScaling:
    """The operations of Application Auto Scaling on ``endpoint/<name>/variant/<variant>``."""

    def __init__(self, scope: Callable[[], tuple[str, str]], find: Callable[[str], Endpoint]) -> None:
        """Args:
        scope: the (region, account) of the request being served.
        find: an endpoint by name; raises ApiError.
        """
        self._scope, self._find = scope, find
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
        """Keep or change a target."""
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
        return {"ScalableTargetARN": known.arn}

    def describe_targets(self, request: Request) -> dict[str, Any]:
        """Targets, of given resource ids or all."""
        wanted = request.get("ResourceIds")
        found = [target.document for id, target in self._mine(request) if wanted is None or id in wanted]
        return _page(request, "ScalableTargets", found)

    def deregister(self, request: Request) -> dict[str, Any]:
        """Forget a target and its policies."""
        self._target(request)
        with self._lock:
            self._targets.pop(self._key(request), None)
        return {}

    def put_policy(self, request: Request) -> dict[str, Any]:
        """Keep or change a policy of a registered target."""
        rules.scaling_policy(request)
        target = self._target(request, "registered")
        self._check_variant(request["ResourceId"])
        region, account = self._scope()
        name, configuration = request["PolicyName"], f"{request['PolicyType']}PolicyConfiguration"
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
            target.policies[name] = {
                "PolicyARN": arn,
                "PolicyName": name,
                "ServiceNamespace": NAMESPACE,
                "ResourceId": request["ResourceId"],
                "ScalableDimension": DIMENSION,
                "PolicyType": request["PolicyType"],
                configuration: request[configuration],
                "Alarms": [],
                "CreationTime": known["CreationTime"] if known else now(),
            }
        return {"PolicyARN": arn, "Alarms": []}

    def describe_policies(self, request: Request) -> dict[str, Any]:
        """Policies, filtered by resource and name."""
        names, resource = request.get("PolicyNames"), request.get("ResourceId")
        found = [
            policy
            for id, target in self._mine(request)
            for policy in target.policies.values()
            if (names is None or policy["PolicyName"] in names) and resource in (None, id)
        ]
        return _page(request, "ScalingPolicies", found)

    def delete_policy(self, request: Request) -> dict[str, Any]:
        """Forget a policy."""
        target = self._targets.get(self._key(request))
        with self._lock:
            if target is None or target.policies.pop(request["PolicyName"], None) is None:
                raise ApiError(
                    "ObjectNotFoundException",
                    f"No scaling policy found for service namespace: {NAMESPACE}, resource ID: "
                    f"{request['ResourceId']}, scalable dimension: {DIMENSION}, policy name: "
                    f"{request['PolicyName']}",
                )
        return {}

    def describe_activities(self, request: Request) -> dict[str, Any]:
        """No activities: nothing scales here yet."""
        return _page(request, "ScalingActivities", [])

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


def _page(request: Request, member: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    try:
        start = int(request.get("NextToken", "0"))
    except ValueError:
        raise ApiError("InvalidNextTokenException", "The next token supplied was invalid.") from None
    end = start + request.get("MaxResults", 50)
    return {member: found[start:end], "NextToken": str(end) if end < len(found) else None}
