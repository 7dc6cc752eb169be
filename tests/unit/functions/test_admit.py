"""Whose token opens the REST API. The user pool's keys come from a server on loopback, as Cognito publishes them."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from admit import app

POOL, CLIENT, SUBJECT = "us-east-1_Abc123", "client1", "11111111-2222-3333-4444-555555555555"
ISSUER = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"
METHOD = "arn:aws:execute-api:us-east-1:000000000000:abcdef1234/v1/GET/breeds"
STAGE = "arn:aws:execute-api:us-east-1:000000000000:abcdef1234/v1"
PLAN_KEY, SMOKE_KEY = "PlanKeyOfTheVisitors0123456789", "KeyOfTheSmokeTest0123456789"
OURS, STRANGERS = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))


class Pool(ThreadingHTTPServer):
    """A server of a user pool's public keys; ``answers`` counts how often they were read."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys = {"one": OURS}
        self.status, self.answers = 200, 0


class _Handler(BaseHTTPRequestHandler):
    server: Pool

    def do_GET(self) -> None:
        assert self.path == f"/{POOL}/.well-known/jwks.json"
        self.server.answers += 1
        keys = [
            json.loads(RSAAlgorithm.to_jwk(key.public_key())) | {"kid": name, "alg": "RS256", "use": "sig"}
            for name, key in self.server.keys.items()
        ]
        body = json.dumps({"keys": keys}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    with Pool() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {"POOL_ID": POOL, "CLIENT_ID": CLIENT, "KEY_ID": "plan", "SMOKE_KEY_ID": "smoke"}
        environment |= {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(app, "keys", app.PoolKeys())
        monkeypatch.setattr(app, "_value_of_key", {"plan": PLAN_KEY, "smoke": SMOKE_KEY}.__getitem__)
        yield server
        server.shutdown()


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of an access token of Cognito, https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html."""
    now = int(time.time())
    usual = {"sub": SUBJECT, "iss": ISSUER, "client_id": CLIENT, "token_use": "access", "scope": "openid"}
    usual |= {"iat": now, "auth_time": now, "exp": now + 3600, "jti": "1", "username": "ada"}
    return {name: value for name, value in (usual | changes).items() if value is not None}


def token(key: Any = OURS, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": "one"} | (headers or {}))


def ask(value: str) -> dict[str, Any]:
    return app.handler({"type": "TOKEN", "authorizationToken": value, "methodArn": METHOD}, None)  # type: ignore[arg-type]


def verdict(answer: dict[str, Any]) -> tuple[str, str, str | None]:
    [statement] = answer["policyDocument"]["Statement"]
    assert statement["Action"] == "execute-api:Invoke"
    return statement["Effect"], statement["Resource"], answer.get("usageIdentifierKey")


def part(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_admit_lets_a_token_of_the_pool_in_and_names_the_plans_key(pool: Pool) -> None:
    answer = ask(f"Bearer {token()}")
    assert verdict(answer) == ("Allow", f"{STAGE}/*", PLAN_KEY)
    assert answer["principalId"] == SUBJECT


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 1},
        {"exp": None},
        {"iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Other"},
        {"iss": "https://cognito-idp.eu-west-1.amazonaws.com/us-east-1_Abc123"},
        {"iss": None},
        {"client_id": "client2"},
        {"client_id": None},
        {"client_id": None, "aud": CLIENT},
        {"client_id": [CLIENT]},
        {"token_use": "id"},
        {"token_use": "id", "aud": CLIENT},
        {"token_use": None},
        {"sub": None},
        {"iat": None},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_admit_refuses_a_token_that_is_not_for_this_client_now(pool: Pool, changes: dict[str, Any]) -> None:
    assert verdict(ask(f"Bearer {token(**changes)}")) == ("Deny", f"{STAGE}/*", None)


def test_admit_refuses_a_key_that_is_not_the_pools(pool: Pool) -> None:
    assert verdict(ask(f"Bearer {token(STRANGERS)}"))[0] == "Deny"
    assert verdict(ask(f"Bearer {token(STRANGERS, headers={'kid': 'two'})}"))[0] == "Deny"
    # Headers with which a token brings its own key, or says where it is.
    brought = json.loads(RSAAlgorithm.to_jwk(STRANGERS.public_key()))
    for header in ({"jwk": brought}, {"jku": "http://127.0.0.1:1/jwks.json"}, {"x5u": "http://127.0.0.1:1/"}):
        assert verdict(ask(f"Bearer {token(STRANGERS, headers=header)}"))[0] == "Deny"


def test_admit_refuses_other_algorithms(pool: Pool) -> None:
    unsigned = f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'one'})}.{part(claims())}."
    assert verdict(ask(f"Bearer {unsigned}"))[0] == "Deny"
    for name in ("None", "nOnE", "NONE"):
        assert verdict(ask(f"Bearer {part({'alg': name, 'kid': 'one'})}.{part(claims())}."))[0] == "Deny"
    # The public key as the secret of HMAC, in the forms in which a library might hold it.
    public = OURS.public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        b"",
    ]
    for secret in secrets:
        signed = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(claims())}"
        mac = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
        assert verdict(ask(f"Bearer {signed}.{mac}"))[0] == "Deny"
    for algorithm in ("RS384", "RS512", "PS256"):
        assert verdict(ask(f"Bearer {token(algorithm=algorithm)}"))[0] == "Deny"


@pytest.mark.parametrize(
    "value",
    [
        *("", ".", "..", "...", "a.b.c", "null.null.null", "\x00.\x00.\x00", "é.é.é"),
        f"{part([])}.{part({})}.x",
        f"{part({'alg': 'RS256', 'kid': 1})}.{part({})}.x",
        f"{part({'alg': 'RS256', 'kid': {}})}.{part({})}.x",
        f"{part({'alg': ['RS256'], 'kid': 'one'})}.{part({})}.x",
        f"{part({'kid': 'one'})}.{part({})}.x",
        base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e30.x",
        base64.urlsafe_b64encode(b'{"kid":' + b"9" * 6000 + b"}").decode() + ".e30.x",
    ],
    ids=range(15),
)
def test_admit_refuses_what_is_no_token(pool: Pool, value: str) -> None:
    """No form of it is an error of the function, which strangers could cause at will."""
    assert verdict(ask(f"Bearer {value}")) == ("Deny", f"{STAGE}/*", None)
    assert verdict(ask(value)) == ("Deny", f"{STAGE}/*", None)


def test_admit_refuses_a_token_of_which_anything_was_changed(pool: Pool) -> None:
    header, _, signature = token().split(".")
    assert verdict(ask(f"Bearer {header}.{part(claims(sub='somebody-else'))}.{signature}"))[0] == "Deny"
    header, payload, signature = token().split(".")
    assert verdict(ask(f"Bearer {part({'alg': 'RS256', 'kid': 'one', 'x': 1})}.{payload}.{signature}"))[0] == "Deny"
    assert verdict(ask(f"Bearer {header}.{payload}.{'A' * len(signature)}"))[0] == "Deny"
    assert verdict(ask(f"Bearer {header}.{payload}."))[0] == "Deny"


def test_admit_lets_the_smoke_test_classify_and_nothing_else(pool: Pool) -> None:
    answer = ask(f"Bearer {SMOKE_KEY}")
    assert verdict(answer) == ("Allow", f"{STAGE}/POST/classify", SMOKE_KEY)
    assert answer["principalId"] == "smoke-test"
    assert pool.answers == 0
    for other in (PLAN_KEY, SMOKE_KEY[:-1], SMOKE_KEY + "0", SMOKE_KEY.lower(), ""):
        assert verdict(ask(f"Bearer {other}"))[0] == "Deny"


def test_admit_reads_the_pools_keys_once_and_follows_a_new_one(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(app.time, "monotonic", lambda: clock[0])
    for _ in range(3):
        assert verdict(ask(f"Bearer {token()}"))[0] == "Allow"
    for number in range(20):  # Invented names of keys do not make the function ask each time.
        assert verdict(ask(f"Bearer {token(STRANGERS, headers={'kid': f'invented-{number}'})}"))[0] == "Deny"
    assert pool.answers == 1
    pool.keys = {"new": STRANGERS}
    new = token(STRANGERS, headers={"kid": "new"})
    assert verdict(ask(f"Bearer {new}"))[0] == "Deny"
    clock[0] += 61
    assert verdict(ask(f"Bearer {new}"))[0] == "Allow"
    assert verdict(ask(f"Bearer {token()}"))[0] == "Deny"  # The pool no longer has the old key.
    assert pool.answers == 2


def test_admit_fails_while_the_pool_does_not_answer(pool: Pool) -> None:
    """API Gateway then answers 500, and nobody gets in; the next token asks again."""
    pool.status = 503
    with pytest.raises(OSError, match="status 503"):
        ask(f"Bearer {token()}")
    pool.status = 200
    assert verdict(ask(f"Bearer {token()}"))[0] == "Allow"
