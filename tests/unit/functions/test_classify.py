"""The prediction function from event to response, with a botocore stub for the endpoint and for S3."""

import base64
import importlib
import io
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    IncompleteReadError,
    ReadTimeoutError,
)
from botocore.response import StreamingBody
from botocore.stub import Stubber

from shared.problems import ProblemError
from tests.prediction_function import ENVIRONMENT, imported
from tests.unit.functions import events

ROOT = Path(__file__).resolve().parents[3]
PHOTO = b"\xff\xd8\xff\xe0 a photo\0\r\n"
PREDICTION = {"breed": "Beagle", "probability": 0.9, "model_version": "run-1"}
KEY_VALUE = "the-value-of-a-key-0123"


@pytest.fixture(scope="module")
def app():
    with imported("classify.app") as (module, _):
        yield module


@pytest.fixture
def routes(app):
    module = importlib.import_module("classify.routes")
    module._model_problem.cache_clear()
    return module


@pytest.fixture
def runtime(routes):
    with Stubber(routes.hosting.model.runtime) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def s3(routes):
    with Stubber(routes.s3()) as stub:
        yield stub
        stub.assert_no_pending_responses()


def rest_event(method, path, body, encoded, headers, stage="/v1"):
    event = events.rest_event(method, path, body, encoded, headers, stage)
    event["requestContext"]["identity"] = {"sourceIp": "192.0.2.7", "apiKey": KEY_VALUE, "apiKeyId": "key1"}
    return event


def url_event(method, path, body, encoded, headers):
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {
            "requestId": "url-1",
            "stage": "$default",
            "http": {"method": method, "path": path, "sourceIp": "192.0.2.8"},
            "authorizer": {"iam": {"accessKey": "AKIA", "userArn": "arn:aws:iam::000000000000:user/rex"}},
        },
        "body": body,
        "isBase64Encoded": encoded,
    }


def answer(app, event, seconds=0):
    """Return status, body and headers. A REST API gets its headers in lists, a function's URL does not."""
    context = SimpleNamespace(function_name="f", memory_limit_in_mb=1024, invoked_function_arn="a")
    context.aws_request_id = "request-1"
    context.get_remaining_time_in_millis = lambda: 1000 * seconds
    response = app.handler(event, context)
    headers = response.get("headers") or {name: each[0] for name, each in response["multiValueHeaders"].items()}
    body = base64.b64decode(response["body"]) if response.get("isBase64Encoded") else response["body"]
    return response["statusCode"], body, headers


def get(app, path, method="GET", event=rest_event, **headers):
    return answer(app, event(method, path, None, False, headers))


def call(app, body=PHOTO, content_type="image/jpeg", encoded=True, seconds=0, event=rest_event):
    sent = base64.b64encode(body).decode() if encoded else body
    status, text, headers = answer(
        app, event("POST", "/classify", sent, encoded, {"Content-Type": content_type}), seconds
    )
    return status, json.loads(text), headers


def call_with_location(app, location, **options):
    return call(app, json.dumps(location).encode(), "application/json", **options)


def document(stub_body, **members):
    return {"Body": StreamingBody(io.BytesIO(stub_body), len(stub_body)), **members}


def prediction():
    return document(json.dumps(PREDICTION).encode(), ContentType="application/json")


def model_error(status):
    return {
        "service_error_code": "ModelError",
        "http_status_code": 424,
        "modeled_fields": {"OriginalStatusCode": status, "OriginalMessage": "boom"},
    }


UNAVAILABLE = {"service_error_code": "ServiceUnavailable", "http_status_code": 503}


@pytest.mark.parametrize("event", [rest_event, url_event])
def test_photo_reaches_the_endpoint_unchanged(app, runtime, event):
    expected = {
        "EndpointName": "dogs",
        "Body": PHOTO,
        "ContentType": "image/jpeg",
        "CustomAttributes": events.Ids("request-1"),
    }
    runtime.add_response("invoke_endpoint", prediction(), expected)
    assert call(app, PHOTO, "image/jpeg; charset=x", event=event)[:2] == (200, PREDICTION)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ({"body": b"words", "content_type": "text/plain"}, 415, "no JPEG, PNG or WebP photo"),
        ({"body": b""}, 400, "empty"),
        ({"body": bytes(4_500_001)}, 413, "4,500,001 bytes"),
        ({"body": "!!", "encoded": False, "content_type": "text/html"}, 415, "--data-binary @photo.jpg"),
        ({"body": b"{", "content_type": "application/json"}, 400, "no JSON"),
        ({"body": b"[" * 100_000, "content_type": "application/json"}, 400, "no JSON"),
        ({"body": b"\xff", "content_type": "application/json"}, 400, "no JSON"),
        ({"body": b'{"s3": "a.jpg", "url": "b"}', "content_type": "application/json"}, 400, "form"),
        ({"body": b'{"s3": ["a.jpg"]}', "content_type": "application/json"}, 400, "form"),
        ({"body": b'"a.jpg"', "content_type": "application/json"}, 400, "form"),
    ],
)
def test_body_without_a_photo_is_refused_before_the_endpoint_is_called(app, runtime, arguments, status, words):
    got, document, headers = call(app, **arguments)
    assert (got, document["status"], document["correlation_id"]) == (status, status, "request-1")
    assert words in document["detail"]
    assert headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("code", "extra", "status", "words"),
    [
        (
            "ModelError",
            {"OriginalStatusCode": 400, "OriginalMessage": '{"error": {"message": "cut off"}}'},
            400,
            "cut off",
        ),
        ("ModelError", {"OriginalStatusCode": 503, "OriginalMessage": "busy"}, 503, "overloaded"),
        ("ModelError", {"OriginalStatusCode": 500, "OriginalMessage": "boom"}, 502, "failed"),
        ("ModelError", {"OriginalStatusCode": 0, "OriginalMessage": "gone"}, 503, "being updated"),
        ("ValidationError", {}, 503, "no model is serving yet"),
        ("ThrottlingException", {}, 503, "overloaded"),
    ],
)
def test_failures_of_the_endpoint_become_problem_documents(app, runtime, code, extra, status, words):
    runtime.add_client_error("invoke_endpoint", code, modeled_fields=extra)
    got, document, headers = call(app)
    assert got == status
    assert words in document["detail"]
    assert ("Retry-After" in headers) == (status == 503)


@pytest.mark.parametrize("temporary", [UNAVAILABLE, *map(model_error, (0, 500, 502, 503, 504))])
def test_temporary_failure_is_retried(app, runtime, temporary):
    runtime.add_client_error("invoke_endpoint", **temporary)
    runtime.add_client_error("invoke_endpoint", **temporary)
    runtime.add_response("invoke_endpoint", prediction())
    assert call(app, seconds=28)[:2] == (200, PREDICTION)


@pytest.mark.parametrize(
    ("permanent", "status"),
    [
        (model_error(400), 400),
        (model_error(415), 415),
        ({"service_error_code": "ValidationError", "http_status_code": 400}, 503),
        ({"service_error_code": "AccessDeniedException", "http_status_code": 403}, 502),
    ],
)
def test_permanent_failure_is_not_retried(app, runtime, permanent, status):
    runtime.add_client_error("invoke_endpoint", **permanent)
    assert call(app, seconds=28)[0] == status


@pytest.mark.parametrize(("status", "expected"), [(500, 502), (0, 503)])
def test_photo_that_crashes_its_server_is_sent_three_times_at_most(app, runtime, status, expected):
    for _ in range(3):
        runtime.add_client_error("invoke_endpoint", **model_error(status))
    assert call(app, seconds=28)[0] == expected


class Endpoint:
    """Raises one error after the other, as botocore does, and then answers."""

    def __init__(self, *errors):
        self._errors, self.calls = iter(errors), 0

    def invoke_endpoint(self, **_):
        self.calls += 1
        if error := next(self._errors, None):
            raise error
        return prediction()


def timed_out():
    return ReadTimeoutError(endpoint_url="https://runtime.sagemaker", error="timed out")


def closed():
    return ConnectionClosedError(endpoint_url="https://runtime.sagemaker")


def unreachable():
    return ConnectTimeoutError(endpoint_url="https://runtime.sagemaker")


@pytest.fixture
def asked(app, monkeypatch):
    """Return a function that sends a photo to an endpoint, without the pauses."""
    module = importlib.import_module("classify.invoke")
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    question = module.Question(PHOTO, "image/jpeg", "request-1")
    model = importlib.import_module("classify.endpoint").EndpointModel
    return lambda endpoint: module.ask(model(endpoint, "dogs"), question, time.monotonic() + 28)


@pytest.mark.parametrize(
    ("errors", "status", "calls"),
    [
        ([timed_out(), timed_out()], 504, 2),
        ([unreachable(), timed_out(), unreachable(), timed_out()], 504, 4),
        ([timed_out(), closed(), closed()], 503, 3),  # The third failure ends the attempts, whatever kind it is.
        ([closed(), closed(), closed()], 503, 3),
        ([IncompleteReadError(actual_bytes=1, expected_bytes=9)] * 3, 503, 3),
        (
            [
                timed_out(),
                ClientError(
                    {
                        "Error": {"Code": "ModelError"},
                        "ResponseMetadata": {"HTTPStatusCode": 424},
                        "OriginalStatusCode": 500,
                    },
                    "InvokeEndpoint",
                ),
            ]
            * 2,
            504,
            3,
        ),
    ],
)
def test_photo_without_an_answer_is_given_up(asked, errors, status, calls):
    endpoint = Endpoint(*errors)
    with pytest.raises(ProblemError) as caught:
        asked(endpoint)
    assert (caught.value.status, endpoint.calls) == (status, calls)


@pytest.mark.parametrize(
    "errors", [[timed_out()], [closed(), closed()], [timed_out(), closed()], [unreachable() for _ in range(9)]]
)
def test_photo_is_answered_after_a_few_attempts_without_an_answer(asked, errors):
    endpoint = Endpoint(*errors)
    assert json.loads(asked(endpoint)) == PREDICTION
    assert endpoint.calls == len(errors) + 1


def test_answer_that_does_not_arrive_in_time_is_told_as_such(asked):
    with pytest.raises(ProblemError, match="did not answer for this photo within 7 seconds, twice") as caught:
        asked(Endpoint(timed_out(), timed_out()))
    assert "Retry-After" not in caught.value.response("request-1").headers


def test_attempt_that_would_exceed_the_functions_timeout_is_not_made(app, runtime):
    runtime.add_client_error("invoke_endpoint", **UNAVAILABLE)
    got, _, headers = call(app, seconds=9.9)  # Two seconds are kept back, and an attempt may take eight.
    assert (got, headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize(("failure", "metric"), [(model_error(400), "Refusals"), (UNAVAILABLE, "Unavailable")])
def test_refusals_are_counted_by_whose_fault_they_are(app, runtime, capsys, failure, metric):
    runtime.add_client_error("invoke_endpoint", **failure)
    call(app, seconds=9)
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "CloudWatchMetrics" in line]
    assert [each[metric] for each in metrics] == [[1.0]]


@pytest.mark.parametrize("body", ["YQ", "a b=", "é"])
def test_body_that_is_no_base64_is_refused(app, runtime, body):
    headers = {"Content-Type": "image/jpeg"}
    status, text, _ = answer(app, rest_event("POST", "/classify", body, True, headers))
    assert (status, "base64" in text) == (400, True)


@pytest.mark.parametrize("key", ["dogs/Rex & Ida.JPEG", "a.png", "x/b.WEBP", "é.jpg", "dogs/C.Jpg", "d.pNg", "e.WebP"])
def test_photo_in_the_bucket_is_classified(app, runtime, s3, key):
    content = document(PHOTO, ContentLength=len(PHOTO))
    s3.add_response("get_object", content, {"Bucket": "kennel-bucket", "Key": key})
    expected = {
        "EndpointName": "dogs",
        "Body": PHOTO,
        "ContentType": "image/jpeg",
        "CustomAttributes": events.Ids("request-1"),
    }
    runtime.add_response("invoke_endpoint", prediction(), expected)
    assert call_with_location(app, {"s3": key})[:2] == (200, PREDICTION)


@pytest.mark.parametrize(
    "key",
    [
        *("uploads/C.Jpg", "uploads/rex", "uploads/v1.2/rex", "uploads/a.jfif", "uploads/b.JPE"),
        *("uploads/Screenshot at 10.00\u202fAM.png", "سگ\u200cها.jpg", "👩\u200d🦰.jpg", "a\u00a0b.jpg"),
    ],
)
def test_photo_below_uploads_may_have_other_endings_or_none(app, runtime, s3, key):
    s3.add_response("get_object", document(PHOTO, ContentLength=len(PHOTO)), {"Bucket": "kennel-bucket", "Key": key})
    runtime.add_response("invoke_endpoint", prediction())
    assert call_with_location(app, {"s3": f"s3://kennel-bucket/{key}"}, event=url_event)[0] == 200


def test_object_in_the_bucket_that_is_no_photo_is_not_sent_to_the_endpoint(app, runtime, s3):
    s3.add_response("get_object", document(b"GIF89a", ContentLength=6))
    status, problem, _ = call_with_location(app, {"s3": "uploads/a.jpg"})
    assert (status, problem["detail"]) == (415, "the bytes are no JPEG, PNG or WebP photo")


@pytest.mark.parametrize(
    "key",
    [
        *(
            "",
            "/",
            ".jpg/",
            "/a.jpg",
            "a//b.jpg",
            "a/../b.jpg",
            "../b.jpg",
            "./a.jpg",
            "a/./b.jpg",
            "a/..",
            "..\\b.jpg",
        ),
        *("s3://other/a.jpg", "s3://kennel-bucket-2/a.jpg", "s3://kennel-bucket//a.jpg", "S3://kennel-bucket/a.jpg"),
        *("http://169.254.169.254/latest/meta-data/a.jpg", "file:///etc/passwd.jpg", "//host/a.jpg"),
        *("arn:aws:s3:::kennel-bucket/a.jpg", "s3://arn:aws:s3:us-east-1:0:accesspoint/x/a.jpg"),
        *("a.jpg?versionId=1", "a.jpg?x=.jpg", "a.jpg#.jpg", "%2e%2e/a.jpg", "a%00.jpg"),
        *("a\x00.jpg", "a\n.jpg", "a\u202egpj.jpg", "\ud800.jpg", "a.jpg "),
        *(
            "a",
            "jpg.",
            "a.txt",
            "a.gif",
            "a.jfif",
            "a.jpg.zip",
            "uploads/a.txt",
            "uploads/",
            "xuploads/a",
            "runs/1/artifact/model.tar.gz",
        ),
        *("x" * 1021 + ".jpg", "é" * 511 + ".jpg"),
    ],
)
def test_trick_with_a_key_is_refused_before_s3_is_called(app, runtime, s3, key):
    status, problem, _ = call_with_location(app, {"s3": key})
    assert (status, "names no photo" in problem["detail"]) == (400, True)


@pytest.mark.parametrize(("code", "status"), [("NoSuchKey", 404), ("AccessDenied", 403), ("InvalidObjectState", 403)])
def test_missing_and_forbidden_photos_get_the_same_answer(app, runtime, s3, code, status):
    s3.add_client_error("get_object", code, http_status_code=status)
    got, problem, _ = call_with_location(app, {"s3": "a.jpg"})
    assert (got, problem["detail"]) == (404, "there is no such photo")


def test_photo_in_the_bucket_that_is_too_large_is_not_read(app, runtime, s3):
    class Unread(io.BytesIO):
        def read(self, *_):
            raise AssertionError("was read")

    s3.add_response("get_object", {"Body": StreamingBody(Unread(), 4_500_001), "ContentLength": 4_500_001})
    assert call_with_location(app, {"s3": "a.jpg"})[0] == 413


def test_bucket_that_does_not_answer_gives_503(app, runtime, s3):
    s3.add_client_error("get_object", "SlowDown", http_status_code=503)
    got, _, headers = call_with_location(app, {"s3": "a.jpg"})
    assert (got, headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("event", [rest_event, url_event])
def test_breeds_are_the_labels_of_the_model(app, runtime, event):
    expected = {
        "EndpointName": "dogs",
        "Body": b'{"describe": "breeds"}',
        "ContentType": "application/json",
        "CustomAttributes": events.Ids("request-1"),
    }
    runtime.add_response("invoke_endpoint", document(b'{"breeds": ["Beagle"]}'), expected)
    status, body, headers = get(app, "/breeds", event=event)
    assert (status, json.loads(body), headers["Content-Type"]) == (200, {"breeds": ["Beagle"]}, "application/json")


def test_health_is_cached_for_some_seconds(app, routes, runtime, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(routes, "time", SimpleNamespace(time=lambda: now[0]))
    runtime.add_response("invoke_endpoint", document(b'{"breeds": []}'))
    assert [get(app, "/health")[:2] for _ in range(3)] == 3 * [(200, '{"status": "serving"}')]
    now[0] += 10
    runtime.add_client_error("invoke_endpoint", "ValidationError", http_status_code=400)
    for _ in range(3):
        status, body, headers = get(app, "/health")
        assert (status, headers["Retry-After"]) == (503, "5")
        assert json.loads(body)["detail"] == "no model is serving yet; try again later"


def test_server_that_refuses_the_health_question_is_healthy(app, runtime):
    runtime.add_client_error("invoke_endpoint", **model_error(415))
    assert get(app, "/health")[0] == 200


def test_unhealthy_answer_is_not_counted_as_unavailable(app, runtime, capsys):
    runtime.add_client_error("invoke_endpoint", **UNAVAILABLE)
    assert get(app, "/health")[0] == 503
    assert "Unavailable" not in capsys.readouterr().out


@pytest.mark.parametrize("event", [rest_event, url_event])
@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/classify", 405, "POST"),
        ("PUT", "/health", 405, "GET"),
        ("GET", "/", 404, None),
        ("GET", "/page/page.js", 404, None),
        ("OPTIONS", "/classify", 405, "POST"),
        ("GET", "/clasify", 404, None),
        ("POST", "/page/examples/x/y", 404, None),
    ],
)
def test_wrong_path_and_method_get_a_problem_document(app, event, method, path, status, allowed):
    got, body, headers = get(app, path, method, event)
    assert (got, headers.get("Allow"), headers["Content-Type"]) == (status, allowed, "application/problem+json")
    assert json.loads(body)["correlation_id"] == "request-1"


def test_unexpected_error_shows_no_detail(app, routes, monkeypatch, capsys):
    def ask(*_, **__):
        raise RuntimeError("secret")

    monkeypatch.setattr(routes.hosting, "ask", ask)
    status, problem, _ = call(app)
    assert (status, problem["correlation_id"]) == (500, "request-1")
    assert "secret" not in str(problem)
    assert '"Failures":[1.0]' in capsys.readouterr().out


def test_other_origins_may_call_only_when_allowed(app, monkeypatch, runtime):
    for _ in range(2):
        runtime.add_response("invoke_endpoint", document(b'{"breeds": []}'))
    assert not any(name.startswith("Access-Control") for name in get(app, "/breeds", Origin="https://dogs.example")[2])
    monkeypatch.setattr(app, "rest", app.resolvers("https://dogs.example")[0])
    origin = "Access-Control-Allow-Origin"
    assert get(app, "/breeds", Origin="https://dogs.example")[2][origin] == "https://dogs.example"
    assert get(app, "/nothing", Origin="https://dogs.example")[2][origin] == "https://dogs.example"
    assert origin not in get(app, "/nothing", Origin="https://cats.example")[2]


def test_openapi_document_is_sent(app):
    status, body, _ = get(app, "/openapi.json")
    assert (status, sorted(json.loads(body)["paths"])) == (200, ["/breeds", "/classify", "/health", "/openapi.json"])


@pytest.mark.parametrize("event", [rest_event, url_event])
@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/openapi.json", 200), ("PUT", "/classify", 405)])
def test_answers_in_json_are_neither_sniffed_nor_kept(app, event, method, path, status):
    got, _, headers = get(app, path, method, event)
    assert (got, headers["X-Content-Type-Options"], headers["Cache-Control"]) == (status, "nosniff", "no-store")
    assert headers["x-correlation-id"] == "request-1"


def logged(app, caplog):
    """Return the log as it is written and, of the lines about requests, the fields that are not Powertools' own."""
    out = [app.logger.registered_formatter.format(record) for record in caplog.records]
    lines = [json.loads(line) for line in out]
    ours = ("route", "key_id", "user", "user_arn", "source", "status", "model_version", "detail", "hosting")
    sizes = ("bytes", "photo_bytes", "sent_bytes")
    requests = [line for line in lines if line.get("message") == "request"]
    assert all(line["milliseconds"] >= 0 and line["correlation_id"] == "request-1" for line in requests)
    return "".join(out), [{name: line[name] for name in (*ours, *sizes) if name in line} for line in requests]


BY_KEY = {"key_id": "key1", "source": "192.0.2.7"}
BY_SIGNATURE = {"user_arn": "arn:aws:iam::000000000000:user/rex", "source": "192.0.2.8"}


@pytest.mark.parametrize(("event", "caller"), [(rest_event, BY_KEY), (url_event, BY_SIGNATURE)])
def test_each_request_has_one_line_that_says_who_asked_and_what_came_of_it(app, runtime, caplog, event, caller):
    caplog.set_level(logging.INFO, "kennel")
    runtime.add_response("invoke_endpoint", prediction())
    call(app, event=event)
    runtime.add_client_error("invoke_endpoint", **model_error(400))
    call(app, event=event)
    call(app, b"words", event=event)
    get(app, "/secret-path", event=event)
    out, lines = logged(app, caplog)
    came = {"route": "/classify", **caller, "bytes": len(PHOTO)}
    sent = {**came, "photo_bytes": len(PHOTO), "sent_bytes": len(PHOTO)}
    assert lines == [
        {**sent, "status": 200, "model_version": "run-1"},
        {**sent, "status": 400, "detail": "the model refused this photo"},
        {**came, "bytes": 5, "status": 415, "detail": lines[2]["detail"]},
        {"route": "elsewhere", **caller, "bytes": 0, "status": 404, "detail": lines[3]["detail"]},
    ]
    for secret in (KEY_VALUE, "secret-path", "AKIA", base64.b64encode(PHOTO).decode(), "chosen-by-the-caller", "words"):
        assert secret not in out


@pytest.mark.parametrize("size", range(7))
def test_bytes_of_a_body_are_counted_without_decoding_it(size):
    accounting = importlib.import_module("classify.accounting")
    body = base64.b64encode(bytes(size)).decode()
    assert accounting._num_bytes({"body": body, "isBase64Encoded": True}) == size
    assert accounting._num_bytes({"body": "é" * size, "isBase64Encoded": False}) == 2 * size


def test_function_does_not_import_what_it_does_not_need():
    program = "import gc, sys, classify.app; assert gc.isenabled(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "functions", env=ENVIRONMENT, capture_output=True, check=True
    )
    loaded = set(done.stdout.decode().split())
    assert "classify.routes" in loaded
    needless = {"pydantic", "aws_xray_sdk", "classify.openapi", "PIL", "classify.shrinking", "classify.signed"}
    assert loaded & needless == set()
