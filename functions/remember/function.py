"""What the model's function is before a run changes it."""

from typing import TYPE_CHECKING

from remember.policies import scaling_policies
from shared.model_function import ALIAS, if_there, kept_ready, scaled
from shared.restoring import FunctionBefore

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_lambda import LambdaClient


def before(lambdas: "LambdaClient", autoscaling: "ApplicationAutoScalingClient", name: str) -> FunctionBefore | None:
    """Return the function as it serves; None if there is none, or none that its alias makes serve.

    The version is the alias's own, so an update that ended between two versions counts as not begun.
    """
    alias = if_there(lambdas.get_alias, FunctionName=name, Name=ALIAS)
    if not alias:
        return None
    version = lambdas.get_function_configuration(FunctionName=name, Qualifier=alias["FunctionVersion"])
    kept = kept_ready(lambdas, name)
    reserved = lambdas.get_function_concurrency(FunctionName=name)
    target = scaled(name)
    ranges = autoscaling.describe_scalable_targets(
        ServiceNamespace="lambda", ResourceIds=[target["ResourceId"]], ScalableDimension=target["ScalableDimension"]
    )
    policies = autoscaling.describe_scaling_policies(**target)
    return FunctionBefore(
        version=alias["FunctionVersion"],
        description=version.get("Description", ""),
        role=version.get("Role", ""),
        provisioned=kept.get("RequestedProvisionedConcurrentExecutions", 0),
        reserved=reserved.get("ReservedConcurrentExecutions"),
        ranges=[
            {"MinCapacity": each["MinCapacity"], "MaxCapacity": each["MaxCapacity"]}
            for each in ranges["ScalableTargets"]
        ],
        policies=scaling_policies(policies["ScalingPolicies"]).policies,
    )
