"""Classify: name the breed on a caller's photo. Callers use the REST API or the function's own URL."""

import gc
import time
from typing import TYPE_CHECKING, Any

# Imports leave no garbage. See "No pydantic, no boto3 and no garbage collection" in docs/decisions/api.md.
gc.disable()

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, LambdaFunctionUrlResolver  # noqa: E402

from classify.accounting import request_facts  # noqa: E402
from classify.routes import facts, logger, metrics, router, settings  # noqa: E402
from classify.steps import steps  # noqa: E402
from shared.doors import ID_HEADER, correlation_id, cors_of  # noqa: E402

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def resolvers(allowed_origin: str) -> tuple[APIGatewayRestResolver, LambdaFunctionUrlResolver]:
    """Return the routes as the REST API serves them, and as the function's URL serves them."""
    cors = cors_of(allowed_origin)
    rest, url = APIGatewayRestResolver(cors=cors), LambdaFunctionUrlResolver(cors=cors)
    rest.include_router(router)
    url.include_router(router)
    return rest, url


rest, url = resolvers(settings.allowed_origin)
gc.freeze()  # Exclude everything loaded so far from later collections.
gc.enable()


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Answer a proxy event of API Gateway (payload 1.0) or of a function URL (payload 2.0), and log one line."""
    request_id = correlation_id(event, context)
    logger.set_correlation_id(request_id)
    facts.clear()
    steps.begin(event, context.aws_request_id)
    if request_id != context.aws_request_id:  # Lambda's own messages and traces have this one.
        facts["function_request_id"] = context.aws_request_id
    started = time.perf_counter()
    by_url = event.get("version") == "2.0"
    response = (url if by_url else rest).resolve(event, context)
    if by_url:
        response["headers"][ID_HEADER] = request_id
    else:
        response["multiValueHeaders"][ID_HEADER] = [request_id]
    milliseconds = round((time.perf_counter() - started) * 1e3, 1)
    status = response["statusCode"]
    seen = {**request_facts(event), **facts, "status": status, "milliseconds": milliseconds}
    logger.info("request", extra=seen | steps.facts(status, milliseconds))
    if metrics.metric_set:
        metrics.flush_metrics()
    return response
