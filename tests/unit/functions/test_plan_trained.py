"""Which model of an earlier training job is reused."""

from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from plan import trained
from shared.contracts import TrainedModel


def client(service):
    return boto3.client(service, region_name="us-east-1")


def uri_of(job):
    return f"s3://b/training/k/{job}/output/model.tar.gz"


def find_model(jobs, *, objects=()):
    """Call ``trained.find`` in a bucket with the models of these jobs, the newest last.

    Args:
        jobs: SageMaker's answer for each name of a job: a status, the URI of another model, or an error code.
        objects: further keys in the bucket.
    """
    s3, sagemaker = client("s3"), client("sagemaker")
    keys = [*objects, *(uri_of(job).removeprefix("s3://b/") for job in jobs)]
    listed = [
        {"Key": key, "LastModified": datetime(2026, 11, day, tzinfo=UTC), "ETag": f'"{day}"'}
        for day, key in enumerate(keys, 1)
    ]
    with Stubber(s3) as stub, Stubber(sagemaker) as stub_sagemaker:
        stub.add_response("list_objects_v2", {"Contents": listed}, {"Bucket": "b", "Prefix": "training/k/dogs-"})
        for job, answer in reversed(jobs.items()):
            if answer.endswith(("Exception", "NotFound")):
                stub_sagemaker.add_client_error("describe_training_job", answer)
            else:
                stub_sagemaker.add_response("describe_training_job", described(job, answer), {"TrainingJobName": job})
        return trained.find(s3, sagemaker, "s3://b/training/k", "dogs-")


def described(job, answer):
    return {
        "TrainingJobName": job,
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:111122223333:training-job/{job}",
        "ModelArtifacts": {"S3ModelArtifacts": answer if answer.startswith("s3:") else uri_of(job)},
        "TrainingJobStatus": "Completed" if answer.startswith("s3:") else answer,
        "SecondaryStatus": "Completed",
        "StoppingCondition": {},
        "CreationTime": datetime(2026, 11, 1, tzinfo=UTC),
        "TrainingEndTime": datetime(2026, 11, int(job.split("-")[1]), tzinfo=UTC),
    }


def test_newest_model_of_a_completed_job_is_found():
    model = find_model({"dogs-1-0": "Completed", "dogs-2-0": "Completed"})
    assert model == TrainedModel(job="dogs-2-0", model_uri=uri_of("dogs-2-0"), etag='"2"')


def test_model_that_was_put_there_after_its_job_had_ended_is_not_reused():
    """A model file is the job's only if S3 has had it since before the job's end, which SageMaker knows."""
    assert find_model({"dogs-1-0": "Completed", "dogs-1-1": "Completed"}).job == "dogs-1-0"


@pytest.mark.parametrize("answer", ["Stopped", "InProgress", "ValidationException", "ResourceNotFound", "s3://b/other"])
def test_model_of_a_job_that_did_not_complete_or_is_unknown_is_skipped(answer):
    assert find_model({"dogs-1-0": "Completed", "dogs-2-0": answer}).job == "dogs-1-0"
    assert find_model({"dogs-2-0": answer}) is None


def test_other_files_of_jobs_are_no_models():
    assert find_model({}, objects=["training/k/dogs-1-0/output/output.tar.gz"]) is None


def test_denied_description_of_a_job_fails_instead_of_training_again():
    with pytest.raises(ClientError, match="AccessDeniedException"):
        find_model({"dogs-1-0": "Completed", "dogs-2-0": "AccessDeniedException"})
