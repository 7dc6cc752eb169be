"""Classify: a caller's photo in, its breed out. Bodies only: an address that a caller sends is never fetched."""

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.logging import correlation_paths

from classify.invoke import CONFIG, ask
from classify.problems import Problem
from shared.settings import Settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@dataclass(frozen=True)
class ClassifySettings(Settings):
    """The endpoint that answers."""

    endpoint_name: str


MAX_BYTES = 4_500_000  # Lambda takes 6 MB, and a photo travels to it as base64
SPARE_SECONDS = 2  # of the function's time, to say that the rest was not enough
CONTENT_TYPES = ("image/jpeg", "image/png", "image/webp")

settings = ClassifySettings.from_environment()
logger = Logger()
metrics = Metrics()
app = APIGatewayRestResolver()
runtime = boto3.client("sagemaker-runtime", config=CONFIG)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """An API Gateway proxy event to its response."""
    return app.resolve(event, context)


@app.post("/classify")
def classify() -> Response[str]:
    """The photo in the request's body, named."""
    content_type = (app.current_event.headers.get("content-type") or "").partition(";")[0].strip().lower()
    photo = _photo(content_type)
    seconds = app.lambda_context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS
    prediction = ask(runtime, settings.endpoint_name, photo, content_type, str(logger.get_correlation_id()), seconds)
    metrics.add_metric(name="Predictions", unit="Count", value=1)
    return Response(200, "application/json", prediction)


@app.exception_handler(Problem)  # type: ignore[untyped-decorator]
def refuse(problem: Problem) -> Response[str]:
    """A problem document instead of a traceback."""
    # The second is what an alarm hears: nobody could be asked, whoever's fault the first are.
    metrics.add_metric(name="Unavailable" if problem.status == 503 else "Refusals", unit="Count", value=1)
    logger.info("refused", extra={"status": problem.status, "detail": str(problem)})
    return problem.response(str(logger.get_correlation_id()))


def _photo(content_type: str) -> bytes:
    if content_type not in CONTENT_TYPES:
        raise Problem(415, f"send the photo itself as the body, with content-type {', '.join(CONTENT_TYPES)}")
    body = app.current_event.body or ""
    try:
        photo = base64.b64decode(body, validate=True) if app.current_event.is_base64_encoded else body.encode()
    except binascii.Error:
        raise Problem(400, "the body is marked as base64 and is not") from None
    if not photo:
        raise Problem(400, "the body is empty; send the photo itself as the body")
    if len(photo) > MAX_BYTES:
        raise Problem(413, f"the photo has {len(photo):,} bytes; at most {MAX_BYTES:,} are taken")
    return photo
