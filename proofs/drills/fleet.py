"""Tells instances that died from those that auto scaling removed, by the records of both services."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from proofs.drills.drill_cloud import DrillCloud

_SETTLE_SECONDS = 120
_CARRIED_OUT = ("Successful", "InProgress")  # An activity is in progress a moment longer than its endpoint updates.
_DESIRED_COUNT = re.compile(r"Setting desired instance count to (\d+)")


class Fleet:
    """The instances of production from now on, while nothing updates the endpoint.

    Args:
        cloud: the cloud, whose endpoint is first awaited to have as many instances as it should.
    """

    def __init__(self, cloud: DrillCloud) -> None:
        self._cloud = cloud
        self._await_settled()
        self._desired, self._ids, self._since = cloud.num_instances(), cloud.instance_ids(), datetime.now(UTC)

    def num_died(self) -> int:
        """Return how many instances died since this object was made; each was replaced by another one."""
        self._await_settled()
        pages = self._cloud.client("application-autoscaling").get_paginator("describe_scaling_activities")
        activities = [
            activity
            for page in pages.paginate(ServiceNamespace="sagemaker", ResourceId=self._resource())
            for activity in page["ScalingActivities"]
            if activity["StartTime"] >= self._since
        ]
        started = self._cloud.instance_ids() - self._ids
        return len(started) - num_added(self._desired, activities)

    def _resource(self) -> str:
        (variant,) = (self._cloud.describe_endpoint() or {})["ProductionVariants"]
        return f"endpoint/{self._cloud.endpoint}/variant/{variant['VariantName']}"

    def _await_settled(self) -> None:
        def is_settled() -> bool:
            description = self._cloud.describe_endpoint() or {}
            return description.get("EndpointStatus") == "InService" and all(
                variant["CurrentInstanceCount"] == variant["DesiredInstanceCount"]
                for variant in description["ProductionVariants"]
            )

        self._cloud.wait(is_settled, "the endpoint to have its instances", _SETTLE_SECONDS)


def num_added(desired: int, activities: Sequence[dict[str, Any]]) -> int:
    """Return how many instances auto scaling added.

    Args:
        desired: the number of instances before the activities.
        activities: as DescribeScalingActivities returns them, the newest first.
    """
    added = 0
    for activity in sorted(activities, key=lambda activity: activity["StartTime"]):
        found = _DESIRED_COUNT.search(activity["Description"])
        if found and activity["StatusCode"] in _CARRIED_OUT:
            added += max(0, int(found[1]) - desired)
            desired = int(found[1])
    return added
