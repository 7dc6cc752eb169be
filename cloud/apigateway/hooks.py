"""API Gateway: REST APIs keep their whole definition and their id, and methods need the right to invoke functions."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import apigateway_v1
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import Hooks, scope

_JSON = "application/json"

HOOKS: Hooks = (
    (
        apigateway_v1,
        (
            "_OPENAPI_HTTP_METHODS",
            "_authorizers_v1",
            "_build_lambda_event_v1",
            "_call_lambda_raw",
            "_delete_rest_api",
            "_documentation_parts",
            "_gateway_responses",
            "_import_rest_api",
            "_media_type_matches",
            "_models",
            "_put_gateway_response",
            "_resources",
            "_rest_api_arn",
            "_rest_apis",
            "_v1_tags",
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


def authorize_apis(is_allowed: Callable[[str, str], bool]) -> None:
    """Let an API invoke a function only with permission.

    Args:
        is_allowed: Called with the function's ARN and the ARN of the API's method before each invocation.
    """
    call_lambda = apigateway_v1._call_lambda_raw

    async def call_lambda_if_allowed(function: str, event: Mapping[str, Any], **options: Any) -> Any:
        context, (region, account) = event.get("requestContext", {}), scope()
        route = f"{context.get('httpMethod')}{context.get('resourcePath')}"
        method = f"{context.get('apiId')}/{context.get('stage')}/{route}"
        if not is_allowed(function, f"arn:aws:execute-api:{region}:{account}:{method}"):
            return None, "the function's policy does not let the API invoke it"
        return await call_lambda(function, event, **options)

    apigateway_v1._call_lambda_raw = call_lambda_if_allowed


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
