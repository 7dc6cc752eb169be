"""A run in which each rank trains its own model: the gate fails it, and nothing is deployed."""

import json
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
def apart(bare: Kennel) -> Iterator[str]:
    """Yield the URI of the stack's training code, after changing it so that ranks train apart."""
    s3, bucket = bare.client("s3"), bare.outputs()["BucketName"]
    uri = code.upload(s3, bucket, layer=bare.home / "build/JobsLayer/python")  # Plan finds this upload and uses it.
    key = f"{uri.removeprefix(f's3://{bucket}/')}/training/__init__.py"
    original = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=APART)
    yield uri
    s3.put_object(Bucket=bucket, Key=key, Body=original)


def test_ranks_that_trained_apart_fail_the_run_at_the_gate(bare: Kennel, apart: str) -> None:
    jobs = bare.training_jobs()
    arn = bare.start({"dataset": bare.upload("apart", bare.photos), "hyperparameters": {"epochs": 2}})
    execution = bare.finish(arn)
    assert (execution["status"], execution["error"]) == ("FAILED", "DistributionError")
    assert execution["cause"].startswith("the ranks ended with different parameters")

    (name,) = bare.training_jobs() - jobs
    job = bare.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert job["TrainingJobStatus"] == "Completed"
    assert job["ResourceConfig"]["InstanceCount"] == 2
    assert f"{apart}/" in json.dumps(job["InputDataConfig"])
    entered = states_entered(bare, arn)
    assert "Gate" in entered
    assert not entered & {"RegisterModel", "CreateStaging", "Promote"}
    assert bare.champion() == {}
    assert bare.endpoints() == []
    assert not bare.is_locked()
