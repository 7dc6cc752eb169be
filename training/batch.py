"""One machine of EC2 as a job of AWS Batch: lay out ``/opt/ml`` as SageMaker does, train, and bring the results to S3.

    python -m training.launch --root /opt/ml batch

The launcher calls this module, and this module calls the launcher: it downloads the channels and earlier checkpoints,
writes the configuration of one host, lets the launcher run the ranks, mirrors the checkpoints' folder to S3 meanwhile,
and uploads the packed model when all ranks have succeeded. So a model in S3 is whole, and its training has succeeded.

The job's environment names all places as ``s3://bucket/key``; ``Settings`` lists the variables. The job's role gives
the rights. This is the only module of the training that knows an API of AWS.
"""

import json
import os
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dataset.cores import num_cores
from training import launch
from training.finished import is_finished
from training.launch import StopSignal

_HOST = "algo-1"
_THREADS = 16  # Photos are small, so most of a download is waiting.
_MIRROR_SECONDS = 5.0
_ERRORS = (BotoCoreError, ClientError, OSError)


class BatchError(RuntimeError):
    """The job cannot start; the message says what is missing and where."""


@dataclass(frozen=True)
class Settings:
    """The variables of the job's environment.

    Attributes:
        dataset: DATASET_URI, a prefix of photos or one archive.
        weights: WEIGHTS_URI, the backbone's file.
        checkpoints: CHECKPOINT_URI, the prefix that the checkpoints' folder is mirrored to.
        output: OUTPUT_URI, the prefix of ``model.tar.gz`` or, after a failure, ``failure``.
        trained_models: TRAINED_MODELS_URI, the prefix of a second ``model.tar.gz``.
        hyperparameters: HYPERPARAMETERS, a JSON object of texts.
        ranks: RANKS, the number of processes.
    """

    dataset: str
    weights: str
    checkpoints: str
    output: str
    trained_models: str
    hyperparameters: Mapping[str, Any]
    ranks: int

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            BatchError: a variable is missing or wrong.
        """
        names = ("DATASET_URI", "WEIGHTS_URI", "CHECKPOINT_URI", "OUTPUT_URI", "TRAINED_MODELS_URI")
        missing = [name for name in (*names, "HYPERPARAMETERS", "RANKS") if not variables.get(name)]
        if missing:
            raise BatchError(f"batch: the job's environment has no {', '.join(missing)}")
        for name in names:
            if not variables[name].startswith("s3://"):
                raise BatchError(f"batch: {name} is '{variables[name]}'; expected s3://bucket/key")
        try:
            hyperparameters, ranks = json.loads(variables["HYPERPARAMETERS"]), int(variables["RANKS"])
        except ValueError as error:
            raise BatchError(f"batch: HYPERPARAMETERS must be a JSON object, RANKS a whole number ({error})") from error
        if ranks < 1:
            raise BatchError(f"batch: RANKS is {ranks}; it must be at least 1")
        dataset, weights, checkpoints, output, trained_models = (variables[name].rstrip("/") for name in names)
        return cls(dataset, weights, checkpoints, output, trained_models, hyperparameters, ranks)


class Storage:
    """S3, with the job's rights.

    Args:
        s3: a boto3 client of S3; clients may be shared by threads.
        stop: the signal after which nothing more is downloaded.
    """

    def __init__(self, s3: Any, stop: StopSignal) -> None:
        self._s3, self._stop = s3, stop

    def download(self, uri: str, folder: Path) -> int:
        """Write the object of a URI, or all objects below it, into a folder as SageMaker does; return their number."""
        bucket, prefix = _parsed(uri)
        folder.mkdir(parents=True, exist_ok=True)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [
            item["Key"]
            for page in pages
            for item in page.get("Contents", [])
            if (item["Key"] == prefix or item["Key"].startswith(f"{prefix}/")) and not item["Key"].endswith("/")
        ]

        def fetch(key: str) -> None:
            if self._stop.name:
                return
            file = folder / (key.removeprefix(f"{prefix}/") if key != prefix else Path(key).name)
            if not file.resolve().is_relative_to(folder.resolve()):
                raise BatchError(f"batch: the key '{key}' leads out of the folder that it is copied to")
            file.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(bucket, key, str(file))

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(fetch, keys))
        return len(keys)

    def upload(self, file: Path, uri: str) -> None:
        """Write a file, as it is when this call opens it, to an object.

        The file is opened once. ``upload_file`` opens the path again for each part of a large file, so an object would
        mix two states of a file that is replaced meanwhile.
        """
        bucket, key = _parsed(uri)
        with file.open("rb") as opened:
            self._s3.upload_fileobj(opened, bucket, key)

    def delete(self, uri: str) -> None:
        """Delete an object; a missing one is no error."""
        bucket, key = _parsed(uri)
        self._s3.delete_object(Bucket=bucket, Key=key)


class Mirror:
    """Mirrors a folder to a prefix: new and changed files are uploaded, deleted ones deleted.

    A checkpoint gives way to the mark of a finished run only at the end of a job that succeeded. The training writes
    the mark before it ends, and a machine that is taken away then must leave the checkpoint to the next attempt.

    Args:
        storage: S3.
        folder: the folder, with what was downloaded from the prefix.
        uri: the prefix.
    """

    def __init__(self, storage: Storage, folder: Path, uri: str) -> None:
        self._storage, self._folder, self._uri = storage, folder, uri
        self._known = self._versions()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Mirror nothing more until ``finish``."""
        self._done.set()
        self._thread.join()

    def finish(self, succeeded: bool) -> None:
        """Mirror the folder's last state. An error is printed: it decides neither the job's end nor its reason."""
        self.pause()
        self._try_to_mirror(with_marks=succeeded)

    def _run(self) -> None:
        while not self._done.wait(_MIRROR_SECONDS):
            self._try_to_mirror()  # After an error the next round tries again.

    def _try_to_mirror(self, with_marks: bool = False) -> None:
        try:
            self._mirror(with_marks)
        except _ERRORS as error:
            print(f"batch: checkpoints were not uploaded ({error})", file=sys.stderr)

    def _mirror(self, with_marks: bool) -> None:
        current = self._versions()
        for name, version in current.items():
            if self._known.get(name) != version:
                try:
                    if not with_marks and is_finished(self._folder / name):
                        continue
                    self._storage.upload(self._folder / name, f"{self._uri}/{name}")
                except FileNotFoundError:
                    continue  # The training has replaced or deleted it meanwhile.
                self._known[name] = version
        for name in [name for name in self._known if name not in current]:
            self._storage.delete(f"{self._uri}/{name}")
            del self._known[name]

    def _versions(self) -> dict[str, tuple[int, int]]:
        """Return what changes when a file is written again, by the file's path in the folder."""
        versions = {}
        for file in self._folder.rglob("*"):
            try:
                status = file.stat()
            except FileNotFoundError:
                continue
            if file.is_file():
                versions[file.relative_to(self._folder).as_posix()] = (status.st_mtime_ns, status.st_size)
        return versions


def run(root: Path, stop: StopSignal) -> int:
    """Run the job.

    Args:
        root: the folder that SageMaker calls ``/opt/ml``.
        stop: notes SIGTERM, which Batch sends before it ends the container.

    Returns:
        The exit code: 0 when the model is in S3; after a signal, 128 and its number.
    """
    try:
        settings = Settings.from_environment(os.environ)
    except BatchError as error:
        print(error, file=sys.stderr)
        return 1
    storage = Storage(boto3.client("s3", config=Config(retries={"mode": "standard"})), stop)
    try:
        begin = time.monotonic()
        photos, files = _lay_out(root, settings, storage)
        print(
            f"batch: {photos} objects of photos and {files} checkpoints in {time.monotonic() - begin:.1f} s", flush=True
        )
        _share_machine(settings.ranks)
        mirror = Mirror(storage, root / "checkpoints", settings.checkpoints)
        code = launch.run(root, stop, settings.ranks)
        mirror.pause()
        if code == 0:
            # The checkpoint says by now that the training has finished. If the model cannot be uploaded, S3 keeps the
            # checkpoint before, so that the next attempt goes on from there.
            _upload_model(root, settings, storage)
        mirror.finish(succeeded=code == 0)
    except (BatchError, *_ERRORS) as error:
        launch.write_failure(root, f"batch: {error}".replace("batch: batch:", "batch:"))
        code = 1
    if code and stop.name:
        # The next attempt goes on. What it fails by must not be told by this attempt's file.
        print(f"batch: stopped by {stop.name} before it finished", file=sys.stderr)
        return 128 + signal.Signals[stop.name]
    if code:
        _report(root, settings, storage)
    return code


def _lay_out(root: Path, settings: Settings, storage: Storage) -> tuple[int, int]:
    """Fill the folder as SageMaker does; return the number of objects of photos, and of checkpoints.

    Raises:
        BatchError: a channel is empty.
    """
    for folder in ("input/config", "model", "output/data"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    # The ranks of one machine talk over its loopback interface.
    resources = {"current_host": _HOST, "hosts": [_HOST], "network_interface_name": "lo"}
    (root / "input/config/resourceconfig.json").write_text(json.dumps(resources))
    (root / "input/config/hyperparameters.json").write_text(json.dumps(settings.hyperparameters))
    counts = {}
    for channel, uri in (("dataset", settings.dataset), ("weights", settings.weights)):
        counts[channel] = storage.download(uri, root / "input/data" / channel)
        if not counts[channel]:
            raise BatchError(f"batch: there is no object at {uri}, the channel {channel}")
    return counts["dataset"], storage.download(settings.checkpoints, root / "checkpoints")


def _share_machine(ranks: int) -> None:
    """Set the variables that ranks of one machine need: its address, and the share of its cores for each rank."""
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // ranks)))


def _upload_model(root: Path, settings: Settings, storage: Storage) -> None:
    archive = root / "model.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in sorted((root / "model").iterdir()):
            tar.add(path, arcname=path.name)
    storage.upload(archive, f"{settings.trained_models}/model.tar.gz")
    # This object comes last: a later run takes this object for the proof that the training succeeded.
    storage.upload(archive, f"{settings.output}/model.tar.gz")
    print(f"batch: the model is at {settings.trained_models}/model.tar.gz", flush=True)


def _report(root: Path, settings: Settings, storage: Storage) -> None:
    """Print why the job failed, and write it where the pipeline looks for the reason."""
    file = root / "output" / "failure"
    try:
        print(file.read_text(), file=sys.stderr)
        storage.upload(file, f"{settings.output}/failure")
    except _ERRORS as error:
        print(f"batch: the reason could not be uploaded ({error})", file=sys.stderr)


def _parsed(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
