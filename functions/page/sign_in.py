"""How callers show who they are, as the page asks for it.

The variables of the API's stage say it. The function's environment cannot: the user pool's client names the API's
address, and the API names the function.
"""

import os
from collections.abc import Mapping
from typing import Any


def configuration(event: Mapping[str, Any]) -> dict[str, str]:
    """Return ``{"with": "key"}``, or the user pool's origin and the client's id.

    Args:
        event: a proxy event of API Gateway, or of a function's URL, which has no variables.
    """
    variables = event.get("stageVariables") or {}
    if "signInHost" not in variables:
        return {"with": "key"}
    # On the laptop cloud, the user pool's pages are at the address of all AWS APIs.
    origin = os.environ.get("AWS_ENDPOINT_URL") or f"https://{variables['signInHost']}"
    return {"with": "cognito", "origin": origin, "client_id": variables["signInClient"]}
