"""The routes, the same at the REST API and at the function's URL.

At the REST API another function answers what needs no key (``page``), so ``/health`` is asked here by its URL only,
whose callers have signed: there it asks the model itself.
"""

import json
import time
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver, Router
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from botocore.config import Config

from classify import documents
from classify.hosting import FUNCTION, hosting_of
from classify.invoke import Question
from classify.photos import read_photo
from classify.settings import ClassifySettings
from classify.steps import steps
from classify.view import View
from shared.doors import WHOLE_PHOTO
from shared.problems import ProblemError, json_response

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SPARE_SECONDS = 2  # Kept back from the Lambda timeout so that a 503 can still be sent.
HEALTH_SECONDS = 10  # An answer about health is valid for so long, so that keyless callers cannot load the model.
_DESCRIBE = b'{"describe": "breeds"}'  # To this question the server in serving/ answers with its model's labels.
_JSON = "application/json"
OPENAPI = Path(__file__).with_name("openapi.json")

settings = ClassifySettings.from_environment()
model = {"uses": View()}  # of a photo, as its last answer said
facts: dict[str, Any] = {}  # What routes add to the log line of the request; an instance answers one at a time.
# AWS charges for each byte of a log. What says the same in each line of the function's own log group is left out.
# Lambda takes the level and the time of a line only with a time of this form.
logger = Logger(location=None, xray_trace_id=None, use_rfc3339=True)
logger.remove_keys(["service"])
metrics = Metrics()
router = Router()  # type: ignore[no-untyped-call]
session = botocore.session.get_session()  # boto3 would import s3transfer, a fifth of a bare function's cold start.
hosting = hosting_of(settings, session)
hosting.model  # noqa: B018  Lambda lends a whole core until the first request, so the client is made before it.


@cache
def s3() -> "S3Client":
    """Return the S3 client. It is created on first use, because that takes 0.1 s and most requests need none."""
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
    """Answer with the breed on the photo of the request."""
    with steps.step("read_ms"):
        photo, content_type = read_photo(router.current_event, settings.bucket, s3)
    made_for = model["uses"]
    with steps.step("shrink_ms"):
        sent = _as_sent(photo)
    facts.update(photo_bytes=len(photo), sent_bytes=len(sent))
    prediction = _predict(sent, content_type)
    if sent is not photo and not made_for.has_all_of(model["uses"]) and _is_scaled(sent, photo):
        # A model that uses more has taken over since the last answer, or one that does not say what it uses.
        facts["sent_bytes"] += len(photo)
        prediction = _predict(photo, content_type)
    return json_response(prediction)


@router.get(
    "/breeds",
    summary="List the breeds that the model knows",
    operation_id="breeds",
    responses=documents.answers("Breeds", 502, 503),
    security=documents.KEY,
)
def breeds() -> Response[str]:
    """Answer with the labels of the model that serves."""
    return json_response(_ask(_DESCRIBE, _JSON))


@router.get(
    "/health",
    summary="Check whether a model serves",
    operation_id="health",
    responses={200: documents.answer("Health"), **documents.refusals(503, *documents.KEYLESS)},
)
def health() -> Response[str]:
    """Answer whether the model answers now, or did within the last HEALTH_SECONDS."""
    if problem := _model_problem(int(time.time() // HEALTH_SECONDS)):
        # This 503 is returned, not raised, so that NoCapacityAlarm does not count it as a lost prediction.
        return ProblemError(503, problem).response(_correlation_id())
    return json_response('{"status": "serving"}')


@lru_cache(maxsize=1)
def _model_problem(_period: int) -> str:
    """Return why the model does not answer, or an empty string if it does."""
    try:
        hosting.ask(Question(_DESCRIBE, _JSON, _correlation_id(), steps.trace), seconds=0)
    except ProblemError as problem:
        return str(problem) if problem.status >= 500 else ""  # A server that refuses the question does serve.
    return ""


@router.get(
    "/openapi.json",
    summary="Return this document",
    operation_id="openapi",
    responses={
        200: {"description": "OK", "content": {_JSON: {"schema": {"type": "object"}}}},
        **documents.refusals(*documents.KEYED),
    },
    security=documents.KEY,
)
def openapi() -> Response[str]:
    """Answer with the OpenAPI document of these routes, which ``classify.openapi`` writes."""
    return json_response(OPENAPI.read_text())


@router.exception_handler(ProblemError)  # type: ignore[untyped-decorator]
def refuse(problem: ProblemError) -> Response[str]:
    """Answer with a problem document instead of a traceback."""
    # NoCapacityAlarm watches `Unavailable`: a model that does not answer is our fault, other refusals are the caller's.
    metrics.add_metric(name="Unavailable" if problem.status in (503, 504) else "Refusals", unit="Count", value=1)
    facts["detail"] = str(problem)
    return problem.response(_correlation_id())


@router.exception_handler(NotFoundError)  # type: ignore[untyped-decorator]
def refuse_route(_: NotFoundError) -> Response[str]:
    """Answer an unknown path or method with a problem document."""
    resolver = router.api_resolver
    assert isinstance(resolver, ApiGatewayResolver)
    path = router.current_event.path
    routes = resolver._static_routes + resolver._dynamic_routes
    allowed = ", ".join(sorted({route.method for route in routes if route.rule.match(path)}))
    response: Response[str] = refuse(
        ProblemError(405, f"this path accepts only {allowed}", {"Allow": allowed})
        if allowed
        else ProblemError(404, "there is no such path; GET /openapi.json lists all paths")
    )
    return response


@router.exception_handler(Exception)  # type: ignore[untyped-decorator]
def fail(error: Exception) -> Response[str]:
    """Answer an unexpected error with a problem document that shows no details."""
    logger.exception("failed")
    metrics.add_metric(name="Failures", unit="Count", value=1)
    return ProblemError(500, "the function failed; its log contains the correlation id").response(_correlation_id())


def _ask(body: bytes, content_type: str) -> str:
    seconds = router.lambda_context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS
    try:
        with steps.step("asked_ms"):
            return hosting.ask(Question(body, content_type, _correlation_id(), steps.trace), seconds)
    finally:
        if hosting.serving == FUNCTION:  # Each byte of the log costs, so lines about the default do not name it.
            facts["hosting"] = FUNCTION


def _predict(photo: bytes, content_type: str) -> str:
    """Return the model's answer, and remember what it uses of a photo."""
    prediction = _ask(photo, content_type)
    document = _document(prediction)
    pixels = document.get("shortest_side")
    side = pixels if type(pixels) is int and pixels > 0 else 0
    model["uses"] = View(side, document.get("central_square") is True)
    facts["model_version"] = document.get("model_version")
    return prediction


def _as_sent(photo: bytes) -> bytes:
    """Return the photo as it goes to the model: to a function as it came, to an endpoint smaller where that pays.

    An instance's first photo goes as it came, so what shrinks the others is imported after it.
    """
    ((name, value),) = WHOLE_PHOTO.items()
    asked = router.current_event.headers.get(name) or ""
    is_whole = settings.shrink_photos != "auto" or asked.strip().lower() == value
    if hosting.serving == FUNCTION or is_whole or not model["uses"].shortest_side:
        return photo
    from classify.shrinking import shrunk

    return shrunk(photo, model["uses"], int(router.lambda_context.memory_limit_in_mb))


def _is_scaled(sent: bytes, photo: bytes) -> bool:
    from classify.shrinking import is_scaled

    return is_scaled(sent, photo)


def _document(prediction: str) -> dict[str, Any]:
    """Return an answer's document; an empty one for that of a server that answers otherwise."""
    try:
        document = json.loads(prediction)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _correlation_id() -> str:
    return str(logger.get_correlation_id())
