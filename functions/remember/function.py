"""What the model's function is before a run changes it."""

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from remember.policies import scaling_policies
from shared.model_function import ABSENT, ALIAS, scaled
from shared.restoring import FunctionBefore

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_lambda import LambdaClient


def before(lambdas: "LambdaClient", autoscaling: "ApplicationAutoScalingClient", name: str) -> FunctionBefore | None:
    """Return the function as it serves; None if there is none, or none that its alias makes serve.

    The version is the alias's own, so an update that ended between two versions counts as not begun.
    """
    alias = _found(lambdas.get_alias, FunctionName=name, Name=ALIAS)
    if not alias:
        return None
    version = lambdas.get_function_configuration(FunctionName=name, Qualifier=alias["FunctionVersion"])
    kept = _found(lambdas.get_provisioned_concurrency_config, FunctionName=name, Qualifier=ALIAS)
    reserved = lambdas.get_function_concurrency(FunctionName=name)
    target = scaled(name)
    ranges = autoscaling.describe_scalable_targets(
        ServiceNamespace="lambda", ResourceIds=[target["ResourceId"]], ScalableDimension=target["ScalableDimension"]
    )
    policies = autoscaling.describe_scaling_policies(**target)
    return FunctionBefore(
        version=alias["FunctionVersion"],
        description=version.get("Description", ""),
        provisioned=kept.get("RequestedProvisionedConcurrentExecutions", 0),
        reserved=reserved.get("ReservedConcurrentExecutions"),
        ranges=[
            {"MinCapacity": each["MinCapacity"], "MaxCapacity": each["MaxCapacity"]}
            for each in ranges["ScalableTargets"]
        ],
        policies=scaling_policies(policies["ScalingPolicies"]).policies,
    )


def _found(ask: Any, **request: str) -> dict[str, Any]:
    """Return Lambda's answer; an empty one for what is not there."""
    try:
        return dict(ask(**request))
    except ClientError as error:
        if error.response["Error"]["Code"] not in ABSENT:
            raise
        return {}
