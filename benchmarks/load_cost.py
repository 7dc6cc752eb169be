"""What a load costs on AWS at list prices, before it is sent."""

import prices
from benchmarks.load_target import Fleet
from prices import per_million

# An instance that scaling has added leaves after fifteen minutes of little load at the earliest, which is how long the
# alarm of target tracking looks, and then after a cool-down of five (docs/laptop-cloud.md has AWS's pages).
SCALE_IN_SECONDS = 20 * 60
_ANSWER_MS = 100.0  # that the function waits for the model (assumed; instances under load take longer than idle ones)
_TYPE = "ml.c7i.large"  # of the instances where nobody tells it
_GROUPS = {
    "the API's door": ("door", "traces"),
    "the function": ("function_time", "function_requests"),
    "photos into the endpoint, answers out of it": ("data_in", "data_out"),
    "answers to the caller on the internet": ("transfer",),
    "logs": ("logs",),
}


def call_of(photo_bytes: int) -> per_million.Call:
    """Return what a request with a photo of so many bytes does.

    Photos of sizes that nobody has measured count as the next larger measured one, and as sent on whole where that is
    less.
    """
    size = next((size for size in per_million.CALLS if size >= photo_bytes), max(per_million.CALLS))
    measured = per_million.CALLS[size]
    return per_million.Call(photo_bytes, min(photo_bytes, measured.sent_bytes), measured.shrink_cpu_ms)


def quote(
    door: str, num_requests: int, seconds: float, photo_bytes: int, fleet: Fleet | None, region: str
) -> dict[str, float | None]:
    """Return the dollars of each part of a load, by what it is for; None where the book has no price.

    Args:
        door: one of ``per_million.DOORS``.
        num_requests: requests.
        seconds: in which they are sent.
        photo_bytes: bytes of a photo, on average.
        fleet: the instances that answer; None if nobody tells, and then they are not among the parts.
        region: of AWS.
    """
    endpoint = per_million.Endpoint(_TYPE, rate=max(num_requests, 1) / seconds, answer_ms=_ANSWER_MS)
    of_a_million = per_million.parts(endpoint, call_of(photo_bytes), door, load=1, region=region)
    share = num_requests / per_million.MILLION
    found: dict[str, float | None] = {}
    for words, names in _GROUPS.items():
        amount = per_million.total({name: of_a_million[name] for name in names if name in of_a_million})
        if amount != 0:
            found[words] = None if amount is None else amount * share
    if fleet and fleet.most > fleet.in_service:
        more, hours = fleet.most - fleet.in_service, (seconds + SCALE_IN_SECONDS) / 3600
        words = f"at most {more} more x {fleet.instance_type} for {60 * hours:.0f} minutes, until scaling ends them"
        found[words] = instances(fleet.instance_type, more * hours, region)
    return found


def instances(instance_type: str, hours: float, region: str) -> float | None:
    """Return the dollars of so many hours of instances with their volumes; None if the book has no price."""
    parts = {
        "instances": prices.dollars(f"hosting/{instance_type}", hours, region),
        "volume": per_million.volume(instance_type, hours, region),
    }
    return per_million.total(parts)
