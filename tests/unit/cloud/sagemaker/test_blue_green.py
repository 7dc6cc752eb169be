"""The stages in which an update moves traffic; the expected values are computed by hand."""

from fractions import Fraction
from typing import Any

import pytest

from cloud.sagemaker.endpoints.blue_green import traffic_stages


def policy(kind: str, **members: Any) -> dict[str, Any]:
    return {
        "TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": 300, **members},
        "TerminationWaitInSeconds": 120,
    }


def size(kind: str, value: int) -> dict[str, Any]:
    return {"Type": kind, "Value": value}


@pytest.mark.parametrize(
    ("routing", "shares"),
    [
        (policy("ALL_AT_ONCE"), []),
        (policy("CANARY", CanarySize=size("INSTANCE_COUNT", 1)), [Fraction(1, 4)]),
        (policy("CANARY", CanarySize=size("CAPACITY_PERCENT", 30)), [Fraction(3, 10)]),
        (policy("LINEAR", LinearStepSize=size("INSTANCE_COUNT", 1)), [Fraction(n, 4) for n in (1, 2, 3)]),
        (policy("LINEAR", LinearStepSize=size("INSTANCE_COUNT", 2)), [Fraction(1, 2)]),
        (policy("LINEAR", LinearStepSize=size("CAPACITY_PERCENT", 33)), [Fraction(n, 100) for n in (33, 66, 99)]),
    ],
)
def test_traffic_moves_in_the_policys_steps_and_then_wholly(routing: dict[str, Any], shares: list[Fraction]) -> None:
    *partial, last = traffic_stages(routing, {"main": 4})
    assert [stage.shares for stage in partial] == [{"main": share} for share in shares]
    assert {(stage.seconds, stage.wait) for stage in partial} <= {(300, "WaitIntervalInSeconds")}
    assert last == ({"main": 1}, 120, "TerminationWaitInSeconds")


def test_variants_of_different_size_take_their_steps_together() -> None:
    linear = policy("LINEAR", LinearStepSize=size("INSTANCE_COUNT", 1))
    assert [stage.shares for stage in traffic_stages(linear, {"small": 2, "large": 4})] == [
        {"small": Fraction(1, 2), "large": Fraction(1, 4)},
        {"small": 1, "large": Fraction(1, 2)},
        {"small": 1, "large": Fraction(3, 4)},
        {"small": 1, "large": 1},
    ]


def test_without_a_policy_nothing_bakes() -> None:
    assert traffic_stages({}, {"main": 2}) == [({"main": 1}, 0, "TerminationWaitInSeconds")]
