"""Remember: note the policies that the champion scales by, so that a failed run can put them back."""

from typing import TYPE_CHECKING, Any

import boto3

from remember.policies import remembered
from shared.observability import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

autoscaling = boto3.client("application-autoscaling")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Turn ``{"resource_id"}``, that of a variant, into a ``ScalingPolicies`` document."""
    answer = autoscaling.describe_scaling_policies(
        ServiceNamespace="sagemaker",
        ResourceId=event["resource_id"],
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )
    policies = remembered(answer["ScalingPolicies"])
    logger.info("policies remembered", extra=policies.model_dump())
    return policies.model_dump()
