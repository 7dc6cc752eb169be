"""What the OpenAPI document says of requests and answers; the routes name it, and nothing is checked by it."""

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from classify.photos import CONTENT_TYPES

KEY: list[dict[str, list[str]]] = [{"key": []}]  # the security scheme of routes that want the API key

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
                "is_dog": {"type": "boolean", "description": "Whether the photo is thought to show a dog at all."},
                "dog_probability": _SHARE,
                "top": {"type": "array", "items": _object(_RANKED), "description": "The likeliest breeds, best first."},
            }
        ),
        "examples": [
            {
                "model_version": "run-1",
                **_RANKED_EXAMPLE,
                "is_dog": True,
                "dog_probability": 0.99,
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
                "detail": {"type": "string", "description": "What is wrong and what would help, in a sentence."},
                "correlation_id": {"type": "string", "description": "What the logs know the request by."},
            },
            optional=("status",),  # API Gateway does not know it of every refusal of its own
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
}

PHOTO = {
    "required": True,
    "description": "The photo itself, of at most 4.5 MB, or where it lies in the stack's bucket.",
    "content": {
        **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in CONTENT_TYPES},
        "application/json": {"schema": {"$ref": "#/components/schemas/Place"}},
    },
}

# Why a status may come; those of API Gateway and of Lambda's own refusals among them.
_REASONS = {
    400: "The request or the photo is broken.",
    403: "The API key is missing or unknown; behind the function's URL, the signature or the right.",
    404: "There is no such photo.",
    408: "The photo did not reach the model in time.",
    413: "The photo is too large.",
    415: "What was sent is no photo of a kind that is taken.",
    429: "The key's rate or daily quota is used up, or the function's concurrency.",
    500: "The function failed; its log knows the correlation id.",
    502: "The model failed on this photo, or cannot be asked.",
    503: "No model serves, or it is overloaded.",
    504: "The function took too long.",
}
_GATEWAY = (403, 429, 500, 504)  # of every route that wants a key


def answers(schema: str, *problems: int) -> dict[int, OpenAPIResponse]:
    """The answers of a route that wants a key.

    Args:
        schema: of the 200.
        problems: the statuses of problems that not every such route has.
    """
    return {200: answer(schema), **{status: problem(status) for status in sorted({*problems, *_GATEWAY})}}


def answer(schema: str) -> OpenAPIResponse:
    """A 200 with a document."""
    return {
        "description": HTTPStatus.OK.phrase,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def problem(status: int) -> OpenAPIResponse:
    """A problem document."""
    told: OpenAPIResponse = {
        "description": _REASONS[status],
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return told
