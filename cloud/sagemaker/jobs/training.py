"""Training jobs: S3 channels, metrics, checkpoints, spot interruptions and the model's archive."""

import math
import os
import re
import tarfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cloud.core import containers, processes, spot
from cloud.core.clock import now
from cloud.core.protocol import invalid
from cloud.core.uris import AccessError, ImageUri, S3Uri
from cloud.ecr.images import ContainerImage, ImageError
from cloud.iam import permissions
from cloud.s3 import objects
from cloud.sagemaker import metrics, rules
from cloud.sagemaker.jobs import toolkit
from cloud.sagemaker.jobs.host import JobError, JobHost, wait_for_hosts
from cloud.sagemaker.jobs.job import Job, download_input
from cloud.sagemaker.jobs.metric_scanner import MetricScanner
from cloud.sagemaker.opt_ml import resource_config, threads_per_host

_CANNOT_START = (
    "ClientError: CannotStartContainerError. Please make sure the container can be run with 'docker run <image> train'"
    ". Please refer SageMaker documentation for details. It is possible that the Dockerfile's entrypoint is not "
    "properly defined, or missing permissions."
)
_METRIC_NAMESPACE = "/aws/sagemaker/TrainingJobs"
_CHECKPOINT_SECONDS = 2.0
_MAX_FAILURE_TEXT = 990  # characters of output/failure; with the exit code, the reason stays below SageMaker's limit
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


class _SpotInterruptionError(Exception):
    """AWS took the spot instances away, and with them everything on their disks."""


class TrainingJob(Job):
    """One training job; every host has an ``/opt/ml`` folder of its own below the job's folder."""

    KIND = "Training"
    NOT_FOUND = "Requested resource not found."
    IN_USE = (
        "Training job names must be unique within an AWS account and region, and a training job with "
        "this name already exists ({arn})"
    )
    LOG_GROUP = "/aws/sagemaker/TrainingJobs"

    def check(self) -> None:
        """Check the request beyond the service model, and enter the first secondary status.

        Raises:
            ApiError: the request is refused.
        """
        rules.training_job(self.request, self.context.store.region)
        self._check_image()
        self.check_volume_key_access(self.request["ResourceConfig"])
        for channel in self._channels:
            self._check_objects(channel["DataSource"]["S3DataSource"]["S3Uri"])
        try:
            self._metrics = MetricScanner(self.request["AlgorithmSpecification"].get("MetricDefinitions", []))
        except re.error as error:
            raise invalid(f"MetricDefinitions: {error}") from None
        self._secondary_status = "Starting"
        self._transitions: list[dict[str, Any]] = []
        self._uploaded_checkpoints: dict[Path, tuple[int, int]] = {}  # (modification time, size) by file
        self._num_hosts: int = self.request["ResourceConfig"]["InstanceCount"]
        self._run_seconds = 0.0  # The sum over all attempts, so interruptions are included.
        self._stopped_status = "Stopped"
        self._last_checkpoint_sync = 0.0
        self._enter("Starting")

    def _check_image(self) -> None:
        """Check that the role may pull the image, and that this machine can run it.

        Raises:
            ApiError: the request is refused.
        """
        algorithm = self.request["AlgorithmSpecification"]
        uri = algorithm["TrainingImage"]
        self.check_image_access(uri)
        if not self.context.images.is_own(uri):
            if not algorithm.get("ContainerEntrypoint") and not self._has_program:
                raise invalid(
                    "AlgorithmSpecification.ContainerEntrypoint is missing; the laptop cloud needs it, or the "
                    "hyperparameter sagemaker_program, for an image that its CodeBuild did not build, because it "
                    f"cannot run that image's entry point ({uri})."
                )
            return
        try:
            if not self.context.images.has(uri):
                raise invalid(f"Cannot find the requested image: {uri}")
        except ImageError:
            image = ImageUri.parse(uri)
            assert image  # The rules have parsed it before.
            raise invalid(
                f"Cannot find repository: {image.repository} in registry ID: {image.account} Please check if your ECR "
                f"repository exists and role {self.request['RoleArn']} has proper pull permissions for SageMaker: "
                f"{', '.join(permissions.PULL)}"
            ) from None

    def _check_objects(self, uri: str) -> None:
        """Check that a channel's prefix has objects in the job's region.

        Raises:
            ApiError: it has none, or the role may not list its bucket.
        """
        source, region = S3Uri.parse(uri), self.context.store.region
        try:
            has_objects = objects.region_of(source.bucket) == region and objects.keys(source, self.caller)
        except AccessError:
            has_objects = False
        if not has_objects:
            raise invalid(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
                f"exists in the selected region ({region}), that objects exist under that S3 prefix, and that the role "
                f'"{self.request["RoleArn"]}" has "s3:ListBucket" permissions on bucket "{source.bucket}".'
            )

    def work(self) -> None:
        """Train, and start again from the checkpoints after each spot interruption.

        Raises:
            JobError: the job failed.
        """
        while True:
            begin = now()
            self.started = self.started or begin
            try:
                image = self.find_image(self.request["AlgorithmSpecification"]["TrainingImage"])
                self._run_attempt(self.create_hosts(self._num_hosts, image), self._command(image))
                break
            except _SpotInterruptionError:
                self._enter("Interrupted")
                self._enter("Starting")
            finally:
                self._run_seconds += now() - begin

    def _command(self, image: ContainerImage | None) -> list[str]:
        """Return the command of every host; SageMaker starts ``docker run IMAGE train``."""
        algorithm = self.request["AlgorithmSpecification"]
        if entrypoint := algorithm.get("ContainerEntrypoint"):
            return [*entrypoint, *algorithm.get("ContainerArguments", [])]
        if image is None:
            return toolkit.command(self.request["HyperParameters"])
        return [*image.entrypoint, *algorithm.get("ContainerArguments", ["train"])]

    def _run_attempt(self, hosts: Sequence[JobHost], command: Sequence[str]) -> None:
        """Download the channels, train and upload the results on these hosts.

        Raises:
            JobError: a host failed, or the role lacks a permission.
            _SpotInterruptionError: the hosts were taken away.
        """
        self._enter("Downloading")
        self._fill_folders(hosts)
        self._enter("Training")
        limits = self.request.get("StoppingCondition", {})
        runtime = limits.get("MaxRuntimeInSeconds", rules.DEFAULT_MAX_RUNTIME) - self._run_seconds
        wait = limits.get("MaxWaitTimeInSeconds", math.inf) - (now() - self.created)
        try:
            failed_host = self._train(hosts, command, min(runtime, wait))
        except TimeoutError:
            failed_host = None
            self._stopped_status = "MaxRuntimeExceeded" if runtime < wait else "MaxWaitTimeExceeded"
            self._enter("Stopping")
            self.stop.set()
        if failed_host:
            self._sync_checkpoints(hosts)
            raise JobError(_failure_reason(failed_host))
        self._enter("Uploading")
        self._upload_results(hosts)

    def _fill_folders(self, hosts: Sequence[JobHost]) -> None:
        """Write configuration, channels and earlier checkpoints into every host's ``/opt/ml``."""
        first, *others = hosts
        for channel in self._channels:
            folder = f"input/data/{channel['ChannelName']}"
            source = channel["DataSource"]["S3DataSource"]["S3Uri"]
            download_input(source, first.opt_ml.root / folder, self.caller)
            for host in others:
                _link_files(first.opt_ml.root / folder, host.opt_ml.root / folder)
        if self._uses_toolkit:
            toolkit.fetch_code(hosts, self.request["HyperParameters"], self.caller)
        names = [host.name for host in hosts]
        instance_type = self.request["ResourceConfig"]["InstanceType"]
        for host in hosts:
            for folder in ("model", "output/data", "input/config"):
                (host.opt_ml.root / folder).mkdir(parents=True, exist_ok=True)
            host.opt_ml.write_json("input/config/hyperparameters.json", self.request.get("HyperParameters", {}))
            resources = resource_config(host.name, names, instance_type)
            host.opt_ml.write_json("input/config/resourceconfig.json", resources)
            host.opt_ml.write_json("input/config/inputdataconfig.json", self._input_data_config())
            if self._checkpoint_config:
                checkpoints = host.opt_ml.path(self._checkpoint_path)
                checkpoints.mkdir(parents=True, exist_ok=True)
                earlier = S3Uri.parse(f"{self._checkpoint_config['S3Uri'].rstrip('/')}/")
                objects.download_prefix(earlier, checkpoints, self.caller)
                # Downloaded files count as uploaded. Otherwise a host could overwrite a newer checkpoint of another
                # host with the old copy that it has just downloaded.
                files = objects.files_below(checkpoints)
                self._uploaded_checkpoints |= {file: _version(file) for file in files}

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

    def _train(self, hosts: Sequence[JobHost], command: Sequence[str], seconds: float) -> JobHost | None:
        """Run the program on every host; returns and raises as ``wait_for_hosts`` does."""
        defaults = {
            # Without a container, names such as algo-1 cannot be resolved.
            **({} if containers.available() else {"MASTER_ADDR": "127.0.0.1"}),
            "MASTER_PORT": str(processes.free_port()),
            "OMP_NUM_THREADS": str(threads_per_host(len(hosts))),
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": self.arn,
        }
        try:
            for host in hosts:
                for name, value in self.request.get("HyperParameters", {}).items():
                    host.refuse_unreachable(f"hyperparameter {name}", f" {value}")
                names = [each.name for each in hosts]
                variables = defaults
                if self._uses_toolkit:
                    resources = resource_config(host.name, names, self.request["ResourceConfig"]["InstanceType"])
                    variables = defaults | toolkit.environment(self.request, host.name, resources)
                host.start(command, variables, self.request.get("Environment", {}), names, self._metrics.scan)
        except OSError as error:
            raise JobError(_CANNOT_START) from error
        return wait_for_hosts(hosts, seconds, self.stop, lambda: self._tick(hosts))

    def _tick(self, hosts: Sequence[JobHost]) -> None:
        """Do what is due while the hosts run: interrupt, put metrics, upload checkpoints."""
        if self.request.get("EnableManagedSpotTraining") and (lost := spot.take_interruption(self.folder)):
            # The job loses the named host first, and then all its other hosts.
            for host in sorted(hosts, key=lambda host: host.name != lost):
                host.vanish()
            # The files vanished with the disks. The job did not delete them, so they must stay in S3.
            self._uploaded_checkpoints.clear()
            raise _SpotInterruptionError
        clock = time.monotonic()
        if self.stop.is_set() and self._secondary_status == "Training":
            self._enter("Stopping")
        self._put_metrics()
        if clock - self._last_checkpoint_sync > _CHECKPOINT_SECONDS:
            self._last_checkpoint_sync = clock
            self._sync_checkpoints(hosts)

    def _put_metrics(self) -> None:
        dimensions = {"TrainingJobName": self.name}
        metrics.put_metrics(_METRIC_NAMESPACE, dimensions, self._metrics.take(), self.caller)

    def _sync_checkpoints(self, hosts: Sequence[JobHost]) -> None:
        """Upload every checkpoint file that is new or changed since the last call; delete those the job deleted."""
        if not self._checkpoint_config:
            return
        target = S3Uri.parse(self._checkpoint_config["S3Uri"])
        for host in hosts:
            folder = host.opt_ml.path(self._checkpoint_path)
            for file in objects.files_below(folder):
                try:
                    version = _version(file)
                    if self._uploaded_checkpoints.get(file) != version:
                        self._upload_file(file, target.child(file.relative_to(folder).as_posix()))
                        self._uploaded_checkpoints[file] = version
                except FileNotFoundError:
                    continue  # The job has renamed or deleted the file meanwhile.
            deleted = [
                file for file in self._uploaded_checkpoints if file.is_relative_to(folder) and not file.is_file()
            ]
            for file in deleted:
                del self._uploaded_checkpoints[file]
                with suppress(AccessError):  # AWS does not document what SageMaker does without this permission.
                    objects.delete(target.child(file.relative_to(folder).as_posix()), self.caller)

    def _upload_results(self, hosts: Sequence[JobHost]) -> None:
        """Upload the checkpoints of all hosts, and the archives of the first host's model and output."""
        self._sync_checkpoints(hosts)
        target = S3Uri.parse(self.request["OutputDataConfig"]["S3OutputPath"]).child(f"{self.name}/output")
        root = hosts[0].opt_ml.root
        if not self.stop.is_set() and not any(objects.files_below(root / "model")):
            self.tell_empty(hosts[0], "/opt/ml/model")
        for folder, archive in (("model", "model.tar.gz"), ("output/data", "output.tar.gz")):
            if archive == "model.tar.gz" or any(objects.files_below(root / folder)):
                file = self.folder / archive
                _pack(root / folder, file)
                self._upload_file(file, target.child(archive), self.request["OutputDataConfig"].get("KmsKeyId", ""))

    def _upload_file(self, file: Path, uri: S3Uri, key: str = "") -> None:
        """Upload one file, encrypted with a KMS key if one is given.

        Raises:
            JobError: the job's role may not write the object.
        """
        try:
            objects.upload(file, uri, self.caller, key)
        except AccessError as error:
            raise JobError(f"ClientError: Artifact upload failed:{error}") from None

    def finish(self, status: str, reason: str | None = None) -> None:
        """Set the final status and the last secondary status."""
        self._enter(self._stopped_status if status == "Stopped" else status)
        super().finish(status, reason)

    def extra_members(self) -> dict[str, Any]:
        """Return the members of the description that only training jobs have."""
        seconds = max(1, round(self._run_seconds)) if self._run_seconds else None
        artifacts = S3Uri.parse(self.request["OutputDataConfig"]["S3OutputPath"]).child(
            f"{self.name}/output/model.tar.gz"
        )
        return {
            "TuningJobArn": self.tuning_job_arn,
            "SecondaryStatus": self._secondary_status,
            "SecondaryStatusTransitions": [dict(each) for each in self._transitions],
            # SageMaker leaves it out while a job runs, although its API's model requires it.
            "ModelArtifacts": {"S3ModelArtifacts": str(artifacts)} if self.ended else None,
            "FinalMetricDataList": list(self._metrics.final.values()),
            "TrainingTimeInSeconds": seconds,
            "BillableTimeInSeconds": seconds,
            "EnableNetworkIsolation": self.request.get("EnableNetworkIsolation", False),
            "EnableInterContainerTrafficEncryption": self.request.get("EnableInterContainerTrafficEncryption", False),
            "EnableManagedSpotTraining": self.request.get("EnableManagedSpotTraining", False),
        }

    def metric_values(self, name: str) -> list[float]:
        """Return all values of a metric so far."""
        return list(self._metrics.values.get(name, ()))

    def _enter(self, status: str) -> None:
        """Enter a secondary status and record the transition."""
        moment = now()
        if self._transitions:
            self._transitions[-1].setdefault("EndTime", moment)
        message = _MESSAGES[status]
        self._transitions.append({"Status": status, "StartTime": moment, "StatusMessage": message})
        self._secondary_status, self.modified = status, moment

    @property
    def _has_program(self) -> bool:
        return toolkit.has_program(self.request.get("HyperParameters", {}))

    @property
    def _uses_toolkit(self) -> bool:
        """Whether the job is of an image of AWS and without an entry point, so that AWS's toolkit runs its program."""
        algorithm = self.request["AlgorithmSpecification"]
        is_own = self.context.images.is_own(algorithm["TrainingImage"])
        return not is_own and not algorithm.get("ContainerEntrypoint") and self._has_program

    @property
    def _channels(self) -> list[dict[str, Any]]:
        channels: list[dict[str, Any]] = self.request.get("InputDataConfig", [])
        return channels

    @property
    def _checkpoint_config(self) -> dict[str, str]:
        config: dict[str, str] = self.request.get("CheckpointConfig", {})
        return config

    @property
    def _checkpoint_path(self) -> str:
        return self._checkpoint_config.get("LocalPath", rules.CHECKPOINTS)


def _failure_reason(host: JobHost) -> str:
    code = host.exit_code or 0
    code = 128 - code if code < 0 else code  # A shell and a container report signal n as exit code 128 + n.
    return f"AlgorithmError: {host.opt_ml.read_text('output/failure')[:_MAX_FAILURE_TEXT]}, exit code: {code}"


def _version(file: Path) -> tuple[int, int]:
    """Return what changes when a file is written again: its modification time and its size."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _link_files(source: Path, target: Path) -> None:
    """Give another host the same files by hard links, so they use disk space once."""
    for file in objects.files_below(source):
        link = target / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, link)


def _pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
