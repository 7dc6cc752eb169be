"""Measure: load staging to find the capacity of one instance, and derive the scaling of production from it."""

import hashlib
import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

import boto3

from measure import kept
from measure.endpoint import MeasuredEndpoint
from measure.max_rate import SAFETY, concurrency, max_rate, scaling, search
from measure.probe import THREADS, ProbeLoad, open_loop
from shared.errors import MeasurementError
from shared.observability import logger, metrics
from shared.reports import read_report
from shared.s3 import Location, parse_uri, read_bytes, read_json
from shared.scaling import Measurement, MeasurePlan

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_TRIAL_SECONDS = 2.5
_PERIOD_SECONDS = 10.0  # period of the metric by which the endpoint scales
_NUM_ALONE = 25
_NUM_WARM_UP = 5

session = boto3.Session()
s3 = session.client("s3")
sagemaker = session.client("sagemaker")
runtime = session.client("sagemaker-runtime")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return a ``Scaling`` document for a ``MeasurePlan``. A kept measurement of the same kind is reused.

    It must be one that the registry knows. Any other is overwritten by a new one.
    """
    plan = MeasurePlan.model_validate(event)
    challenger = read_report(s3, plan.report_uri, plan.report_sha256)["challenger"]
    location = _location(plan, challenger["digest"])
    sent: dict[str, int] = {}
    if known := kept.find(s3, sagemaker, os.environ["MODEL_PACKAGE_GROUP"], location):
        measurement, sha256 = known
    else:
        measurement, sent = _measure(plan, challenger["latency_ms"], challenger["photos_per_s"])
        body = measurement.model_dump_json(by_alias=True).encode()
        s3.put_object(Bucket=location.bucket, Key=location.key, Body=body)
        sha256 = kept.digest(body)
    reused = known is not None
    serving = plan.start_seconds, plan.instance_type, plan.max_instances
    found = scaling(measurement, sha256, reused, *serving, os.environ["ARCHITECTURE"])
    document = found.model_copy(update=sent).model_dump()
    metrics.add_metric(name="InstanceRate", unit="Count/Second", value=measurement.rate_per_second)
    logger.info("scaling", extra=document)
    return document


def _location(plan: MeasurePlan, digest: str) -> Location:
    """Return where the measurement of these networks is kept, by image, instance type and ``max_p99_ms``."""
    parts = (digest, plan.image, plan.instance_type, plan.max_p99_ms)
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return Location(parse_uri(plan.report_uri).bucket, f"measurements/{key}.json")


def _measure(plan: MeasurePlan, inside_ms: float, photos_per_s: float) -> tuple[Measurement, dict[str, int]]:
    """Load the endpoint for at most a minute; return the measurement, and what was sent for it.

    Args:
        inside_ms: time for one photo inside the container, measured by the evaluation on the same instance type.
        photos_per_s: rate of the model without a server on all cores, an upper bound for the instance.

    Raises:
        MeasurementError: the endpoint does not answer, or exceeds the limit at every rate.
    """
    golden = f"{plan.report_uri}/golden"
    photos = [read_bytes(s3, f"{golden}/{item['photo']}") for item in read_json(s3, f"{golden}/golden.json")]
    endpoint = MeasuredEndpoint(session, runtime, plan.endpoint_name, photos, THREADS)
    alone_ms = _alone_ms(endpoint)
    seeds = iter(range(1000))

    def load_at(rate: float, seconds: float = _TRIAL_SECONDS) -> ProbeLoad:
        endpoint.sign()
        load = open_loop(endpoint.ask, rate, seconds, next(seeds))
        logger.info("trial", extra={"rate": round(rate, 1), "answered": len(load.latencies), "failed": load.failed})
        return load

    trials, is_senders_limit = search(load_at, photos_per_s / 2, alone_ms, plan.max_p99_ms)
    rate = SAFETY * max_rate(trials)
    measurement = Measurement(
        run=plan.run,
        knee_per_second=round(max_rate(trials), 1),
        rate_per_second=round(rate, 1),
        concurrency=concurrency(load_at(rate, _PERIOD_SECONDS), max(alone_ms - inside_ms, 0)),
        limited_by="sender" if is_senders_limit else "endpoint",
        trials=trials,
    )
    return measurement, endpoint.sent()


def _alone_ms(endpoint: MeasuredEndpoint) -> float:
    """Return the median time of requests one after the other.

    The first requests do not count, because they open connections and fill caches.
    """
    times = []
    for _ in range(_NUM_ALONE):
        began = time.perf_counter()
        status = endpoint.ask()
        times.append((time.perf_counter() - began) * 1e3)
        if status != 200:
            raise MeasurementError(f"staging answers a golden photo with status {status}; read the endpoint's log")
    return statistics.median(times[_NUM_WARM_UP:])
