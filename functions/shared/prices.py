"""List prices in US dollars, us-east-1: SageMaker instances on demand per hour, read 2026-11-22 and 23; images.

Minutes and sizes of the images are estimates. See "What a build costs" in docs/decisions/images.md.
"""

from collections.abc import Iterable

PER_HOUR = {
    "ml.c5.large": 0.102,
    "ml.c6i.large": 0.102,
    "ml.c6i.xlarge": 0.204,
    "ml.c7i.large": 0.11,
    "ml.c7i.xlarge": 0.21,
    "ml.g4dn.xlarge": 0.7364,
    "ml.g5.xlarge": 1.408,
    "ml.g6.xlarge": 1.1267,
    "ml.m5.large": 0.115,
}

_BUILD_MINUTE = 0.01  # CodeBuild, general1.medium
_GIGABYTE_MONTH = 0.10  # ECR
_MINUTES = {"train": {"cpu": 3, "cuda": 10}, "evaluate": {"cpu": 4}, "serve": {"cpu": 2}}
_GIGABYTES = {"train": {"cpu": 0.35, "cuda": 4.0}, "evaluate": {"cpu": 0.31}, "serve": {"cpu": 0.14}}


def per_hour(instance_type: str, count: int) -> float | None:
    """Return the price of ``count`` instances in dollars per hour, or None if it is unknown."""
    price = PER_HOUR.get(instance_type)
    return None if price is None else round(price * count, 4)


def build_minutes(targets: Iterable[str], training_device: str) -> float:
    """Return the estimated minutes of CodeBuild that these targets of the Dockerfile take, all together.

    Args:
        targets: targets of the Dockerfile.
        training_device: ``cpu`` or ``cuda``; it matters for the target ``train`` only.
    """
    return sum(_MINUTES[target].get(training_device, _MINUTES[target]["cpu"]) for target in targets)


def build_price(targets: Iterable[str], training_device: str) -> float:
    """Return the estimated price of building these targets in dollars."""
    return round(_BUILD_MINUTE * build_minutes(targets, training_device), 4)


def storage_price(targets: Iterable[str], training_device: str) -> float:
    """Return the estimated price of keeping the images of these targets in ECR, in dollars per month."""
    sizes = (_GIGABYTES[target].get(training_device, _GIGABYTES[target]["cpu"]) for target in targets)
    return round(_GIGABYTE_MONTH * sum(sizes), 4)
