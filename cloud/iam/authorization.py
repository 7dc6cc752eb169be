"""Let services assume roles, authorize requests, and record every decision.

A caller is identified by its access key: that of the account's root, of a user, or of a session of a role.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cloud.apigateway import hooks as apigateway_hooks
from cloud.cloudwatch import hooks as cloudwatch_hooks
from cloud.core import emulator
from cloud.core.protocol import ApiError, invalid
from cloud.core.root_key import RootKey
from cloud.events import hooks as events_hooks
from cloud.iam import hooks, permissions
from cloud.iam.permissions import Permission, RequestScope
from cloud.kms import hooks as kms_hooks
from cloud.lambdas import hooks as lambdas_hooks
from cloud.sns import hooks as sns_hooks

T = TypeVar("T")

log = logging.getLogger("kennel.iam")

DECISIONS = "authorizations.jsonl"


class DeniedError(Exception):
    """IAM denies a request; the message is in AWS's words."""


def install(home: Path, root: RootKey) -> None:
    """Require signatures, enforce the permissions that MiniStack does not check, and record every decision.

    Args:
        home: Folder of the record, ``authorizations.jsonl``.
        root: The access key of the account's root.
    """
    hooks.require_signatures(root)
    hooks.resolve_keys_as_aws()
    hooks.limit_roles_of_templates()
    hooks.add_managed_policies()
    hooks.refuse_what_is_missing()
    hooks.name_projects_of_builds()
    hooks.name_deleted_alarms()
    hooks.name_actions_of_functions()
    hooks.report_decisions(_decision_writer(home / DECISIONS), _additional_permissions)
    events_hooks.check_roles(_is_trusting_scheduler)
    events_hooks.authorize_rules(_may_start)
    lambdas_hooks.check_functions(_is_trusting_lambda)
    lambdas_hooks.authorize_functions(_prepare_function)
    apigateway_hooks.authorize_apis(_may_invoke_function)
    cloudwatch_hooks.notify_as_aws(_may_notify)


def authorize(caller: str, needed: Iterable[Permission]) -> None:
    """Check that a caller has all permissions.

    Args:
        caller: The caller's access key.
        needed: The permissions.

    Raises:
        DeniedError: The caller lacks one of them.
    """
    for permission in needed:
        if reason := hooks.denial_reason(caller, *permission):
            raise DeniedError(reason)


def assume(role: str, service: str, session: str) -> str:
    """Let a service assume a role, and return the access key of the session.

    Args:
        role: ARN of the role.
        service: The service, for example ``sagemaker.amazonaws.com``.
        session: Name of the session.

    Raises:
        DeniedError: There is no such role, or it does not trust the service.
    """
    return _granted(hooks.open_session(role, service, session), role, service)


def lend(role: str, service: str, session: str) -> tuple[str, str, str]:
    """Let a service assume a role for a program, and return access key, secret and session token.

    Args:
        role: ARN of the role.
        service: The service, for example ``ecs-tasks.amazonaws.com``.
        session: Name of the session.

    Raises:
        DeniedError: There is no such role, or it does not trust the service.
    """
    return _granted(hooks.lend_session(role, service, session), role, service)


def _granted(session: T | None, role: str, service: str) -> T:
    if session is None:
        raise DeniedError(f"{service} is not authorized to assume the provided role {role}")
    return session


def assume_for_sagemaker(role: str) -> str:
    """Let SageMaker assume the role that a request names, and return the access key of the session.

    Raises:
        ApiError: The role does not exist or does not trust SageMaker; the message is SageMaker's.
    """
    try:
        return assume(role, permissions.SAGEMAKER, "SageMaker")
    except DeniedError:
        raise invalid(
            f"Could not assume role {role}. Please ensure that the role exists and allows principal "
            f"'{permissions.SAGEMAKER}' to assume the role."
        ) from None


class Authorizer:
    """Checks the permissions of callers of API operations.

    Args:
        config_of: Returns the name of an endpoint's configuration for the endpoint's name.
    """

    def __init__(self, config_of: Callable[[str], str]) -> None:
        self._config_of = config_of

    def scope(self) -> RequestScope:
        """Return the scope of the current request."""
        return RequestScope(*emulator.scope(), self._config_of)

    def check(self, headers: Mapping[str, str], service: str, operation: str, request: Mapping[str, Any]) -> None:
        """Check that the caller who signed a request has every permission that the request needs.

        Raises:
            ApiError: ``AccessDeniedException``, because the caller lacks a permission.
        """
        try:
            needed = permissions.for_operation(service, operation, request, self.scope())
            authorize(hooks.access_key_of(headers), needed)
        except DeniedError as error:
            raise ApiError("AccessDeniedException", str(error)) from None


def _decision_writer(path: Path) -> Callable[[hooks.Decision], None]:
    file, lock = path.open("a", encoding="utf-8", buffering=1), threading.Lock()

    def write(decision: hooks.Decision) -> None:
        line = json.dumps(decision._asdict(), default=str)
        with lock:
            file.write(f"{line}\n")

    return write


def _additional_permissions(decision: hooks.Decision) -> Iterable[Permission]:
    """Return the permissions that an allowed action needs too: rights on a KMS key or on a function."""
    allowed, key = Permission(decision.action, decision.resource), decision.context.get(permissions.NAMED_KEY)
    if not key and allowed.action in permissions.KEY_USES:
        key = kms_hooks.key_of(decision.action, decision.resource)
    return [*permissions.key_uses(allowed, key), *permissions.by_function_url(allowed)]


def _is_trusting_lambda(role: str) -> bool:
    """Whether Lambda may assume a role; if not, AWS refuses the function."""
    return hooks.open_session(role, permissions.LAMBDA, "lambda") is not None


def _is_trusting_scheduler(role: str) -> bool:
    """Whether the Scheduler may assume a role; if not, AWS refuses the schedule."""
    return hooks.open_session(role, permissions.SCHEDULER, "scheduler") is not None


def _may_start(role: str, target: str, scheduled: bool) -> bool:
    """Whether a rule of EventBridge or a schedule may start its target; if not, AWS drops the event."""
    service = permissions.SCHEDULER if scheduled else permissions.EVENTS
    try:
        session = assume(role, service, service.partition(".")[0])
        action = "lambda:InvokeFunction" if ":lambda:" in target else "states:StartExecution"
        authorize(session, [Permission(action, target)])
    except DeniedError as error:
        log.warning("%s did not start %s: %s", service, target, error)
        return False
    return True


def _prepare_function(role: str, function: str, group: str, version: str) -> bool:
    """Let Lambda assume a function's role, and return whether the role may write the function's log.

    Raises:
        DeniedError: Lambda may not assume the role.
    """
    session = assume(role, permissions.LAMBDA, function)
    try:
        authorize(session, permissions.log_stream(group, version, RequestScope(*emulator.scope())))
    except DeniedError as error:
        log.warning("function %s writes no log: %s", function, error)
        return False
    return True


def policy_for_lambda(repository: str, policy: Any, function: str) -> Any:
    """Return a repository's policy if it lets Lambda read images, else with a statement that lets it, else None.

    Lambda adds the statement with its caller's rights to read and to set the policy:
    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html, "Amazon ECR permissions". How the rest of the
    statement reads was seen: https://github.com/aws/aws-parallelcluster-ui/commit/1fc1a99

    Args:
        repository: ARN of the repository.
        policy: Document of its policy; None without one.
        function: ARN of the function that is made from the image.
    """

    def lets(document: Any) -> bool:
        return all(
            hooks.is_service_allowed(permissions.LAMBDA, action, repository, document, sourcearn=function)
            for action in permissions.PULL_BY_LAMBDA
        )

    if policy and lets(policy):
        return policy
    try:
        authorize(hooks.caller_key(), permissions.let_lambda_pull(repository))
    except DeniedError as error:
        log.warning("%s cannot be made from an image of %s: %s", function, repository, error)
        return None
    completed = permissions.policy_with_lambda(policy, function)
    return completed if lets(completed) else None


def _may_invoke_function(function: str, method: str) -> bool:
    """Whether an API may invoke a function; if not, AWS answers 500."""
    policy = lambdas_hooks.function_policy(function)
    return hooks.is_service_allowed(permissions.APIGATEWAY, "lambda:InvokeFunction", function, policy, sourcearn=method)


def _may_notify(topic: str, alarm: str) -> bool:
    """Whether the policies of a topic and of its key let an alarm notify the topic; if not, AWS drops the message."""
    if not sns_hooks.lets_service_publish(topic, permissions.CLOUDWATCH, alarm):
        log.warning("%s did not notify %s: the topic's policy does not allow sns:Publish", alarm, topic)
        return False
    key_of_topic = kms_hooks.key_of("sns:Publish", topic)
    for action, key, _ in permissions.key_uses(Permission("sns:Publish", topic), key_of_topic):
        if not hooks.is_service_allowed(permissions.CLOUDWATCH, action, key, kms_hooks.key_policy(key)):
            log.warning("%s did not notify %s: the policy of key %s does not allow %s", alarm, topic, key, action)
            return False
    return True
