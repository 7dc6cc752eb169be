"""The routes, the same behind both doors. What a caller sends is answered or refused; no address is ever fetched."""

import time
from functools import cache, lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, cast

import botocore.session
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver, Router
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from botocore.config import Config

from classify import documents, files
from classify.invoke import CONFIG, ask
from classify.photos import photo_of
from classify.problems import Problem
from classify.settings import ClassifySettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

SPARE_SECONDS = 2  # of the function's time, to say that the rest was not enough
HEALTH_SECONDS = 10  # for which an answer about health holds, so that strangers' questions cost the endpoint nothing
_DESCRIBE = b'{"describe": "breeds"}'  # what serving/ answers with the labels of its model
_JSON = "application/json"
OPENAPI = Path(__file__).with_name("openapi.json")

settings = ClassifySettings.from_environment()
logger = Logger()
metrics = Metrics()
router = Router()  # type: ignore[no-untyped-call]
session = botocore.session.get_session()  # boto3 brings s3transfer, a fifth of a bare function's start
runtime = cast("SageMakerRuntimeClient", session.create_client("sagemaker-runtime", config=CONFIG))


@cache
def s3() -> "S3Client":
    """Made when first needed: a tenth of a second that most callers need not wait for."""
    config = Config(connect_timeout=1, read_timeout=4, retries={"total_max_attempts": 2})
    return cast("S3Client", session.create_client("s3", config=config))


@router.post(
    "/classify",
    summary="Name the breed on a photo",
    operation_id="classify",
    responses=documents.answers("Prediction", 400, 404, 408, 413, 415, 502, 503),
    security=documents.KEY,
)
def classify() -> Response[str]:
    """The photo in the request, named."""
    photo, content_type = photo_of(router.current_event, settings.bucket, s3)
    prediction = _ask(photo, content_type)
    metrics.add_metric(name="Predictions", unit="Count", value=1)
    return Response(200, _JSON, prediction)


@router.get(
    "/breeds",
    summary="The breeds that the model knows",
    operation_id="breeds",
    responses=documents.answers("Breeds", 502, 503),
    security=documents.KEY,
)
def breeds() -> Response[str]:
    """The labels of the model that serves, as it says itself."""
    return Response(200, _JSON, _ask(_DESCRIBE, _JSON))


@router.get(
    "/health",
    summary="Whether a model serves",
    operation_id="health",
    responses={200: documents.answer("Health"), 503: documents.problem(503)},
)
def health() -> Response[str]:
    """Whether the endpoint answers, or did within the last seconds."""
    if trouble := _trouble(int(time.time() // HEALTH_SECONDS)):
        return Problem(503, trouble).response(_correlation_id())  # counted as no caller who was sent away
    return Response(200, _JSON, '{"status": "serving"}')


@lru_cache(maxsize=1)
def _trouble(_period: int) -> str:
    """Why the endpoint does not answer; empty when it does."""
    try:
        ask(runtime, settings.endpoint_name, _DESCRIBE, _JSON, _correlation_id(), seconds=0)
    except Problem as problem:
        return str(problem) if problem.status >= 500 else ""  # a server that refuses the question does serve
    return ""


@router.get(
    "/openapi.json",
    summary="This document",
    operation_id="openapi",
    responses={200: {"description": "OK", "content": {_JSON: {"schema": {"type": "object"}}}}},
    security=documents.KEY,
)
def openapi() -> Response[str]:
    """The OpenAPI document of these routes, as ``classify.openapi`` made it."""
    return Response(200, _JSON, OPENAPI.read_text())


@router.get("/", include_in_schema=False)
def page() -> Response[str | bytes]:
    """The page; its addresses are relative, so they hold only below a final slash."""
    path = router.current_event["requestContext"].get("path", "/")  # a function's URL has no stage before its paths
    if not path.endswith("/"):
        return Response(HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": f"./{path.rpartition('/')[2]}/"})
    return files.page_file("index.html")


@router.get("/page/<name>", include_in_schema=False)
def page_file(name: str) -> Response[str | bytes]:
    """What the page is made of."""
    return files.page_file(name)


@router.get("/page/examples/<name>", include_in_schema=False)
def example(name: str) -> Response[str | bytes]:
    """A photo to try."""
    return files.page_file(f"examples/{name}")


@router.exception_handler(Problem)  # type: ignore[untyped-decorator]
def refuse(problem: Problem) -> Response[str]:
    """A problem document instead of a traceback."""
    # The second is what an alarm hears: nobody could be asked, whoever's fault the first are.
    metrics.add_metric(name="Unavailable" if problem.status == 503 else "Refusals", unit="Count", value=1)
    logger.info("refused", extra={"status": problem.status, "detail": str(problem)})
    return problem.response(_correlation_id())


@router.exception_handler(NotFoundError)  # type: ignore[untyped-decorator]
def refuse_route(_: NotFoundError) -> Response[str]:
    """A problem document for a path or a method that is not ours."""
    resolver = router.api_resolver
    assert isinstance(resolver, ApiGatewayResolver)
    path = router.current_event.path
    routes = resolver._static_routes + resolver._dynamic_routes
    allowed = ", ".join(sorted({route.method for route in routes if route.rule.match(path)}))
    told: Response[str] = refuse(
        Problem(405, f"ask this path by {allowed}", {"Allow": allowed})
        if allowed
        else Problem(404, "there is no such path; GET /openapi.json tells what there is")
    )
    return told


@router.exception_handler(Exception)  # type: ignore[untyped-decorator]
def fail(error: Exception) -> Response[str]:
    """A problem document for what should not happen."""
    logger.exception("failed")
    metrics.add_metric(name="Failures", unit="Count", value=1)
    return Problem(500, "the function failed; its log knows the correlation id").response(_correlation_id())


def _ask(body: bytes, content_type: str) -> str:
    seconds = router.lambda_context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS
    return ask(runtime, settings.endpoint_name, body, content_type, _correlation_id(), seconds)


def _correlation_id() -> str:
    return str(logger.get_correlation_id())
