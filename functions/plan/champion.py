"""The champion: what the pointer, the endpoint and the bucket say about it, compared before anything costs."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import ValidationError

from dataset import DatasetError
from dataset.layout import named
from plan.weights import closest
from shared.breeds import form, names
from shared.contracts import Champion
from shared.errors import ChampionError, RequestError
from shared.s3 import exists, parse_uri, read_json

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

_STEADY = ("InService", "UpdateRollbackFailed", "OutOfService")


def read(ssm: "SSMClient", name: str) -> Champion | None:
    """Return what the champion pointer names; None if nothing serves.

    Raises:
        ChampionError: the pointer is gone or cannot be read.
    """
    value = _value(ssm, name)
    if value == "none":
        return None
    try:
        return Champion.model_validate(json.loads(value))
    except (json.JSONDecodeError, ValidationError):
        raise ChampionError(
            f"the champion pointer {name} holds '{value[:80]}', which names no champion; a run with "
            '{"promote": N}, where N is the version that shall serve, writes it anew'
        ) from None


def check_for_promotion(ssm: "SSMClient", sagemaker: "SageMakerClient", pointer: str, endpoint: str) -> None:
    """Check that a promotion can move the pointer, whatever it holds, and update the endpoint, whatever serves.

    Raises:
        ChampionError: the pointer or the endpoint's configuration is gone.
    """
    _value(ssm, pointer)
    _serving(sagemaker, endpoint)


def _value(ssm: "SSMClient", name: str) -> str:
    try:
        return ssm.get_parameter(Name=name)["Parameter"]["Value"].strip()
    except ssm.exceptions.ParameterNotFound:
        raise ChampionError(
            f"the champion pointer {name} is gone; make it again with: aws ssm put-parameter --name {name} "
            "--type String --value none"
        ) from None


def check(s3: "S3Client", sagemaker: "SageMakerClient", pointer: str, endpoint: str, champion: Champion | None) -> None:
    """Compare what the pointer says with the bucket and with the endpoint.

    Raises:
        ChampionError: they do not agree; the message says how, and what mends it.
    """
    if champion and not exists(s3, parse_uri(champion.artifact_uri)):
        raise ChampionError(
            f"the champion's artifact {champion.artifact_uri} is gone, so no challenger can be compared with it; start "
            'a run with {"promote": N}, where N is a version that has its artifact, or let the next run count as the '
            f"first: aws ssm put-parameter --name {pointer} --overwrite --value none"
        )
    serving = _serving(sagemaker, endpoint)
    if champion and serving and serving != champion.artifact_uri:
        version = champion.model_package_arn.rpartition("/")[2]
        raise ChampionError(
            f"the endpoint {endpoint} serves {serving}, and the champion pointer names {champion.artifact_uri}; start "
            f'a run with {{"promote": N}}, where N is the version that shall serve (the pointer has {version})'
        )


def breeds(s3: "S3Client", champion: Champion | None) -> dict[str, str]:
    """Return the champion's breeds by the names of their folders; empty without a champion or without its report."""
    if champion is None:
        return {}
    try:
        report = read_json(s3, f"{champion.artifact_uri.rpartition('/artifact/')[0]}/report/evaluation.json")
    except (s3.exceptions.ClientError, ValueError):
        return {}  # The gate compares with the champion itself.
    return {each["class"]: each["breed"] for each in report["challenger"]["per_breed"]}


def check_breeds(known: dict[str, str], classes: Sequence[str], dropped: Sequence[str], where: str) -> None:
    """Refuse a dataset that lacks a breed of the champion, unless the request drops it.

    Args:
        known: the champion's breeds by the names of their folders.
        classes: names of the dataset's class folders.
        dropped: names of breeds that the request drops.
        where: the dataset in messages.

    Raises:
        RequestError: the champion does not know a breed that the request drops.
        DatasetError: a breed of the champion has no photos.
    """
    if not known:
        return
    forms = {label: names(label, breed) for label, breed in known.items()}
    asked = {form(name): name for name in dropped}
    for unknown in (name for key, name in asked.items() if key not in set().union(*forms.values())):
        hint = closest(unknown, [*known, *known.values()])
        raise RequestError(f"drop_breeds: the champion knows no '{unknown}'{f' ({hint})' if hint else ''}")
    lost = [label for label in sorted(known.keys() - set(classes)) if not forms[label] & asked.keys()]
    if lost:
        field = json.dumps({"drop_breeds": lost}, ensure_ascii=False)
        raise DatasetError(
            f"dataset {where}: has no photos of {'a breed' if len(lost) == 1 else f'{len(lost)} breeds'} that the "
            f"model that serves knows: {named(known[label] for label in lost)}; add them, or say in the execution's "
            f"input that they shall go: {field}"
        )


def _serving(sagemaker: "SageMakerClient", endpoint: str) -> str:
    """Return what production serves: the artifact's URI, or the model that is missing; empty if nothing serves.

    Raises:
        ChampionError: the endpoint's configuration is gone.
    """
    found = _described(sagemaker.describe_endpoint, EndpointName=endpoint)
    if found.get("EndpointStatus") not in _STEADY:
        return ""
    name = found["EndpointConfigName"]
    config = _described(sagemaker.describe_endpoint_config, EndpointConfigName=name)
    if not config:
        raise ChampionError(
            f"the configuration {name}, with which the endpoint {endpoint} serves, was deleted, and SageMaker updates "
            'no endpoint without it; start teardown with {}, then a run with {"promote": N}, where N is the version '
            "that shall serve"
        )
    model = config["ProductionVariants"][0]["ModelName"]
    described = _described(sagemaker.describe_model, ModelName=model)
    if not described:
        return f"the model {model}, which was deleted"
    uri: str = described["PrimaryContainer"].get("ModelDataUrl", f"the model {model}")
    return uri


def _described(describe: Any, **name: str) -> dict[str, Any]:
    try:
        return dict(describe(**name))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return {}
