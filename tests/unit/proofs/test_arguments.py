"""AWS's own computation of every request is compared with the laptop's."""

from typing import Any

import pytest

from local.home import LocalError
from proofs.aws_smoke.account import Account, NotCheckedError
from proofs.aws_smoke.arguments import compare_arguments, is_repeatable
from proofs.aws_smoke.definitions import Task, tasks
from proofs.aws_smoke.task_fields import TaskAnswer

ACCOUNT = Account("us-east-1", "000000000000", "arn:aws:iam::000000000000:root", "http://127.0.0.1:4566")


def answer(arguments: Any, computed: Any, name: str = "DeleteEndpoint") -> TaskAnswer:
    return TaskAnswer(Task("f", name, {"Arguments": arguments}), [], computed)


def test_expressions_are_computed_wherever_they_stand() -> None:
    answers = [
        answer(
            {"Name": "{% $verdict.decision & '!' %}", "Rest": [1, "text"]}, {"Name": "promote!", "Rest": [1, "text"]}
        ),
        answer("{% {'EndpointName': $states.input} %}", {"EndpointName": "kennel"}),
        answer({"Threshold": "{% $scaling.burst_value %}"}, {"Threshold": 6.0}),
    ]
    assert compare_arguments(ACCOUNT, answers).startswith("3 of 3 requests;")


def test_a_difference_names_the_task_and_both_requests() -> None:
    answers = [
        answer({"Tags": "{% [$range(1, 1)] %}"}, {"Tags": 1}),
        answer({"Tags": ["x"]}, {"Tags": ["x"]}),
    ]
    with pytest.raises(
        LocalError, match=r"AWS computes 1 of 2 requests otherwise: f, DeleteEndpoint: AWS computes .*1\}"
    ):
        compare_arguments(ACCOUNT, answers)


@pytest.mark.parametrize("expression", ["$states.context.Execution.Name", "$fromMillis($millis())", "$uuid()"])
def test_what_no_two_evaluations_share_is_not_compared(expression: str) -> None:
    answers = [answer({"Name": f"{{% {expression} %}}"}, {"Name": "made up by AWS"})]
    with pytest.raises(NotCheckedError, match="did not tell the requests"):
        compare_arguments(ACCOUNT, answers)
    with pytest.raises(NotCheckedError, match="did not tell the requests"):
        compare_arguments(ACCOUNT, [answer({}, None), *answers])


def test_the_laptop_computes_every_request_of_the_sample() -> None:
    found = [task for task in tasks(ACCOUNT) if is_repeatable(task.state["Arguments"])]
    with pytest.raises(LocalError, match=rf"AWS computes {len(found)} of {len(found)} requests otherwise"):
        compare_arguments(ACCOUNT, [TaskAnswer(task, [], {"no": "such"}) for task in found])
