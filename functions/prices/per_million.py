"""What a million answers cost with everything, what a day of traffic costs, and what a stack costs that nobody asks.

Prices come from the price book; nothing here knows one. A part whose price the book does not have is None, and so is
each sum with that part. Free tiers, discounts and taxes are left out.

What a request does is Kennel's own and is told here: the bytes of its log line, of its answer and of a photo that the
function has made smaller. Tests hold the log line and the answer against the function and the server; ``python -m
benchmarks cost`` measures the photos and the times.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import prices
from prices.billed import HOURS_A_MONTH, function_item, warm_function_item
from prices.cores import elapsed_ms
from prices.disks import has_own_disks

MILLION = 1_000_000
HALF = 0.5  # the share of what its instances can answer that an endpoint is asked on average, where nobody says better
PLANNED = 0.7  # the share beyond which the endpoint scales out (SAFETY in functions/measure/max_rate.py)

REST_API, FUNCTION_URL, SIGN_IN = "rest_api", "function_url", "sign_in"
DOORS = (REST_API, FUNCTION_URL)  # SIGN_IN is the REST API with the authorizer that checks people's tokens

# Lambda takes at most so many requests a second for each that a function may work on at once.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
REQUESTS_PER_CONCURRENCY = 10

# AWS's example of API Gateway's price counts 15 million KB as 14.3 GB, so data to callers is counted in powers of 1024.
# For SageMaker's and CloudWatch's bytes it does not tell; powers of 1000 make them 7 % dearer at most.
_GIB, _GB = 2**30, 1e9
# The volume that each instance of an endpoint gets unasked, by a bill: 0.222 GB-months in 8.208 hours of the only type
# without a local disk (aws-samples/sagemaker-ssh-helper, Sample_Costs.md). Types with local disks have none.
VOLUME_GB = 20
# What CloudWatch Logs keeps is compressed; AWS's calculator counts 0.15 of what came in.
_KEPT_SHARE = 0.15
_EVENT_BYTES = 26  # CloudWatch Logs adds them to each event (limits of PutLogEvents; that they are billed is assumed)
# X-Ray's default rule, which API Gateway follows: the first request of each second, and 5 % of the others. The function
# by itself records no trace (Tracing: PassThrough), so the function's URL causes none.
_TRACED_PER_SECOND, _TRACED_SHARE = 1.0, 0.05
# The function admit, which checks tokens: estimated, it verifies a signature in pure Python.
_AUTHORIZER_MS, _AUTHORIZER_MEGABYTES = 10, 512
_CARD_RATE = 50.0  # requests per second, for the share of traces in what the card tells
_DAY = 24 * 3600  # seconds
# AWS does not tell how long it keeps an environment that waits; people measured 5 to 60 minutes. Even a function that
# is always asked gets new environments now and then.
_KEPT_SECONDS, _LEAST_COLD_SHARE = 300, 0.001
_KMS_SHARE = 0.01  # AWS: a bucket key saves up to 99 % of the requests to KMS

# Kennel's own bytes; tests/unit/functions/test_request_bytes.py measures them anew.
ANSWER_BYTES = 620  # the JSON with five breeds
_HEADER_BYTES = 450  # of an answer, with those that API Gateway and Lambda add (estimated)
LOG_BYTES = {REST_API: 375, FUNCTION_URL: 400, SIGN_IN: 425}  # the line about a request, by who asks
MODEL_LOG_BYTES = 400  # the line of the model's function about a request to its own URL
MEGABYTES = 512  # MemorySize of the function classify
OWN_CPU_MS = 3.0  # of a core, beside shrinking (benchmarks lambda_handler)


@dataclass(frozen=True)
class Endpoint:
    """The instances that answer.

    Attributes:
        instance_type: such as ``ml.c7i.large``.
        rate: requests per second that one instance can answer in time.
        answer_ms: milliseconds that the function waits for an answer.
        min_instances: the fewest that serve, day and night.
        max_instances: the most.
    """

    instance_type: str
    rate: float
    answer_ms: float
    min_instances: int = 1
    max_instances: int = 1


@dataclass(frozen=True)
class Call:
    """One request with a photo.

    Attributes:
        photo_bytes: bytes of the photo that the caller sends.
        sent_bytes: bytes that the function sends on to the endpoint.
        shrink_cpu_ms: milliseconds of a core in which the function makes the photo smaller.
        answer_bytes: bytes of the answer's body.
        own_cpu_ms: milliseconds of a core that the function takes beside that.
        megabytes: the function's memory.
        architecture: of the functions, ``x86_64`` or ``arm64``.
        from_bucket: whether the caller names a photo in the bucket instead of sending it.
        requests_per_token: at the door SIGN_IN, how many requests a person sends within the minute for which the check
            of a token is kept.
    """

    photo_bytes: int
    sent_bytes: int
    shrink_cpu_ms: float = 0.0
    answer_bytes: int = ANSWER_BYTES
    own_cpu_ms: float = OWN_CPU_MS
    megabytes: int = MEGABYTES
    architecture: str = "x86_64"
    from_bucket: bool = False
    requests_per_token: float = 1.0


# Photos of three sizes as the function sends them on: whole ones of dogs that were enlarged, with JPEG quality 90 and
# for a model that uses a square of 256 pixels (measured).
# See "A smaller photo is encoded with quality 90" in docs/decisions/photos.md.
CALLS = {
    20_000: Call(20_000, 17_700, shrink_cpu_ms=0.6),
    100_000: Call(100_000, 20_000, shrink_cpu_ms=4.1),
    500_000: Call(500_000, 20_000, shrink_cpu_ms=11.6),
}

Parts = dict[str, float | None]


def total(parts: Mapping[str, float | None]) -> float | None:
    """Return the sum; None if one of the prices is not known."""
    return _sum(parts.values())


def parts(endpoint: Endpoint, call: Call, door: str, load: float = HALF, region: str = "") -> Parts:
    """Return the dollars of each part of a million answers, under an even load.

    Args:
        door: one of DOORS, or SIGN_IN.
        load: share of what the instances can answer that they are asked.
        region: as in ``prices.find``.
    """
    busy = endpoint.rate * load  # requests per second of an instance
    return {
        "instances": instances_share(endpoint.instance_type, busy, region),
        "volume": volume(endpoint.instance_type, MILLION / busy / 3600, region),
        **_without_instances(endpoint.answer_ms, call, door, busy * endpoint.min_instances, region),
    }


@dataclass(frozen=True)
class ModelFunction:
    """A function that has the model and answers in place of an endpoint.

    Attributes:
        megabytes: its memory.
        answer_ms: milliseconds that a warm request takes it.
        hop_ms: milliseconds of the way from the function classify and back.
        cold_share: share of requests that meet a cold start.
        cold_ms: milliseconds of a cold start, which are billed.
        provisioned: environments that are kept ready all month; the time in them is cheaper.
    """

    megabytes: int
    answer_ms: float
    hop_ms: float
    cold_share: float
    cold_ms: float
    provisioned: int = 0


def parts_of_function(
    host: ModelFunction, call: Call, door: str, requests_per_second: float = 1.0, region: str = ""
) -> Parts:
    """Return the dollars of each part of a million answers by a function that has the model.

    Lambda charges nothing for the bytes of events and answers. Behind classify the model's own log is left out: it has
    a line about what is refused or slow, and one of metrics a minute.

    Args:
        door: one of DOORS, or SIGN_IN; empty if callers reach the model's function by its own URL, without classify.
        requests_per_second: for the share of traces.
        region: as in ``prices.find``.
    """
    cold_ms = host.cold_share * host.cold_ms  # of a request, on average
    billed_ms = math.ceil(host.answer_ms) + cold_ms
    item = "lambda/provisioned-duration-gb-second" if host.provisioned else "lambda/gb-second"
    found: Parts = {
        "model_time": function_time(billed_ms, host.megabytes, region, item=item),
        "model_requests": prices.dollars("lambda/request", MILLION, region),
    }
    if not door:
        found["transfer"] = transfer(call.answer_bytes + _HEADER_BYTES, region)
        return found | {"logs": _logs(MODEL_LOG_BYTES, region)}
    whole = replace(call, shrink_cpu_ms=0.0)  # Of what goes to a function nothing is paid by its bytes.
    before = _without_instances(host.answer_ms + host.hop_ms + cold_ms, whole, door, requests_per_second, region)
    return found | {name: amount for name, amount in before.items() if name not in ("data_in", "data_out")}


def cold_share(requests_per_day: float) -> float:
    """Return the estimated share of requests that meet a cold start, where they come at random times all day.

    A request meets one if none came while Lambda keeps an environment that waits.
    """
    return max(math.exp(-requests_per_day * _KEPT_SECONDS / _DAY), _LEAST_COLD_SHARE)


def month_of_function(host: ModelFunction, call: Call, door: str, requests_per_day: float, region: str = "") -> Parts:
    """Return the dollars a month of each part of what ``parts_of_function`` tells, and of provisioned concurrency."""
    found = _of_month(parts_of_function(host, call, door, requests_per_day / _DAY, region), requests_per_day)
    if host.provisioned:
        ready_ms = HOURS_A_MONTH * 3600 * 1e3
        item = "lambda/provisioned-gb-second"
        found["provisioned"] = function_time(ready_ms, host.megabytes, region, calls=host.provisioned, item=item)
    return found


def month_of_endpoint(endpoint: Endpoint, call: Call, door: str, requests_per_day: float, region: str = "") -> Parts:
    """Return the dollars a month of each part of what ``on_a_day`` tells.

    Raises:
        ValueError: the most instances cannot answer so many requests.
    """
    return _of_month(on_a_day(endpoint, call, door, requests_per_day, region=region), requests_per_day)


def _of_month(of_a_million: Parts, requests_per_day: float) -> Parts:
    millions = requests_per_day * HOURS_A_MONTH / 24 / MILLION
    return {name: None if amount is None else millions * amount for name, amount in of_a_million.items()}


def instances_share(instance_type: str, requests_per_second: float, region: str = "") -> float | None:
    """Return the dollars of the instances alone for a million answers.

    Args:
        requests_per_second: what one instance really answers.
    """
    return prices.dollars(f"hosting/{instance_type}", MILLION / requests_per_second / 3600, region)


def volume(instance_type: str, hours: float, region: str = "") -> float | None:
    """Return the dollars of the volumes of instances that serve so many hours together; 0 for those with own disks."""
    if has_own_disks(instance_type):
        return 0.0
    return prices.dollars("hosting/volume", VOLUME_GB * hours / HOURS_A_MONTH, region)


def num_instances(endpoint: Endpoint, requests_per_second: float) -> int:
    """Return how many instances serve: as many as keep each within what it is planned for, within the range."""
    needed = math.ceil(requests_per_second / (PLANNED * endpoint.rate))
    return min(max(needed, endpoint.min_instances), endpoint.max_instances)


def on_a_day(
    endpoint: Endpoint, call: Call, door: str, requests: float, busy_hours: float = 24, region: str = ""
) -> Parts:
    """Return the dollars of each part of a million answers, where so many requests come each day.

    The fewest instances are paid around the clock, whether they are asked or not.

    Args:
        requests: requests of a day, more than none.
        busy_hours: hours over which they are spread evenly; in the others nobody asks.

    Raises:
        ValueError: the most instances cannot answer them in that time.
    """
    rate = requests / (busy_hours * 3600)
    if rate > endpoint.rate * endpoint.max_instances:
        raise ValueError(f"{endpoint.max_instances} x {endpoint.instance_type} cannot answer {rate:.1f} requests/s")
    busy = num_instances(endpoint, rate)
    hours = busy * busy_hours + endpoint.min_instances * (24 - busy_hours)
    hours *= MILLION / requests
    return {
        "instances": prices.dollars(f"hosting/{endpoint.instance_type}", hours, region),
        "volume": volume(endpoint.instance_type, hours, region),
        **_without_instances(endpoint.answer_ms, call, door, rate, region),
    }


def _without_instances(answer_ms: float, call: Call, door: str, requests_per_second: float, region: str) -> Parts:
    computing = elapsed_ms(call.own_cpu_ms + call.shrink_cpu_ms, call.megabytes)
    milliseconds = math.ceil(answer_ms + computing)  # AWS bills whole ones.
    found: Parts = {
        "data_in": prices.dollars("invoke/in", MILLION * call.sent_bytes / _GB, region),
        "data_out": prices.dollars("invoke/out", MILLION * call.answer_bytes / _GB, region),
        "function_time": function_time(milliseconds, call.megabytes, region, item=function_item(call.architecture)),
        "function_requests": prices.dollars("lambda/request", MILLION, region),
        "door": 0.0 if door == FUNCTION_URL else prices.dollars("api-gateway/rest-request", MILLION, region),
        "transfer": transfer(call.answer_bytes + _HEADER_BYTES, region),
        "logs": _logs(LOG_BYTES[door], region),
    }
    if door != FUNCTION_URL:
        found["traces"] = prices.dollars("xray/trace", MILLION * traced(requests_per_second), region)
    if door == SIGN_IN:
        checks = MILLION / call.requests_per_token
        time = function_time(_AUTHORIZER_MS, _AUTHORIZER_MEGABYTES, region, checks, function_item(call.architecture))
        found["authorizer"] = _sum([time, prices.dollars("lambda/request", checks, region)])
    if call.from_bucket:
        keys = prices.dollars("kms/request", MILLION * _KMS_SHARE, region)
        found["bucket"] = _sum([prices.dollars("s3/get", MILLION, region), keys])
    return found


def function_time(
    milliseconds: float, megabytes: int, region: str = "", calls: float = MILLION, item: str = "lambda/gb-second"
) -> float | None:
    """Return the dollars of a function's time, a million calls unless told otherwise."""
    return prices.dollars(item, calls * milliseconds / 1e3 * megabytes / 1024, region)


def transfer(num_bytes: float, region: str = "", calls: float = MILLION) -> float | None:
    """Return the dollars of sending so many bytes to callers on the internet, a million times unless told otherwise."""
    return prices.dollars("data-transfer/out", calls * num_bytes / _GIB, region)


def traced(requests_per_second: float) -> float:
    """Return the share of requests of which X-Ray's default rule records a trace."""
    first = min(_TRACED_PER_SECOND, requests_per_second)
    return (first + _TRACED_SHARE * (requests_per_second - first)) / requests_per_second


def for_the_card(instance_type: str, region: str = "", architecture: str = "x86_64") -> dict[str, object]:
    """Return what the evaluation needs to tell a price, without knowing the price book.

    It measures the rate of an instance and the milliseconds of an answer; by each door and size of photo, a million
    answers cost ``hour / 3600 / (rate * load) * 1e6 + ms * milliseconds + doors[door][i]``.

    Args:
        instance_type: what serves.
        region: as in ``prices.find``.
        architecture: of the functions.
    """
    calls = [replace(call, architecture=architecture) for call in CALLS.values()]
    return {
        "hour": _rounded(
            _sum([prices.dollars(f"hosting/{instance_type}", 1, region), volume(instance_type, 1, region)])
        ),
        "load": HALF,
        "ms": _rounded(function_time(1, MEGABYTES, region, item=function_item(architecture))),
        "bytes": list(CALLS),
        "doors": {
            door: [_rounded(total(_without_instances(0, call, door, _CARD_RATE, region))) for call in calls]
            for door in DOORS
        },
    }


# What a stack has that costs without a request; tests/contract/test_idle.py counts the alarms of the template and of
# the state machine. The alarm of a burst, and target tracking's for scaling out, look at ten seconds and so cost more.
STACK_ALARMS = 9
METER_ALARMS = 2  # of a stack with MonthlyDollars
ENDPOINT_ALARMS, FAST_ALARMS = 1, 2  # of an endpoint that serves
WARM_ALARMS = 2  # target tracking's own, for functions that are kept warm
# The meter of a stack with MonthlyDollars: a tick each five minutes; its seconds are estimated.
_METER_TICKS, _METER_SECONDS, _METER_MEGABYTES = 12 * HOURS_A_MONTH, 2.0, 512
METER_QUESTIONS = 14  # requests for the sums of a metric at each tick, which cost as much as a metric of GetMetricData


@dataclass(frozen=True)
class Standing:
    """What stays between requests.

    Attributes:
        instance_type: of the endpoint.
        min_instances: its fewest instances; 0 if there is no endpoint.
        key_versions: versions of the key; AWS makes one a year and charges for three at most.
        dashboards: CloudWatch dashboards; the template has one with Dashboard=true.
        log_gb: gigabytes of logs that are kept. The default is an estimate for the runs of a month.
        image_gb: gigabytes of images in ECR. The default is the estimate for the three targets of the Dockerfile.
        bucket_gb: gigabytes of photos, models and reports. The default is an estimate for a small dataset.
        warm_functions: instances of the function that are kept warm (ApiProvisionedConcurrency).
        warm_megabytes: their memory.
        architecture: of the functions.
        has_meter: whether the stack has a limit of spending, and so a meter with alarms.
        staging_type: instance type of a staging endpoint that a run could not delete; empty if there is none.
        ready_functions: environments of the model's function that are kept ready; without any, it costs nothing.
        ready_megabytes, ready_architecture: their memory and processor.
    """

    instance_type: str
    min_instances: int
    key_versions: int = 1
    dashboards: int = 0
    log_gb: float = 0.05
    image_gb: float = 0.8
    bucket_gb: float = 0.5
    warm_functions: int = 0
    warm_megabytes: int = MEGABYTES
    architecture: str = "x86_64"
    has_meter: bool = False
    staging_type: str = ""
    ready_functions: int = 0
    ready_megabytes: int = 0
    ready_architecture: str = "x86_64"

    @property
    def num_alarms(self) -> int:
        """Number of alarms that look once a minute or less often."""
        of_parts = (
            (self.min_instances, ENDPOINT_ALARMS),
            (self.has_meter, METER_ALARMS),
            (self.warm_functions, WARM_ALARMS),
            (self.ready_functions, WARM_ALARMS),
        )
        return STACK_ALARMS + sum(number for part, number in of_parts if part)


def _standing_quantities(standing: Standing) -> dict[str, dict[str, float]]:
    """Return each part of a stack that nobody asks: how much of which price of the book it needs in a month.

    Metrics of Kennel's own are charged only for hours in which they were put, so they are not among them.
    """
    warm_gb = standing.warm_functions * standing.warm_megabytes / 1024
    ready_gb = standing.ready_functions * standing.ready_megabytes / 1024
    meter_gb_seconds = _METER_TICKS * _METER_SECONDS * _METER_MEGABYTES / 1024
    meter = {
        function_item(standing.architecture): meter_gb_seconds,
        "lambda/request": _METER_TICKS,
        "cloudwatch/get-metric": _METER_TICKS * METER_QUESTIONS,
        "scheduler/invocation": _METER_TICKS,
    }
    found: dict[str, dict[str, float]] = {
        **_fleet("endpoint", "volume", standing.instance_type, standing.min_instances),
        **_fleet("staging", "staging_volume", standing.staging_type, 1 if standing.staging_type else 0),
        "key": {"kms/key": min(standing.key_versions, 3)},
        "alarms": {"cloudwatch/alarm": standing.num_alarms},
        "fast_alarms": {"cloudwatch/fast-alarm": FAST_ALARMS if standing.min_instances else 0},
        "meter": meter if standing.has_meter else {},
        "dashboards": {"cloudwatch/dashboard": standing.dashboards},
        "logs": {"logs/storage": standing.log_gb},
        "images": {"ecr/storage": standing.image_gb},
        "bucket": {"s3/storage": standing.bucket_gb},
        "warm_functions": {warm_function_item(standing.architecture): warm_gb * HOURS_A_MONTH * 3600},
        "ready_functions": {warm_function_item(standing.ready_architecture): ready_gb * HOURS_A_MONTH * 3600},
    }
    return {name: needs for name, needs in found.items() if any(needs.values())}


def _fleet(name: str, volume_name: str, instance_type: str, count: int) -> dict[str, dict[str, float]]:
    """Return the parts of instances that serve all month, and of their volumes."""
    return {
        name: {f"hosting/{instance_type}": count * HOURS_A_MONTH},
        volume_name: {"hosting/volume": 0 if has_own_disks(instance_type) else count * VOLUME_GB},
    }


def idle(standing: Standing, region: str = "") -> Parts:
    """Return the dollars a month of each part of a stack that nobody asks."""
    return {
        name: _sum(prices.dollars(item, quantity, region) for item, quantity in needs.items())
        for name, needs in _standing_quantities(standing).items()
    }


def _logs(line_bytes: int, region: str) -> float | None:
    """Return the dollars of a million lines, kept for a month, the default."""
    gigabytes = MILLION * (line_bytes + _EVENT_BYTES) / _GB
    shares = (("ingest", 1.0), ("storage", _KEPT_SHARE))
    return _sum(prices.dollars(f"logs/{item}", gigabytes * share, region) for item, share in shares)


def _sum(amounts: Iterable[float | None]) -> float | None:
    result = 0.0
    for amount in amounts:
        if amount is None:
            return None
        result += amount
    return result


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else float(f"{amount:.4g}")
