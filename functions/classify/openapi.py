"""``python -m classify.openapi`` writes ``openapi.json``, the OpenAPI document of the routes.

Powertools needs pydantic for it, and the function, which serves the file, must do without: importing it costs a cold
start half as much again.
"""

import json
from typing import Any

from aws_lambda_powertools.event_handler.openapi.models import APIKey, Server

from classify import documents
from classify.app import rest
from classify.routes import OPENAPI

_DESCRIPTION = (
    "Names the breed of the dog on a photo. The same routes answer at the REST API, with an API key, and at the "
    "function's own URL, with a signature of AWS (SigV4, service lambda) in place of the key. Every error is a problem "
    "document (RFC 9457), but for those that AWS's own front of the function's URL answers, 403 and 429."
)


def document() -> dict[str, Any]:
    """The document; relative to its own address, so that it holds at either door."""
    given = rest.get_openapi_json_schema(
        title="Kennel",
        version="1",
        description=_DESCRIPTION,
        servers=[Server(url=".")],
        security_schemes={"key": APIKey.model_validate({"name": "x-api-key", "in": "header"})},
    )
    made: dict[str, Any] = json.loads(given)
    # What a handler does not take as an argument, Powertools does not tell.
    made["paths"]["/classify"]["post"]["requestBody"] = documents.PHOTO
    made["components"]["schemas"] = documents.SCHEMAS
    return made


if __name__ == "__main__":
    OPENAPI.write_text(json.dumps(document(), indent=1) + "\n")
