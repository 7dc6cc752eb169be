"""Teardown writes the receipt of a run that was stopped or timed out, because such a run writes none itself."""

import json
from collections import ChainMap

import pytest

from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope
from shared.receipts import Receipt
from tests.contract.test_failures import Broken

RUN = "arn:aws:states:us-east-1:000000000000:execution:kennel-pipeline:20261130-101500"
OTHER = RUN.replace("101500", "111500")
CONTEXT = {"Execution": {"Id": "arn:teardown", "Name": "x"}}


def receipt(*going):
    written = Receipt(
        run="r",
        lines=[],
        dollars=0.04,
        is_lower_bound=bool(going),
        monthly=[],
        dollars_per_month=1,
        is_lower_bound_per_month=False,
        notes=[],
        open=list(going),
        text="This run cost $0.04.",
    )
    return written.model_dump()


class Account(Broken):
    """An account with the lock of a run, in which nothing but the lock and jobs is left.

    receipts: what the function answers, one after the other; an error is raised.
    asked: the payloads with which it was asked.
    """

    def __init__(self, *receipts, holder=RUN, endpoints=()):
        super().__init__(None, {}, StatesError("Broken", "no such call"))
        self.receipts, self.asked, self.holder, self.endpoints = list(receipts), [], holder, list(endpoints)

    def invoke(self, task):
        action = task.resource.rpartition(":")[2]
        if task.arguments.get("FunctionName") == "${ReceiptFunctionArn}":
            self.asked.append(task.arguments["Payload"])
            answer = self.receipts.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return {"Payload": answer}
        if task.arguments.get("FunctionName") == "${RestoreFunctionArn}":
            return {"Payload": {"done": True, "answer": "nothing is left"}}
        if action == "getParameter" and not self.holder:
            raise StatesError("Ssm.ParameterNotFoundException", "")
        if action == "deleteParameter":
            self.holder = ""
        answers = {
            "getParameter": {"Parameter": {"Value": self.holder}},
            "deleteParameter": {},
            "listHyperParameterTuningJobs": {"HyperParameterTuningJobSummaries": []},
            "listTrainingJobs": {"TrainingJobSummaries": []},
            "listJobs": {"JobSummaryList": []},
            "listEndpoints": {"Endpoints": [{"EndpointName": name} for name in self.endpoints]},
            "listEndpointConfigs": {"EndpointConfigs": []},
            "deleteEndpoint": {},
        }
        return answers[action] if action in answers else super().invoke(task)


def torn_down(machines, account, status="ABORTED", late=False):
    """Let teardown work on the event of a run; with ``late``, its deadlines are over at once."""
    text = json.dumps(machines["teardown"]).replace("${EndpointName}", "kennel").replace("${BakeSeconds}", "4")
    machine = json.loads(text.replace("$millis() > $deadline", "true") if late else text)
    event = {"detail": {"executionArn": RUN, "status": status}}
    return Interpreter(account).run(machine, event, Scope(CONTEXT, ChainMap({})))


@pytest.mark.parametrize(
    ("status", "ended"), [("ABORTED", "was stopped"), ("TIMED_OUT", "timed out"), ("FAILED", "failed")]
)
def test_a_run_that_left_its_lock_gets_its_receipt_when_it_is_taken_back(machines, status, ended):
    account = Account(receipt())
    output = torn_down(machines, account, status)
    assert account.entered.index("ReleaseLock") < account.entered.index("WriteStoppedReceipt")
    (asked,) = account.asked
    assert (asked["execution"], asked["to_come"]) == (RUN, 0)
    assert asked["gone"] > 1.7e12  # milliseconds of the present
    assert account.said == [f"20261130-101500 {ended}\n\nThis run cost $0.04."]
    assert output["receipt"] == receipt()


@pytest.mark.parametrize(("status", "is_due"), [("ABORTED", True), ("TIMED_OUT", True), ("FAILED", False)])
@pytest.mark.parametrize("holder", ["", OTHER])
def test_a_run_without_the_lock_gets_one_unless_it_has_written_its_own(machines, status, is_due, holder):
    account = Account(receipt(), holder=holder)
    output = torn_down(machines, account, status)
    assert len(account.asked) == len(account.said) == is_due
    assert bool(output["receipt"]) == is_due
    assert account.holder == holder


def test_teardown_waits_until_each_job_has_ended_and_tells_once(machines):
    account = Account(
        receipt("Not ended yet: Train", "Not ended yet: Build"), receipt("Not ended yet: Train"), receipt()
    )
    assert torn_down(machines, account)["receipt"]["open"] == []
    assert account.entered.count("AwaitEnd") == 2
    assert len({each["gone"] for each in account.asked}) == 1  # The time of the taking back does not move.
    assert len(account.said) == 1


def test_teardown_waits_no_longer_than_its_deadline(machines):
    account = Account(receipt("Not ended yet: Train"))
    assert torn_down(machines, account, late=True)["receipt"]["open"] == ["Not ended yet: Train"]


def test_a_receipt_that_fails_is_told_and_fails_nothing(machines):
    account = Account(StatesError("Sandbox.Timedout", "too long"))
    output = torn_down(machines, account)
    assert account.said == ["20261130-101500 was stopped\n\nThere is no receipt: Sandbox.Timedout"]
    assert account.entered[-1] == "Report"
    assert "lines" not in output["receipt"]


def test_a_run_that_cannot_be_taken_back_gets_its_receipt_and_teardown_fails(machines):
    account = Account(receipt(), endpoints=["kennel-r-s"])
    with pytest.raises(StatesError) as failed:
        torn_down(machines, account, late=True)
    assert failed.value.error == "TeardownTimeout"
    assert "these endpoints do not go: kennel-r-s" in failed.value.cause
    assert [each["gone"] for each in account.asked] == [0]
    assert len(account.said) == 1
    assert account.holder == RUN
