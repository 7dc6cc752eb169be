"""IAM: only who signs is anybody, MiniStack reports every decision, and services assume roles as on AWS."""

import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import ministack.app as app
import yaml
from ministack.core import iam_actions, iam_evaluator, responses, router
from ministack.services import iam, s3, sts
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import INSIDE, Answer, Hooks, check_callers, scope
from cloud.core.root_key import RootKey

HOOKS: Hooks = (
    (app, ("_credential_failure", "_enforce_data_plane", "_is_ecr_registry_path", "_routing_params")),
    (router, ("detect_service", "extract_access_key_id")),
    (responses, ("get_region",)),
    (
        iam_actions,
        (
            "_BOTOCORE_SERVICE_MAP",
            "_match_rest_action",
            "extract_iam_action",
            "extract_resource_arn",
            "identity_denial_message",
        ),
    ),
    (
        iam_evaluator,
        (
            "AuthError",
            "EvalContext",
            "_POLICY_REQUIRED",
            "_resolve_condition_key",
            "_served_unsigned",
            "_signed_request",
            "_verified_key",
            "check_credentials",
            "combine_resource_policy",
            "enforce",
            "evaluate",
            "evaluate_resource_policy",
            "is_root_access_key",
            "parse_policy_document",
        ),
    ),
    (
        iam,
        (
            "_AWS_MANAGED_POLICY_PREFIX",
            "_IAM_HANDLERS",
            "_attach_group_policy",
            "_attach_role_policy",
            "_attach_user_policy",
            "_aws_managed_policies",
            "_error",
            "_groups",
            "_instance_profiles",
            "_make_aws_managed_record",
            "_p",
            "_roles",
            "_users",
            "attach_managed_policy",
            "policy_known",
        ),
    ),
    (provisioners, ("_RESOURCE_HANDLERS",)),
    (s3, ("_verify_presigned_sigv4",)),
    (sts, ("is_root_access_key", "register_session")),
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
_COLONS_OF_A_FUNCTION = 6  # in an ARN without version or alias
# What these need of their callers, a method of an API and a function's URL decide themselves, and so does the function.
_OPEN_TO_ANYBODY = ("execute-api:Invoke", "lambda:InvokeFunctionUrl")


def require_signatures(key: RootKey) -> None:
    """Let nobody call the cloud's services who does not sign, and let nobody be root who does not sign with its key.

    MiniStack takes whoever does not sign, and whoever names the access key ``test`` or an account's number, for the
    account's root, and verifies no signature of these. It verifies those of users and of sessions. So root is a session
    here, except for calls within this process.

    Args:
        key: Root's access key.
    """
    iam_evaluator.is_root_access_key = sts.is_root_access_key = lambda key_id: key_id == INSIDE
    account = scope()[1]
    root = {"Arn": f"arn:aws:iam::{account}:root", "UserId": account, "PrincipalType": "Root"}
    sts.register_session(key.id, {**root, "SecretAccessKey": key.secret})
    check_callers(_refusal_of)
    enforce = app._enforce_data_plane

    def enforce_verified(
        service: str, action: str, headers: dict[str, str], query: Any, request_id: str, **options: Any
    ) -> Any:
        key_id = router.extract_access_key_id(headers, query)
        if not key_id and iam_evaluator._signed_request.get() is None and action in _OPEN_TO_ANYBODY:
            return None
        refusal = enforce(service, action, headers, query, request_id, **options)
        if refusal is None and iam_evaluator._verified_key.get() != key_id:
            return app._credential_failure(service, action, request_id, _unverified(), headers)
        return refusal

    app._enforce_data_plane = enforce_verified


def _refusal_of(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Answer | None:
    """Return the answer to a request whose caller's signature does not verify; None if it does.

    A request without a signature passes if AWS takes the operation without one. Otherwise the key that MiniStack's
    services take the caller for is the very one whose signature was verified.
    """
    if app._is_ecr_registry_path(path):  # MiniStack asks nobody there who they are.
        words = {"code": "DENIED", "message": "the laptop cloud has only images that its own CodeBuild built"}
        return 403, {"Content-Type": "application/json"}, json.dumps({"errors": [words]}).encode()
    key_id, signed = router.extract_access_key_id(headers, query), iam_evaluator._signed_request.get()
    if signed is not None and signed.s3_scoped:  # S3 signs the addresses that it hands out in a way of its own.
        refusal: Answer | None = s3._verify_presigned_sigv4(method, path, headers, query)
        if refusal is None:
            iam_evaluator._verified_key.set(key_id)
        return refusal
    if key_id or signed is not None:
        failure = iam_evaluator.check_credentials(key_id)
        if failure is None:
            if iam_evaluator._verified_key.get() == key_id:
                return None
            failure = _unverified()
    else:
        failure = iam_evaluator.AuthError("MissingAuthenticationToken", "Request is missing Authentication Token")
    parameters = app._routing_params(method, path, headers, body, query)
    service = router.detect_service(method, path, headers, parameters)
    action = iam_actions.extract_iam_action(service, method, path, headers, body, parameters) or ""
    if failure.code == "MissingAuthenticationToken" and iam_evaluator._served_unsigned(service, action):
        return None
    answer: Answer = app._credential_failure(service, action, str(uuid.uuid4()), failure, headers)
    return answer


def _unverified() -> Any:
    """Return MiniStack's failure for credentials that no signature proves."""
    return iam_evaluator.AuthError("UnsupportedSignature", "The request signature does not conform to AWS standards.")


def report_decisions(
    report: Callable[[Decision], None],
    additional_permissions: Callable[[Decision], Iterable[tuple[str, str, Mapping[str, Any]]]],
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
        if not access_key and iam_evaluator._served_unsigned(service, action):
            return None
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


def denial_reason(access_key: str, action: str, resource: str, context: Mapping[str, Any]) -> str:
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


def caller_key() -> str:
    """Return the access key whose signature the current request has; that of root for calls within this process.

    What a template makes has the key of whoever asked CloudFormation for it.
    """
    key: str = iam_evaluator._verified_key.get()
    return key or INSIDE


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


def resolve_keys_as_aws() -> None:
    """Give two condition keys the values that AWS gives them: see ``know_principals``, and ``aws:SecureTransport``.

    The latter is true for every request: requests on AWS use TLS, and those here stay on loopback, where nobody else
    can read them.
    """
    know_principals()
    resolve = iam_evaluator._resolve_condition_key

    def resolve_transport(key: str, context: Any) -> Any:
        return "true" if key.lower() == "aws:securetransport" else resolve(key, context)

    iam_evaluator._resolve_condition_key = resolve_transport


def know_principals() -> None:
    """Give ``aws:PrincipalArn`` the ARN of the role for a role's session, and never the ARN of the session.

    By the latter MiniStack knows its caller:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn
    """
    resolve = iam_evaluator._resolve_condition_key

    def resolve_principal(key: str, context: Any) -> Any:
        if key.lower() == "aws:principalarn":
            return context.service_context.get("aws:principalarn") or _principal_arn(context.principal_arn)
        return resolve(key, context)

    iam_evaluator._resolve_condition_key = resolve_principal


def _principal_arn(caller: str) -> str | None:
    """Return the value of ``aws:PrincipalArn``; None for an AWS service, whose requests do not have the key."""
    if not caller.startswith("arn:"):
        return None
    if ":assumed-role/" not in caller:
        return caller
    _, partition, _, _, account, session = caller.split(":", 5)
    name = session.split("/")[1]
    record = iam._roles.get_scoped(account, None, name)  # A role's path is not part of its sessions' ARNs.
    return str(record["Arn"]) if record else f"arn:{partition}:iam::{account}:role/{name}"


def name_projects_of_builds() -> None:
    """Let a request about builds need rights on their project, whose name begins the ids; MiniStack asks for all.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodebuild.html
    """

    def project(request: Any) -> str:
        ids = request.get("ids") or [request["id"]]
        return "project/" + str(ids[0]).rpartition("/")[2].partition(":")[0]

    _name_resources("codebuild", "codebuild", project)


def name_deleted_alarms() -> None:
    """Let DeleteAlarms need the right on the alarm that it names, the first of several; MiniStack asks for all."""
    _name_resources("monitoring", "cloudwatch", lambda request: f"alarm:{request['AlarmNames'][0]}")


def _name_resources(service: str, prefix: str, resource_of: Callable[[Any], str]) -> None:
    """Let requests of a service for which MiniStack asks for all need rights on the resource that their body names.

    Args:
        service: MiniStack's name of it.
        prefix: its name in ARNs.
        resource_of: returns the end of the ARN by the body. Where it cannot, MiniStack's answer stays.
    """
    extract = iam_actions.extract_resource_arn

    def with_resource(asked: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> str:
        arn: str = extract(asked, method, path, headers, body, *rest)
        if asked != service or arn != "*":
            return arn
        try:
            resource = resource_of(json.loads(body))
        except (ValueError, TypeError, AttributeError, LookupError):
            return arn
        region, account = scope()
        return f"arn:aws:{prefix}:{region}:{account}:{resource}"

    iam_actions.extract_resource_arn = with_resource


def name_actions_of_functions() -> None:
    """Let a request about functions need the right that AWS asks for, on the version or alias that it names.

    MiniStack asks for ListAliases where an alias is read or changed, for example, and never for a version's own ARN.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html and
    https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
    """
    action_of, resource_of = iam_actions.extract_iam_action, iam_actions.extract_resource_arn
    iam_actions._BOTOCORE_SERVICE_MAP["lambda"] = ["lambda"]

    def by_model(service: str, method: str, path: str, headers: Any, body: bytes, parameters: Any) -> str | None:
        name = iam_actions._match_rest_action(service, method, path, parameters) if service == "lambda" else None
        if name is None:
            found: str | None = action_of(service, method, path, headers, body, parameters)
            return found
        return f"lambda:{'InvokeFunction' if name.startswith('Invoke') else name}"

    def with_qualifier(
        service: str, method: str, path: str, headers: Any, body: bytes, parameters: Any, *rest: Any
    ) -> str:
        arn: str = resource_of(service, method, path, headers, body, parameters, *rest)
        qualifier = parameters.get("Qualifier", "") if service == "lambda" else ""
        qualifier = qualifier[0] if isinstance(qualifier, list) else qualifier
        is_bare = arn.count(":") == _COLONS_OF_A_FUNCTION
        return f"{arn}:{qualifier}" if qualifier and is_bare else arn

    iam_actions.extract_iam_action, iam_actions.extract_resource_arn = by_model, with_qualifier


def limit_roles_of_templates() -> None:
    """Give a template's role its permissions boundary, which MiniStack's CloudFormation ignores for roles."""
    handlers = provisioners._RESOURCE_HANDLERS
    role = handlers["AWS::IAM::Role"]

    def bounded(provision: Callable[..., Any], properties_at: int) -> Callable[..., Any]:
        def provision_and_bound(*arguments: Any, **options: Any) -> Any:
            result = provision(*arguments, **options)
            record, boundary = iam._roles[result[0]], arguments[properties_at].get("PermissionsBoundary")
            record.pop("PermissionsBoundary", None)
            if boundary:
                if not iam.policy_known(boundary):
                    raise ValueError(f"Scope ARN: {boundary} does not exist or is not attachable. (Service: Iam)")
                record["PermissionsBoundary"] = boundary
            return result

        return provision_and_bound

    handlers["AWS::IAM::Role"] = {**role, "create": bounded(role["create"], 1), "update": bounded(role["update"], 2)}


def add_managed_policies() -> None:
    """Add the policies of AWS in ``managed_policies.yaml`` to those that MiniStack has."""
    documents = yaml.safe_load(Path(__file__).with_name("managed_policies.yaml").read_text(encoding="utf-8"))
    for name, document in documents.items():
        record = iam._make_aws_managed_record(name, json.dumps(document))
        iam._aws_managed_policies[f"{iam._AWS_MANAGED_POLICY_PREFIX}{name}"] = record


def refuse_what_is_missing() -> None:
    """Refuse to attach a policy that is not here, and to simulate a principal that is not, where MiniStack does not.

    Such a policy would give no rights, and the simulation would deny everything; neither would say why.
    """
    kinds = {"role": iam._roles, "user": iam._users, "group": iam._groups}

    def attach(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def checked(parameters: Any) -> Any:
            arn = iam._p(parameters, "PolicyArn")
            if iam.policy_known(arn):
                return handler(parameters)
            return iam._error(404, "NoSuchEntity", _not_attachable(arn), ns="iam")

        return checked

    def attach_of_template(entity: Any, arn: str) -> Any:
        if not iam.policy_known(arn):
            raise ValueError(f"{_not_attachable(arn)} (Service: Iam, Status Code: 404)")
        return attach_managed(entity, arn)

    def simulate(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def checked(parameters: Any) -> Any:
            kind, _, path = iam._p(parameters, "PolicySourceArn").rpartition(":")[2].partition("/")
            name = path.rpartition("/")[2]
            if name not in kinds.get(kind, (name,)):
                return iam._error(404, "NoSuchEntity", f"The {kind} with name {name} cannot be found.", ns="iam")
            return handler(parameters)

        return checked

    attach_managed = iam.attach_managed_policy
    iam.attach_managed_policy = attach_of_template
    handlers = iam._IAM_HANDLERS
    # The table serves the API; templates call the functions.
    iam._attach_role_policy = handlers["AttachRolePolicy"] = attach(iam._attach_role_policy)
    iam._attach_user_policy = handlers["AttachUserPolicy"] = attach(iam._attach_user_policy)
    iam._attach_group_policy = handlers["AttachGroupPolicy"] = attach(iam._attach_group_policy)
    handlers["SimulatePrincipalPolicy"] = simulate(handlers["SimulatePrincipalPolicy"])


def _not_attachable(arn: str) -> str:
    hint = " on the laptop cloud, which has few of AWS's own policies" if ":iam::aws:" in arn else ""
    return f"Policy {arn} does not exist or is not attachable{hint}."
