"""The template's rule about scans takes AWS's own events about the stack's images, and no others."""

import json
from typing import Any

import pytest

from tests.contract.conftest import template
from tests.contract.test_permissions import Resolver
from tests.integration.laptop import Cloud

__all__ = ["template"]  # the fixture

REPOSITORY = "arn:aws:ecr:us-east-1:000000000000:repository/images"


def event(source: str, kind: str, **detail: Any) -> str:
    return json.dumps(
        {
            "version": "0",
            "id": "85fc3613-e913-7fc4-a80c-a3753e4aa9ae",
            "detail-type": kind,
            "source": source,
            "account": "000000000000",
            "time": "2026-11-29T02:36:48Z",
            "region": "us-east-1",
            "resources": [REPOSITORY],
            "detail": {"image-digest": f"sha256:{'7' * 64}", "image-tags": [], **detail},
        }
    )


@pytest.mark.parametrize(
    ("told", "about"),
    [
        # As AWS's pages about events of ECR and of Inspector show them.
        (True, event("aws.ecr", "ECR Image Scan", **{
            "scan-status": "COMPLETE", "repository-name": "images", "finding-severity-counts": {"CRITICAL": 10}})),
        (True, event("aws.ecr", "ECR Image Scan", **{"scan-status": "FAILED", "repository-name": "images"})),
        (True, event("aws.inspector2", "Inspector2 Scan", **{
            "scan-status": "INITIAL_SCAN_COMPLETE", "repository-name": REPOSITORY,
            "finding-severity-counts": {"CRITICAL": 0, "HIGH": 7, "MEDIUM": 61, "TOTAL": 68}})),
        (False, event("aws.ecr", "ECR Image Scan", **{"scan-status": "COMPLETE", "repository-name": "another"})),
        (False, event("aws.ecr", "ECR Image Action", **{"action-type": "PUSH", "repository-name": "images"})),
    ],
)  # fmt: skip
def test_the_rule_takes_every_result_about_the_stacks_images(
    cloud: Cloud, template: dict[str, Any], told: bool, about: str
) -> None:
    pattern = Resolver(template).resolve(template["Resources"]["ImageScanned"]["Properties"]["EventPattern"])
    answer = cloud.client("events").test_event_pattern(EventPattern=json.dumps(pattern), Event=about)
    assert answer["Result"] is told
