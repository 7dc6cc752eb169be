"""Admit: decide whether the bearer of a token may use the REST API, and name the usage plan's key that counts them.

API Gateway calls this function (an authorizer of type TOKEN) only where the parameter SignIn is ``cognito``. It takes
access tokens of the stack's user pool for the stack's client, and the key of the pipeline's own smoke test.

The function is built from this folder alone, because of its packages: cryptography would double the zip that the other
functions share. So it imports nothing from beside the folder.
See "People sign in at a user pool" in docs/decisions/security.md.
"""

import hmac
import json
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import jwt
import urllib3

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_SCHEME = "Bearer "
_ALGORITHMS = ["RS256"]  # the only one that Cognito signs with; the token's own header never chooses another
_REQUIRED = ["exp", "iat", "iss", "sub", "token_use", "client_id"]
_SMOKE_TEST = "smoke-test"  # the principal whose token is the smoke test's key
# A token that names an unknown key makes us ask for the keys again, at most this often: anybody can invent names.
_REFRESH_SECONDS = 60

http = urllib3.PoolManager(retries=urllib3.Retry(total=1), timeout=urllib3.Timeout(connect=1, read=2))


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Answer an event of a TOKEN authorizer with a policy for the whole stage, and the key that counts the caller.

    A refusal is a policy too: an exception would be an error in this function's metrics and log for each stranger.

    Raises:
        Exception: the keys of the user pool or of the usage plan cannot be read; API Gateway then answers 500.
    """
    token = str(event["authorizationToken"]).removeprefix(_SCHEME)
    stage = "/".join(event["methodArn"].split("/")[:2])  # arn:…:API/STAGE, of the method's API/STAGE/METHOD/PATH
    if is_smoke_test(token):
        return _policy(_SMOKE_TEST, "Allow", f"{stage}/POST/classify", _value_of_key(os.environ["SMOKE_KEY_ID"]))
    if subject := subject_of(token):
        return _policy(subject, "Allow", f"{stage}/*", _value_of_key(os.environ["KEY_ID"]))
    return _policy("nobody", "Deny", f"{stage}/*")


def is_smoke_test(token: str) -> bool:
    """Whether the token is the key of the smoke test. Only roles that may read that key from API Gateway know it.

    Tokens of the user pool have dots, keys of API Gateway have none.
    """
    if "." in token:
        return False
    return hmac.compare_digest(token.encode(), _value_of_key(os.environ["SMOKE_KEY_ID"]).encode())


def subject_of(token: str) -> str:
    """Return the id of the user to whom the user pool gave this access token for the client; empty for other tokens.

    Checked as AWS asks for: https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
    """
    try:
        key = keys.find(jwt.get_unverified_header(token).get("kid", ""))
        if key is None:
            return ""
        options: Any = {"require": _REQUIRED, "verify_aud": False}  # Access tokens name the client, no audience.
        claims = jwt.decode(token, key, algorithms=_ALGORITHMS, issuer=_issuer(), options=options)
    except jwt.PyJWTError:
        return ""
    is_ours = (claims["token_use"], claims["client_id"]) == ("access", os.environ["CLIENT_ID"])
    return str(claims["sub"]) if is_ours else ""


class PoolKeys:
    """The public keys of the user pool, read when first needed and when a token names another one."""

    def __init__(self) -> None:
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key of this id; None if the pool has none.

        Raises:
            OSError: the pool does not answer.
        """
        if key_id not in self._keys and time.monotonic() - self._read_at > _REFRESH_SECONDS:
            self._keys = _read_keys()
            self._read_at = time.monotonic()
        return self._keys.get(key_id)


keys = PoolKeys()


def _read_keys() -> dict[str, jwt.PyJWK]:
    # On the laptop cloud, the user pools are at the address of all AWS APIs.
    base = os.environ.get("AWS_ENDPOINT_URL", _issuer().rpartition("/")[0])
    url = f"{base}/{os.environ['POOL_ID']}/.well-known/jwks.json"
    try:
        answer = http.request("GET", url)
    except urllib3.exceptions.HTTPError as error:
        raise OSError(f"the keys of the user pool cannot be read: {error}") from error
    if answer.status != 200:
        raise OSError(f"the keys of the user pool cannot be read: status {answer.status}")
    return {str(key.key_id): key for key in jwt.PyJWKSet.from_dict(json.loads(answer.data)).keys}


def _issuer() -> str:
    return f"https://cognito-idp.{os.environ['AWS_REGION']}.amazonaws.com/{os.environ['POOL_ID']}"


@cache
def _value_of_key(key_id: str) -> str:
    """Return the value of an API key; the value of an id never changes."""
    return str(boto3.client("apigateway").get_api_key(apiKey=key_id, includeValue=True)["value"])


def _policy(principal: str, effect: str, resource: str, key: str = "") -> dict[str, Any]:
    """Return what API Gateway takes: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html."""
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    policy = {"principalId": principal, "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}}
    return policy | ({"usageIdentifierKey": key} if key else {})
