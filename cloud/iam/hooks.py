"""IAM: every decision is reported, and services assume roles as on AWS."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from ministack.core import iam_actions, iam_evaluator, responses, router
from ministack.services import iam, sts

from cloud.core.emulator import Hooks, scope

HOOKS: Hooks = (
    (router, ("extract_access_key_id",)),
    (responses, ("get_region",)),
    (iam_actions, ("identity_denial_message",)),
    (
        iam_evaluator,
        (
            "AuthError",
            "EvalContext",
            "_POLICY_REQUIRED",
            "_resolve_condition_key",
            "combine_resource_policy",
            "enforce",
            "evaluate",
            "evaluate_resource_policy",
            "parse_policy_document",
        ),
    ),
    (iam, ("_roles",)),
    (sts, ("register_session",)),
)


_SESSION_SECONDS = 2_592_000  # the longest that a job may run: it keeps its session


_SESSION_SECRET = secrets.token_hex(20)  # nobody signs with a service's session


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


def let_loopback_stand_for_tls() -> None:
    """Let ``aws:SecureTransport`` be true: here no wire is that others could read, and on AWS all is TLS."""
    resolve = iam_evaluator._resolve_condition_key

    def resolving(key: str, context: Any) -> Any:
        return "true" if key.lower() == "aws:securetransport" else resolve(key, context)

    iam_evaluator._resolve_condition_key = resolving
