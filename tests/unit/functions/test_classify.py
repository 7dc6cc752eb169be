"""The prediction function, event in and response out, with the endpoint's answers stubbed by botocore."""

import base64
import importlib
import io
import json
from types import SimpleNamespace

import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

PREDICTION = {"breed": "Beagle", "probability": 0.9}


@pytest.fixture(scope="module")
def app():
    with pytest.MonkeyPatch.context() as env:
        for name, value in {
            "ENDPOINT_NAME": "dogs",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "POWERTOOLS_SERVICE_NAME": "kennel",
            "POWERTOOLS_METRICS_NAMESPACE": "Kennel",
        }.items():
            env.setenv(name, value)
        yield importlib.import_module("classify.app")


@pytest.fixture
def runtime(app):
    with Stubber(app.runtime) as stub:
        yield stub
        stub.assert_no_pending_responses()


def call(app, body=b"photo", content_type="image/jpeg", encoded=True, seconds=0):
    event = {
        "httpMethod": "POST",
        "path": "/classify",
        "resource": "/classify",
        "headers": {"Content-Type": content_type},
        "multiValueHeaders": {"Content-Type": [content_type]},
        "requestContext": {"requestId": "request-1", "stage": "v1", "path": "/v1/classify", "httpMethod": "POST"},
        "queryStringParameters": None,
        "body": base64.b64encode(body).decode() if encoded else body,
        "isBase64Encoded": encoded,
    }
    context = SimpleNamespace(function_name="f", memory_limit_in_mb=1, invoked_function_arn="a", aws_request_id="r")
    context.get_remaining_time_in_millis = lambda: 1000 * seconds
    response = app.handler(event, context)
    return response["statusCode"], json.loads(response["body"]), response["multiValueHeaders"]


def prediction():
    raw = json.dumps(PREDICTION).encode()
    return {"Body": StreamingBody(io.BytesIO(raw), len(raw)), "ContentType": "application/json"}


def model_error(status):
    return {
        "service_error_code": "ModelError",
        "http_status_code": 424,
        "modeled_fields": {"OriginalStatusCode": status, "OriginalMessage": "boom"},
    }


UNAVAILABLE = {"service_error_code": "ServiceUnavailable", "http_status_code": 503}


def test_photo_reaches_the_endpoint_as_it_was(app, runtime):
    expected = {
        "EndpointName": "dogs",
        "Body": b"\xff\xd8photo",
        "ContentType": "image/jpeg",
        "CustomAttributes": "request-1",
    }
    runtime.add_response("invoke_endpoint", prediction(), expected)
    assert call(app, b"\xff\xd8photo", "image/jpeg; charset=x")[:2] == (200, PREDICTION)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ({"content_type": "text/plain"}, 415, "image/jpeg, image/png, image/webp"),
        ({"body": b""}, 400, "empty"),
        ({"body": bytes(4_500_001)}, 413, "4,500,001 bytes"),
        ({"body": "!!", "encoded": False, "content_type": "application/json"}, 415, "content-type"),
    ],
)
def test_what_is_no_photo_is_refused_before_the_endpoint_is_asked(app, runtime, arguments, status, words):
    got, document, headers = call(app, **arguments)
    assert (got, document["status"], document["correlation_id"]) == (status, status, "request-1")
    assert words in document["detail"]
    assert headers["Content-Type"] == ["application/problem+json"]


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
        ("ModelError", {"OriginalStatusCode": 0, "OriginalMessage": "gone"}, 503, "being changed"),
        ("ValidationError", {}, 503, "no model is serving yet"),
        ("ThrottlingException", {}, 503, "overloaded"),
    ],
)
def test_failures_behind_become_problem_documents(app, runtime, code, extra, status, words):
    runtime.add_client_error("invoke_endpoint", code, modeled_fields=extra)
    got, document, headers = call(app)
    assert got == status
    assert words in document["detail"]
    assert ("Retry-After" in headers) == (status == 503)


@pytest.mark.parametrize("passing", [UNAVAILABLE, *map(model_error, (0, 500, 502, 503, 504))])
def test_what_passes_is_asked_again(app, runtime, passing):
    runtime.add_client_error("invoke_endpoint", **passing)
    runtime.add_client_error("invoke_endpoint", **passing)
    runtime.add_response("invoke_endpoint", prediction())
    assert call(app, seconds=28)[:2] == (200, PREDICTION)


@pytest.mark.parametrize(
    ("lasting", "status"),
    [
        (model_error(400), 400),
        (model_error(415), 415),
        ({"service_error_code": "ValidationError", "http_status_code": 400}, 503),
        ({"service_error_code": "AccessDeniedException", "http_status_code": 403}, 502),
    ],
)
def test_what_lasts_is_asked_once(app, runtime, lasting, status):
    runtime.add_client_error("invoke_endpoint", **lasting)
    assert call(app, seconds=28)[0] == status


@pytest.mark.parametrize(("status", "told"), [(500, 502), (0, 503)])
def test_photo_that_ends_its_server_is_sent_to_three_at_most(app, runtime, status, told):
    for _ in range(3):
        runtime.add_client_error("invoke_endpoint", **model_error(status))
    assert call(app, seconds=28)[0] == told


def test_attempt_that_would_outlive_the_function_is_not_made(app, runtime):
    runtime.add_client_error("invoke_endpoint", **UNAVAILABLE)
    got, _, headers = call(app, seconds=9.9)  # two are spared, and an attempt may take eight
    assert (got, headers["Retry-After"]) == (503, ["5"])


@pytest.mark.parametrize(("lasting", "metric"), [(model_error(400), "Refusals"), (UNAVAILABLE, "Unavailable")])
def test_callers_that_are_sent_away_are_counted_by_whose_fault_it_is(app, runtime, capsys, lasting, metric):
    runtime.add_client_error("invoke_endpoint", **lasting)
    call(app, seconds=9)
    put = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "CloudWatchMetrics" in line]
    assert [each[metric] for each in put] == [[1.0]]
