"""Remember: keep the champion's scaling policies, so that a failed run can restore them."""

from typing import TYPE_CHECKING, Any

import boto3

from remember.policies import scaling_policies
from shared.observability import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

autoscaling = boto3.client("application-autoscaling")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``ScalingPolicies`` document for ``{"resource_id"}``, the id of a variant."""
    answer = autoscaling.describe_scaling_policies(
        ServiceNamespace="sagemaker",
        ResourceId=event["resource_id"],
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )
    policies = scaling_policies(answer["ScalingPolicies"])
    logger.info("policies remembered", extra=policies.model_dump())
    return policies.model_dump()
