"""IAM: MiniStack reports every decision, and services assume roles as on AWS."""

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
    (iam, ("_IAM_HANDLERS", "_error", "_instance_profiles", "_p", "_roles", "policy_known")),
    (sts, ("register_session",)),
)


_SESSION_SECONDS = 2_592_000  # A job keeps one session for its whole run, which may take 30 days.
_SESSION_SECRET = secrets.token_hex(20)  # No client knows it, so no client can sign with a service's session.


class Decision(NamedTuple):
    """IAM's decision about a principal other than the account's root.

    Attributes:
        principal: ARN of a user or of a role's session, or the name of a service that acts for the account.
        action: The action, for example ``s3:GetObject``.
        resource: ARN of the resource, or ``*``.
        context: Condition keys of the request.
        allowed: Whether the action is allowed.
        sid: Sid of the statement that decided; a statement of an identity-based policy comes before one of the
            resource's own policy. Empty when no statement decided.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, Any]
    allowed: bool
    sid: str


_reporters: list[Callable[[Decision], None]] = []  # Each is called with every decision.


def report_decisions(
    report: Callable[[Decision], None],
    additional_permissions: Callable[[Decision], Iterable[tuple[str, str, Mapping[str, str]]]],
) -> None:
    """Report every decision of IAM, and require additional permissions for some requests.

    Decisions come from MiniStack's own requests, from ``denial_reason`` and from ``is_service_allowed``.

    Args:
        report: Called with each decision.
        additional_permissions: Called after a request was allowed; returns what must be allowed too, as (action,
            resource, condition keys).
    """
    _reporters.append(report)
    enforce, evaluate = iam_evaluator.enforce, iam_evaluator.evaluate
    results_of_request: ContextVar[list[Any] | None] = ContextVar("results", default=None)

    def evaluate_and_keep(context: Any, policies: Any, *limits: Any) -> Any:
        result = evaluate(context, policies, *limits)
        if (results := results_of_request.get()) is not None:
            results.append(result)
        return result

    def enforce_and_report(
        access_key: str,
        action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        results: list[Any] = []
        token = results_of_request.set(results)
        try:
            denied = enforce(access_key, action, service, region, resource_arn, service_context)
        finally:
            results_of_request.reset(token)
        if not results:  # The caller is root, or IAM does not know the access key.
            return denied
        identity = results[0]  # MiniStack evaluates identity-based policies before the resource's own policy.
        decision = Decision(
            identity.principal_arn, action, resource_arn, service_context or {}, denied is None, identity.matched_sid
        )
        report(decision)
        if denied:
            explicit = denied.decision == "Deny"
            reason = iam_actions.identity_denial_message(action, identity.principal_arn, resource_arn, explicit)
            by_identity = identity.decision != "Allow"
            denied.reason = reason if by_identity else reason.replace("identity-based", "resource-based")
            return denied
        for next_action, resource, keys in additional_permissions(decision):
            next_service = next_action.partition(":")[0]
            if denied := enforce_and_report(access_key, next_action, next_service, region, resource, dict(keys)):
                return denied
        return None

    iam_evaluator.evaluate = evaluate_and_keep
    iam_evaluator.enforce = enforce_and_report


def denial_reason(access_key: str, action: str, resource: str, context: Mapping[str, str]) -> str:
    """Return why IAM denies an action, in AWS's words; an empty string when IAM allows it."""
    service = action.partition(":")[0]
    denied = iam_evaluator.enforce(access_key, action, service, responses.get_region(), resource, dict(context))
    if isinstance(denied, iam_evaluator.AuthError):
        return str(denied.message)
    return str(denied.reason) if denied else ""


def access_key_of(headers: Mapping[str, str]) -> str:
    """Return the access key that signed a request; MiniStack has verified the signature before."""
    key: str = router.extract_access_key_id(dict(headers))
    return key


def open_session(role: str, service: str, name: str) -> str | None:
    """Let a service assume a role of the account, and return the access key of the session.

    Args:
        role: ARN of the role.
        service: The service, for example ``sagemaker.amazonaws.com``.
        name: Name of the session; the same name gives the same access key again.

    Returns:
        The access key; None when there is no such role, or the role does not trust the service.
    """
    record = iam._roles.get(role.rpartition("/")[2])
    if record is None or record["Arn"] != role:
        return None
    if not is_service_allowed(service, "sts:AssumeRole", role, record["AssumeRolePolicyDocument"]):
        return None
    key = f"ASIA{hashlib.sha256(f'{role} {name}'.encode()).hexdigest()[:16].upper()}"
    _register_session(key, record, name, {"SecretAccessKey": _SESSION_SECRET})
    return key


def lend_session(role: str, service: str, name: str) -> tuple[str, str, str] | None:
    """Let a service assume a role, and return credentials with which a program can sign its own requests.

    Args:
        role: ARN of the role.
        service: The service, for example ``ecs-tasks.amazonaws.com``.
        name: Name of the session.

    Returns:
        Access key, secret and session token; None when ``open_session`` returns None.
    """
    if open_session(role, service, name) is None:
        return None
    key, secret, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(32)
    record = iam._roles[role.rpartition("/")[2]]
    _register_session(key, record, name, {"SecretAccessKey": secret, "SessionToken": token})
    return key, secret, token


def _register_session(key: str, role: Mapping[str, Any], name: str, credentials: Mapping[str, str]) -> None:
    session = {
        "Arn": f"arn:aws:sts::{scope()[1]}:assumed-role/{role['RoleName']}/{name}",
        "UserId": f"{role['RoleId']}:{name}",
        **credentials,
        "Expiration": time.time() + _SESSION_SECONDS,  # MiniStack removes the session at this time.
    }
    sts.register_session(key, session)


def role_of_instance(profile: str) -> str:
    """Return the ARN of the role of an instance profile, given by its name or ARN; empty if there is none."""
    record = iam._instance_profiles.get(profile.rpartition("/")[2])
    roles = [iam._roles.get(name) for name in record["Roles"]] if record else []
    return str(roles[0]["Arn"]) if roles and roles[0] else ""


def is_service_allowed(service: str, action: str, resource: str, policy: Any, **source: str) -> bool:
    """Whether a resource's own policy allows an AWS service an action for the account.

    Args:
        service: The service, for example ``sagemaker.amazonaws.com``.
        action: The action.
        resource: ARN of the resource.
        policy: Document of the resource's policy.
        source: More condition keys of ``aws:``, for example ``sourcearn``.
    """
    keys = {"aws:sourceaccount": scope()[1], **{f"aws:{key}": value for key, value in source.items()}}
    context = _eval_context(service, action, resource, keys)
    result = iam_evaluator.evaluate_resource_policy(policy, context, service=service)
    decision = Decision(service, action, resource, keys, result.decision == "Allow", result.matched_sid)
    for report in _reporters:
        report(decision)
    return decision.allowed


def permits(decision: Decision, identity: Iterable[Any], own: Any) -> bool:
    """Decide a recorded request again, by other policies, with MiniStack's evaluator.

    Args:
        decision: The recorded decision.
        identity: Documents of the principal's policies.
        own: Document of the resource's own policy (a role's trust policy); None where it has none.

    Returns:
        Whether these policies allow the request.
    """
    keys = {key.lower(): value for key, value in decision.context.items()}
    context = _eval_context(decision.principal, decision.action, decision.resource, keys)
    if not decision.principal.startswith("arn:"):
        result = iam_evaluator.evaluate_resource_policy(own, context, service=decision.principal)
        return bool(result.decision == "Allow")
    result = iam_evaluator.evaluate(context, [iam_evaluator.parse_policy_document(each) for each in identity])
    if own is not None:
        required = decision.action.partition(":")[0] in iam_evaluator._POLICY_REQUIRED
        result = iam_evaluator.combine_resource_policy(result, context, own, None, required=required)
    return bool(result.decision == "Allow")


def _eval_context(principal: str, action: str, resource: str, keys: Mapping[str, Any]) -> Any:
    region, account = scope()
    return iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type="AssumedRole" if principal.startswith("arn:") else "Service",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=region,
        secure_transport=keys.get("aws:securetransport") != "false",
        service_context=dict(keys),
    )


def treat_loopback_as_tls() -> None:
    """Let the condition key ``aws:SecureTransport`` be true for every request.

    Requests on AWS use TLS. Requests here stay on loopback, where nobody else can read them.
    """
    resolve = iam_evaluator._resolve_condition_key

    def resolve_as_tls(key: str, context: Any) -> Any:
        return "true" if key.lower() == "aws:securetransport" else resolve(key, context)

    iam_evaluator._resolve_condition_key = resolve_as_tls


def refuse_what_is_missing() -> None:
    """Refuse to attach a policy that is not here, and to simulate a role that is not, where MiniStack passes it over.

    Such a policy would give no rights, and the simulation would deny everything; neither would say why.
    """

    def attach(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def checked(parameters: Any) -> Any:
            arn = iam._p(parameters, "PolicyArn")
            if iam.policy_known(arn):
                return handler(parameters)
            hint = " on the laptop cloud, which has few of AWS's own policies" if ":iam::aws:" in arn else ""
            message = f"Policy {arn} does not exist or is not attachable{hint}."
            return iam._error(404, "NoSuchEntity", message, ns="iam")

        return checked

    def simulate(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def checked(parameters: Any) -> Any:
            _, is_role, path = iam._p(parameters, "PolicySourceArn").partition(":role/")
            name = path.rpartition("/")[2]
            if is_role and name not in iam._roles:
                return iam._error(404, "NoSuchEntity", f"The role with name {name} cannot be found.", ns="iam")
            return handler(parameters)

        return checked

    for operation in ("AttachRolePolicy", "AttachUserPolicy", "AttachGroupPolicy"):
        iam._IAM_HANDLERS[operation] = attach(iam._IAM_HANDLERS[operation])
    iam._IAM_HANDLERS["SimulatePrincipalPolicy"] = simulate(iam._IAM_HANDLERS["SimulatePrincipalPolicy"])
