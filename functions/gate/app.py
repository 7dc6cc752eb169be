"""Gate: promote or refuse the challenger, with the reason."""

from typing import TYPE_CHECKING, Any

import boto3

from gate.verdict import decide
from shared.contracts import Limits
from shared.evaluation import Evaluation
from shared.observability import logger, metrics
from shared.s3 import read_json

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

s3 = boto3.client("s3")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Verdict`` document for ``{"report_uri", "limits", "instance_count"}``."""
    evaluation = Evaluation.model_validate(read_json(s3, f"{event['report_uri']}/evaluation.json"))
    verdict = decide(evaluation, Limits.model_validate(event["limits"]), event["instance_count"])
    metrics.add_metric(name="ChallengerTop1", unit="Percent", value=100 * verdict.challenger_top1)
    logger.info("verdict", extra=verdict.model_dump())
    return verdict.model_dump()
