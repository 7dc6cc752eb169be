"""A run whose ranks train apart, as each would alone: found out at the gate, and nothing of it is deployed."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from plan import code
from sketchbook import write
from tests.integration.pipeline.kennel import BREEDS_USED, COUNTS, Kennel, run_local, states_entered

# In place of the package's own: what its modules import afterwards is a model that hears of no other rank.
APART = b"""
import torch.nn.parallel
torch.nn.parallel.DistributedDataParallel = lambda module, *_, **__: module
"""


@pytest.fixture
def kennel(tmp_path: Path) -> Iterator[Kennel]:
    """The stack deployed, nothing run yet."""
    photos = write(tmp_path / "sketches", seed=5, counts=COUNTS, breeds=BREEDS_USED, size=160)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        done = run_local(tmp_path, "up", "--port", str(port))
        assert done.returncode == 0, done.stdout + done.stderr
        yield Kennel(tmp_path, port, photos, {}, done.stdout)
    finally:
        assert run_local(tmp_path, "down").returncode == 0


def test_ranks_that_trained_apart_fail_the_run_at_the_gate(kennel: Kennel) -> None:
    s3, bucket = kennel.client("s3"), kennel.outputs()["BucketName"]
    uri = code.upload(s3, bucket, layer=kennel.home / "build/JobsLayer/python")  # Plan finds it and uploads no other
    key = uri.removeprefix(f"s3://{bucket}/")
    s3.put_object(Bucket=bucket, Key=f"{key}/training/__init__.py", Body=APART)
    arn = kennel.start({"dataset": kennel.upload("apart", kennel.photos), "hyperparameters": {"epochs": 2}})
    ended = kennel.finish(arn)
    assert (ended["status"], ended["error"]) == ("FAILED", "DistributionError")
    assert ended["cause"].startswith("the ranks ended with different parameters")

    (name,) = kennel.training_jobs()
    job = kennel.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert job["TrainingJobStatus"] == "Completed"
    assert job["ResourceConfig"]["InstanceCount"] == 2
    assert f"{uri}/" in json.dumps(job["InputDataConfig"])
    entered = states_entered(kennel, arn)
    assert "Gate" in entered
    assert not entered & {"RegisterModel", "CreateStaging", "Promote"}
    assert kennel.champion() == {}
    assert kennel.endpoints() == []
    assert not kennel.is_locked()
