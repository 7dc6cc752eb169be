"""The documents that travel between the states, the jobs and the functions.

Each is written by one side and read by another; both ends go through these models (the jobs, which
import nothing from here, have their documents checked against them by the contract tests).
Every model is frozen; what people write refuses unknown fields.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasPath, BaseModel, ConfigDict, Field, model_validator


class Document(BaseModel):
    """A document that Kennel writes: unknown fields are kept out, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobDocument(BaseModel):
    """A document that a job writes: it may say more than its readers need."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Count = Annotated[int, Field(ge=1, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Limits(Document):
    """What a challenger must keep to be promoted; shares are in [0, 1].

    min_top1: the share of test photos that it must name rightly.
    max_top1_loss: how much of the champion's top-1 it may lose, at most, with 95 % confidence.
    max_breed_loss: how much of the champion's recall of one breed it may lose, when chance does not explain it.
    max_calibration_error: how far its stated probabilities may be off, beyond what chance explains.
    min_rejected: the share of photos without a dog that it must tell to be such; none unless given.
    max_latency_ms: of one photo, from bytes to answer, at the 95th percentile.
    max_slowdown: its time for a photo over the champion's, in the median.
    max_megabytes: of all networks in its artifact, in millions of bytes.
    """

    min_top1: Share = 0.5
    max_top1_loss: Annotated[float, Field(gt=0, lt=1)] = 0.02
    max_breed_loss: Share = 0.2
    max_calibration_error: Share = 0.1
    min_rejected: Share | None = None
    max_latency_ms: Positive = 500
    max_slowdown: Positive = 2
    max_megabytes: Positive = 500


_OF_PROMOTION = {"promote", "serving_instance_type", "min_instances", "max_instances", "max_p99_ms", "lease_hours"}


class Request(Limits):
    """The input of an execution: the gate's limits, and what is here; every field has a default, so ``{}`` is whole.

    dataset: where the photos are, as ``s3://bucket/key`` or a key of the stack's bucket: a prefix with
        ``train/``, ``valid/`` and ``test/``, or one .zip or .tar archive of them.
    hyperparameters: of the training program, see ``python -m training.train --help``.
    weights: the backbone's .pth or .safetensors file, as ``s3://bucket/key`` or a key of the stack's bucket;
        needed by backbones whose weights the stack does not bring, which are torchvision's.
    reuse: whether to take up the model of an earlier training job that was like this one in all that decides it.
    training_instance_type, training_instance_count, spot: what trains; the stack's choice unless given.
    serving_instance_type: what serves; the stack's choice unless given.
    min_instances, max_instances: the range within which the endpoint scales.
    max_p99_ms: milliseconds that the slowest of a hundred requests may take, which decides how many an instance is
        given; the stack's choice unless given.
    lease_hours: after which the endpoint is torn down unless another run extends it; 0 keeps it; the stack's choice
        unless given.
    promote: a version in the model package group that served before, to be deployed again by the same steps without
        training.
    """

    dataset: str = "dataset/"
    hyperparameters: dict[str, str | int | float | bool] = Field(default_factory=dict)
    weights: str = ""
    reuse: bool = True
    training_instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] | None = None
    training_instance_count: Count | None = None
    spot: bool | None = None
    serving_instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] | None = None
    min_instances: Count = 1
    max_instances: Count = 2
    max_p99_ms: Annotated[float, Field(ge=1, le=60_000)] | None = None
    lease_hours: Annotated[float, Field(ge=0, le=8760)] | None = None
    promote: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> "Request":
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances ({self.min_instances}) is above max_instances ({self.max_instances})")
        if self.promote is not None and (idle := self.model_fields_set - _OF_PROMOTION):
            raise ValueError(f"promote: deploys a version as it is; leave out {', '.join(sorted(idle))}")
        return self


class Dataset(Document):
    """What Plan found at the request's dataset.

    fingerprint: 16 hex digits, other ones when a photo is another. ignored: files that are no photos.
    counts: photos per split, and of ``other`` when there are any.
    """

    uri: str
    fingerprint: str
    num_classes: int
    counts: dict[str, int]
    ignored: int


class TrainedModel(Document):
    """What a training job made, and where."""

    job: str
    model_uri: str


class TrainingPlan(Document):
    """Everything the Train state hands to SageMaker; URIs end in no slash.

    key: 16 hex digits of all that decides the model; jobs of one key leave their models below one ``output_uri``.
    reused: the model of an earlier job of this key, instead of which nothing is trained.
    volume_key: ``VolumeKmsKeyId``, the stack's key, as ResourceConfig takes it; ``{}`` for instances that encrypt their
        own disks.
    """

    key: str
    reused: TrainedModel | None
    job_name: str
    image: str
    code_uri: str
    weights_uri: str
    output_uri: str
    checkpoint_uri: str
    hyperparameters: dict[str, str]
    instance_type: str
    instance_count: int
    volume_key: dict[str, str]
    spot: bool


class EvaluationPlan(Document):
    """Where the Evaluate state reads and writes; ``champion_uri`` is empty when nothing serves yet.

    inputs: the dataset and, if there is one, the champion, as CreateProcessingJob takes them; Evaluate adds the model.
    volume_key: the same as TrainingPlan's, for ClusterConfig.
    """

    job_name: str
    artifact_uri: str
    report_uri: str
    champion_uri: str
    inputs: list[dict[str, str | dict[str, str]]]
    volume_key: dict[str, str]


class ImagePlan(Document):
    """The images that evaluate and serve, and what it takes to build them.

    evaluate, serve: image URIs. repository: the stack's own, in ECR.
    targets: of ``serving/Dockerfile``, to be built unless the repository has ``<target>-<content_hash>``;
        those whose image the stack was given are not among them.
    context: ``bucket/key`` of the build's context, a zip; empty when there is nothing to build.
    """

    evaluate: str
    serve: str
    repository: str
    targets: list[str]
    content_hash: str
    context: str


class EndpointPlan(Document):
    """The production endpoint and the names this run adds for it.

    max_p99_ms: milliseconds. bake_seconds: how long an update is watched before it counts.
    lease_hours: 0 for an endpoint that stays.
    volume_key: ``KmsKeyId``, the stack's key, as CreateEndpointConfig takes it; ``{}`` for instances that encrypt their
        own disks.
    """

    name: str
    variant: str
    model_name: str
    config_name: str
    staging_name: str
    staging_config_name: str
    instance_type: str
    volume_key: dict[str, str]
    min_instances: int
    max_instances: int
    max_p99_ms: float
    bake_seconds: int
    lease_hours: float


class Quote(Document):
    """What the run may cost, in US dollars (us-east-1 list prices; ``None`` where none is known).

    training_per_hour: all training instances together; 0 when an earlier training is reused.
    endpoint_per_hour: at ``min_instances``.
    """

    training_per_hour: float | None
    endpoint_per_hour: float | None


class Promotion(Document):
    """An earlier version that is deployed again, and the verdict that stands for the gate's."""

    version: int
    model_package_arn: str
    verdict: "Verdict"


class Run(Document):
    """Plan's document: the whole run, decided once. Later states add documents and edit none.

    promotion: the version that a run without training deploys; such a run has neither dataset nor training.
    network: ``{}``, or ``VpcConfig`` with the subnets and security groups of jobs and endpoint, as SageMaker takes it.
    """

    id: str
    promotion: Promotion | None
    dataset: Dataset | None
    training: TrainingPlan | None
    evaluation: EvaluationPlan
    images: ImagePlan
    endpoint: EndpointPlan
    limits: Limits | None
    network: dict[str, dict[str, list[str]]]
    quote: Quote


class Champion(Document):
    """The champion pointer (an SSM parameter): what serves now.

    run: the one that trained and judged it, in whose folder artifact and report lie.
    """

    run: str
    artifact_uri: str
    model_package_arn: str
    instance_type: str
    top1: float


class Scores(JobDocument):
    """One model's marks on the test split.

    latency_p95_ms: of one photo, from bytes to answer. size: of all its networks, in bytes.
    calibration_error: the expected one. calibration_chance: what it would be, on as few photos, of probabilities that
        are right. rejected: the share of photos without a dog told to be such; None when there are none.
    """

    top1: Share
    num_photos: int
    latency_p95_ms: Annotated[float, Field(validation_alias=AliasPath("latency", "both", "p95"))]
    size: Annotated[int, Field(validation_alias="bytes")]
    calibration_error: Annotated[Share, Field(validation_alias=AliasPath("calibration", "error_after"))]
    calibration_chance: Annotated[Share, Field(validation_alias=AliasPath("calibration", "chance"))]
    rejected: Annotated[Share | None, Field(validation_alias=AliasPath("dogs", "rejected", "share"))] = None


class Paired(JobDocument):
    """Photos that two models both answered, and those of them that one alone named rightly."""

    num_photos: int
    only_challenger: int
    only_champion: int


class PairedBreed(Paired):
    """Those of one breed."""

    breed: str


class Comparison(Paired):
    """Challenger and champion on the photos of the breeds that the champion knows.

    unknown_to_champion: number of the other breeds. slowdown: the challenger's time for a photo over the champion's,
        in the median.
    """

    unknown_to_champion: int
    slowdown: float
    per_breed: list[PairedBreed]


class Leak(JobDocument):
    """A photo that stands in two splits."""

    photo: str
    also: str


class Distribution(JobDocument):
    """``ddp.json``: the training job's proof that its ranks trained one model together."""

    world_size: int
    num_train: int
    steps: int
    samples_per_rank: list[int]
    parameter_checksums: list[str]
    in_sync: bool


class Evaluation(JobDocument):
    """``evaluation.json``: what the evaluation job found.

    comparison: None without a champion, and with one that knows none of the breeds.
    """

    challenger: Scores
    champion: Scores | None
    comparison: Comparison | None
    leaked: list[Leak]
    ddp: Distribution


class Check(Document):
    """One thing that the gate looked at, and what it found, in words with figures."""

    name: str
    passed: bool
    words: str


class Verdict(Document):
    """The gate's decision, the words of the checks that decided, all checks, and the marks they rest on.

    reason: at most 1,024 characters, what SageMaker's registry takes.
    """

    decision: Literal["promote", "refuse"]
    reason: str
    checks: list[Check]
    challenger_top1: float
    champion_top1: float | None


class Smoke(Document):
    """What the smoke test saw: golden photos asked, and the median milliseconds of an answer."""

    num_photos: int
    latency_ms: float


class Trial(Document):
    """Some seconds of requests at a rate, in requests/s; times are None when nothing was answered.

    failed: how many were answered otherwise than with 200. borne: whether the rate is within the limits.
    """

    rate: float
    p50_ms: float | None
    p99_ms: float | None
    failed: int
    borne: bool


class Capacity(Document):
    """What so many instances bear with room for a burst, and cost; dollars are None where no price is known."""

    instances: int
    requests_per_second: float
    dollars_per_hour: float | None
    dollars_per_million: float | None


class MeasurePlan(Document):
    """What to measure, and what decides whether it was measured before.

    run: this one. image: URI of the server's. max_p99_ms: milliseconds of the slowest of a hundred requests.
    start_seconds: from the order of staging until it served.
    """

    run: str
    endpoint_name: str
    report_uri: str
    image: str
    instance_type: str
    max_instances: int
    max_p99_ms: float
    start_seconds: float


class Measurement(Document):
    """What one instance bore; kept for later runs that would serve the same.

    run: in which it was measured. knee_per_second: the highest rate of requests that was borne.
    rate_per_second: the part of it that an instance is meant to bear. concurrency: the most requests within it at once,
        in ten seconds at that rate.
    limited_by: what ended the search: the endpoint, or what this function can send.
    """

    run: str
    knee_per_second: float
    rate_per_second: float
    concurrency: int
    limited_by: Literal["endpoint", "sender"]
    trials: list[Trial]


class Scaling(Document):
    """How production is scaled, by what was measured.

    reused: whether an earlier run measured it.
    target_value: the most requests within an instance at once that target tracking keeps. burst_value: from how many on
        the step policy acts.
    scale_out_cooldown, scale_in_cooldown: seconds, from how long an instance takes to start.
    capacity: of every number of instances up to the most.
    """

    measurement: Measurement
    reused: bool
    target_value: int
    burst_value: int
    scale_out_cooldown: int
    scale_in_cooldown: int
    capacity: list[Capacity]


class ScalingPolicies(Document):
    """What the champion scales by, remembered so that a failed run can put it back.

    policies: requests of PutScalingPolicy, as it takes them.
    burst_value: the threshold of the alarm that starts the step policy; 0 where there is no such policy.
    """

    policies: list[dict[str, Any]]
    burst_value: float


class Explanation(Document):
    """Why a run failed: ``cause`` is the sentence of the failed task's report that a person needs."""

    cause: str
