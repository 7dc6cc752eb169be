"""How the pipeline takes what is new: a rebuild without news, and a scan that goes on."""

import json
from collections import ChainMap

import pytest

from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope
from tests.contract.test_failures import PIPELINE, Broken, explained
from tests.contract.test_permissions import sample_run, sample_variables

CONTEXT = {"Execution": {"Id": "arn:x", "Name": "x"}}


def failure(name, message):
    return StatesError(name, json.dumps({"errorMessage": message, "errorType": name}))


def test_a_rebuild_without_news_ends_as_a_success_and_says_why():
    cloud = Broken(explained, {}, failure("NothingToRebuildError", "no model serves"))
    output = Interpreter(cloud).run(PIPELINE, {"rebuild": True}, Scope(CONTEXT, ChainMap({})))
    assert cloud.entered == ["Plan", "WriteReceiptOfNothing", "NothingToRebuild"]
    assert output["status"] == "unchanged"
    assert json.loads(output["cause"])["errorMessage"] == "no model serves"
    assert cloud.said == []


class Scanning(Broken):
    """A cloud in which a scan ends when it has been asked about some times; what follows the gate fails."""

    def __init__(self, asked_before_the_end, verdict):
        super().__init__(explained, {}, failure("Broken", "enough"))
        self.left, self.verdict, self.asked = asked_before_the_end, verdict, []

    def invoke(self, task):
        if task.arguments.get("FunctionName") != "${GateFunctionArn}":
            return super().invoke(task)
        self.asked.append(task.arguments["Payload"])
        if len(self.asked) <= self.left:
            raise failure("ScanPendingError", "the scan has not ended")
        return {"Payload": self.verdict}


def test_the_gate_waits_for_a_scan_and_knows_its_last_attempt(template):
    variables = sample_variables(sample_run(template)) | {"planned": True, "productionTouched": False, "created": False}
    cloud = Scanning(6, variables["verdict"])
    with pytest.raises(StatesError, match="enough"):
        Interpreter(cloud).run(
            {**PIPELINE, "StartAt": "Gate"}, {}, Scope(CONTEXT, ChainMap(variables | {"registered": False}))
        )
    assert "RegisterModel" in cloud.entered
    assert [each["attempt"] for each in cloud.asked] == [0, 1, 2, 3, 4, 5, 6]
    assert {each["image"] for each in cloud.asked} == {variables["images"]["serve"]}
