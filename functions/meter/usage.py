"""What the meter reads from the account: instances of endpoints, and CloudWatch's sums since the month began."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import prices
from meter import model_function as function
from meter.jobs import PAGE
from meter.metrics import daily_points
from meter.sums import KeptWarm, Seen
from prices import billed
from prices.per_million import (
    ANSWER_BYTES,
    CALLS,
    ENDPOINT_ALARMS,
    FAST_ALARMS,
    METER_ALARMS,
    STACK_ALARMS,
    WARM_ALARMS,
)
from shared import model_function
from shared.spending import Fleet, month_start, next_month_start

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sagemaker import SageMakerClient

_VARIANTS = ("ProductionVariants", "ShadowProductionVariants")
_PHOTO = CALLS[100_000]  # CloudWatch does not have the bytes of InvokeEndpoint, so each photo is taken for such a one.
# An estimate of what a run costs beside its jobs: its functions, above all Measure, and its transitions.
_RUN_DOLLARS = 0.02
ALIAS = "live"  # of the function that callers start
_ALARMS = STACK_ALARMS + METER_ALARMS + ENDPOINT_ALARMS


def fleets(sagemaker: "SageMakerClient", endpoint: str) -> dict[str, Seen]:
    """Return the instances of production and of staging, and those of an update that is under way."""
    found: dict[str, Seen] = {}
    for page in sagemaker.get_paginator("list_endpoints").paginate(NameContains=endpoint, PaginationConfig=PAGE):
        for each in page["Endpoints"]:
            name = each["EndpointName"]
            if name == endpoint or name.startswith(f"{endpoint}-"):
                found |= _fleets_of(sagemaker, name)
    return found


def _fleets_of(sagemaker: "SageMakerClient", name: str) -> dict[str, Seen]:
    """Return the instances of one endpoint; none if it was deleted meanwhile."""
    try:
        described: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return {}
    found = _variants(sagemaker, name, described, described["CreationTime"])
    if pending := described.get("PendingDeploymentSummary"):
        begun = pending.get("StartTime", described["LastModifiedTime"])
        found |= _variants(sagemaker, f"{name}, new", pending, begun)
    return found


def _variants(
    sagemaker: "SageMakerClient", name: str, described: Mapping[str, Any], since: datetime
) -> dict[str, Seen]:
    """Return the instances of each variant, those of shadow variants, too, which cost the same."""
    running = [each for kind in _VARIANTS for each in described.get(kind, [])]
    counts = {
        each["VariantName"]: each.get("CurrentInstanceCount") or each.get("DesiredInstanceCount", 0) for each in running
    }
    if not any(counts.values()):
        return {}
    types = _types(sagemaker, described.get("EndpointConfigName", ""))
    return {
        name if variant == "main" else f"{name}, {variant}": Seen(
            Fleet(instance_type=types.get(variant, ""), count=count), since.timestamp()
        )
        for variant, count in counts.items()
        if count
    }


def _types(sagemaker: "SageMakerClient", config: str) -> dict[str, str]:
    """Return the instance types by variant; none if the configuration was deleted, which the endpoint outlives."""
    try:
        found: Mapping[str, Any] = sagemaker.describe_endpoint_config(EndpointConfigName=config)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return {}
    return {each["VariantName"]: each.get("InstanceType", "") for kind in _VARIANTS for each in found.get(kind, [])}


@dataclass(frozen=True)
class Names:
    """What of the stack is asked for.

    Attributes:
        endpoint: the endpoint.
        api: name of the REST API.
        pipeline: ARN of the state machine.
        functions: those that callers start.
        log_groups: those that grow with the requests.
        architecture: of the functions.
        warm_function: the function that may be kept warm; empty in a stack that keeps none warm.
        shrinks: whether that function makes photos smaller.
        has_dashboard: whether the stack has a dashboard.
    """

    endpoint: str
    api: str
    pipeline: str
    functions: tuple[str, ...]
    log_groups: tuple[str, ...]
    architecture: str = "x86_64"
    warm_function: str = ""
    shrinks: bool = False
    has_dashboard: bool = False


class Usage:
    """CloudWatch's sums of this month in dollars.

    Attributes:
        unpriced: items whose price is not known.
        megabytes: memory of functions that is known already; the meter itself is one of them, and counts, too.
    """

    def __init__(self, cloudwatch: "CloudWatchClient", lambdas: "LambdaClient", names: Names) -> None:
        self._cloudwatch, self._lambdas, self._names = cloudwatch, lambdas, names
        self.megabytes: dict[str, int] = {}
        self.unpriced: set[str] = set()

    def dollars(self, now: float) -> dict[str, float]:
        """Return the dollars by part, since the month began."""
        self.unpriced = set()
        names, functions = self._names, 0.0
        gb_second = billed.function_item(names.architecture)
        for name in {*names.functions, *self.megabytes}:
            milliseconds, calls = self._sum("AWS/Lambda", "Duration", now, FunctionName=name)
            if calls:  # A function that the stack does not have is never called.
                functions += self._price(gb_second, milliseconds / 1000 * self._memory(name) / 1024)
                functions += self._price("lambda/request", calls)
        # Runs that are stopped, or whose time is over, cost as well.
        runs, _ = self._sum("AWS/States", "ExecutionsStarted", now, StateMachineArn=names.pipeline)
        requests, _ = self._sum("AWS/ApiGateway", "Count", now, ApiName=names.api)
        photos, _ = self._sum("AWS/SageMaker", "Invocations", now, EndpointName=names.endpoint, VariantName="main")
        logged = sum(self._sum("AWS/Logs", "IncomingBytes", now, LogGroupName=name)[0] for name in names.log_groups)
        passed = (now - month_start(now)) / (next_month_start(now) - month_start(now))
        alarms = _ALARMS + (WARM_ALARMS if names.warm_function else 0)
        photo_bytes = _PHOTO.sent_bytes if names.shrinks else _PHOTO.photo_bytes
        standing = {"dashboard": passed * self._price("cloudwatch/dashboard", 1)} if names.has_dashboard else {}
        return standing | {
            "functions": functions + runs * _RUN_DOLLARS,
            "requests": self._price("api-gateway/rest-request", requests),
            "photos in and out": self._price("invoke/in", photos * photo_bytes / 1e9)
            + self._price("invoke/out", photos * ANSWER_BYTES / 1e9),
            "logs": self._price("logs/ingest", logged / 1e9),
            "key and alarms": passed
            * (
                self._price("kms/key", 1)
                + self._price("cloudwatch/alarm", alarms)
                + self._price("cloudwatch/fast-alarm", FAST_ALARMS)
            ),
        }

    def warm(self, before: Iterable[str]) -> dict[str, KeptWarm]:
        """Return what is kept warm now, by function; more than the parameter says, where it scales.

        CloudWatch has no history of it: ``ProvisionedConcurrentExecutions`` are those that answer, not those that are
        kept. https://docs.aws.amazon.com/lambda/latest/dg/monitoring-concurrency.html

        Args:
            before: functions that were kept warm when the meter last looked.
        """
        item = billed.warm_function_item(self._names.architecture)
        found = {name: KeptWarm(0.0, item, 0.0) for name in before}
        if name := self._names.warm_function:
            try:
                told = self._lambdas.get_provisioned_concurrency_config(FunctionName=name, Qualifier=ALIAS)
            except self._lambdas.exceptions.ProvisionedConcurrencyConfigNotFoundException:  # It was just deployed.
                return found
            gigabytes = told["AllocatedProvisionedConcurrentExecutions"] * self._memory(name) / 1024
            found[name] = KeptWarm(gigabytes, item, datetime.fromisoformat(told["LastModified"]).timestamp())
        return found

    def of_function(self, architecture: str, sizes: Mapping[str, int], now: float) -> float:
        """Return the dollars for what the model's function has answered since the month began; see ``amounts``."""
        name = model_function.name_of(self._names.endpoint)
        used = function.amounts(self._cloudwatch, name, architecture, sizes, now)
        return sum(self._price(item, quantity) for item, quantity in used.items())

    def _sum(self, namespace: str, metric: str, now: float, **dimensions: str) -> tuple[float, float]:
        """Return sum and number of a metric's values since the month began."""
        points = daily_points(self._cloudwatch, namespace, metric, now, dimensions)
        return sum(each["Sum"] for each in points), sum(each["SampleCount"] for each in points)

    def _memory(self, function: str) -> int:
        """Return a function's megabytes, asked once in the life of this program."""
        if function not in self.megabytes:
            found = self._lambdas.get_function_configuration(FunctionName=function)
            self.megabytes[function] = found["MemorySize"]
        return self.megabytes[function]

    def _price(self, item: str, quantity: float) -> float:
        price = prices.dollars(item, quantity)
        if price is None and quantity:
            self.unpriced.add(item)
        return price or 0.0
