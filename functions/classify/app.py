"""Classify: name the breed on a caller's photo. Callers use the REST API or the function's own URL."""

import gc
from typing import TYPE_CHECKING, Any

# Imports leave no garbage. See "No pydantic, no boto3 and no garbage collection" in docs/decisions/api.md.
gc.disable()

from aws_lambda_powertools.event_handler import (  # noqa: E402
    APIGatewayRestResolver,
    CORSConfig,
    LambdaFunctionUrlResolver,
)

from classify.routes import logger, metrics, router, settings  # noqa: E402

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_PREFLIGHT_SECONDS = 7200  # the longest time for which browsers keep the answer to a preflight request


def resolvers(allowed_origin: str) -> tuple[APIGatewayRestResolver, LambdaFunctionUrlResolver]:
    """Return the routes as the REST API serves them, and as the function's URL serves them."""
    cors = None
    if allowed_origin != "none":
        cors = CORSConfig(allowed_origin, expose_headers=["Retry-After"], max_age=_PREFLIGHT_SECONDS)
    rest, url = APIGatewayRestResolver(cors=cors), LambdaFunctionUrlResolver(cors=cors)
    rest.include_router(router)
    url.include_router(router)
    return rest, url


rest, url = resolvers(settings.allowed_origin)
gc.freeze()  # Exclude everything loaded so far from later collections.
gc.enable()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Answer a proxy event of API Gateway (payload 1.0) or of a function URL (payload 2.0)."""
    logger.set_correlation_id(event["requestContext"]["requestId"])
    resolver = url if event.get("version") == "2.0" else rest
    response = resolver.resolve(event, context)
    if metrics.metric_set:  # Requests for files of the page add no metric.
        metrics.flush_metrics()
    return response
