"""API Gateway: REST APIs keep their whole definition and their id, and methods need the right to invoke functions."""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import ministack.app as app
from ministack.services import apigateway_v1
from ministack.services.cloudformation import provisioners

from cloud.apigateway.metrics import NAMESPACE, PutMetric, points_of
from cloud.apigateway.requests import ID_HEADER, SOURCE, ApiRequest, access_line
from cloud.core.emulator import Hooks, scope

_JSON = "application/json"
_EXTENDED = "$context.extendedRequestId"
_NO_ROLE = "CloudWatch Logs role ARN must be set in account settings to enable logging"
_NO_MODE = "Endpoint access mode is required for the specified security policy"
_USAGE_KEY = "usageIdentifierKey"
_USAGE = re.compile(r"/usageplans/[^/]+(?:/keys/[^/]+)?/usage/?$")
_HOST = re.compile(r"^([a-f0-9]{8})\.execute-api\.(?:localhost|[a-z0-9-]+\.amazonaws\.com)(?::\d+)?$")

HOOKS: Hooks = (
    (app, ("_EXECUTE_API_RE",)),
    (
        apigateway_v1,
        (
            "_OPENAPI_HTTP_METHODS",
            "_account_settings",
            "_authorize_request_v1",
            "_authorizers_v1",
            "_build_lambda_event_v1",
            "_call_lambda_raw",
            "_check_api_key",
            "_delete_rest_api",
            "_documentation_parts",
            "_gateway_error_response",
            "_extract_lambda_ref_from_integration_uri",
            "_gateway_responses",
            "_get_usage_plans",
            "_handle_execute_in_scope",
            "_import_rest_api",
            "_invoke_authorizer_lambda",
            "_media_type_matches",
            "_models",
            "_put_gateway_response",
            "_qp",
            "_resources",
            "_rest_api_arn",
            "_rest_apis",
            "_update_api_key",
            "_stages_v1",
            "_update_api_key",
            "_usage_plan_keys",
            "_usage_plans",
            "_v1_error",
            "_v1_paginated_response",
            "_v1_tags",
            "handle_request",
        ),
    ),
    (
        provisioners,
        (
            "_RESOURCE_HANDLERS",
            "_apigw_method_settings",
            "_apigw_rest_api_attrs",
            "_apigw_rest_api_create",
            "_apigw_rest_api_update",
        ),
    ),
)

_asked: ContextVar[ApiRequest] = ContextVar("request")  # the request that is being answered


def install(write_line: Callable[[str, str, str], None], put_metric: PutMetric) -> None:
    """Change everything in which REST APIs differ from AWS, but for the right to invoke functions.

    Args:
        write_line: Writes a line of an access log; called with log group, log stream and line.
        put_metric: Puts a point into CloudWatch; called with dimensions, point and namespace.
    """
    complete_rest_apis()
    know_hosts_of_aws()
    refuse_usage()
    update_rest_apis_in_place()
    find_usage_plans_of_a_key()
    disable_keys()
    take_keys_from_authorizers()
    identify_requests(write_line)
    measure_requests(put_metric)
    keep_settings_of_stacks()


def know_hosts_of_aws() -> None:
    """Let a request with AWS's host of an API, which a stack's outputs name, reach the API."""
    app._EXECUTE_API_RE = _HOST


def refuse_usage() -> None:
    """Refuse GetUsage, of which MiniStack answers the usage plan instead; it does not count requests by day."""
    handle = apigateway_v1.handle_request

    async def handle_or_refuse(method: str, path: str, *rest: Any) -> Any:
        if _USAGE.match(path):
            words = "The laptop cloud has no operation GetUsage or UpdateUsage; it does not count requests by day."
            return apigateway_v1._v1_error("BadRequestException", words, 400)
        return await handle(method, path, *rest)

    apigateway_v1.handle_request = handle_or_refuse


def authorize_apis(is_allowed: Callable[[str, str], bool]) -> None:
    """Let an API invoke a function, for a method or as an authorizer, only with permission.

    Args:
        is_allowed: Called with the function's ARN and the ARN of the API's method or authorizer before each invocation.
    """
    call_lambda, invoke_authorizer = apigateway_v1._call_lambda_raw, apigateway_v1._invoke_authorizer_lambda

    async def call_lambda_if_allowed(function: str, event: Mapping[str, Any], **options: Any) -> Any:
        context, (region, account) = event.get("requestContext", {}), scope()
        route = f"{context.get('httpMethod')}{context.get('resourcePath')}"
        method = f"{context.get('apiId')}/{context.get('stage')}/{route}"
        if not is_allowed(function, f"arn:aws:execute-api:{region}:{account}:{method}"):
            return None, "the function's policy does not let the API invoke it"
        return await call_lambda(function, event, **options)

    async def invoke_authorizer_if_allowed(
        authorizer: Mapping[str, Any], event: Mapping[str, Any], account: str, region: str
    ) -> Any:
        function = apigateway_v1._extract_lambda_ref_from_integration_uri(authorizer.get("authorizerUri", ""))
        api = event["methodArn"].rpartition(":")[2].partition("/")[0]
        source = f"arn:aws:execute-api:{region}:{account}:{api}/authorizers/{authorizer['id']}"
        if not is_allowed(str(function), source):
            return None  # MiniStack then answers as AWS does, as for a function that is not there.
        return await invoke_authorizer(authorizer, event, account, region)

    apigateway_v1._call_lambda_raw = call_lambda_if_allowed
    apigateway_v1._invoke_authorizer_lambda = invoke_authorizer_if_allowed


def take_keys_from_authorizers() -> None:
    """Let an API's authorizers name the keys that count its callers, where its ``apiKeySource`` says so.

    The key then comes from ``usageIdentifierKey`` in the authorizer's answer, also in a cached one, and the header
    x-api-key counts for nothing; MiniStack reads the header always. The definition of an API names the source in
    ``x-amazon-apigateway-api-key-source``, which MiniStack drops.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-api-key-source.html
    """
    invoke, authorize = apigateway_v1._invoke_authorizer_lambda, apigateway_v1._authorize_request_v1
    check, import_api = apigateway_v1._check_api_key, apigateway_v1._import_rest_api
    named: ContextVar[str] = ContextVar("named", default="")

    async def invoke_and_keep_key(*arguments: Any) -> Any:
        result = await invoke(*arguments)
        answer = _document(result.get("body")) if result and not result.get("error") else {}
        if key := answer.get(_USAGE_KEY):
            # MiniStack caches a policy with the context beside it, and so the key.
            context = {**(answer.get("context") or {}), _USAGE_KEY: key}
            return {**result, "body": {**answer, "context": context}}
        return result

    async def authorize_and_take_key(*arguments: Any) -> Any:
        error, context = await authorize(*arguments)
        named.set((context or {}).get(_USAGE_KEY, ""))
        return error, context and {name: value for name, value in context.items() if name != _USAGE_KEY}

    def check_named_key(method: Any, api_id: str, stage: str, headers: Mapping[str, str]) -> Any:
        if apigateway_v1._rest_apis[api_id].get("apiKeySource") == "AUTHORIZER":
            headers = {"x-api-key": named.get()}
        return check(method, api_id, stage, headers)

    def import_with_source(spec: dict[str, Any], data: Any = None) -> Any:
        api_id = import_api(spec, data)
        if source := spec.get("x-amazon-apigateway-api-key-source"):
            apigateway_v1._rest_apis[api_id]["apiKeySource"] = source
        return api_id

    apigateway_v1._invoke_authorizer_lambda = invoke_and_keep_key
    apigateway_v1._authorize_request_v1 = authorize_and_take_key
    apigateway_v1._check_api_key = check_named_key
    apigateway_v1._import_rest_api = import_with_source


def _document(body: Any) -> dict[str, Any]:
    """Return the document in a function's answer, which is one already or its JSON; empty for anything else."""
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except ValueError:
            return {}
    return body if isinstance(body, dict) else {}


def complete_rest_apis() -> None:
    """Let a REST API keep its whole definition.

    MiniStack drops gateway responses and ANY methods from an API's body. In BinaryMediaTypes and in the paths of
    MethodSettings, slashes are escaped as in a JSON pointer; MiniStack does not unescape them, and so would deliver
    photos as mangled text.

    A request without a content type counts as application/json; MiniStack takes it for text even where all types are
    binary. https://docs.aws.amazon.com/apigateway/latest/developerguide/integration-passthrough-behaviors.html
    """
    import_api, matches = apigateway_v1._import_rest_api, apigateway_v1._media_type_matches
    method_settings, build_event = provisioners._apigw_method_settings, apigateway_v1._build_lambda_event_v1

    def build_whole_event(*arguments: Any, **options: Any) -> dict[str, Any]:
        event: dict[str, Any] = build_event(*arguments, **options)
        headers, body = arguments[6:8]
        if body and not headers.get("content-type") and matches_unescaped(_JSON, options.get("binary_media_types")):
            event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        return event

    def import_whole_api(spec: dict[str, Any], data: Any = None) -> Any:
        for path in spec.get("paths", {}).values():
            if any_method := path.get("x-amazon-apigateway-any-method"):
                path |= {method: any_method for method in apigateway_v1._OPENAPI_HTTP_METHODS if method not in path}
        api_id = import_api(spec, data)
        for kind, response in spec.get("x-amazon-apigateway-gateway-responses", {}).items():
            apigateway_v1._put_gateway_response(api_id, kind, response)
        return api_id

    def matches_unescaped(media_type: str, configured: list[str] | None) -> bool:
        return bool(matches(media_type, [kind.replace("~1", "/") for kind in configured or []]))

    def unescaped_settings(raw: Any) -> dict[str, Any]:
        settings = method_settings(raw)
        return {path.replace("/~1", "/").replace("~1", "/"): value for path, value in settings.items()}

    apigateway_v1._build_lambda_event_v1 = build_whole_event
    apigateway_v1._import_rest_api = import_whole_api
    apigateway_v1._media_type_matches = matches_unescaped
    provisioners._apigw_method_settings = unescaped_settings


def update_rest_apis_in_place() -> None:
    """Let an API keep its id, stages and deployments when a stack's update changes its body.

    AWS overwrites the definition: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-apigateway-restapi.html.
    MiniStack replaces the API instead, so its address would change, and callers would be told that it is not found.
    """
    update = provisioners._apigw_rest_api_update

    def update_in_place(
        api_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str | None = None
    ) -> tuple[str, dict[str, Any]]:
        if new.get("Body") == old.get("Body"):
            updated: tuple[str, dict[str, Any]] = update(api_id, old, new, stack_name, logical_id)
            return updated
        imported, _ = provisioners._apigw_rest_api_create(logical_id or api_id, new, stack_name)
        apis, tags, arn = apigateway_v1._rest_apis, apigateway_v1._v1_tags, apigateway_v1._rest_api_arn
        apis[api_id] = apis[imported] | {"id": api_id, "createdDate": apis[api_id]["createdDate"]}
        tags[arn(api_id)] = tags[arn(imported)]
        definition = (
            *(apigateway_v1._authorizers_v1, apigateway_v1._documentation_parts, apigateway_v1._gateway_responses),
            *(apigateway_v1._models, apigateway_v1._resources),
        )
        for store in definition:  # Each keeps one part of an API's definition, by the API's id.
            store[api_id] = store[imported]
        apigateway_v1._delete_rest_api(imported)
        return api_id, provisioners._apigw_rest_api_attrs(api_id)

    provisioners._RESOURCE_HANDLERS["AWS::ApiGateway::RestApi"]["update"] = update_in_place


def find_usage_plans_of_a_key() -> None:
    """Let GetUsagePlans list the plans of one key, ``keyId``, which MiniStack ignores.

    https://docs.aws.amazon.com/apigateway/latest/api/API_GetUsagePlans.html
    """
    list_all = apigateway_v1._get_usage_plans

    def get_usage_plans(query: Mapping[str, Any]) -> Any:
        key = apigateway_v1._qp(query, "keyId")
        if not key:
            return list_all(query)
        plans, keys = apigateway_v1._usage_plans, apigateway_v1._usage_plan_keys
        found = [plan for plan_id, plan in plans.items() if key in keys.get(plan_id, {})]
        return apigateway_v1._v1_paginated_response(found, query)

    apigateway_v1._get_usage_plans = get_usage_plans


def disable_keys() -> None:
    """Let UpdateApiKey disable a key. A patch has text only, and MiniStack takes the text ``false`` for true.

    https://docs.aws.amazon.com/apigateway/latest/api/patch-operations.html
    """
    update = apigateway_v1._update_api_key

    def update_with_truth(key_id: str, request: Mapping[str, Any]) -> Any:
        patches = [
            {**patch, "value": str(patch["value"]).lower() == "true"} if patch.get("path") == "/enabled" else patch
            for patch in request.get("patchOperations", [])
        ]
        return update(key_id, {**request, "patchOperations": patches})

    apigateway_v1._update_api_key = update_with_truth


def identify_requests(write_line: Callable[[str, str, str], None]) -> None:
    """Let requests have the ids, the key and the source that they have on AWS, and write the stages' access logs.

    MiniStack gives a function other ids than the caller, takes the source from a header that callers write, and tells
    neither of the key.

    Args:
        write_line: called with log group, log stream and line.
    """
    _name_caller()
    _name_ids_of_refusals()
    handle = apigateway_v1._handle_execute_in_scope

    async def handle_and_log(api_id: str, stage_name: str, method: str, path: str, headers: Any, *rest: Any) -> Any:
        request, started = ApiRequest.of(headers or {}), time.time()
        token = _asked.set(request)
        try:
            status, sent, content = await handle(api_id, stage_name, method, path, headers, *rest)
        finally:
            _asked.reset(token)
        sent = {name: value for name, value in sent.items() if name.lower() != ID_HEADER}
        sent |= {"x-amzn-RequestId": request.id, "x-amz-apigw-id": request.extended_id}
        settings = apigateway_v1._stages_v1.get(api_id, {}).get(stage_name, {}).get("accessLogSettings") or {}
        if settings:
            request.values |= {
                "apiId": api_id,
                "stage": stage_name,
                "httpMethod": method,
                "path": f"/{stage_name}{path}",
                "status": status,
                "responseLength": len(content),
                "protocol": "HTTP/1.1",
                "responseLatency": round(1000 * (time.time() - started)),
                "requestTime": datetime.fromtimestamp(started, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
                "requestTimeEpoch": round(1000 * started),
            }
            group = settings["destinationArn"].partition(":log-group:")[2].removesuffix(":*")
            write_line(group, f"{api_id}-{stage_name}", access_line(settings["format"], request))
        return status, sent, content

    apigateway_v1._handle_execute_in_scope = handle_and_log


def measure_requests(put_metric: PutMetric) -> None:
    """Put the metrics of every request to a stage, also of one that reaches no function; MiniStack puts none.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html

    Args:
        put_metric: see ``install``.
    """
    handle = apigateway_v1._handle_execute_in_scope

    async def handle_and_measure(api_id: str, stage_name: str, *rest: Any) -> Any:
        started = time.monotonic()
        status, sent, content = await handle(api_id, stage_name, *rest)
        if api := apigateway_v1._rest_apis.get(api_id):
            by_name = (("ApiName", api["name"]),)
            for dimensions in (by_name, (*by_name, ("Stage", stage_name))):
                for point in points_of(status, 1000 * (time.monotonic() - started)):
                    put_metric(dimensions, point, NAMESPACE)
        return status, sent, content

    apigateway_v1._handle_execute_in_scope = handle_and_measure


def _name_caller() -> None:
    build, check_key = apigateway_v1._build_lambda_event_v1, apigateway_v1._check_api_key

    def check_and_note_key(*arguments: Any) -> Any:
        error, key = check_key(*arguments)
        if key is not None:
            _asked.get().values["identity.apiKeyId"] = key["id"]
            _asked.get().values["identity.apiKey"] = key["value"]
        return error, key

    def build_with_caller(*arguments: Any, **options: Any) -> dict[str, Any]:
        event: dict[str, Any] = build(*arguments, **options)
        request, context = _asked.get(), event["requestContext"]
        context |= {"requestId": request.id, "extendedRequestId": request.extended_id}
        context["identity"]["sourceIp"] = SOURCE
        for name in ("apiKeyId", "apiKey"):
            if (value := request.values.get(f"identity.{name}")) is not None:
                context["identity"][name] = value
        # API Gateway adds the peer behind what the caller wrote.
        forwarded = ", ".join(filter(None, (str(event["headers"].get("x-forwarded-for", "")), SOURCE)))
        event["headers"]["x-forwarded-for"] = forwarded
        event["multiValueHeaders"]["x-forwarded-for"] = [forwarded]
        request.values["resourcePath"] = context["resourcePath"]
        if principal := (context.get("authorizer") or {}).get("principalId"):
            request.values["authorizer.principalId"] = principal
        return event

    apigateway_v1._check_api_key = check_and_note_key
    apigateway_v1._build_lambda_event_v1 = build_with_caller


def _name_ids_of_refusals() -> None:
    render = apigateway_v1._gateway_error_response

    def render_with_ids(error: Any, about: dict[str, Any]) -> Any:
        request = _asked.get(None)
        if request is None:  # Refused for its signature, before the API was asked.
            return render(error, about)
        about["request_id"] = request.id
        request.values["error.responseType"] = error.response_type
        request.values["error.message"] = error.message
        if about["resource_path"]:
            request.values["resourcePath"] = about["resource_path"]
        status, headers, body = render(error, about)
        return status, headers, body.replace(_EXTENDED.encode(), request.extended_id.encode())

    apigateway_v1._gateway_error_response = render_with_ids


def keep_settings_of_stacks() -> None:
    """Let a template's REST API keep its security policy, and its stage the access log, which MiniStack drops.

    As on AWS, a stage has an access log only in an account that names a role for it, and a security policy whose name
    begins with ``SecurityPolicy_`` needs an endpoint access mode.
    """
    handlers = provisioners._RESOURCE_HANDLERS

    def keep_policy(api_id: str, properties: Mapping[str, Any]) -> None:
        api = apigateway_v1._rest_apis[api_id]
        for name in ("SecurityPolicy", "EndpointAccessMode"):
            if name in properties:
                api[name[0].lower() + name[1:]] = properties[name]

    def check_policy(properties: Mapping[str, Any]) -> None:
        policy = properties.get("SecurityPolicy", "")
        if policy.startswith("SecurityPolicy_") and "EndpointAccessMode" not in properties:
            raise ValueError(f"{_NO_MODE} (Service: ApiGateway, Status Code: 400)")

    def keep_log(stage_name: str, properties: Mapping[str, Any]) -> None:
        setting = properties.get("AccessLogSetting") or {}
        kept = {name[0].lower() + name[1:]: value for name, value in setting.items()}
        apigateway_v1._stages_v1[properties["RestApiId"]][stage_name]["accessLogSettings"] = kept

    def check_log(properties: Mapping[str, Any]) -> None:
        account = apigateway_v1._account_settings.get("settings") or {}
        if properties.get("AccessLogSetting") and not account.get("cloudwatchRoleArn"):
            raise ValueError(f"{_NO_ROLE} (Service: ApiGateway, Status Code: 400)")

    def wrap(kind: str, check: Callable[[Any], None], keep: Callable[[str, Any], None]) -> None:
        create, update = handlers[kind]["create"], handlers[kind]["update"]

        def create_and_keep(logical_id: str, properties: Any, *rest: Any, **options: Any) -> Any:
            check(properties)
            made = create(logical_id, properties, *rest, **options)
            keep(made[0], properties)
            return made

        def update_and_keep(physical_id: str, old: Any, new: Any, *rest: Any, **options: Any) -> Any:
            check(new)
            made = update(physical_id, old, new, *rest, **options)
            keep(made[0], new)
            return made

        handlers[kind] |= {"create": create_and_keep, "update": update_and_keep}

    wrap("AWS::ApiGateway::RestApi", check_policy, keep_policy)
    wrap("AWS::ApiGateway::Stage", check_log, keep_log)
