"""The security step of docs/security-step.md: an attack on a function's role that works, and after the mend does not.

Whoever runs code in a function has its role. The code below is run there, with the credentials that the function has.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from proofs.role_attack import (
    ASK,
    DELETE,
    EVERYTHING,
    FETCH_MODEL,
    FIND_ROLES,
    FULL_ACCESS,
    MAKE_BUCKET,
    READ_IT,
    START_JOB,
    Attacker,
)
from tests.contract.test_permissions import Resolver, statements
from tests.integration.laptop import (
    ACCOUNT,
    IMAGE,
    REGION,
    ROOT,
    Cloud,
    endpoint_with,
    eventually,
    make_config,
)

BUCKET, SECRET, LOOT = "bucket", "salaries/2026.csv", "sagemaker-loot"
# The job reads the secret with the role that it is given, and its model is the secret.
PROGRAM = """
import os, shutil
root = os.environ["OPT_ML"]
shutil.copytree(f"{root}/input/data/secret", f"{root}/model", dirs_exist_ok=True)
"""


def assert_refused(attacker: Attacker, answer: dict[str, Any], action: str, on: str = "") -> None:
    """Compare a refusal with AWS's words. Services that are MiniStack's own leave out the resource.

    Args:
        attacker: who tried it.
        answer: what ``run`` returned.
        action: the action that no policy of the function's role allows.
        on: the resource's ARN, or an empty string for a service of MiniStack.
    """
    user = f"arn:aws:sts::{ACCOUNT}:assumed-role/{attacker.role}/{attacker.function}"
    resource = f" on resource: {on}" if on else ""
    why = f"because no identity-based policy allows the {action} action"
    assert f"User: {user} is not authorized to perform: {action}{resource} {why}" in answer["refused"]


@pytest.fixture(scope="module")
def account(cloud: Cloud) -> Iterator[Cloud]:
    """An account with a production endpoint, a secret in a bucket, and an old role with all rights."""
    s3, sagemaker = cloud.client("s3"), cloud.client("sagemaker")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=SECRET, Body=b"anna,95000")
    cloud.make_role("AmazonSageMaker-ExecutionRole-2023", EVERYTHING)
    sagemaker.create_endpoint(EndpointName="kennel", EndpointConfigName=make_config(cloud, "one", 1))
    endpoint_with(sagemaker, "kennel")
    yield cloud
    if sagemaker.list_endpoints(NameContains="kennel")["Endpoints"]:
        sagemaker.delete_endpoint(EndpointName="kennel")


def job_of(name: str) -> dict[str, str]:
    return {
        "job": name,
        "role": f"arn:aws:iam::{ACCOUNT}:role/AmazonSageMaker-ExecutionRole-2023",
        "image": IMAGE,
        "code_uri": f"s3://{LOOT}/code/",
        "secret_uri": f"s3://{BUCKET}/{SECRET.rpartition('/')[0]}/",
        "output_uri": f"s3://{LOOT}/out",
    }


def test_role_of_least_rights_refuses_the_attack_in_awss_words(account: Cloud) -> None:
    template = yaml_parse((ROOT / "template.yaml").read_text())
    assert Resolver(template).ref("Bucket") == BUCKET
    attacker = Attacker(
        account.client, account.make_role("classify-least", *statements(template, "ClassifyFunctionRole"))
    )
    job = job_of(f"theft-{uuid.uuid4().hex[:6]}")
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
    attempts = [
        (FIND_ROLES, {}, "iam:ListRoles", ""),
        (READ_IT, {"bucket": BUCKET, "key": SECRET}, "s3:GetObject", ""),
        (MAKE_BUCKET, {"bucket": f"{LOOT}-2", "program": PROGRAM}, "s3:CreateBucket", ""),
        (START_JOB, job, "sagemaker:CreateTrainingJob", f"{arn}:training-job/{job['job']}"),
        (DELETE, {"endpoint": "kennel"}, "sagemaker:DeleteEndpoint", f"{arn}:endpoint/kennel"),
    ]
    for code, event, action, on in attempts:
        assert_refused(attacker, attacker.run(code, **event), action, on)
    assert not [each for each in account.client("s3").list_buckets()["Buckets"] if each["Name"] == f"{LOOT}-2"]
    assert account.client("sagemaker").list_endpoints(NameContains="kennel")["Endpoints"]
    # It still does what it is for, and no more than this remains to the attacker.
    for key in ("uploads/dog.jpg", "dataset/dog.jpg"):
        account.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"a photo")
    assert attacker.run(READ_IT, bucket=BUCKET, key="uploads/dog.jpg") == {"done": "a photo"}
    assert_refused(attacker, attacker.run(READ_IT, bucket=BUCKET, key="dataset/dog.jpg"), "s3:GetObject")
    assert_refused(attacker, attacker.run(READ_IT, bucket="kennel", key="dog.jpg"), "s3:GetObject")
    assert attacker.run(ASK, endpoint="kennel") == {"done": 200}
    assert_refused(
        attacker, attacker.run(ASK, endpoint="another"), "sagemaker:InvokeEndpoint", f"{arn}:endpoint/another"
    )


def test_role_with_full_access_reads_a_secret_through_another_role_and_deletes_production(account: Cloud) -> None:
    attacker = Attacker(account.client, account.make_role("classify-full", *FULL_ACCESS))
    assert attacker.run(ASK, endpoint="kennel") == {"done": 200}
    # The policy itself does not allow to read that bucket …
    assert_refused(attacker, attacker.run(READ_IT, bucket=BUCKET, key=SECRET), "s3:GetObject")
    # … but it passes any role to a job, and an old one may read everything.
    assert "AmazonSageMaker-ExecutionRole-2023" in attacker.run(FIND_ROLES)["done"]
    assert attacker.run(MAKE_BUCKET, bucket=LOOT, program=PROGRAM) == {"done": None}
    job = job_of(f"theft-{uuid.uuid4().hex[:6]}")
    assert attacker.run(START_JOB, **job) == {"done": None}
    sagemaker = account.client("sagemaker")
    done = eventually(
        lambda: sagemaker.describe_training_job(TrainingJobName=job["job"]),
        lambda description: bool(description["TrainingJobStatus"] in ("Completed", "Failed")),
        seconds=60,
    )
    assert done["TrainingJobStatus"] == "Completed", done
    key = f"out/{job['job']}/output/model.tar.gz"
    assert attacker.run(FETCH_MODEL, bucket=LOOT, key=key) == {"done": "anna,95000"}
    assert attacker.run(DELETE, endpoint="kennel") == {"done": None}
    eventually(lambda: sagemaker.list_endpoints(NameContains="kennel")["Endpoints"], lambda found: not found)
