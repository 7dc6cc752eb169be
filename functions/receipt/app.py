"""Receipt: after a run, however it ended, write what it cost and what goes on costing."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from prices.per_million import Standing
from receipt import burn, document, history, meter, model_function
from receipt.meter import Functions, Metered
from shared.model_function import name_of
from shared.names import run_id
from shared.observability import logger
from shared.receipts import MonthlyLine, Receipt
from shared.s3 import parse_uri
from shared.settings import Settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_EVENTS = 1000  # of a page, the most that AWS gives
_KEPT_MS = 60_000  # kept back from the function's time for what follows the search


@dataclass(frozen=True)
class ReceiptSettings(Settings):
    """The settings of the receipt, from its environment variables.

    Attributes:
        bucket: the stack's bucket.
        endpoint_name: the endpoint that callers use.
        memory: megabytes of the functions that do not have those of this one, as JSON by the last word of their names.
        architecture: of the functions.
        warm_functions: instances of the API's function that are kept warm, the stack's ApiProvisionedConcurrency.
        monthly_dollars: the stack's MonthlyDollars; 0 if it has no meter.
        has_dashboard: the stack's Dashboard, ``true`` or ``false``.
        image_repository: URI of the stack's repository in ECR.
        aws_lambda_function_memory_size: megabytes of this function.
    """

    bucket: str
    endpoint_name: str
    memory: str
    architecture: str
    warm_functions: str
    monthly_dollars: str
    has_dashboard: str
    image_repository: str
    aws_lambda_function_memory_size: str


# A run must not wait for its receipt, so a service that does not answer is asked twice and not for minutes.
_config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})
settings = ReceiptSettings.from_environment()
states = boto3.client("stepfunctions", config=_config)
sagemaker = boto3.client("sagemaker", config=_config)
codebuild = boto3.client("codebuild", config=_config)
batch = boto3.client("batch", config=_config)
s3 = boto3.client("s3", config=_config)
ecr = boto3.client("ecr", config=_config)
lambdas = boto3.client("lambda", config=_config)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Receipt`` document for ``{"execution", "to_come"}``, and put it into the bucket.

    They are the ARN of the execution, and the number of states that it enters afterwards. After a run that has ended
    early, teardown asks for the receipt, with ``gone``: when it had taken the run back, in milliseconds; 0 if it could
    not. Then it is kept only beside other objects of the run: a bucket that was emptied to be deleted stays empty.
    """
    arn, gone = event["execution"], event.get("gone")
    receipt = write(
        arn,
        event["to_come"],
        lambda: context.get_remaining_time_in_millis() > _KEPT_MS,
        datetime.fromtimestamp(gone / 1000, UTC) if gone else None,
    )
    key = f"runs/{receipt.run}/receipt.json"
    body = receipt.model_dump_json(indent=1).encode()
    if gone is None or s3.list_objects_v2(Bucket=settings.bucket, Prefix=f"runs/{receipt.run}/", MaxKeys=1)["KeyCount"]:
        s3.put_object(Bucket=settings.bucket, Key=key, Body=body, ContentType="application/json")
    logger.info("receipt", extra={"run": receipt.run, "dollars": receipt.dollars, "notes": receipt.notes})
    return receipt.model_dump()


def write(arn: str, to_come: int, has_time: Callable[[], bool], gone: datetime | None = None) -> Receipt:
    """Return the receipt of an execution, which may still be running.

    Args:
        arn: the execution.
        to_come: number of states that it enters after this one.
        has_time: whether there is time to ask for one more trial of a search.
        gone: see ``meter.endpoints``.
    """
    pages = states.get_paginator("get_execution_history").paginate(
        executionArn=arn, PaginationConfig={"PageSize": _EVENTS}
    )
    past = history.read(event for page in pages for event in page["events"])
    metered, notes, now = list[Metered](), meter.unmetered(past), datetime.now(UTC)
    run = _planned(past, notes)
    identity = run["id"] if run else run_id(arn.rpartition(":")[2])
    known = Functions(json.loads(settings.memory), int(settings.aws_lambda_function_memory_size), settings.architecture)
    for what, parts in _parts(past, run or {}, known, now, has_time, gone):
        with _noted(notes, what):
            for part in parts():  # Those before an error count, too.
                metered.append(part)
    unasked, serves, ready, stored, images = list[str](), None, burn.Ready(), (0, 0), (0, 0)
    if run:
        with _noted(notes, "the objects in the bucket"):
            stored = _stored(run)
            metered += meter.uploads(stored[0] + 1)  # the receipt itself is one of them
    metered += [*meter.functions(past, known, gone or now), *meter.transitions(past, to_come)]
    with _noted(unasked, "the endpoint that serves"):
        serves = burn.serving(sagemaker, settings.endpoint_name)
    with _noted(unasked, "the model's function"):
        ready = burn.ready(lambdas, name_of(settings.endpoint_name))
    with _noted(unasked, "the images of earlier runs in ECR"):
        images = burn.images_before(ecr, settings.image_repository, past.begun or now)
    standing = _standing(serves, ready, "")
    with _noted(unasked, "a staging endpoint that is left"):
        if run and not gone and meter.has_left_staging(past, run):
            standing = _standing(serves, ready, run["endpoint"]["instance_type"])
    quoted = run["quote"].get("images_per_month") if run else None
    monthly = burn.monthly(standing, burn.Stored(stored[1], *images), quoted)
    monthly += [MonthlyLine(what=each, dollars_per_month=None) for each in unasked]
    return document.write(identity, metered, monthly, notes)


def _planned(past: history.History, notes: list[str]) -> dict[str, Any] | None:
    """Return the ``Run`` document if the receipt can go by it, and note it if that is another kind of document."""
    run, kinds = past.run(), {"id": str, "quote": dict, "endpoint": dict}
    lacking = [name for name, kind in kinds.items() if run is not None and not isinstance(run.get(name), kind)]
    if not lacking:
        return run
    notes.append(
        f"Not metered: the jobs and endpoints of the run, because the answer of Plan lacks {', '.join(lacking)}"
    )
    return None


def _standing(serves: burn.Serving | None, ready: burn.Ready, staging_type: str) -> Standing:
    return Standing(
        serves.instance_type if serves else "",
        serves.instances if serves else 0,
        warm_functions=int(settings.warm_functions),
        architecture=settings.architecture,
        has_meter=float(settings.monthly_dollars) > 0,
        dashboards=int(settings.has_dashboard == "true"),
        staging_type=staging_type,
        ready_functions=ready.number,
        ready_megabytes=ready.megabytes,
        ready_architecture=ready.architecture,
    )


Parts = tuple[str, Callable[[], Iterable[Metered]]]


def _parts(
    past: history.History,
    run: dict[str, Any],
    known: Functions,
    now: datetime,
    has_time: Callable[[], bool],
    gone: datetime | None,
) -> Iterator[Parts]:
    """Yield the meters of a run that was planned, each with a name for what it meters."""
    if not run:
        return
    yield "the builds", lambda: meter.builds(past, codebuild, run["quote"], now)
    yield "the search", lambda: meter.searches(past, sagemaker, run, now, has_time)
    yield "the training", lambda: meter.trainings(past, sagemaker, run, now)
    yield "the training on EC2", lambda: meter.on_ec2(past, batch, run, now)
    yield "the evaluation", lambda: meter.evaluations(past, sagemaker, now)
    yield "the endpoints", lambda: meter.endpoints(past, run, now, gone)
    yield "the requests", lambda: meter.requests(past, known, lambda *each: model_function.is_asked(past, *each))
    yield "the model's function", lambda: model_function.requests(past, run)
    yield "what was kept ready", lambda: model_function.kept_ready(past, run, now, gone)


@contextmanager
def _noted(notes: list[str], what: str) -> Iterator[None]:
    """Turn an error of a service into a note: the rest of the receipt is still worth having.

    So is that of a run of another release, whose documents may lack what this one looks for.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        logger.warning("not metered", extra={"what": what, "error": str(error)})
        notes.append(f"Not metered: {what}, because of {error}")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        logger.exception("not metered", extra={"what": what})
        kind = f"lack {error}" if isinstance(error, KeyError) else f"have another form ({error})"
        notes.append(f"Not metered: {what}, because documents of the run {kind}; were they made by another release?")


def _stored(run: dict[str, Any]) -> tuple[int, int]:
    """Return the number of objects that the run has left in the bucket, and their bytes."""
    prefixes = [f"runs/{run['id']}/"]
    if training := run["training"]:
        prefixes.append(f"{parse_uri(training['output_uri']).key}/{training['job_name']}/")
    sizes = [
        each["Size"]
        for prefix in prefixes
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=prefix)
        for each in page.get("Contents", [])
    ]
    return len(sizes), sum(sizes)
