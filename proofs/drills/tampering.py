"""Drill with a hand that replaces what one step has written before the next step reads it."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from local.home import LocalError
from proofs.drills import forgeries
from proofs.drills.drill_cloud import DrillCloud
from proofs.promises import Report

_PROTECTED = ("checkpoints", "code", "images", "measurements", "runs", "training", "weights")
_STRANGER = "tamper-stranger"
_NOT_JUDGED = "this is not the model that was judged"
Keys = Callable[[DrillCloud, dict[str, Any]], list[str]]


@dataclass(frozen=True)
class Replacement:
    """What a hand replaces while a run rests.

    Attributes:
        what: the noun of the report.
        request: the fields of the run's request.
        state: the run rests as it enters this state; empty for a replacement before the run starts.
        keys: the keys of the objects in the bucket, from the document that Plan wrote.
        forge: what becomes of an object.
        words: what the error of the run must say.
    """

    what: str
    request: dict[str, Any]
    state: str
    keys: Keys
    forge: forgeries.Forge
    words: str


def tamper(cloud: DrillCloud, report: Report) -> None:
    """Replace what each step of a run hands on by a forgery that fits in itself; it is refused or changes nothing."""
    trace = cloud.home / "unpickled"
    _promise_nobody_else_writes(cloud, report)
    _image_tag(cloud, report)
    _scale_out(cloud, report)
    _measurement(cloud, report)
    for each in _replacements(cloud, trace):
        _play(cloud, report, each)
    _checkpoint(cloud, report, trace)
    report.promise("no pickle was loaded", not trace.exists())


def _replacements(cloud: DrillCloud, trace: Path) -> list[Replacement]:
    again: dict[str, Any] = {"dataset": _dataset(cloud)}
    promote = {"promote": _version(cloud)}
    anew = {**again, "reuse": False}

    def program(model: bytes) -> bytes:
        return forgeries.with_program(model, trace)

    return [
        Replacement("artifact", promote, "", _artifact, forgeries.blind, "is another file than the one that was"),
        Replacement("artifact", promote, "CreateModel", _artifact, forgeries.blind, _NOT_JUDGED),
        Replacement("artifact", again, "RegisterModel", _run_artifact, forgeries.blind, _NOT_JUDGED),
        Replacement("report", promote, "", _report, forgeries.perfect, "evaluation.json is not the one"),
        Replacement("report", again, "Gate", _run_report, forgeries.perfect, "evaluation.json is not the one"),
        Replacement("photos", again, "Evaluate", _photos, forgeries.other_photos, "the photos are others than"),
        Replacement("weights", anew, "Train", _weights, forgeries.other_weights, "is not the file of"),
        Replacement("trained model", again, "Evaluate", _model, forgeries.other_tensors, "was replaced after its"),
        Replacement("program", again, "Evaluate", _model, program, "holds model.pt2, which can run code"),
    ]


def _play(cloud: DrillCloud, report: Report, each: Replacement) -> None:
    """Start a run, replace the objects at its state, and promise that the run says so and changes nothing."""
    before = _serving(cloud)
    with contextlib.ExitStack() as mended:
        if not each.state:
            _replace(cloud, mended, each, {})
        execution = cloud.start(cloud.deployed.pipeline_arn, each.request, f"hold-at-{each.state or 'none'}-")
        if each.state:
            _await_state(cloud, execution, each.state)
            _replace(cloud, mended, each, _planned(cloud, execution))
            if not _rests_at(cloud, execution, each.state):
                raise LocalError(f"the run left {each.state} before {each.what} was replaced")
        said = _words(cloud.await_end(execution))
    what = f"{each.what}, before {each.state or 'the run'}"
    report.log(f"{what}: {said}")
    report.promise(f"{what}: refused by an error that names it", each.words in said)
    report.promise(f"{what}: the champion serves as before", _serving(cloud) == before)


def _replace(cloud: DrillCloud, mended: contextlib.ExitStack, each: Replacement, run: dict[str, Any]) -> None:
    keys = each.keys(cloud, run)
    if not keys:
        raise LocalError(f"there is no object to replace: {each.what}")
    for key in keys:
        mended.enter_context(_replaced(cloud, key, each.forge))


@contextlib.contextmanager
def _replaced(cloud: DrillCloud, key: str, forge: forgeries.Forge) -> Iterator[None]:
    """Replace an object by a forgery of it, as an administrator can, and put it back afterwards."""
    s3, location = cloud.client("s3"), {"Bucket": cloud.deployed.bucket, "Key": key}
    kept = s3.get_object(**location)["Body"].read()
    forged = forge(kept)
    if forged == kept:
        raise LocalError(f"the forgery of {key} is the original")
    s3.put_object(**location, Body=forged)
    try:
        yield
    finally:
        s3.put_object(**location, Body=kept)


def _promise_nobody_else_writes(cloud: DrillCloud, report: Report) -> None:
    """Try to write where only jobs and functions may, as somebody with all of S3's rights on the bucket."""
    s3 = _stranger(cloud)
    written = []
    for prefix in _PROTECTED:
        location = {"Bucket": cloud.deployed.bucket, "Key": f"{prefix}/tamper"}
        try:
            s3.put_object(**location, Body=b"forged")
        except ClientError as error:
            report.log(f"somebody with s3:* on the bucket writes {prefix}/: {error.response['Error']['Code']}")
        else:
            written.append(prefix)
            cloud.client("s3").delete_object(**location)
    s3.put_object(Bucket=cloud.deployed.bucket, Key="dataset/tamper.jpg", Body=b"a photo")
    cloud.client("s3").delete_object(Bucket=cloud.deployed.bucket, Key="dataset/tamper.jpg")
    for prefix in written:
        report.log(f"somebody with s3:* on the bucket has written {prefix}/")
    report.promise("somebody with s3:* on the bucket brings photos and writes nothing else", not written)


def _stranger(cloud: DrillCloud) -> Any:
    """Return a client of S3 for a role that has all rights on the bucket and its key, and is no role of the stack."""
    iam = cloud.client("iam")
    account = cloud.client("sts").get_caller_identity()["Account"]
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
    bucket = f"arn:aws:s3:::{cloud.deployed.bucket}"
    rights: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": [bucket, f"{bucket}/*"]},
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
    ]
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=_STRANGER, AssumeRolePolicyDocument=_policy(trust))
    iam.put_role_policy(RoleName=_STRANGER, PolicyName="s3", PolicyDocument=_policy(*rights))
    role = f"arn:aws:iam::{account}:role/{_STRANGER}"
    session = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName=_STRANGER)["Credentials"]
    make: Any = boto3.client  # Its type stubs require a literal service name.
    return make(
        "s3",
        endpoint_url=cloud.laptop.url,
        region_name=cloud.client("s3").meta.region_name,
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _image_tag(cloud: DrillCloud, report: Report) -> None:
    """Move the tags of the images that exist; what runs is named by the digest, or the registry refuses."""
    sagemaker, ecr = cloud.client("sagemaker"), cloud.client("ecr")
    image = sagemaker.describe_model(ModelName=_config(cloud))["PrimaryContainer"]["Image"]
    report.promise("image tag: the model names its image by the digest", "@sha256:" in image)
    name = image.partition("/")[2].partition("@")[0].partition(":")[0]
    tags = [each["imageTag"] for each in ecr.list_images(repositoryName=name)["imageIds"] if each.get("imageTag")]
    found = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag} for tag in tags])["images"]
    manifests = {each["imageId"]["imageTag"]: each["imageManifest"] for each in found}
    moved = []
    for tag in tags:
        other = next(manifest for each, manifest in manifests.items() if manifest != manifests[tag])
        try:
            ecr.put_image(repositoryName=name, imageManifest=other, imageTag=tag)
        except ClientError as error:
            report.log(f"image tag {tag}, moved to another image: {error.response['Error']['Code']}")
        else:
            moved.append(tag)
            ecr.put_image(repositoryName=name, imageManifest=manifests[tag], imageTag=tag)
    report.promise("image tag: the registry moves none", bool(tags) and not moved)


def _scale_out(cloud: DrillCloud, report: Report) -> None:
    """Replace the champion's artifact while it serves; an instance that starts now must not serve the forgery."""
    before, known = cloud.num_instances(), cloud.instance_ids()
    with contextlib.ExitStack() as mended:
        for key in _artifact(cloud, {}):
            mended.enter_context(_replaced(cloud, key, forgeries.blind))
        _want(cloud, before + 1)
        cloud.wait(lambda: bool(_last_words(cloud, known)), "the refusal of an instance", 120)
        said = _last_words(cloud, known)
        report.log(f"artifact was replaced before a scale-out from {before} instances: {said}")
        report.promise("artifact, before a scale-out: refused by an error that names it", _NOT_JUDGED in said)
        report.promise("artifact, before a scale-out: no instance serves it", cloud.num_instances() == before)
    _want(cloud, before)
    cloud.wait(lambda: cloud.endpoint_status() == "InService", "the endpoint", 120)


def _measurement(cloud: DrillCloud, report: Report) -> None:
    """Replace the measurement that a promotion reuses; it is refused, or the run measures anew."""
    before = _scaling(cloud)
    execution = cloud.start(cloud.deployed.pipeline_arn, {"promote": _version(cloud)}, "hold-at-Measure-")
    _await_state(cloud, execution, "Measure")
    keys = _keys_below(cloud, "measurements/")
    with contextlib.ExitStack() as mended:
        for key in keys:
            mended.enter_context(_replaced(cloud, key, forgeries.tireless))
        ended = cloud.await_end(execution)
    after, said = _scaling(cloud), _words(ended)
    report.log(f"measurement, before Measure: {said}; target and burst were {before} and are {after}")
    refused = ended["status"] == "FAILED" and "measurement" in said
    anew = ended["status"] == "SUCCEEDED" and not json.loads(ended["output"])["endpoint"]["scaling"]["reused"]
    report.promise("measurement: there was one to replace", bool(keys))
    report.promise("measurement: refused by an error that names it, or another is made", refused or anew)


def _scaling(cloud: DrillCloud) -> list[str | None]:
    champion = cloud.champion()
    assert champion
    arn = champion["model_package_arn"]
    known = cloud.client("sagemaker").describe_model_package(ModelPackageName=arn)["CustomerMetadataProperties"]
    return [known.get("target_value"), known.get("burst_value")]


def _want(cloud: DrillCloud, count: int) -> None:
    wanted = [{"VariantName": "main", "DesiredInstanceCount": count}]
    sagemaker = cloud.client("sagemaker")
    cloud.wait(lambda: cloud.endpoint_status() == "InService", "the endpoint", 120)
    sagemaker.update_endpoint_weights_and_capacities(EndpointName=cloud.endpoint, DesiredWeightsAndCapacities=wanted)


def _last_words(cloud: DrillCloud, known: set[str]) -> str:
    """Return the last line of an instance's log that says why it does not serve, of those that are new."""
    folder = cloud.home / "cloud" / "endpoints" / cloud.endpoint
    for new in sorted(cloud.instance_ids() - known):
        log = folder / new / "server.log"
        lines = log.read_text().splitlines() if log.exists() else []
        if lines and "artifact" in lines[-1]:
            return lines[-1]
    return ""


def _checkpoint(cloud: DrillCloud, report: Report, trace: Path) -> None:
    """Put pickles in the place of checkpoints and features; a training must end with the same parameters."""
    request = {"dataset": _dataset(cloud), "reuse": False, "max_megabytes": 0.001}  # So it is judged and not deployed.
    champion = _document(cloud, _champion_folder(cloud))["ddp"]["parameter_checksums"]
    execution = cloud.start(cloud.deployed.pipeline_arn, request, "hold-at-Train-")
    _await_state(cloud, execution, "Train")
    run = _planned(cloud, execution)
    prefix = _key(cloud, run["training"]["checkpoint_uri"])
    keys = [key for key in _keys_below(cloud, f"{prefix}/") if key.endswith(".pt")]
    with contextlib.ExitStack() as mended:
        for key in keys:
            mended.enter_context(_replaced(cloud, key, lambda _: forgeries.trap(trace)))
        said = _words(cloud.await_end(execution))
    checksums = _document(cloud, _key(cloud, run["evaluation"]["report_uri"]))["ddp"]["parameter_checksums"]
    report.log(f"{len(keys)} checkpoints and features were replaced before Train: {said}")
    report.log(f"the training ended with the parameters {checksums}, the champion's had {champion}")
    report.promise("checkpoint: there was one to replace", bool(keys))
    report.promise("checkpoint: the training ends with the same parameters as without it", checksums == champion)


def _await_state(cloud: DrillCloud, execution: str, state: str) -> None:
    """Wait until a run rests at a state.

    Raises:
        LocalError: it ended before.
    """

    def rests() -> bool:
        status = cloud.client("stepfunctions").describe_execution(executionArn=execution)
        if status["status"] != "RUNNING":
            raise LocalError(f"the run ended before {state}: {status.get('cause')}")
        return _rests_at(cloud, execution, state)

    cloud.wait(rests, f"the state {state}", 300)


def _rests_at(cloud: DrillCloud, execution: str, state: str) -> bool:
    """Whether a run has begun nothing in this state, which it has entered; another branch may go on beside it."""
    history = cloud.client("stepfunctions").get_execution_history(executionArn=execution, maxResults=1000)["events"]
    number = next(
        (each["id"] for each in history if each.get("stateEnteredEventDetails", {}).get("name") == state), None
    )
    return number is not None and not any(each.get("previousEventId") == number for each in history)


def _planned(cloud: DrillCloud, execution: str) -> dict[str, Any]:
    """Return the document that Plan wrote."""
    history = cloud.client("stepfunctions").get_execution_history(executionArn=execution, maxResults=1000)["events"]
    exits = [each["stateExitedEventDetails"] for each in history if "stateExitedEventDetails" in each]
    document: dict[str, Any] = json.loads(next(each["output"] for each in exits if each["name"] == "Plan"))
    return document


def _words(execution: dict[str, Any]) -> str:
    """Return in words how a run ended: its error and cause, or the verdict of a run that refused its challenger."""
    if execution["status"] != "SUCCEEDED":
        return f"{execution['status']}: {execution.get('error')}: {execution.get('cause')}"
    output = json.loads(execution["output"])
    return f"{output['status']}: {output['verdict']['reason']}"


def _serving(cloud: DrillCloud) -> tuple[object, object]:
    return cloud.champion(), _config(cloud)


def _config(cloud: DrillCloud) -> str:
    return str((cloud.describe_endpoint() or {})["EndpointConfigName"])


def _version(cloud: DrillCloud) -> int:
    champion = cloud.champion()
    assert champion
    return int(champion["model_package_arn"].rpartition("/")[2])


def _dataset(cloud: DrillCloud) -> str:
    return max(_keys_below(cloud, "datasets/"))


def _keys_below(cloud: DrillCloud, prefix: str) -> list[str]:
    pages = cloud.client("s3").get_paginator("list_objects_v2").paginate(Bucket=cloud.deployed.bucket, Prefix=prefix)
    return [str(each["Key"]) for page in pages for each in page.get("Contents", [])]


def _key(cloud: DrillCloud, uri: str) -> str:
    return uri.removeprefix(f"s3://{cloud.deployed.bucket}/")


def _champion_folder(cloud: DrillCloud) -> str:
    champion = cloud.champion()
    assert champion
    return _key(cloud, champion["artifact_uri"]).replace("/artifact/model.tar.gz", "/report")


def _document(cloud: DrillCloud, folder: str) -> dict[str, Any]:
    body = cloud.client("s3").get_object(Bucket=cloud.deployed.bucket, Key=f"{folder}/evaluation.json")["Body"].read()
    document: dict[str, Any] = json.loads(body)
    return document


def _artifact(cloud: DrillCloud, run: dict[str, Any]) -> list[str]:
    return [_champion_folder(cloud).replace("/report", "/artifact/model.tar.gz")]


def _report(cloud: DrillCloud, run: dict[str, Any]) -> list[str]:
    return [f"{_champion_folder(cloud)}/evaluation.json"]


def _run_artifact(cloud: DrillCloud, run: dict[str, Any]) -> list[str]:
    return [f"{_key(cloud, run['evaluation']['artifact_uri'])}/model.tar.gz"]


def _run_report(cloud: DrillCloud, run: dict[str, Any]) -> list[str]:
    return [f"{_key(cloud, run['evaluation']['report_uri'])}/evaluation.json"]


def _photos(cloud: DrillCloud, run: dict[str, Any]) -> list[str]:
    return [_key(cloud, run["dataset"]["uri"])]


def _weights(cloud: DrillCloud, run: dict[str, Any]) -> list[str]:
    return [_key(cloud, run["training"]["weights_uri"])]


def _model(cloud: DrillCloud, run: dict[str, Any]) -> list[str]:
    model = run["training"]["reused"]
    if model:
        return [_key(cloud, model["model_uri"])]
    folder = f"{_key(cloud, run['training']['output_uri'])}/{run['training']['job_name']}"
    return [f"{folder}/output/model.tar.gz"]
