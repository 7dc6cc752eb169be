"""A run in which each rank trains its own model: the gate fails it, and nothing is deployed."""

import time
from typing import Any

from tests.integration.pipeline.kennel import Kennel, states_entered, wait_for

# Replaces training/__init__.py. The modules of the package then import a wrapper that exchanges no gradients.
APART = """
import torch.nn.parallel
torch.nn.parallel.DistributedDataParallel = lambda module, *_, **__: module
"""


def training_images(bare: Kennel) -> tuple[str, list[Any]]:
    """Return the name of the stack's repository, and the ids of the images in it that train."""
    ecr = bare.client("ecr")
    (repository,) = ecr.describe_repositories()["repositories"]
    images = ecr.list_images(repositoryName=repository["repositoryName"])["imageIds"]
    return repository["repositoryName"], [each for each in images if each.get("imageTag", "").startswith("train-")]


def test_ranks_that_trained_apart_fail_the_run_at_the_gate(bare: Kennel) -> None:
    name, images = training_images(bare)
    if images:  # Of another test.
        bare.client("ecr").batch_delete_image(repositoryName=name, imageIds=images)
    jobs = bare.training_jobs()
    request = {"dataset": bare.upload("apart", bare.photos), "hyperparameters": {"epochs": 2}}
    arn = bare.start(request, name=f"hold-at-Train-{time.time_ns()}")
    wait_for(lambda: "Train" in states_entered(bare, arn))  # It rests there. No image but this one trains.
    _, (image,) = training_images(bare)
    (file,) = (bare.home / "cloud/images" / image["imageDigest"].partition(":")[2]).rglob("training/__init__.py")
    original = file.read_text()
    file.write_text(APART)
    try:
        execution = bare.finish(arn)
    finally:
        file.write_text(original)
    assert (execution["status"], execution["error"]) == ("FAILED", "DistributionError")
    assert execution["cause"].startswith("the ranks ended with different parameters")

    (name,) = bare.training_jobs() - jobs
    job = bare.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert job["TrainingJobStatus"] == "Completed"
    assert job["ResourceConfig"]["InstanceCount"] == 2
    entered = states_entered(bare, arn)
    assert {"BuildTrainingImage", "Gate"} <= entered
    assert not entered & {"RegisterModel", "CreateStaging", "Promote"}
    assert bare.champion() == {}
    assert bare.endpoints() == []
    assert not bare.is_locked()
