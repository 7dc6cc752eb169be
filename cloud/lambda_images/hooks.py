"""Lambda: functions from container images run in processes of this machine, with provisioned concurrency."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import ecr, lambda_svc
from ministack.services.cloudformation import provisioners, stacks

from cloud.core import emulator
from cloud.core.emulator import Hooks
from cloud.core.quotas import CONCURRENCY, quota
from cloud.core.uris import ImageUri
from cloud.ecr.images import Images
from cloud.lambda_states.hooks import BEFORE_UPDATE
from cloud.lambdas import aliases, function_version, metrics
from cloud.lambdas.errors import platform_error
from cloud.lambdas.fleet import Fleet, Use
from cloud.lambdas.function_version import FunctionVersion
from cloud.lambdas.hooks import put_metrics
from cloud.lambdas.runtime_api import MAX_PAYLOAD

HOOKS: Hooks = (
    (lambda_runtime, ("execution_credentials",)),
    (ecr, ("_find_image", "_repo_policies")),
    (
        lambda_svc,
        (
            "_build_config",
            "_check_revision",
            "_create_function",
            "_delete_alias",
            "_delete_provisioned_concurrency",
            "_execute_function_docker",
            "_function_qualifier_exists",
            "_functions",
            "_get_function",
            "_put_provisioned_concurrency",
            "_update_alias",
            "_update_code",
            "_update_config",
            "_xray_trace_id_for_invocation",
            "error_response_json",
            "invalidate_worker",
        ),
    ),
    (provisioners, ("_RESOURCE_HANDLERS",)),
    (stacks, ("_runs_on_worker_thread", "_sends_back_failed_update")),
)

# Called with a repository's ARN, its policy and a function's ARN, it returns the policy with which Lambda reads the
# repository's images, or None if it may not.
PolicyFor = Callable[[str, Any, str], Any]

_ALIAS = "AWS::Lambda::Alias"
_LOOK_AGAIN = 0.02  # seconds


def _invalid(message: str) -> Any:
    return lambda_svc.error_response_json("InvalidParameterValueException", message, 400)


def run_images(images: Images, home: Path, policy_for: PolicyFor) -> Fleet:
    """Run functions from images, in processes of this machine instead of Docker's.

    Args:
        images: The images that this machine has built.
        home: The cloud's folder.
        policy_for: Decides whether Lambda may read an image.

    Returns:
        The environments.
    """

    def credentials_of(function: FunctionVersion) -> dict[str, str]:
        config = {
            "FunctionName": function.name,
            "FunctionArn": f"arn:aws:lambda:{function.region}:{function.account}:function:{function.name}",
            "Role": function.role,
            "Version": function.version,
            "LoggingConfig": {"LogGroup": function.log_group},
        }
        credentials: dict[str, str] = lambda_runtime.execution_credentials(config)
        return credentials

    def meter(use: Use) -> None:
        sets = metrics.dimensions_of(*use.target[2:], use.version)
        if use.version:
            put_metrics(sets, metrics.of_provisioned(use.is_spillover, use.in_use, use.allocated))
        else:
            put_metrics(sets, metrics.of_use(use.in_use, use.allocated))

    fleet = Fleet(images, home, credentials_of, meter)
    invalidate = lambda_svc.invalidate_worker
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    delete_resource = handlers["delete"]

    def run(record: Mapping[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        config = _current(record["config"])
        payload = json.dumps(event, ensure_ascii=False).encode()
        if len(payload) > MAX_PAYLOAD:
            words = f"Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
            return {"body": platform_error("RequestEntityTooLarge", words, request_id), "error": True, "log": ""}
        trace = lambda_svc._xray_trace_id_for_invocation(config) or ""
        try:
            function = FunctionVersion.of(config)
            reply, log, seconds = fleet.invoke(function, payload, request_id, config["FunctionArn"], trace)
        except Exception as error:  # No environment can be made; the caller reads why, as for other functions.
            return {"body": {"errorMessage": str(error), "errorType": type(error).__name__}, "error": True, "log": ""}
        result: dict[str, Any] = {"log": log, "log_source": "rie", "seconds": seconds}
        try:
            result["body"] = json.loads(reply.payload)
        except ValueError:
            result |= {"body": reply.payload.decode("utf-8", "replace"), "raw_payload": True}
        return result if reply.error_type is None else {**result, "error": True, "function_error": "Unhandled"}

    def retire(name: str, qualifier: str | None = None, account: str = "", region: str = "") -> None:
        if qualifier == "$LATEST" and _is_updating(name):
            return  # Until the update has ended, requests reach the processes from before.
        here, account_here = emulator.scope()
        fleet.retire(account or account_here, region or here, name, qualifier)
        invalidate(name, qualifier=qualifier, account=account or None, region=region or None)

    def delete_and_retire(physical_id: str, *rest: Any) -> Any:
        retire(physical_id)
        return delete_resource(physical_id, *rest)

    lambda_svc._execute_function_docker = run
    lambda_svc.invalidate_worker = retire
    handlers["delete"] = delete_and_retire
    _ask_for_images(policy_for)  # before what refuses other requests, so that it is asked last
    _take_images()
    _provision(fleet)
    _await_aliases_of_templates(fleet)
    return fleet


def _is_updating(name: str) -> bool:
    config = (lambda_svc._functions.get(name) or {}).get("config") or {}
    return config.get("PackageType") == "Image" and config.get("LastUpdateStatus") == "InProgress"


def _current(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration with which a request runs: during an update of $LATEST, that from before."""
    function = lambda_svc._functions.get(config["FunctionName"]) or {}
    before = function.get(BEFORE_UPDATE)
    if not before or config.get("Version", "$LATEST") != "$LATEST":
        return config
    return {**before, "FunctionArn": config["FunctionArn"]}


def _ask_for_images(policy_for: PolicyFor) -> None:
    """Refuse functions whose image Lambda may not read.

    The message was seen: https://github.com/aws-samples/bedrock-access-gateway/issues/127
    """
    create, update_code = lambda_svc._create_function, lambda_svc._update_code
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create_resource = handlers["create"]
    message = "Lambda does not have permission to access the ECR image. Check the ECR permissions."

    def may_read(name: str, uri: str | None) -> bool:
        image = ImageUri.parse(uri) if uri else None
        if not image:
            return True
        arn = f"arn:aws:ecr:{image.region}:{image.account}:repository/{image.repository}"
        text = ecr._repo_policies.get(image.repository)
        own = json.loads(text) if text else None
        region, account = emulator.scope()
        function = f"arn:aws:lambda:{region}:{account}:function:{name}"
        policy = policy_for(arn, own, function)
        if policy is not None and policy != own:
            ecr._repo_policies[image.repository] = json.dumps(policy)
        return policy is not None

    def refusal(name: str, uri: str | None) -> Any:
        is_allowed = may_read(name, uri)
        return None if is_allowed else lambda_svc.error_response_json("AccessDeniedException", message, 403)

    def create_within(logical_id: str, properties: dict[str, Any], stack: str, *rest: Any, **options: Any) -> Any:
        name = properties.get("FunctionName") or f"{stack}-{logical_id}"
        if not may_read(name, (properties.get("Code") or {}).get("ImageUri")):
            raise ValueError(f"{message} (Service: Lambda, Status Code: 403)")
        return create_resource(logical_id, properties, stack, *rest, **options)

    def create_function(request: dict[str, Any]) -> Any:
        uri = (request.get("Code") or {}).get("ImageUri")
        return refusal(str(request.get("FunctionName")), uri) or create(request)

    lambda_svc._create_function = create_function
    lambda_svc._update_code = lambda name, request: refusal(name, request.get("ImageUri")) or update_code(name, request)
    handlers["create"] = create_within


def _take_images() -> None:
    """Let functions name images, hold them to the digest that a tag has at that time, and describe them as AWS does."""
    create, update_code, update = lambda_svc._create_function, lambda_svc._update_code, lambda_svc._update_config
    build, get = lambda_svc._build_config, lambda_svc._get_function
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create_resource, update_resource = handlers["create"], handlers["update"]

    def describe(config: dict[str, Any], uri: str) -> None:
        config["CodeSha256"] = str(_digest_of(uri)).removeprefix("sha256:")
        for name in ("Runtime", "Handler"):
            config.pop(name, None)

    def problem_of(request: Mapping[str, Any], is_from_template: bool = False) -> str | None:
        uri, kind = (request.get("Code") or {}).get("ImageUri"), request.get("PackageType")
        is_image = kind == "Image" or bool(is_from_template and uri)
        if uri and not is_image:
            return "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        if is_image and not uri:
            return "Please provide a source for function code."
        return function_version.request_problem(request, is_image) or (_image_problem(uri) if uri else None)

    def create_function(request: dict[str, Any]) -> Any:
        return _invalid(problem) if (problem := problem_of(request)) else create(request)

    def build_config(name: str, request: dict[str, Any], *rest: Any) -> Any:
        config = build(name, request, *rest)
        if uri := (request.get("Code") or {}).get("ImageUri"):
            describe(config, uri)
        return config

    def update_function_code(name: str, request: dict[str, Any]) -> Any:
        config = (lambda_svc._functions.get(name) or {}).get("config") or {}
        is_image, uri = config.get("PackageType") == "Image", request.get("ImageUri")
        if config and is_image != bool(uri):
            verb, kind = ("Please provide", "Image") if is_image else ("Please don't provide", "Zip")
            return _invalid(f"{verb} ImageUri when updating a function with packageType {kind}.")
        if config and uri:
            if problem := _image_problem(uri):
                return _invalid(problem)
            if stale := lambda_svc._check_revision(config, request):
                return stale
            describe(config, uri)  # A version that is published with the update must have it already.
        return update_code(name, request)

    def update_configuration(name: str, request: dict[str, Any]) -> Any:
        is_image = ((lambda_svc._functions.get(name) or {}).get("config") or {}).get("PackageType") == "Image"
        problem = function_version.request_problem(request, is_image)
        if is_image:
            request = {each: value for each, value in request.items() if each not in ("Runtime", "Handler")}
        return _invalid(problem) if problem else update(name, request)

    def get_function(name: str, qualifier: str | None = None) -> Any:
        status, headers, body = get(name, qualifier)
        document = json.loads(body)
        code, config = document.get("Code", {}), document.get("Configuration", {})
        if status == 200 and code.get("RepositoryType") == "ECR":
            code["ResolvedImageUri"] = function_version.resolved_uri(
                config.pop("ImageUri"), f"sha256:{config['CodeSha256']}"
            )
        return status, headers, json.dumps(document).encode()

    def check(properties: Mapping[str, Any]) -> None:
        if problem := problem_of(properties, is_from_template=True):
            raise ValueError(f"{problem} (Service: Lambda, Status Code: 400)")

    def create_within(logical_id: str, properties: dict[str, Any], *rest: Any, **options: Any) -> Any:
        check(properties)
        name, attributes = create_resource(logical_id, properties, *rest, **options)
        if uri := (properties.get("Code") or {}).get("ImageUri"):
            describe(lambda_svc._functions[name]["config"], uri)
        return name, attributes

    def update_within(physical_id: str, old: Any, new: dict[str, Any], *rest: Any, **options: Any) -> Any:
        check(new)
        return update_resource(physical_id, old, new, *rest, **options)

    lambda_svc._create_function, lambda_svc._build_config = create_function, build_config
    lambda_svc._update_code, lambda_svc._update_config = update_function_code, update_configuration
    lambda_svc._get_function = get_function
    handlers |= {"create": create_within, "update": update_within}


def _digest_of(uri: str) -> str | None:
    """Return the digest that an image has in ECR now; None without such an image."""
    image = ImageUri.parse(uri)
    if not image or image.account != emulator.scope()[1]:
        return None
    found = ecr._find_image(image.repository, image.image_id)
    return str(found["imageDigest"]) if found else None


def _image_problem(uri: str) -> str | None:
    """Return AWS's message if a function cannot be made from an image; otherwise None."""
    image = ImageUri.parse(uri)
    if not image or image.region != emulator.scope()[0]:
        return f"Source image {uri} is not valid. Provide a valid source image."
    return None if _digest_of(uri) else f"Source image {uri} does not exist. Provide a valid source image."


def _target_of(name: str, qualifier: str) -> tuple[str, str, str, str]:
    region, account = emulator.scope()
    return account, region, name, qualifier


def _provision(fleet: Fleet) -> None:
    """Keep environments of functions from images ready, for versions and aliases.

    That of other functions is only kept and described.
    """
    put, remove = lambda_svc._put_provisioned_concurrency, lambda_svc._delete_provisioned_concurrency
    update_alias, delete_alias = lambda_svc._update_alias, lambda_svc._delete_alias

    def wanted(function: Mapping[str, Any], qualifier: str, count: int) -> dict[FunctionVersion, int]:
        alias = function["aliases"].get(qualifier)
        own, *more = (aliases.shares_of(alias) if alias else {qualifier: 1.0}).items()
        parts = {version: round(count * share) for version, share in more}
        parts[own[0]] = count - sum(parts.values())
        return {FunctionVersion.of(function["versions"][version]["config"]): part for version, part in parts.items()}

    def start(name: str, qualifier: str) -> None:
        function = lambda_svc._functions[name]
        record = function["provisioned_concurrency"][qualifier]
        if function["config"].get("PackageType") == "Image":
            count = record["RequestedProvisionedConcurrentExecutions"]
            fleet.provision(_target_of(name, qualifier), record, wanted(function, qualifier, count))

    def quota_problem(name: str, count: int, own: int) -> str | None:
        functions = {each: lambda_svc._functions[each] for each in lambda_svc._functions}
        if functions[name].get("concurrency") is not None:
            return None  # It takes nothing from other functions.
        others = [aliases.claimed(function) for each, function in functions.items() if each != name]
        return aliases.reservation_problem(count, [own, *others], quota(CONCURRENCY), kind="")

    def put_and_start(name: str, qualifier: str, request: Mapping[str, Any]) -> Any:
        function = lambda_svc._functions.get(name)
        if function and lambda_svc._function_qualifier_exists(function, qualifier):
            alias = function["aliases"].get(qualifier, {})
            version = alias.get("FunctionVersion", qualifier or "$LATEST")
            count = int(request.get("ProvisionedConcurrentExecutions", 0))
            before = function.get("provisioned_concurrency", {}).items()
            others = sum(
                each["RequestedProvisionedConcurrentExecutions"] for other, each in before if other != qualifier
            )
            problem = aliases.provisioned_problem(version, count, function.get("concurrency"), others)
            if problem := problem or aliases.weights_problem(alias) or quota_problem(name, count, others):
                return _invalid(problem)
        answer = put(name, qualifier, request)
        if answer[0] < 400:
            start(name, qualifier)
            record = lambda_svc._functions[name]["provisioned_concurrency"][qualifier]
            answer = (answer[0], answer[1], json.dumps(record).encode())
        return answer

    def remove_and_end(name: str, qualifier: str) -> Any:
        fleet.release(_target_of(name, qualifier))
        return remove(name, qualifier)

    def update_and_move(name: str, alias: str, request: dict[str, Any]) -> Any:
        answer = update_alias(name, alias, request)
        if answer[0] < 400 and fleet.is_provisioned(_target_of(name, alias)):
            start(name, alias)
        return answer

    def delete_and_end(name: str, alias: str) -> Any:
        fleet.release(_target_of(name, alias))
        (lambda_svc._functions.get(name) or {}).get("provisioned_concurrency", {}).pop(alias, None)
        return delete_alias(name, alias)

    lambda_svc._put_provisioned_concurrency = put_and_start
    lambda_svc._delete_provisioned_concurrency = remove_and_end
    lambda_svc._update_alias, lambda_svc._delete_alias = update_and_move, delete_and_end


def _await_aliases_of_templates(fleet: Fleet) -> None:
    """Let CloudFormation go on only when an alias's provisioned concurrency is ready, and fail when it cannot be.

    Until then the alias leads all requests to the version from before. Both were seen, the message in
    https://github.com/aws/aws-cdk/issues/6016, the weights in the documents of the package ``@gradientedge/cdk-utils``.
    """
    handlers = provisioners._RESOURCE_HANDLERS[_ALIAS]
    create, update, delete = (handlers[each] for each in ("create", "update", "delete"))
    is_blocking, is_sent_back = stacks._runs_on_worker_thread, stacks._sends_back_failed_update

    def await_ready(arn: str) -> None:
        name, alias = arn.split(":")[-2:]
        while record := _provisioned_record(name, alias):
            if record["Status"] == "FAILED":
                reason = record.get("StatusReason", "")
                raise ValueError(f"Provisioned Concurrency configuration failed to be applied. Reason: {reason}")
            if record["Status"] == "READY":
                return
            time.sleep(_LOOK_AGAIN)

    def create_and_await(*arguments: Any, **options: Any) -> Any:
        arn, attributes = create(*arguments, **options)
        try:
            await_ready(arn)
        except ValueError:  # MiniStack does not know the alias yet, so it would not delete it.
            lambda_svc._delete_alias(*arn.split(":")[-2:])
            raise
        return arn, attributes

    def update_and_await(arn: str, *rest: Any, **options: Any) -> Any:
        before = dict(_alias_of(arn))
        updated, attributes = update(arn, *rest, **options)
        alias = _alias_of(updated)
        is_moved = updated == arn and alias.get("FunctionVersion") != before.get("FunctionVersion")
        if is_moved and _provisioned_record(*arn.split(":")[-2:]) and not alias.get("RoutingConfig"):
            alias["RoutingConfig"] = {"AdditionalVersionWeights": {before["FunctionVersion"]: 1.0}}
            try:
                await_ready(arn)
            finally:
                alias.pop("RoutingConfig", None)
        await_ready(updated)
        return updated, attributes

    def delete_and_end(arn: str, *rest: Any) -> Any:
        fleet.release(_target_of(*arn.split(":")[-2:]))
        return delete(arn, *rest)

    handlers |= {
        "create": create_and_await,
        "update": update_and_await,
        "delete": delete_and_end,
    }
    stacks._runs_on_worker_thread = lambda kind: kind == _ALIAS or is_blocking(kind)
    # An alias whose provisioned concurrency failed leads to the new version by then.
    stacks._sends_back_failed_update = lambda kind: kind == _ALIAS or is_sent_back(kind)


def _alias_of(arn: str) -> dict[str, Any]:
    name, alias = arn.split(":")[-2:]
    record: dict[str, Any] = (lambda_svc._functions.get(name) or {}).get("aliases", {}).get(alias) or {}
    return record


def _provisioned_record(name: str, qualifier: str) -> Mapping[str, Any] | None:
    function = lambda_svc._functions.get(name) or {}
    record: Mapping[str, Any] | None = (function.get("provisioned_concurrency") or {}).get(qualifier)
    return record
