"""The parts of the OpenAPI document that describe requests and answers.

The routes refer to them. The function does not validate anything with them.
"""

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from classify.wrappings import CONTENT_TYPES

KEY: list[dict[str, list[str]]] = [{"key": []}]  # the security scheme of routes that require the API key

_ID = "00000000-0000-0000-0000-000000000000"
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_RANKED = {"breed": {"type": "string"}, "class": {"type": "string"}, "probability": _SHARE}
_RANKED_EXAMPLE = {"breed": "Beagle", "class": "017.Beagle", "probability": 0.93}


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


SCHEMAS = {
    "Prediction": {
        **_object(
            {
                "model_version": {"type": "string"},
                **_RANKED,
                "is_dog": {
                    "type": "boolean",
                    "description": "Whether dog_probability reaches the model's own threshold, which is at most 0.5 "
                    "and on its card.",
                },
                "dog_probability": {**_SHARE, "description": "How probable it is that the photo shows a dog."},
                "shortest_side": {
                    "type": "integer",
                    "description": "Pixels of a photo's shorter side that the model uses. More bring no better answer.",
                },
                "central_square": {
                    "type": "boolean",
                    "description": "Whether the model uses nothing outside of the square in the middle of a photo.",
                },
                "top": {
                    "type": "array",
                    "items": _object(_RANKED),
                    "description": "The most probable breeds, best first.",
                },
            },
            optional=("shortest_side", "central_square"),  # Servers of earlier releases do not say it.
        ),
        "examples": [
            {
                "model_version": "run-1",
                **_RANKED_EXAMPLE,
                "is_dog": True,
                "dog_probability": 0.99,
                "shortest_side": 256,
                "central_square": True,
                "top": [_RANKED_EXAMPLE, {"breed": "Basset hound", "class": "016.Basset_hound", "probability": 0.04}],
            }
        ],
    },
    "Breeds": {
        **_object({"breeds": {"type": "array", "items": {"type": "string"}}}),
        "examples": [{"breeds": ["Basset hound", "Beagle"]}],
    },
    "Health": {**_object({"status": {"const": "serving"}}), "examples": [{"status": "serving"}]},
    "Problem": {
        **_object(
            {
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string", "description": "One sentence that says what is wrong and what helps."},
                "correlation_id": {"type": "string", "description": "The id of the request in the logs."},
            },
            optional=("status",),  # API Gateway does not know the status of each of its own refusals.
        ),
        "examples": [
            {"title": "Bad Request", "status": 400, "detail": "the photo is empty", "correlation_id": _ID},
        ],
    },
    "Place": {
        **_object({"s3": {"type": "string", "maxLength": 1024 + len("s3:///") + 63}}),
        "additionalProperties": False,
        "examples": [{"s3": "uploads/rex.jpg"}],
    },
    "Base64": _object({"image": {"type": "string", "contentEncoding": "base64"}}),
}

# A value that is not valid is ignored, so the schema allows every text.
TRACEPARENT = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": (
        "The trace of the caller (https://www.w3.org/TR/trace-context/), which the logs then name. The steps of a "
        "request whose trace is sampled are logged. An invalid one is ignored."
    ),
    "schema": {"type": "string"},
    "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}

_BINARY = {"type": "string", "format": "binary"}
PHOTO = {
    "required": True,
    "description": (
        "The photo itself, at most 4.5 MB, under any content type: its bytes decide. One photo in a form, one in "
        "base64 in JSON, whatever its field is called, and a key in the stack's bucket are taken too."
    ),
    "content": {
        **{kind: {"schema": _BINARY} for kind in (*CONTENT_TYPES, "application/octet-stream")},
        "multipart/form-data": {"schema": _object({"file": _BINARY})},
        "application/json": {
            "schema": {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Place", "Base64")]}
        },
    },
}

# The reason for each status, with those that API Gateway and Lambda themselves send.
_REASONS = {
    400: "The request or the photo is broken.",
    401: "Where people sign in: there is no access token, or it has expired.",
    403: "Missing or unknown API key; at the function's URL: missing or wrong signature, or no permission.",
    404: "There is no such photo.",
    408: "The photo did not reach the model in time.",
    413: "The photo is too large.",
    415: "The body is no photo of a supported type.",
    429: "The rate or daily quota of the key, the rate of a route without a key, or the concurrency of the "
    "function is used up.",
    500: "The function failed. Its log contains the correlation id.",
    502: "The model failed on this photo, or the function may not call it.",
    503: "No model serves, or the model is overloaded.",
    504: "The model did not answer for this photo in time, or the function took too long.",
}
KEYLESS = (403, 429, 500, 504)  # What API Gateway and Lambda themselves answer at every route.
KEYED = (401, *KEYLESS)  # the same at a route that requires a key


def answers(schema: str, *problems: int) -> dict[int, OpenAPIResponse]:
    """Describe the answers of a route that requires a key.

    Args:
        schema: name of the schema of the answer with status 200.
        problems: statuses of further problems that this route can answer.
    """
    return {200: answer(schema), **refusals(*problems, *KEYED)}


def refusals(*problems: int) -> dict[int, OpenAPIResponse]:
    """Describe the answers that are problem documents, in the order of their statuses."""
    return {status: problem(status) for status in sorted(set(problems))}


def answer(schema: str) -> OpenAPIResponse:
    """Describe the answer with status 200 and a document."""
    return {
        "description": HTTPStatus.OK.phrase,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def problem(status: int) -> OpenAPIResponse:
    """Describe the answer with a problem document."""
    response: OpenAPIResponse = {
        "description": _REASONS[status],
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return response
