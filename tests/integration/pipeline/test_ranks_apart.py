"""A run whose ranks train apart, as each would alone: found out at the gate, and nothing of it is deployed."""

import json
from collections.abc import Iterator

import pytest

from plan import code
from tests.integration.pipeline.kennel import Kennel, states_entered

# In place of the package's own: what its modules import afterwards is a model that hears of no other rank.
APART = b"""
import torch.nn.parallel
torch.nn.parallel.DistributedDataParallel = lambda module, *_, **__: module
"""


@pytest.fixture
def apart(bare: Kennel) -> Iterator[str]:
    """URI of the stack's training code, in which ranks train apart."""
    s3, bucket = bare.client("s3"), bare.outputs()["BucketName"]
    uri = code.upload(s3, bucket, layer=bare.home / "build/JobsLayer/python")  # Plan finds it and uploads no other
    key = f"{uri.removeprefix(f's3://{bucket}/')}/training/__init__.py"
    original = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=APART)
    yield uri
    s3.put_object(Bucket=bucket, Key=key, Body=original)


def test_ranks_that_trained_apart_fail_the_run_at_the_gate(bare: Kennel, apart: str) -> None:
    jobs = bare.training_jobs()
    arn = bare.start({"dataset": bare.upload("apart", bare.photos), "hyperparameters": {"epochs": 2}})
    ended = bare.finish(arn)
    assert (ended["status"], ended["error"]) == ("FAILED", "DistributionError")
    assert ended["cause"].startswith("the ranks ended with different parameters")

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
