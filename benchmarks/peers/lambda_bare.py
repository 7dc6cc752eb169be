"""A function that only passes a photo to the endpoint: the least work that boto3 allows."""

import base64
import os
from typing import Any

import boto3

runtime = boto3.client("sagemaker-runtime")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Pass the photo to the endpoint, and return its answer."""
    answer = runtime.invoke_endpoint(
        EndpointName=os.environ["ENDPOINT_NAME"],
        Body=base64.b64decode(event["body"]),
        ContentType=event["headers"]["Content-Type"],
    )
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": answer["Body"].read().decode(),
    }
