"""The champion pointer: an SSM parameter that names the model that serves, or ``none``."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


class Pointer(NamedTuple):
    """What the parameter holds.

    Attributes:
        value: a ``Champion`` as JSON, or ``none``; None if the parameter was deleted.
        version: grows when the pointer moves; 0 if the parameter was deleted.
    """

    value: str | None
    version: int


def read(ssm: "SSMClient", name: str) -> Pointer:
    """Return what the champion pointer holds."""
    try:
        parameter = ssm.get_parameter(Name=name)["Parameter"]
    except ssm.exceptions.ParameterNotFound:
        return Pointer(None, 0)
    return Pointer(parameter["Value"].strip(), parameter["Version"])
