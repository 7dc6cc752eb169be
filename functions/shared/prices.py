"""On-demand list prices of SageMaker instances in US dollars per hour, us-east-1, read 2026-11-22 and 23."""

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


def per_hour(instance_type: str, count: int) -> float | None:
    """Return the price of ``count`` instances in dollars per hour, or None if it is unknown."""
    price = PER_HOUR.get(instance_type)
    return None if price is None else round(price * count, 4)
