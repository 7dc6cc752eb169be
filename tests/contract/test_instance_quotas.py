"""A run needs no more instances than its documents say, and waits for those that are being freed."""

import pytest

from tests.contract.conftest import states_of
from tests.contract.test_failures import Broken, explained, run_from

TAKES_INSTANCES = ("createEndpoint", "updateEndpoint", "createProcessingJob.sync")
EXCEEDED = "SageMaker.ResourceLimitExceededException"
PRODUCTION, STAGING = ({"EndpointName": name, "EndpointStatus": "InService"} for name in ("kennel", "kennel-x-s"))


def test_what_takes_instances_waits_ten_minutes_for_the_quota(machines):
    """At the call SageMaker refuses instances beyond the account's quota; those of a deletion count until it ends."""
    taking = [
        (name, state)
        for name, state in states_of(machines["pipeline"])
        if state.get("Resource", "").rpartition(":")[2] in TAKES_INSTANCES
    ]
    assert {name for name, _ in taking} == {
        *("Evaluate", "CreateStaging", "CreateProduction", "UpdateProduction", "RestoreProduction")
    }
    for name, state in taking:
        [retrier] = [each for each in state["Retry"] if EXCEEDED in each["ErrorEquals"]]
        assert (retrier["IntervalSeconds"], retrier["BackoffRate"], retrier["MaxAttempts"]) == (30, 1, 20), name


@pytest.mark.parametrize(("served", "next_step"), [([], "CreateProduction"), ([PRODUCTION], "RememberProduction")])
def test_production_changes_only_when_staging_is_gone(served, next_step, template, monkeypatch):
    listings = iter([[*served, {**STAGING, "EndpointStatus": "Deleting"}]] * 2 + [served] * 9)
    entered = enter(template, monkeypatch, lambda: {"Endpoints": next(listings)}, staging_deadline=10**15)
    assert entered[:7] == [*("FindProduction", "CreateOrUpdate", "AwaitStagingEnd") * 2, "FindProduction"]
    assert entered[8] == next_step


def test_run_fails_if_staging_does_not_go(template, monkeypatch):
    entered = enter(template, monkeypatch, lambda: {"Endpoints": [STAGING]}, staging_deadline=0)
    assert entered[:3] == ["FindProduction", "CreateOrUpdate", "ExplainFailure"]


def enter(template, monkeypatch, list_endpoints, staging_deadline):
    """Return the states that a run enters from FindProduction on; every other call fails."""
    clouds = []

    class Listing(Broken):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            clouds.append(self)

        def invoke(self, task):
            return list_endpoints() if task.resource.endswith(":listEndpoints") else super().invoke(task)

    monkeypatch.setattr("tests.contract.test_failures.Broken", Listing)
    names = {"staging_name": STAGING["EndpointName"], "name": PRODUCTION["EndpointName"]}
    run_from("FindProduction", {}, explained, template, endpoint=names, stagingDeadline=staging_deadline)
    return clouds[0].entered
