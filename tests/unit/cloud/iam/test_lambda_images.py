"""Whether Lambda may read an image: the repository's policy, or the rights of Lambda's caller."""

import pytest

from cloud.iam import authorization, hooks

REPOSITORY = "arn:aws:ecr:us-east-1:000000000000:repository/model-server"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
READS = {
    "Sid": "Reads",
    "Effect": "Allow",
    "Principal": {"Service": "lambda.amazonaws.com"},
    "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
}
HALF = {**READS, "Action": "ecr:BatchGetImage"}
OTHERS = {**READS, "Condition": {"StringLike": {"aws:sourceArn": f"{FUNCTION}-other"}}}
ADDED = {
    **READS,
    "Sid": "LambdaECRImageRetrievalPolicy",
    "Condition": {"StringLike": {"aws:sourceArn": "arn:aws:lambda:us-east-1:000000000000:function:*"}},
}


def document(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.fixture
def caller(monkeypatch):
    """Return the actions of the caller, which the test sets, and what was asked about."""
    allowed = set()

    def denial(_key, action, resource, _context):
        assert resource == REPOSITORY
        return "" if action in allowed else f"not authorized to perform: {action}"

    monkeypatch.setattr(hooks, "denial_reason", denial)
    return allowed


def test_the_repositorys_policy_suffices(caller):
    policy = document(READS)
    assert authorization.policy_for_lambda(REPOSITORY, policy, FUNCTION) is policy


@pytest.mark.parametrize("policy", [None, document(HALF), document(OTHERS)])
def test_the_callers_rights_complete_the_policy(caller, policy):
    assert authorization.policy_for_lambda(REPOSITORY, policy, FUNCTION) is None
    caller.add("ecr:GetRepositoryPolicy")
    assert authorization.policy_for_lambda(REPOSITORY, policy, FUNCTION) is None
    caller.add("ecr:SetRepositoryPolicy")
    completed = authorization.policy_for_lambda(REPOSITORY, policy, FUNCTION)
    assert completed["Statement"] == [*(policy or {"Statement": []})["Statement"], ADDED]


def test_an_earlier_statement_of_lambda_is_replaced_and_a_denial_stays(caller):
    caller |= {"ecr:GetRepositoryPolicy", "ecr:SetRepositoryPolicy"}
    half = document({**HALF, "Sid": "LambdaECRImageRetrievalPolicy"})
    assert authorization.policy_for_lambda(REPOSITORY, half, FUNCTION)["Statement"] == [ADDED]
    assert authorization.policy_for_lambda(REPOSITORY, document({**READS, "Effect": "Deny"}), FUNCTION) is None
