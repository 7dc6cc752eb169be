"""The documents that travel between the states, the jobs and the functions.

Each is written by one side and read by another; both ends go through these models (the jobs, which
import nothing from here, have their documents checked against them by the contract tests).
Every model is frozen; what people write refuses unknown fields.
"""

from typing import Annotated, Literal

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

    @model_validator(mode="after")
    def _range_is_ordered(self) -> "Request":
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances ({self.min_instances}) is above max_instances ({self.max_instances})")
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
    spot: bool


class EvaluationPlan(Document):
    """Where the Evaluate state reads and writes; ``champion_uri`` is empty when nothing serves yet."""

    job_name: str
    artifact_uri: str
    report_uri: str
    champion_uri: str


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
    """The production endpoint and the names this run adds for it."""

    name: str
    variant: str
    model_name: str
    config_name: str
    staging_name: str
    staging_config_name: str
    instance_type: str
    min_instances: int
    max_instances: int
    target_value: float


class Quote(Document):
    """What the run may cost, in US dollars (us-east-1 list prices; ``None`` where none is known).

    training_per_hour: all training instances together; 0 when an earlier training is reused.
    endpoint_per_hour: at ``min_instances``.
    """

    training_per_hour: float | None
    endpoint_per_hour: float | None


class Run(Document):
    """Plan's document: the whole run, decided once. Later states add documents and edit none."""

    id: str
    dataset: Dataset
    training: TrainingPlan
    evaluation: EvaluationPlan
    images: ImagePlan
    endpoint: EndpointPlan
    limits: Limits
    quote: Quote


class Champion(Document):
    """The champion pointer (an SSM parameter): what serves now."""

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
