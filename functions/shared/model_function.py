"""The model as a function: its names, and the pointer that says what serves."""

from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_ssm import SSMClient

ALIAS = "live"  # what callers invoke
NOTHING, INSTANCES, FUNCTION = "none", "instances", "function"  # what the hosting pointer says
DIMENSION: Any = "lambda:function:ProvisionedConcurrency"
_ABSENT = ("ResourceNotFoundException", "ProvisionedConcurrencyConfigNotFoundException")


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


class Found(NamedTuple):
    """The function as it serves, or as a run tries it.

    Attributes:
        megabytes: its memory; 0 if there is no function.
        architecture: of its processor.
    """

    megabytes: int = 0
    architecture: str = "x86_64"


def find(lambdas: "LambdaClient", name: str) -> Found:
    """Return the function that callers reach by its alias, or without one what a run tries."""
    for qualifier in ({"Qualifier": ALIAS}, {}):
        if told := if_there(lambdas.get_function_configuration, FunctionName=name, **qualifier):
            return Found(told["MemorySize"], (told.get("Architectures") or ["x86_64"])[0])
    return Found()


def kept_ready(lambdas: "LambdaClient", name: str) -> dict[str, Any]:
    """Return what Lambda tells of the environments that it keeps ready for the alias; nothing if it keeps none."""
    return if_there(lambdas.get_provisioned_concurrency_config, FunctionName=name, Qualifier=ALIAS)


def if_there(ask: Any, **request: Any) -> dict[str, Any]:
    """Return Lambda's answer; an empty one when there is no such function, version, alias or concurrency."""
    try:
        return dict(ask(**request) or {})
    except ClientError as error:
        if error.response["Error"]["Code"] not in _ABSENT:
            raise
        return {}
