"""The metrics that SageMaker puts into CloudWatch for jobs and endpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

from cloud.iam import permissions
from cloud.logs.streams import deliver, is_allowed


def put_metrics(
    namespace: str, dimensions: Mapping[str, str], data: Sequence[Mapping[str, Any]], caller: str = ""
) -> None:
    """Put metric data into CloudWatch if the caller has the permission.

    Args:
        namespace: of the metrics, for example ``AWS/SageMaker``.
        dimensions: every datum gets them.
        data: entries of PutMetricData's MetricData, without dimensions.
        caller: access key of a job's role; empty for metrics that SageMaker puts itself, which need no permission.
    """
    if data and (not caller or is_allowed(caller, permissions.metrics(namespace))):
        pairs = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        request = {"Namespace": namespace, "MetricData": [{**datum, "Dimensions": pairs} for datum in data]}
        deliver("monitoring", "GraniteServiceVersion20100801.PutMetricData", request)
