"""The deployed stack with SignIn=cognito: who gets in, in a browser and without one, and the way back."""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import rsa
from playwright.sync_api import Browser, Page, expect

from tests.integration import function_url
from tests.integration.chromium import chromium
from tests.integration.pipeline.kennel import BREEDS_USED, Kennel, deploy

USER, WORDS = "ada", f"Aa1-{secrets.token_urlsafe(16)}"
LOCKED = (("POST", "/classify"), ("GET", "/breeds"), ("GET", "/openapi.json"), ("GET", "/no/such/path"))


@pytest.fixture(scope="module")
def signed(kennel: Kennel) -> Iterator[dict[str, str]]:
    """The outputs of the stack while people sign in; the user pool has one user, who has chosen a password."""
    outputs = deploy(kennel, "SignIn=cognito")
    cognito = kennel.client("cognito-idp")
    cognito.admin_create_user(UserPoolId=outputs["UserPoolId"], Username=USER, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=outputs["UserPoolId"], Username=USER, Password=WORDS, Permanent=True)
    yield outputs
    if "UserPoolId" in kennel.outputs():  # The last test takes it away.
        deploy(kennel, "SignIn=key")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser, kennel: Kennel, signed: dict[str, str]) -> Iterator[Page]:
    """The page, in a browser in which nobody has signed in; at the end it has raised no error and broken no policy."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
    response = page.goto(address(kennel))
    assert response
    # The only foreign address in the policy is the user pool's: the cloud's own, by another name than the page's.
    policy = response.headers["content-security-policy"]
    assert re.findall(r"https?://[^ ;]+", policy) == [pool_address(kennel)]
    assert "connect-src 'self' http" in policy
    yield page
    context.close()
    assert errors == []


def address(kennel: Kennel, path: str = "") -> str:
    return f"http://localhost:{kennel.port}/restapis/{kennel.outputs()['ApiId']}/v1/_user_request_/{path}"


def pool_address(kennel: Kennel) -> str:
    return f"http://127.0.0.1:{kennel.port}"


def ask(kennel: Kennel, method: str, path: str, **headers: str) -> int:
    photo = next((kennel.photos / "test").rglob("*.jpg")).read_bytes() if method == "POST" else None
    return int(fetch(address(kennel, path[1:]), method, photo, **headers).status)


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
    return urllib3.request(method, url, body=body, headers=headers, retries=False, timeout=60)


def ask_with(kennel: Kennel, token: str, method: str = "GET", path: str = "/breeds") -> int:
    return ask(kennel, method, path, Authorization=f"Bearer {token}")


def enter_words(page: Page) -> None:
    """Give name and password on the user pool's own page."""
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill(WORDS)
    page.get_by_role("button", name="Sign in").click()


def sign_in(page: Page) -> None:
    page.get_by_role("button", name="Sign in").click()
    enter_words(page)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def expect_headline(page: Page, words: str) -> None:
    expect(page.get_by_role("status").get_by_role("heading")).to_have_text(words)


def expect_answer(page: Page) -> None:
    page.get_by_role("button", name="A drawn dalmatian").click()
    expect(page.get_by_role("listitem")).to_have_count(len(BREEDS_USED))
    # Which one is first is up to the model, and another test may have promoted one that trained for two epochs.
    expect(page.get_by_role("listitem").first).to_contain_text(re.compile("|".join(BREEDS_USED)))


def kept(page: Page) -> str:
    """What the browser keeps where scripts can read it."""
    return str(
        page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    )


def test_person_signs_in_classifies_reloads_and_signs_out(page: Page, kennel: Kennel) -> None:
    asked: list[dict[str, str]] = []
    page.on("request", lambda each: asked.append(each.headers) if each.url.endswith("/classify") else None)
    expect_headline(page, "Sign in first")
    page.get_by_role("button", name="A drawn dalmatian").click()
    expect_headline(page, "One thing first")
    assert asked == []
    sign_in(page)
    assert page.url == address(kennel)  # The code is out of the address bar, and of the history.
    expect_answer(page)
    [headers] = asked
    token = headers["authorization"].removeprefix("Bearer ")
    assert "x-api-key" not in headers
    assert json.loads(kept(page)) == [{}, {}, "", address(kennel)]
    assert jwt.decode(token, options={"verify_signature": False})["username"] == USER
    page.get_by_text("Breeds that I know").click()
    expect(page.locator("#breeds p")).to_have_text(", ".join(sorted(BREEDS_USED)))

    page.reload()
    expect_headline(page, "Sign in first")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=f"Sign in as {USER}").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect_answer(page)

    page.get_by_role("button", name="Sign out").click()
    expect_headline(page, "Sign in first")
    assert page.url == address(kennel)
    assert json.loads(kept(page)) == [{}, {}, "", address(kennel)]
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Password")).to_be_visible()  # The session at the user pool has ended too.


def begun_sign_in(page: Page) -> tuple[dict[str, str], dict[str, str]]:
    """Begin a sign-in that does not leave the page; return what it asks for, and what the page keeps for the answer."""
    pattern = "**/oauth2/authorize?*"
    page.route(pattern, lambda route: route.fulfill(status=204))  # A browser then stays where it is.
    with page.expect_request(pattern) as request:
        page.get_by_role("button", name="Sign in").click()
    page.unroute(pattern)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(request.value.url).query).items()}
    return asked, json.loads(json.loads(kept(page))[1]["kennel-sign-in"])


def test_verifier_survives_the_redirect_and_is_used_once(page: Page, kennel: Kennel) -> None:
    asked, pending = begun_sign_in(page)
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["redirect_uri"] == address(kennel)
    assert set(pending) == {"state", "verifier"}
    assert pending["state"] == asked["state"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", pending["verifier"])  # 256 random bits, as RFC 7636 asks for
    digest = hashlib.sha256(pending["verifier"].encode()).digest()
    assert asked["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert pending["verifier"] not in asked.values()
    sent: list[str] = []
    page.on("request", lambda each: sent.append(str(each.post_data)) if "/oauth2/token" in each.url else None)
    sign_in(page)
    [form] = sent
    fields = {name: values[0] for name, values in parse_qs(form).items()}
    assert fields["code_verifier"] != pending["verifier"]  # Each sign-in has its own.
    assert len(fields["code_verifier"]) == 43
    assert "client_secret" not in fields
    assert json.loads(kept(page)) == [{}, {}, "", address(kennel)]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    "answer", ["code=stolen&state=wrong", "code=stolen", "code=stolen&state=", "error=x&state=wrong"]
)
def test_answer_that_this_page_did_not_ask_for_is_refused(page: Page, kennel: Kennel, begun: bool, answer: str) -> None:
    """An attacker's code would sign the visitor in as the attacker (RFC 6749, 10.12)."""
    exchanged: list[str] = []
    page.on("request", lambda each: exchanged.append(each.url) if "/oauth2/token" in each.url else None)
    if begun:
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("Password")).to_be_visible()
    page.goto(f"{address(kennel)}?{answer}")
    expect_headline(page, "You are not signed in")
    expect(page.locator("#explanation")).to_have_text("This page did not begin that sign-in.")
    assert exchanged == []
    assert json.loads(kept(page)) == [{}, {}, "", address(kennel)]
    sign_in(page)  # What was left over does not stand in the way of a sign-in.


def test_code_that_the_pool_did_not_give_is_refused(page: Page, kennel: Kennel) -> None:
    asked, _ = begun_sign_in(page)
    state = asked["state"]
    page.goto(f"{address(kennel)}?code=invented&state={state}")
    expect_headline(page, "You are not signed in")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()


def test_page_asks_to_sign_in_again_when_the_token_is_refused(page: Page, kennel: Kennel) -> None:
    sign_in(page)
    page.route(
        "**/classify", lambda route: route.continue_(headers=route.request.headers | {"authorization": "Bearer a.b.c"})
    )
    page.get_by_role("button", name="A drawn dalmatian").click()
    expect_headline(page, "Please sign in again")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    page.unroute("**/classify")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=f"Sign in as {USER}").click()
    expect_answer(page)


def test_key_of_an_earlier_visit_is_forgotten(page: Page, kennel: Kennel) -> None:
    page.evaluate("localStorage.setItem('kennel-api-key', 'one-of-before')")
    page.reload()
    expect_headline(page, "Sign in first")
    assert json.loads(kept(page))[0] == {}


class Tokens:
    """Tokens of the stack's user pool for its client, and all sorts of others."""

    def __init__(self, kennel: Kennel, outputs: dict[str, str]) -> None:
        self.kennel, self.pool = kennel, outputs["UserPoolId"]
        cognito = kennel.client("cognito-idp")
        [client] = cognito.list_user_pool_clients(UserPoolId=self.pool, MaxResults=10)["UserPoolClients"]
        self.client = client["ClientId"]
        assert fetch(f"http://localhost:{kennel.port}/{self.pool}/.well-known/jwks.json").json()["keys"]  # makes them
        # The file in which the laptop keeps the private key of the pool's access tokens, so that a test can sign.
        keys = kennel.home / "cloud/state/cognito-pool-keys"
        self.private = (keys / f"{self.pool}-access.pem").read_bytes()
        self.header = jwt.get_unverified_header(self.signed())

    def signed(self, key: Any = None, pool: str = "", **changes: Any) -> str:
        """Return a token as the pool gives it, but for the changes."""
        pool, now = pool or self.pool, int(time.time())
        url = f"http://localhost:{self.kennel.port}/{pool}/.well-known/jwks.json"
        [name] = [each["kid"] for each in fetch(url).json()["keys"]][:1]
        claims = {"sub": "1", "iss": f"https://cognito-idp.us-east-1.amazonaws.com/{pool}", "token_use": "access"}
        claims |= {"client_id": self.client, "iat": now - 10, "exp": now + 600, "jti": secrets.token_hex(8), **changes}
        return jwt.encode(claims, key or self.private, algorithm="RS256", headers={"kid": name})


@pytest.fixture(scope="module")
def tokens(kennel: Kennel, signed: dict[str, str]) -> Tokens:
    return Tokens(kennel, signed)


def test_token_of_the_pool_opens_every_route(kennel: Kennel, tokens: Tokens) -> None:
    token = tokens.signed()
    answers = [ask_with(kennel, token, *route) for route in LOCKED]
    assert answers == [200, 200, 200, 404]


def test_expired_token_is_refused(kennel: Kennel, tokens: Tokens) -> None:
    now = int(time.time())
    assert ask_with(kennel, tokens.signed(iat=now - 3600, exp=now - 1)) == 401
    assert ask_with(kennel, tokens.signed(iat=now - 3600, exp=now + 600)) == 200


def test_token_of_another_client_or_pool_is_refused(kennel: Kennel, tokens: Tokens) -> None:
    cognito = kennel.client("cognito-idp")
    other = cognito.create_user_pool_client(UserPoolId=tokens.pool, ClientName="other")["UserPoolClient"]["ClientId"]
    assert ask_with(kennel, tokens.signed(client_id=other)) == 401
    pool = cognito.create_user_pool(PoolName="another")["UserPool"]["Id"]
    url = f"http://localhost:{kennel.port}/{pool}/.well-known/jwks.json"
    assert fetch(url).json()["keys"]  # Now its keys are there.
    private = (kennel.home / f"cloud/state/cognito-pool-keys/{pool}-access.pem").read_bytes()
    try:
        assert ask_with(kennel, tokens.signed(private, pool)) == 401
        # Nor if it claims to be of the stack's pool.
        own = f"https://cognito-idp.us-east-1.amazonaws.com/{tokens.pool}"
        assert ask_with(kennel, tokens.signed(private, pool, iss=own)) == 401
        assert ask_with(kennel, tokens.signed(private)) == 401
    finally:
        cognito.delete_user_pool(UserPoolId=pool)
        cognito.delete_user_pool_client(UserPoolId=tokens.pool, ClientId=other)


def test_token_for_another_use_unsigned_or_of_another_key_is_refused(kennel: Kennel, tokens: Tokens) -> None:
    assert ask_with(kennel, tokens.signed(token_use="id", aud=tokens.client)) == 401
    _, payload, signature = tokens.signed().split(".")
    header = base64.urlsafe_b64encode(json.dumps({**tokens.header, "alg": "none"}).encode()).rstrip(b"=").decode()
    assert ask_with(kennel, f"{header}.{payload}.") == 401
    assert ask_with(kennel, f"{header}.{payload}.{signature}") == 401
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert ask_with(kennel, tokens.signed(stranger)) == 401


def test_without_a_token_every_locked_route_is_refused(kennel: Kennel, signed: dict[str, str]) -> None:
    gateway = kennel.client("apigateway")
    key = gateway.get_api_key(apiKey=signed["ApiKeyId"], includeValue=True)["value"]
    for method, path in LOCKED:
        assert ask(kennel, method, path) == 401
        assert ask(kennel, method, path, **{"x-api-key": key}) == 401, "a key opens the door again"
        assert ask_with(kennel, key, method, path) == 401
    for path in ("/", "/health", "/sign-in", "/page/page.js"):
        assert ask(kennel, "GET", path) == 200


def test_smoke_tests_key_classifies_and_does_nothing_else(kennel: Kennel, signed: dict[str, str]) -> None:
    smoke = kennel.client("lambda").get_function_configuration(FunctionName="kennel-smoke")
    key_id = smoke["Environment"]["Variables"]["API_KEY_ID"]
    key = kennel.client("apigateway").get_api_key(apiKey=key_id, includeValue=True)["value"]
    assert [ask_with(kennel, key, *route) for route in LOCKED] == [200, 401, 401, 401]


def test_smoke_test_goes_through_the_api(kennel: Kennel, signed: dict[str, str]) -> None:
    report = f"s3://{signed['BucketName']}/runs/{kennel.champion()['run']}/report"
    payload = json.dumps({"through_api": True, "report_uri": report})
    answer = kennel.client("lambda").invoke(FunctionName="kennel-smoke", Payload=payload)
    result = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, result
    assert result["num_photos"] > 0
    assert result.get("num_refused", 0) == 0


def test_authorizer_names_the_key_of_the_plan(kennel: Kennel, signed: dict[str, str], tokens: Tokens) -> None:
    """While that key is disabled, whoever has signed in is refused too."""
    gateway, key = kennel.client("apigateway"), signed["ApiKeyId"]

    def enable(value: str) -> None:
        gateway.update_api_key(apiKey=key, patchOperations=[{"op": "replace", "path": "/enabled", "value": value}])

    token = tokens.signed()
    assert ask_with(kennel, token) == 200
    enable("false")
    try:
        assert ask_with(kennel, token) == 403
    finally:
        enable("true")
    assert ask_with(kennel, token) == 200


def test_authorizer_uses_each_of_its_rights(kennel: Kennel, signed: dict[str, str], tokens: Tokens) -> None:
    assert ask_with(kennel, tokens.signed()) == 200
    lines = (kennel.home / "cloud/authorizations.jsonl").read_text().splitlines()
    decisions = [each for each in map(json.loads, lines) if "AdmitFunctionRole" in each["principal"]]
    assert all(each["allowed"] for each in decisions)
    assert {each["sid"] for each in decisions} == {"ReadTheKeysThatItNames", "WriteItsLog"}
    read = {each["resource"].rpartition("/")[2] for each in decisions if each["action"] == "apigateway:GET"}
    assert signed["ApiKeyId"] in read
    assert len(read) == 2  # and the smoke test's


def test_machines_still_use_the_functions_url(kennel: Kennel, signed: dict[str, str]) -> None:
    status, answer, _ = function_url.ask(kennel.client("lambda"), f"{signed['FunctionUrl']}breeds")
    assert (status, answer["breeds"]) == (200, sorted(BREEDS_USED))
    assert function_url.ask(kennel.client("lambda"), f"{signed['FunctionUrl']}breeds", signed=False)[0] == 403


def test_key_is_asked_for_again_after_the_way_back(kennel: Kennel, tokens: Tokens) -> None:
    """This is the last test, because it takes the user pool away."""
    token = tokens.signed()
    outputs = deploy(kennel, "SignIn=key")
    assert "UserPoolId" not in outputs
    pools = kennel.client("cognito-idp").list_user_pools(MaxResults=10)["UserPools"]
    assert tokens.pool not in {each["Id"] for each in pools}
    assert fetch(address(kennel, "sign-in")).json() == {"with": "key"}
    key = kennel.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"]
    assert [ask(kennel, *route, **{"x-api-key": key}) for route in LOCKED] == [200, 200, 200, 404]
    assert {ask_with(kennel, token, *route) for route in LOCKED} == {403}
