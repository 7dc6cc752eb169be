"""The API's routes: what the template opens, what the function answers and what the document tells are the same."""

import importlib
import json
import re

import pytest

from tests.contract.conftest import ROOT
from tests.prediction_function import imported

KEYLESS = {("/", "GET"), ("/health", "GET"), ("/page/{name}", "GET"), ("/page/examples/{name}", "GET")}


@pytest.fixture(scope="module")
def openapi():
    with imported("classify.openapi") as (module, _):
        yield module


@pytest.fixture(scope="module")
def document(openapi):
    return openapi.document()


def opened(template):
    """Path, method and whether a key is wanted, of the function's events."""
    for event in template["Resources"]["ClassifyFunction"]["Properties"]["Events"].values():
        given = event["Properties"]
        yield given["Path"], given["Method"], given.get("Auth", {}).get("ApiKeyRequired", True)


def test_document_that_is_sent_is_that_of_the_routes(document):
    sent = json.loads((ROOT / "functions/classify/openapi.json").read_text())
    assert sent == document, "the routes have changed: `make openapi` writes the document anew"


def test_template_opens_the_functions_routes(template, openapi):
    router = importlib.import_module("classify.routes").router
    answered = {(re.sub(r"<(\w+)>", r"{\1}", rule), method) for rule, (method,), *_ in router._routes}
    named = {(path, method) for path, method, _ in opened(template) if path != "/{proxy+}"}
    assert named == answered


def test_only_the_page_and_health_want_no_key(template, document):
    assert template["Resources"]["Api"]["Properties"]["Auth"]["ApiKeyRequired"] is True
    keyless = {(path, method) for path, method, wants in opened(template) if not wants}
    assert keyless == KEYLESS | {("/{proxy+}", "OPTIONS")}
    told = {
        (path, method.upper()): operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert {route for route, security in told.items() if not security} == {("/health", "GET")}


def test_what_wants_no_key_is_throttled_by_itself(template):
    settings = template["Resources"]["Api"]["Properties"]["MethodSettings"]
    throttled = {(each["ResourcePath"].replace("/~1", "/").replace("~1", "/"), each["HttpMethod"]) for each in settings}
    assert throttled == KEYLESS | {("/{proxy+}", "OPTIONS")}


def test_gateways_own_refusals_are_problem_documents(template, document):
    required = set(document["components"]["schemas"]["Problem"]["required"])
    responses = template["Resources"]["Api"]["Properties"]["GatewayResponses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "INVALID_API_KEY", "THROTTLED", "QUOTA_EXCEEDED"} <= set(responses)
    for kind, response in responses.items():
        (text,) = response["ResponseTemplates"].values()
        told = json.loads(text.replace("$context.error.messageString", '"words"'))
        assert required <= set(told), kind
        assert response["ResponseParameters"]["Headers"]["Content-Type"] == "'application/problem+json'"


def test_references_of_the_document_lead_somewhere(document):
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named == set(document["components"]["schemas"])


def test_photos_are_read_by_the_endings_that_the_role_may_read(template):
    endings = importlib.import_module("classify.photos").CONTENT_TYPE_BY_ENDING
    policy = template["Resources"]["ClassifyFunctionRole"]["Properties"]["Policies"][0]
    statements = policy["PolicyDocument"]["Statement"]
    (reading,) = (each["Resource"] for each in statements if each["Action"] == "s3:GetObject")
    assert {each["Fn::Sub"] for each in reading} == {f"${{Bucket.Arn}}/*.{ending}" for ending in endings}
