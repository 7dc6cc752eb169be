"""Deaths of instances are told from scaling steps by the records of the endpoint and of auto scaling."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proofs.drills.fleet import Fleet, num_added


class RecordedCloud:
    """Stands for the cloud of a drill: the records of an endpoint and of auto scaling, which a test changes.

    Attributes:
        ids: of all instances that the endpoint ever started.
        desired: number of instances, all of which serve.
        activities: of auto scaling, the newest first.
    """

    endpoint = "kennel"

    def __init__(self, desired: int) -> None:
        self.ids, self.desired = [f"i-{number}" for number in range(desired)], desired
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        self.activities: list[dict[str, Any]] = [activity(7, long_ago)]

    def scale(self, desired: int) -> None:
        """Let auto scaling add or remove instances."""
        self.start(max(0, desired - self.desired))
        self.desired = desired
        self.activities.insert(0, activity(desired, datetime.now(UTC)))

    def start(self, count: int = 1) -> None:
        """Start instances; without scaling, because as many died."""
        self.ids += [f"i-{len(self.ids) + number}" for number in range(count)]

    def instance_ids(self) -> set[str]:
        return set(self.ids)

    def num_instances(self) -> int:
        return self.desired

    def describe_endpoint(self) -> dict[str, Any]:
        variant = {"VariantName": "main"} | dict.fromkeys(
            ("CurrentInstanceCount", "DesiredInstanceCount"), self.desired
        )
        return {"EndpointStatus": "InService", "ProductionVariants": [variant]}

    def wait(self, condition: Any, event: str, seconds: float) -> float:
        assert condition(), (event, seconds)
        return 0.0

    def client(self, service: str) -> Any:
        assert service == "application-autoscaling"
        return self

    def get_paginator(self, operation: str) -> Any:
        assert operation == "describe_scaling_activities"
        return self

    def paginate(self, **request: str) -> list[dict[str, Any]]:
        assert request == {"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/kennel/variant/main"}
        return [{"ScalingActivities": self.activities[:1]}, {"ScalingActivities": self.activities[1:]}]


def activity(desired: int, start: datetime, status: str = "Successful") -> dict[str, Any]:
    return {
        "Description": f"Setting desired instance count to {desired}.",
        "StartTime": start,
        "StatusCode": status,
    }


@pytest.mark.parametrize("steps", [[], [3], [1], [4, 1], [1, 3], [3, 1, 2], [4, 3, 2]])
@pytest.mark.parametrize("dead", [0, 1, 3])
def test_deaths_are_counted_whatever_auto_scaling_does(steps: list[int], dead: int) -> None:
    cloud = RecordedCloud(2)
    fleet = Fleet(cloud)  # type: ignore[arg-type]
    for desired in steps:
        cloud.scale(desired)
    cloud.start(dead)
    assert fleet.num_died() == dead


def test_activities_that_failed_or_did_not_scale_add_nothing() -> None:
    now = datetime.now(UTC)
    not_scaled = {"Description": "Attempting to scale due to alarm triggered", "StartTime": now, "StatusCode": "Failed"}
    assert num_added(1, [activity(5, now, "Failed"), not_scaled]) == 0
    assert num_added(1, [activity(2, now, "InProgress")]) == 1
    assert num_added(1, [activity(2, now + timedelta(seconds=2)), activity(3, now)]) == 2
