"""The routes in the template, in the function and in the OpenAPI document are the same."""

import dataclasses
import importlib
import json
import re
from fnmatch import fnmatchcase
from itertools import product

import pytest

from classify.settings import ClassifySettings
from dataset import photo_bytes
from shared import problems
from tests.contract.conftest import ROOT
from tests.prediction_function import imported

KEYLESS = {
    *(("/", "GET"), ("/health", "GET"), ("/sign-in", "GET")),
    *(("/page/{name}", "GET"), ("/page/examples/{name}", "GET")),
}


@pytest.fixture(scope="module")
def openapi():
    with imported("classify.openapi") as (module, _):
        yield module


@pytest.fixture(scope="module")
def document(openapi):
    return openapi.document()


DOORS = ("ClassifyFunction", "PageFunction")


def routes_of(template, *functions):
    """Yield path, method and whether the route requires a key, for each event of functions; of all without a name."""
    for function in functions or DOORS:
        for event in template["Resources"][function]["Properties"]["Events"].values():
            route = event["Properties"]
            yield route["Path"], route["Method"], route.get("Auth", {}).get("ApiKeyRequired", True)


def as_list(value):
    return value if isinstance(value, list) else [value]


def rules_of(routes):
    return {(re.sub(r"<(\w+)>", r"{\1}", rule), method) for rule, (method,), *_ in routes}


def test_stored_document_is_the_one_of_the_routes(document):
    stored = json.loads((ROOT / "functions/classify/openapi.json").read_text())
    assert stored == document, "the routes have changed: run `make openapi` to write the document again"


def test_make_openapi_gives_the_function_all_its_settings():
    target = (ROOT / "Makefile").read_text().partition("\nopenapi:")[2].partition("\n\n")[0]
    given = set(re.findall(r"([A-Z_]+)=", target))
    assert {field.name.upper() for field in dataclasses.fields(ClassifySettings)} <= given


def test_template_has_the_routes_of_the_functions(template, openapi, monkeypatch):
    """Health is asked of the page's function at the REST API, and of the other one at its URL."""
    expected = rules_of(importlib.import_module("classify.routes").router._routes)
    routes = {(path, method) for path, method, _ in routes_of(template, "ClassifyFunction") if path != "/{proxy+}"}
    assert routes == expected - {("/health", "GET")}
    assert {path for path, _ in expected} == importlib.import_module("classify.accounting").ROUTES
    for name in template["Resources"]["PageFunction"]["Properties"]["Environment"]["Variables"]:
        monkeypatch.setenv(name, "none")
    page = importlib.import_module("page.app").rest
    rules = [(each.rule.pattern, each.method) for each in page._static_routes + page._dynamic_routes]
    assert len(rules) == len(KEYLESS)
    for path, method in KEYLESS:
        assert any(re.match(rule, path.replace("{name}", "x")) and method == each for rule, each in rules)
    routes = {(path, method) for path, method, _ in routes_of(template, "PageFunction")}
    assert routes == KEYLESS | {("/{proxy+}", "OPTIONS")}


def test_what_needs_no_key_is_answered_without_rights(template):
    """Strangers decide how often these functions run: nothing of value is in their reach, and nobody waits for them."""
    resources = template["Resources"]
    for name in DOORS:
        keyless = {required for *_, required in routes_of(template, name)} == {False}
        assert keyless == (name != "ClassifyFunction")
    [policy] = resources["PageFunctionRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    actions = {action for each in statements for action in as_list(each["Action"])}
    assert actions == {"ssm:GetParameter", "logs:CreateLogStream", "logs:PutLogEvents"}
    assert "ManagedPolicyArns" not in resources["PageFunctionRole"]["Properties"]
    function = resources["PageFunction"]["Properties"]
    assert function["Role"]["Fn::If"][1] == {"Fn::GetAtt": ["PageFunctionRole", "Arn"]}
    reserved = function["ReservedConcurrentExecutions"]["Fn::If"][:2]
    assert reserved == ["HasPageReservedConcurrency", {"Ref": "PageReservedConcurrency"}]
    # Lambda writes three lines of its own for each invocation unless the level forbids it.
    assert function["LoggingConfig"]["SystemLogLevel"] == "WARN"
    assert function["Tracing"] == "PassThrough"


def test_preflights_reach_no_function_without_an_origin(template):
    """By a throttle of 0: a condition of the route would change nothing until another deployment is made."""
    settings = template["Resources"]["Api"]["Properties"]["MethodSettings"]
    [preflights] = [each for each in settings if each["HttpMethod"] == "OPTIONS"]
    for name in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
        condition, _, without = preflights[name]["Fn::If"]
        assert (condition, without) == ("HasAllowedOrigin", 0)


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


def test_every_operation_documents_what_api_gateway_and_lambda_answer_themselves(document):
    """A route without a key has a rate of its own; whoever asks ``/health`` more often is refused with 429."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert {"403", "429", "500", "504"} <= set(operation["responses"]), path
            assert ("401" in operation["responses"]) == bool(operation.get("security")), path


def test_gateways_own_refusals_are_problem_documents(template, document):
    required = set(document["components"]["schemas"]["Problem"]["required"])
    responses = template["Resources"]["Api"]["Properties"]["GatewayResponses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "INVALID_API_KEY", "THROTTLED", "QUOTA_EXCEEDED"} <= set(responses)
    for kind, response in responses.items():
        (text,) = response["ResponseTemplates"].values()
        problem = json.loads(text.replace("$context.error.messageString", '"words"'))
        assert required <= set(problem), kind
        headers = response["ResponseParameters"]["Headers"]
        assert headers["Content-Type"] == "'application/problem+json'"
        assert {name: headers[name].strip("'") for name in problems.HEADERS} == problems.HEADERS
        assert problem["correlation_id"] == "$context.extendedRequestId"  # Callers can choose $context.requestId.


def test_references_of_the_document_are_its_schemas(document):
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references == set(document["components"]["schemas"])


def test_photos_that_callers_name_are_those_that_the_role_may_read(template):
    photos = importlib.import_module("classify.photos")
    policy = template["Resources"]["ClassifyFunctionRole"]["Properties"]["Policies"][0]
    statements = policy["PolicyDocument"]["Statement"]
    (reading,) = (each["Resource"] for each in statements if each["Action"] == "s3:GetObject")
    condition, with_any_photo, usual = reading["Fn::If"]
    assert (condition, usual) == ("AnyPhoto", {"Fn::Sub": "${Bucket.Arn}/${PhotosPrefix}*"})
    assert template["Parameters"]["PhotosPrefix"]["Default"] == photos.UPLOADS
    patterns = [each["Fn::Sub"].removeprefix("${Bucket.Arn}/") for each in with_any_photo]

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
