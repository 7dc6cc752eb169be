"""The state machines' definitions with sample values, and their tasks, before anything is deployed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local.home import ROOT
from proofs.aws_smoke.account import Account

# The ARN of a substitution by the end of its name, without partition, region and account.
_ARNS = {
    "FunctionArn": "lambda:{region}:{number}:function:",
    "RoleArn": "iam::{number}:role/",
    "KeyArn": "kms:{region}:{number}:key/",
    "TopicArn": "sns:{region}:{number}:",
    "TeardownArn": "states:{region}:{number}:stateMachine:",
}
_NUMBERS = {"BakeSeconds": "300", "LogRetentionDays": "30"}  # substitutions that expressions read as numbers
_SAMPLE = Path(__file__).with_name("sample.json")


@dataclass(frozen=True)
class Task:
    """A task of a state machine.

    Attributes:
        file: name of the machine's file.
        name: the state's name.
        state: the state, with sample values in place of the substitutions.
    """

    file: str
    name: str
    state: dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What the tasks' expressions read in a run that uses every optional field of every request.

    Attributes:
        variables: the state machines' variables.
        inputs: the input of a task by its name; the other tasks read none.
    """

    variables: dict[str, Any]
    inputs: dict[str, Any]


def read_sample(account: Account) -> Sample:
    """Return the sample of a run, which ``tests/contract/test_smoke_sample.py`` makes."""
    return Sample(**json.loads(_with_values(account, _SAMPLE.read_text())))


def definitions(account: Account) -> dict[str, str]:
    """Return the definitions by file name, JSON, with sample values in place of the substitutions."""
    return {
        path.name: _with_values(account, json.dumps(yaml.safe_load(path.read_text())))
        for path in sorted((ROOT / "statemachine").glob("*.asl.yaml"))
    }


def _with_values(account: Account, text: str) -> str:
    """Replace each substitution by its own name, by an ARN with this name, or by a number."""

    def value(match: re.Match[str]) -> str:
        for end, arn in _ARNS.items():
            if match[1].endswith(end):
                place = arn.format(region=account.region, number=account.number)
                return f"arn:{account.partition}:{place}{match[1].removesuffix('Arn')}"
        return _NUMBERS.get(match[1], match[1].lower())

    return re.sub(r"\$\{(\w+)\}", value, text)


def tasks(account: Account) -> list[Task]:
    """Return every task of both state machines, those inside of Parallel and Map states included."""
    return [
        Task(file, name, state)
        for file, text in definitions(account).items()
        for name, state in _states(json.loads(text))
        if state["Type"] == "Task"
    ]


def _states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        for inner in (*state.get("Branches", []), *filter(None, [state.get("ItemProcessor")])):
            yield from _states(inner)
