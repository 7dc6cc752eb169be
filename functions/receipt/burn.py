"""What goes on costing after a run: the endpoint, the key, the alarms, the images and what the run has stored."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import prices
from prices.billed import warm_function_item
from prices.disks import has_own_disks
from prices.per_million import (
    ENDPOINT_ALARMS,
    FAST_ALARMS,
    HOURS_A_MONTH,
    MEGABYTES,
    METER_ALARMS,
    STACK_ALARMS,
    VOLUME_GB,
    WARM_ALARMS,
)
from shared.receipts import MonthlyLine

_GIGABYTE = 1e9


class Serving(NamedTuple):
    """The endpoint that serves after the run."""

    instance_type: str
    instances: int


class Standing(NamedTuple):
    """What of the stack stays beside the endpoint and the key.

    Attributes:
        warm_functions: instances of the API's function that are kept warm.
        has_meter: whether the stack has a limit of spending, and so the alarms of its meter.
        architecture: of the functions.
        staging_type: instance type of a staging endpoint that the run could not delete; empty if there is none.
    """

    warm_functions: int = 0
    has_meter: bool = False
    architecture: str = "x86_64"
    staging_type: str = ""


_NOTHING = Standing()


def serving(sagemaker: Any, name: str) -> Serving | None:
    """Return the endpoint that callers use; None if there is none, or none that goes on costing."""
    try:
        endpoint = sagemaker.describe_endpoint(EndpointName=name)
    except sagemaker.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ValidationException":  # Its name for an endpoint that is not there.
            return None
        raise
    variants = endpoint.get("ProductionVariants", [])
    count = sum(each.get("DesiredInstanceCount") or each.get("CurrentInstanceCount") or 0 for each in variants)
    if endpoint["EndpointStatus"] == "Deleting" or not count:
        return None
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    return Serving(config["ProductionVariants"][0]["InstanceType"], count)


def monthly(
    serves: Serving | None, run: Mapping[str, Any] | None, stored_bytes: int, stack: Standing = _NOTHING
) -> list[MonthlyLine]:
    """Return what goes on costing, by the price book.

    Args:
        serves: the endpoint.
        run: the ``Run`` document; None if Plan has decided none.
        stored_bytes: bytes of what the run has left in the bucket.
        stack: what else stays.
    """
    lines = []
    if serves:
        words = f"the endpoint with {serves.instances} {serves.instance_type}"
        lines += _instances(words, "the volumes of its instances", serves)
    if stack.staging_type:
        words = "the staging endpoint, which could not be deleted and goes with teardown"
        lines += _instances(words, "the volume of the staging endpoint", Serving(stack.staging_type, 1))
    lines.append(_line("the key of the stack", "kms/key", 1))
    alarms = STACK_ALARMS + (ENDPOINT_ALARMS if serves else 0) + (METER_ALARMS if stack.has_meter else 0)
    alarms += WARM_ALARMS if stack.warm_functions else 0
    lines.append(_line(f"{alarms} alarms", "cloudwatch/alarm", alarms))
    if serves:
        lines.append(_line(f"{FAST_ALARMS} alarms that look every ten seconds", "cloudwatch/fast-alarm", FAST_ALARMS))
    if stack.warm_functions:
        seconds = stack.warm_functions * MEGABYTES / 1024 * HOURS_A_MONTH * 3600
        what = f"{stack.warm_functions} instances of the API's function that are kept warm"
        lines.append(_line(what, warm_function_item(stack.architecture), seconds))
    if run and run["quote"].get("images_per_month"):
        lines.append(MonthlyLine(what="the new images in ECR", dollars_per_month=run["quote"]["images_per_month"]))
    if stored_bytes:
        what = f"{stored_bytes / 1e6:,.1f} MB that the run has left in the bucket"
        lines.append(_line(what, "s3/storage", stored_bytes / _GIGABYTE))
    return lines


def _line(what: str, item: str, quantity: float) -> MonthlyLine:
    return MonthlyLine(what=what, dollars_per_month=prices.dollars(item, quantity))


def _instances(what: str, volumes: str, of: Serving) -> list[MonthlyLine]:
    """Return the lines of an endpoint: its instances, and their volumes if they have some."""
    hour = prices.dollars(f"hosting/{of.instance_type}", of.instances)
    rate = f", ${hour:.4g} an hour" if hour is not None else ""
    lines = [_line(f"{what}{rate}", f"hosting/{of.instance_type}", of.instances * HOURS_A_MONTH)]
    if not has_own_disks(of.instance_type):
        lines.append(_line(volumes, "hosting/volume", VOLUME_GB * of.instances))
    return lines
