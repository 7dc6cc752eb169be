"""Sessions of roles that services assume."""

import time

import pytest

from cloud.iam import hooks

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
