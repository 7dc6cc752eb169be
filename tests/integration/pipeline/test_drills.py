"""The drills of ``python -m local drill``, with fewer requests."""

import pytest

from proofs.drills import deployment
from proofs.drills.__main__ import DRILLS
from proofs.drills.fuzz import fuzz_api
from proofs.promises import Report
from tests.integration.pipeline.kennel import Kennel
from traffic import open_loop


@pytest.mark.parametrize("name", ["update", "kill-instance", "bad-smoke", "double-start"])
def test_drill_shows_what_is_promised(kennel: Kennel, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike in ``python -m local drill``, instances are not slowed down, and fewer requests are sent."""
    monkeypatch.setattr(deployment, "_RATE", 4)  # requests/s, on a machine that may do other work
    # Each waiting request has a function's process of its own. Where these start more slowly than requests come, more
    # and more of them would take the machine from each other.
    monkeypatch.setattr(open_loop, "NUM_SENDERS", 8)
    report = Report(name)
    DRILLS[name](kennel.drill_cloud(), report)
    assert report.held, report.document()


def test_drill_of_hostile_requests_finds_no_fault(kennel: Kennel) -> None:
    report = Report("fuzz-api")
    fuzz_api(kennel.drill_cloud(), report, count=500)
    assert report.held, report.document()


def test_drill_of_teardown_leaves_nothing(kennel: Kennel) -> None:
    report = Report("teardown")
    try:
        DRILLS["teardown"](kennel.drill_cloud(), report)
        assert report.held, report.document()
    finally:  # Other tests, which may come later, need a champion.
        assert kennel.finish(kennel.start({"promote": 1}))["status"] == "SUCCEEDED"
