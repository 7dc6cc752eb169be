"""API Gateway: REST APIs have all that their definition says, and a method needs the right to invoke its function."""

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import apigateway_v1
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import Hooks, scope

HOOKS: Hooks = (
    (
        apigateway_v1,
        (
            "_OPENAPI_HTTP_METHODS",
            "_call_lambda_raw",
            "_import_rest_api",
            "_media_type_matches",
            "_put_gateway_response",
        ),
    ),
    (provisioners, ("_apigw_method_settings",)),
)


def authorize_apis(allows: Callable[[str, str], bool]) -> None:
    """Ask before an API invokes a function: ``allows(function's ARN, ARN of the API's method)``."""
    call = apigateway_v1._call_lambda_raw

    async def asking(function: str, event: Mapping[str, Any], **place: Any) -> Any:
        about, (region, account) = event.get("requestContext", {}), scope()
        method = f"{about.get('apiId')}/{about.get('stage')}/{about.get('httpMethod')}{about.get('resourcePath')}"
        if not allows(function, f"arn:aws:execute-api:{region}:{account}:{method}"):
            return None, "the function's policy does not let the API invoke it"
        return await call(function, event, **place)

    apigateway_v1._call_lambda_raw = asking


def complete_rest_apis() -> None:
    """Let a REST API have all that its definition says.

    MiniStack drops the responses of the gateway's own and methods for ANY from a body, and takes slashes that are
    escaped as in a JSON pointer, in BinaryMediaTypes and in the paths of MethodSettings, for what they look like:
    photos would be delivered as mangled text.
    """
    import_api, matches = apigateway_v1._import_rest_api, apigateway_v1._media_type_matches
    settings = provisioners._apigw_method_settings

    def importing(spec: dict[str, Any], data: Any = None) -> Any:
        for item in spec.get("paths", {}).values():
            if anything := item.get("x-amazon-apigateway-any-method"):
                item |= {method: anything for method in apigateway_v1._OPENAPI_HTTP_METHODS if method not in item}
        api_id = import_api(spec, data)
        for kind, response in spec.get("x-amazon-apigateway-gateway-responses", {}).items():
            apigateway_v1._put_gateway_response(api_id, kind, response)
        return api_id

    def matching(media_type: str, configured: list[str] | None) -> bool:
        return bool(matches(media_type, [kind.replace("~1", "/") for kind in configured or []]))

    def setting(raw: Any) -> dict[str, Any]:
        return {path.replace("/~1", "/").replace("~1", "/"): each for path, each in settings(raw).items()}

    apigateway_v1._import_rest_api = importing
    apigateway_v1._media_type_matches = matching
    provisioners._apigw_method_settings = setting
