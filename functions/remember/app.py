"""Remember: keep what production is before a run changes it, so that a failed or stopped run can be taken back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from remember import function
from remember.policies import scaling_policies
from shared import model_function, pointer
from shared.observability import logger
from shared.restoring import Before, Remembered
from shared.settings import Settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@dataclass(frozen=True)
class RememberSettings(Settings):
    """The bucket, the endpoint, and the parameters with champion and hosting."""

    bucket: str
    endpoint_name: str
    champion_parameter: str
    hosting_parameter: str


settings = RememberSettings.from_environment()
autoscaling = boto3.client("application-autoscaling")
lambdas = boto3.client("lambda")
s3 = boto3.client("s3")
ssm = boto3.client("ssm")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Remembered`` document for ``{"run"}``.

    Where an endpoint serves, there are ``{"resource_id", "config", "instance_type", "ranges"}``, too. A ``Before``
    document of the run is put into the bucket; a stopped execution has no variables any more.
    """
    described = (
        autoscaling.describe_scaling_policies(
            ServiceNamespace="sagemaker",
            ResourceId=event["resource_id"],
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        )["ScalingPolicies"]
        if "resource_id" in event
        else []
    )
    before = Before(
        config=event.get("config", ""),
        instance_type=event.get("instance_type", ""),
        ranges=event.get("ranges", []),
        scaling=scaling_policies(described),
        pointer_version=pointer.read(ssm, settings.champion_parameter).version,
        hosting=model_function.hosting(ssm, settings.hosting_parameter),
        function=function.before(lambdas, autoscaling, model_function.name_of(settings.endpoint_name)),
    )
    s3.put_object(
        Bucket=settings.bucket, Key=f"runs/{event['run']}/before.json", Body=before.model_dump_json().encode()
    )
    logger.info("production remembered", extra=before.model_dump())
    remembered = Remembered(**before.scaling.model_dump(), hosting=before.hosting, function=before.function)
    return remembered.model_dump()
