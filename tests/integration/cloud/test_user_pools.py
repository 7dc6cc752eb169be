"""A user pool's own pages, as a browser without JavaScript sees them: sign-in, session, sign-out; codes with PKCE."""

import base64
import hashlib
import html
import re
import secrets
from collections.abc import Iterator
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, OpenerDirector, Request, build_opener

import jwt
import pytest

from tests.integration.laptop import REGION, Cloud

WORDS = f"Aa1-{secrets.token_urlsafe(12)}"  # the password of the pool's user
API = "abcd123456"
PAGE = f"https://{API}.execute-api.{REGION}.amazonaws.com/v1/"


class Browser:
    """A browser that keeps cookies and stops at each redirect."""

    def __init__(self) -> None:
        self.cookies = CookieJar()
        self._opener: OpenerDirector = build_opener(HTTPCookieProcessor(self.cookies), _Stop())

    def open(self, url: str, form: dict[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
        """Return the status, the body and the headers, whose names are in lower case."""
        data = urlencode(form).encode() if form is not None else None
        try:
            answer: Any = self._opener.open(Request(url, data), timeout=20)
        except HTTPError as error:
            answer = error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, answer.read().decode(), headers


class _Stop(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fields_of(page: str) -> dict[str, str]:
    """Return the hidden fields of a page's form."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}


class Visit:
    """A sign-in of one browser at the pool, for a page on the laptop."""

    def __init__(self, cloud: Cloud, client: str, browser: Browser | None = None, **changes: str) -> None:
        self.cloud, self.client, self.browser = cloud, client, browser or Browser()
        self.verifier, self.state = secrets.token_urlsafe(32), secrets.token_urlsafe(16)
        self.page = f"http://localhost:{cloud.port}/restapis/{API}/v1/_user_request_/"
        digest = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {"response_type": "code", "client_id": client, "redirect_uri": self.page, "scope": "openid"}
        asked |= {"state": self.state, "code_challenge": digest, "code_challenge_method": "S256", **changes}
        query = urlencode(asked)
        self.status, self.form, self.headers = self.browser.open(f"{cloud.url}/oauth2/authorize?{query}")

    def submit(self, **form: str) -> tuple[int, str, dict[str, str]]:
        return self.browser.open(f"{self.cloud.url}/login", fields_of(self.form) | form)

    def code(self, answer: tuple[int, str, dict[str, str]]) -> str:
        """Return the code of a redirect to the page."""
        status, _, headers = answer
        assert status == 302, answer
        assert headers["location"].startswith(f"{self.page}?")
        query = parse_qs(urlsplit(headers["location"]).query)
        assert query["state"] == [self.state]
        return query["code"][0]

    def exchange(self, code: str, **changes: str) -> tuple[int, str, dict[str, str]]:
        form = {"grant_type": "authorization_code", "client_id": self.client, "redirect_uri": self.page, "code": code}
        return Browser().open(f"{self.cloud.url}/oauth2/token", form | {"code_verifier": self.verifier} | changes)


def make_client(cognito: Any, pool_id: str) -> str:
    """Make the page's client of a user pool and return its id."""
    client = cognito.create_user_pool_client(
        UserPoolId=pool_id,
        ClientName="page",
        AllowedOAuthFlowsUserPoolClient=True,
        AllowedOAuthFlows=["code"],
        AllowedOAuthScopes=["openid"],
        CallbackURLs=[PAGE],
        LogoutURLs=[PAGE],
    )["UserPoolClient"]
    return str(client["ClientId"])


@pytest.fixture(scope="module")
def pool(cloud: Cloud) -> Iterator[tuple[str, str]]:
    """The ids of a user pool with one user, and of its client."""
    cognito = cloud.client("cognito-idp")
    pool_id = cognito.create_user_pool(PoolName="visitors")["UserPool"]["Id"]
    client = make_client(cognito, pool_id)
    cognito.admin_create_user(UserPoolId=pool_id, Username="ada", MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool_id, Username="ada", Password=WORDS, Permanent=True)
    yield pool_id, client
    cognito.delete_user_pool(UserPoolId=pool_id)


def test_a_code_is_exchanged_for_a_token_that_the_pools_keys_sign(cloud: Cloud, pool: tuple[str, str]) -> None:
    pool_id, client = pool
    visit = Visit(cloud, client)
    status, body, _ = visit.exchange(visit.code(visit.submit(username="ada", password=WORDS)))
    assert status == 200
    token = re.findall(r'"access_token": "([^"]+)"', body)[0]
    keys = jwt.PyJWKClient(f"{cloud.url}/{pool_id}/.well-known/jwks.json")
    issuer = f"https://cognito-idp.{REGION}.amazonaws.com/{pool_id}"
    key = keys.get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["RS256"], issuer=issuer, options={"verify_aud": False})
    assert (claims["token_use"], claims["client_id"], claims["username"]) == ("access", client, "ada")


def test_a_code_is_of_use_once_and_to_whoever_has_the_verifier(cloud: Cloud, pool: tuple[str, str]) -> None:
    visit = Visit(cloud, pool[1])
    code = visit.code(visit.submit(username="ada", password=WORDS))
    assert visit.exchange(code, code_verifier="another-verifier-of-43-characters-or-more-0123")[0] == 400
    assert visit.exchange(code, redirect_uri=PAGE)[0] == 400
    assert visit.exchange(code)[0] == 200
    assert visit.exchange(code)[0] == 400


def test_a_wrong_password_gets_no_code_and_no_session(cloud: Cloud, pool: tuple[str, str]) -> None:
    visit = Visit(cloud, pool[1])
    status, body, headers = visit.submit(username="ada", password="wrong")
    assert (status, "Incorrect username or password" in body, headers.get("set-cookie")) == (200, True, None)


def test_people_return_to_the_pages_address_on_the_laptop_and_nowhere_else(cloud: Cloud, pool: tuple[str, str]) -> None:
    own = f"http://localhost:{cloud.port}/restapis/{API}/v1/_user_request_/"
    for address in (PAGE, own, own.replace("localhost", "127.0.0.1")):
        assert Visit(cloud, pool[1], redirect_uri=address).status == 200
    for address in (
        f"{own}deeper",
        own.replace(API, "0123456789"),
        own.replace("/v1/", "/v2/"),
        own.replace(str(cloud.port), "1"),
        "https://example.org/",
        f"{PAGE}.example.org/",
    ):
        assert Visit(cloud, pool[1], redirect_uri=address).status == 400, address


def test_a_browser_with_a_session_goes_on_without_the_password_until_it_signs_out(
    cloud: Cloud, pool: tuple[str, str]
) -> None:
    """The cookie is Cognito's: https://repost.aws/knowledge-center/cognito-logout-endpoint-globalsignoutapi."""
    first = Visit(cloud, pool[1])
    first.code(first.submit(username="ada", password=WORDS))
    [cookie] = first.browser.cookies
    assert (cookie.name, cookie.has_nonstandard_attr("HttpOnly")) == ("cognito", True)
    second = Visit(cloud, pool[1], first.browser)
    assert "Sign in as ada" in second.form
    assert second.exchange(second.code(second.submit()))[0] == 200
    # Another browser has no session, whatever its form says.
    stranger = Visit(cloud, pool[1])
    assert stranger.submit(continue_as="ada")[0] == 200
    left = first.browser.open(f"{cloud.url}/logout?{urlencode({'client_id': pool[1], 'logout_uri': first.page})}")
    assert (left[0], left[2]["location"]) == (302, first.page)
    assert "Password" in Visit(cloud, pool[1], first.browser).form


def test_a_session_is_of_one_pool_and_ends_with_the_account(cloud: Cloud, pool: tuple[str, str]) -> None:
    cognito = cloud.client("cognito-idp")
    visit = Visit(cloud, pool[1])
    visit.code(visit.submit(username="ada", password=WORDS))
    other = cognito.create_user_pool(PoolName="others")["UserPool"]["Id"]
    client = make_client(cognito, other)
    cognito.admin_create_user(UserPoolId=other, Username="ada", MessageAction="SUPPRESS")
    assert "Password" in Visit(cloud, client, visit.browser).form
    cognito.delete_user_pool(UserPoolId=other)
    cognito.admin_disable_user(UserPoolId=pool[0], Username="ada")
    try:
        assert "Password" in Visit(cloud, pool[1], visit.browser).form
    finally:
        cognito.admin_enable_user(UserPoolId=pool[0], Username="ada")
