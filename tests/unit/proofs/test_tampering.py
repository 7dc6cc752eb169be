"""The drill ``tamper`` replaces an object only while its run rests."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proofs.drills import tampering
from proofs.drills.drill_cloud import DrillCloud


def entered(number: int, name: str, previous: int) -> dict[str, Any]:
    return {"id": number, "previousEventId": previous, "stateEnteredEventDetails": {"name": name}}


BRANCH = [entered(5, "Train", 3), entered(6, "ImagesReady", 4)]  # The other branch goes on.


@pytest.mark.parametrize(
    ("events", "rests"),
    [
        ([], False),
        ([entered(5, "IsTrained", 3)], False),
        (BRANCH, True),
        ([*BRANCH, {"id": 7, "previousEventId": 6}], True),
        ([*BRANCH, {"id": 7, "previousEventId": 5}], False),  # Train has begun its work.
    ],
)
def test_run_rests_until_the_state_begins_its_work(events: list[dict[str, Any]], rests: bool) -> None:
    states = SimpleNamespace(get_execution_history=lambda **_: {"events": events})
    cloud = cast("DrillCloud", SimpleNamespace(client=lambda _: states))
    assert tampering._rests_at(cloud, "arn", "Train") == rests
