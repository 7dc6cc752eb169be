"""A drill stops an execution exactly at the state that the execution's name has."""

import pytest

from cloud.stepfunctions import hooks
from cloud.stepfunctions.executions import StoppableWork


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch):
    """Return a function that lets an execution of a name enter states until it is stopped; it returns their names."""

    def enter(name, *states):
        execution = {"name": name, "executionArn": "arn:x", "status": "RUNNING", "events": []}

        def stop(_request):
            execution.update(status="ABORTED")
            # What the event of this end starts, such as teardown, inherits the context and must not end with it.
            assert not StoppableWork.current_is_stopped()

        monkeypatch.setattr(hooks.stepfunctions, "_stop_execution", stop)
        services = hooks._MiniStackServices(execution, lambda *_: None)
        found = []
        with StoppableWork(lambda: execution["status"] == "RUNNING").entered():
            for state in states:
                found.append(state)
                try:
                    services.record("TaskStateEntered", {"stateEnteredEventDetails": {"name": state}}, 0)
                except SystemExit:
                    break
        return found, execution["status"]

    return enter


def test_execution_is_stopped_as_it_enters_the_state_of_its_name(entered, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hooks, "_STOPS", True)
    assert entered("stop-at-Promote-1", "ApproveModel", "Promote", "NotifyResult") == (
        ["ApproveModel", "Promote"],
        "ABORTED",
    )
    assert entered("nightly", "ApproveModel", "Promote") == (["ApproveModel", "Promote"], "RUNNING")


def test_names_stop_nothing_without_the_setting(entered):
    assert entered("stop-at-Promote-1", "Promote", "NotifyResult") == (["Promote", "NotifyResult"], "RUNNING")
