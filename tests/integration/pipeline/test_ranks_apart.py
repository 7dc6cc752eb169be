"""A run in which each rank trains its own model: the gate fails it, and nothing is deployed."""

import io
import zipfile
from collections.abc import Iterator

import pytest

from plan import code
from tests.integration.pipeline.kennel import Kennel, states_entered

# Replaces training/__init__.py. The modules of the package then import a wrapper that exchanges no gradients.
APART = b"""
import torch.nn.parallel
torch.nn.parallel.DistributedDataParallel = lambda module, *_, **__: module
"""


@pytest.fixture
def apart(bare: Kennel) -> Iterator[None]:
    """Change the build context of the stack's images so that ranks train apart, and let the training image be built."""
    s3, bucket = bare.client("s3"), bare.outputs()["BucketName"]
    key = code.upload_context(s3, bucket, bare.home / "build/JobsLayer/python")  # Plan finds this upload and uses it.
    original = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            target.writestr(name, APART if name == "training/__init__.py" else source.read(name))
    s3.put_object(Bucket=bucket, Key=key, Body=changed.getvalue())
    delete_training_images(bare)
    yield
    s3.put_object(Bucket=bucket, Key=key, Body=original)
    delete_training_images(bare)


def delete_training_images(bare: Kennel) -> None:
    ecr = bare.client("ecr")
    (repository,) = ecr.describe_repositories()["repositories"]
    images = ecr.list_images(repositoryName=repository["repositoryName"])["imageIds"]
    if training := [image for image in images if image["imageTag"].startswith("train-")]:
        ecr.batch_delete_image(repositoryName=repository["repositoryName"], imageIds=training)


@pytest.mark.usefixtures("apart")
def test_ranks_that_trained_apart_fail_the_run_at_the_gate(bare: Kennel) -> None:
    jobs = bare.training_jobs()
    arn = bare.start({"dataset": bare.upload("apart", bare.photos), "hyperparameters": {"epochs": 2}})
    execution = bare.finish(arn)
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
