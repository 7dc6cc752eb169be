"""Which routes of the REST API are locked, and how, in the template that CloudFormation receives.

SAM drops an authorizer that is under a condition, and takes every ``ApiKeyRequired`` that is one for true, both without
a word. So what it makes of the template is looked at, with the conditions resolved, for each value of SignIn.
"""

import functools
import json

import pytest

from proofs.transformed import transformed

SETTINGS = ("key", "cognito")
# The routes that strangers may use, by name. All others need what the setting says.
FREE = {
    ("/", "get"),
    ("/health", "get"),
    ("/sign-in", "get"),
    ("/page/{name}", "get"),
    ("/page/examples/{name}", "get"),
    ("/{proxy+}", "options"),  # throttled to none where pages of no other origin may ask
}
LOCKED = {
    ("/classify", "post"),
    ("/breeds", "get"),
    ("/openapi.json", "get"),
    ("/{proxy+}", "x-amazon-apigateway-any-method"),
}
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace", "x-amazon-apigateway-any-method"}
NO_VALUE = {"Ref": "AWS::NoValue"}


def resolved(node, conditions):
    """Return a part of a template as CloudFormation reads it: with one branch of each Fn::If, and without NoValue."""
    if isinstance(node, list):
        items = [resolved(item, conditions) for item in node]
        return [item for item in items if item != NO_VALUE]
    if not isinstance(node, dict):
        return node
    if "Fn::If" in node:
        name, yes, no = node["Fn::If"]
        return resolved(yes if holds(conditions[name], conditions) else no, conditions)
    items = {key: resolved(value, conditions) for key, value in node.items()}
    return {key: value for key, value in items.items() if value != NO_VALUE}


def holds(condition, conditions):
    if isinstance(condition, bool):
        return condition
    match next(iter(condition.items())):
        case "Fn::Equals", [left, right]:
            return str(left) == str(right)
        case "Fn::Not", [inner]:
            return not holds(inner, conditions)
        case "Fn::And", several:
            return all(holds(each, conditions) for each in several)
        case "Condition", name:
            return holds(conditions[name], conditions)
    raise AssertionError(condition)


@pytest.fixture(scope="module", params=SETTINGS)
def stack(request):
    """The resources of the template for a value of SignIn, as CloudFormation makes them, and that value."""
    return resources_of(request.param), request.param


@functools.cache  # SAM's transform takes a second. No test changes what it gets.
def resources_of(sign_in, **parameters):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        template = transformed(SignIn=sign_in, **parameters)
    values = {name: each.get("Default") for name, each in template["Parameters"].items()}
    values |= {"SignIn": sign_in, **parameters}

    def with_values(node):
        if isinstance(node, list):
            return [with_values(each) for each in node]
        if isinstance(node, dict):
            if set(node) == {"Ref"} and node["Ref"] in values:
                return values[node["Ref"]]
            return {key: with_values(each) for key, each in node.items()}
        return node

    conditions = with_values(template["Conditions"])
    resources = {
        name: each
        for name, each in template["Resources"].items()
        if "Condition" not in each or holds(conditions[each["Condition"]], conditions)
    }
    return resolved(resources, conditions)


def routes_of(resources):
    """Return the names of the locks of each route: its authorizers, and "key" where a usage plan's key is needed."""
    body = resources["Api"]["Properties"]["Body"]
    assert "security" not in body  # API Gateway ignores it there.
    schemes = body["components"]["securitySchemes"]
    locks = {}
    for path, item in body["paths"].items():
        assert set(item) <= METHODS, f"API Gateway knows no method of {path} in {set(item) - METHODS}"
        for method, operation in item.items():
            names = set()
            for requirement in operation["security"]:
                assert set(requirement) <= set(schemes), f"{path} names a lock that is not there"
                names |= set(requirement)
            locks[path, method] = names
            assert operation["x-amazon-apigateway-integration"]["uri"], path
    return locks


@pytest.mark.parametrize("origin", ["none", "*", "https://example.org"])
@pytest.mark.parametrize("sign_in", SETTINGS)
def test_every_route_is_locked_except_the_free_ones(sign_in, origin):
    locks = routes_of(resources_of(sign_in, AllowedOrigin=origin))
    assert {route for route, names in locks.items() if not names} == FREE
    wanted = {"api_key"} if sign_in == "key" else {"token", "api_key"}
    assert {route: names for route, names in locks.items() if names} == dict.fromkeys(LOCKED, wanted)


def test_lock_is_an_authorizer_that_checks_tokens(stack):
    resources, sign_in = stack
    body = resources["Api"]["Properties"]["Body"]
    schemes = body["components"]["securitySchemes"]
    assert schemes["api_key"] == {"type": "apiKey", "name": "x-api-key", "in": "header"}
    assert body["x-amazon-apigateway-api-key-source"] == ("HEADER" if sign_in == "key" else "AUTHORIZER")
    if sign_in == "key":
        assert set(schemes) == {"api_key"}
        return
    token = schemes["token"]
    assert (token["type"], token["name"], token["in"]) == ("apiKey", "Authorization", "header")
    assert token["x-amazon-apigateway-authtype"] == "custom"
    authorizer = token["x-amazon-apigateway-authorizer"]
    assert authorizer["type"] == "token"
    assert 0 < authorizer["authorizerResultTtlInSeconds"] <= 60  # An expired token is good for so long.
    uri, values = authorizer["authorizerUri"]["Fn::Sub"]
    assert uri.endswith(":lambda:path/2015-03-31/functions/${Arn}/invocations")
    named = values["Arn"]["Fn::Sub"].rpartition(":function:")[2]
    assert named == resources["AdmitFunction"]["Properties"]["FunctionName"]["Fn::Sub"]
    permission = resources["AdmitPermission"]["Properties"]
    assert permission["FunctionName"] == {"Fn::GetAtt": ["AdmitFunction", "Arn"]}
    assert permission["SourceArn"]["Fn::Sub"].endswith(":${Api}/authorizers/*")


def test_no_other_resource_changes_the_methods_of_the_api(stack):
    """Methods of their own would have locks of their own."""
    resources, _ = stack
    kinds = {each["Type"] for each in resources.values() if each["Type"].startswith("AWS::ApiGateway")}
    assert kinds == {
        f"AWS::ApiGateway::{kind}" for kind in ("RestApi", "Deployment", "Stage", "UsagePlan", "UsagePlanKey", "ApiKey")
    }
    assert not any(each["Type"].startswith("AWS::ApiGatewayV2") for each in resources.values())


def test_key_needs_no_resource_of_the_sign_in():
    key, cognito = resources_of("key"), resources_of("cognito")
    assert not any(each["Type"].startswith("AWS::Cognito") for each in key.values())
    assert {name for name in set(cognito) - set(key) if not name.startswith("ApiDeployment")} == {
        *("UserPool", "UserPoolDomain", "UserPoolClient"),
        *("AdmitFunction", "AdmitFunctionRole", "AdmitLogs", "AdmitPermission"),
    }
    assert "Variables" not in key["Apiv1Stage"]["Properties"]


def test_another_setting_makes_another_deployment():
    """A stage serves the snapshot of its deployment; with the same one, it would keep the locks of the old setting."""
    deployments = {
        name
        for sign_in in SETTINGS
        for name, each in resources_of(sign_in).items()
        if each["Type"] == "AWS::ApiGateway::Deployment"
    }
    assert len(deployments) == len(SETTINGS)
    first = resources_of("cognito")["Apiv1Stage"]["Properties"]["DeploymentId"]["Ref"]
    assert first in deployments - {resources_of("key")["Apiv1Stage"]["Properties"]["DeploymentId"]["Ref"]}


def test_user_pool_gives_codes_to_the_page_alone():
    resources = resources_of("cognito")
    client = resources["UserPoolClient"]["Properties"]
    assert client["GenerateSecret"] is False  # A page cannot keep one.
    assert client["AllowedOAuthFlows"] == ["code"]
    assert client["ExplicitAuthFlows"] == ["ALLOW_REFRESH_TOKEN_AUTH"]
    page = [{"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/v1/"}]
    assert client["CallbackURLs"] == client["LogoutURLs"] == page
    assert resources["UserPool"]["Properties"]["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}


def test_authorizer_knows_the_client_and_the_keys():
    resources = resources_of("cognito")
    known = resources["AdmitFunction"]["Properties"]["Environment"]["Variables"]
    known = {name: value for name, value in known.items() if not name.startswith(("POWERTOOLS_", "AWS_"))}
    smoke = resources["SmokeFunction"]["Properties"]["Environment"]["Variables"]
    assert known == {
        "POOL_ID": {"Ref": "UserPool"},
        "CLIENT_ID": {"Ref": "UserPoolClient"},
        "KEY_ID": {"Ref": "ApiApiKey"},
        "SMOKE_KEY_ID": smoke["API_KEY_ID"],
    }
    text = json.dumps(resources["AdmitFunctionRole"]["Properties"]["Policies"])
    assert all(f"/apikeys/${{{known[name]['Ref']}}}" in text for name in ("KEY_ID", "SMOKE_KEY_ID"))
