"""The page's function from event to response: anybody may ask, so nothing is written down and little is allowed."""

import base64
import importlib
import json
import logging
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from shared import doors
from tests.unit.functions import events

ENVIRONMENT = {
    "CHAMPION_PARAMETER": "/kennel/champion",
    "ALLOWED_ORIGIN": "none",
    "POWERTOOLS_SERVICE_NAME": "kennel",
    "AWS_DEFAULT_REGION": "us-east-1",
}
CONTEXT = SimpleNamespace(function_name="f", aws_request_id="invocation-1")


@pytest.fixture(scope="module")
def app():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        module = importlib.import_module("page.app")
        # Another test may have imported the module before, with settings of its own.
        settings = importlib.import_module("page.settings").PageSettings.from_environment()
        patch.setattr(module, "settings", settings)
        patch.setattr(module, "cors", doors.cors_of(settings.allowed_origin))
        yield module


@pytest.fixture
def health(app, monkeypatch):
    """The module, with parameters of the test and a clock that stands."""
    module = importlib.import_module("page.health")
    module._problem.cache_clear()
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 1_000_000.0))
    yield module
    module._problem.cache_clear()


class Parameters:
    def __init__(self, *values):
        self.values = list(values)

    def get_parameter(self, Name):
        assert Name == "/kennel/champion"
        value = self.values.pop(0)
        if isinstance(value, Exception):
            raise value
        return {"Parameter": {"Value": value}}


def get(app, path, method="GET", variables=None, **headers):
    """Return status, body and headers of the answer to a request without a key, of a stage with these variables."""
    event = events.rest_event(method, path, None, False, headers) | {"stageVariables": variables}
    response = app.handler(event, CONTEXT)
    sent = {name: each[0] for name, each in response["multiValueHeaders"].items()}
    body = base64.b64decode(response["body"]) if response.get("isBase64Encoded") else response["body"]
    return response["statusCode"], body, sent


@pytest.fixture
def site(app, monkeypatch, tmp_path):
    files = importlib.import_module("page.files")
    monkeypatch.setattr(files, "FOLDER", tmp_path / "site")
    (files.FOLDER / "examples").mkdir(parents=True)
    contents = {"index.html": "<p>ß</p>", "page.js": "1", "examples/a.jpg": "photo", "secret.py": "x", "../out.js": "x"}
    for name, content in contents.items():
        (files.FOLDER / name).write_text(content)
    files._names.cache_clear()
    yield
    files._names.cache_clear()


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/", "text/html; charset=utf-8", "<p>ß</p>"),
        ("/page/page.js", "text/javascript; charset=utf-8", "1"),
        ("/page/examples/a.jpg", "image/jpeg", b"photo"),
    ],
)
def test_page_is_sent_with_a_strict_policy(app, site, path, kind, content):
    status, body, headers = get(app, path)
    assert (status, body, headers["Content-Type"]) == (200, content, kind)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["secret.py", "../out.js", "..", "index", "%2e%2e%2fout.js", "a.jpg", "PAGE.JS"])
def test_only_the_pages_files_are_sent(app, site, name):
    assert get(app, f"/page/{name}")[0] == 404


def test_page_without_its_final_slash_is_redirected(app, site):
    event = {"httpMethod": "GET", "path": "/", "headers": {}, "requestContext": {"path": "/v1", "stage": "v1"}}
    response = app.handler(event, CONTEXT)
    assert (response["statusCode"], response["multiValueHeaders"]["Location"]) == (307, ["./v1/"])


def test_health_is_what_the_pipeline_wrote_and_is_asked_for_once_in_ten_seconds(app, health, monkeypatch):
    parameters = Parameters(
        '{"run": "x"}', "none", ClientError({"Error": {"Code": "ParameterNotFound"}}, "GetParameter")
    )
    monkeypatch.setattr(health, "_ssm", lambda: parameters)
    assert [get(app, "/health")[:2] for _ in range(3)] == 3 * [(200, '{"status": "serving"}')]
    for now in (1_000_010.0, 1_000_020.0):
        monkeypatch.setattr(health, "time", SimpleNamespace(time=lambda now=now: now))
        status, body, headers = get(app, "/health")
        assert (status, headers["Retry-After"], headers["Cache-Control"]) == (503, "5", "no-store")
        assert json.loads(body)["detail"] == "no model is serving yet; try again later"
        assert json.loads(body)["correlation_id"] == "request-1"


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameter"),
        ConnectTimeoutError(endpoint_url="https://ssm"),
    ],
)
def test_health_that_cannot_be_known_is_not_claimed(app, health, monkeypatch, error):
    monkeypatch.setattr(health, "_ssm", lambda: Parameters(error))
    status, body, _ = get(app, "/health")
    assert (status, json.loads(body)["detail"]) == (503, "it is not known whether a model serves; try again shortly")


def test_strangers_refusals_leave_no_line_and_no_metric(app, health, site, monkeypatch, capsys, caplog):
    caplog.set_level(logging.DEBUG, "kennel")
    monkeypatch.setattr(health, "_ssm", lambda: Parameters("none"))
    statuses = [get(app, path, method)[0] for path, method in REFUSED]
    assert statuses == [404, 404, 404, 503]
    assert (capsys.readouterr().out, caplog.records) == ("", [])


REFUSED = [("/page/nothing", "GET"), ("/elsewhere", "GET"), ("/", "DELETE"), ("/health", "GET")]


def test_function_that_fails_shows_no_detail_and_logs_it(app, health, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(health, "problem", broken)
    status, body, _ = get(app, "/health")
    assert (status, "secret" in body, json.loads(body)["correlation_id"]) == (500, False, "request-1")
    [record] = caplog.records
    assert (record.getMessage(), record.correlation_id) == ("failed", "request-1")


def test_page_does_not_import_what_classifies(app):
    """Whoever breaks into it finds neither the way to the endpoint nor the one to photos."""
    names = {name for name in vars(app) if not name.startswith("_")}
    assert not names & {"runtime", "s3", "session"}


@pytest.mark.parametrize(
    ("allowed", "origin", "answered"),
    [
        ("https://dogs.example", "https://dogs.example", "https://dogs.example"),
        ("https://dogs.example", "https://cats.example", None),
        ("https://dogs.example", None, None),
        ("*", "https://cats.example", "https://cats.example"),
        ("none", "https://dogs.example", None),
    ],
)
def test_preflight_is_answered_for_the_allowed_origin_alone(app, monkeypatch, allowed, origin, answered):
    monkeypatch.setattr(app, "cors", doors.cors_of(allowed))
    event = {"httpMethod": "OPTIONS", "path": "/classify", "headers": {"origin": origin} if origin else None}
    response = app.handler(event, CONTEXT)
    assert response["statusCode"] == 204
    assert response["headers"].get("Access-Control-Allow-Origin") == answered
    if answered:
        assert response["headers"]["Access-Control-Allow-Methods"] == "GET,OPTIONS,POST"
        assert "X-Api-Key" in response["headers"]["Access-Control-Allow-Headers"]
        taken = response["headers"]["Access-Control-Allow-Headers"].split(",")
        assert {"x-kennel-photo", "traceparent", "tracestate"} <= set(taken)
    else:
        assert response["headers"] == {}


POOL = {"signInHost": "kennel-0a1b.auth.us-east-1.amazoncognito.com", "signInClient": "client1"}


def connections(headers):
    """Return what the page may connect to, by its policy."""
    directives = [each.strip().split(" ") for each in headers["Content-Security-Policy"].split(";")]
    [allowed] = [words for name, *words in directives if name == "connect-src"]
    return allowed


def test_page_asks_for_a_key_and_connects_to_nobody_else_where_nobody_signs_in(app):
    status, body, headers = get(app, "/sign-in")
    assert (status, json.loads(body)) == (200, {"with": "key"})
    assert headers["Cache-Control"] == "no-store"
    assert connections(get(app, "/")[2]) == ["'self'"]


@pytest.mark.parametrize(
    ("laptop", "origin"),
    [("", "https://kennel-0a1b.auth.us-east-1.amazoncognito.com"), ("http://localhost:4566", "http://localhost:4566")],
)
def test_page_learns_where_people_sign_in_and_may_connect_there_only(app, monkeypatch, laptop, origin):
    monkeypatch.setenv("AWS_ENDPOINT_URL", laptop)
    status, body, _ = get(app, "/sign-in", variables=POOL)
    assert (status, json.loads(body)) == (200, {"with": "cognito", "origin": origin, "client_id": "client1"})
    _, _, headers = get(app, "/", variables=POOL)
    assert connections(headers) == ["'self'", origin]
    # Nothing else of the policy is wider, and the page's files do not need it.
    assert headers["Content-Security-Policy"].replace(f" {origin}", "") == get(app, "/")[2]["Content-Security-Policy"]
    assert connections(get(app, "/page/page.js", variables=POOL)[2]) == ["'self'"]
