"""What a million answers cost with everything, what a day of traffic costs, and what a stack costs that nobody asks.

Prices come from the price book; nothing here knows one. A part whose price the book does not have is None, and so is
each sum with that part. Free tiers, discounts and taxes are left out.

What a request does is Kennel's own and is told here: the bytes of its log line, of its answer and of a photo that the
function has made smaller. Tests hold the log line and the answer against the function and the server; ``python -m
benchmarks cost`` measures the photos and the times.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import prices
from prices.disks import has_own_disks

MILLION = 1_000_000
HOURS_A_MONTH = 730
HALF = 0.5  # the share of what its instances can answer that an endpoint is asked on average, where nobody says better
PLANNED = 0.7  # the share beyond which the endpoint scales out (SAFETY in functions/measure/max_rate.py)

REST_API, FUNCTION_URL, SIGN_IN = "rest_api", "function_url", "sign_in"
DOORS = (REST_API, FUNCTION_URL)  # SIGN_IN is the REST API with the authorizer that checks people's tokens

# AWS's example of API Gateway's price counts 15 million KB as 14.3 GB, so data to callers is counted in powers of 1024.
# For SageMaker's and CloudWatch's bytes it does not tell; powers of 1000 make them 7 % dearer at most.
_GIB, _GB = 2**30, 1e9
# The volume that each instance of an endpoint gets unasked, by a bill: 0.222 GB-months in 8.208 hours of the only type
# without a local disk (aws-samples/sagemaker-ssh-helper, Sample_Costs.md). Types with local disks have none.
VOLUME_GB = 20
_EVENT_BYTES = 26  # CloudWatch Logs adds them to each event (limits of PutLogEvents; that they are billed is assumed)
# X-Ray's default rule, which API Gateway follows: the first request of each second, and 5 % of the others. The function
# by itself records no trace (Tracing: PassThrough), so the function's URL causes none.
_TRACED_PER_SECOND, _TRACED_SHARE = 1.0, 0.05
# The function admit, which checks tokens: estimated, it verifies a signature in pure Python.
_AUTHORIZER_MS, _AUTHORIZER_MEGABYTES = 10, 512
_CARD_RATE = 50.0  # requests per second, for the share of traces in what the card tells
_KMS_SHARE = 0.01  # AWS: a bucket key saves up to 99 % of the requests to KMS

# Kennel's own bytes; tests/unit/functions/test_request_bytes.py measures them anew.
ANSWER_BYTES = 600  # the JSON with five breeds
_HEADER_BYTES = 450  # of an answer, with those that API Gateway and Lambda add (estimated)
LOG_BYTES = {REST_API: 350, FUNCTION_URL: 375, SIGN_IN: 400}  # the line about a request, by who asks
MEGABYTES = 1024  # MemorySize of the function classify
OWN_MS = 5.0  # 3 ms of CPU (benchmarks lambda_handler) at the 0.58 of a core that this memory brings


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
        shrink_ms: milliseconds in which the function makes the photo smaller.
        answer_bytes: bytes of the answer's body.
        own_ms: milliseconds of the function beside waiting and shrinking.
        megabytes: the function's memory.
        from_bucket: whether the caller names a photo in the bucket instead of sending it.
        requests_per_token: at the door SIGN_IN, how many requests a person sends within the minute for which the check
            of a token is kept.
    """

    photo_bytes: int
    sent_bytes: int
    shrink_ms: float = 0.0
    answer_bytes: int = ANSWER_BYTES
    own_ms: float = OWN_MS
    megabytes: int = MEGABYTES
    from_bucket: bool = False
    requests_per_token: float = 1.0


# Photos of three sizes as the function sends them on: the bytes of larger ones as ``python -m benchmarks cost`` has
# measured them for 256 pixels and JPEG quality 85; the milliseconds are estimated from 3 and 7 of a core.
CALLS = {
    20_000: Call(20_000, 20_000),
    100_000: Call(100_000, 19_200, shrink_ms=5.0),
    500_000: Call(500_000, 19_200, shrink_ms=12.0),
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
    """

    megabytes: int
    answer_ms: float
    hop_ms: float
    cold_share: float
    cold_ms: float


def parts_of_function(
    host: ModelFunction, call: Call, door: str, requests_per_second: float = 1.0, region: str = ""
) -> Parts:
    """Return the dollars of each part of a million answers by a function that has the model.

    Lambda charges nothing for the bytes of events and answers. The model's own log is left out: it has a line about
    what is refused or slow, and one of metrics a minute.

    Args:
        door: one of DOORS, or SIGN_IN; empty if callers invoke the model's function without classify before it.
        requests_per_second: for the share of traces.
        region: as in ``prices.find``.
    """
    cold_ms = host.cold_share * host.cold_ms  # of a request, on average
    found: Parts = {
        "model_time": function_time(math.ceil(host.answer_ms) + cold_ms, host.megabytes, region),
        "model_requests": prices.dollars("lambda/request", MILLION, region),
    }
    if not door:
        return found | {"transfer": transfer(call.answer_bytes + _HEADER_BYTES, region)}
    before = _without_instances(host.answer_ms + host.hop_ms + cold_ms, call, door, requests_per_second, region)
    return found | {name: amount for name, amount in before.items() if name not in ("data_in", "data_out")}


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
    endpoint: Endpoint, call: Call, door: str, requests: int, busy_hours: float = 24, region: str = ""
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
    milliseconds = math.ceil(answer_ms + call.own_ms + call.shrink_ms)  # AWS bills whole ones.
    log_bytes = LOG_BYTES[door] + _EVENT_BYTES
    found: Parts = {
        "data_in": prices.dollars("invoke/in", MILLION * call.sent_bytes / _GB, region),
        "data_out": prices.dollars("invoke/out", MILLION * call.answer_bytes / _GB, region),
        "function_time": function_time(milliseconds, call.megabytes, region),
        "function_requests": prices.dollars("lambda/request", MILLION, region),
        "door": 0.0 if door == FUNCTION_URL else prices.dollars("api-gateway/rest-request", MILLION, region),
        "transfer": transfer(call.answer_bytes + _HEADER_BYTES, region),
        "logs": _sum(
            prices.dollars(f"logs/{item}", MILLION * log_bytes / _GB, region)
            for item in ("ingest", "storage")  # kept for a month, the default, and as if nothing compressed them
        ),
    }
    if door != FUNCTION_URL:
        found["traces"] = prices.dollars("xray/trace", MILLION * traced(requests_per_second), region)
    if door == SIGN_IN:
        checks = MILLION / call.requests_per_token
        time = function_time(_AUTHORIZER_MS, _AUTHORIZER_MEGABYTES, region, checks)
        found["authorizer"] = _sum([time, prices.dollars("lambda/request", checks, region)])
    if call.from_bucket:
        keys = prices.dollars("kms/request", MILLION * _KMS_SHARE, region)
        found["bucket"] = _sum([prices.dollars("s3/get", MILLION, region), keys])
    return found


def function_time(milliseconds: float, megabytes: int, region: str = "", calls: float = MILLION) -> float | None:
    """Return the dollars of a function's time, a million calls unless told otherwise."""
    return prices.dollars("lambda/gb-second", calls * milliseconds / 1e3 * megabytes / 1024, region)


def transfer(num_bytes: float, region: str = "", calls: float = MILLION) -> float | None:
    """Return the dollars of sending so many bytes to callers on the internet, a million times unless told otherwise."""
    return prices.dollars("data-transfer/out", calls * num_bytes / _GIB, region)


def traced(requests_per_second: float) -> float:
    """Return the share of requests of which X-Ray's default rule records a trace."""
    first = min(_TRACED_PER_SECOND, requests_per_second)
    return (first + _TRACED_SHARE * (requests_per_second - first)) / requests_per_second


def for_the_card(instance_type: str, region: str = "") -> dict[str, object]:
    """Return what the evaluation needs to tell a price, without knowing the price book.

    It measures the rate of an instance and the milliseconds of an answer; by each door and size of photo, a million
    answers cost ``hour / 3600 / (rate * load) * 1e6 + ms * milliseconds + doors[door][i]``.
    """
    return {
        "hour": _rounded(
            _sum([prices.dollars(f"hosting/{instance_type}", 1, region), volume(instance_type, 1, region)])
        ),
        "load": HALF,
        "ms": _rounded(function_time(1, MEGABYTES, region)),
        "bytes": list(CALLS),
        "doors": {
            door: [_rounded(total(_without_instances(0, call, door, _CARD_RATE, region))) for call in CALLS.values()]
            for door in DOORS
        },
    }


# What a stack has that costs without a request; tests/contract/test_idle.py counts the alarms of the template and of
# the state machine. The alarm of a burst, and target tracking's for scaling out, look at ten seconds and so cost more.
STACK_ALARMS = 7
METER_ALARMS = 2  # of a stack with MonthlyDollars
ENDPOINT_ALARMS, FAST_ALARMS = 1, 2  # of an endpoint that serves
WARM_ALARMS = 2  # target tracking's own, for functions that are kept warm


@dataclass(frozen=True)
class Standing:
    """What stays between requests.

    Attributes:
        instance_type: of the endpoint.
        min_instances: its fewest instances.
        key_versions: versions of the key; AWS makes one a year and charges for three at most.
        dashboards: CloudWatch dashboards; the template has none.
        log_gb: gigabytes of logs that are kept. The default is an estimate for the runs of a month.
        image_gb: gigabytes of images in ECR. The default is the estimate for the three targets of the Dockerfile.
        bucket_gb: gigabytes of photos, models and reports. The default is an estimate for a small dataset.
        warm_functions: instances of the function that are kept warm (ApiProvisionedConcurrency).
        warm_megabytes: their memory.
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


def idle(standing: Standing, region: str = "") -> Parts:
    """Return the dollars a month of each part of a stack that nobody asks.

    Metrics of Kennel's own are charged only for hours in which they were put, so they are not among them.
    """
    warm_gb = standing.warm_functions * standing.warm_megabytes / 1024
    num_volumes = 0 if has_own_disks(standing.instance_type) else standing.min_instances
    alarms = STACK_ALARMS + ENDPOINT_ALARMS + (WARM_ALARMS if standing.warm_functions else 0)
    found = {
        "endpoint": (f"hosting/{standing.instance_type}", standing.min_instances * HOURS_A_MONTH),
        "volume": ("hosting/volume", num_volumes * VOLUME_GB),
        "key": ("kms/key", min(standing.key_versions, 3)),
        "alarms": ("cloudwatch/alarm", alarms),
        "fast_alarms": ("cloudwatch/fast-alarm", FAST_ALARMS),
        "dashboards": ("cloudwatch/dashboard", standing.dashboards),
        "logs": ("logs/storage", standing.log_gb),
        "images": ("ecr/storage", standing.image_gb),
        "bucket": ("s3/storage", standing.bucket_gb),
        "warm_functions": ("lambda/provisioned-gb-second", warm_gb * HOURS_A_MONTH * 3600),
    }
    return {name: prices.dollars(item, quantity, region) for name, (item, quantity) in found.items() if quantity}


def _sum(amounts: Iterable[float | None]) -> float | None:
    result = 0.0
    for amount in amounts:
        if amount is None:
            return None
        result += amount
    return result


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else float(f"{amount:.4g}")
