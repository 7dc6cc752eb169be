"""Which requests the door of the laptop cloud lets in: by Host, path, origin and what a browser says of the page."""

import asyncio
import json
from typing import Any

import pytest

from cloud.core.door import Door, Scope

PORT = 4566
HOST = f"localhost:{PORT}"
CORS = {"access-control-allow-origin": "*", "Access-Control-Expose-Headers": "*"}


def is_data_plane(host: str, path: str) -> bool:
    """As in MiniStack, whose pattern of functions' hosts looks at the beginning only."""
    return host.startswith(("abc.execute-api.", "abc.lambda-url.")) or path.startswith("/_aws/lambda-url/")


async def gateway(_scope: Scope, _receive: Any, send: Any) -> None:
    headers = [(name.encode(), value.encode()) for name, value in {"x-id": "1", **CORS}.items()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"in"})


def ask(
    path: str = "/", method: str = "POST", hosts: tuple[str, ...] = (HOST,), kind: str = "http", **fields: str
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer; the status of a WebSocket is its close code.

    Args:
        path: the request's path.
        method: its method.
        hosts: its Host headers.
        kind: ``http`` or ``websocket``.
        fields: its other headers, with ``_`` for ``-``.
    """
    headers = [(b"host", host.encode()) for host in hosts]
    headers += [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    scheme = {"http": "http", "websocket": "ws"}[kind]
    scope: Scope = {"type": kind, "scheme": scheme, "method": method, "path": path, "headers": headers}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Door(gateway, is_data_plane)(scope, receive, send))
    if sent[0]["type"] == "websocket.close":
        return int(sent[0]["code"]), {}, b""
    received = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return int(sent[0]["status"]), received, bytes(sent[1]["body"])


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", HOST, "LOCALHOST:4566", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:4566"),
        *("bucket.localhost:4566", "my_bucket.s3.localhost", "host.docker.internal:4566"),
    ],
)
def test_names_of_this_machine_are_let_in(host: str) -> None:
    assert ask(hosts=(host,))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:4566", "localhost.evil.example", "notlocalhost", "localhost.", "0.0.0.0:4566"),
        *("127.0.0.1.nip.io", "127.0.0.2", "192.168.0.7:4566", "[::]", "docker.internal", "localhost@evil.example", ""),
        *("localhost:4566\n", "localhost:", "localhost:x", "localhost, evil.example", ".localhost", "a..localhost"),
        *("s3.amazonaws.com", "bucket.s3.us-east-1.amazonaws.com", "xyz.execute-api.us-east-1.amazonaws.com"),
        *("abc.lambda-url.us-east-1.evil.example", "abc.execute-api.us-east-1.amazonaws.com.evil.example"),
    ],
)
def test_other_names_are_refused(host: str) -> None:
    status, headers, body = ask(hosts=(host,))
    assert status == 403
    assert not {name.lower() for name in headers} & {"access-control-allow-origin"}
    assert repr(host) in json.loads(body)["message"]


@pytest.mark.parametrize("hosts", [(), (HOST, HOST), (HOST, "evil.example"), ("evil.example", HOST)])
def test_a_request_names_one_host(hosts: tuple[str, ...]) -> None:
    assert ask(hosts=hosts)[0] == 403


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (f"abc.execute-api.localhost:{PORT}", "/v1/classify"),
        ("abc.execute-api.us-east-1.amazonaws.com", "/v1/classify"),
        ("abc.lambda-url.us-east-1.on.aws", "/_here"),
        (HOST, "/_aws/lambda-url/abc/classify"),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_deployed_apis_are_open_to_pages_of_other_origins(host: str, path: str, kind: str) -> None:
    status, headers, _ = ask(path, hosts=(host,), kind=kind, origin="https://evil.example", sec_fetch_site="cross-site")
    assert status == 200
    assert CORS.items() <= headers.items()  # They decide by their own rules who reads the answer.


@pytest.mark.parametrize("origin", [f"http://{HOST}", f"HTTP://LOCALHOST:{PORT}"])
@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_pages_of_the_cloud_itself_are_let_in(origin: str, site: str) -> None:
    assert ask(origin=origin, sec_fetch_site=site)[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "null", "", f"https://{HOST}", "http://localhost", "http://localhost:8888"),
        *(f"http://127.0.0.1:{PORT}", f"http://a.{HOST}", f"http://{HOST}/", f"http://{HOST} http://evil.example"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_pages_of_other_origins_are_refused(origin: str, method: str) -> None:
    status, headers, _ = ask(method=method, origin=origin, access_control_request_method="PUT")
    assert status == 403
    assert not [name for name in headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "SAME-ORIGIN", "none, cross-site", "else"])
@pytest.mark.parametrize(
    "path", ["/", "/_ministack/health", "/bucket/key", "/restapis/abc", "/endpoints/e/invocations"]
)
def test_requests_without_an_origin_are_refused_by_what_the_browser_says(site: str, path: str) -> None:
    assert ask(path, "GET", sec_fetch_site=site)[0] == 403


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_what_is_let_in_lets_no_page_read_the_answer(method: str) -> None:
    assert ask(method=method)[1] == {"x-id": "1"}


@pytest.mark.parametrize(
    "path",
    [
        *("/_ministack/reset", "/_ministack/config", "/_ministack/ready", "/_ministack/health/", "/_ministack/"),
        *("/_ministack/lambda-code/x", "/_ministack/rds/iam-auth", "/_localstack/health", "/_alb/x/y", "/_aws/ses"),
    ],
)
def test_the_emulators_own_paths_are_closed(path: str) -> None:
    status, _, body = ask(path)
    assert (status, "/_ministack/health" in json.loads(body)["message"]) == (403, True)


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/rds/iam-auth"])
def test_the_emulators_own_paths_are_closed_on_every_host(path: str) -> None:
    assert ask(path, hosts=("abc.lambda-url.us-east-1.on.aws",))[0] == 403


def test_the_health_of_the_cloud_is_open() -> None:
    assert ask("/_ministack/health", "GET")[0] == 200


def test_only_apis_have_websockets() -> None:
    assert ask(kind="websocket")[0] == 1008
    assert ask(kind="websocket", hosts=("evil.example",))[0] == 1008
