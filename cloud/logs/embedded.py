"""Metrics that log events hold in CloudWatch's embedded metric format."""

import json
from collections.abc import Iterator
from typing import NamedTuple


class Datum(NamedTuple):
    """A value of a metric."""

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, str]


def embedded(message: str) -> Iterator[Datum]:
    """The metrics of a log event in CloudWatch's embedded metric format; none of any other event.

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
        return  # it only looks like one: CloudWatch keeps the event and finds no metric
