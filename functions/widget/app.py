"""Widget: answer the dashboard with what is no metric: what serves, what it costs, how the last run ended.

CloudWatch calls this function with the rights of whoever looks at the dashboard, and shows the HTML that it returns.
With ``{"describe": true}`` it asks for the widget's documentation instead.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/add_custom_widget_dashboard_about.html
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from shared import model_function
from shared.observability import logger
from shared.settings import Settings
from widget import costs, facts, runs
from widget.rows import Row, failing_softly, to_html

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

DOCUMENTATION = """## Kennel

What serves, what it costs and how the last run of the pipeline ended, read from the account whenever the dashboard is
refreshed. The widget has no parameters and changes nothing.
"""


@dataclass(frozen=True)
class WidgetSettings(Settings):
    """The names of what is looked at.

    Attributes:
        bucket: has the receipts.
        monthly_dollars: the stack's MonthlyDollars; 0 if it has no meter.
    """

    bucket: str
    endpoint_name: str
    pipeline_arn: str
    champion_parameter: str
    hosting_parameter: str
    spending_parameter: str
    monthly_dollars: str


# Somebody waits for the answer, so a service that does not answer is not waited for.
_config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})
settings = WidgetSettings.from_environment()
ssm = boto3.client("ssm", config=_config)
sagemaker = boto3.client("sagemaker", config=_config)
lambdas = boto3.client("lambda", config=_config)
autoscaling = boto3.client("application-autoscaling", config=_config)
states = boto3.client("stepfunctions", config=_config)
s3 = boto3.client("s3", config=_config)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> str:
    """Return the widget's HTML, or its documentation."""
    return DOCUMENTATION if event.get("describe") else to_html(rows(datetime.now(UTC)))


def rows(now: datetime) -> list[Row]:
    """Return what the widget shows; what cannot be read is a row that says so."""
    bucket, limit = settings.bucket, float(settings.monthly_dollars)
    fleet = failing_softly("Serves", _fleet)
    last = failing_softly("Last run", lambda: runs.latest(states, settings.pipeline_arn))
    shown = [fleet if isinstance(fleet, Row) else fleet.row()]
    shown.append(failing_softly("Model", lambda: facts.model(ssm, settings.champion_parameter)))
    if not isinstance(fleet, Row):
        shown.append(costs.now(fleet))
        if not isinstance(last, Row):
            shown.append(failing_softly("Today (UTC)", lambda: costs.today(fleet, last, s3, bucket, now)))
    shown.append(failing_softly("This month", lambda: costs.month(ssm, settings.spending_parameter, limit, now)))
    if isinstance(last, Row):
        return [*shown, last]
    return [*shown, failing_softly("Last run", lambda: runs.row(states, last, s3, bucket, now))]


def _fleet() -> facts.Fleet:
    hosting = model_function.hosting(ssm, settings.hosting_parameter)
    return facts.fleet(hosting, sagemaker, lambdas, autoscaling, settings.endpoint_name)
