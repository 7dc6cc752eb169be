"""The door of the laptop cloud: which HTTP requests reach MiniStack's gateway at all.

The cloud runs code for whoever may deploy to it, and every page that the user's browser shows can send requests to
loopback. So the door refuses requests that a browser sends for a page of another origin, and requests whose Host is
not one of this machine's, which is how a page whose name resolves to loopback (DNS rebinding) gives itself away. Only
the data plane, that is deployed APIs and functions' URLs, is open to pages, because each of these decides by its own
CORS configuration whom it answers; and so are the paths of a user pool, which exist for pages. Who asks is a matter of
signatures, see ``cloud.iam.hooks``.
"""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Names that only this machine can give an address to: browsers resolve *.localhost to loopback without asking anybody,
# and host.docker.internal is this machine's name in its own containers.
_OWN_HOST = re.compile(r"(localhost|([a-z0-9_-]+\.)+localhost|127\.0\.0\.1|\[::1\]|host\.docker\.internal)(:\d+)?")
# The hosts of AWS that a stack's outputs name. They reach the data plane only.
_HOST_OF_AWS = re.compile(
    r"[a-z0-9-]+\.(execute-api\.[a-z0-9-]+\.amazonaws\.com|lambda-url\.[a-z0-9-]+\.on\.aws)(:\d+)?"
)
_HEALTH = "/_ministack/health"


class Door:
    """An ASGI application that answers refused requests itself and hands the others on.

    Args:
        app: The gateway.
        is_open: Called with a request's Host and path; whether pages of other origins may send it.
    """

    def __init__(self, app: App, is_open: Callable[[str, str], bool]) -> None:
        self._app, self._is_open = app, is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection of the server."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        hosts = _values(scope, b"host")
        host = hosts[0] if len(hosts) == 1 else ""
        open_to_pages = self._is_open(host, scope["path"])
        if reason := _refusal(scope, host, open_to_pages):
            return await _refuse(scope, receive, send, reason)
        return await self._app(scope, receive, send if open_to_pages else _without_cors(send))


def _refusal(scope: Scope, host: str, open_to_pages: bool) -> str:
    """Return why a request is refused; empty if it is not."""
    name, path = host.lower(), scope["path"]
    if not _OWN_HOST.fullmatch(name) and not (open_to_pages and _HOST_OF_AWS.fullmatch(name)):
        return f"its Host must be one name of this machine, such as localhost, and is {host!r}"
    # The paths of the data plane begin so too, but a bucket's name cannot.
    is_ministacks = path.startswith("/_ministack/") or (path.startswith("/_") and not open_to_pages)
    if is_ministacks and path != _HEALTH:
        return f"of MiniStack's own paths only {_HEALTH} is open"
    if open_to_pages:
        return ""
    if scope["type"] != "http":
        return "only deployed APIs have WebSockets"
    own = f"{scope['scheme']}://{name}"
    for origin in _values(scope, b"origin"):
        if origin.lower() != own:
            return f"a browser sent it for a page of {origin!r}, not of {own}"
    for site in _values(scope, b"sec-fetch-site"):
        if site not in ("none", "same-origin"):
            return f"a browser sent it for a page of another origin (Sec-Fetch-Site: {site!r})"
    return ""


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _without_cors(send: Send) -> Send:
    """Drop what would let a page of another origin read an answer; MiniStack lets every page read most answers."""

    async def send_without_cors(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [each for each in message["headers"] if not each[0].lower().startswith(b"access-control-")]
            message = {**message, "headers": kept}
        await send(message)

    return send_without_cors


async def _refuse(scope: Scope, receive: Receive, send: Send, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    document = {"__type": "AccessDeniedException", "message": f"The laptop cloud does not take this request: {reason}."}
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
