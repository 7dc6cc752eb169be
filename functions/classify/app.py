"""Classify: a caller's photo in, its breed out, by either of two doors: the REST API and the function's own URL."""

import gc
from typing import TYPE_CHECKING, Any

gc.disable()  # what is loaded now stays: to look for garbage among it is a sixth of the start

from aws_lambda_powertools.event_handler import (  # noqa: E402
    APIGatewayRestResolver,
    CORSConfig,
    LambdaFunctionUrlResolver,
)

from classify.routes import logger, metrics, router, settings  # noqa: E402

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_PREFLIGHT_SECONDS = 7200  # what a browser remembers at most


def doors(allowed_origin: str) -> tuple[APIGatewayRestResolver, LambdaFunctionUrlResolver]:
    """The routes behind the REST API and behind the function's URL."""
    cors = None
    if allowed_origin != "none":
        cors = CORSConfig(allowed_origin, expose_headers=["Retry-After"], max_age=_PREFLIGHT_SECONDS)
    rest, url = APIGatewayRestResolver(cors=cors), LambdaFunctionUrlResolver(cors=cors)
    rest.include_router(router)
    url.include_router(router)
    return rest, url


rest, url = doors(settings.allowed_origin)
gc.freeze()  # nor later
gc.enable()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """A proxy event, of API Gateway (payload 1.0) or of a function URL (2.0), to its response."""
    logger.set_correlation_id(event["requestContext"]["requestId"])
    door = url if event.get("version") == "2.0" else rest
    response = door.resolve(event, context)
    if metrics.metric_set:  # a file of the page counts nothing
        metrics.flush_metrics()
    return response
