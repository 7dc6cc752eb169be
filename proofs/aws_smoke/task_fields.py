"""Asks Step Functions itself whether it knows each field of each request that the state machines send.

Step Functions keeps a list of fields for each operation that it integrates. A field that it does not know, in a request
that an expression makes, ends an execution by ``States.Runtime``, which no Catch takes. TestState runs a single state
without a state machine. AWS does not say whether it looks at a request's fields when a mock answers, so there is no
mock, and it really sends the requests, by a role without any right: a request whose fields are all known is refused by
IAM, and nothing can be created, changed or read. Tasks that wait for a job (``.sync``) cannot be tested without a mock;
they are sent in the form that does not wait, which has the same fields.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from local.home import LocalError
from proofs.aws_smoke.account import Account, NotCheckedError
from proofs.aws_smoke.definitions import Task, read_sample, tasks

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
_ROLE_SECONDS = 90  # A new role can be assumed after some seconds.
_NOT_ASSUMABLE = re.compile("authorized to assume|unable to assume|cannot be assumed", re.IGNORECASE)
_AT_ONCE = 3  # AWS throttles callers that ask too often.
_WAITS = re.compile(r"\.(sync(:2)?|waitForTaskToken)$")
_UNSUPPORTED = re.compile(r"""[Ff]ield ["']?(\w+)["']? is not supported""")
# Step Functions' own errors that say that a request left it.
_SENT = ("States.Permissions", "States.TaskFailed")
# A request with a field that no service has; whoever takes it does not look at the fields.
_IMPOSSIBLE = Task(
    "impossible",
    "Impossible",
    {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint",
        "Arguments": "{% {'EndpointName': 'none', 'NoSuchField': 'x'} %}",
        "TimeoutSeconds": 60,
    },
)


@dataclass(frozen=True)
class TaskAnswer:
    """What Step Functions said about a task's request.

    Attributes:
        task: the task.
        reasons: why Step Functions did not send the request, in words; empty if it did and IAM refused it.
        arguments: the request as Step Functions computed it; None if it did not say.
    """

    task: Task
    reasons: list[str]
    arguments: Any


def ask_step_functions(account: Account, name: str) -> list[TaskAnswer]:
    """Let Step Functions send every request of both state machines, by a role without rights.

    Args:
        account: the account.
        name: the stack's name; the role's name begins with it.

    Raises:
        NotCheckedError: the caller may not do this, or this cloud does not look at the fields.
    """
    with _powerless_role(account, name) as role:
        ask = partial(_ask, account, role)
        if not ask(_IMPOSSIBLE).reasons:
            raise NotCheckedError("TestState of this cloud sends fields that do not exist")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(ask, tasks(account)))


def check_fields(answers: Sequence[TaskAnswer]) -> str:
    """Return how many requests were sent.

    Raises:
        LocalError: Step Functions refuses a request; the message names each such task with AWS's reasons.
    """
    refused = [f"{each.task.file}, {each.task.name}: {' and '.join(each.reasons)}" for each in answers if each.reasons]
    if refused:
        raise LocalError(f"Step Functions refuses {len(refused)} of {len(answers)} requests: {'; '.join(refused)}")
    return f"{len(answers)} requests, each refused by IAM alone"


@contextmanager
def _powerless_role(account: Account, name: str) -> Iterator[str]:
    """Create a role that Step Functions may assume and that has no right; delete it in the end."""
    iam, role = account.client("iam"), f"{name}-no-rights"
    try:
        arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(_TRUST))["Role"]["Arn"]
    except ClientError as error:
        raise NotCheckedError(str(error)) from error
    try:
        yield str(arn)
    finally:
        iam.delete_role(RoleName=role)


def lone_state(task: Task) -> dict[str, Any]:
    """Return a task as TestState may send it: alone, not waiting for a job, with nothing that hides its error."""
    kept: dict[str, Any] = {key: task.state[key] for key in ("Type", "Arguments", "TimeoutSeconds")}
    resource = _WAITS.sub("", task.state["Resource"])
    return {"QueryLanguage": "JSONata", **kept, "Resource": resource, "End": True}


def _ask(account: Account, role: str, task: Task) -> TaskAnswer:
    """Ask about a task.

    AWS names one field at a time. A field that is named and that stands literally in the state is left out, and the
    rest is asked again.
    """
    state, reasons = lone_state(task), []
    answer = _test_state(account, role, task.name, state)
    arguments = answer.get("inspectionData", {}).get("afterArguments")
    while reason := refusal(answer):
        reasons.append(reason)
        field = _UNSUPPORTED.search(reason)
        smaller = state | {"Arguments": _without(field[1], state["Arguments"])} if field else state
        if smaller == state:
            break
        state = smaller
        answer = _test_state(account, role, task.name, state)
    return TaskAnswer(task, reasons, json.loads(arguments) if arguments else None)


def _without(field: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(field, each) for name, each in value.items() if name != field}
    return [_without(field, each) for each in value] if isinstance(value, list) else value


def _test_state(account: Account, role: str, name: str, state: dict[str, Any]) -> dict[str, Any]:
    states, sample = account.client("stepfunctions"), read_sample(account)
    request = {
        "definition": json.dumps(state),
        "roleArn": role,
        "input": json.dumps(sample.inputs.get(name, {})),
        "variables": json.dumps(sample.variables),
        "inspectionLevel": "DEBUG",  # Then the answer tells the request.
    }
    deadline = time.monotonic() + _ROLE_SECONDS
    while True:
        try:
            answer: dict[str, Any] = states.test_state(**request)
        except ClientError as error:
            answer = _answer_of(error)
        if not _NOT_ASSUMABLE.search(answer.get("cause", "")):
            return answer
        if time.monotonic() > deadline:
            raise NotCheckedError(f"Step Functions could not assume a new role: {answer['cause']}")
        time.sleep(account.poll_seconds)


def _answer_of(error: ClientError) -> dict[str, Any]:
    """Return an answer of TestState that says what its refusal of a definition says."""
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    if code in ("InvalidDefinition", "ValidationException") or _NOT_ASSUMABLE.search(message):
        return {"status": "FAILED", "error": f"States.{code}", "cause": message}
    raise NotCheckedError(str(error)) from error  # The caller may not test, or this cloud has no TestState.


def refusal(answer: dict[str, Any]) -> str:
    """Return in words why Step Functions did not send a request; empty if it did and the service refused it.

    Args:
        answer: of TestState.
    """
    error, cause = answer.get("error", ""), answer.get("cause", "")
    if answer["status"] == "SUCCEEDED":
        return "it was allowed, although the role has no rights"
    return f"{error}: {cause}" if not error or (error.startswith("States.") and error not in _SENT) else ""
