"""Every touch of MiniStack's inside: what an upgrade of MiniStack must be checked against.

Written for 1.5.33. ``_HOOKS`` names all that is used; a name that is gone ends the start with one
sentence. Import only after ``settings.prepare``: MiniStack reads its environment on import.
"""

import asyncio
import contextvars
import functools
import hashlib
import json
import logging
import re
import secrets
import threading
import time
from collections import ChainMap
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import ministack.app as app
from botocore.model import ServiceModel
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from ministack.core import iam_actions, iam_evaluator, lambda_runtime, responses, router
from ministack.services import (
    apigateway_v1,
    cloudwatch,
    cloudwatch_logs,
    codebuild,
    eventbridge,
    iam,
    kms,
    lambda_svc,
    s3,
    sns,
    stepfunctions,
    sts,
)
from ministack.services.cloudformation import changesets, engine, handlers, provisioners
from samtranslator.translator import transform as sam

from local.cloud import asl, integrations
from local.cloud.executions import Part, StatesError, leave_if_over
from local.cloud.interpreter import Interpreter, Scope

Handler = Callable[..., Awaitable[tuple[int, dict[str, str], bytes]]]

_HOOKS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (app, ("SERVICE_HANDLERS", "_handle_pre_body_request", "_parse_lambda_url", "app", "call_service_handler_sync")),
    (router, ("SERVICE_PATTERNS", "extract_access_key_id")),
    (responses, ("get_region", "get_account_id", "_service_model")),
    (iam_actions, ("identity_denial_message",)),
    (
        iam_evaluator,
        ("AuthError", "EvalContext", "_resolve_condition_key", "enforce", "evaluate", "evaluate_resource_policy"),
    ),
    (iam_evaluator, ("_POLICY_REQUIRED", "combine_resource_policy", "parse_policy_document")),
    (iam, ("_roles",)),
    (sts, ("register_session",)),
    (kms, ("_resolve_key",)),
    (s3, ("_bucket_default_sse_headers", "_buckets", "_delete_bucket")),
    (s3, ("_delete_bucket_encryption", "_put_bucket_encryption")),
    (sns, ("_topic_by_arn_any_scope",)),
    (eventbridge, ("_invoke_target",)),
    (lambda_runtime, ("execution_credentials", "reset")),
    (apigateway_v1, ("_OPENAPI_HTTP_METHODS", "_call_lambda_raw", "_import_rest_api", "_media_type_matches")),
    (apigateway_v1, ("_put_gateway_response",)),
    (cloudwatch, ("_alarms", "_calc_stats", "_dims_key", "_evaluate_alarm", "_evaluate_all_alarms", "_metrics")),
    (cloudwatch, ("_evict_old_metrics", "_is_sns_action_arn", "_stat_value", "record_metric")),
    (cloudwatch_logs, ("_append_log_events",)),
    (codebuild, ("EXECUTE_BUILDS", "_builds", "_execute_build", "_finish_build", "_record_phase", "_start_build")),
    (lambda_svc, ("_emit_lambda_logs", "_execute_function", "function_policy_for_arn")),
    (changesets, ("_apply_transforms",)),
    (engine, ("_apply_transforms", "_transform_parameters")),
    (handlers, ("_apply_transforms",)),
    (
        provisioners,
        ("_RESOURCE_HANDLERS", "_S3_BUCKET_CONFIGURATIONS", "_apigw_method_settings", "_sfn_definition"),
    ),
    (
        stepfunctions,
        (
            "_ExecutionError",
            "_SERVICE_DISPATCH",
            "_SFN_WAIT_SCALE",
            "_add_event",
            "_emit_execution_status_event",
            "_evaluate_jsonata",
            "_executions",
            "_invoke_aws_sdk_integration",
            "_invoke_resource",
            "_run_execution",
            "_start_execution",
            "_state_machines",
            "_stop_execution",
            "_validate_definition_jsonata",
            "error_response_json",
            "now_iso",
        ),
    ),
    (sam, ("transform",)),
)

_MAX_EVENTS = 25_000  # of an execution's history
_SESSION_SECONDS = 2_592_000  # the longest that a job may run: it keeps its session
_SESSION_SECRET = secrets.token_hex(20)  # nobody signs with a service's session


class HookMissingError(RuntimeError):
    """This MiniStack lacks something that the laptop cloud plugs into."""


class CallError(RuntimeError):
    """A MiniStack service refused a call made in process.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_hooks() -> None:
    """Raises HookMissingError: naming what this version of MiniStack does not have."""
    hooks = [(owner, name) for owner, names in _HOOKS for name in names]
    missing = [f"{owner.__name__}.{name}" for owner, name in hooks if not hasattr(owner, name)]
    if missing:
        raise HookMissingError(
            f"MiniStack {app._version()} has no {', '.join(missing)}; install the version in pyproject.toml"
        )


# --- the request being served ---------------------------------------------------------------------


def scope() -> tuple[str, str]:
    """(region, account) of the request, or of the thread started from one."""
    return responses.get_region(), responses.get_account_id()


def spawn_thread(work: Callable[..., None], *args: Any, name: str) -> threading.Thread:
    """Start a daemon thread that keeps the request's region and account."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work, *args), name=name, daemon=True)
    thread.start()
    return thread


# --- services ---------------------------------------------------------------------------------------


def service_model(name: str) -> ServiceModel:
    """botocore's model of a service, from the cache that MiniStack uses as well."""
    model: ServiceModel = responses._service_model(name)
    return model


def add_service(name: str, target_prefix: str, handler: Handler) -> None:
    """Serve a service at the gateway: by X-Amz-Target, and by ``name`` as the signature's scope."""
    app.SERVICE_HANDLERS[name] = handler
    router.SERVICE_PATTERNS[name] = {
        "target_prefixes": [target_prefix],
        "host_patterns": [rf"{name}\."],
        "credential_scope": name,
    }


def answer(
    service: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    query: Mapping[str, str],
) -> tuple[int, dict[str, str], bytes]:
    """What a service answers in process: status, headers, body; no socket, no signature, same state.

    Call it from worker threads only.
    """
    if service not in app.SERVICE_HANDLERS:
        raise CallError(501, f"the laptop cloud has no service {service}")
    given = {key: [value] for key, value in query.items()}
    signature = f"AWS4-HMAC-SHA256 Credential=test/20260101/{responses.get_region()}/{service}/aws4_request"  # root's
    heads = {"host": "localhost", "authorization": signature, **headers}
    result: tuple[int, dict[str, str], bytes | str] = app.call_service_handler_sync(
        app.SERVICE_HANDLERS[service], method, path, heads, body, given
    )
    status, answered, content = result
    return status, answered, content.encode() if isinstance(content, str) else content


def call(
    service: str,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    query: Mapping[str, str] | None = None,
) -> bytes:
    """Call a service in process from a worker thread.

    Raises:
        CallError: the service answered 400 or more.
    """
    status, _, content = answer(service, method, path, headers or {}, body, query or {})
    if status >= 400:
        raise CallError(status, f"{service} {method} {path}: {content.decode('utf-8', 'replace')[:500]}")
    return content


def call_json(service: str, target: str, request: Mapping[str, Any]) -> Any:
    """The answer of an operation of a JSON service, for example ``logs``, ``Logs_20140328.PutLogEvents``.

    Raises:
        CallError: the service refused.
    """
    headers = {"x-amz-target": target, "content-type": "application/x-amz-json-1.1"}
    return json.loads(call(service, "POST", "/", headers=headers, body=json.dumps(request).encode()) or b"null")


# --- Step Functions ---------------------------------------------------------------------------------


def add_task(resource_prefix: str, handler: Callable[[str, dict[str, Any]], Any]) -> None:
    """Serve an optimized integration: ``handler(resource, arguments)`` on a thread of the task's own."""
    stepfunctions._SERVICE_DISPATCH[resource_prefix] = handler


def call_sdk(resource: str, arguments: dict[str, Any]) -> Any:
    """The result of an ``aws-sdk:`` integration.

    Raises:
        StatesError: the service refused, or the laptop cloud has no such service.
    """
    try:
        return integrations.call_sdk(resource, arguments, answer)
    except CallError as error:
        raise StatesError("States.Runtime", str(error)) from None


def run_state_machines(authorize: Callable[[str, str, str, Any], None]) -> None:
    """Check definitions and run executions ourselves, as AWS does; MiniStack keeps them and answers the API.

    MiniStack's own engine is laxer in many ways, which docs/operations.md lists.

    Args:
        authorize: asked before each task; takes the state machine's role, the execution's name, the task's
            resource and its arguments; raises StatesError.
    """
    find_broken_expression = stepfunctions._validate_definition_jsonata
    resource = provisioners._RESOURCE_HANDLERS["AWS::StepFunctions::StateMachine"]
    create, start, stop = resource["create"], stepfunctions._start_execution, stepfunctions._stop_execution

    def starting(request: dict[str, Any]) -> Any:
        try:
            json.loads(request.get("input", "{}"))
        except ValueError as error:
            message = f"Invalid State Machine Execution Input: '{error}'"
            return stepfunctions.error_response_json("InvalidExecutionInput", message, 400)
        return start(request)

    def stopping(request: dict[str, Any]) -> Any:
        with _HISTORIES:
            return stop(request)

    def refusal(text: Any) -> str | None:
        if not isinstance(text, str):  # an update of something else
            return None
        try:
            found = asl.problems(json.loads(text))
        except ValueError as error:
            return f"INVALID_JSON_DESCRIPTION: {error}"
        broken: str | None = find_broken_expression(text)
        return broken or (f"SCHEMA_VALIDATION_FAILED: {'; '.join(found)}" if found else None)

    def creating(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        if reason := refusal(provisioners._sfn_definition(properties)):
            raise ValueError(f"Invalid State Machine Definition: {reason}")
        return create(logical_id, properties, stack_name)

    stepfunctions._start_execution = starting
    stepfunctions._stop_execution = stopping
    stepfunctions._validate_definition_jsonata = refusal
    resource["create"] = creating
    stepfunctions._invoke_aws_sdk_integration = call_sdk
    stepfunctions._run_execution = functools.partial(_run_execution, authorize)


_HISTORIES = threading.Lock()  # held to write to one, and to end an execution


class _ExecutionsCloud:
    """What surrounds one execution.

    Args:
        execution: MiniStack's record of it.
        authorize: takes a task's resource and arguments; raises StatesError.
    """

    wait_scale: float = stepfunctions._SFN_WAIT_SCALE

    def __init__(self, execution: dict[str, Any], authorize: Callable[[str, Any], None]) -> None:
        self._execution = execution
        self._authorize = authorize

    def evaluate(self, expression: str, scope: Scope) -> Any:
        context = {**scope.context, "variables": scope.variables}
        try:
            return stepfunctions._evaluate_jsonata(expression, scope.input, context, scope.result, scope.error)
        except stepfunctions._ExecutionError as error:
            raise StatesError(error.error, error.cause) from None

    def invoke(self, resource: str, arguments: Any) -> Any:
        integrations.check(resource, arguments)
        self._authorize(resource, arguments)
        try:
            return stepfunctions._invoke_resource(resource, arguments)
        except stepfunctions._ExecutionError as error:
            raise StatesError(error.error, error.cause) from None

    def record(self, kind: str, details: Mapping[str, Any]) -> None:
        with _HISTORIES:
            leave_if_over()  # under the lock: nothing may follow the end, nor the end of a state around
            if len(self._execution["events"]) >= _MAX_EVENTS - 1:  # the last is the execution's end
                raise StatesError("States.Runtime", f"The execution reached the maximum number of {_MAX_EVENTS} events")
            stepfunctions._add_event(self._execution, kind, details)


def _run_execution(authorize: Callable[[str, str, str, Any], None], arn: str) -> None:
    """Run an execution that MiniStack has noted down, on the execution's own thread."""
    execution = stepfunctions._executions[arn]
    late: tuple[Any, ...] = (_end, execution, "TIMED_OUT", "ExecutionTimedOut", {})
    clock = None
    try:
        # Not the machine's own, which an update may have changed meanwhile.
        role = execution["events"][0]["executionStartedEventDetails"]["roleArn"]
        machine = stepfunctions._state_machines[execution["stateMachineArn"]]
        definition, given = json.loads(machine["definition"]), json.loads(execution["input"])
        about = {"Id": arn, "Input": given, "Name": execution["name"], "RoleArn": role}
        context = {
            "Execution": {**about, "StartTime": execution["startDate"], "RedriveCount": 0},
            "StateMachine": {"Id": machine["stateMachineArn"], "Name": machine["name"]},
        }
        seconds = definition.get("TimeoutSeconds", asl.LONGEST_SECONDS)
        clock = threading.Timer(seconds, contextvars.copy_context().run, late)
        clock.daemon = True
        clock.start()
        cloud = _ExecutionsCloud(execution, functools.partial(authorize, role, execution["name"]))
        with Part(lambda: bool(execution["status"] == "RUNNING")).entered():
            output = Interpreter(cloud).run(definition, given, Scope(context, ChainMap()))
    except StatesError as error:
        _end(execution, "FAILED", "ExecutionFailed", {"error": error.error, "cause": error.cause})
    except Exception as error:
        logging.getLogger("kennel.states").exception("%s failed inside the laptop cloud", arn)
        _end(execution, "FAILED", "ExecutionFailed", {"error": "States.Runtime", "cause": str(error)})
    else:
        _end(execution, "SUCCEEDED", "ExecutionSucceeded", {"output": json.dumps(output)})
    finally:
        if clock:
            clock.cancel()


def _end(execution: dict[str, Any], status: str, event: str, details: dict[str, Any]) -> None:
    """Let an execution end, unless it has: nothing writes over ABORTED."""
    with _HISTORIES:
        if execution["status"] != "RUNNING":
            return
        stepfunctions._add_event(execution, event, {f"{event[:1].lower()}{event[1:]}EventDetails": details})
        execution.update(details, status=status, stopDate=stepfunctions.now_iso())
    stepfunctions._emit_execution_status_event(execution)
    # MiniStack puts no metrics of state machines, on which a stack's alarms go.
    dimensions = {"StateMachineArn": execution["stateMachineArn"]}
    cloudwatch.record_metric("AWS/States", event.replace("Execution", "Executions"), 1, "Count", dimensions)


# --- Lambda -------------------------------------------------------------------------------------------


def name_function_errors() -> None:
    """Let a Python function that raises fail with its exception's name, as on AWS.

    MiniStack reports every exception as ``Runtime.HandlerError``; the name stands in the traceback.
    """
    execute = lambda_svc._execute_function

    def naming(function: Any, event: Any) -> dict[str, Any]:
        result: dict[str, Any] = execute(function, event)
        body = result.get("body")
        if result.get("error") and isinstance(body, dict) and body.get("errorType") == "Runtime.HandlerError":
            body["errorType"] = exception_name(result.get("log", ""), body.get("errorMessage", ""))
        return result

    lambda_svc._execute_function = naming


def exception_name(trace: str, message: str) -> str:
    """The class name of the exception at the end of a traceback, without its module."""
    found = re.findall(rf"^([A-Za-z_][\w.]*)(?:: {re.escape(message)})?$", trace.rstrip(), re.MULTILINE)
    return found[-1].rsplit(".", 1)[-1] if found else "Runtime.HandlerError"


# --- IAM ------------------------------------------------------------------------------------------------


class Decision(NamedTuple):
    """What IAM decided about a principal that is not the account's root.

    principal: the ARN of a user or of a role's session, or the name of a service that acts for the account.
    context: condition keys that came with the request.
    sid: of the statement that decided, of an identity-based one before the resource's own; empty when none did.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, Any]
    allowed: bool
    sid: str


_followers: list[Callable[[Decision], None]] = []  # who hears of decisions


def follow_decisions(
    tell: Callable[[Decision], None], further: Callable[[Decision], Iterable[tuple[str, str, Mapping[str, str]]]]
) -> None:
    """Hear of every decision: MiniStack's own and those that ``denial`` and ``service_may`` ask for.

    Args:
        tell: takes each decision.
        further: what must be allowed besides, after a request was: (action, resource, condition keys).
    """
    _followers.append(tell)
    enforce, evaluate = iam_evaluator.enforce, iam_evaluator.evaluate
    results: ContextVar[list[Any] | None] = ContextVar("results", default=None)

    def evaluating(context: Any, policies: Any, *limits: Any) -> Any:
        result = evaluate(context, policies, *limits)
        if (found := results.get()) is not None:
            found.append(result)
        return result

    def enforcing(
        access_key: str,
        action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        found: list[Any] = []
        token = results.set(found)
        try:
            denied = enforce(access_key, action, service, region, resource_arn, service_context)
        finally:
            results.reset(token)
        if not found:  # root, or nobody that IAM knows
            return denied
        identity = found[0]  # identity-based policies come first, the resource's own after them
        decision = Decision(
            identity.principal_arn, action, resource_arn, service_context or {}, denied is None, identity.matched_sid
        )
        tell(decision)
        if denied:
            explicit = denied.decision == "Deny"
            reason = iam_actions.identity_denial_message(action, identity.principal_arn, resource_arn, explicit)
            theirs = identity.decision != "Allow"
            denied.reason = reason if theirs else reason.replace("identity-based", "resource-based")
            return denied
        for also, on, given in further(decision):
            if denied := enforcing(access_key, also, also.partition(":")[0], region, on, dict(given)):
                return denied
        return None

    iam_evaluator.evaluate = evaluating
    iam_evaluator.enforce = enforcing


def denial(access_key: str, action: str, resource: str, context: Mapping[str, str]) -> str:
    """Why IAM refuses something, in AWS's words; empty when it allows it."""
    service = action.partition(":")[0]
    denied = iam_evaluator.enforce(access_key, action, service, responses.get_region(), resource, dict(context))
    if isinstance(denied, iam_evaluator.AuthError):
        return str(denied.message)
    return str(denied.reason) if denied else ""


def caller(headers: Mapping[str, str]) -> str:
    """The access key that a request is signed with; MiniStack has verified the signature."""
    key: str = router.extract_access_key_id(dict(headers))
    return key


def open_session(role: str, service: str, name: str) -> str | None:
    """Let a service of the account assume a role; the session's access key, or None if it may not.

    Args:
        role: its ARN.
        service: for example ``sagemaker.amazonaws.com``.
        name: of the session; the same name gives the same key again.
    """
    account = scope()[1]
    record = iam._roles.get(role.rpartition("/")[2])
    if record is None or record["Arn"] != role:
        return None
    if not service_may(service, "sts:AssumeRole", role, record["AssumeRolePolicyDocument"]):
        return None
    key = f"ASIA{hashlib.sha256(f'{role} {name}'.encode()).hexdigest()[:16].upper()}"
    session = {
        "Arn": f"arn:aws:sts::{account}:assumed-role/{record['RoleName']}/{name}",
        "UserId": f"{record['RoleId']}:{name}",
        "SecretAccessKey": _SESSION_SECRET,
        "Expiration": time.time() + _SESSION_SECONDS,  # then MiniStack forgets it
    }
    sts.register_session(key, session)
    return key


def service_may(service: str, action: str, resource: str, policy: Any, **source: str) -> bool:
    """Whether a resource's own policy lets a service of AWS do something for the account.

    Args:
        source: more condition keys of ``aws:``, for example ``sourcearn``.
    """
    about = {"aws:sourceaccount": scope()[1], **{f"aws:{key}": value for key, value in source.items()}}
    question = _question(service, action, resource, about)
    result = iam_evaluator.evaluate_resource_policy(policy, question, service=service)
    decision = Decision(service, action, resource, about, result.decision == "Allow", result.matched_sid)
    for tell in _followers:
        tell(decision)
    return decision.allowed


def permits(decision: Decision, identity: Iterable[Any], own: Any) -> bool:
    """What MiniStack's evaluator says to a question that was decided before, by other policies.

    Args:
        identity: documents of the principal's policies.
        own: document of the resource's own policy (of a role, its trust); None where it has none.
    """
    context = {key.lower(): value for key, value in decision.context.items()}
    question = _question(decision.principal, decision.action, decision.resource, context)
    if not decision.principal.startswith("arn:"):
        result = iam_evaluator.evaluate_resource_policy(own, question, service=decision.principal)
        return bool(result.decision == "Allow")
    result = iam_evaluator.evaluate(question, [iam_evaluator.parse_policy_document(each) for each in identity])
    if own is not None:
        needed = decision.action.partition(":")[0] in iam_evaluator._POLICY_REQUIRED
        result = iam_evaluator.combine_resource_policy(result, question, own, None, required=needed)
    return bool(result.decision == "Allow")


def _question(principal: str, action: str, resource: str, context: Mapping[str, Any]) -> Any:
    region, account = scope()
    return iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type="AssumedRole" if principal.startswith("arn:") else "Service",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=region,
        secure_transport=context.get("aws:securetransport") != "false",
        service_context=dict(context),
    )


def key_of(action: str, resource: str) -> str | None:
    """ARN of the KMS key behind an action on an S3 object or a topic, if there is one."""
    service, _, rest = resource.removeprefix("arn:aws:").partition(":")
    name = None
    if service == "s3":
        bucket, _, key = rest.lstrip(":").partition("/")
        held = None if action == "s3:PutObject" else s3._buckets.get(bucket, {}).get("objects", {}).get(key)
        headers = held["preserved_headers"] if held else s3._bucket_default_sse_headers(bucket)
        name = headers.get("x-amz-server-side-encryption-aws-kms-key-id")
    elif service == "sns" and (topic := sns._topic_by_arn_any_scope(resource)):
        name = topic["attributes"].get("KmsMasterKeyId")
    return key_arn(name) if name else None


def key_policy(arn: str) -> Any:
    """The policy of a KMS key."""
    return json.loads(kms._resolve_key(arn)["Policy"])


def key_arn(name: str) -> str:
    """The ARN of a KMS key given by ARN, id or alias; the name itself when there is none."""
    record = kms._resolve_key(name)
    return record["Arn"] if record else name


def let_loopback_stand_for_tls() -> None:
    """Let ``aws:SecureTransport`` be true: here no wire is that others could read, and on AWS all is TLS."""
    resolve = iam_evaluator._resolve_condition_key

    def resolving(key: str, context: Any) -> Any:
        return "true" if key.lower() == "aws:securetransport" else resolve(key, context)

    iam_evaluator._resolve_condition_key = resolving


def authorize_rules(allows: Callable[[str, str, bool], bool]) -> None:
    """Ask before a rule or a schedule starts a state machine: ``allows(role, state machine, whether a schedule)``."""
    invoke_target = eventbridge._invoke_target

    def asking(target: Mapping[str, Any], event: Any, rule: Any, view: Any = None) -> None:
        arn, scheduled = target.get("Arn", ""), event.get("Source") == "aws.scheduler"
        if ":states:" not in arn or allows(target.get("RoleArn", ""), arn, scheduled):
            invoke_target(target, event, rule, view)

    eventbridge._invoke_target = asking


def authorize_functions(prepare: Callable[[str, str, str, str], bool]) -> None:
    """Ask before an environment of a function starts.

    Args:
        prepare: takes the function's role, name, log group and version; returns whether its log may be written;
            raises an exception that ends the request when the function may not have its role.
    """
    credentials, emit = lambda_runtime.execution_credentials, lambda_svc._emit_lambda_logs
    silent: set[str] = set()

    def preparing(config: Mapping[str, Any]) -> Any:
        name, arn = config["FunctionName"], config["FunctionArn"]
        group = config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
        # Whether and how the request is signed that the function starts for is no matter here.
        heard = contextvars.Context().run(prepare, config["Role"], name, group, config.get("Version", "$LATEST"))
        (silent.discard if heard else silent.add)(arn)
        return credentials(config)

    def emitting(function: Mapping[str, Any], *rest: Any, **named: Any) -> None:
        if function.get("config", function)["FunctionArn"] not in silent:
            emit(function, *rest, **named)

    lambda_runtime.execution_credentials = preparing
    lambda_svc._emit_lambda_logs = emitting


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


def function_policy(arn: str) -> Any:
    """The policy of a function or of one of its aliases; None where there is no such function."""
    found = lambda_svc.function_policy_for_arn(arn)
    return found[0] if found else None


# --- CloudWatch ---------------------------------------------------------------------------------------


def follow_alarms(tell: Callable[[dict[str, Any]], None]) -> None:
    """Hear of every metric alarm that is put, in the scope of its request, and let nobody else evaluate it.

    MiniStack does so whenever metrics are put, over all points of a metric's name: it looks at neither dimensions,
    periods, datapoints to alarm nor missing data.
    """
    cloudwatch._evaluate_alarm = tell
    cloudwatch._evaluate_all_alarms = lambda: None


def authorize_alarms(allows: Callable[[str], bool]) -> None:
    """Ask before an alarm tells a topic: ``allows(topic)``."""
    is_topic = cloudwatch._is_sns_action_arn
    cloudwatch._is_sns_action_arn = lambda action: bool(is_topic(action) and allows(action))


def metric_alarms() -> list[dict[str, Any]]:
    """The metric alarms of the scope; MiniStack's own records, which change with their state."""
    return list(cloudwatch._alarms.values())


def datapoints(alarm: Mapping[str, Any], seconds: float, ends: Sequence[float]) -> list[float | None]:
    """An alarm's statistic of its metric over stretches of time; None where the metric has no point.

    Args:
        seconds: how long each stretch is.
        ends: when they end, in epoch seconds, ascending.
    """
    dimensions = cloudwatch._dims_key({each["Name"]: each["Value"] for each in alarm["Dimensions"]})
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions)) or []
    recent = [point for point in points if point["Timestamp"] >= ends[0] - seconds]
    statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]

    def value(end: float) -> float | None:
        found = [point for point in recent if end - seconds <= point["Timestamp"] < end]
        result: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(found), statistic, found)
        return result if found else None

    return [value(end) for end in ends]


def keep_metrics() -> None:
    """Let no request look for points older than two weeks.

    MiniStack goes through all that there are, on the loop that requests to endpoints wait for: 37 ms with the 400,000
    of a hundred thousand calls of a function. None gets so old here.
    """
    cloudwatch._evict_old_metrics = lambda: None


def find_embedded_metrics(embedded: Callable[[str], Iterable[tuple[str, str, float, str, dict[str, str]]]]) -> None:
    """Let log events put metrics.

    Args:
        embedded: those of an event, given by its message: namespace, name, value, unit and dimensions.
    """
    append = cloudwatch_logs._append_log_events

    def appending(stream: Any, events: Sequence[Mapping[str, Any]]) -> None:
        append(stream, events)
        for event in events:
            for datum in embedded(event["message"]):
                cloudwatch.record_metric(*datum)

    cloudwatch_logs._append_log_events = appending


# --- CodeBuild ----------------------------------------------------------------------------------------


class BuildError(Exception):
    """A build fails; the message is what its BUILD phase says."""


def run_builds(work: Callable[[Mapping[str, Any]], None]) -> None:
    """Let a build do something.

    MiniStack hands builds to Docker, and drops what a request overrides of its project.

    Args:
        work: takes CodeBuild's record of the build, overrides included, on the build's own thread;
            raises BuildError.
    """
    start_build = codebuild._start_build
    request: ContextVar[dict[str, Any]] = ContextVar("start_build")

    def starting(data: dict[str, Any]) -> Any:
        token = request.set(data)  # the build's thread gets a copy of this context
        try:
            return start_build(data)
        finally:
            request.reset(token)

    def executing(build_id: str, project: dict[str, Any]) -> None:
        build = codebuild._builds[build_id]
        build["serviceRole"] = project["serviceRole"]
        _override(build, request.get())
        codebuild._record_phase(build, "QUEUED", "SUCCEEDED")
        try:
            work(build)
        except Exception as error:
            if not isinstance(error, BuildError):
                logging.getLogger("kennel.codebuild").exception("build %s failed inside the laptop cloud", build_id)
            outcome, message = "FAILED", str(error)
        else:
            outcome, message = "SUCCEEDED", ""
        if build["buildStatus"] == "IN_PROGRESS":  # else it was stopped meanwhile
            codebuild._record_phase(build, "BUILD", outcome)
            build["phases"][-1]["contexts"] = [{"statusCode": "", "message": message}]
            codebuild._finish_build(build, outcome)

    codebuild.EXECUTE_BUILDS = True
    codebuild._start_build = starting
    codebuild._execute_build = executing


def _override(build: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Put what StartBuild overrides into the build's record, as AWS shows it."""
    source = {"type": request.get("sourceTypeOverride"), "location": request.get("sourceLocationOverride")}
    build["source"] = {**build["source"], **{key: value for key, value in source.items() if value}}
    variables = {each["name"]: each for each in build["environment"].get("environmentVariables", [])}
    variables |= {each["name"]: each for each in request.get("environmentVariablesOverride", [])}
    build["environment"] = {**build["environment"], "environmentVariables": list(variables.values())}


# --- CloudFormation and API Gateway -----------------------------------------------------------------


def add_resource(kind: str, create: Callable[..., Any], update: Callable[..., Any], delete: Callable[..., Any]) -> None:
    """Let templates hold a resource type.

    Args:
        kind: for example ``AWS::SageMaker::ModelPackageGroup``.
        create: ``(logical_id, properties, stack_name) -> (physical_id, attributes)``.
        update: ``(physical_id, old, new, stack_name) -> (physical_id, attributes)``.
        delete: ``(physical_id, properties)``.
    """
    provisioners._RESOURCE_HANDLERS[kind] = {"create": create, "update": update, "delete": delete}


def keep_full_buckets() -> None:
    """Let the deletion of a stack fail for a bucket that holds objects; MiniStack throws them away with it."""

    def delete(name: str, _properties: dict[str, Any]) -> None:
        status, _, _ = s3._delete_bucket(name)
        if status == 409:
            raise ValueError("The bucket you tried to delete is not empty (Service: S3, Status Code: 409)")

    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::S3::Bucket"] = {**handlers["AWS::S3::Bucket"], "delete": delete}


def protect_buckets_and_topics() -> None:
    """Let templates' buckets and topics be encrypted as they ask, and topics have AWS's default policy.

    MiniStack's CloudFormation drops the one, and gives topics a policy that lets everybody publish.
    """
    topic = provisioners._RESOURCE_HANDLERS["AWS::SNS::Topic"]
    create, update = topic["create"], topic["update"]

    def attributes_of(made: tuple[str, Any]) -> dict[str, str]:
        attributes: dict[str, str] = sns._topic_by_arn_any_scope(made[0])["attributes"]
        return attributes

    def creating(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        made = create(logical_id, properties, stack_name)
        attributes = attributes_of(made)
        policy = json.loads(attributes["Policy"])
        policy["Statement"][0]["Condition"] = {"StringEquals": {"AWS:SourceOwner": attributes["Owner"]}}
        attributes |= {"Policy": json.dumps(policy), "KmsMasterKeyId": properties.get("KmsMasterKeyId", "")}
        return made

    def updating(physical_id: str, old: Any, new: dict[str, Any], *rest: Any, **names: Any) -> Any:
        made = update(physical_id, old, new, *rest, **names)
        attributes_of(made)["KmsMasterKeyId"] = new.get("KmsMasterKeyId", "")
        return made

    topic |= {"create": creating, "update": updating}
    encryption = ("BucketEncryption", _encryption_xml, s3._put_bucket_encryption, s3._delete_bucket_encryption)
    provisioners._S3_BUCKET_CONFIGURATIONS += (encryption,)


def _encryption_xml(properties: Mapping[str, Any]) -> bytes:
    default = properties["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
    members = "".join(f"<{name}>{value}</{name}>" for name, value in default.items())
    rule = f"<Rule><ApplyServerSideEncryptionByDefault>{members}</ApplyServerSideEncryptionByDefault></Rule>"
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<ServerSideEncryptionConfiguration xmlns="{namespace}">{rule}</ServerSideEncryptionConfiguration>'.encode()


def tell_sam_the_parameters() -> None:
    """Let SAM's transform know a deployment's parameters, as on AWS; MiniStack lets it see their defaults only."""
    apply, translate = engine._apply_transforms, sam.transform
    given: ContextVar[dict[str, Any]] = ContextVar("parameters")

    def applying(template: dict[str, Any], provided: Any = None, previous: Any = None) -> Any:
        token = given.set(engine._transform_parameters(template, provided, previous))
        try:
            return apply(template, provided, previous)
        finally:
            given.reset(token)

    changesets._apply_transforms = handlers._apply_transforms = applying
    sam.transform = lambda template, _, policies: translate(template, given.get(), policies)


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


def leave_urls_of_functions_alone() -> None:
    """Let requests to a function's URL reach the function whatever their path; MiniStack answers /health itself."""
    handle = app._handle_pre_body_request

    async def handling(method: str, path: str, headers: Mapping[str, str], *rest: Any) -> Any:
        is_functions = app._parse_lambda_url(headers.get("host", ""), path) is not None
        return None if is_functions else await handle(method, path, headers, *rest)

    app._handle_pre_body_request = handling


# --- the server -------------------------------------------------------------------------------------


async def serve(host: str, port: int, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set."""
    config = Config()
    config.bind = [f"{host}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
    await hypercorn_serve(app.app, config, shutdown_trigger=stop.wait)


def stop_lambda_workers() -> None:
    """End the warm processes that Lambda functions run in."""
    lambda_runtime.reset()
