"""Cognito: browsers keep a session at the user pool, and know an API by its address on the laptop."""

import html
import re
import secrets
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from ministack.services import cognito

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (
        cognito,
        (
            "_authorization_codes",
            "_find_pool_by_client_id",
            "_hosted_ui_user_status_error",
            "_issue_auth_code_redirect",
            "_page_shell",
            "handle_login_submit",
            "handle_logout",
            "handle_oauth2_authorize",
        ),
    ),
)

_COOKIE = "cognito"
_SESSION_SECONDS = 3600
_CONTINUE = "continue_as"  # the field of the form with which a visitor goes on with the session
_URLS = ("CallbackURLs", "LogoutURLs")
_ADDRESS = re.compile(r"https://(\w+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com/(\w+)(/.*)?")
_OAUTH = (
    *("client_id", "redirect_uri", "scope", "state", "response_type", "code_challenge", "code_challenge_method"),
    "nonce",
)


class _Session(NamedTuple):
    """A browser's session at a user pool.

    Attributes:
        pool_id: the user pool.
        username: who has signed in.
        ends: when the session ends, in seconds since 1970.
    """

    pool_id: str
    username: str
    ends: float


def know_addresses_of_apis(port: int) -> None:
    """Let people return from the sign-in to an API's address on the laptop.

    A client names the addresses to which the user pool sends people back. Those of a stack name its API on AWS,
    ``https://ID.execute-api.REGION.amazonaws.com/STAGE/``, which the laptop serves at a path of its own.

    Args:
        port: Port on loopback of the laptop cloud.
    """
    find = cognito._find_pool_by_client_id

    def find_and_add(client_id: str) -> tuple[Any, Any, Any]:
        pool_id, pool, client = find(client_id)
        if client is None:
            return pool_id, pool, client
        known = {key: [*client.get(key, []), *_local(client.get(key, []), port)] for key in _URLS}
        return pool_id, pool, client | known

    cognito._find_pool_by_client_id = find_and_add


def _local(addresses: list[str], port: int) -> list[str]:
    found = [match.groups() for address in addresses if (match := _ADDRESS.fullmatch(address))]
    return [
        f"http://{host}:{port}/restapis/{api}/{stage}/_user_request_{path or ''}"
        for api, stage, path in found
        for host in ("localhost", "127.0.0.1")
    ]


def keep_sessions() -> None:
    """Let a browser that has signed in go on without the password for an hour, or until it signs out.

    The cookie is the hosted UI's; MiniStack asks for the password each time, and its sign-out ends nothing.
    https://repost.aws/knowledge-center/cognito-logout-endpoint-globalsignoutapi
    """
    authorize, submit, log_out = cognito.handle_oauth2_authorize, cognito.handle_login_submit, cognito.handle_logout
    sessions: dict[str, _Session] = {}

    def session_of(headers: Mapping[str, str], client_id: str) -> tuple[str, Any]:
        """Return the pool's id and the user of the browser's session with this client's pool; no user without one."""
        session = sessions.get(_cookie(headers))
        pool_id, pool, _ = cognito._find_pool_by_client_id(client_id)
        if not session or session.pool_id != pool_id or session.ends < time.time():
            return str(pool_id), None
        user = pool["_users"].get(session.username)
        return str(pool_id), None if user is None or cognito._hosted_ui_user_status_error(user) else user

    def authorize_or_offer(method: str, path: str, headers: Mapping[str, str], query: Mapping[str, Any]) -> Any:
        answer = authorize(method, path, headers, query)
        asked = {key: _one(query, key) for key in _OAUTH}
        _, user = session_of(headers, asked["client_id"])
        return answer if user is None or answer[0] != 200 else _offer(asked, user["Username"])

    def submit_and_remember(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
    ) -> Any:
        form = {key: values[0] for key, values in parse_qs(body.decode(errors="replace")).items()}
        pool_id, user = session_of(headers, form.get("client_id", ""))
        if _CONTINUE in form and user is not None:
            asked = {key: form.get(key, "") for key in _OAUTH if key != "response_type"}
            answer = cognito._issue_auth_code_redirect(pool_id=pool_id, username=user["Username"], **asked)
        else:
            answer = submit(method, path, headers, body, query)
        status, found, content = answer
        codes = parse_qs(urlsplit(found.get("Location", "")).query).get("code", [""])
        issued = cognito._authorization_codes.get(codes[0])
        if issued is None:
            return answer
        name = secrets.token_urlsafe(32)
        sessions[name] = _Session(issued["pool_id"], issued["username"], time.time() + _SESSION_SECONDS)
        return status, found | {"Set-Cookie": _set_cookie(name, _SESSION_SECONDS)}, content

    def log_out_and_forget(method: str, path: str, headers: Mapping[str, str], query: Mapping[str, Any]) -> Any:
        status, found, content = log_out(method, path, headers, query)
        if status == 302:
            sessions.pop(_cookie(headers), None)
            found |= {"Set-Cookie": _set_cookie("", 0)}
        return status, found, content

    cognito.handle_oauth2_authorize = authorize_or_offer
    cognito.handle_login_submit = submit_and_remember
    cognito.handle_logout = log_out_and_forget


def _offer(asked: Mapping[str, str], username: str) -> tuple[int, dict[str, str], bytes]:
    """Return the page on which a visitor with a session goes on with it, or signs in as somebody else."""
    fields = "".join(f'<input type="hidden" name="{key}" value="{html.escape(asked[key])}">' for key in _OAUTH)
    name = html.escape(username)
    # Without the session the password is asked for, so signing out and coming back is the way to another account.
    form = f"""<form method="POST" action="/login">{fields}<input type="hidden" name="{_CONTINUE}" value="{name}">
        <button type="submit">Sign in as {name}</button></form>"""
    page = cognito._page_shell("Sign in", "Sign in", form)
    return 200, {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}, page.encode()


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _set_cookie(value: str, seconds: int) -> str:
    return f"{_COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"


def _one(query: Mapping[str, Any], key: str) -> str:
    value = query.get(key, "")
    return str(value[0] if isinstance(value, list) else value)
