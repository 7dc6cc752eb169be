"""Measure: find what an instance or a function answers before callers ask it, and derive how production serves."""

import hashlib
import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from measure import function, hosting, kept
from measure.endpoint import MeasuredEndpoint
from measure.function import MeasuredFunction
from measure.max_rate import SAFETY, concurrency, max_rate, scaling, search
from measure.probe import THREADS, ProbeLoad, open_loop
from shared.errors import MeasurementError
from shared.observability import logger, metrics
from shared.reports import read_report
from shared.s3 import Location, parse_uri, read_bytes, read_json
from shared.scaling import (
    FunctionMeasurement,
    FunctionMeasurePlan,
    FunctionSizes,
    HostingQuestion,
    Measurement,
    MeasurePlan,
    Scaling,
)

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_TRIAL_SECONDS = 2.5
_PERIOD_SECONDS = 10.0  # period of the metric by which the endpoint scales
_NUM_ALONE = 25
_NUM_WARM_UP = 5
_SPARE_SECONDS = 40  # Kept back from the Lambda timeout to end the last size, and to leave the function with the best.

session = boto3.Session()
s3 = session.client("s3")
sagemaker = session.client("sagemaker")
runtime = session.client("sagemaker-runtime")
functions = session.client("lambda")
asked_once = session.client("lambda", config=Config(retries={"total_max_attempts": 1}))


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Return the document of a measurement, or of a choice between two of them.

    That is ``Scaling`` for a ``MeasurePlan``, ``FunctionMeasurement`` for a ``FunctionMeasurePlan``, and
    ``HostingChoice`` for a ``HostingQuestion`` in the field ``choose``.
    """
    if "choose" in event:
        return hosting.choose(HostingQuestion.model_validate(event["choose"])).model_dump()
    if "function" in event:
        deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - _SPARE_SECONDS
        measured = measure_function(FunctionMeasurePlan.model_validate(event), deadline)
        logger.info("function", extra=measured.model_dump())
        return measured.model_dump()
    found = measure_endpoint(MeasurePlan.model_validate(event))
    metrics.add_metric(name="InstanceRate", unit="Count/Second", value=found.measurement.rate_per_second)
    logger.info("scaling", extra=found.model_dump())
    return found.model_dump()


def measure_endpoint(plan: MeasurePlan) -> Scaling:
    """Return how production scales. A kept measurement of the same kind is reused.

    It must be one that the registry knows. Any other is overwritten by a new one.
    """
    challenger = read_report(s3, plan.report_uri, plan.report_sha256)["challenger"]
    location = _location(plan.report_uri, challenger["digest"], plan.image, plan.instance_type, plan.max_p99_ms)
    sent: dict[str, int] = {}
    if known := kept.find(s3, sagemaker, os.environ["MODEL_PACKAGE_GROUP"], location, Measurement, "measurement"):
        measurement, sha256 = known
    else:
        measurement, sent = _measure(plan, challenger["latency_ms"], challenger["photos_per_s"])
        sha256 = kept.keep(s3, location, measurement)
    reused = known is not None
    serving = plan.start_seconds, plan.instance_type, plan.max_instances
    found = scaling(measurement, sha256, reused, *serving, os.environ["ARCHITECTURE"])
    return found.model_copy(update=sent)


def measure_function(plan: FunctionMeasurePlan, deadline: float) -> FunctionMeasurement:
    """Return what the function takes and costs, and leave it with the cheapest memory that keeps the limit.

    A kept measurement is reused as that of an endpoint is.

    Args:
        plan: what to measure.
        deadline: when to begin no other size, by ``time.monotonic``.
    """
    asked = plan.function
    challenger = read_report(s3, plan.report_uri, plan.report_sha256)["challenger"]
    location = _location(plan.report_uri, challenger["digest"], plan.image, "function", *function.SIZES)
    measured = MeasuredFunction(functions, asked_once, asked.name, _golden_photos(plan.report_uri))
    group = os.environ["MODEL_PACKAGE_GROUP"]
    known = kept.find(s3, sagemaker, group, location, FunctionSizes, "function_measurement")
    if known and known[0].left_out:  # This run may have more time.
        known = None
    if known:
        found, sha256 = known
    else:
        found = function.measure(measured, plan.run, asked.memory_mb, asked.max_p99_ms, deadline)
        sha256 = kept.keep(s3, location, found)
    sizes = [hosting.priced(each, plan.requests_per_day, asked.provisioned, asked.max_p99_ms) for each in found.sizes]
    best = hosting.cheapest(sizes, asked.max_p99_ms)
    measured.leave_with(best.memory_mb)
    limit = asked.reserved or functions.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    instances = hosting.estimated_instances(plan.instance_type, plan.min_instances, challenger)
    return FunctionMeasurement(
        **found.model_dump(exclude={"sizes"}),
        memory_mb=best.memory_mb,
        sizes=sizes,
        measurement_sha256=sha256,
        reused=known is not None,
        instance_type=plan.instance_type,
        requests_per_day=plan.requests_per_day,
        min_instances=plan.min_instances,
        max_p99_ms=asked.max_p99_ms,
        provisioned=asked.provisioned,
        concurrency_limit=limit,
        table=hosting.rows(best, asked.provisioned, limit, instances, plan.requests_per_day),
    ).model_copy(update=measured.sent())


def _location(report_uri: str, *parts: str | float) -> Location:
    """Return where the measurement of these networks is kept, by all that it depends on."""
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return Location(parse_uri(report_uri).bucket, f"measurements/{key}.json")


def _golden_photos(report_uri: str) -> list[bytes]:
    golden = f"{report_uri}/golden"
    return [read_bytes(s3, f"{golden}/{item['photo']}") for item in read_json(s3, f"{golden}/golden.json")]


def _measure(plan: MeasurePlan, inside_ms: float, photos_per_s: float) -> tuple[Measurement, dict[str, int]]:
    """Load the endpoint for at most a minute; return the measurement, and what was sent for it.

    Args:
        inside_ms: time for one photo inside the container, measured by the evaluation on the same instance type.
        photos_per_s: rate of the model without a server on all cores, an upper bound for the instance.

    Raises:
        MeasurementError: the endpoint does not answer, or exceeds the limit at every rate.
    """
    photos = _golden_photos(plan.report_uri)
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
