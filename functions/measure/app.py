"""Measure: find out on staging what one instance bears, and how production is to be scaled by that."""

import hashlib
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import boto3

from measure.endpoint import Endpoint
from measure.knee import SAFETY, concurrency, knee, scaling, search
from measure.probe import THREADS, Load, open_loop
from shared.contracts import Measurement, MeasurePlan
from shared.errors import MeasurementError
from shared.observability import logger, metrics
from shared.prices import per_hour
from shared.s3 import Location, exists, parse_uri, read_bytes, read_json

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_TRIAL_SECONDS = 2.5
_PERIOD_SECONDS = 10.0  # of the metric that the endpoint is scaled by
_NUM_ALONE = 25

session = boto3.Session()
s3 = session.client("s3")
runtime = session.client("sagemaker-runtime")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """A ``MeasurePlan`` to a ``Scaling`` document."""
    plan = MeasurePlan.model_validate(event)
    challenger = read_json(s3, f"{plan.report_uri}/evaluation.json")["challenger"]
    place = _place(plan, challenger["digest"])
    if reused := exists(s3, place):
        measurement = Measurement.model_validate(read_json(s3, place.uri))
    else:
        measurement = _measured(plan, challenger["latency_ms"], challenger["photos_per_s"])
        s3.put_object(Bucket=place.bucket, Key=place.key, Body=measurement.model_dump_json().encode())
    found = scaling(measurement, reused, plan.start_seconds, per_hour(plan.instance_type, 1), plan.max_instances)
    metrics.add_metric(name="InstanceRate", unit="Count/Second", value=measurement.rate_per_second)
    logger.info("scaling", extra=found.model_dump())
    return found.model_dump()


def _place(plan: MeasurePlan, digest: str) -> Location:
    """Where a measurement of the same networks in the same image on the same instances lies, or is to lie."""
    parts = (digest, plan.image, plan.instance_type, plan.max_p99_ms)
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return Location(parse_uri(plan.report_uri).bucket, f"measurements/{key}.json")


def _measured(plan: MeasurePlan, inside_ms: float, photos_per_s: float) -> Measurement:
    """Load the endpoint, a minute or so.

    Args:
        inside_ms: of a photo alone within the container, as the evaluation found on the same instance type.
        photos_per_s: what the model does there without a server, on all cores, which no instance can exceed.

    Raises:
        MeasurementError: the endpoint does not answer, or keeps the limit at no rate.
    """
    golden = f"{plan.report_uri}/golden"
    photos = [read_bytes(s3, f"{golden}/{item['photo']}") for item in read_json(s3, f"{golden}/golden.json")]
    endpoint = Endpoint(session, runtime, plan.endpoint_name, photos, THREADS)
    alone_ms = _alone_ms(endpoint)
    seeds = iter(range(1000))

    def load_at(rate: float, seconds: float = _TRIAL_SECONDS) -> Load:
        endpoint.sign()
        load = open_loop(endpoint.ask, rate, seconds, next(seeds))
        logger.info("trial", extra={"rate": round(rate, 1), "answered": len(load.latencies), "failed": load.failed})
        return load

    trials, is_senders_limit = search(load_at, photos_per_s / 2, alone_ms, plan.max_p99_ms)
    rate = SAFETY * knee(trials)
    return Measurement(
        run=plan.run,
        knee_per_second=round(knee(trials), 1),
        rate_per_second=round(rate, 1),
        concurrency=concurrency(load_at(rate, _PERIOD_SECONDS), max(alone_ms - inside_ms, 0)),
        limited_by="sender" if is_senders_limit else "endpoint",
        trials=trials,
    )


def _alone_ms(endpoint: Endpoint) -> float:
    """Median of requests one after the other, the first ones apart, which open connections and fill caches."""
    times = []
    for _ in range(_NUM_ALONE):
        began = time.perf_counter()
        status = endpoint.ask()
        times.append((time.perf_counter() - began) * 1e3)
        if status != 200:
            raise MeasurementError(f"staging answers a golden photo with status {status}; read the endpoint's log")
    return statistics.median(times[5:])
