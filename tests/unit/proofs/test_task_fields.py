"""The question to Step Functions about every field: what is sent, and what its answers mean."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.home import LocalError
from proofs.aws_smoke import task_fields
from proofs.aws_smoke.account import Account, NotCheckedError
from proofs.aws_smoke.definitions import Task, definitions, tasks
from proofs.aws_smoke.task_fields import ask_step_functions, check_fields, lone_state, refusal

DENIED = {
    "status": "FAILED",
    "error": "SageMaker.AmazonSageMakerException",
    "cause": "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: sagemaker:CreateTrainingJob",
}
UNKNOWN = {
    "status": "FAILED",
    "error": "States.Runtime",
    "cause": 'The field "ContainerEntrypoint" is not supported by Step Functions',
}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (DENIED, ""),
        ({"status": "FAILED", "error": "S3.S3Exception", "cause": "Access Denied (Service: S3, Status Code: 403)"}, ""),
        ({"status": "FAILED", "error": "States.Permissions", "cause": "no right"}, ""),
        (UNKNOWN, 'States.Runtime: The field "ContainerEntrypoint" is not supported by Step Functions'),
        (
            {"status": "FAILED", "error": "States.QueryEvaluationError", "cause": "returned nothing (undefined)"},
            "States.QueryEvaluationError: returned nothing (undefined)",
        ),
        ({"status": "SUCCEEDED", "output": "{}"}, "it was allowed, although the role has no rights"),
    ],
)
def test_only_a_refusal_by_the_service_says_that_all_fields_are_known(answer: dict[str, str], reason: str) -> None:
    assert refusal(answer) == reason


class RecordedStepFunctions:
    """Answers TestState as AWS would that does not know some fields, and keeps what was asked.

    Attributes:
        unknown: fields that it does not know.
        roles: the roles that exist.
        asked: the requests of TestState.
    """

    def __init__(self, *unknown: str, looks: bool = True, not_yet: int = 0) -> None:
        self.unknown, self._looks, self._not_yet = ({"NoSuchField", *unknown} if looks else set()), looks, not_yet
        self.roles: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []

    def create_role(self, RoleName: str, AssumeRolePolicyDocument: str) -> dict[str, Any]:
        self.roles[RoleName] = json.loads(AssumeRolePolicyDocument)
        return {"Role": {"Arn": f"arn:aws:iam::1:role/{RoleName}"}}

    def delete_role(self, RoleName: str) -> None:
        del self.roles[RoleName]

    def test_state(self, **request: str) -> dict[str, str]:
        self.asked.append(json.loads(request["definition"]))
        if len(self.asked) <= self._not_yet:
            message = "Neither the global service principal states.amazonaws.com is authorized to assume the role."
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "TestState")
        for field in sorted(self.unknown):
            if f"'{field}'" in request["definition"] or f'"{field}"' in request["definition"]:
                cause = f'The field "{field}" is not supported by Step Functions'
                return {"status": "FAILED", "error": "States.Runtime", "cause": cause}
        return DENIED


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    monkeypatch.setattr(Account, "poll_seconds", 0.0)
    return Account("us-east-1", "123456789012", "arn:aws:iam::123456789012:user/x", "")


def asks(monkeypatch: pytest.MonkeyPatch, answers: RecordedStepFunctions) -> None:
    monkeypatch.setattr(Account, "client", lambda _self, _service: answers)


def test_every_task_is_sent_once_by_a_role_that_is_gone_afterwards(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = RecordedStepFunctions()
    asks(monkeypatch, answers)
    found = tasks(account)
    assert (
        check_fields(ask_step_functions(account, "kennelsmoke1")) == f"{len(found)} requests, each refused by IAM alone"
    )
    assert sorted(state["Resource"] for state in answers.asked[1:]) == sorted(
        task.state["Resource"].removesuffix(".sync") for task in found
    )
    assert answers.roles == {}


def test_each_refused_field_is_named_with_its_tasks(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = RecordedStepFunctions("MetricName", "Value")  # The second stands inside of lists, too.
    asks(monkeypatch, answers)
    with pytest.raises(LocalError) as refused:
        check_fields(ask_step_functions(account, "kennelsmoke1"))
    names = [
        f'States.Runtime: The field "{name}" is not supported by Step Functions' for name in ("MetricName", "Value")
    ]
    assert f"pipeline.asl.yaml, PutBurstAlarm: {' and '.join(names)}" in str(refused.value)
    assert f"pipeline.asl.yaml, Promote: {names[1]}" in str(refused.value)
    assert answers.roles == {}


def test_a_field_that_an_expression_makes_is_named_once(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Task(
        "f",
        "n",
        {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:sagemaker:createModel",
            "Arguments": "{% {'MetricsConfig': 1} %}",
            "TimeoutSeconds": 5,
        },
    )
    asks(monkeypatch, RecordedStepFunctions("MetricsConfig"))
    monkeypatch.setattr(task_fields, "tasks", lambda _: [made])
    with pytest.raises(
        LocalError, match=r'^Step Functions refuses 1 of 1 requests: f, n: States.Runtime: The field "Me'
    ):
        check_fields(ask_step_functions(account, "kennelsmoke1"))


def test_a_definition_that_is_refused_is_named(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = RecordedStepFunctions()
    send = answers.test_state

    def refuse(**request: str) -> dict[str, str]:
        if "putMetricAlarm" in request["definition"]:
            message = "Invalid definition: 'SCHEMA_VALIDATION_FAILED: The field 'X' is not supported by Step Functions'"
            raise ClientError({"Error": {"Code": "InvalidDefinition", "Message": message}}, "TestState")
        return send(**request)

    monkeypatch.setattr(answers, "test_state", refuse)
    asks(monkeypatch, answers)
    with pytest.raises(LocalError, match=r"PutBurstAlarm: States\.InvalidDefinition: Invalid definition: 'SCHEMA_VAL"):
        check_fields(ask_step_functions(account, "kennelsmoke1"))


def test_a_caller_without_the_right_to_test_is_told(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = RecordedStepFunctions()

    def refuse(**_: str) -> dict[str, str]:
        message = "User x is not authorized to perform: states:TestState"
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "TestState")

    monkeypatch.setattr(answers, "test_state", refuse)
    asks(monkeypatch, answers)
    with pytest.raises(NotCheckedError, match="not authorized to perform: states:TestState"):
        check_fields(ask_step_functions(account, "kennelsmoke1"))
    assert answers.roles == {}


def test_only_a_laptop_cloud_is_asked_by_its_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for url, own_host in (("", True), ("http://127.0.0.1:4566", False)):
        client = Account("us-east-1", "1", "arn:aws:iam::1:root", url).client("stepfunctions")
        assert client.meta.config.inject_host_prefix is own_host


def test_a_cloud_that_looks_at_no_field_proves_nothing(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = RecordedStepFunctions(looks=False)
    asks(monkeypatch, answers)
    with pytest.raises(NotCheckedError, match="sends fields that do not exist"):
        check_fields(ask_step_functions(account, "kennelsmoke1"))
    assert answers.roles == {}


def test_a_new_role_is_awaited_but_not_for_ever(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = RecordedStepFunctions(not_yet=5)
    asks(monkeypatch, answers)
    assert check_fields(ask_step_functions(account, "kennelsmoke1")).endswith("refused by IAM alone")
    monkeypatch.setattr(task_fields, "_ROLE_SECONDS", -1)
    asks(monkeypatch, RecordedStepFunctions(not_yet=5))
    with pytest.raises(NotCheckedError, match="could not assume a new role"):
        check_fields(ask_step_functions(account, "kennelsmoke1"))


def test_a_job_is_sent_in_the_form_that_does_not_wait_and_nothing_hides_its_error() -> None:
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sagemaker:createProcessingJob.sync",
        "Arguments": {"ProcessingJobName": "x"},
        "TimeoutSeconds": 5,
        "Retry": [{"ErrorEquals": ["States.ALL"]}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Elsewhere"}],
        "Output": "{% $states.result.ProcessingJobName %}",
        "Next": "Elsewhere",
    }
    assert lone_state(Task("f", "n", state)) == {
        "QueryLanguage": "JSONata",
        "Type": "Task",
        "Resource": "arn:aws:states:::sagemaker:createProcessingJob",
        "Arguments": {"ProcessingJobName": "x"},
        "TimeoutSeconds": 5,
        "End": True,
    }


def test_substitutions_become_arns_of_the_account() -> None:
    china = Account("cn-north-1", "123456789012", "arn:aws-cn:iam::123456789012:user/x", "")
    text = "".join(definitions(china).values())
    assert "arn:aws-cn:lambda:cn-north-1:123456789012:function:PlanFunction" in text
    assert "arn:aws-cn:iam::123456789012:role/ServingRole" in text
    assert "${" not in text
