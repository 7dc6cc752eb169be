"""Earlier training jobs: find the model of one with the same key, and stop the one of an abandoned run."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from plan.ec2 import SUFFIX
from shared.contracts import TrainedModel
from shared.s3 import Location, parse_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

_MODEL = "/output/model.tar.gz"  # SageMaker writes the model here, below the output URI and the job's name.
# AWS answers ValidationException; its API model documents ResourceNotFound.
_NO_SUCH_JOB = {"ValidationException", "ResourceNotFound"}


def find(s3: "S3Client", sagemaker: "SageMakerClient", output_uri: str, job_prefix: str) -> TrainedModel | None:
    """Return the newest model below ``output_uri`` whose job completed, or None.

    The job must be checked, because stopped jobs leave models too.
    See "A training is known by its model's location and SageMaker's answer" in docs/decisions/training.md. A job on EC2
    uploads its model as its last step, so the model alone says that it completed.

    Args:
        job_prefix: beginning of the names of the stack's own jobs. The function may not describe other jobs.
    """
    bucket, prefix = parse_uri(f"{output_uri}/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}{job_prefix}")
    models = [item for page in pages for item in page.get("Contents", []) if item["Key"].endswith(_MODEL)]
    for item in sorted(models, key=lambda item: item["LastModified"], reverse=True):
        job = item["Key"].removeprefix(prefix).removesuffix(_MODEL)
        model = TrainedModel(job=job, model_uri=Location(bucket, item["Key"]).uri, etag=item["ETag"])
        if job.endswith(SUFFIX) or _is_completed(sagemaker, model, item["LastModified"]):
            return model
    return None


def stop(sagemaker: "SageMakerClient", job: str) -> None:
    """Stop a training job, unless it has ended or never existed."""
    with _unless_ended(sagemaker):
        sagemaker.stop_training_job(TrainingJobName=job)


def stop_search(sagemaker: "SageMakerClient", job: str) -> None:
    """Stop a tuning job and with it its training jobs, unless it has ended or never existed."""
    with _unless_ended(sagemaker):
        sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=job)


def stop_on_ec2(batch: Any, queues: Iterable[str], job: str) -> None:
    """Stop a training job on EC2, whether it waits for a machine or trains.

    Args:
        batch: a boto3 client of AWS Batch.
        queues: ARNs of the queues that it may be in.
        job: the job's name, which may be of no job.
    """
    rule = {"name": "JOB_NAME", "values": [job]}
    for queue in queues:
        for page in batch.get_paginator("list_jobs").paginate(jobQueue=queue, filters=[rule]):
            for each in page["jobSummaryList"]:
                if each.get("status") not in ("SUCCEEDED", "FAILED"):
                    batch.terminate_job(jobId=each["jobId"], reason="the run of Kennel was abandoned")


@contextmanager
def _unless_ended(sagemaker: "SageMakerClient") -> Iterator[None]:
    try:
        yield
    except sagemaker.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in _NO_SUCH_JOB:
            raise


def _is_completed(sagemaker: "SageMakerClient", model: TrainedModel, modified: datetime) -> bool:
    """Whether a training job has written this very model.

    Its end is "the time after model artifacts are uploaded"
    (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html), so what was put into the
    bucket later is not the job's. S3 counts in whole seconds.
    """
    try:
        job = sagemaker.describe_training_job(TrainingJobName=model.job)
    except sagemaker.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in _NO_SUCH_JOB:
            return False
        raise
    if job["TrainingJobStatus"] != "Completed" or job["ModelArtifacts"]["S3ModelArtifacts"] != model.model_uri:
        return False
    return modified.replace(microsecond=0) <= job["TrainingEndTime"]
