"""Compare the account's quotas with what a run and its next update need, before anything costs.

A quota that cannot be asked for stops nothing: SageMaker itself refuses what is too much, only later.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from plan import quota_words
from plan.quota_ask import SECONDS, Asked, QuotaUnknownError, Value
from plan.quota_needs import Fleets, Need, needs
from shared.contracts import Run
from shared.errors import QuotaError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from plan.run import PlanSettings

_MOST_ENDPOINTS = 20  # of which Plan looks at instances
_THREADS = 8
_VARIANTS = ("ProductionVariants", "ShadowProductionVariants")


def check(
    client: Any, sagemaker: "SageMakerClient", run: Run, settings: "PlanSettings", seconds: float = SECONDS
) -> list[str]:
    """Compare the account's quotas with what a run and the update after it need.

    Args:
        client: of Service Quotas, made with ``CONFIG``.
        sagemaker: its own client, which looks at the endpoints that serve in the account.
        run: the run.
        settings: the stack's parameters, which bound the types that are advised.
        seconds: the longest that this may take.

    Returns:
        A sentence for each quota that could not be compared.

    Raises:
        QuotaError: quotas are too small; the message names each of them, and what mends it.
    """
    asked = Asked(client, seconds)
    try:
        looking = asked.begin(lambda: fleets(sagemaker, run.endpoint.name))
        asked.ask(need.quota for need in needs(run, Fleets()))
        unknown = []
        try:
            now = asked.result(looking)
        except QuotaUnknownError as error:
            now = Fleets()
            unknown.append(f"the account's endpoints could not be counted: {error}")
        small: list[tuple[Need, Value]] = []
        for need in needs(run, now):
            asked.ask([need.quota])  # one that this need alone is about
            try:
                value = asked.value(need.quota)
            except QuotaUnknownError as error:
                unknown.append(f"the quota '{need.quota.name}' could not be compared: {error}")
                continue
            if value.value < need.count:
                small.append((need, value))
        if small:
            raise QuotaError(quota_words.message(run, small, now, asked, settings))
        return unknown
    finally:
        asked.end()


def fleets(sagemaker: "SageMakerClient", own: str) -> Fleets:
    """Return how many instances serve in the account, by type: on the run's endpoint and the newest 20.

    Args:
        sagemaker: the client.
        own: name of the run's endpoint.
    """
    listed = sagemaker.list_endpoints(MaxResults=_MOST_ENDPOINTS)
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    with ThreadPoolExecutor(_THREADS) as pool:
        # The run's own endpoint may be older than these.
        names = sorted({own, *(each["EndpointName"] for each in listed["Endpoints"])})
        for name, found in zip(names, pool.map(lambda each: _instances(sagemaker, each), names), strict=True):
            counts[name == own] += found
    return Fleets(dict(counts[True]), dict(counts[False]))


def _instances(sagemaker: "SageMakerClient", endpoint: str) -> Counter[str]:
    """Return the instances of an endpoint by type, shadow variants included; none of one that does not exist.

    The type is empty if the endpoint's configuration was deleted, which the endpoint outlives.
    """
    counts = Counter[str]()
    described = _unless_missing(lambda: sagemaker.describe_endpoint(EndpointName=endpoint))
    variants = [each for kind in _VARIANTS for each in described.get(kind, [])]
    if variants:
        name = described.get("EndpointConfigName", "")
        config = _unless_missing(lambda: sagemaker.describe_endpoint_config(EndpointConfigName=name))
        types = {
            each["VariantName"]: each.get("InstanceType", "") for kind in _VARIANTS for each in config.get(kind, [])
        }
        for each in variants:
            count = max(each.get("CurrentInstanceCount", 0), each.get("DesiredInstanceCount", 0))
            if count:  # A serverless variant has none.
                counts[types.get(each["VariantName"], "")] += count
    return counts


def _unless_missing(describe: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return describe()
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return {}
