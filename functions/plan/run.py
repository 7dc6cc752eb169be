"""Decide one run: names, locations and prices. The functions are pure."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from plan import ec2, hosting, own_model, tuning
from plan.hyperparameters import texts
from plan.quote import quote
from plan.versions import Version
from plan.weights import Weights
from prices.disks import has_own_disks
from prices.per_million import for_the_card
from shared.contracts import (
    Dataset,
    EndpointPlan,
    EvaluationPlan,
    ImagePlan,
    Limits,
    OwnModel,
    Promotion,
    RegisteredChampion,
    Request,
    Run,
    TrainedModel,
    TrainingPlan,
    Verdict,
)
from shared.errors import RequestError
from shared.names import run_id
from shared.settings import Settings
from shared.tuning import TuningPlan

VARIANT = "main"
_FORMAT = "safetensors"  # of the trained model
_GPUS = re.compile(r"ml\.[gp]\d.*\..+")  # Instance types with GPUs of NVIDIA.
_OTHER_CHIPS = re.compile(r"ml\.(dl|inf|trn)\d.*\..+")  # Instance types with chips that no image of the stack can use.


@dataclass(frozen=True)
class PlanSettings(Settings):
    """The stack's parameters, which apply where a request sets nothing.

    Attributes:
        key_arn: ARN of the stack's key.
        training_image: image URI, or ``build``.
        training_device: ``cpu`` or ``cuda``, the device that the stack's own training image trains on.
        image_repository: URI of the stack's repository in ECR.
        base_image: image from which the stack's own images are built.
        evaluation_image: image URI, or ``build``.
        serving_image: image URI, or ``build``.
        hosting: what answers unless a request says it: ``instances``, ``function`` or ``auto``.
        hosting_parameter: the parameter that says what answers now.
        model_reserved_concurrency: concurrency that is reserved for the function that has the model; 0 for none.
        api_id: id of the REST API.
        api_key_id: id of the key of that API with which the smoke test asks.
        api_plan_id: id of that key's usage plan.
        topic_arn: ARN of the topic that the stack's alarms notify.
        runbook_url: where people read docs/runbook.md; the descriptions of alarms end with it.
        restore_function: ARN of the function that takes a stopped run back.
        vpc_subnets: ids separated by commas; empty for SageMaker's own network.
        vpc_security_groups: ids separated by commas; empty for SageMaker's own network.
        ec2_spot_queue: ARN of the queue of AWS Batch for spot capacity; empty in a stack without subnets for EC2.
        ec2_on_demand_queue: the same for machines on demand.
        dataset_prefix: how the keys of datasets begin; empty for any.
        model_prefix: how the keys of files begin that requests name as weights or trained models; empty for any.
        allowed_training_types: patterns of instance types that may train, separated by commas.
        allowed_serving_types: the same for those that evaluate and serve.
        max_training_instances: most instances that may train at once.
        max_serving_instances: most instances that a request may give the endpoint.
        max_ec2_vcpus: most vCPUs of the machines of EC2 that may train at once.
        max_lease_hours: longest lease; 0 for no limit.
        gate_bounds: how far requests may loosen the gate: ``name=number`` for each bounded limit, separated by spaces.
        monthly_dollars: US dollars that the stack may spend in a month; 0 for no limit.
        spending_parameter: where the meter keeps what is spent.
        architecture: of the stack's functions.
        measure_memory: megabytes of the function that measures staging.
    """

    bucket: str
    key_arn: str
    endpoint_name: str
    lock_parameter: str
    champion_parameter: str
    training_instance_type: str
    training_instance_count: str
    training_spot: str
    training_image: str
    training_device: str
    serving_instance_type: str
    image_repository: str
    base_image: str
    evaluation_image: str
    serving_image: str
    model_package_group: str
    hosting: str
    hosting_parameter: str
    model_reserved_concurrency: str
    api_id: str
    api_key_id: str
    api_plan_id: str
    topic_arn: str
    runbook_url: str
    restore_function: str
    max_p99_microseconds: str
    bake_seconds: str
    lease_hours: str
    vpc_subnets: str
    vpc_security_groups: str
    ec2_spot_queue: str
    ec2_on_demand_queue: str
    dataset_prefix: str
    model_prefix: str
    allowed_training_types: str
    allowed_serving_types: str
    max_training_instances: str
    max_serving_instances: str
    max_ec2_vcpus: str
    max_lease_hours: str
    gate_bounds: str
    monthly_dollars: str
    spending_parameter: str
    architecture: str
    measure_memory: str

    @property
    def network(self) -> dict[str, dict[str, list[str]]]:
        """The value of ``Run.network``.

        Raises:
            RequestError: the stack has only one of the two parameters.
        """
        if not self.vpc_subnets and not self.vpc_security_groups:
            return {}
        if not self.vpc_subnets or not self.vpc_security_groups:
            raise RequestError(
                "the stack has only one of VpcSubnets and VpcSecurityGroups; deploy it with both or neither"
            )
        groups, subnets = self.vpc_security_groups.split(","), self.vpc_subnets.split(",")
        return {"VpcConfig": {"SecurityGroupIds": groups, "Subnets": subnets}}


def training_job_name(endpoint_name: str, execution_name: str) -> str:
    """Return the name of the training job of a run; its other resources have names that begin with it."""
    return f"{endpoint_name}-{run_id(execution_name)}"


def _check_device(settings: PlanSettings, instance_type: str) -> None:
    """Refuse to pay for machines that the stack's own training image cannot use.

    Raises:
        RequestError: it cannot use them.
    """
    _check_architecture("training_instance_type", instance_type, settings.training_image)
    if settings.training_image == "build" and _OTHER_CHIPS.fullmatch(instance_type):
        raise RequestError(
            f"training_instance_type: {instance_type} has chips that the stack's training image cannot use; choose an "
            "instance type with a CPU or GPUs of NVIDIA, such as ml.c7i.xlarge"
        )
    if settings.training_image == "build" and settings.training_device == "cpu" and has_gpus(instance_type):
        raise RequestError(
            f"training_instance_type: {instance_type} has GPUs, and the stack's training image is for CPUs; "
            "deploy the stack with TrainingDevice=cuda, or choose an instance type without GPUs"
        )


def _check_architecture(field: str, instance_type: str, image: str) -> None:
    """Refuse machines on which an image that the stack builds does not start.

    Raises:
        RequestError: it does not start there.
    """
    if image == "build" and ec2.is_arm(instance_type):
        raise RequestError(
            f"{field}: {instance_type} has a processor of the architecture arm64, and the stack's images are for "
            "x86_64; choose an instance type of Intel or AMD, such as ml.c7i.xlarge"
        )


def has_gpus(instance_type: str) -> bool:
    """Whether instances of this type, with ``ml.``, have GPUs of NVIDIA."""
    return bool(_GPUS.fullmatch(instance_type))


def decide(
    request: Request,
    settings: PlanSettings,
    execution_name: str,
    dataset: Dataset,
    weights: Weights,
    images: ImagePlan,
    champion: RegisteredChampion | None,
) -> Run:
    """Decide a run with training: all its names and locations.

    Raises:
        RequestError: the stack has only one of the two network parameters, its training image cannot use the
            instances' GPUs, or the search for hyperparameters is impossible.
    """
    name = training_job_name(settings.endpoint_name, execution_name)
    machines, report_uri = _machines(request, settings), _report_uri(settings, execution_name)
    search = tuning.plan(
        request,
        machines,
        dataset,
        settings.endpoint_name,
        run_id(execution_name),
        document_uri=f"{report_uri}/tuned.json",
        checkpoint_uri=f"s3://{settings.bucket}/checkpoints/trials",
    )
    training = _training(request, settings, name, dataset, weights, images, search)
    # The function rank writes it beside the models of this key.
    tuned = [("tuned", f"{training.output_uri}/tuned.json")] if search and search.where == "jobs" else []
    endpoint = _endpoint(request, settings, name)
    function = hosting.plan(request, settings, endpoint, images)
    return Run(
        id=run_id(execution_name),
        promotion=None,
        dataset=dataset,
        own_model=None,
        training=training,
        tuning=search,
        evaluation=_evaluation(settings, execution_name, dataset, endpoint, champion, tuned, ["--same-photos"]),
        images=images,
        hosting=hosting.of(request, settings),
        endpoint=endpoint,
        function=function,
        limits=Limits(**request.model_dump(include=set(Limits.model_fields))),
        network=settings.network,
        quote=quote(endpoint, function, training, images, settings.training_device),
    )


def _machines(request: Request, settings: PlanSettings) -> tuning.Machines:
    """Return the machines that train, whose cores a search may use."""
    train_type = request.training_instance_type or settings.training_instance_type
    count = request.training_instance_count or int(settings.training_instance_count)
    return tuning.Machines(train_type, 1 if request.train_on == "ec2" else count, has_gpus(train_type))


def _training(
    request: Request,
    settings: PlanSettings,
    name: str,
    dataset: Dataset,
    weights: Weights,
    images: ImagePlan,
    search: TuningPlan | None,
) -> TrainingPlan:
    train_type = request.training_instance_type or settings.training_instance_type
    train_count = request.training_instance_count or int(settings.training_instance_count)
    on_ec2 = None
    if request.train_on == "ec2":
        queues = settings.ec2_spot_queue, settings.ec2_on_demand_queue
        on_ec2 = ec2.plan(request, settings.training_instance_type, *queues)
    _check_device(settings, train_type)
    spot = settings.training_spot == "true" if request.spot is None else request.spot
    hyperparameters = texts(request.hyperparameters)
    # The key contains everything that decides the model. Spot does not; the instances do, because they decide the
    # precision and the order of sums. The image contains code and packages. One machine of EC2 with N processes trains
    # what N instances of that type train with one process each, so the two have one key. A search decides, too.
    if search and search.where == "inside":
        hyperparameters["tune"] = tuning.hyperparameter(search)
    searched = [tuning.hyperparameter(search)] if search and search.where == "jobs" else []
    count = train_count
    if on_ec2:
        count = 1 if ec2.machine(on_ec2.instance_type).gpus else on_ec2.ranks
    # The fingerprint contains what this hyperparameter does.
    reading = {"reading": dataset.reading} if dataset.reading else {}
    # So do uri and ETag of the weights; by this one the training recognizes the file that it gets.
    known_weights = {"weights_sha256": weights.sha256} if weights.sha256 else {}
    file = weights.uri, weights.etag
    # Earlier releases left programs instead of tensors, which the evaluation refuses. An image that a parameter names
    # has no content hash which tells.
    decisive = (images.train_content, file, dataset.fingerprint, hyperparameters, train_type, count, *searched)
    key = content_hash(_FORMAT, *decisive)
    return TrainingPlan(
        key=key,
        reused=None,
        job_name=f"{name}{ec2.SUFFIX}" if on_ec2 else name,
        weights_uri=weights.uri,
        output_uri=f"s3://{settings.bucket}/training/{key}",
        # All runs of a backbone share this prefix. The features in it are named by their content.
        checkpoint_uri=f"s3://{settings.bucket}/checkpoints/{PurePosixPath(weights.uri).stem}",
        hyperparameters=hyperparameters | reading | known_weights,
        instance_type=on_ec2.instance_type if on_ec2 else train_type,
        instance_count=1 if on_ec2 else train_count,
        volume_key={} if on_ec2 else _volume_key("VolumeKmsKeyId", train_type, settings),
        spot=request.spot is not False if on_ec2 else spot,
        ec2=on_ec2,
        trained_models_uri=f"s3://{settings.bucket}/TrainedModels",
    )


def decide_own_model(
    request: Request,
    settings: PlanSettings,
    execution_name: str,
    dataset: Dataset,
    model: OwnModel,
    images: ImagePlan,
    champion: RegisteredChampion | None,
) -> Run:
    """Decide a run that judges a model which was trained elsewhere and deploys it, without training.

    Raises:
        RequestError: the stack has only one of the two network parameters.
    """
    endpoint = _endpoint(request, settings, training_job_name(settings.endpoint_name, execution_name))
    images = images.model_copy(update={"training_build": None})
    function = hosting.plan(request, settings, endpoint, images)
    return Run(
        id=run_id(execution_name),
        promotion=None,
        dataset=dataset,
        training=None,
        tuning=None,
        own_model=model,
        evaluation=_evaluation(settings, execution_name, dataset, endpoint, champion, [], own_model.arguments(request)),
        images=images,
        hosting=hosting.of(request, settings),
        endpoint=endpoint,
        function=function,
        limits=Limits(**request.model_dump(include=set(Limits.model_fields))),
        network=settings.network,
        quote=quote(endpoint, function, None, images, device=""),
    )


def decide_promotion(request: Request, settings: PlanSettings, execution_name: str, version: Version) -> Run:
    """Decide a run that deploys an earlier version with the same steps, without training.

    Raises:
        RequestError: the stack has only one of the two network parameters.
    """
    run = run_id(execution_name)
    endpoint = _endpoint(request, settings, f"{settings.endpoint_name}-{run}")
    images = ImagePlan(
        train="",
        train_content="",
        evaluate="",
        serve=version.image,
        repository="",
        training_build=None,
        serving_build=None,
        context="",
    )
    function = hosting.plan(request, settings, endpoint, images)
    reason = f"version {version.number} with a top-1 of {version.top1:.1%} was requested"
    return Run(
        id=run,
        promotion=Promotion(
            version=version.number,
            model_package_arn=version.arn,
            verdict=Verdict(
                decision="promote",
                reason=reason,
                checks=[],
                challenger_top1=version.top1,
                champion_top1=None,
                manifest=version.manifest,
                report=version.report,
            ),
        ),
        dataset=None,
        training=None,
        tuning=None,
        own_model=None,
        evaluation=EvaluationPlan(
            job_name="",
            arguments=[],
            artifact_uri=f"{version.run_uri}/artifact",
            report_uri=f"{version.run_uri}/report",
            champion_uri="",
            inputs=[],
            volume_key={},
        ),
        images=images,
        hosting=hosting.of(request, settings),
        endpoint=endpoint,
        function=function,
        limits=None,
        network=settings.network,
        quote=quote(endpoint, function, None, images, settings.training_device),
    )


def _run_uri(settings: PlanSettings, execution_name: str) -> str:
    return f"s3://{settings.bucket}/runs/{run_id(execution_name)}"


def _report_uri(settings: PlanSettings, execution_name: str) -> str:
    return f"{_run_uri(settings, execution_name)}/report"


def _evaluation(
    settings: PlanSettings,
    execution_name: str,
    dataset: Dataset,
    endpoint: EndpointPlan,
    champion: RegisteredChampion | None,
    more_inputs: list[tuple[str, str]],
    arguments: list[str],
) -> EvaluationPlan:
    reading = ["--reading", dataset.reading] if dataset.reading else []
    judged = ["--champion-manifest", champion.manifest] if champion and champion.manifest else []
    inputs = [("dataset", dataset.uri)] + ([("champion", champion.artifact_uri)] if champion else []) + more_inputs
    # An image that was built elsewhere may be older and not know them.
    known = _prices(endpoint, settings.architecture) if settings.evaluation_image == "build" else []
    version = ["--root", "/opt/ml/processing", "--version", run_id(execution_name)]
    return EvaluationPlan(
        job_name=training_job_name(settings.endpoint_name, execution_name),
        arguments=[*version, *known, *reading, *judged, *arguments],
        artifact_uri=f"{_run_uri(settings, execution_name)}/artifact",
        report_uri=_report_uri(settings, execution_name),
        champion_uri=champion.artifact_uri if champion else "",
        inputs=[_input(*each) for each in inputs],
        volume_key=_volume_key("VolumeKmsKeyId", endpoint.instance_type, settings),
    )


def _endpoint(request: Request, settings: PlanSettings, name: str) -> EndpointPlan:
    instance_type = request.serving_instance_type or settings.serving_instance_type
    for image in (settings.serving_image, settings.evaluation_image):  # The evaluation takes the same machine.
        _check_architecture("serving_instance_type", instance_type, image)
    least, most, lease_hours = request.min_instances, request.max_instances, request.lease_hours
    if hosting.of(request, settings) == "function":  # No instance starts, and what costs nothing needs no lease.
        least, most, lease_hours = 0, 0, 0.0
    return EndpointPlan(
        name=settings.endpoint_name,
        variant=VARIANT,
        model_name=name,
        config_name=name,
        staging_name=f"{name}-s",
        staging_config_name=f"{name}-s",
        instance_type=instance_type,
        volume_key=_volume_key("KmsKeyId", instance_type, settings),
        min_instances=least,
        max_instances=most,
        max_p99_ms=int(settings.max_p99_microseconds) / 1000 if request.max_p99_ms is None else request.max_p99_ms,
        bake_seconds=int(settings.bake_seconds),
        lease_hours=float(settings.lease_hours) if lease_hours is None else lease_hours,
        instance_quota=2 * most + 1,
    )


def _volume_key(field: str, instance_type: str, settings: PlanSettings) -> dict[str, str]:
    """Return the field of a request that names the key for volumes, or ``{}`` if SageMaker refuses a key."""
    return {} if has_own_disks(instance_type) else {field: settings.key_arn}


def _prices(endpoint: EndpointPlan, architecture: str) -> list[str]:
    """Return the arguments of ``serving.evaluate`` from which the card tells prices; the evaluation knows none."""
    return [
        "--prices",
        json.dumps(for_the_card(endpoint.instance_type, architecture=architecture), separators=(",", ":")),
    ]


def _input(name: str, uri: str) -> dict[str, str | dict[str, str]]:
    """Return an input of the evaluation job. ``serving.evaluate`` reads it in the folder with this name."""
    source = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/input/{name}"}
    return {"InputName": name, "S3Input": {**source, "S3DataType": "S3Prefix", "S3InputMode": "File"}}


def with_reused_model(run: Run, model: TrainedModel) -> Run:
    """Return the same run with the model of an earlier training, which costs nothing and needs no image."""
    assert run.training
    training = run.training.model_copy(update={"reused": model})
    images = run.images.model_copy(update={"training_build": None})
    unpaid = quote(run.endpoint, run.function, None, images, device="")
    return run.model_copy(update={"training": training, "images": images, "quote": unpaid})


def content_hash(*parts: object) -> str:
    """Return 16 hexadecimal digits for values that JSON knows."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
