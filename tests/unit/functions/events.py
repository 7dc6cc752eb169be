"""The events with which API Gateway calls a function."""


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
