"""What can be scaled: the variants of SageMaker's endpoints, and the provisioned concurrency of Lambda's functions."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from cloud.autoscaling import rules
from cloud.core import emulator
from cloud.core.protocol import ApiError, Request, invalid
from cloud.sagemaker.endpoints.endpoint import Endpoint

_POLL_SECONDS = 0.05


Call = Callable[[str, str, str, Request | None], dict[str, Any]]


class Metric(NamedTuple):
    """A predefined metric of target tracking.

    Attributes:
        name: Its name in CloudWatch.
        statistic: The statistic that the alarms watch.
        seconds: Period of the high alarm.
    """

    name: str
    statistic: str
    seconds: int


class Service(Protocol):
    """A service namespace with its only scalable dimension. Methods take the id of a resource.

    Attributes:
        namespace: For example ``sagemaker``.
        dimension: For example ``sagemaker:variant:DesiredInstanceCount``.
        metric_namespace: Namespace of the predefined metrics in CloudWatch.
        metrics: The predefined metrics by type.
        policy_types: What policies a target may have.
        cooldown: Seconds of a cool-down that a policy does not set.
        noun: What is scaled, in the words of activities.
        sdk_name: The service's name in the errors of activities.
    """

    namespace: str
    dimension: str
    metric_namespace: str
    metrics: Mapping[str, Metric]
    policy_types: tuple[str, ...]
    cooldown: float
    noun: str
    sdk_name: str

    def check(self, resource_id: str) -> None:
        """Raise ApiError if the resource does not exist or cannot be scaled now."""

    def capacity(self, resource_id: str) -> int:
        """Return the capacity that is asked for now."""

    def is_ready(self, resource_id: str) -> bool:
        """Whether the capacity can be changed now."""

    def resize(self, resource_id: str, capacity: int) -> None:
        """Begin to change the capacity; raises ApiError."""

    def await_change(self, resource_id: str, capacity: int) -> str | None:
        """Wait until a change has ended; return why the capacity is not the one that was asked for, if it is not."""

    def metric_dimensions(self, resource_id: str) -> dict[str, str]:
        """Return the dimensions of the predefined metrics."""


class EndpointVariants:
    """``endpoint/<name>/variant/<variant>``."""

    namespace, dimension = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
    metric_namespace = "AWS/SageMaker"
    metrics: Mapping[str, Metric] = {
        "SageMakerVariantInvocationsPerInstance": Metric("InvocationsPerInstance", "Sum", 60),
        "SageMakerVariantConcurrentRequestsPerModelHighResolution": Metric("ConcurrentRequestsPerModel", "Maximum", 10),
    }
    policy_types: tuple[str, ...] = ("StepScaling", "TargetTrackingScaling")
    cooldown = 300.0
    noun, sdk_name = "instance count", "AmazonSageMaker"

    def __init__(self, find: Callable[[str], Endpoint], resize: Callable[[Request], Any]) -> None:
        """Use SageMaker's operations.

        Args:
            find: Returns an endpoint by name; raises ApiError.
            resize: The operation UpdateEndpointWeightsAndCapacities; raises ApiError.
        """
        self._find, self._resize = find, resize

    def check(self, resource_id: str) -> None:
        """See ``Service``."""
        name, variant = rules.scaled_variant(resource_id)
        try:
            endpoint = self._find(name)
        except ApiError as error:
            raise invalid(f"SageMaker endpoint does not exist: {error.message}") from None
        if variant not in endpoint.fleet:
            raise invalid(f"SageMaker endpoint {name} has no variant {variant} in service.")
        if endpoint.status != "InService":
            raise invalid(f"SageMaker endpoint {name} is {endpoint.status}, not InService.")

    def capacity(self, resource_id: str) -> int:
        """See ``Service``."""
        name, variant = rules.scaled_variant(resource_id)
        return self._find(name).fleet[variant].desired

    def is_ready(self, resource_id: str) -> bool:
        """See ``Service``."""
        return self._find(rules.scaled_variant(resource_id)[0]).status == "InService"

    def resize(self, resource_id: str, capacity: int) -> None:
        """See ``Service``."""
        name, variant = rules.scaled_variant(resource_id)
        change = {"VariantName": variant, "DesiredInstanceCount": capacity}
        self._resize({"EndpointName": name, "DesiredWeightsAndCapacities": [change]})

    def await_change(self, resource_id: str, capacity: int) -> str | None:
        """See ``Service``."""
        name, variant = rules.scaled_variant(resource_id)
        endpoint = self._find(name)
        while endpoint.status == "Updating":
            time.sleep(_POLL_SECONDS)
        if variant in endpoint.fleet and endpoint.fleet[variant].desired == capacity:
            return None
        return endpoint.failure_reason or f"The endpoint is {endpoint.status}."

    def metric_dimensions(self, resource_id: str) -> dict[str, str]:
        """See ``Service``."""
        name, variant = rules.scaled_variant(resource_id)
        return {"EndpointName": name, "VariantName": variant}


class ProvisionedConcurrency:
    """``function:<name>:<alias or version>``.

    https://docs.aws.amazon.com/autoscaling/application/userguide/services-that-can-integrate-lambda.html; policies and
    cool-downs are those of PutScalingPolicy's and TargetTrackingScalingPolicyConfiguration's pages in the API
    reference. That the alarms watch the average is how users see it. The words of the activities are assumed.
    """

    namespace, dimension = "lambda", "lambda:function:ProvisionedConcurrency"
    metric_namespace = "AWS/Lambda"
    metrics: Mapping[str, Metric] = {
        "LambdaProvisionedConcurrencyUtilization": Metric("ProvisionedConcurrencyUtilization", "Average", 60)
    }
    policy_types: tuple[str, ...] = ("TargetTrackingScaling",)
    cooldown = 0.0
    noun, sdk_name = "concurrency", "AWSLambda"

    def __init__(self, call: Call) -> None:
        """Use Lambda's operations.

        Args:
            call: Called with an operation's method, the function's name, the qualifier and the request, it carries out
                GetProvisionedConcurrencyConfig (GET), PutProvisionedConcurrencyConfig (PUT) or
                DeleteProvisionedConcurrencyConfig (DELETE); raises ApiError.
        """
        self._call = call

    def check(self, resource_id: str) -> None:
        """See ``Service``."""
        name, qualifier = rules.scaled_function(resource_id)
        try:
            self._described(resource_id)
        except ApiError as error:
            raise invalid(f"Lambda function {name} has no version or alias {qualifier}: {error.message}") from None

    def capacity(self, resource_id: str) -> int:
        """See ``Service``."""
        return int(self._described(resource_id).get("RequestedProvisionedConcurrentExecutions", 0))

    def is_ready(self, resource_id: str) -> bool:
        """See ``Service``."""
        return self._described(resource_id).get("Status") != "IN_PROGRESS"

    def resize(self, resource_id: str, capacity: int) -> None:
        """See ``Service``."""
        if capacity:
            self._call("PUT", *rules.scaled_function(resource_id), {"ProvisionedConcurrentExecutions": capacity})
        else:
            self._call("DELETE", *rules.scaled_function(resource_id), None)

    def await_change(self, resource_id: str, capacity: int) -> str | None:
        """See ``Service``."""
        while (described := self._described(resource_id)).get("Status") == "IN_PROGRESS":
            time.sleep(_POLL_SECONDS)
        if described.get("RequestedProvisionedConcurrentExecutions", 0) != capacity:
            return "Another request has changed the provisioned concurrency."
        return str(described.get("StatusReason", "FAILED")) if described.get("Status") == "FAILED" else None

    def metric_dimensions(self, resource_id: str) -> dict[str, str]:
        """See ``Service``."""
        name, qualifier = rules.scaled_function(resource_id)
        return {"FunctionName": name, "Resource": f"{name}:{qualifier}"}

    def _described(self, resource_id: str) -> dict[str, Any]:
        """Return the configuration; empty when there is none.

        Raises:
            ApiError: There is no such function, version or alias.
        """
        try:
            return self._call("GET", *rules.scaled_function(resource_id), None)
        except ApiError as error:
            if error.code == "ProvisionedConcurrencyConfigNotFoundException":
                return {}
            raise


def call_lambda(method: str, name: str, qualifier: str, request: Request | None) -> dict[str, Any]:
    """Carry out an operation of Lambda on provisioned concurrency; see ``ProvisionedConcurrency``.

    Raises:
        ApiError: Lambda refuses it.
    """
    path, body = f"/2019-09-30/functions/{name}/provisioned-concurrency", json.dumps(request or {}).encode()
    status, _, answer = emulator.answer("lambda", method, path, {}, body, {"Qualifier": qualifier})
    document: dict[str, Any] = json.loads(answer or b"{}")
    if status >= 400:
        raise ApiError(str(document.get("__type", "ServiceException")), str(document.get("message", "")))
    return document
