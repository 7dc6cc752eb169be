"""Processing jobs: inputs to local paths, one command per host, outputs at the end of the job."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloud.core.store import now
from cloud.core.uris import AccessError, S3Uri
from cloud.ecr.images import ImageError
from cloud.s3 import objects
from cloud.sagemaker import rules
from cloud.sagemaker.jobs.job import Host, Job, JobError, deliver, start_together, wait_together
from cloud.sagemaker.jobs.opt_ml import resource_config, threads_per_instance


class ProcessingJob(Job):
    """One processing job; the code is its image's."""

    KIND = "Processing"
    NOT_FOUND = "Could not find requested job with name: {name}"
    IN_USE = "Job name must be unique within an AWS account and region, and a job with this name already exists ({arn})"
    LOG_GROUP = "/aws/sagemaker/ProcessingJobs"

    def check(self) -> None:
        rules.processing_job(self.request, self.context.store.region)
        self.check_pull(self.request["AppSpecification"]["ImageUri"])
        self.check_volumes(self.request["ProcessingResources"]["ClusterConfig"])
        self._exit_message: str | None = None

    def work(self) -> None:
        cluster = self.request["ProcessingResources"]["ClusterConfig"]
        hosts = self.hosts(cluster["InstanceCount"])
        self._lay_out(hosts, cluster["InstanceType"])
        self.started = now()
        environment = {
            "PYTHONPATH": str(self._code()),
            "OMP_NUM_THREADS": str(threads_per_instance(len(hosts))),
            **self.request.get("Environment", {}),
        }
        start_together(hosts, self.request["AppSpecification"], environment)
        seconds = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", rules.DEFAULT_MAX_RUNTIME)
        try:
            failed = wait_together(hosts, seconds, self.stop)
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
        names = [host.name for host in hosts]
        for host in hosts:
            for each in self._inputs:
                folder = host.tree.path(each["S3Input"]["LocalPath"])
                deliver(each["S3Input"]["S3Uri"], folder, self.caller)
            for each in self._outputs:
                host.tree.path(each["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
            (host.tree.root / "output").mkdir(exist_ok=True)
            resources = resource_config(host.name, names, instance_type)
            host.tree.write_json("config/resourceconfig.json", resources)
            host.tree.write_json("config/processingjobconfig.json", {"ProcessingJobArn": self.arn, **self.request})

    def _code(self) -> Path:
        """The folder with the code of the job's image."""
        image = self.request["AppSpecification"]["ImageUri"]
        try:
            return self.context.images.workdir(image)
        except ImageError as error:
            raise JobError(f"ClientError: {error}") from None

    def _upload(self, hosts: Sequence[Host]) -> None:
        key = self.request.get("ProcessingOutputConfig", {}).get("KmsKeyId", "")
        for each in self._outputs:
            target = S3Uri.parse(each["S3Output"]["S3Uri"])
            for host in hosts:
                folder = host.tree.path(each["S3Output"]["LocalPath"])
                try:
                    objects.upload_tree(folder, target, self.caller, key)
                except AccessError as error:
                    raise JobError(f"ClientError: Data upload failed:{error}") from None

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
