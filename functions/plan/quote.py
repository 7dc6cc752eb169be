"""What a run may cost, by the price book and by estimated minutes and sizes of images.

Minutes and sizes of the images are estimates. See "What a build costs" in docs/decisions/images.md.
"""

from collections.abc import Iterable

import prices
from prices.billed import warm_function_item
from shared.contracts import EndpointPlan, FunctionPlan, ImagePlan, Quote, TrainingPlan

_BUILD = "codebuild/general1.medium"
_MINUTES = {"train": {"cpu": 3.0, "cuda": 10.0}, "evaluate": {"cpu": 4.0}, "serve": {"cpu": 2.0}}
_GIGABYTES = {"train": {"cpu": 0.35, "cuda": 4.0}, "evaluate": {"cpu": 0.31}, "serve": {"cpu": 0.14}}


def quote(
    endpoint: EndpointPlan, function: FunctionPlan, training: TrainingPlan | None, images: ImagePlan, device: str
) -> Quote:
    """Return the prices of a run's parts in the region of the stack.

    Args:
        endpoint: what will serve.
        function: the function that will serve beside it or in its place.
        training: what trains; None if nothing does.
        images: which images are missing.
        device: ``cpu`` or ``cuda``, on which the training image trains.
    """
    price: float | None = 0.0
    saved = None
    if training and training.ec2:
        price = _ec2_per_hour(training.instance_type, training.spot)
        full = sagemaker_per_hour("training", f"ml.{training.instance_type}", 1)
        saved = round(1 - price / full, 2) if price and full else None
    elif training:
        price = sagemaker_per_hour("training", training.instance_type, training.instance_count)
    builds = (images.training_build, images.serving_build)
    targets = [target for build in builds if build for target in build.targets]
    minutes = _sum(_MINUTES, targets, device)
    return Quote(
        training_per_hour=price,
        training_saved=saved,
        endpoint_per_hour=sagemaker_per_hour("hosting", endpoint.instance_type, endpoint.min_instances),
        function_per_hour=warm_function_per_hour(function, function.provisioned),
        build=_rounded(prices.dollars(_BUILD, minutes)) if targets else 0,
        build_minutes=minutes,
        images_per_month=_rounded(prices.dollars("ecr/storage", _sum(_GIGABYTES, targets, device))) if targets else 0,
    )


def sagemaker_per_hour(component: str, instance_type: str, count: int) -> float | None:
    """Return the price of ``count`` instances in dollars per hour, or None if it is not known.

    Args:
        component: what they do: ``hosting``, ``training`` or ``processing``.
        instance_type: SageMaker's name, such as ``ml.c7i.large``.
        count: how many.
    """
    return _rounded(prices.dollars(f"{component}/{instance_type}", count)) if count else 0.0


def warm_function_per_hour(function: FunctionPlan, count: int) -> float | None:
    """Return the price of keeping ``count`` environments warm in dollars per hour, or None if it is not known."""
    gb_seconds = count * function.memory_mb / 1024 * 3600
    return _rounded(prices.dollars(warm_function_item(function.architecture), gb_seconds)) if count else 0.0


def _ec2_per_hour(instance_type: str, spot: bool) -> float | None:
    """Return the price of one machine of EC2 in dollars per hour, or None if it is not known; for spot an estimate."""
    share = prices.spot_share() if spot else 1
    return _rounded(prices.dollars(f"ec2/{instance_type}", share))


def _sum(amounts: dict[str, dict[str, float]], targets: Iterable[str], device: str) -> float:
    return sum(amounts[target].get(device, amounts[target]["cpu"]) for target in targets)


def _rounded(price: float | None) -> float | None:
    return None if price is None else round(price, 4)
