"""The metrics of AWS/ApiGateway for one request.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
"""

from collections.abc import Callable

from cloud.lambdas.metrics import Dimensions, Point

NAMESPACE = "AWS/ApiGateway"
PutMetric = Callable[[Dimensions, Point, str], None]


def points_of(status: int, milliseconds: float) -> list[Point]:
    """Return the points of an answered request; the errors are 1 or 0, so that their average is the rate of errors.

    Args:
        status: of the answer.
        milliseconds: from the request to its answer.
    """
    return [
        Point("Count", 1),
        Point("4XXError", int(400 <= status < 500)),
        Point("5XXError", int(status >= 500)),
        Point("Latency", round(milliseconds), "Milliseconds"),
    ]
