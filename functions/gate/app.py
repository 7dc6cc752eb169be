"""Gate: promote or refuse the challenger, with the reason."""

from typing import TYPE_CHECKING, Any

import boto3

from gate import scan
from gate.verdict import decide
from shared.contracts import Limits
from shared.evaluation import Evaluation
from shared.listing import changes
from shared.observability import logger, metrics
from shared.reports import digest_in, read_report

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

s3 = boto3.client("s3")
ecr = boto3.client("ecr")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Verdict`` for the report of an evaluation.

    The event is ``{"report_uri", "exit_message", "photos_uri", "limits", "instance_count", "image", "attempt"}``.
    """
    found = scan.read(ecr, event["image"], event["attempt"])
    sha256 = digest_in(event.get("exit_message", ""))
    evaluation = Evaluation.model_validate(read_report(s3, event["report_uri"], sha256))
    photos = changes(s3, event["photos_uri"]) if event.get("photos_uri") else None
    verdict = decide(evaluation, Limits.model_validate(event["limits"]), event["instance_count"], found, photos)
    verdict = verdict.model_copy(update={"report": sha256})
    metrics.add_metric(name="ChallengerTop1", unit="Percent", value=100 * verdict.challenger_top1)
    logger.info("verdict", extra=verdict.model_dump())
    return verdict.model_dump()
