"""The events with which API Gateway calls a function, and what the model gets of a request's ids."""

import re


class Ids:
    """Equals what the model gets: a correlation id, and behind it a place in a trace that is not sampled."""

    def __init__(self, correlation_id):
        self._form = re.compile(rf"{re.escape(correlation_id)};traceparent=00-[0-9a-f]{{32}}-[0-9a-f]{{16}}-00")

    def __eq__(self, other):
        return self._form.fullmatch(other) is not None

    __hash__ = None


def rest_event(method, path, body, encoded, headers, stage="/v1"):
    """Return an event of a REST API for a request without a key."""
    return {
        "httpMethod": method,
        "path": path,
        "resource": path,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "requestContext": {
            "requestId": "chosen-by-the-caller",
            "extendedRequestId": "request-1",
            "stage": "v1",
            "path": stage + path,
            "httpMethod": method,
        },
        "queryStringParameters": None,
        "body": body,
        "isBase64Encoded": encoded,
    }
