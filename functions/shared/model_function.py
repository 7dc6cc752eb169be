"""The model as a function: its names, and the pointer that says what serves."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

ALIAS = "live"  # what callers invoke
NOTHING, INSTANCES, FUNCTION = "none", "instances", "function"  # what the hosting pointer says
DIMENSION: Any = "lambda:function:ProvisionedConcurrency"
# What Lambda answers when there is no such function, version, alias, or provisioned concurrency.
ABSENT = ("ResourceNotFoundException", "ProvisionedConcurrencyConfigNotFoundException")


def name_of(endpoint: str) -> str:
    """Return the function's name by that of the endpoint."""
    return f"{endpoint}-model"


def scaled(function: str) -> dict[str, Any]:
    """Return how Application Auto Scaling names the provisioned concurrency of the function's alias."""
    return {"ServiceNamespace": "lambda", "ResourceId": f"function:{function}:{ALIAS}", "ScalableDimension": DIMENSION}


def hosting(ssm: "SSMClient", parameter: str) -> str:
    """Return what the hosting pointer says; nothing if it was deleted."""
    try:
        return ssm.get_parameter(Name=parameter)["Parameter"]["Value"].strip()
    except ssm.exceptions.ParameterNotFound:
        return ""
