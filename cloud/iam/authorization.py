"""Who may do what: services assume roles, requests are authorized, and every decision is written down.

A caller is named by the access key of its credentials, as MiniStack's IAM knows it: the account's root, a
user's, or that of a session of a role.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cloud.apigateway import hooks as apigateway_hooks
from cloud.cloudwatch import hooks as cloudwatch_hooks
from cloud.core import emulator
from cloud.core.protocol import ApiError, invalid
from cloud.events import hooks as events_hooks
from cloud.iam import hooks, permissions
from cloud.iam.permissions import Permission, Place
from cloud.kms import hooks as kms_hooks
from cloud.lambdas import hooks as lambdas_hooks

log = logging.getLogger("kennel.iam")

DECISIONS = "authorizations.jsonl"


class DeniedError(Exception):
    """IAM refuses; the message is AWS's."""


def install(home: Path) -> None:
    """Enforce what MiniStack leaves out, and write every decision to ``authorizations.jsonl``."""
    hooks.let_loopback_stand_for_tls()
    hooks.follow_decisions(_writer(home / DECISIONS), _further)
    events_hooks.authorize_rules(_may_start)
    lambdas_hooks.authorize_functions(_prepare_function)
    apigateway_hooks.authorize_apis(_may_invoke)
    cloudwatch_hooks.authorize_alarms(_may_tell)


def authorize(caller: str, needed: Iterable[Permission]) -> None:
    """Raises DeniedError: the caller, given by its access key, lacks one of the permissions."""
    for permission in needed:
        if reason := hooks.denial(caller, *permission):
            raise DeniedError(reason)


def assume(role: str, service: str, session: str) -> str:
    """Let a service act with a role; the session's access key.

    Raises:
        DeniedError: there is no such role, or it does not trust the service.
    """
    if key := hooks.open_session(role, service, session):
        return key
    raise DeniedError(f"{service} is not authorized to assume the provided role {role}")


def assume_for_sagemaker(role: str) -> str:
    """Let SageMaker act with a role that a request hands it; the session's access key.

    Raises:
        ApiError: as SageMaker refuses such a request.
    """
    try:
        return assume(role, permissions.SAGEMAKER, "SageMaker")
    except DeniedError:
        raise invalid(
            f"Could not assume role {role}. Please ensure that the role exists and allows principal "
            f"'{permissions.SAGEMAKER}' to assume the role."
        ) from None


class Gate:
    """Asks IAM about the callers of API operations.

    Args:
        config_of: the name of an endpoint's configuration, by the endpoint's name.
    """

    def __init__(self, config_of: Callable[[str], str]) -> None:
        self._config_of = config_of

    def place(self) -> Place:
        """Where the request being served takes place."""
        return Place(*emulator.scope(), self._config_of)

    def check(self, headers: Mapping[str, str], service: str, operation: str, request: Mapping[str, Any]) -> None:
        """Raises ApiError: ``AccessDeniedException``, for the caller that signed."""
        try:
            needed = permissions.of_operation(service, operation, request, self.place())
            authorize(hooks.caller(headers), needed)
        except DeniedError as error:
            raise ApiError("AccessDeniedException", str(error)) from None


def _writer(path: Path) -> Callable[[hooks.Decision], None]:
    file, lock = path.open("a", encoding="utf-8", buffering=1), threading.Lock()

    def write(decision: hooks.Decision) -> None:
        line = json.dumps(decision._asdict(), default=str)
        with lock:
            file.write(f"{line}\n")

    return write


def _further(decision: hooks.Decision) -> Iterable[Permission]:
    asked, key = Permission(decision.action, decision.resource), decision.context.get(permissions.NAMED_KEY)
    if not key and asked.action in permissions.KEY_USES:
        key = kms_hooks.key_of(decision.action, decision.resource)
    return [*permissions.key_uses(asked, key), *permissions.by_function_url(asked)]


def _may_start(role: str, state_machine: str, scheduled: bool) -> bool:
    """Whether a rule of EventBridge, or a schedule, may start a state machine; AWS drops the event when it may not."""
    service = permissions.SCHEDULER if scheduled else permissions.EVENTS
    try:
        session = assume(role, service, service.partition(".")[0])
        authorize(session, [Permission("states:StartExecution", state_machine)])
    except DeniedError as error:
        log.warning("%s did not start %s: %s", service, state_machine, error)
        return False
    return True


def _prepare_function(role: str, function: str, group: str, version: str) -> bool:
    """Let Lambda have a function's role; whether that may write the function's log.

    Raises:
        DeniedError: Lambda may not assume the role.
    """
    session = assume(role, permissions.LAMBDA, function)
    try:
        authorize(session, permissions.log_stream(group, version, Place(*emulator.scope())))
    except DeniedError as error:
        log.warning("function %s goes without a log: %s", function, error)
        return False
    return True


def _may_invoke(function: str, method: str) -> bool:
    """Whether an API may invoke a function; AWS answers 500 when it may not."""
    policy = lambdas_hooks.function_policy(function)
    return hooks.service_may(permissions.APIGATEWAY, "lambda:InvokeFunction", function, policy, sourcearn=method)


def _may_tell(topic: str) -> bool:
    """Whether an alarm may tell a topic; AWS drops the message when the policy of the topic's key does not let it."""
    key_of_topic = kms_hooks.key_of("sns:Publish", topic)
    for action, key, _ in permissions.key_uses(Permission("sns:Publish", topic), key_of_topic):
        if not hooks.service_may(permissions.CLOUDWATCH, action, key, kms_hooks.key_policy(key)):
            log.warning("an alarm did not tell %s: the policy of key %s lets it not %s", topic, key, action)
            return False
    return True
