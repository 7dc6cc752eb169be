"""Plan: turn an execution's input into one decided run, and take the endpoint's run lock for it."""

import json
from typing import TYPE_CHECKING, Any

import boto3

from plan import code, images, lock, photos, request, trained, versions, weights
from plan.run import PlanSettings, decide, decide_promotion, reusing
from shared.contracts import Champion, Request, Run
from shared.errors import RequestError
from shared.observability import logger, metrics
from shared.s3 import Location, parse_uri

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

settings = PlanSettings.from_environment()
s3 = boto3.client("s3")
sagemaker = boto3.client("sagemaker")
ssm = boto3.client("ssm")
states = boto3.client("stepfunctions")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """``{"request": …, "execution": {"arn", "name"}}`` to a ``Run`` document."""
    run = plan(event["request"], event["execution"]["arn"], event["execution"]["name"])
    metrics.add_metric(name="RunsPlanned", unit="Count", value=1)
    return run.model_dump()


def plan(raw_request: Any, execution_arn: str, execution_name: str) -> Run:
    """Validate, lock, look at the data, upload code, weights and the images' context, decide, look for the model.

    The lock is let go again when anything after it fails.

    Raises:
        RequestError, RunInProgressError, DatasetError: each with a sentence.
    """
    wanted = request.parse(raw_request)
    # What needs no lock is looked at before it is taken.
    place = _in_bucket("dataset", wanted.dataset)
    given = _in_bucket("weights", wanted.weights) if wanted.weights else None
    lock.take(ssm, states, settings.lock_parameter, execution_arn)
    try:
        if wanted.promote is None:
            run = _with_training(wanted, execution_name, place, given)
        else:
            version = versions.find(sagemaker, settings.model_package_group, wanted.promote)
            run = decide_promotion(wanted, settings, execution_name, version)
    except Exception:
        lock.release(ssm, settings.lock_parameter, execution_arn)
        raise
    planned = run.model_dump(include={"dataset", "training", "promotion", "quote"})
    logger.info("run planned", extra={"run": run.id, **planned})
    return run


def _with_training(wanted: Request, execution_name: str, place: Location, given: Location | None) -> Run:
    backbone = str(wanted.hyperparameters.get("backbone", weights.DEFAULT_BACKBONE))
    champion = _champion()
    found = photos.look(s3, place)
    backbone_weights = weights.prepare(s3, settings.bucket, backbone, given)
    code_uri = code.upload(s3, settings.bucket)
    image_plan = images.prepare(s3, settings)
    run = decide(wanted, settings, execution_name, found, code_uri, backbone_weights, image_plan, champion)
    assert run.training
    own = f"{settings.endpoint_name}-"
    if wanted.reuse and (model := trained.find(s3, sagemaker, run.training.output_uri, own)):
        return reusing(run, model)
    return run


def _in_bucket(field: str, given: str) -> Location:
    try:
        place = parse_uri(given) if given.startswith("s3://") else Location(settings.bucket, given)
    except ValueError as error:
        raise RequestError(f"{field}: {error}") from None
    if place.bucket != settings.bucket:
        raise RequestError(f"{field}: '{given}' is not in the stack's bucket; copy it to s3://{settings.bucket}/ first")
    return place


def _champion() -> Champion | None:
    value = ssm.get_parameter(Name=settings.champion_parameter)["Parameter"]["Value"]
    return None if value == "none" else Champion.model_validate(json.loads(value))
