"""Sessions of roles that services assume."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from cloud.iam import authorization, hooks
from cloud.iam.hooks import Decision

ROLE = "arn:aws:iam::000000000000:role/job"


def test_an_expired_session_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    service = "sagemaker.amazonaws.com"
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    role = {"Arn": ROLE, "RoleName": "job", "RoleId": "AROA", "AssumeRolePolicyDocument": trust}
    monkeypatch.setitem(hooks.iam._roles, "job", role)
    old, sessions = hooks.open_session(ROLE, service, "old"), hooks.sts._sessions
    assert old in sessions
    assert sessions[old]["Expiration"] > time.time() + 29 * 86_400  # A job may run for 30 days.
    sessions[old]["Expiration"] = time.time() - 1
    new = hooks.open_session(ROLE, service, "new")
    assert new in sessions
    assert old not in sessions
    del sessions[new]


MAKER = "arn:aws:sts::000000000000:assumed-role/maker/session"
STRANGER = "arn:aws:sts::000000000000:assumed-role/stranger/session"
ALL = {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


def only(principal: str) -> dict[str, object]:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:PutObject", "s3:DeleteObjectVersion"],
        "Resource": "arn:aws:s3:::b/runs/*",
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": [principal]}},
    }
    return {"Statement": [statement]}


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks.iam_evaluator, "_resolve_condition_key", hooks.iam_evaluator._resolve_condition_key)
    hooks.resolve_keys_as_aws()


@pytest.mark.usefixtures("resolving")
@pytest.mark.parametrize("path", ["/", "/teams/dogs/"])
def test_a_session_has_its_roles_arn_in_the_key_of_the_principal(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    maker = f"arn:aws:iam::000000000000:role{path}maker"
    monkeypatch.setitem(hooks.iam._roles, "maker", {"Arn": maker, "RoleName": "maker"})
    for action in ("s3:PutObject", "s3:DeleteObjectVersion"):
        by_maker, by_stranger = (
            Decision(who, action, "arn:aws:s3:::b/runs/x", {}, False, "") for who in (MAKER, STRANGER)
        )
        assert hooks.permits(by_maker, [ALL], only(maker))
        assert not hooks.permits(by_stranger, [ALL], only(maker))
        assert not hooks.permits(by_maker, [ALL], only(MAKER))  # AWS never compares the session's own ARN.
    elsewhere = Decision(STRANGER, "s3:PutObject", "arn:aws:s3:::b/dataset/x", {}, False, "")
    assert hooks.permits(elsewhere, [ALL], only(maker))


@pytest.mark.usefixtures("resolving")
def test_a_service_has_no_key_of_a_principal() -> None:
    """A negated operator is true of a key that is absent, so that such a denial also keeps services out."""
    allowed = {"Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "*", "Resource": "*"}
    by_service = Decision("logging.s3.amazonaws.com", "s3:PutObject", "arn:aws:s3:::b/runs/x", {}, False, "")
    statements = only("arn:aws:iam::000000000000:role/maker")["Statement"]
    assert hooks.permits(by_service, [], {"Statement": [allowed]})
    assert not hooks.permits(by_service, [], {"Statement": [allowed, *statements]})  # type: ignore[misc]


def test_a_role_of_a_template_is_held_to_its_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = "AWS::IAM::Role"
    monkeypatch.setattr(hooks.provisioners, "_RESOURCE_HANDLERS", dict(hooks.provisioners._RESOURCE_HANDLERS))
    hooks.limit_roles_of_templates()
    handlers, boundary = hooks.provisioners._RESOURCE_HANDLERS[kind], "arn:aws:iam::aws:policy/ReadOnlyAccess"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    everything = {"PolicyName": "all", "PolicyDocument": {"Version": "2012-10-17", **ALL}}
    properties = {"AssumeRolePolicyDocument": trust, "Policies": [everything]}
    bounded = properties | {"PermissionsBoundary": boundary}
    name, attributes = handlers["create"]("Role", bounded, "bounded-stack")
    try:
        assert hooks.iam._roles[name]["PermissionsBoundary"] == boundary
        session = authorization.assume(attributes["Arn"], "lambda.amazonaws.com", "s")
        read, write = (
            hooks.denial_reason(session, action, "arn:aws:s3:::b/k", {}) for action in ("s3:GetObject", "s3:PutObject")
        )
        assert (read, write) == ("", "No matching Allow statement")
        handlers["update"](name, bounded, properties, "bounded-stack", logical_id="Role")
        assert hooks.denial_reason(session, "s3:PutObject", "arn:aws:s3:::b/k", {}) == ""
        with pytest.raises(ValueError, match="policy/none does not exist"):
            handlers["create"]("Other", properties | {"PermissionsBoundary": "policy/none"}, "bounded-stack")
    finally:
        handlers["delete"](name, properties)


def resource_by(monkeypatch: pytest.MonkeyPatch, hook: Callable[[], None], service: str, body: bytes) -> str:
    """Return the ARN on which a request needs a right with one hook."""
    monkeypatch.setattr(hooks.iam_actions, "extract_resource_arn", hooks.iam_actions.extract_resource_arn)
    hook()
    arn = hooks.iam_actions.extract_resource_arn(service, "POST", "/", {}, body, {}, "us-east-1", "000000000000")
    return str(arn)


@pytest.mark.parametrize(
    ("service", "body", "arn"),
    [
        (
            "codebuild",
            b'{"ids": ["images:0a1b", "images:2c3d"]}',
            "arn:aws:codebuild:us-east-1:000000000000:project/images",
        ),
        ("codebuild", b'{"id": "images:0a1b"}', "arn:aws:codebuild:us-east-1:000000000000:project/images"),
        (
            "codebuild",
            b'{"id": "arn:aws:codebuild:us-east-1:000000000000:build/images:0a1b"}',
            "arn:aws:codebuild:us-east-1:000000000000:project/images",
        ),
        ("codebuild", b'{"projectName": "p"}', "arn:aws:codebuild:us-east-1:000000000000:project/p"),
        ("codebuild", b"{}", "*"),
        ("codebuild", b"no json", "*"),
        ("codebuild", b'{"ids": []}', "*"),
    ],
)
def test_a_request_about_builds_is_held_to_their_project(
    monkeypatch: pytest.MonkeyPatch, service: str, body: bytes, arn: str
) -> None:
    assert resource_by(monkeypatch, hooks.name_projects_of_builds, service, body) == arn


@pytest.mark.parametrize(
    ("service", "body", "arn"),
    [
        (
            "monitoring",
            b'{"AlarmNames": ["dogs-canary"]}',
            "arn:aws:cloudwatch:us-east-1:000000000000:alarm:dogs-canary",
        ),
        ("monitoring", b'{"AlarmNames": []}', "*"),
        ("monitoring", b"no json", "*"),
        ("codebuild", b'{"AlarmNames": ["dogs-canary"]}', "*"),
    ],
)
def test_deleting_an_alarm_needs_the_right_on_it(
    monkeypatch: pytest.MonkeyPatch, service: str, body: bytes, arn: str
) -> None:
    assert resource_by(monkeypatch, hooks.name_deleted_alarms, service, body) == arn


FUNCTIONS = "/2015-03-31/functions"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


@pytest.mark.parametrize(
    ("method", "path", "parameters", "action", "arn"),
    [
        ("POST", f"{FUNCTIONS}/f/invocations", {}, "InvokeFunction", ARN),
        ("POST", f"{FUNCTIONS}/f/invocations", {"Qualifier": ["live"]}, "InvokeFunction", f"{ARN}:live"),
        ("POST", f"{FUNCTIONS}/f:live/invocations", {"Qualifier": ["live"]}, "InvokeFunction", f"{ARN}:live"),
        ("GET", f"{FUNCTIONS}/f/aliases/live", {}, "GetAlias", ARN),
        ("PUT", f"{FUNCTIONS}/f/aliases/live", {}, "UpdateAlias", ARN),
        ("GET", f"{FUNCTIONS}/f/aliases", {}, "ListAliases", ARN),
        ("GET", f"{FUNCTIONS}/f/versions", {}, "ListVersionsByFunction", ARN),
        ("DELETE", f"{FUNCTIONS}/f", {"Qualifier": "3"}, "DeleteFunction", f"{ARN}:3"),
        ("GET", "/2019-09-30/functions/f/concurrency", {}, "GetFunctionConcurrency", ARN),
        ("DELETE", "/2017-10-31/functions/f/concurrency", {}, "DeleteFunctionConcurrency", ARN),
        (
            "DELETE",
            "/2019-09-30/functions/f/provisioned-concurrency",
            {"Qualifier": ["live"]},
            "DeleteProvisionedConcurrencyConfig",
            f"{ARN}:live",
        ),
        ("GET", "/2016-08-19/account-settings", {}, "GetAccountSettings", "*"),
    ],
)
def test_a_request_about_functions_needs_the_right_that_aws_asks_for(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, parameters: dict[str, Any], action: str, arn: str
) -> None:
    for name in ("extract_iam_action", "extract_resource_arn"):
        monkeypatch.setattr(hooks.iam_actions, name, getattr(hooks.iam_actions, name))
    hooks.name_actions_of_functions()
    request = ("lambda", method, path, {}, b"", parameters)
    assert hooks.iam_actions.extract_iam_action(*request) == f"lambda:{action}"
    assert hooks.iam_actions.extract_resource_arn(*request, "us-east-1", "000000000000") == arn
