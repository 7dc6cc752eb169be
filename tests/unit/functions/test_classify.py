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


def call(app, body=b"photo", content_type="image/jpeg", encoded=True):
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
    response = app.handler(event, context)
    return response["statusCode"], json.loads(response["body"]), response["multiValueHeaders"]


def test_photo_reaches_the_endpoint_as_it_was(app, runtime):
    raw = json.dumps(PREDICTION).encode()
    runtime.add_response(
        "invoke_endpoint",
        {"Body": StreamingBody(io.BytesIO(raw), len(raw)), "ContentType": "application/json"},
        {
            "EndpointName": "dogs",
            "Body": b"\xff\xd8photo",
            "ContentType": "image/jpeg",
            "CustomAttributes": "request-1",
        },
    )
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
