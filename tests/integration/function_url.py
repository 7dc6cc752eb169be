"""Call a function by its URL, with requests that are signed as AWS's clients sign them."""

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
    """Send a request to a function's URL and return the answer's status, document and headers.

    The laptop cloud has no DNS, so the request goes to its gateway and names the function's host in a header.

    Args:
        client: a boto3 client; its credentials, region and gateway are used.
        url: the function's URL with the path.
        method: the HTTP method.
        body: the request's body.
        signed: whether to sign the request.
        headers: more headers.
    """
    gateway, region = urlsplit(client.meta.endpoint_url), client.meta.region_name
    host = f"{urlsplit(url).hostname}:{gateway.port}"
    request = AWSRequest(method, url, data=body, headers={"Host": host, **headers})
    if signed:
        SigV4Auth(client._request_signer._credentials, "lambda", region).add_auth(request)
    local_url = f"http://127.0.0.1:{gateway.port}{urlsplit(url).path}"
    sent_request = urllib.request.Request(local_url, data=body, headers=dict(request.headers), method=method)
    try:
        with urllib.request.urlopen(sent_request, timeout=30) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers
