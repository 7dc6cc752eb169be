"""Restore: take back what a stopped run changed in production, one step a call."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from restore.function import ModelFunction
from restore.production import Production
from shared.model_function import name_of
from shared.observability import logger
from shared.settings import Settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@dataclass(frozen=True)
class RestoreSettings(Settings):
    """Names of the stack's resources that a run changes."""

    bucket: str
    endpoint_name: str
    champion_parameter: str
    hosting_parameter: str
    model_package_group: str
    runbook_url: str


settings = RestoreSettings.from_environment()
autoscaling = boto3.client("application-autoscaling")
cloudwatch = boto3.client("cloudwatch")
ssm = boto3.client("ssm")
production = Production(
    boto3.client("sagemaker"),
    autoscaling,
    cloudwatch,
    boto3.client("s3"),
    ssm,
    settings.bucket,
    settings.endpoint_name,
    settings.champion_parameter,
    settings.model_package_group,
    settings.runbook_url,
    ModelFunction(
        boto3.client("lambda"),
        autoscaling,
        cloudwatch,
        ssm,
        name_of(settings.endpoint_name),
        settings.hosting_parameter,
        f"{settings.endpoint_name}-canary",
    ),
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Restoration`` document for ``{"execution"}``, the ARN of a run that failed or was stopped."""
    restoration = production.restore(event["execution"].rpartition(":")[2])
    logger.info("production restored" if restoration.done else "production awaited", extra=restoration.model_dump())
    return restoration.model_dump()
