"""What a page of another origin can do to loopback: requests without a preflight, and ways to send them."""

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cloud.core.root_key import RootKey
from tests.integration.laptop import REGION, Cloud

Request = tuple[str, bytes | None]  # Path with query, and the body of a POST; None for a GET.
Sign = Callable[[Cloud, str, str, bytes | None], str]  # Called with the service, too; it returns the path with a query.

# Each request is sent in each of these ways. A page reads an answer only if the answer's headers let it.
PAGE = """<!doctype html><title>attack</title><body><script>
const base = %(base)s, steps = %(steps)s, read = [];
const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));
function post(url, body) {  // A form can send any text: its name and value are joined by "=".
  const frame = document.createElement("iframe"), form = document.createElement("form");
  frame.name = "f" + Math.random();
  Object.assign(form, {action: url, method: "POST", enctype: "text/plain", target: frame.name});
  const at = body.indexOf("="), field = document.createElement("input");
  Object.assign(field, {type: "hidden", name: body.slice(0, at), value: body.slice(at + 1)});
  form.append(field);
  document.body.append(frame, form);
  return new Promise(done => { frame.onload = done; form.submit(); setTimeout(done, 3000); });
}
function frame(url) {
  const frame = document.createElement("iframe");
  frame.src = url;
  return new Promise(done => { frame.onload = done; document.body.append(frame); setTimeout(done, 3000); });
}
(async () => {
  for (const [path, body] of steps) {
    const url = base + path, sent = body === null ? {} : {method: "POST", body};
    await fetch(url, {...sent, mode: "no-cors"}).catch(() => 0);
    await fetch(url, {...sent, headers: {"content-type": "application/json"}}).then(a => read.push(a.status), () => 0);
    await (body === null ? frame(url) : post(url, body));
    if (body !== null) navigator.sendBeacon(url, body);
  }
  await fetch(base + "/_ministack/health").then(a => read.push(a.status), () => 0);
  await wait(500);
  document.title = "done";
})();
</script>"""


class Attack(NamedTuple):
    """What an attack leaves behind when it gets through.

    Attributes:
        name: the name of its role and function.
        loot: the file that its function writes.
    """

    name: str
    loot: Path


def attacks_of(cloud: Cloud, attack: Attack, sign: Sign) -> Iterator[tuple[str, Request]]:
    """Yield the requests of an attack with their names: make a role, make and run a function, empty the cloud.

    Args:
        cloud: the cloud that is attacked.
        attack: what it leaves behind.
        sign: signs a request in its query, or pretends to.
    """
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = {
        "Action": "CreateRole",
        "Version": "2010-05-08",
        "RoleName": attack.name,
        "AssumeRolePolicyDocument": json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        write = f"def handler(event, context):\n    open({str(attack.loot)!r}, 'w').write('taken')\n"
        file.writestr("index.py", write)
    function = {
        "FunctionName": attack.name,
        "Runtime": "python3.11",
        "Handler": "index.handler",
        "Role": f"arn:aws:iam::000000000000:role/{attack.name}",
        "Code": {"ZipFile": base64.b64encode(archive.getvalue()).decode()},
    }
    functions = "/2015-03-31/functions"
    requests: list[tuple[str, str, str, bytes | None]] = [
        ("role", "iam", f"/?{urlencode(role)}", b""),
        ("function", "lambda", functions, json.dumps(function).encode()),
        ("run", "lambda", f"{functions}/{attack.name}/invocations", b"{}"),
        ("read", "s3", "/kennel/photo.jpg", None),
        ("reset", "", "/_ministack/reset", b"="),
        ("config", "", "/_ministack/config", b'{"stepfunctions._SFN_WAIT_SCALE": "0="}'),
        ("code", "", f"/_ministack/lambda-code/{attack.name}", None),
    ]
    for name, service, path, body in requests:
        yield name, (sign(cloud, service, path, body) if service else path, body)


def forged(key_id: str) -> Sign:
    """Return a signer that names a key and knows no secret; no key at all for an empty name."""

    def sign(_cloud: Cloud, service: str, path: str, _body: bytes | None) -> str:
        scope = f"{key_id}/20260101/{REGION}/{service}/aws4_request"
        query = urlencode({"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": scope})
        return f"{path}{'&' if '?' in path else '?'}{query}" if key_id else path

    return sign


def signed(key: RootKey, host: str = "") -> Sign:
    """Return a signer that signs for a Host, by default that of the cloud."""

    def sign(cloud: Cloud, service: str, path: str, body: bytes | None) -> str:
        method = "GET" if body is None else "POST"
        request = AWSRequest(method, f"http://{host or f'localhost:{cloud.port}'}{path}")
        signer = SigV4QueryAuth(Credentials(*key), service, REGION, expires=300)
        content = "UNSIGNED-PAYLOAD" if service == "s3" else hashlib.sha256(body or b"").hexdigest()
        signer.payload = lambda _request: content  # type: ignore[method-assign]  # botocore would move the body
        signer.add_auth(request)
        parts = urlsplit(request.url)
        return f"{parts.path}?{parts.query}"

    return sign


@contextmanager
def foreign_site(cloud: Cloud, steps: list[tuple[str, Request]]) -> Iterator[int]:
    """Serve a page that attacks the cloud, and yield the port of loopback on which it is."""
    sent = [(path, None if body is None else body.decode()) for _, (path, body) in steps]
    page = PAGE % {"base": json.dumps(f"http://localhost:{cloud.port}"), "steps": json.dumps(sent)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()
