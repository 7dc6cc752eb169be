"""Training jobs: several hosts, S3 channels, live metrics, checkpoints, spot interruptions, the model's archive."""

import math
import os
import re
import tarfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cloud.core import processes
from cloud.core.protocol import invalid
from cloud.core.store import now
from cloud.core.uris import AccessError, S3Uri
from cloud.s3 import objects
from cloud.sagemaker import metrics, rules
from cloud.sagemaker.jobs import spot
from cloud.sagemaker.jobs.job import Host, Job, JobError, deliver, start_together, wait_together
from cloud.sagemaker.jobs.opt_ml import resource_config, threads_per_instance
from cloud.sagemaker.metrics import MetricScanner

_METRIC_NAMESPACE = "/aws/sagemaker/TrainingJobs"
_CHECKPOINT_SECONDS = 2.0
_MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Training job interrupted: the managed spot instances were taken away",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}


class _Interruption(Exception):
    """The spot instances are gone, and what was on their disks."""


class TrainingJob(Job):
    """One training job; every host has its own ``opt/ml`` below the job's folder."""

    KIND = "Training"
    NOT_FOUND = "Requested resource not found."
    IN_USE = (
        "Training job names must be unique within an AWS account and region, and a training job with "
        "this name already exists ({arn})"
    )
    LOG_GROUP = "/aws/sagemaker/TrainingJobs"

    def check(self) -> None:
        rules.training_job(self.request, self.context.store.region)
        self.check_pull(self.request["AlgorithmSpecification"]["TrainingImage"])
        self.check_volumes(self.request["ResourceConfig"])
        for channel in self._channels:
            self._check_objects(channel["DataSource"]["S3DataSource"]["S3Uri"])
        try:
            self._metrics = MetricScanner(self.request["AlgorithmSpecification"].get("MetricDefinitions", []))
        except re.error as error:
            raise invalid(f"MetricDefinitions: {error}") from None
        self._secondary = "Starting"
        self._transitions: list[dict[str, Any]] = []
        self._uploaded: dict[Path, tuple[int, int]] = {}
        self._num_instances: int = self.request["ResourceConfig"]["InstanceCount"]
        self._seconds = 0.0  # that instances ran, over all interruptions
        self._last_secondary = "Stopped"
        self._synced = 0.0
        self._enter("Starting")

    def _check_objects(self, uri: str) -> None:
        """Raises ApiError: a channel's bucket is not in the region, holds nothing there, or may not be listed."""
        source, region = S3Uri.parse(uri), self.context.store.region
        try:
            there = objects.region_of(source.bucket) == region and objects.keys(source, self.caller)
        except AccessError:
            there = False
        if not there:
            raise invalid(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
                f"exists in the selected region ({region}), that objects exist under that S3 prefix, and that the role "
                f'"{self.request["RoleArn"]}" has "s3:ListBucket" permissions on bucket "{source.bucket}".'
            )

    def work(self) -> None:
        while True:
            begin = now()
            self.started = self.started or begin
            try:
                self._work_on(self.hosts(self._num_instances))
                break
            except _Interruption:
                self._enter("Interrupted")
                self._enter("Starting")
            finally:
                self._seconds += now() - begin

    def _work_on(self, hosts: Sequence[Host]) -> None:
        """From the download to the upload on these hosts.

        Raises:
            JobError: a host failed, or the role lacks a right.
            _Interruption: the hosts were taken away.
        """
        self._enter("Downloading")
        self._lay_out(hosts)
        self._enter("Training")
        times = self.request.get("StoppingCondition", {})
        runtime = times.get("MaxRuntimeInSeconds", rules.DEFAULT_MAX_RUNTIME) - self._seconds
        wait = times.get("MaxWaitTimeInSeconds", math.inf) - (now() - self.created)
        try:
            failed = self._train(hosts, min(runtime, wait))
        except TimeoutError:
            failed = None
            self._last_secondary = "MaxRuntimeExceeded" if runtime < wait else "MaxWaitTimeExceeded"
            self._enter("Stopping")
            self.stop.set()
        if failed:
            self._sync_checkpoints(hosts)
            raise JobError(_failure_of(failed))
        self._enter("Uploading")
        self._upload(hosts)

    def _lay_out(self, hosts: Sequence[Host]) -> None:
        """Fill every host's tree: configuration, channels, the checkpoints that lie in S3."""
        first, *others = hosts
        for channel in self._channels:
            folder = f"input/data/{channel['ChannelName']}"
            source = channel["DataSource"]["S3DataSource"]["S3Uri"]
            deliver(source, first.tree.root / folder, self.caller)
            for host in others:
                _link_tree(first.tree.root / folder, host.tree.root / folder)
        names = [host.name for host in hosts]
        instance_type = self.request["ResourceConfig"]["InstanceType"]
        for host in hosts:
            for folder in ("model", "output/data", "input/config"):
                (host.tree.root / folder).mkdir(parents=True, exist_ok=True)
            host.tree.write_json("input/config/hyperparameters.json", self.request.get("HyperParameters", {}))
            host.tree.write_json("input/config/resourceconfig.json", resource_config(host.name, names, instance_type))
            host.tree.write_json("input/config/inputdataconfig.json", self._input_data_config())
            if self._checkpoints:
                checkpoints = host.tree.path(self._checkpoint_path)
                checkpoints.mkdir(parents=True, exist_ok=True)
                kept = S3Uri.parse(f"{self._checkpoints['S3Uri'].rstrip('/')}/")
                objects.download_prefix(kept, checkpoints, self.caller)
                # Else an old copy on one host would replace what another has just written.
                self._uploaded |= {file: _version(file) for file in objects.files_below(checkpoints)}

    def _input_data_config(self) -> dict[str, Any]:
        mode = self.request["AlgorithmSpecification"]["TrainingInputMode"]
        return {
            channel["ChannelName"]: {
                **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
                "TrainingInputMode": channel.get("InputMode", mode),
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            }
            for channel in self._channels
        }

    def _train(self, hosts: Sequence[Host], seconds: float) -> Host | None:
        """Run the program on every host; returns as ``wait_together`` does."""
        shared = {
            # Host names such as algo-1 resolve on SageMaker only.
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(processes.free_port()),
            "OMP_NUM_THREADS": str(threads_per_instance(len(hosts))),
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": self.arn,
            **self.request.get("Environment", {}),
        }
        start_together(hosts, self.request["AlgorithmSpecification"], shared, self._metrics.scan)
        return wait_together(hosts, seconds, self.stop, lambda: self._tick(hosts))

    def _tick(self, hosts: Sequence[Host]) -> None:
        if self.request.get("EnableManagedSpotTraining") and (lost := spot.taken(self.folder)):
            for host in sorted(hosts, key=lambda host: host.name != lost):  # the others do not outlive it
                host.vanish()
            self._uploaded.clear()  # the job deleted nothing
            raise _Interruption
        clock = time.monotonic()
        if self.stop.is_set() and self._secondary == "Training":
            self._enter("Stopping")
        self._put_metrics()
        if clock - self._synced > _CHECKPOINT_SECONDS:
            self._synced = clock
            self._sync_checkpoints(hosts)

    def _put_metrics(self) -> None:
        dimensions = {"TrainingJobName": self.name}
        metrics.put_metrics(_METRIC_NAMESPACE, dimensions, self._metrics.take(), self.caller)

    def _sync_checkpoints(self, hosts: Sequence[Host]) -> None:
        """Upload every checkpoint file that is new or changed since the last time; delete what was deleted."""
        if not self._checkpoints:
            return
        target = S3Uri.parse(self._checkpoints["S3Uri"])
        for host in hosts:
            folder = host.tree.path(self._checkpoint_path)
            for file in objects.files_below(folder):
                try:
                    version = _version(file)
                    if self._uploaded.get(file) != version:
                        self._put(file, target.child(file.relative_to(folder).as_posix()))
                        self._uploaded[file] = version
                except FileNotFoundError:
                    continue  # the job renamed or removed it meanwhile
            gone = [file for file in self._uploaded if file.is_relative_to(folder) and not file.is_file()]
            for file in gone:
                del self._uploaded[file]
                with suppress(AccessError):  # nobody has written down what SageMaker does without the right
                    objects.delete(target.child(file.relative_to(folder).as_posix()), self.caller)

    def _upload(self, hosts: Sequence[Host]) -> None:
        self._sync_checkpoints(hosts)
        target = S3Uri.parse(self.request["OutputDataConfig"]["S3OutputPath"]).child(f"{self.name}/output")
        root = hosts[0].tree.root
        for folder, archive in (("model", "model.tar.gz"), ("output/data", "output.tar.gz")):
            if archive == "model.tar.gz" or any(objects.files_below(root / folder)):
                file = self.folder / archive
                _pack(root / folder, file)
                self._put(file, target.child(archive), self.request["OutputDataConfig"].get("KmsKeyId", ""))

    def _put(self, file: Path, uri: S3Uri, key: str = "") -> None:
        """Raises JobError: the job's role may not write it."""
        try:
            objects.upload(file, uri, self.caller, key)
        except AccessError as error:
            raise JobError(f"ClientError: Artifact upload failed:{error}") from None

    def finish(self, status: str, reason: str | None = None) -> None:
        self._enter(self._last_secondary if status == "Stopped" else status)
        super().finish(status, reason)

    def describe(self) -> dict[str, Any]:
        seconds = max(1, round(self._seconds)) if self._seconds else None
        artifacts = S3Uri.parse(self.request["OutputDataConfig"]["S3OutputPath"]).child(
            f"{self.name}/output/model.tar.gz"
        )
        return {
            "SecondaryStatus": self._secondary,
            "SecondaryStatusTransitions": [dict(each) for each in self._transitions],
            "ModelArtifacts": {"S3ModelArtifacts": str(artifacts)},
            "FinalMetricDataList": list(self._metrics.final.values()),
            "TrainingTimeInSeconds": seconds,
            "BillableTimeInSeconds": seconds,
            "EnableNetworkIsolation": self.request.get("EnableNetworkIsolation", False),
            "EnableInterContainerTrafficEncryption": self.request.get("EnableInterContainerTrafficEncryption", False),
            "EnableManagedSpotTraining": self.request.get("EnableManagedSpotTraining", False),
        }

    def _enter(self, status: str) -> None:
        moment = now()
        if self._transitions:
            self._transitions[-1].setdefault("EndTime", moment)
        message = _MESSAGES[status]
        self._transitions.append({"Status": status, "StartTime": moment, "StatusMessage": message})
        self._secondary, self.modified = status, moment

    @property
    def _channels(self) -> list[dict[str, Any]]:
        channels: list[dict[str, Any]] = self.request.get("InputDataConfig", [])
        return channels

    @property
    def _checkpoints(self) -> dict[str, str]:
        checkpoints: dict[str, str] = self.request.get("CheckpointConfig", {})
        return checkpoints

    @property
    def _checkpoint_path(self) -> str:
        return self._checkpoints.get("LocalPath", rules.CHECKPOINTS)


def _failure_of(host: Host) -> str:
    code = host.exit_code or 0
    code = 128 - code if code < 0 else code  # as a shell and a container report a signal
    return f"AlgorithmError: {host.tree.read_text('output/failure')[:990]}, exit code: {code}"


def _version(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_mtime_ns, facts.st_size


def _link_tree(source: Path, target: Path) -> None:
    """Give another host the same files without a second copy on disk."""
    for file in objects.files_below(source):
        link = target / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, link)


def _pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
