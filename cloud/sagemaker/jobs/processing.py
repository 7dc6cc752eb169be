"""Processing jobs: S3 inputs to local paths, one command per host, outputs to S3 at the end."""

from collections.abc import Sequence
from typing import Any

from cloud.core.clock import now
from cloud.core.protocol import invalid
from cloud.core.uris import AccessError, S3Uri
from cloud.ecr.images import ContainerImage
from cloud.s3 import objects
from cloud.sagemaker import rules
from cloud.sagemaker.jobs.host import JobError, JobHost, wait_for_hosts
from cloud.sagemaker.jobs.job import Job, download_input
from cloud.sagemaker.opt_ml import resource_config, threads_per_host


class ProcessingJob(Job):
    """One processing job; it runs the code of its image."""

    KIND = "Processing"
    NOT_FOUND = "Could not find requested job with name: {name}"
    IN_USE = "Job name must be unique within an AWS account and region, and a job with this name already exists ({arn})"
    LOG_GROUP = "/aws/sagemaker/ProcessingJobs"

    def check(self) -> None:
        """Check the request beyond the service model.

        Raises:
            ApiError: the request is refused.
        """
        rules.processing_job(self.request, self.context.store.region)
        specification = self.request["AppSpecification"]
        uri = specification["ImageUri"]
        self.check_image_access(uri)
        if not self.context.images.is_own(uri) and not specification.get("ContainerEntrypoint"):
            raise invalid(
                "AppSpecification.ContainerEntrypoint is missing; the laptop cloud needs it for an image that its "
                f"CodeBuild did not build, because it cannot run that image's entry point ({uri})."
            )
        self.check_volume_key_access(self.request["ProcessingResources"]["ClusterConfig"])
        self._exit_message: str | None = None

    def work(self) -> None:
        """Download the inputs, run the command on every host and upload the outputs.

        Raises:
            JobError: the job failed.
        """
        cluster = self.request["ProcessingResources"]["ClusterConfig"]
        image = self.find_image(self.request["AppSpecification"]["ImageUri"])
        hosts = self.create_hosts(cluster["InstanceCount"], image)
        self._fill_folders(hosts, cluster["InstanceType"])
        self.started = now()
        self._start(hosts, image)
        seconds = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", rules.DEFAULT_MAX_RUNTIME)
        try:
            failed_host = wait_for_hosts(hosts, seconds, self.stop)
        except TimeoutError:
            raise JobError("ClientError: the job ran longer than MaxRuntimeInSeconds") from None
        finally:
            self._exit_message = hosts[0].opt_ml.read_text("output/message") or None
        if failed_host:
            self._exit_message = failed_host.opt_ml.read_text("output/message") or None
            raise JobError("AlgorithmError: See job logs for more information")
        if not self.stop.is_set():
            self._upload_outputs(hosts)

    def extra_members(self) -> dict[str, Any]:
        """Return the members of the description that only processing jobs have."""
        return {"ExitMessage": self._exit_message}

    def _fill_folders(self, hosts: Sequence[JobHost], instance_type: str) -> None:
        """Write inputs and configuration into every host's ``/opt/ml``, and create the folders of the outputs."""
        names = [host.name for host in hosts]
        for host in hosts:
            for each in self._inputs:
                folder = host.opt_ml.path(each["S3Input"]["LocalPath"])
                download_input(each["S3Input"]["S3Uri"], folder, self.caller)
            for each in self._outputs:
                host.opt_ml.path(each["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
            (host.opt_ml.root / "output").mkdir(exist_ok=True)
            resources = resource_config(host.name, names, instance_type)
            host.opt_ml.write_json("config/resourceconfig.json", resources)
            host.opt_ml.write_json("config/processingjobconfig.json", {"ProcessingJobArn": self.arn, **self.request})

    def _start(self, hosts: Sequence[JobHost], image: ContainerImage | None) -> None:
        """Start the command on every host.

        Raises:
            JobError: it cannot be started.
        """
        specification = self.request["AppSpecification"]
        arguments = specification.get("ContainerArguments", [])
        if entrypoint := specification.get("ContainerEntrypoint"):
            command = [*entrypoint, *arguments]
        else:
            command = [*image.entrypoint, *(arguments or image.cmd)] if image else []
        if not command:
            raise JobError("ClientError: the image has no ENTRYPOINT and no CMD; give ContainerEntrypoint")
        defaults = {"OMP_NUM_THREADS": str(threads_per_host(len(hosts)))}
        try:
            for host in hosts:
                host.start(command, defaults, self.request.get("Environment", {}), [each.name for each in hosts])
        except OSError as error:
            raise JobError(f"ClientError: cannot start {command[0]}: {error.strerror}") from error

    def _upload_outputs(self, hosts: Sequence[JobHost]) -> None:
        key = self.request.get("ProcessingOutputConfig", {}).get("KmsKeyId", "")
        for each in self._outputs:
            target, path = S3Uri.parse(each["S3Output"]["S3Uri"]), each["S3Output"]["LocalPath"]
            if not any(file for host in hosts for file in objects.files_below(host.opt_ml.path(path))):
                self.tell_empty(hosts[0], path)
            for host in hosts:
                folder = host.opt_ml.path(path)
                try:
                    objects.upload_tree(folder, target, self.caller, key)
                except AccessError as error:
                    raise JobError(f"ClientError: Data upload failed:{error}") from None

    @property
    def _inputs(self) -> list[dict[str, Any]]:
        inputs: list[dict[str, Any]] = self.request.get("ProcessingInputs", [])
        return inputs

    @property
    def _outputs(self) -> list[dict[str, Any]]:
        outputs: list[dict[str, Any]] = self.request.get("ProcessingOutputConfig", {}).get("Outputs", [])
        return outputs
