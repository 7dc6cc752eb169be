"""Cap scaling at its smallest number, of instances or of functions that are kept ready, and lift that cap again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from shared import pointer
from shared.model_function import name_of, scaled

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True)
class Scaling:
    """A scalable target, and the client that knows about it.

    Attributes:
        autoscaling: the client.
        target: namespace, resource and dimension.
        promoted: returns by the smallest number the largest one with which the champion was promoted; None if nobody
            knows.
    """

    autoscaling: "ApplicationAutoScalingClient"
    target: Mapping[str, Any]
    promoted: Callable[[int], int | None]

    def cap(self, before: int | None) -> int | None:
        """Hold it at its smallest number. What is beyond that ends as it does after a peak.

        Args:
            before: the largest number that was noted when the cap was set; None for none.

        Returns:
            The largest number to note now: that of a run which ended since then, or ``before``.
        """
        target = self._target()
        if target is None or target["MaxCapacity"] <= target["MinCapacity"]:
            return before
        self._register(target["MinCapacity"], target["MinCapacity"])
        return int(target["MaxCapacity"])

    def lift(self, before: int | None) -> None:
        """Let it scale as its champion was promoted, unless somebody has set its range meanwhile.

        Args:
            before: what ``cap`` returned.
        """
        target = self._target()
        if target is None or target["MaxCapacity"] > target["MinCapacity"]:
            return
        most = self.promoted(target["MinCapacity"]) or before or 0
        if most > target["MinCapacity"]:
            self._register(target["MinCapacity"], most)

    def _target(self) -> Any:
        answer = self.autoscaling.describe_scalable_targets(
            ServiceNamespace=self.target["ServiceNamespace"],
            ResourceIds=[self.target["ResourceId"]],
            ScalableDimension=self.target["ScalableDimension"],
        )
        return next(iter(answer["ScalableTargets"]), None)

    def _register(self, least: int, most: int) -> None:
        self.autoscaling.register_scalable_target(**self.target, MinCapacity=least, MaxCapacity=most)


def of_endpoint(
    autoscaling: "ApplicationAutoScalingClient",
    sagemaker: "SageMakerClient",
    ssm: "SSMClient",
    endpoint: str,
    champion_parameter: str,
) -> Scaling:
    """Return the scaling of the endpoint's instances."""
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    return Scaling(autoscaling, target, lambda _: _promoted(sagemaker, ssm, champion_parameter))


def of_function(autoscaling: "ApplicationAutoScalingClient", endpoint: str) -> Scaling:
    """Return the scaling of the functions that are kept ready, of which Plan allows twice the smallest number."""
    return Scaling(autoscaling, scaled(name_of(endpoint)), lambda least: 2 * least)


def _promoted(sagemaker: "SageMakerClient", ssm: "SSMClient", champion_parameter: str) -> int | None:
    value = pointer.read(ssm, champion_parameter).value
    try:
        arn = json.loads(value or "")["model_package_arn"]
        package = sagemaker.describe_model_package(ModelPackageName=arn)
        return int(package["CustomerMetadataProperties"]["max_instances"])
    except (ValueError, KeyError, TypeError):
        return None
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return None
