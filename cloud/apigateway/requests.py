"""The ids of a request to a REST API, and its line in an access log.

Sources: https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-access-logging.html,
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
"""

import base64
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ID_HEADER = "x-amzn-requestid"
SOURCE = "127.0.0.1"  # The laptop cloud listens on loopback alone, so nobody else can be the peer.
_REPLACED = "UUID_REPLACED_INVALID_REQUEST_ID"  # AWS's words for an id from a caller that is no UUID
_VARIABLE = re.compile(r"\$context\.[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")


@dataclass
class ApiRequest:
    """A request of a REST API while it is answered.

    Attributes:
        id: ``$context.requestId``, which the caller may choose.
        logged_id: the same in access logs.
        extended_id: ``$context.extendedRequestId``, which nobody can choose.
        values: what else the variables of an access log have, by their names after ``$context.``.
    """

    id: str
    logged_id: str
    extended_id: str
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, headers: Mapping[str, Any]) -> "ApiRequest":
        """Return a request with its ids."""
        chosen = str(headers.get(ID_HEADER, ""))
        fresh, extended = str(uuid.uuid4()), base64.b64encode(secrets.token_bytes(11)).decode()
        if not chosen:
            return cls(fresh, fresh, extended)
        try:
            is_uuid = str(uuid.UUID(chosen)) == chosen.lower()
        except ValueError:
            is_uuid = False
        return cls(chosen, chosen, extended) if is_uuid else cls(fresh, _REPLACED, extended)


def access_line(text: str, request: ApiRequest) -> str:
    """Return a line of an access log; variables without a value are ``-``, as on AWS.

    Args:
        text: the stage's format.
        request: the answered request.
    """
    values = {
        **request.values,
        "requestId": request.logged_id,
        "extendedRequestId": request.extended_id,
        "identity.sourceIp": SOURCE,
    }
    return _VARIABLE.sub(lambda found: str(values.get(found[0].removeprefix("$context."), "-")), text)
