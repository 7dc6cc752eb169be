"""The routes in the template, in the function and in the OpenAPI document are the same."""

import importlib
import json
import re
from fnmatch import fnmatchcase
from itertools import product

import pytest

from dataset import photo_bytes
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


def routes_of(template):
    """Yield path, method and whether the route requires a key, for each of the function's events."""
    for event in template["Resources"]["ClassifyFunction"]["Properties"]["Events"].values():
        route = event["Properties"]
        yield route["Path"], route["Method"], route.get("Auth", {}).get("ApiKeyRequired", True)


def test_stored_document_is_the_one_of_the_routes(document):
    stored = json.loads((ROOT / "functions/classify/openapi.json").read_text())
    assert stored == document, "the routes have changed: run `make openapi` to write the document again"


def test_template_has_the_routes_of_the_function(template, openapi):
    router = importlib.import_module("classify.routes").router
    expected = {(re.sub(r"<(\w+)>", r"{\1}", rule), method) for rule, (method,), *_ in router._routes}
    routes = {(path, method) for path, method, _ in routes_of(template) if path != "/{proxy+}"}
    assert routes == expected


def test_only_the_page_and_health_need_no_key(template, document):
    assert template["Resources"]["Api"]["Properties"]["Auth"]["ApiKeyRequired"] is True
    keyless = {(path, method) for path, method, is_required in routes_of(template) if not is_required}
    assert keyless == KEYLESS | {("/{proxy+}", "OPTIONS")}
    documented = {
        (path, method.upper()): operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert {route for route, security in documented.items() if not security} == {("/health", "GET")}


def test_routes_without_a_key_are_throttled(template):
    settings = template["Resources"]["Api"]["Properties"]["MethodSettings"]
    throttled = {(each["ResourcePath"].replace("/~1", "/").replace("~1", "/"), each["HttpMethod"]) for each in settings}
    assert throttled == KEYLESS | {("/{proxy+}", "OPTIONS")}


def test_gateways_own_refusals_are_problem_documents(template, document):
    required = set(document["components"]["schemas"]["Problem"]["required"])
    responses = template["Resources"]["Api"]["Properties"]["GatewayResponses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "INVALID_API_KEY", "THROTTLED", "QUOTA_EXCEEDED"} <= set(responses)
    for kind, response in responses.items():
        (text,) = response["ResponseTemplates"].values()
        problem = json.loads(text.replace("$context.error.messageString", '"words"'))
        assert required <= set(problem), kind
        assert response["ResponseParameters"]["Headers"]["Content-Type"] == "'application/problem+json'"


def test_references_of_the_document_are_its_schemas(document):
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references == set(document["components"]["schemas"])


def test_photos_that_callers_name_are_those_that_the_role_may_read(template):
    photos = importlib.import_module("classify.photos")
    policy = template["Resources"]["ClassifyFunctionRole"]["Properties"]["Policies"][0]
    statements = policy["PolicyDocument"]["Statement"]
    (reading,) = (each["Resource"] for each in statements if each["Action"] == "s3:GetObject")
    patterns = [each["Fn::Sub"].removeprefix("${Bucket.Arn}/") for each in reading]

    def readable(key):
        return any(fnmatchcase(key, pattern) for pattern in patterns)

    for ending in photos.ENDINGS:
        for capitals in product(*((letter, letter.upper()) for letter in ending)):
            assert readable(f"one/photo.{''.join(capitals)}")
    assert readable(f"{photos.UPLOADS}photo")
    for key in ("runs/1/artifact/model.tar.gz", "runs/1/record.json", "dataset/dogs.zip", "card.html", "one/photo"):
        assert not readable(key)


def test_function_and_model_server_know_the_same_photos():
    wrappings = importlib.import_module("classify.wrappings")
    assert dict(zip(wrappings.CONTENT_TYPES, (each.pattern for each in wrappings._SIGNATURES), strict=True)) == (
        {kind: each.pattern for kind, each in photo_bytes._KINDS.items()}
    )
