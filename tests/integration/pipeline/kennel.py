"""A laptop cloud on which the stack is deployed and a first model serves, and what tests do with it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from local import laptop, stack
from proofs.drills.stage import Stage
from sketchbook import BREEDS

ROOT = Path(__file__).resolve().parents[3]
BREEDS_USED = {name: BREEDS[name] for name in ("Dalmatian", "Doberman", "Samoyed")}
COUNTS = {"train": 12, "valid": 6, "test": 6}
DEADLINE = 300  # seconds after which a test counts as hung; the machine may be busy


@dataclass
class Kennel:
    """A laptop cloud with the stack deployed and one model promoted by ``python -m local run``.

    photos: the folder that it was trained on, two of whose test photos lie under each other's name, so that no model
        names them all rightly. record: what the run wrote. said: what it printed.
    """

    home: Path
    port: int
    photos: Path
    record: dict[str, Any]
    said: str

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://localhost:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def local(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_local(self.home, *arguments)

    def outputs(self, stack: str = "kennel") -> dict[str, str]:
        found = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}

    def start(self, request: dict[str, Any], machine: str = "PipelineArn", stack: str = "kennel") -> str:
        arn = self.client("stepfunctions").start_execution(
            stateMachineArn=self.outputs(stack)[machine], input=json.dumps(request)
        )["executionArn"]
        return str(arn)

    def finish(self, arn: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE
        states = self.client("stepfunctions")
        while (ended := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline, "the execution did not end"
            time.sleep(0.2)
        return dict(ended)

    def upload(self, key: str, folder: Path) -> str:
        archive = shutil.make_archive(str(self.home / key), "zip", folder)
        self.client("s3").upload_file(archive, self.outputs()["BucketName"], f"datasets/{key}.zip")
        return f"datasets/{key}.zip"

    @property
    def dataset(self) -> str:
        """Where the first run put its photos."""
        found = self.client("s3").list_objects_v2(Bucket=self.outputs()["BucketName"], Prefix="datasets/")["Contents"]
        return str(min(found, key=lambda each: each["LastModified"])["Key"])

    def training_jobs(self) -> set[str]:
        found = self.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
        return {job["TrainingJobName"] for job in found}

    def stage(self) -> Stage:
        """For drills."""
        cloud = laptop.Laptop(self.port, json.loads((self.home / "cloud.json").read_text())["pid"])
        photo = next((self.photos / "test").rglob("*.jpg")).read_bytes()
        return Stage(cloud, self.home, stack.describe(cloud), photo)

    def champion(self) -> dict[str, Any]:
        value = self.client("ssm").get_parameter(Name="/kennel/champion")["Parameter"]["Value"]
        return {} if value == "none" else json.loads(value)

    def endpoints(self) -> list[str]:
        return [e["EndpointName"] for e in self.client("sagemaker").list_endpoints()["Endpoints"]]

    def is_locked(self) -> bool:
        ssm = self.client("ssm")
        try:
            ssm.get_parameter(Name="/kennel/lock")
        except ssm.exceptions.ParameterNotFound:
            return False
        return True


@dataclass
class Again:
    """The first run once more."""

    code: int
    said: str
    record: dict[str, Any]
    num_jobs: int


def swap(one: Path, other: Path) -> None:
    body = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(body)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_local(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        env={"KENNEL_TIME_SCALE": "20"} | os.environ | {"KENNEL_HOME": str(home)},  # an update bakes for a minute
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@contextmanager
def without(kennel: Kennel, role: str, action: str) -> Iterator[None]:
    """Take an action out of a role's statements as deployed, for a while."""
    iam, formation = kennel.client("iam"), kennel.client("cloudformation")
    found = formation.describe_stack_resource(StackName="kennel", LogicalResourceId=role)["StackResourceDetail"]
    (policy,) = iam.list_role_policies(RoleName=found["PhysicalResourceId"])["PolicyNames"]
    place = {"RoleName": found["PhysicalResourceId"], "PolicyName": policy}
    document = iam.get_role_policy(**place)["PolicyDocument"]
    poorer = json.loads(json.dumps(document))
    for statement in poorer["Statement"]:
        listed = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = ["sts:GetCallerIdentity" if each == action else each for each in listed]
    assert poorer != document
    iam.put_role_policy(**place, PolicyDocument=json.dumps(poorer))
    try:
        yield
    finally:
        iam.put_role_policy(**place, PolicyDocument=json.dumps(document))


def states_entered(kennel: Kennel, arn: str) -> set[str]:
    pages = kennel.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
    events = (event for page in pages for event in page["events"])
    return {event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event}


def policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def any_job(kennel: Kennel, status: str) -> bool:
    found = kennel.client("sagemaker").list_training_jobs(StatusEquals=status)["TrainingJobSummaries"]
    return len(found) > 0


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.1)
