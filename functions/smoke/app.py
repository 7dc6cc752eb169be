"""Smoke: send golden photos with known answers to what shall serve before it takes traffic, and later to the API."""

import os
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
import urllib3

from shared import function_answers
from shared.contracts import Smoke
from shared.doors import WHOLE_PHOTO
from shared.function_answers import FunctionReport
from shared.observability import logger, metrics
from shared.s3 import read_bytes, read_json
from shared.settings import Settings
from smoke.checks import GoldenPhoto, SmokeAnswer, check

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@dataclass(frozen=True)
class SmokeSettings(Settings):
    """The settings of the smoke test, from its environment variables.

    Attributes:
        api_id: id of the REST API.
        api_url: URL of its route that classifies.
        api_key_id: id of the smoke test's own API key.
        sign_in: what the API asks of its callers, the stack's parameter SignIn.
    """

    api_id: str
    api_url: str
    api_key_id: str
    sign_in: str


s3 = boto3.client("s3")
runtime = boto3.client("sagemaker-runtime")
functions = boto3.client("lambda")
_ANSWER_SECONDS = 31  # API Gateway gives up after 29.
_SPARE_SECONDS = 5  # Kept back from the Lambda timeout so that the result can still be told.
http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=_ANSWER_SECONDS))


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Smoke`` document for ``report_uri`` and what is asked.

    That is ``endpoint_name``, or ``function_name`` and ``qualifier``, or the API with ``"through_api": true``.
    """
    golden = load_golden(f"{event['report_uri']}/golden")
    if event.get("through_api"):
        seconds = context.get_remaining_time_in_millis() / 1000 - _ANSWER_SECONDS - _SPARE_SECONDS
        smoke = check(ask_api, golden, patience_seconds=max(seconds, 1))
    elif "function_name" in event:
        smoke = check_function(event["function_name"], event["qualifier"], golden)
    else:
        smoke = check(partial(invoke, event["endpoint_name"]), golden)
    metrics.add_metric(name="SmokeLatency", unit="Milliseconds", value=smoke.latency_ms)
    logger.info("smoke test passed", extra=smoke.model_dump())
    return smoke.model_dump()


def load_golden(uri: str) -> list[GoldenPhoto]:
    """Return the golden photos that the evaluation wrote beside its report."""
    return [
        GoldenPhoto(item["photo"], read_bytes(s3, f"{uri}/{item['photo']}"), item["class"], item["probabilities"])
        for item in read_json(s3, f"{uri}/golden.json")
    ]


def invoke(endpoint_name: str, body: bytes, content_type: str) -> SmokeAnswer:
    """Call InvokeEndpoint once. Errors of the container are returned as answers."""
    try:
        answer = runtime.invoke_endpoint(EndpointName=endpoint_name, Body=body, ContentType=content_type)
    except runtime.exceptions.ModelError as error:
        response: dict[str, Any] = dict(error.response)
        return SmokeAnswer(response["OriginalStatusCode"], response["OriginalMessage"].encode())
    return SmokeAnswer(200, answer["Body"].read())


def check_function(name: str, qualifier: str, golden: list[GoldenPhoto]) -> Smoke:
    """Return the result of the smoke test of one version of the function that has the model."""
    reports: list[FunctionReport] = []

    def ask(body: bytes, _content_type: str) -> SmokeAnswer:
        answer = function_answers.ask(functions, name, qualifier, body)
        if answer.report:
            reports.append(answer.report)
        return SmokeAnswer(answer.status, answer.body)

    smoke = check(ask, golden)
    return smoke.model_copy(update={"gb_seconds": round(sum(report.gb_seconds for report in reports), 3)})


def ask_api(body: bytes, content_type: str) -> SmokeAnswer:
    """Send one request to the API, as callers do, but with a key that no caller has.

    The known answers are those to the golden photos as they are, so the model must get them as they are.
    """
    # Where people sign in, the authorizer takes this key as a token (functions/admit): no machine has an account.
    shown = {"Authorization": f"Bearer {_api_key()}"} if _settings().sign_in == "cognito" else {"x-api-key": _api_key()}
    try:
        answer = http.request(
            "POST", _api_url(), body=body, headers={"Content-Type": content_type, **WHOLE_PHOTO, **shown}
        )
    except urllib3.exceptions.HTTPError as error:
        return SmokeAnswer(0, type(error).__name__.encode())
    return SmokeAnswer(answer.status, answer.data)


@cache
def _settings() -> SmokeSettings:
    return SmokeSettings.from_environment()


@cache
def _api_url() -> str:
    """Return the URL of the API. On the laptop cloud the API is at the address of all AWS APIs."""
    laptop = os.environ.get("AWS_ENDPOINT_URL")
    return f"{laptop}/restapis/{_settings().api_id}/v1/_user_request_/classify" if laptop else _settings().api_url


@cache
def _api_key() -> str:
    key = boto3.client("apigateway").get_api_key(apiKey=_settings().api_key_id, includeValue=True)
    return key["value"]
