"""An attack on the function's role: with full access it succeeds, with the stack's own role it is refused."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import ClientError

from proofs import role_attack
from proofs.capstone import by_hand
from proofs.capstone.evidence import Check, Evidence
from proofs.capstone.kennel import Kennel
from proofs.role_attack import Attacker

SALARIES = "anna,95000"
_KEY = "salaries/2026.csv"
_SECONDS = 180
_REFUSED = "is not authorized to perform: "
# What the attacker tries, with the action that the least role must be refused for.
STEPS = {
    "find other roles": "iam:ListRoles",
    "read the salaries": "s3:GetObject",
    "make a bucket": "s3:CreateBucket",
    "read them by a job with another role": "sagemaker:CreateTrainingJob",
    "delete an endpoint": "sagemaker:DeleteEndpoint",
}


def collect(kennel: Kennel) -> Evidence:
    """Play the attack twice, against a bucket and an endpoint that are there for it alone."""
    stamp = f"{time.time_ns():x}"
    with _victims(kennel, stamp) as victims:
        runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
        after = _play(kennel, Attacker(kennel.client, kennel.role("ClassifyFunctionRole"), runtime), victims, "after")
        rights = role_attack.FULL_ACCESS
        principal = {"Service": ["lambda.amazonaws.com"]}
        with by_hand.own_role(kennel.client("iam"), f"{by_hand.NAME}-full-{stamp}", principal, rights) as full:
            before = _play(kennel, Attacker(kennel.client, full, runtime), victims, "before")
        gone = _is_gone(kennel, victims["endpoint"])
    return {"secret": SALARIES, "before": before, "after": after, "endpoint_gone": gone}


@contextmanager
def _victims(kennel: Kennel, stamp: str) -> Iterator[dict[str, str]]:
    """Make a bucket with a secret, an old role that may do everything, and an endpoint; delete them at the end."""
    s3, sagemaker = kennel.client("s3"), kennel.client("sagemaker")
    bucket, loot, name = f"{by_hand.NAME}-payroll-{stamp}", f"sagemaker-loot-{stamp}", f"{by_hand.NAME}-victim-{stamp}"
    config = sagemaker.describe_endpoint(EndpointName=kennel.deployed.endpoint_name)["EndpointConfigName"]
    old, principal = f"AmazonSageMaker-ExecutionRole-{stamp}", {"Service": ["sagemaker.amazonaws.com"]}
    with by_hand.own_role(kennel.client("iam"), old, principal, [role_attack.EVERYTHING]) as role:
        try:
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key=_KEY, Body=SALARIES.encode())
            sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
            kennel.wait(lambda: _endpoints(kennel).get(name) == "InService", "an endpoint to attack", _SECONDS)
            yield {"bucket": bucket, "loot": loot, "endpoint": name, "role": role}
        finally:
            with suppress(ClientError):  # The attacker has deleted it.
                sagemaker.delete_endpoint(EndpointName=name)
            for each in (bucket, loot, f"{loot}-after"):
                with suppress(ClientError):
                    for found in s3.list_objects_v2(Bucket=each).get("Contents", []):
                        s3.delete_object(Bucket=each, Key=found["Key"])
                    s3.delete_bucket(Bucket=each)


def _is_gone(kennel: Kennel, name: str) -> bool:
    """Wait for the end of an endpoint that is being deleted, and return whether it came."""
    kennel.wait(lambda: _endpoints(kennel).get(name) != "Deleting", "the end of the endpoint", _SECONDS)
    return name not in _endpoints(kennel)


def _endpoints(kennel: Kennel) -> dict[str, str]:
    found = kennel.client("sagemaker").list_endpoints(NameContains=by_hand.NAME)["Endpoints"]
    return {each["EndpointName"]: each["EndpointStatus"] for each in found}


def _play(kennel: Kennel, attacker: Attacker, victims: dict[str, str], when: str) -> dict[str, Any]:
    """Play all steps with the credentials of one function, and return what each answered."""
    loot = victims["loot"] if when == "before" else f"{victims['loot']}-after"
    job = f"{by_hand.NAME}-theft-{when}-{time.time_ns():x}"
    own = by_hand.job_of_champion(kennel)
    theft = {
        "job": job,
        "role": victims["role"],
        "image": own["AlgorithmSpecification"]["TrainingImage"],
        "entrypoint": role_attack.COPY,
        "secret_uri": f"s3://{victims['bucket']}/{_KEY.rpartition('/')[0]}/",
        "output_uri": f"s3://{loot}/out",
    }
    try:
        kennel.progress(f"the attack {when} the mend")
        answers = {
            "find other roles": attacker.run(role_attack.FIND_ROLES),
            "read the salaries": attacker.run(role_attack.READ_IT, bucket=victims["bucket"], key=_KEY),
            "make a bucket": attacker.run(role_attack.MAKE_BUCKET, bucket=loot, program=""),
            "read them by a job with another role": attacker.run(role_attack.START_JOB, **theft),
        }
        if "done" in answers["read them by a job with another role"]:
            answers["read them by a job with another role"] = _stolen(kennel, attacker, job, loot)
        answers["delete an endpoint"] = attacker.run(role_attack.DELETE, endpoint=victims["endpoint"])
    finally:
        attacker.leave()
    roles = answers["find other roles"].get("done")
    if roles:
        answers["find other roles"] = {"done": [name for name in roles if name == victims["role"].rpartition("/")[2]]}
    return {"role": attacker.role, "answers": answers}


def _stolen(kennel: Kennel, attacker: Attacker, job: str, loot: str) -> dict[str, Any]:
    sagemaker = kennel.client("sagemaker")

    def has_ended() -> bool:
        status = sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobStatus"]
        return status not in ("InProgress", "Stopping")

    kennel.wait(has_ended, "the attacker's job", _SECONDS)
    return attacker.run(role_attack.FETCH_MODEL, bucket=loot, key=f"out/{job}/output/model.tar.gz")


def judge(evidence: Evidence) -> list[Check]:
    """Compare the attack before the mend, which must work, with that after it, of which each step must be refused."""
    before, after = evidence["before"]["answers"], evidence["after"]["answers"]
    theft = "read them by a job with another role"
    checks = [
        Check(
            f"before: the salaries are read by a job with another role: {before[theft].get('done')}",
            before[theft].get("done") == evidence["secret"],
        ),
        Check(
            "before: the endpoint is gone",
            "done" in before["delete an endpoint"] and bool(evidence["endpoint_gone"]),
        ),
        Check("before: another role is found", bool(before["find other roles"].get("done"))),
    ]
    for step, action in STEPS.items():
        words = after[step].get("refused", "it worked")
        checks.append(Check(f"after: {step} is refused for want of {action}", f"{_REFUSED}{action}" in words))
    return checks


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    rows = []
    for step in STEPS:
        for when in ("before", "after"):
            answer = evidence[when]["answers"][step]
            words = answer.get("refused") or f"works: {json.dumps(answer.get('done'))}"
            rows.append((f"{step}, {when}", words))
    return rows
