"""Rank: find the best trials of a search, and after they were trained again with other seeds, the winner."""

from typing import TYPE_CHECKING, Any

import boto3

from rank import finals, jobs
from shared.observability import logger
from shared.s3 import parse_uri
from shared.tuning import Ranking, TuningPlan

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

s3 = boto3.client("s3")
sagemaker = boto3.client("sagemaker")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Ranking`` document for ``{"tuning", "fixed", "job", "photos", "uri"}``.

    They are the run's ``TuningPlan``, the hyperparameters that are not searched, the name of the tuning job that has
    ended, the number of validation photos, and where tuned.json goes.
    """
    plan, fixed = TuningPlan(**event["tuning"]), event["fixed"]
    trials = jobs.results(sagemaker, plan.job_name)
    if event["job"] == plan.job_name:
        ranking = Ranking(again=finals.again(plan, trials, fixed), hyperparameters=None)
    else:
        repeated = jobs.results(sagemaker, event["job"])
        tuned = finals.decide(plan, trials, repeated, fixed, event["photos"])
        location = parse_uri(event["uri"])
        body = tuned.model_dump_json(indent=1).encode()
        s3.put_object(Bucket=location.bucket, Key=location.key, Body=body, ContentType="application/json")
        ranking = Ranking(again=None, hyperparameters=tuned.train_again["hyperparameters"])
    logger.info("trials ranked", extra=ranking.model_dump())
    return ranking.model_dump()
