"""What answers at the moment, and how the model's function tells it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plan.versions import MANIFEST
from shared import model_function
from shared.errors import ChampionError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ARTIFACT = "KENNEL_ARTIFACT"  # The function reads this variable.


@dataclass(frozen=True)
class Serving:
    """What answers.

    Attributes:
        who: in words, ``endpoint dogs`` or ``function dogs-model``.
        config: name of the endpoint's configuration, or number of the function's version.
        uri: location of the artifact, or words about the model that was deleted.
        image: URI of the server's image; empty if the model was deleted.
        manifest: SHA-256 of the manifest of the only artifact that it serves, hexadecimal; empty if it serves any.
        instance_type: for example ``ml.c7i.large``; empty for a function.
    """

    who: str
    config: str
    uri: str
    image: str
    manifest: str
    instance_type: str


def of_function(lambdas: "LambdaClient", endpoint: str) -> Serving | None:
    """Return what the alias of the model's function serves; None without one.

    Args:
        lambdas: the client.
        endpoint: name of the endpoint, by which the function is named.

    Raises:
        ChampionError: the alias leads to two versions, although no run is at work.
    """
    name = model_function.name_of(endpoint)
    alias = model_function.if_there(lambdas.get_alias, FunctionName=name, Name=model_function.ALIAS)
    if not alias:
        return None
    if weights := alias.get("RoutingConfig", {}).get("AdditionalVersionWeights"):
        others = ", ".join(f"{version} ({share:.0%})" for version, share in weights.items())
        raise ChampionError(
            f"the alias {model_function.ALIAS} of the function {name} leads to version {alias['FunctionVersion']} and "
            f"also to {others}; let it lead to one: aws lambda update-alias --function-name {name} --name "
            f"{model_function.ALIAS} --routing-config AdditionalVersionWeights={{}}"
        )
    found = model_function.if_there(lambdas.get_function, FunctionName=name, Qualifier=model_function.ALIAS)
    variables = found.get("Configuration", {}).get("Environment", {}).get("Variables", {})
    return Serving(
        who=f"function {name}",
        config=alias["FunctionVersion"],
        uri=variables.get(ARTIFACT, f"no artifact, because its version {alias['FunctionVersion']} names none"),
        image=found.get("Code", {}).get("ResolvedImageUri", ""),
        manifest=variables.get(MANIFEST, ""),
        instance_type="",
    )
