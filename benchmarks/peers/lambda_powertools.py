"""A function as in Powertools' tutorial: Logger, Metrics, and Event Handler with validation by pydantic."""

import base64
import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, ConfigDict, Field

logger = Logger()
metrics = Metrics()
app = APIGatewayRestResolver(enable_validation=True)
runtime = boto3.client("sagemaker-runtime")


class BreedPrediction(BaseModel):
    """The endpoint's answer, validated."""

    model_config = ConfigDict(populate_by_name=True)
    breed: str = Field(alias="class")


@app.post("/classify")
def classify() -> BreedPrediction:
    """Pass the photo to the endpoint, and return its validated answer."""
    answer = runtime.invoke_endpoint(
        EndpointName=os.environ["ENDPOINT_NAME"],
        Body=base64.b64decode(app.current_event.body or ""),
        ContentType=app.current_event.headers["Content-Type"],
    )
    metrics.add_metric(name="Predictions", unit=MetricUnit.Count, value=1)
    return BreedPrediction.model_validate_json(answer["Body"].read())


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Resolve the route of an event."""
    return app.resolve(event, context)
