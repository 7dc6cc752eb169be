"""The model's function, and the pointer that says what serves: what a run changes of them, taken back step by step."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.model_function import ALIAS, FUNCTION, if_there, kept_ready, scaled
from shared.restoring import Before, FunctionBefore

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_ssm import SSMClient

# The API's functions look at the pointer once a minute, and a request that is under way may take half of one.
_FOLLOWED_SECONDS = 90.0


@dataclass(frozen=True)
class ModelFunction:
    """The model's function with its alias and its concurrency, and the hosting pointer. Each step may be repeated.

    Steps that cannot be done yet raise Lambda's ``ResourceConflictException``.
    """

    lambdas: "LambdaClient"
    autoscaling: "ApplicationAutoScalingClient"
    cloudwatch: "CloudWatchClient"
    ssm: "SSMClient"
    name: str
    hosting_parameter: str
    canary_alarm: str

    def point(self, hosting: str) -> bool:
        """Let the pointer say what it should, and return whether it said something else."""
        if self.hosting() == hosting:
            return False
        self.ssm.put_parameter(Name=self.hosting_parameter, Value=hosting, Type="String", Overwrite=True)
        return True

    def hosting(self) -> str:
        """Return what the pointer says; nothing if it was deleted."""
        return str(self._pointer().get("Value", "")).strip()

    def is_followed(self) -> bool:
        """Whether nobody asks any more what the pointer named before it was moved."""
        moved = self._pointer().get("LastModifiedDate")
        return moved is None or time.time() - moved.timestamp() >= _FOLLOWED_SECONDS

    def _pointer(self) -> dict[str, Any]:
        try:
            return dict(self.ssm.get_parameter(Name=self.hosting_parameter)["Parameter"])
        except self.ssm.exceptions.ParameterNotFound:
            return {}

    def take_back(self, run: str, before: Before | None) -> None:
        """Let the alias lead to the version before the run, as ready as it was, and delete the version of the run.

        Args:
            run: id of the run.
            before: what production was; None if the run changed nothing.
        """
        if before is None or before.function is None:
            return
        kept, alias = before.function, self._alias()
        if not alias:  # Somebody has deleted the function.
            return
        weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        if alias["FunctionVersion"] != kept.version or weights:
            self.lambdas.update_alias(
                FunctionName=self.name,
                Name=ALIAS,
                FunctionVersion=kept.version,
                RoutingConfig={"AdditionalVersionWeights": {}},
            )
        self.cloudwatch.delete_alarms(AlarmNames=[self.canary_alarm])
        self._put_concurrency(kept)
        self._put_scaling(kept)
        self._delete_version_of(run, kept.version)

    def is_unused(self, before: Before | None) -> bool:
        """Whether the function exists and the run has made it, or nobody has made it serve."""
        if not self._exists() or self.hosting() == FUNCTION:
            return False
        return not self._alias() or (before is not None and before.function is None)

    def delete(self) -> None:
        """Delete the function with its versions, alias, URL and concurrency, and all that scales or watches it."""
        self.cloudwatch.delete_alarms(AlarmNames=[self.canary_alarm])
        if self._target():
            self.autoscaling.deregister_scalable_target(**scaled(self.name))
        if_there(self.lambdas.delete_function, FunctionName=self.name)

    def _exists(self) -> bool:
        return bool(if_there(self.lambdas.get_function_configuration, FunctionName=self.name))

    def _alias(self) -> dict[str, Any]:
        return if_there(self.lambdas.get_alias, FunctionName=self.name, Name=ALIAS)

    def _target(self) -> list[Any]:
        target = scaled(self.name)
        answer = self.autoscaling.describe_scalable_targets(
            ServiceNamespace="lambda", ResourceIds=[target["ResourceId"]], ScalableDimension=target["ScalableDimension"]
        )
        return list(answer["ScalableTargets"])

    def _put_concurrency(self, kept: FunctionBefore) -> None:
        """Keep ready and reserve as much as before. Lambda does not reserve less than is kept ready."""
        alias: Any = {"FunctionName": self.name, "Qualifier": ALIAS}
        found = kept_ready(self.lambdas, self.name)
        provisioned = found.get("RequestedProvisionedConcurrentExecutions", 0)
        if provisioned and not kept.provisioned:
            if self._target():  # It would provide environments again.
                self.autoscaling.deregister_scalable_target(**scaled(self.name))
            self.lambdas.delete_provisioned_concurrency_config(**alias)
        elif kept.reserved is not None and provisioned > kept.reserved:
            self.lambdas.put_provisioned_concurrency_config(**alias, ProvisionedConcurrentExecutions=kept.provisioned)
        reserved = self.lambdas.get_function_concurrency(FunctionName=self.name).get("ReservedConcurrentExecutions")
        if kept.reserved is None and reserved is not None:
            self.lambdas.delete_function_concurrency(FunctionName=self.name)
        elif kept.reserved is not None and reserved != kept.reserved:
            self.lambdas.put_function_concurrency(FunctionName=self.name, ReservedConcurrentExecutions=kept.reserved)
        if kept.provisioned > provisioned:
            self.lambdas.put_provisioned_concurrency_config(**alias, ProvisionedConcurrentExecutions=kept.provisioned)

    def _put_scaling(self, kept: FunctionBefore) -> None:
        if kept.ranges:
            self.autoscaling.register_scalable_target(**scaled(self.name), **kept.ranges[0])
            for policy in kept.policies:
                self.autoscaling.put_scaling_policy(**policy)
        elif self._target():
            self.autoscaling.deregister_scalable_target(**scaled(self.name))

    def _delete_version_of(self, run: str, serving: str) -> None:
        """Delete what the run has published: its versions have the run's id as their description."""
        pages = self.lambdas.get_paginator("list_versions_by_function").paginate(FunctionName=self.name)
        for version in (each for page in pages for each in page["Versions"]):
            number = version["Version"]
            if version.get("Description") == run and number.isdecimal() and number != serving:
                if_there(self.lambdas.delete_function, FunctionName=self.name, Qualifier=number)
