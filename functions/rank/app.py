"""Rank: find the best trials of a search, and after they were trained again with other seeds, the winner."""

from typing import TYPE_CHECKING, Any

import boto3

from rank import candidates, jobs
from shared.observability import logger
from shared.s3 import parse_uri
from shared.tuning import Ranking, TuningPlan

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

s3 = boto3.client("s3")
sagemaker = boto3.client("sagemaker")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Ranking`` document for ``{"tuning", "fixed", "job"}``.

    They are the run's ``TuningPlan``, the hyperparameters that are not searched, and the name of the tuning job that
    has ended.
    """
    ranking = rank(TuningPlan(**event["tuning"]), event["fixed"], event["job"])
    logger.info("trials ranked", extra=ranking.model_dump())
    return ranking.model_dump()


def rank(plan: TuningPlan, fixed: dict[str, str], job: str) -> Ranking:
    """Return which trials to train again, or, after that, the hyperparameters of the winner.

    Raises:
        TuningError: no training job reported the objective.
    """
    trials = jobs.trials(sagemaker, plan.job_name)
    if job == plan.job_name:
        return Ranking(again=candidates.again(plan, trials, fixed), hyperparameters=None)
    tuned = candidates.decide(plan, trials, jobs.trials(sagemaker, job), fixed)
    location = parse_uri(plan.document_uri)
    document = tuned.model_dump_json(indent=1).encode()
    s3.put_object(Bucket=location.bucket, Key=location.key, Body=document, ContentType="application/json")
    return Ranking(again=None, hyperparameters=tuned.hyperparameters)
