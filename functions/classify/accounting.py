"""What the log line of a request says, so that it can be found afterwards who asked, how often and for what."""

from typing import Any

ROUTES = frozenset({"/classify", "/breeds", "/health", "/openapi.json"})


def request_facts(event: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a request: route, caller, source address and the bytes of its body.

    Nothing that a caller can write freely is among them: neither path, headers nor body, and of a key its id only.

    Args:
        event: a proxy event of API Gateway (payload 1.0) or of a function URL (payload 2.0).
    """
    context = event["requestContext"]
    authorizer = context.get("authorizer") or {}
    if event.get("version") == "2.0":
        route, source = event.get("rawPath"), context.get("http", {}).get("sourceIp")
        caller = {"user_arn": (authorizer.get("iam") or {}).get("userArn")}
    else:
        identity = context.get("identity") or {}
        route, source = event.get("resource"), identity.get("sourceIp")
        caller = {"key_id": identity.get("apiKeyId"), "user": authorizer.get("principalId")}
    facts = {
        "route": route if route in ROUTES else "elsewhere",
        **caller,
        "source": source,
        "bytes": _num_bytes(event),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _num_bytes(event: dict[str, Any]) -> int:
    """Return the length of the body, without decoding it."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return len(body.encode("utf-8", "surrogatepass"))
    return len(body) * 3 // 4 - body[-2:].count("=")
