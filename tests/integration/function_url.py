"""Asking a function by its URL, signed as AWS's clients sign."""

import json
import urllib.error
import urllib.request
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest


def ask(
    client: Any, url: str, method: str = "GET", body: bytes | None = None, signed: bool = True, **headers: str
) -> tuple[int, dict[str, Any], Message]:
    """Status, document and headers of the answer.

    Args:
        client: one of boto3's, whose credentials, region and gateway are used.
        url: the function's, with the path; the laptop cloud has no DNS, so its host is named to the gateway.
    """
    gateway, region = urlsplit(client.meta.endpoint_url), client.meta.region_name
    host = f"{urlsplit(url).hostname}:{gateway.port}"
    request = AWSRequest(method, url, data=body, headers={"Host": host, **headers})
    if signed:
        SigV4Auth(client._request_signer._credentials, "lambda", region).add_auth(request)
    here = f"http://127.0.0.1:{gateway.port}{urlsplit(url).path}"
    sent = urllib.request.Request(here, data=body, headers=dict(request.headers), method=method)
    try:
        with urllib.request.urlopen(sent, timeout=30) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers
