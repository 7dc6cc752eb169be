"""GetResource of Cloud Control, which asks the resource's own service."""

import json
from typing import Any

from cloud.core import emulator
from cloud.core.protocol import ApiError, Operation, Request

# By type: the service, the path of the resource in its API, and the properties with the members of the answer that
# they are called there. The properties are those of the types' schemas.
_TYPES = {
    "AWS::ApiGateway::RestApi": (
        "apigateway",
        "/restapis/{}",
        {"RestApiId": "id", "RootResourceId": "rootResourceId", "Name": "name", "Description": "description"},
    ),
    "AWS::Lambda::Url": (
        "lambda",
        "/2021-10-31/functions/{}/url",
        {"FunctionUrl": "FunctionUrl", "FunctionArn": "FunctionArn", "AuthType": "AuthType", "Cors": "Cors"},
    ),
}


def table() -> dict[str, Operation]:
    """Return the operations by name."""
    return {"GetResource": get_resource}


def get_resource(request: Request) -> dict[str, Any]:
    """Return the properties of a resource.

    Raises:
        ApiError: There is no such resource, or the laptop cloud does not know its type.
    """
    kind, identifier = request["TypeName"], request["Identifier"]
    if kind not in _TYPES:
        known = ", ".join(_TYPES)
        raise ApiError(
            "UnsupportedActionException", f"The laptop cloud gets no resource of type {kind}; it gets {known}."
        )
    service, path, members = _TYPES[kind]
    try:
        found = json.loads(emulator.call(service, "GET", path.format(identifier)))
    except emulator.CallError as error:
        if error.status != 404:
            raise
        message = f"Resource of type '{kind}' with identifier '{identifier}' was not found."
        raise ApiError("ResourceNotFoundException", message) from None
    properties = {name: found[member] for name, member in members.items() if member in found}
    return {
        "TypeName": kind,
        "ResourceDescription": {"Identifier": identifier, "Properties": json.dumps(properties)},
    }
