"""The documents that travel between the states, the jobs and the functions.

One side writes each document and another side reads it; both use these models. The jobs import
nothing from here: the contract tests check their documents against these models. Every model is
frozen. The documents that people write refuse unknown fields.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from shared.base import Document, Share
from shared.own_model import Activation, OwnPreprocess, check_fields
from shared.spending import SpendingLimit
from shared.tuning import MAX_JOB_SECONDS, Tune, TuningPlan

Count = Annotated[int, Field(ge=1, le=100)]
Hosting = Literal["instances", "function", "auto"]
Positive = Annotated[float, Field(gt=0)]


class Limits(Document):
    """The limits that a challenger must keep to be promoted. Shares are in [0, 1].

    Attributes:
        min_top1: lowest share of test photos that the challenger must name correctly.
        max_top1_loss: most of the champion's top-1 that the challenger may lose, with 95 % confidence.
        max_breed_loss: most of the champion's recall of one breed that the challenger may lose. A loss
            that chance explains does not count.
        max_calibration_error: how far the stated probabilities may be off, beyond what chance explains.
        min_rejected: lowest share of photos without a dog that must be recognized as such; None for no limit.
        max_latency_ms: longest time for one photo, from bytes to answer, at the 95th percentile.
        max_slowdown: largest ratio of the challenger's to the champion's time for a photo, in the median.
        max_megabytes: largest size of all networks in the artifact, in millions of bytes.
        drop_breeds: breeds of the champion that the challenger need not know, by the name of their folder or as people
            read it. Folders of the dataset with such names are left out.
        accept_findings: findings of ECR's scan that the image may have although they are severe, such as
            ``CVE-2026-0001``.
        require_scan: whether an image without a result of a scan is refused.
    """

    min_top1: Share = 0.5
    max_top1_loss: Annotated[float, Field(gt=0, lt=1)] = 0.02
    max_breed_loss: Share = 0.2
    max_calibration_error: Share = 0.1
    min_rejected: Share | None = None
    max_latency_ms: Positive = 500
    max_slowdown: Positive = 2
    max_megabytes: Positive = 500
    drop_breeds: list[str] = Field(default_factory=list)
    accept_findings: list[str] = Field(default_factory=list)
    require_scan: bool = False


_FIELDS_OF_A_PROMOTION = {
    "promote",
    "serving_instance_type",
    "min_instances",
    "max_instances",
    "max_p99_ms",
    "hosting",
    "requests_per_day",
    "provisioned_concurrency",
    "lease_hours",
    "check_quotas",
    "max_dollars",
}


class Request(Limits):
    """The input of an execution: the gate's limits and the fields below.

    Every field has a default, so ``{}`` is a complete request. Where the default is None, the stack's
    parameter applies.

    Attributes:
        dataset: location of the photos, as ``s3://bucket/key`` or a key of the stack's bucket: a prefix
            with ``train/``, ``valid/`` and ``test/``, or one .zip or .tar archive of them.
        split: percent of train, valid and test where the dataset does not have them; empty for 80/10/10.
        leaks: whether photos that stand in two splits are refused, or left out of valid and test.
        hyperparameters: hyperparameters of the training program, see ``python -m training.train --help``.
        weights: the backbone's .pth or .safetensors file, as ``s3://bucket/key`` or a key of the stack's
            bucket. Required for backbones of torchvision, because the stack contains no weights for them.
        reuse: whether to reuse the model of an earlier training job that agrees in everything that decides
            the model.
        training_instance_type: instance type that trains.
        training_instance_count: number of instances that train together.
        train_on: ``sagemaker``, or ``ec2`` for one machine of EC2, started by AWS Batch in the stack's subnets.
        spot: whether to train on spot capacity. On EC2 the default is yes.
        serving_instance_type: instance type that evaluates and serves.
        min_instances: smallest number of instances of the endpoint.
        max_instances: largest number of instances of the endpoint.
        max_p99_ms: longest time that the slowest of a hundred requests may take, in milliseconds. It decides
            how many requests one instance receives, and which memory a function gets.
        hosting: what answers: ``instances`` of an endpoint, a ``function`` of Lambda, or ``auto`` for the cheaper one.
        requests_per_day: how many requests a day ``auto`` expects.
        provisioned_concurrency: how many environments of the function are kept warm, up to twice as many under load;
            0 for none.
        lease_hours: hours after which the endpoint is torn down unless another run extends the lease; 0 for
            an endpoint that stays.
        max_dollars: the most that the run may cost, in US dollars, without what the endpoint costs afterwards; None for
            no limit. The training's longest time is set from what the other parts leave of it.
        rebuild: whether the run ends at once, as a success, unless a model serves and an image must be built, because
            its base or its code is new. A schedule starts such runs.
        promote: number of a version in the model package group that served before. The run deploys it
            again with the same steps, without training.
        tune: the search for hyperparameters before the training; None for no search.
        trained_model: a model that was trained elsewhere, as ``s3://bucket/key`` or a key of the stack's bucket: the
            state dict of a classifier of torchvision, or ``model.tar.gz`` of Kennel's training program. The run judges
            and deploys it without training.
        backbone: torchvision's name of that classifier.
        activation: function between the linear layers of its head, if it has several.
        preprocess: how it takes its photos.
        check_quotas: whether a run is refused for which the account's quotas are too small.
    """

    dataset: str = "dataset/"
    split: str = ""
    leaks: Literal["refuse", "drop"] = "refuse"
    hyperparameters: dict[str, str | int | float | bool] = Field(default_factory=dict)
    weights: str = ""
    reuse: bool = True
    training_instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] | None = None
    training_instance_count: Count | None = None
    train_on: Literal["sagemaker", "ec2"] = "sagemaker"
    spot: bool | None = None
    serving_instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] | None = None
    min_instances: Count = 1
    max_instances: Count = 2
    max_p99_ms: Annotated[float, Field(ge=1, le=60_000)] | None = None
    hosting: Hosting | None = None
    requests_per_day: Annotated[float, Field(ge=1, le=1_000_000_000)] = 1000
    provisioned_concurrency: Annotated[int, Field(ge=0, le=100)] = 0
    lease_hours: Annotated[float, Field(ge=0, le=8760)] | None = None
    max_dollars: Positive | None = None
    rebuild: bool = False
    promote: Annotated[int, Field(ge=1)] | None = None
    tune: Tune | None = None
    trained_model: str = ""
    backbone: str = ""
    activation: Activation = "relu"
    preprocess: OwnPreprocess = Field(default_factory=OwnPreprocess)
    check_quotas: bool = True

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, fields: Any) -> Any:
        """Leave out fields that are null, where that is the default."""
        if not isinstance(fields, dict):
            return fields
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        return {name: value for name, value in fields.items() if value is not None or name not in optional}

    @model_validator(mode="after")
    def _fields_agree(self) -> "Request":
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances ({self.min_instances}) is above max_instances ({self.max_instances})")
        if self.promote is not None and (unused := self.model_fields_set - _FIELDS_OF_A_PROMOTION):
            raise ValueError(f"promote: deploys a version without changes; leave out {', '.join(sorted(unused))}")
        check_fields(self.trained_model, self.backbone, self.model_fields_set)
        return self


class LeftOut(Document):
    """Number of files that are left out for one reason.

    Attributes:
        reason: in words.
        count: number of files.
        splits: number in each split.
        classes: number in each class; at most the 20 classes with the most.
    """

    reason: str
    count: int
    splits: dict[str, int]
    classes: dict[str, int]


class Dataset(Document):
    """The dataset of the request, as Plan read it.

    Attributes:
        uri: location of the prefix or archive.
        fingerprint: 16 hex digits that change when any photo changes.
        num_classes: number of classes.
        counts: number of photos per split, and of ``other`` when it has any.
        made_splits: what was done about splits that the dataset does not have; empty if it has all.
        left_out: files that are no photos, or that the request leaves out, by reason.
        unreadable: photos that are known to be unreadable, by reason. Only a tar is read before the training.
        not_compared: photos of which another split has one of the same size, and that were too many to compare.
        reading: what the jobs must know to see the same photos, as JSON; empty if nothing.
        listing: location of the list of the objects, with which the gate compares those that are there then.
    """

    uri: str
    fingerprint: str
    num_classes: int
    counts: dict[str, int]
    made_splits: str = ""
    left_out: list[LeftOut] = Field(default_factory=list)
    unreadable: list[LeftOut] = Field(default_factory=list)
    not_compared: int = 0
    reading: str = ""
    listing: str = ""


class TrainedModel(Document):
    """The model of a training job, and the job's name.

    Attributes:
        etag: the ETag of the model in S3 when the job had ended. Another ETag means that somebody has replaced it.
        version_id: id of that version of the object, or empty if only the ETag is known.
    """

    job: str
    model_uri: str
    etag: str = ""
    version_id: str = ""


class Ec2Plan(Document):
    """The machine of EC2 that trains.

    Attributes:
        instance_type: for example ``c7i.xlarge``.
        ranks: number of processes that train on it.
        queue: ARN of the queue of AWS Batch, for spot capacity or on demand.
        needs: vCPUs, memory and GPUs of the job, in the form of RegisterJobDefinition. They fill the machine.
    """

    instance_type: str
    ranks: int
    queue: str
    needs: list[dict[str, str]]


class TrainingPlan(Document):
    """Everything that the states of the training pass to SageMaker or to AWS Batch. URIs have no slash at the end.

    Attributes:
        key: 16 hex digits of everything that decides the model. Jobs with the same key write their models
            below the same ``output_uri``.
        reused: model of an earlier job with this key; the run then trains nothing.
        volume_key: ``VolumeKmsKeyId`` with the stack's key, in the form of ResourceConfig; ``{}`` for instances that
            encrypt their own disks.
        ec2: None for a training on SageMaker.
        trained_models_uri: where a training on EC2 leaves a second copy of its model.
        max_seconds: the longest time of the job, and on EC2 of each attempt.
        max_attempts: on EC2, how often the job may start on a new machine.
        spent: the sentence with which the run fails if ``max_seconds`` follows from the request's ``max_dollars`` and
            is over; else empty.
    """

    key: str
    reused: TrainedModel | None
    job_name: str
    weights_uri: str
    output_uri: str
    checkpoint_uri: str
    hyperparameters: dict[str, str]
    instance_type: str
    instance_count: int
    volume_key: dict[str, str]
    spot: bool
    ec2: Ec2Plan | None
    trained_models_uri: str
    max_seconds: int = MAX_JOB_SECONDS
    max_attempts: int = 10
    spent: str = ""


class OwnModel(Document):
    """A model that was trained elsewhere, as Plan found it.

    Attributes:
        uri: location of the file.
        etag: the file's ETag in S3.
        backbone: torchvision's name of the classifier; empty for an artifact of Kennel's training program.
    """

    uri: str
    etag: str
    backbone: str


class EvaluationPlan(Document):
    """What the Evaluate state reads and writes.

    Attributes:
        arguments: arguments of ``serving.evaluate``.
        champion_uri: empty if nothing serves yet.
        inputs: the dataset and, if there is one, the champion, in the form of CreateProcessingJob. Evaluate adds
            the model.
        volume_key: the same as in TrainingPlan, for ClusterConfig.
    """

    job_name: str
    arguments: list[str]
    artifact_uri: str
    report_uri: str
    champion_uri: str
    inputs: list[dict[str, str | dict[str, str]]]
    volume_key: dict[str, str]


class ImageBuild(Document):
    """A build of images that the stack's repository does not have yet.

    Attributes:
        targets: targets of ``serving/Dockerfile``; the images' tags are ``<target>-<content_hash>``.
        content_hash: hash of everything that decides the content of the images.
    """

    targets: list[str]
    content_hash: str


class ImagePlan(Document):
    """The images that train, evaluate and serve, and what is needed to build them.

    Attributes:
        train: URI of the image that trains, by digest if it exists already. The state that builds a missing image also
            looks up its digest, so that jobs and models never name a tag.
        train_content: content hash of that image, or its URI if the stack's parameter names it.
        evaluate: URI of the image that evaluates, in the same way.
        serve: URI of the image that serves, in the same way.
        repository: the stack's own repository in ECR.
        base: the image from which they are built, by digest unless its registry could not be asked.
        training_build: the build before the training; None if the image exists.
        serving_build: the build beside the training, for evaluation and server; None if both images exist.
        context: ``bucket/key`` of the builds' context, a zip; empty if there is nothing to build.
        context_version: the version of that object that Plan knows the content of.
    """

    train: str
    train_content: str
    evaluate: str
    serve: str
    repository: str
    base: str = ""
    training_build: ImageBuild | None
    serving_build: ImageBuild | None
    context: str
    context_version: str = ""


class EndpointPlan(Document):
    """The production endpoint, and the names of what this run creates for it.

    Attributes:
        volume_key: ``KmsKeyId`` with the stack's key, in the form of CreateEndpointConfig; ``{}`` for instances that
            encrypt their own disks.
        max_p99_ms: milliseconds.
        bake_seconds: seconds during which alarms watch an update before it counts as done.
        min_instances, max_instances: 0 in a run that starts no instance in production, because a function shall answer.
        lease_hours: hours; 0 for an endpoint that stays.
        instance_quota: what the account's quota "<instance_type> for endpoint usage" must be: both fleets of an update
            while the endpoint has ``max_instances``, and staging.
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
    instance_quota: int


class FunctionPlan(Document):
    """The function of Lambda that has the model, for a run that tries one; the other runs name it to remove it.

    Attributes:
        name: name of the function.
        alias: the alias that callers ask.
        architecture: of the server's image.
        memory_mb: MB of memory that it begins with; the measurement chooses what it keeps.
        timeout_seconds: seconds after which Lambda ends a request.
        reserved: concurrency that is reserved for it, which is also its limit; 0 for no reservation.
        provisioned: smallest number of environments that are kept warm; 0 for none.
        provisioned_max: largest number of them under load.
        requests_per_day: how many requests a day the request expects.
        network: ``VpcConfig`` in Lambda's form, with the stack's subnets and security groups; both lists are empty for
            a function outside of them.
        max_p99_ms: milliseconds.
        bake_seconds: seconds during which an alarm watches a new version before it counts as done.
    """

    name: str
    alias: str
    architecture: Literal["x86_64", "arm64"]
    memory_mb: int
    timeout_seconds: int
    reserved: int
    provisioned: int
    provisioned_max: int
    requests_per_day: float
    network: dict[str, list[str]]
    max_p99_ms: float
    bake_seconds: int


class Quote(Document):
    """What the run may cost, in US dollars (list prices of the stack's region; None for one that the price book lacks).

    Attributes:
        training_per_hour: price of all training instances together; 0 if an earlier training is reused.
        training_saved: share that EC2 saves of SageMaker's price on demand for the same machine; None on SageMaker.
        endpoint_per_hour: price of ``min_instances`` instances.
        function_per_hour: price of the function's environments that are kept warm; 0 without any.
        build: estimated price of building the missing images, once; 0 if none is missing.
        build_minutes: estimated minutes of these builds together.
        images_per_month: estimated price of keeping them in ECR.
    """

    training_per_hour: float | None
    training_saved: float | None
    endpoint_per_hour: float | None
    function_per_hour: float | None = 0
    build: float | None
    build_minutes: float
    images_per_month: float | None


class Promotion(Document):
    """An earlier version to deploy again, and the verdict that replaces the gate's."""

    version: int
    model_package_arn: str
    verdict: "Verdict"


class Run(Document):
    """The document that Plan writes: all decisions of one run. Later states add documents and change none.

    Attributes:
        promotion: the version that a run without training deploys. Such a run has no dataset and no training.
        tuning: the search for hyperparameters; None if the request asks for none.
        own_model: the model that a run without training judges and deploys.
        network: ``{}``, or ``VpcConfig`` in SageMaker's form, with the subnets and security groups of the
            jobs and the endpoint.
        hosting: what shall answer; ``auto`` is decided when both are measured.
        spending: None for a request without ``max_dollars``.
    """

    id: str
    promotion: Promotion | None
    dataset: Dataset | None
    training: TrainingPlan | None
    tuning: TuningPlan | None
    own_model: OwnModel | None
    evaluation: EvaluationPlan
    images: ImagePlan
    hosting: Hosting
    endpoint: EndpointPlan
    function: FunctionPlan
    limits: Limits | None
    network: dict[str, dict[str, list[str]]]
    quote: Quote
    spending: SpendingLimit | None = None


class Champion(Document):
    """The champion pointer (an SSM parameter): the model that serves now.

    Attributes:
        run: the run that trained and judged the model. Its folder contains the artifact and the report.
        hosting: what answers requests with it. Pointers of earlier releases do not have it.
    """

    run: str
    artifact_uri: str
    model_package_arn: str
    instance_type: str
    top1: float
    hosting: Literal["instances", "function"] = "instances"


class RegisteredChampion(Champion):
    """The champion with what only the registry knows of it.

    Attributes:
        manifest: the same as in Verdict.
    """

    manifest: str = ""


class Check(Document):
    """One check of the gate, with its result in words and figures."""

    name: str
    passed: bool
    words: str


class Verdict(Document):
    """The gate's decision with its reason, all checks, and the scores behind them.

    Attributes:
        reason: words of the checks that decided, at most 1,024 characters, the limit of SageMaker's registry.
        manifest: SHA-256 of the manifest of the artifact that was judged, hexadecimal, which alone may serve; empty for
            a version of a release that did not record it.
        report: SHA-256 of ``evaluation.json``, hexadecimal, or empty likewise.
    """

    decision: Literal["promote", "refuse"]
    reason: str
    checks: list[Check]
    challenger_top1: float
    champion_top1: float | None
    manifest: str = ""
    report: str = ""


class Smoke(Document):
    """The result of the smoke test.

    Attributes:
        num_photos: number of golden photos.
        latency_ms: median milliseconds of an answer.
        num_refused: how many of the photos the API only refused because callers overloaded it.
        num_requests: number of requests that were sent, with the one that is no photo.
        bytes_in, bytes_out: bytes of the bodies of all requests and of all answers.
        gb_seconds: GB-seconds that Lambda bills for the function that has the model, where it was asked itself.
    """

    num_photos: int
    latency_ms: float
    num_refused: int = 0
    num_requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    gb_seconds: float = 0.0


class Explanation(Document):
    """Why a run failed.

    Attributes:
        cause: the sentence from the failed task's report that a person needs.
    """

    cause: str
