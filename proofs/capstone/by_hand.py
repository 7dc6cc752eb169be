"""Jobs as somebody makes them by hand: by the API of SageMaker, with the image and the photos of the champion."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import ClientError
from safetensors.numpy import load

from local.home import LocalError
from proofs.capstone.kennel import Kennel, files_of

NAME = "capstone"  # begins the names of all that the rows make
EPOCHS = "5"
_JOB_SECONDS = 600
_SERVICES = ("sagemaker", "lambda", "ecs-tasks")


@contextmanager
def role(kennel: Kennel) -> Iterator[str]:
    """Make a role for jobs and functions that may use the stack's bucket and key only; delete it at the end."""
    iam, name = kennel.client("iam"), f"{NAME}-{time.time_ns()}"
    principal = {"Service": [f"{service}.amazonaws.com" for service in _SERVICES]}
    bucket = f"arn:aws:s3:::{kennel.deployed.bucket}"
    actions = {
        f"{bucket}/*": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"],
        bucket: ["s3:ListBucket"],
        "*": [
            *("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "logs:CreateLogGroup", "logs:CreateLogStream"),
            *("logs:PutLogEvents", "logs:DescribeLogStreams", "ecr:GetAuthorizationToken", "ecr:BatchGetImage"),
            *("ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"),
        ],
    }
    rights = [{"Effect": "Allow", "Action": action, "Resource": resource} for resource, action in actions.items()]
    with own_role(iam, name, principal, rights) as arn:
        yield arn


@contextmanager
def own_role(iam: Any, name: str, principal: dict[str, Any], rights: list[dict[str, Any]]) -> Iterator[str]:
    """Make a role with these statements, and delete it at the end.

    Args:
        iam: the client.
        name: of the role.
        principal: who may assume it.
        rights: its statements.
    """
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy([trust]))
    try:
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=_policy(rights))
        yield str(made["Role"]["Arn"])
    finally:
        with suppress(ClientError):
            iam.delete_role_policy(RoleName=name, PolicyName="may")
            iam.delete_role(RoleName=name)


def _policy(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def job_of_champion(kennel: Kennel) -> dict[str, Any]:
    """Return the description of the training job whose model serves.

    Raises:
        LocalError: SageMaker has no such job, because the model was trained on EC2 or elsewhere.
    """
    name = kennel.output["trained"]["job"]
    try:
        described: dict[str, Any] = kennel.client("sagemaker").describe_training_job(TrainingJobName=name)
    except ClientError as error:
        raise LocalError(f"{name} is no training job of SageMaker; `make run` trains a model with one") from error
    return described


def definition(kennel: Kennel, role_arn: str, count: int) -> dict[str, Any]:
    """Return what the requests of a training job and of a tuning job share.

    Args:
        kennel: the kennel.
        role_arn: the job's role.
        count: number of instances.
    """
    job = job_of_champion(kennel)
    algorithm = job["AlgorithmSpecification"]
    kept = ("TrainingImage", "TrainingInputMode", "MetricDefinitions")
    instance_type = job["ResourceConfig"]["InstanceType"]
    return {
        "RoleArn": role_arn,
        "AlgorithmSpecification": {name: algorithm[name] for name in kept if name in algorithm},
        "InputDataConfig": job["InputDataConfig"],
        "OutputDataConfig": {**job["OutputDataConfig"], "S3OutputPath": f"s3://{kennel.deployed.bucket}/{NAME}/jobs"},
        # Without the key of the pipeline's volumes, for which the role would need more rights.
        "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": count, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": _JOB_SECONDS},
    }


def hyperparameters(kennel: Kennel, **changed: str) -> dict[str, str]:
    """Return the champion's hyperparameters with fewer epochs, in mode head, whose digest can be computed again."""
    own = job_of_champion(kennel)["HyperParameters"]
    return {
        **{name: value for name, value in own.items() if name != "tune"},
        "mode": "head",
        "epochs": EPOCHS,
        **changed,
    }


@contextmanager
def training_jobs(kennel: Kennel, jobs: dict[str, dict[str, Any]]) -> Iterator[dict[str, dict[str, Any]]]:
    """Start training jobs together, wait for them and yield their descriptions; stop those that run at the end.

    Args:
        kennel: the kennel.
        jobs: requests without their names, by a short name.

    Raises:
        LocalError: a job failed.
    """
    sagemaker, stamp = kennel.client("sagemaker"), time.strftime("%Y%m%d-%H%M%S")
    names = {short: f"{NAME}-{short}-{stamp}" for short in jobs}
    found: dict[str, dict[str, Any]] = {}

    def all_ended() -> bool:
        found.update({short: sagemaker.describe_training_job(TrainingJobName=name) for short, name in names.items()})
        return all(each["TrainingJobStatus"] not in ("InProgress", "Stopping") for each in found.values())

    try:
        for short, name in names.items():
            sagemaker.create_training_job(TrainingJobName=name, **jobs[short])
        kennel.wait(all_ended, f"{len(jobs)} training jobs", _JOB_SECONDS)
        for each in found.values():
            if each["TrainingJobStatus"] != "Completed":
                raise LocalError(f"{each['TrainingJobName']}: {each.get('FailureReason', each['TrainingJobStatus'])}")
        yield found
    finally:
        for name in names.values():
            with suppress(ClientError):  # It has ended.
                sagemaker.stop_training_job(TrainingJobName=name)


def proof(archive: bytes) -> dict[str, Any]:
    """Return what a model's file says of its training, and the digest of its head as computed from its tensors.

    It is what each rank computed of its own copy (``HeadTraining.checksum`` in training/head.py).

    Args:
        archive: ``model.tar.gz``.
    """
    files = files_of(archive)
    tensors = load(files["model.safetensors"])
    head = tensors["head.weight"].tobytes() + tensors["head.bias"].tobytes()
    return {
        "ddp": json.loads(files["ddp.json"]),
        "head_digest": hashlib.sha256(head).hexdigest()[:16],
        "model_sha256": hashlib.sha256(files["model.safetensors"]).hexdigest(),
    }
