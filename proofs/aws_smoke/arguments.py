"""Compares the requests that AWS's Step Functions computed with those that the laptop's interpreter computes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cloud.stepfunctions import expressions
from local.home import LocalError
from proofs.aws_smoke.account import Account, NotCheckedError
from proofs.aws_smoke.definitions import Sample, read_sample
from proofs.aws_smoke.task_fields import TaskAnswer

# TestState makes up the execution's context, and the answer does not tell it. The others differ at each evaluation.
_UNREPEATABLE = ("$states.context", "$millis(", "$now(", "$random(", "$uuid(")


def compare_arguments(account: Account, answers: Sequence[TaskAnswer]) -> str:
    """Return how many requests are equal.

    Args:
        account: the account.
        answers: of Step Functions.

    Raises:
        LocalError: the laptop computes another request than AWS; the message names the tasks.
        NotCheckedError: this cloud does not tell the requests.
    """
    sample = read_sample(account)
    told = [each for each in answers if each.arguments is not None and is_repeatable(each.task.state["Arguments"])]
    if not told:
        raise NotCheckedError("TestState did not tell the requests")
    if different := [
        f"{each.task.file}, {each.task.name}: AWS computes {json.dumps(each.arguments)[:500]}, the laptop "
        f"{json.dumps(here)[:500]}"
        for each in told
        if (here := _computed(each, sample)) != each.arguments
    ]:
        raise LocalError(f"AWS computes {len(different)} of {len(told)} requests otherwise: {'; '.join(different)}")
    return f"{len(told)} of {len(answers)} requests; the others read the context or the clock, or were not told"


def is_repeatable(arguments: Any) -> bool:
    """Whether two evaluations of the arguments, here and on AWS, must be equal."""
    text = json.dumps(arguments)
    return not any(name in text for name in _UNREPEATABLE)


def _computed(answer: TaskAnswer, sample: Sample) -> Any:
    states = {"input": sample.inputs.get(answer.task.name, {})}
    return _filled(answer.task.state["Arguments"], sample.variables, states)


def _filled(value: Any, variables: Mapping[str, Any], states: Mapping[str, Any]) -> Any:
    """Evaluate the expressions inside of a value."""
    if isinstance(value, dict):
        return {name: _filled(each, variables, states) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, variables, states) for each in value]
    if isinstance(value, str) and value.startswith("{%") and value.endswith("%}"):
        return expressions.evaluate(value[2:-2].strip(), variables, states)
    return value
