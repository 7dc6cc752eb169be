"""What goes on costing after a run: the endpoint, the key, the alarms, the meter, the images and what is stored."""

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import prices
from prices.per_million import FAST_ALARMS, Standing, idle
from shared.model_function import find, kept_ready
from shared.receipts import MonthlyLine

_GIGABYTE = 1e9


class Serving(NamedTuple):
    """The endpoint that serves after the run."""

    instance_type: str
    instances: int


class Ready(NamedTuple):
    """The environments of the model's function that are kept ready.

    Attributes:
        number: how many.
        megabytes: memory of each.
        architecture: of their processor.
    """

    number: int = 0
    megabytes: int = 0
    architecture: str = "x86_64"


class Stored(NamedTuple):
    """What is kept in the bucket and in ECR.

    Attributes:
        num_bytes: bytes of what the run has left in the bucket.
        num_images: images in ECR from before the run.
        image_bytes: their bytes; layers that they share count with each of them, though ECR keeps these once.
    """

    num_bytes: int = 0
    num_images: int = 0
    image_bytes: int = 0


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


def ready(lambdas: Any, name: str) -> Ready:
    """Return what is kept ready of the model's function."""
    count = kept_ready(lambdas, name).get("RequestedProvisionedConcurrentExecutions", 0)
    return Ready(count, *find(lambdas, name)) if count else Ready()


def images_before(ecr: Any, repository_uri: str, begin: datetime) -> tuple[int, int]:
    """Return the number of images that the stack's repository had before a moment and still has, and their bytes.

    Args:
        ecr: the client.
        repository_uri: URI of the repository.
        begin: the moment.
    """
    name = repository_uri.partition("/")[2]
    pages = ecr.get_paginator("describe_images").paginate(repositoryName=name)
    sizes = [
        each["imageSizeInBytes"] for page in pages for each in page["imageDetails"] if each["imagePushedAt"] < begin
    ]
    return len(sizes), sum(sizes)


def monthly(stack: Standing, stored: Stored, quoted_images: float | None = None) -> list[MonthlyLine]:
    """Return what goes on costing, by the price book.

    Args:
        stack: what stays of the stack, without what is stored.
        stored: what is kept.
        quoted_images: dollars a month that Plan has estimated for the images that the run has built; None for none.
    """
    whole = replace(stack, log_gb=0, image_gb=stored.image_bytes / _GIGABYTE, bucket_gb=stored.num_bytes / _GIGABYTE)
    words = _words(whole, stored)
    lines = [MonthlyLine(what=words[name], dollars_per_month=dollars) for name, dollars in idle(whole).items()]
    if quoted_images:
        lines.append(MonthlyLine(what="the new images in ECR, estimated", dollars_per_month=quoted_images))
    return lines


def _words(stack: Standing, stored: Stored) -> dict[str, str]:
    """Return what each part of a stack is, in words."""
    return {
        "endpoint": f"the endpoint with {stack.min_instances} {stack.instance_type}"
        + _rate(stack.instance_type, stack.min_instances),
        "volume": "the volumes of its instances",
        "staging": "the staging endpoint, which could not be deleted and goes with teardown"
        + _rate(stack.staging_type, 1),
        "staging_volume": "the volume of the staging endpoint",
        "key": "the key of the stack",
        "alarms": f"{stack.num_alarms} alarms",
        "fast_alarms": f"{FAST_ALARMS} alarms that look every ten seconds",
        "meter": "the meter, which looks every five minutes, and its questions to CloudWatch",
        "dashboards": "the dashboard; an account's first three are free",
        "warm_functions": f"{stack.warm_functions} instances of the API's function that are kept warm",
        "ready_functions": f"{stack.ready_functions} environments of the model's function that are kept ready",
        "images": f"{stored.num_images} images of earlier runs in ECR, at most {stored.image_bytes / 1e9:,.2f} GB",
        "bucket": f"{stored.num_bytes / 1e6:,.1f} MB that the run has left in the bucket",
    }


def _rate(instance_type: str, count: int) -> str:
    hour = prices.dollars(f"hosting/{instance_type}", count)
    return "" if hour is None else f", ${hour:.4g} an hour"
