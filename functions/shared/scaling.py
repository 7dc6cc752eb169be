"""The documents of what an endpoint or a function can answer, how the endpoint therefore scales, and what both cost."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from shared.base import Document, JobDocument, Share


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


class MeasuredFunctionPlan(JobDocument):
    """What the measurement needs to know of the function that has the model; the run's plan of it has more.

    Attributes:
        name: name of the function.
        memory_mb: MB of memory, the first size that is measured.
        reserved: most executions at once that are reserved for it; 0 for none.
        provisioned: environments that are kept ready; 0 for none.
        max_p99_ms: milliseconds that the slowest of a hundred warm requests may take.
    """

    name: str
    memory_mb: int
    reserved: int
    provisioned: int
    max_p99_ms: float


class FunctionMeasurePlan(Document):
    """What to measure of a function. The image decides whether a kept measurement fits.

    Attributes:
        run: id of this run.
        report_sha256: the same as ``report`` of Verdict.
        image: URI of the server's image.
        instance_type: type of the instances whose dollars stand beside the function's.
        requests_per_day: requests of a day for which the memory is chosen.
        min_instances: fewest instances that would serve.
    """

    function: MeasuredFunctionPlan
    run: str
    report_uri: str
    report_sha256: str
    image: str
    instance_type: str
    requests_per_day: float
    min_instances: int = 1


class MemorySize(Document):
    """What the function takes with one size of memory.

    Attributes:
        memory_mb: MB of memory.
        cold_ms: milliseconds of each cold start as its caller sees it, with the answer.
        init_ms: milliseconds of the initialization in each of them; empty if Lambda does not tell them.
        cold_billed_ms: median of what is billed for a cold start.
        warm_p50_ms, warm_p99_ms: milliseconds of a warm request as its caller sees it.
        billed_ms: mean of what is billed for a warm request.
        hop_ms: median of what a warm request takes beside the function's own time; 0 if Lambda does not tell it.
        is_told: whether Lambda told what it bills; else the caller's milliseconds stand for it, which are more.
    """

    memory_mb: int
    cold_ms: list[float]
    init_ms: list[float]
    cold_billed_ms: float
    warm_p50_ms: float
    warm_p99_ms: float
    billed_ms: float
    hop_ms: float
    is_told: bool


class FunctionSizes(Document):
    """The sizes of memory that were measured. It is kept for later runs with the same model and image.

    Attributes:
        run: id of the run that measured.
        left_out: what there was no time for, one sentence each; a measurement that lacks something is not reused.
    """

    run: str
    sizes: list[MemorySize]
    left_out: list[str]


class PricedSize(MemorySize):
    """A size of memory with its price.

    Attributes:
        within_limits: whether warm requests keep ``max_p99_ms``.
        dollars_per_million: what a million answers cost by the function's own URL at the expected requests a day.
    """

    within_limits: bool
    dollars_per_million: float | None


class Running(Document):
    """What answers would cost and take with one hosting, at one number of requests a day.

    Attributes:
        dollars_per_month: with everything, by the door; None where it cannot be told.
        p50_ms, p99_ms: milliseconds of a warm request; None if nobody measured them.
        cold_ms: median milliseconds of a cold start; None where there are none.
        cold_share: estimated share of the requests that meet one.
        instances: number of instances; 0 for a function.
        estimated: whether the evaluation's figures stand for those of a measurement.
        reason: why it is estimated or cannot be told; empty otherwise.
    """

    dollars_per_month: dict[str, float | None]
    p50_ms: float | None
    p99_ms: float | None
    cold_ms: float | None
    cold_share: Share
    instances: int
    estimated: bool
    reason: str


class HostingRow(Document):
    """Both hostings at one number of requests a day."""

    requests_per_day: float
    function: Running
    instances: Running


class FunctionMeasurement(Document):
    """The measurement of the function that has the model, the memory that it was left with, and what it costs.

    Attributes:
        run, left_out: as in FunctionSizes.
        memory_mb: MB, the cheapest size that keeps ``max_p99_ms``.
        measurement_sha256: digest of the kept measurement, which the registry keeps with the version.
        reused: whether an earlier run measured.
        concurrency_limit: most executions at once that the account allows the function.
        table: both hostings for a thousand to ten million requests a day, and for those of the run.
        num_requests: number of requests that this run has sent to measure; 0 if an earlier run measured.
        gb_seconds: GB-seconds that Lambda bills for all of them.
        bytes_in, bytes_out: bytes of all photos and of all answers.
    """

    run: str
    memory_mb: int
    sizes: list[PricedSize]
    left_out: list[str]
    measurement_sha256: str
    reused: bool
    instance_type: str
    requests_per_day: float
    min_instances: int
    max_p99_ms: float
    provisioned: int
    concurrency_limit: int
    table: list[HostingRow]
    num_requests: int = 0
    gb_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0


class HostingQuestion(Document):
    """The measurements of both hostings, one of which shall serve.

    Attributes:
        function, instances: None for the one that could not be measured.
        refused: why it could not: a sentence, or the report of the task that failed.
    """

    function: FunctionMeasurement | None = None
    instances: Scaling | None = None
    requests_per_day: float
    max_p99_ms: float
    refused: str = ""


class HostingChoice(Document):
    """What shall serve.

    Attributes:
        reason: one sentence, with both prices where both are known.
        table: as in FunctionMeasurement, with what was measured of the instances; empty without a measured function.
    """

    hosting: Literal["instances", "function"]
    reason: str
    table: list[HostingRow]
