"""The metrics of a request to a REST API."""

import pytest

from cloud.apigateway.metrics import points_of


@pytest.mark.parametrize(
    ("status", "errors"), [(200, (0, 0)), (307, (0, 0)), (400, (1, 0)), (429, (1, 0)), (500, (0, 1)), (504, (0, 1))]
)
def test_every_request_counts_and_its_error_by_its_kind(status, errors):
    assert [(point.name, point.value, point.unit) for point in points_of(status, 12.4)] == [
        ("Count", 1, "Count"),
        ("4XXError", errors[0], "Count"),
        ("5XXError", errors[1], "Count"),
        ("Latency", 12, "Milliseconds"),
    ]
