"""The documents of what the endpoint can answer, and of how it therefore scales."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from shared.base import Document


class Trial(Document):
    """Some seconds of requests at one rate.

    Attributes:
        rate: requests per second.
        p50_ms: median latency; None if no request was answered.
        p99_ms: latency at the 99th percentile; None if no request was answered.
        failed: number of requests without an answer of status 200.
        within_limits: whether the instance keeps the limits at this rate. Stored measurements call it
            ``borne``, so that a stack which goes back to release 0.1.0 can still read them.
    """

    rate: float
    p50_ms: float | None
    p99_ms: float | None
    failed: int
    within_limits: Annotated[
        bool, Field(validation_alias=AliasChoices("within_limits", "borne"), serialization_alias="borne")
    ]


class Capacity(Document):
    """The rate of a number of instances, with room for a burst, and its cost. Unknown prices are None.

    Attributes:
        instance_dollars_per_million: what the instances cost for a million answers, at half of what they can answer.
        dollars_per_million: what a million photos of 100 KB cost with everything under that load, by the door.
    """

    instances: int
    requests_per_second: float
    dollars_per_hour: float | None
    instance_dollars_per_million: float | None
    dollars_per_million: dict[str, float | None]


class MeasurePlan(Document):
    """What to measure. The image, the instance type and the limit decide whether a kept measurement fits.

    Attributes:
        run: id of this run.
        image: URI of the server's image.
        max_p99_ms: milliseconds that the slowest of a hundred requests may take.
        start_seconds: seconds from the request for staging until it served.
        report_sha256: the same as ``report`` of Verdict.
    """

    run: str
    endpoint_name: str
    report_uri: str
    image: str
    instance_type: str
    max_instances: int
    max_p99_ms: float
    start_seconds: float
    report_sha256: str = ""


class Measurement(Document):
    """The capacity of one instance. It is kept for later runs that would serve the same.

    Attributes:
        run: id of the run that measured.
        knee_per_second: highest rate within the limits, requests per second.
        rate_per_second: the part of that rate that one instance is given in normal operation.
        concurrency: most requests inside the instance at once, during ten seconds at ``rate_per_second``.
        limited_by: what ended the search: the endpoint, or the rate that this function can send.
        trials: all trials of the search, in the order of time.
    """

    run: str
    knee_per_second: float
    rate_per_second: float
    concurrency: int
    limited_by: Literal["endpoint", "sender"]
    trials: list[Trial]


class Scaling(Document):
    """How production scales, according to the measurement.

    Attributes:
        measurement_sha256: digest of the kept measurement, which the registry keeps with the version.
        reused: whether an earlier run measured.
        target_value: number of requests at once in each instance that target tracking keeps.
        burst_value: number of requests at once in each instance from which the step policy acts.
        scale_out_cooldown: seconds, from the time that an instance needs to start.
        scale_in_cooldown: seconds, from the time that an instance needs to start.
        capacity: capacity of each number of instances up to the maximum.
        num_requests: number of requests that this run has sent to measure; 0 if an earlier run measured.
        bytes_in, bytes_out: bytes of the bodies of all these requests and of their answers.
    """

    measurement: Measurement
    measurement_sha256: str
    reused: bool
    target_value: int
    burst_value: int
    scale_out_cooldown: int
    scale_in_cooldown: int
    capacity: list[Capacity]
    num_requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class ScalingPolicies(Document):
    """The scaling policies of the champion, kept so that a failed run can restore them.

    Attributes:
        policies: requests of PutScalingPolicy.
        burst_value: threshold of the alarm that starts the step policy; 0 without such a policy.
    """

    policies: list[dict[str, Any]]
    burst_value: float
