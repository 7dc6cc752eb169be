"""Lambda: functions need the rights of their role, errors have their exception's name, and URLs reach the function."""

import contextvars
import hmac
import json
import os
import re
import secrets
import select
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import cloudwatch, lambda_svc, sts
from ministack.services.cloudformation import provisioners

from cloud.core import clock, containers, emulator, processes
from cloud.core.emulator import Hooks
from cloud.core.quotas import CONCURRENCY, FUNCTION_MEMORY, quota
from cloud.lambdas import aliases, metrics
from cloud.lambdas.errors import exit_reason, platform_error

HOOKS: Hooks = (
    (
        lambda_runtime,
        (
            "_signal",
            "execution_credentials",
            "reset",
            "subprocess",
        ),
    ),
    (
        lambda_svc,
        (
            "_ACCOUNT_CONCURRENCY_CAP",
            "_acquire_execution_slot",
            "_create_alias",
            "_create_function",
            "_delete_function",
            "_delete_function_concurrency",
            "_emit_lambda_logs",
            "_emit_lambda_metrics",
            "_execute_function",
            "_execute_function_dispatch",
            "_execute_function_with_config_scope",
            "_execution_record_for_config",
            "_function_urls",
            "_functions",
            "_get_func_record_for_ref",
            "_invoke",
            "_list_layer_versions",
            "_put_function_concurrency",
            "_qp_first",
            "_reserved_concurrency",
            "_resolve_name_and_qualifier",
            "_update_alias",
            "_update_config",
            "error_response_json",
            "function_policy_for_arn",
            "subprocess",
        ),
    ),
    (cloudwatch, ("_dims_key", "_metric_bucket")),
    (provisioners, ("_RESOURCE_HANDLERS",)),
    (sts, ("_sessions",)),
)

_MIN_MEMORY = 128  # MB
_SALT = secrets.token_bytes(32)
_SAMPLE_SECONDS = 30  # between two looks at requests that go on
_SHORTEST_PERIOD = 10  # seconds, of CloudWatch's alarms
_DIED = "Worker process died"  # MiniStack's words when a runtime exits


_points = threading.Lock()  # held while points are put
_died = threading.local()  # .status: the exit status of the process in which a thread's last function died


def name_function_errors() -> None:
    """Let a Python function that fails be told of as on AWS: with its exception's name, or with how its runtime ended.

    MiniStack reports every exception as ``Runtime.HandlerError``, without the stack; its log has the traceback. It
    reports a runtime that exits in the same way, without its status.
    """
    execute, signal_worker = lambda_svc._execute_function, lambda_runtime._signal

    def note_status_and_signal(process: Any) -> None:
        _died.status = _status_of(process)
        signal_worker(process)

    def execute_and_name_error(function: Any, event: Any) -> dict[str, Any]:
        _died.status = None
        result: dict[str, Any] = execute(function, event)
        body = result.get("body")
        # What an image's environment tells has AWS's form already.
        if not result.get("error") or not isinstance(body, dict) or result.get("log_source"):
            return result
        kind, message = body.get("errorType"), str(body.get("errorMessage", ""))
        if kind == "Sandbox.Timedout":
            result["body"] = platform_error(kind, message)
        elif kind == "Runtime.HandlerError" and message == _DIED:
            result["body"] = platform_error("Runtime.ExitError", exit_reason(_died.status))
        elif kind == "Runtime.HandlerError":
            log = result.get("log", "")
            result["body"] = {
                "errorMessage": message,
                "errorType": exception_name(log, message),
                "requestId": str(uuid.uuid4()),
                "stackTrace": stack_of(log),
            }
        return result

    lambda_runtime._signal = note_status_and_signal
    lambda_svc._execute_function = execute_and_name_error


def _status_of(process: Any) -> int | None:
    """Return the exit status of a worker that ends by itself; None while it waits for its next event."""
    if process is None:
        return None
    try:
        # The output of a worker that ends has ended, and can be read without waiting.
        if process.poll() is None and select.select([process.stdout], [], [], 0)[0]:
            process.wait(1)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # The output may be closed already.
        return None
    status: int | None = process.poll()
    return status


def exception_name(trace: str, message: str) -> str:
    """Return the class name, without its module, of the exception at the end of a traceback.

    Args:
        trace: The function's log, with the traceback.
        message: The exception's message.
    """
    names = re.findall(rf"^([A-Za-z_][\w.]*)(?:: {re.escape(message)})?$", trace.rstrip(), re.MULTILINE)
    return names[-1].rsplit(".", 1)[-1] if names else "Runtime.HandlerError"


def measure_functions() -> None:
    """Put the metrics of every request, whoever starts the function, with AWS's dimensions.

    MiniStack puts those of the API Invoke alone: nothing of what API Gateway, Step Functions, EventBridge and its
    Scheduler start. It counts throttled requests as invocations, some of them twice.
    """
    run, acquire = lambda_svc._execute_function_dispatch, lambda_svc._acquire_execution_slot
    concurrency = metrics.Concurrency(emulator.scope, put_metric)

    def run_and_measure(function: Any, config: Mapping[str, Any], *rest: Any) -> Any:
        sets = metrics.dimensions_in(config)
        begin = time.monotonic()
        with concurrency.counting(sets):
            result = run(function, config, *rest)
        seconds, has_failed = time.monotonic() - begin, False
        if isinstance(result, dict) and result.get("throttle"):  # There were no more processes for it.
            put_metrics(sets, metrics.of_throttle())
            return result
        if isinstance(result, dict):
            # An image's environment says how long the request itself took, without what came before.
            seconds, has_failed = result.get("seconds", seconds), bool(result.get("error"))
        put_metrics(sets, metrics.of_invocation(1000 * seconds, has_failed))
        return result

    def acquire_or_measure(function: Any, config: Mapping[str, Any]) -> Any:
        slot, limit = acquire(function, config)
        if slot is None:
            put_metrics(metrics.dimensions_in(config), metrics.of_throttle())
        return slot, limit

    def sample() -> None:
        while True:
            time.sleep(clock.scaled(_SAMPLE_SECONDS))
            concurrency.sample()

    lambda_svc._execute_function_dispatch = run_and_measure
    lambda_svc._acquire_execution_slot = acquire_or_measure
    lambda_svc._emit_lambda_metrics = lambda *_, **__: None
    emulator.spawn_thread(sample, name="concurrent-executions")


def put_metrics(sets: Iterable[metrics.Dimensions], points: Iterable[metrics.Point]) -> None:
    """Put points into CloudWatch under each of several sets of dimensions."""
    for dimensions in sets:
        for point in points:
            put_metric(dimensions, point)


def put_metric(dimensions: metrics.Dimensions, point: metrics.Point, namespace: str = "AWS/Lambda") -> None:
    """Put a point into CloudWatch; one that equals the last of the same ten seconds counts as one more of it.

    No period of CloudWatch is shorter, or begins within them, so that all statistics stay what they are.
    """
    named, now, window = dict(dimensions), time.time(), clock.scaled(_SHORTEST_PERIOD)
    with _points:
        points = cloudwatch._metric_bucket((namespace, point.name, cloudwatch._dims_key(named)))
        last = points[-1] if points else None
        if last and last["Value"] == point.value and last["Timestamp"] // window == now // window:
            last["Count"] = last.get("Count", 1) + 1
            return
        points.append({"Timestamp": now, "Value": float(point.value), "Unit": point.unit, "Dimensions": named})


class _ContainedProcesses:
    """The module ``subprocess``, but its processes see nothing of the machine's files but what a container has.

    Args:
        root: An empty folder, from which the containers are made.
        scratch: The folder with the functions' code and layers and their temporary files.
    """

    def __init__(self, root: Path, scratch: Path) -> None:
        self._root, self._scratch = root, scratch

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: Sequence[str], **options: Any) -> Any:
        """Start a function's runtime."""

        def start(command: Sequence[str], **options: Any) -> Any:
            with processes.starting():
                return subprocess.Popen(command, **options)

        return self._start(start, command, options)

    def run(self, command: Sequence[str], **options: Any) -> Any:
        """Run a function's runtime for one event."""
        with processes.starting():
            pass  # The runtime may run long, and the end of the cloud does not wait for that.
        return self._start(subprocess.run, command, options)

    def _start(self, start: Callable[..., Any], command: Sequence[str], options: dict[str, Any]) -> Any:
        if not containers.available():
            return start(command, **options)
        binds = [(str(self._scratch), str(self._scratch), False)]
        # The worker's process ends when MiniStack ends it, so it must be the very process that MiniStack has started.
        container = containers.Container(self._root, binds, str(options["cwd"]), own_pids=False)
        report = os.dup(sys.stderr.fileno())  # Why a container could not be made is told in the cloud's log.
        try:
            return start(containers.entering(command, container, report), pass_fds=(report,), **options)
        finally:
            os.close(report)


def contain_functions(home: Path) -> None:
    """Let functions run in containers, where the kernel allows that, so that they do not see the user's files.

    Args:
        home: The cloud's folder.
    """
    root = home / "functions"
    root.mkdir()
    contained = _ContainedProcesses(root, Path(os.environ["TMPDIR"]))
    lambda_runtime.subprocess = lambda_svc.subprocess = contained


def check_functions(is_trusting: Callable[[str], bool]) -> None:
    """Refuse functions that AWS does not make, from the API and from templates.

    They have more memory than the account's quota allows, or a role that Lambda cannot assume.

    Args:
        is_trusting: Called with a role's ARN; whether the role exists and trusts Lambda.
    """
    create, update = lambda_svc._create_function, lambda_svc._update_config
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create_resource, update_resource = handlers["create"], handlers["update"]

    def problem_of(request: Mapping[str, Any]) -> tuple[str, str] | None:
        if problem := memory_problem(int(request.get("MemorySize", _MIN_MEMORY))):
            return "ValidationException", problem
        if (role := request.get("Role")) and not is_trusting(role):
            return "InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda."
        return None

    def refusal(request: Mapping[str, Any]) -> Any:
        problem = problem_of(request)
        return lambda_svc.error_response_json(*problem, 400) if problem else None

    def check(properties: Mapping[str, Any]) -> None:
        if problem := problem_of(properties):
            raise ValueError(f"{problem[1]} (Service: Lambda, Status Code: 400)")

    def create_within(logical_id: str, properties: dict[str, Any], *rest: Any, **options: Any) -> Any:
        check(properties)
        return create_resource(logical_id, properties, *rest, **options)

    def update_within(physical_id: str, old: Any, new: dict[str, Any], *rest: Any, **options: Any) -> Any:
        check(new)
        return update_resource(physical_id, old, new, *rest, **options)

    lambda_svc._create_function = lambda request: refusal(request) or create(request)
    lambda_svc._update_config = lambda name, request: refusal(request) or update(name, request)
    handlers |= {"create": create_within, "update": update_within}


def memory_problem(megabytes: int) -> str | None:
    """Return AWS's message if the account may not have a function with this much memory; None if it may."""
    limit = quota(FUNCTION_MEMORY)
    if _MIN_MEMORY <= megabytes <= limit:
        return None
    bound = f"less than or equal to {limit}" if megabytes > limit else f"greater than or equal to {_MIN_MEMORY}"
    return f"'MemorySize' value failed to satisfy constraint: Member must have value {bound}"


def run_function(reference: str, payload: Any) -> tuple[str, str | None, dict[str, Any]]:
    """Run a function and return its name, the version that ran and MiniStack's account of the end.

    Args:
        reference: Name or ARN of the function, with or without a version or alias.
        payload: The event, any JSON.

    Returns:
        The version is None when there is no such function.
    """
    record, config, name = lambda_svc._get_func_record_for_ref(reference)
    if not record or not config:
        return str(name), None, {}
    execution = lambda_svc._execution_record_for_config(record, config)
    version = str(config.get("Version", "$LATEST"))
    return str(name), version, lambda_svc._execute_function_with_config_scope(execution, payload)


def stack_of(log: str) -> list[str]:
    """Return the stack of the last traceback in a function's log, with the function's own frames, as AWS tells it.

    Args:
        log: The function's log.
    """
    frames: list[str] = []
    for line in log[max(log.rfind("Traceback (most recent call last):"), 0) :].splitlines():
        if line.startswith('  File "'):
            frames.append(f"{line}\n")
        elif line.startswith("    ") and frames and not set(line) <= set(" ~^"):
            frames[-1] += f"{line}\n"
    return [re.sub(r'"[^"]*?/code/', '"/var/task/', frame, count=1) for frame in frames if "/_worker.py" not in frame]


def authorize_functions(prepare: Callable[[str, str, str, str], bool]) -> None:
    """Let a function start only with its role's permission, and write its log only where the role may.

    Args:
        prepare: Called before an environment of a function starts, with the function's role, name, log group and
            version. It returns whether the log may be written. It raises an exception, which ends the request, when
            Lambda may not assume the role.
    """
    credentials, emit = lambda_runtime.execution_credentials, lambda_svc._emit_lambda_logs
    without_log: set[str] = set()  # versions, by ARN, that may not write their log

    def version_of(config: Mapping[str, Any]) -> str:
        # The ARN may end with an alias, and the environment serves all aliases of its version.
        return ":".join([*config["FunctionArn"].split(":")[:7], config.get("Version", "$LATEST")])

    def prepare_and_get_credentials(config: Mapping[str, Any]) -> Any:
        name, arn = config["FunctionName"], version_of(config)
        group = config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
        # The function acts with its own role, so the context of the request that starts it must not be used.
        may_log = contextvars.Context().run(prepare, config["Role"], name, group, config.get("Version", "$LATEST"))
        (without_log.discard if may_log else without_log.add)(arn)
        return _made_secret(credentials(config))

    def emit_if_allowed(function: Mapping[str, Any], request_id: str, text: str, *rest: Any, **options: Any) -> None:
        config = function.get("config", function)
        # Without its own lines, which the level forbids, Lambda writes what the function wrote, or nothing at all.
        is_silent = not text and config.get("LoggingConfig", {}).get("SystemLogLevel") == "WARN"
        if version_of(config) not in without_log and not is_silent:
            emit(function, request_id, text, *rest, **options)

    lambda_runtime.execution_credentials = prepare_and_get_credentials
    lambda_svc._emit_lambda_logs = emit_if_allowed


def _made_secret(session: Mapping[str, str]) -> dict[str, str]:
    """Return the credentials of a function's session with a secret and a token that nobody can compute.

    MiniStack computes both from the ARNs of function and role. All environments of a function share a session.
    """
    secret, token = (
        hmac.digest(_SALT, session[name].encode(), "sha256").hex()
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    )
    sts._sessions[session["AWS_ACCESS_KEY_ID"]] |= {"SecretAccessKey": secret, "SessionToken": token}
    return {**session, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}


def function_policy(arn: str) -> Any:
    """Return the policy of a function or of one of its aliases; None when there is no such function."""
    policy_and_account = lambda_svc.function_policy_for_arn(arn)
    return policy_and_account[0] if policy_and_account else None


def find_layers_by_arn() -> None:
    """Let ListLayerVersions find a layer by its ARN, too, as its documentation says."""
    versions = lambda_svc._list_layer_versions
    lambda_svc._list_layer_versions = lambda name, query: versions(name.partition(":layer:")[2] or name, query)


def limit_concurrency() -> None:
    """Hold the versions of a function to what it has reserved, and reservations to what the account has.

    MiniStack forgets what is reserved when a request names a version or an alias, and the property of templates.
    """
    put = lambda_svc._put_function_concurrency
    lambda_svc._ACCOUNT_CONCURRENCY_CAP = min(lambda_svc._ACCOUNT_CONCURRENCY_CAP, quota(CONCURRENCY))
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]

    def reserved_of(_record: Any, config: Mapping[str, Any]) -> int | None:
        function = lambda_svc._functions.get(config["FunctionName"]) or {}
        reserved: int | None = function.get("concurrency")
        return reserved

    def put_if_left(name: str, request: Mapping[str, Any]) -> Any:
        others = [aliases.claimed(lambda_svc._functions[each]) for each in lambda_svc._functions if each != name]
        count = int(request.get("ReservedConcurrentExecutions", 0))
        if function := lambda_svc._functions.get(name):
            problem = aliases.reserved_problem(count, function)
            if problem := problem or aliases.reservation_problem(count, others, quota(CONCURRENCY)):
                return _invalid(problem)
        return put(name, request)

    def reserve(name: str, properties: Mapping[str, Any]) -> None:
        if "ReservedConcurrentExecutions" not in properties:
            lambda_svc._delete_function_concurrency(name)
            return
        count = int(properties["ReservedConcurrentExecutions"])
        status, _, body = put_if_left(name, {"ReservedConcurrentExecutions": count})
        if status >= 400:
            raise ValueError(f"{json.loads(body)['message']} (Service: Lambda, Status Code: 400)")

    def and_reserve(work: Callable[..., Any], properties_at: int) -> Callable[..., Any]:
        def work_and_reserve(*arguments: Any, **options: Any) -> Any:
            name, attributes = work(*arguments, **options)
            reserve(name, arguments[properties_at])
            return name, attributes

        return work_and_reserve

    lambda_svc._reserved_concurrency = reserved_of
    lambda_svc._put_function_concurrency = put_if_left
    handlers |= {"create": and_reserve(handlers["create"], 1), "update": and_reserve(handlers["update"], 2)}


_invoked_as: contextvars.ContextVar[str] = contextvars.ContextVar("invoked_as", default="")


def delete_urls_with_functions() -> None:
    """Let a function's URL end with it; MiniStack keeps it, and refuses another to a new function of that name."""
    delete = lambda_svc._delete_function

    def delete_with_urls(name: str, *rest: Any) -> Any:
        answer = delete(name, *rest)
        if name not in lambda_svc._functions:
            for key in [each for each in lambda_svc._function_urls if each.split(":")[0] == name]:
                del lambda_svc._function_urls[key]
        return answer

    lambda_svc._delete_function = delete_with_urls


def weigh_aliases() -> None:
    """Let an alias lead to two versions by their weights, and only to versions that exist.

    A function that is invoked by an alias has the alias's ARN, whoever invokes it.
    """
    invoke, record_of, execute = lambda_svc._invoke, lambda_svc._get_func_record_for_ref, lambda_svc._execute_function
    create, update = lambda_svc._create_alias, lambda_svc._update_alias

    def chosen(name: str, qualifier: str | None) -> str | None:
        alias = ((lambda_svc._functions.get(name) or {}).get("aliases") or {}).get(qualifier)
        if not alias:
            return None
        _invoked_as.set(alias["AliasArn"])
        return aliases.choose(alias)

    async def invoke_chosen(
        name: str, event: Any, headers: Mapping[str, str], path_qualifier: str | None = None, query: Any = None
    ) -> Any:
        qualifier = path_qualifier or lambda_svc._qp_first(query or {}, "Qualifier")
        _invoked_as.set("")
        return await invoke(name, event, headers, chosen(name, qualifier) or path_qualifier, query)

    def record_of_chosen(reference: str) -> Any:
        name, qualifier = lambda_svc._resolve_name_and_qualifier(reference)
        _invoked_as.set("")
        version = chosen(name, qualifier)
        return record_of(f"{reference[: -len(str(qualifier))]}{version}" if version else reference)

    def execute_as_alias(function: Mapping[str, Any], event: Any) -> Any:
        arn, config = _invoked_as.get(), function.get("config") or function
        if arn.split(":")[6:7] == [config["FunctionName"]]:
            function = {**function, "config": {**config, "FunctionArn": arn}}
        return execute(function, event)

    def refusal(name: str, alias: Mapping[str, Any]) -> Any:
        function = lambda_svc._functions.get(name)
        problem = function and aliases.alias_problem(alias, function["versions"])
        status = 404 if problem and problem[0] == "ResourceNotFoundException" else 400
        return lambda_svc.error_response_json(*problem, status) if problem else None

    def update_alias(name: str, alias: str, request: dict[str, Any]) -> Any:
        before = ((lambda_svc._functions.get(name) or {}).get("aliases") or {}).get(alias) or {}
        return refusal(name, {**before, **request}) or update(name, alias, request)

    lambda_svc._invoke, lambda_svc._get_func_record_for_ref = invoke_chosen, record_of_chosen
    lambda_svc._execute_function = execute_as_alias
    lambda_svc._create_alias = lambda name, request: refusal(name, request) or create(name, request)
    lambda_svc._update_alias = update_alias


def _invalid(message: str) -> Any:
    return lambda_svc.error_response_json("InvalidParameterValueException", message, 400)


def stop_lambda_workers() -> None:
    """End the warm processes in which Lambda functions run."""
    lambda_runtime.reset()
