"""Plan: decide the whole run from the execution's input, and take the endpoint's run lock."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import boto3

from dataset.reading import Reading, shares_of
from plan import (
    caps,
    ec2,
    hosting,
    images,
    instances,
    lock,
    own_model,
    photos,
    places,
    quota_ask,
    quota_check,
    ranges,
    request,
    spending,
    stack,
    trained,
    tuning,
    versions,
    weights,
)
from plan import champion as champions
from plan.agreement import Agreement
from plan.run import (
    PlanSettings,
    decide,
    decide_own_model,
    decide_promotion,
    training_job_name,
    with_reused_model,
)
from shared import listing
from shared import spending as metering
from shared.contracts import Dataset, ImagePlan, RegisteredChampion, Request, Run
from shared.errors import NothingToRebuildError, RequestError, RunInProgressError, SpendingLimitError
from shared.names import run_id
from shared.observability import logger, metrics
from shared.restoring import Restoration
from shared.s3 import Location, parse_uri
from shared.tuning import repeated_job_name

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

settings = PlanSettings.from_environment()
s3 = boto3.client("s3")
ecr = boto3.client("ecr")
sagemaker = boto3.client("sagemaker")
ssm = boto3.client("ssm")
states = boto3.client("stepfunctions")
lambdas = boto3.client("lambda")
cloudwatch = boto3.client("cloudwatch")
agreement = Agreement(
    s3,
    sagemaker,
    ssm,
    boto3.client("application-autoscaling"),
    cloudwatch,
    lambdas,
    settings.champion_parameter,
    settings.hosting_parameter,
    settings.endpoint_name,
    settings.model_package_group,
)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Run`` document for ``{"request": …, "execution": {"arn", "name"}}``."""
    run = plan(event["request"], event["execution"]["arn"], event["execution"]["name"])
    metrics.add_metric(name="RunsPlanned", unit="Count", value=1)
    return run.model_dump()


def plan(raw_request: Any, execution_arn: str, execution_name: str) -> Run:
    """Validate the request, take the run lock and decide the run.

    A run with training also checks the dataset, uploads weights and the context of the images, and looks for an
    earlier model. The lock is released again if anything after it fails.

    Raises:
        RequestError: the input is wrong.
        SpendingLimitError: the stack may spend no more this month, or the request's max_dollars is too little.
        RunInProgressError: another run holds the lock, or a stopped one is still being taken back.
        ChampionError: pointer, endpoint, bucket, registry and scaling do not agree.
        StackError: a part of the stack was deleted.
        DatasetError: the dataset cannot be used.
        QuotaError: the account's quotas are too small for the run, or for the update after it.
        NothingToRebuildError: the request asks for new images only, and there is nothing to do.
    """
    parsed = caps.apply(request.parse(raw_request), settings)
    _check_spending(parsed)
    # Checks that need no lock come first.
    dataset_location = _in_bucket("dataset", parsed.dataset, settings.dataset_prefix)
    weights_location = _in_bucket("weights", parsed.weights, settings.model_prefix) if parsed.weights else None
    instances.check(sagemaker, parsed)
    if parsed.train_on == "ec2":
        ec2.plan(parsed, settings.training_instance_type, settings.ec2_spot_queue, settings.ec2_on_demand_queue)
    model_location = (
        _in_bucket("trained_model", parsed.trained_model, settings.model_prefix) if parsed.trained_model else None
    )
    abandoned = lock.take(ssm, states, settings.lock_parameter, execution_arn)
    if abandoned.rpartition(":")[0] == execution_arn.rpartition(":")[0]:
        _take_back(abandoned)
    try:
        if abandoned:
            _stop_jobs(abandoned.rpartition(":")[2])
        stack.check_alarms(cloudwatch, settings)
        stack.check_key(boto3.client("apigateway"), settings)
        if parsed.promote is not None:
            agreement.serving()
            version = versions.find(sagemaker, settings.model_package_group, parsed.promote)
            versions.check_artifact(s3, version)
            run = decide_promotion(parsed, settings, execution_name, version)
        elif model_location:
            model = own_model.find(s3, parsed, model_location)
            champion = _champion(parsed)
            dataset = _dataset(parsed, dataset_location, champion, execution_name)
            image_plan = _images(parsed)
            run = decide_own_model(parsed, settings, execution_name, dataset, model, image_plan, champion)
        else:
            run = _with_training(parsed, execution_name, dataset_location, weights_location)
        run = _limited(parsed, run)
        if parsed.check_quotas:
            _check_quotas(run)
    except Exception:
        lock.release(ssm, settings.lock_parameter, execution_arn)
        raise
    summary = run.model_dump(include={"dataset", "training", "tuning", "own_model", "promotion", "quote", "spending"})
    logger.info("run planned", extra={"run": run.id, **summary})
    return run


def _check_quotas(run: Run) -> None:
    for sentence in quota_check.check(
        boto3.client("service-quotas", config=quota_ask.CONFIG), sagemaker, run, settings
    ):
        logger.warning("quota not compared", extra={"run": run.id, "reason": sentence})


def _check_spending(parsed: Request) -> None:
    if limit := float(settings.monthly_dollars):
        spent = metering.read(ssm, settings.spending_parameter)
        if parsed.promote is not None and _may_go_back(parsed, spent):
            return
        if words := metering.refusal(spent, limit, time.time()):
            raise SpendingLimitError(words)


def _may_go_back(parsed: Request, spent: metering.Spending) -> bool:
    """Whether an earlier version may come back although the month's money is spent."""
    if hosting.of(parsed, settings) == "function":  # It costs what callers ask, as the one does that serves.
        return not parsed.provisioned_concurrency and agreement.hosting() == "function"
    return metering.may_go_back(spent, settings.endpoint_name, parsed.min_instances)


def _take_back(abandoned: str) -> None:
    """Take back what a stopped run changed in production. Teardown does that, too, unless this run was faster.

    Raises:
        RunInProgressError: it takes longer; the stopped run holds the lock again, so that teardown goes on.
    """
    try:
        answer = lambdas.invoke(
            FunctionName=settings.restore_function, Payload=json.dumps({"execution": abandoned}).encode()
        )
        document = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise RunInProgressError(f"the stopped run {abandoned} cannot be taken back: {document['errorMessage']}")
        restoration = Restoration.model_validate(document)
        if not restoration.done:
            raise RunInProgressError(
                f"the stopped run {abandoned} is being taken back: {restoration.answer}; start again in some minutes"
            )
    except Exception:
        ssm.put_parameter(Name=settings.lock_parameter, Value=abandoned, Overwrite=True)
        raise


def _stop_jobs(execution_name: str) -> None:
    """Stop what an abandoned run may still train; a tuning job first, because it would start the next training job."""
    if tuning.can_name_jobs(settings.endpoint_name):
        search = tuning.job_name(settings.endpoint_name, run_id(execution_name))
        for name in (search, repeated_job_name(search)):
            trained.stop_search(sagemaker, name)
    job = training_job_name(settings.endpoint_name, execution_name)
    trained.stop(sagemaker, job)
    if queues := [each for each in (settings.ec2_spot_queue, settings.ec2_on_demand_queue) if each]:
        trained.stop_on_ec2(boto3.client("batch"), queues, f"{job}{ec2.SUFFIX}")


def _with_training(
    parsed: Request, execution_name: str, dataset_location: Location, weights_location: Location | None
) -> Run:
    searched = ranges.backbones(parsed.tune.ranges) if parsed.tune else []
    backbones = searched or [str(parsed.hyperparameters.get("backbone", weights.DEFAULT_BACKBONE))]
    field = "tune.ranges.backbone" if searched else "hyperparameters.backbone"
    champion = _champion(parsed)
    dataset = _dataset(parsed, dataset_location, champion, execution_name)
    backbone_weights = weights.prepare(s3, settings.bucket, backbones, weights_location, field=field)
    image_plan = _images(parsed)
    run = decide(parsed, settings, execution_name, dataset, backbone_weights, image_plan, champion)
    caps.check_search(run, settings)
    return _reusing(parsed, run)


def _reusing(parsed: Request, run: Run) -> Run:
    assert run.training
    job_prefix = f"{settings.endpoint_name}-"
    if parsed.reuse and (model := trained.find(s3, sagemaker, run.training.output_uri, job_prefix)):
        return with_reused_model(run, model)
    return run


def _limited(parsed: Request, run: Run) -> Run:
    functions = spending.Functions(float(settings.measure_memory), settings.architecture)
    limited = spending.limit(run, parsed.max_dollars, functions)
    if not (run.training and limited.training) or limited.training.key == run.training.key:
        return limited
    # An earlier run may have searched with the same money.
    return spending.limit(_reusing(parsed, limited), parsed.max_dollars, functions)


def _champion(parsed: Request) -> RegisteredChampion | None:
    champion = agreement.champion(parsed)
    if parsed.rebuild and champion is None:
        raise NothingToRebuildError("no model serves, so there is nothing to rebuild")
    return champion


def _images(parsed: Request) -> ImagePlan:
    image_plan = images.prepare(s3, ecr, settings)
    if parsed.rebuild and not (image_plan.training_build or image_plan.serving_build):
        raise NothingToRebuildError(f"the images are built on {image_plan.base} already")
    return image_plan


def _dataset(parsed: Request, location: Location, champion: RegisteredChampion | None, execution_name: str) -> Dataset:
    known = champions.breeds(s3, champion)
    reading = Reading(shares_of(parsed.split), parsed.leaks == "drop", tuple(parsed.drop_breeds))

    def check(classes: Sequence[str], left_out: Collection[str]) -> None:
        champions.check_breeds(known, classes, parsed.drop_breeds, location.uri, left_out)

    def keep(where: Location, objects: Mapping[str, Any]) -> str:
        kept = Location(settings.bucket, f"runs/{run_id(execution_name)}/photos.json")
        return listing.write(s3, kept, where, objects)

    return photos.inspect(s3, location, reading, check, keep)


def _in_bucket(field: str, value: str, prefix: str) -> Location:
    if words := places.slip(value):
        raise RequestError(f"{field}: '{value}' {words}")
    try:
        location = parse_uri(value) if value.startswith("s3://") else Location(settings.bucket, value)
    except ValueError as error:
        raise RequestError(f"{field}: {error}") from None
    if location.bucket != settings.bucket:
        raise RequestError(f"{field}: '{value}' is not in the stack's bucket; copy it to s3://{settings.bucket}/ first")
    if not location.key.startswith(prefix):
        parameter = "DatasetPrefix" if field == "dataset" else "ModelPrefix"
        raise RequestError(
            f"{field}: the stack's jobs may not read '{value}', because its key does not begin with '{prefix}'; move "
            f"it to such a key, or deploy the stack with another {parameter}"
        )
    return location
