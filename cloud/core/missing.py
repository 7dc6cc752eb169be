"""The answer to a request for a service that the laptop cloud lacks, in the form that the service's clients read.

The forms are those of the protocols that botocore's parsers read.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

CODE = "UnknownOperationException"
_REST_XML = ("cloudfront", "route53")  # no request of theirs says that its answer must be XML
_FORM = "application/x-www-form-urlencoded"


def answer(
    service: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any], offered: Sequence[str]
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the refusal.

    Args:
        service: The service, as its requests are signed.
        headers: Headers of the request, with names in lower case.
        body: Body of the request.
        query: Parameters of the request's query.
        offered: The services that the laptop cloud has.
    """
    message = f"The laptop cloud has no service {service}; it has {', '.join(sorted(offered))}."
    if headers.get("smithy-protocol") == "rpc-v2-cbor":
        content = b"\xa2" + b"".join(map(_cbor_text, ("__type", CODE, "message", message)))
        return 400, {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, content
    error = f"<Code>{CODE}</Code><Message>{escape(message)}</Message>"
    is_form = "Action" in query or (headers.get("content-type", "").startswith(_FORM) and b"Action=" in body)
    if service == "ec2":
        return _xml(f"<Response><Errors><Error>{error}</Error></Errors></Response>")
    if is_form or service in _REST_XML:
        return _xml(f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error></ErrorResponse>")
    answered = {"Content-Type": "application/json", "x-amzn-errortype": CODE}
    return 400, answered, json.dumps({"__type": CODE, "message": message}).encode()


def _xml(text: str) -> tuple[int, dict[str, str], bytes]:
    return 400, {"Content-Type": "text/xml"}, text.encode()


def _cbor_text(text: str) -> bytes:
    """Return a text as CBOR writes it (RFC 8949, major type 3), with its length in two bytes."""
    data = text.encode()
    return b"\x79" + len(data).to_bytes(2) + data
