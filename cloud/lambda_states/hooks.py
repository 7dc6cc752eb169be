"""Lambda: a function cannot be invoked or changed while it is created, nor changed while it is updated.

MiniStack describes these states for half a second, and lets them have no effect.
"""

import contextlib
import contextvars
import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from cloud.core import emulator
from cloud.core.emulator import Hooks
from cloud.lambdas import states

HOOKS: Hooks = (
    (
        lambda_svc,
        (
            "_functions",
            "_invoke",
            "_publish_version",
            "_schedule_state_transition",
            "_update_code",
            "_update_config",
            "error_response_json",
            "invalidate_worker",
        ),
    ),
    (provisioners, ("_RESOURCE_HANDLERS",)),
)

BEFORE_UPDATE = "before_update"  # Until an update has ended, a function's record has its old configuration here.
_LOOK_AGAIN = 0.005  # seconds

_within_template: contextvars.ContextVar[bool] = contextvars.ContextVar("within_template", default=False)


def follow_states() -> None:
    """Refuse what AWS refuses while a function is created or updated, and let an update take effect at its end."""
    _refuse_invocations()
    _refuse_changes()
    _follow_updates()
    _wait_in_templates()
    emulator.refuse("lambda", _refusal_of_large)


def _config_of(name: str) -> dict[str, Any]:
    config: dict[str, Any] = (lambda_svc._functions.get(name) or {}).get("config") or {}
    return config


def _conflict(problem: str | None) -> Any:
    return lambda_svc.error_response_json("ResourceConflictException", problem, 409) if problem else None


def _refusal_of_large(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Any:
    kind = headers.get("x-amz-invocation-type", "")
    problem = states.size_problem(method, path, kind, len(body))
    return lambda_svc.error_response_json("RequestEntityTooLargeException", problem, 413) if problem else None


def _refuse_invocations() -> None:
    invoke = lambda_svc._invoke

    async def invoke_unless_pending(name: str, *rest: Any, **options: Any) -> Any:
        return _conflict(states.invoke_problem(_config_of(name))) or await invoke(name, *rest, **options)

    lambda_svc._invoke = invoke_unless_pending


def _refuse_changes() -> None:
    publish = lambda_svc._publish_version

    def publish_unless_busy(name: str, request: Mapping[str, Any]) -> Any:
        return _conflict(states.change_problem(_config_of(name))) or publish(name, request)

    def unless_busy(update: Callable[..., Any]) -> Callable[..., Any]:
        def update_unless_busy(name: str, request: dict[str, Any]) -> Any:
            config = _config_of(name)
            if refused := _conflict(states.change_problem(config)):
                return refused
            before = copy.deepcopy(config)
            status, fields, body = update(name, request)
            if status >= 400:
                return status, fields, body
            function = lambda_svc._functions[name]
            if config["LastUpdateStatus"] == "InProgress":  # In a template the update has ended already.
                function[BEFORE_UPDATE] = before
            for each in (function, *function["versions"].values()):
                if each["config"].get("LastUpdateStatus") == "InProgress":
                    states.stay_active(each["config"])
            document = json.loads(body)
            states.stay_active(document)
            return status, fields, json.dumps(document).encode()

        return update_unless_busy

    lambda_svc._publish_version = publish_unless_busy
    lambda_svc._update_code = unless_busy(lambda_svc._update_code)
    lambda_svc._update_config = unless_busy(lambda_svc._update_config)


def _follow_updates() -> None:
    """Forget the configuration from before an update when the update has ended, and end the processes that have it."""
    schedule = lambda_svc._schedule_state_transition

    def finish(name: str, delay: float) -> None:
        time.sleep(delay)
        while states.change_problem(_config_of(name)):
            time.sleep(_LOOK_AGAIN)
        function = lambda_svc._functions.get(name)
        if function and function.pop(BEFORE_UPDATE, None) and function["config"].get("PackageType") == "Image":
            region, account = emulator.scope()
            lambda_svc.invalidate_worker(name, qualifier="$LATEST", account=account, region=region)

    def schedule_and_finish(name: str, delay: float) -> None:
        if _within_template.get():
            schedule(name, 0)
            finish(name, 0)
        else:
            schedule(name, delay)
            emulator.spawn_thread(finish, name, delay, name="function-update")

    lambda_svc._schedule_state_transition = schedule_and_finish


def _wait_in_templates() -> None:
    """Let CloudFormation go on only when a function has been updated, as it does on AWS."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    update = handlers["update"]

    def update_and_wait(*arguments: Any, **options: Any) -> Any:
        with _waiting():
            return update(*arguments, **options)

    handlers["update"] = update_and_wait


@contextlib.contextmanager
def _waiting() -> Iterator[None]:
    token = _within_template.set(True)
    try:
        yield
    finally:
        _within_template.reset(token)
