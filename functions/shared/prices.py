"""List prices in US dollars, us-east-1: SageMaker instances on demand per hour, read 2026-11-22 and 23; EC2; images.

EC2's prices on demand (Linux) are those on which price tables in several public repositories agree, read 2026-11-29.
Spot prices change by the hour and nobody lists them for good, so spot is an estimate: half of the price on demand, the
least that a listing of AWS's Spot Instance Advisor by spotinfo showed as saved (c6g, 2021-04-29: 50 %).

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

_EC2_PER_HOUR = {
    "c5.large": 0.085,
    "c6i.large": 0.085,
    "c6i.xlarge": 0.17,
    "c7i.large": 0.08925,
    "c7i.xlarge": 0.1785,
    "g4dn.xlarge": 0.526,
    "g5.xlarge": 1.006,
    "g6.xlarge": 0.8048,
    "m5.large": 0.096,
}
_SPOT_SHARE = 0.5

_BUILD_MINUTE = 0.01  # CodeBuild, general1.medium
_GIGABYTE_MONTH = 0.10  # ECR
_MINUTES = {"train": {"cpu": 3, "cuda": 10}, "evaluate": {"cpu": 4}, "serve": {"cpu": 2}}
_GIGABYTES = {"train": {"cpu": 0.35, "cuda": 4.0}, "evaluate": {"cpu": 0.31}, "serve": {"cpu": 0.14}}


def per_hour(instance_type: str, count: int) -> float | None:
    """Return the price of ``count`` instances in dollars per hour, or None if it is unknown."""
    price = PER_HOUR.get(instance_type)
    return None if price is None else round(price * count, 4)


def ec2_per_hour(instance_type: str, spot: bool) -> float | None:
    """Return the price of one machine of EC2 in dollars per hour, or None if it is unknown; for spot an estimate."""
    price = _EC2_PER_HOUR.get(instance_type)
    return None if price is None else round(price * (_SPOT_SHARE if spot else 1), 4)


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
