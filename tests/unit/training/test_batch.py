"""A job of AWS Batch on one machine: its settings, its folder, and what it mirrors to S3."""

import json
import re
import signal
import time
from pathlib import Path

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from training import batch, launch
from training.batch import BatchError, Mirror, Settings, Storage
from training.files import replace_file
from training.finished import FINISHED
from training.launch import StopSignal

VARIABLES = {
    "DATASET_URI": "s3://b/dataset/",
    "WEIGHTS_URI": "s3://b/weights/w.pth",
    "CHECKPOINT_URI": "s3://b/checkpoints/w",
    "OUTPUT_URI": "s3://b/training/1/job/output",
    "TRAINED_MODELS_URI": "s3://b/TrainedModels/job",
    "HYPERPARAMETERS": '{"epochs": "3"}',
    "RANKS": "2",
}


class Objects:
    """The objects of a bucket, with the calls of boto3's client that the module makes."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = dict(objects)

    def get_paginator(self, _operation):
        return self

    def paginate(self, Bucket, Prefix):  # noqa: ARG002 - as boto3 calls it
        return [{"Contents": [{"Key": key} for key in sorted(self.objects) if key.startswith(Prefix)]}]

    def download_file(self, _bucket, key, file):
        Path(file).write_bytes(self.objects[key])

    def upload_fileobj(self, file, _bucket, key):
        self.objects[key] = file.read()

    def delete_object(self, Bucket, Key):  # noqa: ARG002 - as boto3 calls it
        del self.objects[Key]


def storage(objects):
    return Storage(objects, StopSignal())


def test_settings_are_read_from_the_environment():
    settings = Settings.from_environment(VARIABLES)
    assert (settings.dataset, settings.ranks, settings.hyperparameters) == ("s3://b/dataset", 2, {"epochs": "3"})


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"RANKS": ""}, "has no RANKS"),
        ({"RANKS": "0"}, "RANKS is 0"),
        ({"OUTPUT_URI": "/tmp/x"}, "OUTPUT_URI is '/tmp/x'; expected s3://"),
        ({"HYPERPARAMETERS": "{"}, "HYPERPARAMETERS must be a JSON object"),
    ],
)
def test_wrong_environment_is_refused_with_a_sentence(changed, sentence):
    with pytest.raises(BatchError, match=sentence):
        Settings.from_environment(VARIABLES | changed)


def test_folder_is_laid_out_as_sagemaker_does(tmp_path):
    objects = Objects(
        **{
            "dataset/train/a/1.jpg": b"1",
            "dataset2/train/a/1.jpg": b"no",
            "weights/w.pth": b"w",
            "checkpoints/w/features.pt": b"f",
        }
    )
    assert batch._lay_out(tmp_path, Settings.from_environment(VARIABLES), storage(objects)) == (1, 1)
    files = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {
        "input/config/resourceconfig.json",
        "input/config/hyperparameters.json",
        "input/data/dataset/train/a/1.jpg",
        "input/data/weights/w.pth",
        "checkpoints/features.pt",
    }
    resources = json.loads((tmp_path / "input/config/resourceconfig.json").read_text())
    assert (resources["current_host"], resources["hosts"]) == ("algo-1", ["algo-1"])


def test_archive_keeps_its_name(tmp_path):
    assert storage(Objects(**{"datasets/x.zip": b"z", "datasets/x.zip2": b"no"})).download(
        "s3://b/datasets/x.zip", tmp_path
    )
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]


def test_empty_channel_is_named(tmp_path):
    with pytest.raises(BatchError, match="no object at s3://b/dataset, the channel dataset"):
        batch._lay_out(tmp_path, Settings.from_environment(VARIABLES), storage(Objects()))


def test_key_that_leads_out_of_the_folder_is_refused(tmp_path):
    with pytest.raises(BatchError, match="leads out of the folder"):
        storage(Objects(**{"dataset/../../x": b"x"})).download("s3://b/dataset", tmp_path / "data")


def test_mirror_uploads_what_is_new_and_deletes_what_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "_MIRROR_SECONDS", 0.01)
    (tmp_path / "kept.pt").write_text("kept")
    (tmp_path / "finished.pt").write_text("old")
    objects = Objects(**{"checkpoints/w/kept.pt": b"kept", "checkpoints/w/finished.pt": b"old"})
    mirror = Mirror(storage(objects), tmp_path, "s3://b/checkpoints/w")
    (tmp_path / "head.pt").write_text("half way")
    deadline = time.monotonic() + 5
    while "checkpoints/w/head.pt" not in objects.objects and time.monotonic() < deadline:
        time.sleep(0.01)
    assert objects.objects["checkpoints/w/head.pt"] == b"half way"
    (tmp_path / "finished.pt").unlink()
    (tmp_path / "head.pt").write_text("the end")
    mirror.finish(succeeded=True)
    assert objects.objects == {"checkpoints/w/kept.pt": b"kept", "checkpoints/w/head.pt": b"the end"}


class Answer:
    """The body of an answer, as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_sizes):
        return iter([self._body])


def test_an_object_is_one_state_of_a_file_that_is_replaced_during_its_upload(tmp_path):
    """boto3 itself uploads; only the network is not there."""
    file, size, parts = tmp_path / "head.pt", 20 * 2**20, {}
    file.write_bytes(b"old" * (size // 3))

    def answer(request, **_):
        if part := re.search(r"partNumber=(\d+)", request.url):
            parts[int(part[1])] = request.body.read()
        else:
            replace_file(file, b"new" * (size // 3))
        body = b"<R><Bucket>b</Bucket><Key>w/head.pt</Key><UploadId>1</UploadId></R>"
        return AWSResponse(request.url, 200, {"ETag": '"e"'}, Answer(b"" if part else body))

    config = Config(request_checksum_calculation="when_required")
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", region_name="us-east-1", config=config, **keys)
    client.meta.events.register("before-send.s3", answer)
    storage(client).upload(file, "s3://b/w/head.pt")
    assert sorted(parts) == [1, 2, 3]
    assert b"".join(parts[number] for number in sorted(parts)) == b"old" * (size // 3)
    assert file.read_bytes() == b"new" * (size // 3)


def test_model_is_uploaded_last_where_the_evaluation_looks(tmp_path):
    written = []
    objects = Objects()
    upload = objects.upload_fileobj
    objects.upload_fileobj = lambda file, bucket, key: (written.append(key), upload(file, bucket, key))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "labels.json").write_text("{}")
    batch._upload_model(tmp_path, Settings.from_environment(VARIABLES), storage(objects))
    assert written == ["TrainedModels/job/model.tar.gz", "training/1/job/output/model.tar.gz"]


class Job:
    """A job whose launcher runs a function in place of ranks, and whose objects remember the order of uploads.

    Attributes:
        objects: the bucket; keys that contain ``refused`` cannot be written.
        written: the keys, in the order of their uploads.
    """

    def __init__(self, root, monkeypatch) -> None:
        self.root, self.stop, self.refused, self.written = root, StopSignal(), "nothing", []
        self.objects = Objects(**{"dataset/a/1.jpg": b"1", "weights/w.pth": b"w", "checkpoints/w/head.pt": b"half way"})
        self._upload, self.objects.upload_fileobj = self.objects.upload_fileobj, self._record
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(batch.boto3, "client", lambda *_, **__: self.objects)
        monkeypatch.setattr(batch, "_MIRROR_SECONDS", 60)
        for name, value in (VARIABLES | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}).items():
            monkeypatch.setenv(name, value)

    def run(self, train, refused: str = "nothing") -> int:
        self.refused = refused
        self._monkeypatch.setattr(launch, "run", lambda *_: train(self))
        return batch.run(self.root, self.stop)

    def _record(self, file, bucket, key):
        if self.refused in key:
            raise OSError(f"S3 does not take {key}")
        self.written.append(key)
        self._upload(file, bucket, key)


@pytest.fixture
def job(tmp_path, monkeypatch):
    return Job(tmp_path, monkeypatch)


def succeed(job: Job) -> int:
    (job.root / "model" / "labels.json").write_text("{}")
    (job.root / "checkpoints" / "head.pt").write_bytes(FINISHED)
    return 0


def fail(job: Job) -> int:
    (job.root / "checkpoints" / "head.pt").write_text("the last checkpoint")
    launch.write_failure(job.root, "training: the photos are missing")
    return 1


def test_the_model_is_uploaded_before_the_checkpoint_says_that_the_run_has_finished(job):
    assert job.run(succeed) == 0
    assert job.written == [
        "TrainedModels/job/model.tar.gz",
        "training/1/job/output/model.tar.gz",
        "checkpoints/w/head.pt",
    ]


def test_a_model_that_cannot_be_uploaded_leaves_the_checkpoint_to_the_next_attempt(job):
    assert job.run(succeed, refused="model.tar.gz") == 1
    assert job.objects.objects["checkpoints/w/head.pt"] == b"half way"
    assert job.objects.objects["training/1/job/output/failure"].startswith(b"batch: S3 does not take TrainedModels")


@pytest.mark.parametrize("code", [0, 1])
def test_the_mark_of_a_finished_run_waits_for_the_model(job, monkeypatch, code):
    """The training writes it, and the ranks end later: several rounds of the mirror may lie between."""
    monkeypatch.setattr(batch, "_MIRROR_SECONDS", 0.01)

    def finish_slowly(job: Job) -> int:
        (job.root / "model" / "labels.json").write_text("{}")
        (job.root / "checkpoints" / "head.pt").write_bytes(FINISHED)
        (job.root / "checkpoints" / "other.pt").write_text("another file")
        deadline = time.monotonic() + 5
        while "checkpoints/w/other.pt" not in job.written and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert job.objects.objects["checkpoints/w/head.pt"] == b"half way"
        return code

    assert job.run(finish_slowly) == code
    assert job.objects.objects["checkpoints/w/head.pt"] == (b"half way" if code else FINISHED)


def test_checkpoints_that_cannot_be_uploaded_change_neither_success_nor_reason(job, capsys):
    assert job.run(succeed, refused="checkpoints/") == 0
    assert "batch: checkpoints were not uploaded (S3 does not take checkpoints/w/head.pt)" in capsys.readouterr().err
    assert job.run(fail, refused="checkpoints/") == 1
    assert job.objects.objects["training/1/job/output/failure"] == b"training: the photos are missing"


def test_a_failed_training_leaves_its_reason_and_its_last_checkpoint(job):
    assert job.run(fail) == 1
    assert job.objects.objects["training/1/job/output/failure"] == b"training: the photos are missing"
    assert job.objects.objects["checkpoints/w/head.pt"] == b"the last checkpoint"


def test_a_stopped_attempt_leaves_its_checkpoint_and_no_reason(job, capsys):
    def stopped(job: Job) -> int:
        job.stop.handle(signal.SIGTERM, None)
        return fail(job)

    assert job.run(stopped) == 143
    assert job.written == ["checkpoints/w/head.pt"]
    assert job.objects.objects["checkpoints/w/head.pt"] == b"the last checkpoint"
    assert "batch: stopped by SIGTERM before it finished" in capsys.readouterr().err
