"""The cost of the proof by list prices."""

import prices

INSTANCES = 2  # that train
_MINUTES = {"training": 10, "evaluation": 10, "endpoints": 30, "images": 15}  # generous
_EVERYTHING_ELSE = 0.05  # dollars for S3, Lambda, Step Functions, API Gateway, KMS, ECR and logs in an hour


def quote(training_type: str, serving_type: str, region: str) -> dict[str, float | None]:
    """Return the dollars for each part of the cost by list prices; None where the price is not known.

    Args:
        training_type: SageMaker's name of the instance type that trains.
        serving_type: the one that evaluates and serves.
        region: whose prices.
    """

    def minutes(item: str, count: int, part: str) -> float | None:
        return prices.dollars(item, count * _MINUTES[part] / 60, region)

    return {
        f"training, {INSTANCES} x {training_type}, {_MINUTES['training']} min": minutes(
            f"training/{training_type}", INSTANCES, "training"
        ),
        f"evaluation, {serving_type}, {_MINUTES['evaluation']} min": minutes(
            f"processing/{serving_type}", 1, "evaluation"
        ),
        f"staging, then production, {serving_type}, {_MINUTES['endpoints']} min": minutes(
            f"hosting/{serving_type}", 1, "endpoints"
        ),
        f"building the images, CodeBuild, {_MINUTES['images']} min": prices.dollars(
            "codebuild/general1.medium", _MINUTES["images"], region
        ),
        "everything else, estimated": _EVERYTHING_ELSE,
    }
