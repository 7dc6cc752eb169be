"""Write ``openapi.json``, the OpenAPI document of the routes: ``python -m classify.openapi``.

Powertools needs pydantic for this. The function only serves the file, because importing pydantic would make its
cold start longer by half.
"""

import json
from typing import Any

from aws_lambda_powertools.event_handler.openapi.models import APIKey, Server

from classify import documents
from classify.app import rest
from classify.routes import OPENAPI

_DESCRIPTION = (
    "Names the breed of the dog on a photo. The same routes are available at the REST API, with an API key, and at the "
    "function's own URL, with an AWS signature (SigV4, service lambda) instead of the key. The key counts requests and "
    "does not say who asks. Where people sign in, the REST API takes an access token (Authorization: Bearer) in place "
    "of the key. Every error is a problem document (RFC 9457), except the statuses 403 and 429 that AWS itself answers "
    "at the function's URL."
)


def document() -> dict[str, Any]:
    """Return the document. Its server address is relative, so it is valid at the REST API and at the URL."""
    text = rest.get_openapi_json_schema(
        title="Kennel",
        version="1",
        description=_DESCRIPTION,
        servers=[Server(url=".")],
        security_schemes={"key": APIKey.model_validate({"name": "x-api-key", "in": "header"})},
    )
    openapi: dict[str, Any] = json.loads(text)
    # Powertools describes only what a handler takes as an argument.
    openapi["paths"]["/classify"]["post"]["requestBody"] = documents.PHOTO
    openapi["components"]["parameters"] = {"traceparent": documents.TRACEPARENT}
    for operation in (each for path in openapi["paths"].values() for each in path.values()):
        operation["parameters"] = [{"$ref": "#/components/parameters/traceparent"}]
    openapi["components"]["schemas"] = documents.SCHEMAS
    return openapi


if __name__ == "__main__":
    OPENAPI.write_text(json.dumps(document(), indent=1) + "\n")
