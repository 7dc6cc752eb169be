"""Remember: keep what production is before a run changes it, so that a failed or stopped run can be taken back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from remember.policies import scaling_policies
from shared import pointer
from shared.observability import logger
from shared.restoring import Before
from shared.settings import Settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@dataclass(frozen=True)
class RememberSettings(Settings):
    """The bucket, and the parameter with the champion pointer."""

    bucket: str
    champion_parameter: str


settings = RememberSettings.from_environment()
autoscaling = boto3.client("application-autoscaling")
s3 = boto3.client("s3")
ssm = boto3.client("ssm")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``ScalingPolicies`` document for ``{"resource_id", "run", "config", "instance_type", "ranges"}``.

    A ``Before`` document of the run is put into the bucket; a stopped execution has no variables any more.
    """
    answer = autoscaling.describe_scaling_policies(
        ServiceNamespace="sagemaker",
        ResourceId=event["resource_id"],
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )
    policies = scaling_policies(answer["ScalingPolicies"])
    before = Before(
        config=event["config"],
        instance_type=event["instance_type"],
        ranges=event["ranges"],
        scaling=policies,
        pointer_version=pointer.read(ssm, settings.champion_parameter).version,
    )
    s3.put_object(
        Bucket=settings.bucket, Key=f"runs/{event['run']}/before.json", Body=before.model_dump_json().encode()
    )
    logger.info("production remembered", extra=before.model_dump())
    return policies.model_dump()
