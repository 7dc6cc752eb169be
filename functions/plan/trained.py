"""Finding what an earlier training job of the same key made."""

from typing import TYPE_CHECKING

from shared.contracts import TrainedModel
from shared.s3 import Location, parse_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

_MODEL = "/output/model.tar.gz"  # where SageMaker puts it, below output URI and job name
_NO_SUCH_JOB = {"ValidationException", "ResourceNotFound"}  # the first is what AWS says, the second what its model has


def find(s3: "S3Client", sagemaker: "SageMakerClient", output_uri: str, own: str) -> TrainedModel | None:
    """The newest model below ``output_uri`` whose job is known and completed: stopped jobs leave models, too.

    Args:
        own: what the names of the stack's own jobs begin with; it may not ask about others.
    """
    bucket, prefix = parse_uri(f"{output_uri}/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}{own}")
    models = [item for page in pages for item in page.get("Contents", []) if item["Key"].endswith(_MODEL)]
    for item in sorted(models, key=lambda item: item["LastModified"], reverse=True):
        job = item["Key"].removeprefix(prefix).removesuffix(_MODEL)
        model = TrainedModel(job=job, model_uri=Location(bucket, item["Key"]).uri)
        if _made(sagemaker, model):
            return model
    return None


def _made(sagemaker: "SageMakerClient", model: TrainedModel) -> bool:
    try:
        job = sagemaker.describe_training_job(TrainingJobName=model.job)
    except sagemaker.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in _NO_SUCH_JOB:
            return False
        raise
    completed: bool = job["TrainingJobStatus"] == "Completed"
    return completed and job["ModelArtifacts"]["S3ModelArtifacts"] == model.model_uri
