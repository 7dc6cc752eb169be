"""Cap the endpoint's scaling at its smallest number of instances, and lift that cap again."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from shared import pointer

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

_DIMENSION: Any = "sagemaker:variant:DesiredInstanceCount"


@dataclass(frozen=True)
class Scaling:
    """The scaling of production, and clients of the services that know about it."""

    autoscaling: "ApplicationAutoScalingClient"
    sagemaker: "SageMakerClient"
    ssm: "SSMClient"
    endpoint: str
    champion_parameter: str

    def cap(self, before: int | None) -> int | None:
        """Hold the endpoint at its smallest number of instances. Instances beyond that end as they do after a peak.

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
        """Let the endpoint scale as its champion was promoted, unless somebody has set its range meanwhile.

        Args:
            before: what ``cap`` returned.
        """
        target = self._target()
        if target is None or target["MaxCapacity"] > target["MinCapacity"]:
            return
        most = self._promoted() or before or 0
        if most > target["MinCapacity"]:
            self._register(target["MinCapacity"], most)

    def _promoted(self) -> int | None:
        """Return the largest number of instances with which the champion was promoted; None if nobody knows."""
        value = pointer.read(self.ssm, self.champion_parameter).value
        try:
            arn = json.loads(value or "")["model_package_arn"]
            package = self.sagemaker.describe_model_package(ModelPackageName=arn)
            return int(package["CustomerMetadataProperties"]["max_instances"])
        except (ValueError, KeyError, TypeError):
            return None
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise
            return None

    @property
    def _resource(self) -> str:
        return f"endpoint/{self.endpoint}/variant/main"

    def _target(self) -> Any:
        answer = self.autoscaling.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[self._resource], ScalableDimension=_DIMENSION
        )
        return next(iter(answer["ScalableTargets"]), None)

    def _register(self, least: int, most: int) -> None:
        self.autoscaling.register_scalable_target(
            ServiceNamespace="sagemaker",
            ResourceId=self._resource,
            ScalableDimension=_DIMENSION,
            MinCapacity=least,
            MaxCapacity=most,
        )
