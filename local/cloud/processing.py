"""Processing jobs: inputs to local paths, one command per host, outputs at the end of the job."""

import time
from collections.abc import Sequence
from typing import Any

from local.cloud import ministack, storage
from local.cloud.api import invalid
from local.cloud.jobs import (
    DEFAULT_MAX_RUNTIME,
    Host,
    Job,
    JobError,
    check_s3_input,
    deliver,
    run_together,
    start_together,
)
from local.cloud.optml import resource_config, threads_per_instance
from local.cloud.s3uri import S3Uri, StorageError
from local.cloud.store import now

_FLUSH_SECONDS = 0.25
_LOCAL_ROOT = "/opt/ml/processing"


class ProcessingJob(Job):
    """One processing job; the project's root is on its Python path, as code is in an image."""

    KIND = "Processing"
    NOT_FOUND = "Could not find requested job with name: {name}"
    IN_USE = "Job name must be unique within an AWS account and region, and a job with this name already exists ({arn})"
    LOG_GROUP = "/aws/sagemaker/ProcessingJobs"

    def check(self) -> None:
        if not self.request["AppSpecification"].get("ContainerEntrypoint"):
            raise invalid(
                "AppSpecification.ContainerEntrypoint is missing; the laptop cloud starts that command "
                "and has no image whose own entry point it could run."
            )
        for each in self._inputs:
            where = f"Input {each['InputName']}"
            if "S3Input" not in each:
                raise invalid(f"{where}: the laptop cloud delivers S3Input only.")
            check_s3_input(each["S3Input"], where, "S3DataDistributionType")
            _check_local_path(each["S3Input"].get("LocalPath", ""), where)
        for each in self._outputs:
            where = f"Output {each['OutputName']}"
            if each.get("S3Output", {}).get("S3UploadMode") != "EndOfJob":
                raise invalid(f"{where}: the laptop cloud has S3Output with S3UploadMode EndOfJob only.")
            _check_local_path(each["S3Output"].get("LocalPath", ""), where)
            try:
                S3Uri.parse(each["S3Output"]["S3Uri"])
            except StorageError as error:
                raise invalid(f"{where}: {error}") from None
        self._exit_message: str | None = None
        self._flushed = 0.0

    def work(self) -> None:
        cluster = self.request["ProcessingResources"]["ClusterConfig"]
        hosts = self.hosts(cluster["InstanceCount"])
        self._lay_out(hosts, cluster["InstanceType"])
        self.started = now()
        environment = {
            "PYTHONPATH": str(self.context.code_root),
            "OMP_NUM_THREADS": str(threads_per_instance(len(hosts))),
            **self.request.get("Environment", {}),
        }
        start_together(hosts, self.request["AppSpecification"], environment)
        seconds = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME)
        try:
            failed = run_together(hosts, seconds, self.stop, lambda: self._tick(hosts))
        except TimeoutError:
            raise JobError("ClientError: the job ran longer than MaxRuntimeInSeconds") from None
        finally:
            self._exit_message = hosts[0].tree.read_text("output/message") or None
        if failed:
            self._exit_message = failed.tree.read_text("output/message") or None
            raise JobError("AlgorithmError: See job logs for more information")
        if not self.stop.is_set():
            self._upload(hosts)

    def _lay_out(self, hosts: Sequence[Host], instance_type: str) -> None:
        region, _ = ministack.scope()
        names = [host.name for host in hosts]
        for host in hosts:
            for each in self._inputs:
                deliver(each["S3Input"]["S3Uri"], host.tree.path(each["S3Input"]["LocalPath"]), region)
            for each in self._outputs:
                host.tree.path(each["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
            (host.tree.root / "output").mkdir(exist_ok=True)
            resources = resource_config(host.name, names, instance_type)
            host.tree.write_json("config/resourceconfig.json", resources)
            host.tree.write_json("config/processingjobconfig.json", {"ProcessingJobArn": self.arn, **self.request})

    def _tick(self, hosts: Sequence[Host]) -> None:
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flushed = time.monotonic()
            for host in hosts:
                host.flush()

    def _upload(self, hosts: Sequence[Host]) -> None:
        for each in self._outputs:
            target = S3Uri.parse(each["S3Output"]["S3Uri"])
            for host in hosts:
                storage.upload_tree(host.tree.path(each["S3Output"]["LocalPath"]), target)

    def describe(self) -> dict[str, Any]:
        return {"ExitMessage": self._exit_message}

    @property
    def _inputs(self) -> list[dict[str, Any]]:
        inputs: list[dict[str, Any]] = self.request.get("ProcessingInputs", [])
        return inputs

    @property
    def _outputs(self) -> list[dict[str, Any]]:
        outputs: list[dict[str, Any]] = self.request.get("ProcessingOutputConfig", {}).get("Outputs", [])
        return outputs


def _check_local_path(path: str, where: str) -> None:
    if not f"{path}/".startswith(f"{_LOCAL_ROOT}/"):
        raise invalid(f"{where}: LocalPath must be below {_LOCAL_ROOT}, not '{path}'.")
