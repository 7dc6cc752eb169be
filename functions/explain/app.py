"""Explain: find the sentence in a failed task's report that says what went wrong."""

from typing import TYPE_CHECKING, Any

from shared.contracts import Explanation
from shared.observability import logger
from shared.sentence import sentence_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return an ``Explanation`` document for ``{"cause"}``, the cause that Step Functions reports."""
    explanation = Explanation(cause=sentence_of(event["cause"]))
    logger.info("failure explained", extra=explanation.model_dump())
    return explanation.model_dump()
