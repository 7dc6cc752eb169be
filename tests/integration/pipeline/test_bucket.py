"""The deployed bucket on the laptop: a principal with every right on it is refused where the stack itself writes."""

import io
import json
import uuid
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.integration.pipeline.kennel import Kennel

PREFIXES = ("code", "images", "weights", "training", "checkpoints", "runs", "measurements")


@pytest.fixture(scope="module")
def foreign(bare: Kennel) -> Any:
    """Return an S3 client of a user who has every right on the bucket and on all keys."""
    iam, bucket = bare.client("iam"), f"arn:aws:s3:::{bare.outputs()['BucketName']}"
    iam.create_user(UserName="uploader")
    rights = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": [bucket, f"{bucket}/*"]},
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": rights})
    iam.put_user_policy(UserName="uploader", PolicyName="all", PolicyDocument=document)
    key = iam.create_access_key(UserName="uploader")["AccessKey"]
    return boto3.client(
        "s3",
        endpoint_url=f"http://localhost:{bare.port}",
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )


def denied(call: Any, **arguments: Any) -> bool:
    try:
        answer = call(**arguments)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "AccessDenied")
    return bool(answer.get("Errors"))  # of DeleteObjects


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_foreign_principal_with_all_rights_is_refused_at_each_prefix(bare: Kennel, foreign: Any, prefix: str) -> None:
    bucket, key, root = bare.outputs()["BucketName"], f"{prefix}/x/made-by-the-stack", bare.client("s3")
    version = root.put_object(Bucket=bucket, Key=key, Body=b"made")["VersionId"]
    foreign.put_object(Bucket=bucket, Key="dataset/mine.jpg", Body=b"mine")
    there = {"Bucket": bucket, "Key": key}
    assert foreign.get_object(**there)["Body"].read() == b"made"
    assert denied(foreign.put_object, **there, Body=b"foreign")
    assert denied(foreign.put_object, Bucket=bucket, Key=f"{prefix}/one-file-more", Body=b"foreign")
    assert denied(foreign.copy_object, **there, CopySource=f"{bucket}/dataset/mine.jpg")
    assert denied(foreign.create_multipart_upload, **there)
    assert denied(foreign.delete_object, **there)
    assert denied(foreign.delete_object, **there, VersionId=version)
    for item in ({"Key": key}, {"Key": key, "VersionId": version}):
        assert denied(foreign.delete_objects, Bucket=bucket, Delete={"Objects": [item]})
    with pytest.raises(Exception, match="AccessDenied"):
        foreign.upload_fileobj(io.BytesIO(b"0" * (9 << 20)), bucket, key)  # in parts
    assert root.get_object(**there)["Body"].read() == b"made"
    assert [each["VersionId"] for each in root.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]] == [version]


def test_what_people_bring_is_theirs_and_keeps_its_versions(bare: Kennel, foreign: Any) -> None:
    bucket = bare.outputs()["BucketName"]
    for key in ("dataset/train/001.Beagle/1.jpg", "TrainedModels/model.pth", "uploads/rex.jpg"):
        first = foreign.put_object(Bucket=bucket, Key=key, Body=b"1")["VersionId"]
        foreign.put_object(Bucket=bucket, Key=key, Body=b"2")
        foreign.delete_object(Bucket=bucket, Key=key)
        assert foreign.get_object(Bucket=bucket, Key=key, VersionId=first)["Body"].read() == b"1"


def plan(bare: Kennel, request: dict[str, Any]) -> Any:
    """Call Plan as the pipeline does, and return its run; the lock is released again."""
    name = uuid.uuid4().hex
    arn = bare.outputs()["PipelineArn"].replace(":stateMachine:", ":execution:") + f":{name}"
    event = json.dumps({"request": request, "execution": {"arn": arn, "name": name}})
    try:
        answer = bare.client("lambda").invoke(FunctionName="kennel-plan", Payload=event)
        document = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, document
        return document
    finally:
        bare.client("ssm").delete_parameter(Name="/kennel/lock")


def test_plan_takes_no_foreign_context_for_its_own(bare: Kennel) -> None:
    """What lies below the name of the images' context is compared and overwritten; the build reads Plan's version."""
    bucket, s3 = bare.outputs()["BucketName"], bare.client("s3")
    dataset = bare.upload("context", bare.photos)
    run = plan(bare, {"dataset": dataset, "reuse": False})
    _, _, key = run["images"]["context"].partition("/")
    own = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=b"foreign")
    again = plan(bare, {"dataset": dataset, "reuse": False})
    version = again["images"]["context_version"]
    assert version != run["images"]["context_version"]
    assert s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read() == own
