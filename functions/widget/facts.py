"""What serves now: the hosting, the instances or the function, and the model."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from shared import model_function, pointer
from shared.model_function import FUNCTION, Found
from widget.rows import Mood, Row

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

_NOTHING = Row("Serves", "nothing; a run deploys a model", "bad")


@dataclass(frozen=True)
class Instances:
    """The instances of the endpoint.

    Attributes:
        status: of the endpoint, such as ``InService``.
        since: when the endpoint was created.
        in_service, wanted: numbers of instances.
        fewest, most: between which the number scales; 0 where nothing scales it.
    """

    name: str
    status: str
    since: datetime
    instance_type: str
    in_service: int
    wanted: int
    fewest: int = 0
    most: int = 0

    def row(self) -> Row:
        """Return the words of the widget."""
        scales = f", scaling between {self.fewest} and {self.most}" if self.most else ""
        words = f"{self.in_service} of {self.wanted} instances in service ({self.instance_type}){scales}"
        is_well = self.status == "InService" and self.in_service >= self.wanted > 0
        return Row("Serves", f"endpoint {self.name}, {self.status}: {words}", "good" if is_well else "bad")


@dataclass(frozen=True)
class Function:
    """The model's function.

    Attributes:
        size: its memory and processor.
        ready, wanted: environments that are kept ready, and how many should be.
        reserved: concurrency that is reserved for it; None for no reservation.
    """

    name: str
    size: Found
    ready: int
    wanted: int
    reserved: int | None

    def row(self) -> Row:
        """Return the words of the widget."""
        if not self.size.megabytes:
            return Row("Serves", f"function {self.name} should serve, and is not there", "bad")
        kept = f"{self.ready} of {self.wanted} environments kept ready" if self.wanted else "none kept ready"
        limit = "no concurrency reserved" if self.reserved is None else f"at most {self.reserved} at once (reserved)"
        mood: Mood = "good" if self.ready >= self.wanted else "bad"
        return Row("Serves", f"function {self.name} of {self.size.megabytes:,} MB: {kept}, {limit}", mood)


@dataclass(frozen=True)
class Nothing:
    """Nothing serves."""

    def row(self) -> Row:
        """Return the words of the widget."""
        return _NOTHING


Fleet = Instances | Function | Nothing


def fleet(
    hosting: str,
    sagemaker: "SageMakerClient",
    lambdas: "LambdaClient",
    autoscaling: "ApplicationAutoScalingClient",
    endpoint: str,
) -> Fleet:
    """Return what answers requests.

    Args:
        hosting: what the hosting pointer says; it is ``none`` until a function has served.
        sagemaker, lambdas, autoscaling: clients.
        endpoint: name of the endpoint.
    """
    if hosting == FUNCTION:
        return _function(lambdas, model_function.name_of(endpoint))
    return _instances(sagemaker, autoscaling, endpoint)  # A run that never left them does not write the pointer.


def _instances(
    sagemaker: "SageMakerClient", autoscaling: "ApplicationAutoScalingClient", name: str
) -> Instances | Nothing:
    try:
        told: Any = sagemaker.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationException":  # SageMaker's word for one that is not there.
            return Nothing()
        raise
    variants = told.get("ProductionVariants", [])
    config = sagemaker.describe_endpoint_config(EndpointConfigName=told["EndpointConfigName"])
    target = {"ServiceNamespace": "sagemaker", "ResourceIds": [f"endpoint/{name}/variant/main"]}
    targets: Any = autoscaling.describe_scalable_targets(**target)["ScalableTargets"]
    return Instances(
        name,
        told["EndpointStatus"],
        told["CreationTime"],
        config["ProductionVariants"][0].get("InstanceType", ""),
        sum(each.get("CurrentInstanceCount", 0) for each in variants),
        sum(each.get("DesiredInstanceCount", 0) for each in variants),
        *((targets[0]["MinCapacity"], targets[0]["MaxCapacity"]) if targets else (0, 0)),
    )


def _function(lambdas: "LambdaClient", name: str) -> Function:
    kept = model_function.kept_ready(lambdas, name)
    limit = model_function.if_there(lambdas.get_function_concurrency, FunctionName=name)
    return Function(
        name,
        model_function.find(lambdas, name),
        kept.get("AvailableProvisionedConcurrentExecutions", 0),
        kept.get("RequestedProvisionedConcurrentExecutions", 0),
        limit.get("ReservedConcurrentExecutions"),
    )


def model(ssm: "SSMClient", parameter: str) -> Row:
    """Return which model is the champion."""
    value = pointer.read(ssm, parameter).value
    if value in (None, "none"):
        return Row("Model", "no champion")
    champion = json.loads(str(value))
    version = champion["model_package_arn"].rpartition("/")[2]
    return Row("Model", f"version {version} of run {champion['run']}, top-1 {champion['top1']:.1%}")
