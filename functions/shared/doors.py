"""What the functions behind the API's doors share: who may call from a browser, and the id of a request."""

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler import CORSConfig

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

WHOLE_PHOTO = {"x-kennel-photo": "whole"}  # the header of a request whose photo the model gets as it came
TRACE_HEADERS = ("traceparent", "tracestate")  # those by which callers trace requests
ID_HEADER = "x-correlation-id"  # the header of each answer by which its caller can name the request
_PREFLIGHT_SECONDS = 7200  # the longest time for which browsers keep the answer to a preflight request


def cors_of(allowed_origin: str) -> CORSConfig | None:
    """Return the headers for pages of another origin; None when there is no such origin (``none``)."""
    if allowed_origin == "none":
        return None
    return CORSConfig(
        allowed_origin,
        allow_headers=[*WHOLE_PHOTO, *TRACE_HEADERS],
        expose_headers=["Retry-After", ID_HEADER],
        max_age=_PREFLIGHT_SECONDS,
    )


def correlation_id(event: dict[str, Any], context: "LambdaContext") -> str:
    """Return an id of the request that its sender cannot choose.

    API Gateway takes ``requestId`` from the caller's header x-amzn-RequestId, so ids in logs could be made equal.
    Nobody can set ``extendedRequestId``, which callers get as x-amz-apigw-id. A function's URL has none; there the id
    is that of the invocation, which Lambda makes.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-access-logging.html
    """
    return str(event["requestContext"].get("extendedRequestId") or context.aws_request_id)
