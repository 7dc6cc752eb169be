"""Read metrics from log events in CloudWatch's embedded metric format."""

import json
from collections.abc import Iterator
from typing import NamedTuple


class Datum(NamedTuple):
    """One value of a metric.

    Attributes:
        namespace: Namespace of the metric.
        name: Name of the metric.
        value: The value.
        unit: CloudWatch's unit; ``None`` (a string) where the event names no unit.
        dimensions: Dimensions by name.
    """

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, str]


def metrics_in(message: str) -> Iterator[Datum]:
    """Yield the metrics of a log event in CloudWatch's embedded metric format; none of any other event.

    Args:
        message: Message of the log event.

    Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    if '"CloudWatchMetrics"' not in message:
        return
    try:
        event = json.loads(message)
        for directive in event["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: str(event[name]) for name in names}
                for metric in directive["Metrics"]:
                    values = event[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        unit = metric.get("Unit", "None")
                        yield Datum(directive["Namespace"], metric["Name"], float(value), unit, dimensions)
    except (ValueError, KeyError, TypeError):
        return  # The event does not follow the format. CloudWatch stores such an event and finds no metric in it.
