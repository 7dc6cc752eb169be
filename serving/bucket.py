"""One object of S3, got by a request that is signed here, with the standard library alone.

The server's image has no AWS SDK, and a function's cold start has no time to import one. A URL that was signed
beforehand would end with the credentials that signed it, and a function starts for months.
See "The function signs its one request itself" in docs/decisions/serving.md.
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
import http.client
import re
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_NO_BODY = hashlib.sha256(b"").hexdigest()
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.1
_TIMEOUT_SECONDS = 5.0
_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]+)/(.+)")


class BucketError(Exception):
    """The object cannot be had; the message says which one and why."""


class ObjectVersion(NamedTuple):
    """An object of S3, or one version of it.

    Attributes:
        uri: ``s3://bucket/key``.
        version: The version's id; empty for the newest one.
    """

    uri: str
    version: str = ""

    def __str__(self) -> str:
        """Return how messages name it."""
        return f"{self.uri} (version {self.version})" if self.version else self.uri


class SignedRequest(NamedTuple):
    """A GET request: the URL without its path, the path with its query, and the headers."""

    address: str
    target: str
    headers: Mapping[str, str]


def sign(wanted: ObjectVersion, environment: Mapping[str, str], now: float) -> SignedRequest:
    """Sign the request for an object by Signature Version 4.

    Args:
        wanted: The object.
        environment: Variables with region and credentials, as Lambda gives them, and perhaps ``AWS_ENDPOINT_URL_S3``
            or ``AWS_ENDPOINT_URL``, under which the bucket is then a part of the path.
        now: The time, seconds since 1970.

    Raises:
        BucketError: The URI is none of S3, or a variable is missing.
    """
    if not (match := _URI.fullmatch(wanted.uri)):
        raise BucketError(f"'{wanted.uri}' is not s3://BUCKET/KEY")
    bucket, key = match.groups()
    try:
        region, key_id = environment["AWS_REGION"], environment["AWS_ACCESS_KEY_ID"]
        secret = environment["AWS_SECRET_ACCESS_KEY"]
    except KeyError as error:
        raise BucketError(f"{wanted}: the variable {error.args[0]} is missing, which Lambda sets") from error
    address = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or ""
    path = "/" + quote(key, safe="/-_.~")
    if address or "." in bucket:  # A certificate for *.s3.… does not hold for bucket names with dots.
        path = f"/{bucket}{path}"
    if not address:
        host = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
        address = f"https://{host}" if "." in bucket else f"https://{bucket}.{host}"
    query = f"versionId={quote(wanted.version, safe='-_.~')}" if wanted.version else ""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {"host": urlsplit(address).netloc, "x-amz-content-sha256": _NO_BODY, "x-amz-date": moment}
    if token := environment.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = token
    names = ";".join(headers)  # They are in the order of the alphabet.
    lines = ["GET", path, query, *(f"{name}:{value}" for name, value in headers.items()), "", names, _NO_BODY]
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    signing_key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing_key = _hmac(signing_key, part).digest()
    signature = _hmac(signing_key, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}").hexdigest()
    authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return SignedRequest(address, f"{path}?{query}" if query else path, {**headers, "authorization": authorization})


def _hmac(key: bytes, text: str) -> "hmac.HMAC":
    return hmac.new(key, text.encode(), hashlib.sha256)


def get(wanted: ObjectVersion, environment: Mapping[str, str]) -> bytes:
    """Return an object's content. What may pass by itself is tried three times.

    Args:
        wanted: The object.
        environment: See ``sign``.

    Raises:
        BucketError: There is no such object, its bucket does not give it, or S3 does not answer.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            status, content = _get_once(sign(wanted, environment, time.time()))
        except (OSError, http.client.HTTPException) as error:
            problem = f"S3 does not answer ({type(error).__name__}: {error})"
        else:
            if status == 200:
                return content
            code = re.search(rb"<Code>(\w+)</Code>", content)
            problem = f"S3 answered {status} {code[1].decode() if code else ''}".rstrip()
            if status < 500 and status != 429:
                break
        if attempt < _ATTEMPTS:
            time.sleep(attempt * _PAUSE_SECONDS)
    raise BucketError(f"{wanted}: {problem}")


def _get_once(request: SignedRequest) -> tuple[int, bytes]:
    kind = http.client.HTTPSConnection if request.address.startswith("https:") else http.client.HTTPConnection
    connection = kind(urlsplit(request.address).netloc, timeout=_TIMEOUT_SECONDS)
    try:
        connection.putrequest("GET", request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
