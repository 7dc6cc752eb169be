"""The same training on one machine of EC2, with its model in ``TrainedModels/``."""

import hashlib
import json
import time
from typing import Any

from local.home import LocalError
from proofs.capstone import by_hand
from proofs.capstone.evidence import Check, Evidence
from proofs.capstone.kennel import Kennel
from proofs.capstone.rows import training

_RANKS, _SECONDS = 2, 600


def collect(kennel: Kennel) -> Evidence:
    """Let a machine of the stack's own queue train what two instances of SageMaker have trained."""
    peer = kennel.earlier("training")["jobs"]["pair"]
    batch, name = kennel.client("batch"), f"{by_hand.NAME}-ec2-{time.strftime('%Y%m%d-%H%M%S')}"
    queue = kennel.resource("Ec2OnDemandQueue")
    definition = _definition(kennel, name, peer["hyperparameters"])
    arn = batch.register_job_definition(**definition)["jobDefinitionArn"]
    job = batch.submit_job(jobName=name, jobQueue=queue, jobDefinition=arn)["jobId"]
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(batch.describe_jobs(jobs=[job])["jobs"][0])
        return found["status"] in ("SUCCEEDED", "FAILED")

    try:
        kennel.wait(has_ended, f"the machine of EC2, {found.get('status', '')}", _SECONDS)
    finally:
        batch.terminate_job(jobId=job, reason="the capstone has ended")
        batch.deregister_job_definition(jobDefinition=arn)
    if found["status"] != "SUCCEEDED":
        raise LocalError(f"{name} is {found['status']}: {found.get('statusReason', '')}")
    machines = batch.describe_compute_environments()["computeEnvironments"]
    kennel.wait(lambda: _vcpus(kennel) == 0, "the end of the machine", 120)
    kept, output = (
        kennel.read(f"s3://{kennel.deployed.bucket}/{key}")
        for key in (f"TrainedModels/{name}/model.tar.gz", f"training/{name}/output/model.tar.gz")
    )
    return {
        "name": name,
        "status": found["status"],
        "queue": queue.rpartition("/")[2],
        "instance_type": machines[0]["computeResources"]["instanceTypes"][0],
        "seconds": (found["stoppedAt"] - found["startedAt"]) / 1000,
        "model": f"TrainedModels/{name}/model.tar.gz",
        "model_sha256": hashlib.sha256(kept).hexdigest(),
        "output_sha256": hashlib.sha256(output).hexdigest(),
        "vcpus_afterwards": _vcpus(kennel),
        "trained": by_hand.proof(kept),
        "peer": {key: peer[key] for key in ("name", "ddp", "head_digest")},
    }


def _vcpus(kennel: Kennel) -> int:
    machines = kennel.client("batch").describe_compute_environments()["computeEnvironments"]
    return sum(int(each["computeResources"]["desiredvCpus"]) for each in machines)


def _definition(kennel: Kennel, name: str, hyperparameters: dict[str, str]) -> dict[str, Any]:
    bucket, job = f"s3://{kennel.deployed.bucket}", by_hand.job_of_champion(kennel)
    channels = {each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in job["InputDataConfig"]}
    variables = {
        "DATASET_URI": channels["dataset"],
        "WEIGHTS_URI": channels["weights"],
        "CHECKPOINT_URI": f"{bucket}/checkpoints/{name}",
        "OUTPUT_URI": f"{bucket}/training/{name}/output",
        "TRAINED_MODELS_URI": f"{bucket}/TrainedModels/{name}",
        "HYPERPARAMETERS": json.dumps(hyperparameters),
        "RANKS": str(_RANKS),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return {
        "jobDefinitionName": name,
        "type": "container",
        "containerProperties": {
            "image": job["AlgorithmSpecification"]["TrainingImage"],
            "command": ["batch"],
            "jobRoleArn": kennel.role("Ec2JobRole"),
            "environment": [{"name": key, "value": value} for key, value in variables.items()],
            "resourceRequirements": [{"type": "VCPU", "value": "2"}, {"type": "MEMORY", "value": "3584"}],
        },
        "timeout": {"attemptDurationSeconds": _SECONDS},
    }


def judge(evidence: Evidence) -> list[Check]:
    """Hold the model against that of SageMaker, and against the copy beside it."""
    ours, theirs = evidence["trained"]["ddp"], evidence["peer"]["ddp"]
    digest = evidence["trained"]["head_digest"]
    return [
        Check(f"the job is {evidence['status']}", evidence["status"] == "SUCCEEDED"),
        Check(
            f"the model is {evidence['model']}",
            evidence["model"].startswith("TrainedModels/") and evidence["model_sha256"] == evidence["output_sha256"],
        ),
        *training.trained_one_model(evidence["trained"]),
        Check(
            f"its parameters are those of {evidence['peer']['name']} on SageMaker, to the bit: {digest}",
            set(ours["parameter_checksums"]) == set(theirs["parameter_checksums"]) == {digest},
        ),
        Check(
            "both made the same steps with the same photos for each rank",
            (ours["steps"], ours["samples_per_rank"]) == (theirs["steps"], theirs["samples_per_rank"]),
        ),
        Check("no machine is left", evidence["vcpus_afterwards"] == 0),
    ]


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    return [
        ("job of AWS Batch", f"{evidence['name']}, {evidence['seconds']:.0f} s in the queue {evidence['queue']}"),
        ("machine", f"{evidence['instance_type']} of EC2, ended with the job"),
        ("model", f"{evidence['model']}, SHA-256 {evidence['model_sha256']}"),
        ("digest of its ranks", ", ".join(evidence["trained"]["ddp"]["parameter_checksums"])),
        ("digest on SageMaker", ", ".join(evidence["peer"]["ddp"]["parameter_checksums"])),
    ]
