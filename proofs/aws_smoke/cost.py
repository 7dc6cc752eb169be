"""The cost of the proof by list prices."""

import runpy
from collections.abc import Callable

from local.home import ROOT

INSTANCES = 2  # that train
_MINUTES = {"training": 10, "evaluation": 10, "endpoints": 30, "images": 15}  # generous
_BUILD_PER_MINUTE = 0.01  # dollars for general1.medium of CodeBuild on Linux
_EVERYTHING_ELSE = 0.05  # dollars for S3, Lambda, Step Functions, API Gateway, KMS, ECR and logs in an hour
# The price list is a module of the functions, which this program cannot import.
_per_hour: Callable[[str, int], float | None] = runpy.run_path(str(ROOT / "functions/shared/prices.py"))["per_hour"]


def quote(training_type: str, serving_type: str) -> dict[str, float | None]:
    """Return the dollars for each part of the cost by list prices; None where the price is not known."""

    def for_minutes(instance_type: str, count: int, minutes: int) -> float | None:
        price = _per_hour(instance_type, count)
        return None if price is None else price * minutes / 60

    return {
        f"training, {INSTANCES} x {training_type}, {_MINUTES['training']} min": for_minutes(
            training_type, INSTANCES, _MINUTES["training"]
        ),
        f"evaluation, {serving_type}, {_MINUTES['evaluation']} min": for_minutes(
            serving_type, 1, _MINUTES["evaluation"]
        ),
        f"staging, then production, {serving_type}, {_MINUTES['endpoints']} min": for_minutes(
            serving_type, 1, _MINUTES["endpoints"]
        ),
        f"building the images, CodeBuild, {_MINUTES['images']} min": _BUILD_PER_MINUTE * _MINUTES["images"],
        "everything else, estimated": _EVERYTHING_ELSE,
    }
