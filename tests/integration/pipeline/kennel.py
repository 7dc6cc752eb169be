"""A laptop cloud on which the stack is deployed and a first model serves, and the actions of the tests on it."""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from local import laptop, stack
from proofs.drills.drill_cloud import DrillCloud
from sketchbook import BREEDS

ROOT = Path(__file__).resolve().parents[3]
BREEDS_USED = {name: BREEDS[name] for name in ("Dalmatian", "Doberman", "Samoyed")}
COUNTS = {"train": 12, "valid": 6, "test": 6}
DEPLOYED = "tests.integration.pipeline.deployed"  # python -m local, but it neither builds nor deploys
DEADLINE = 900  # seconds after which a test counts as hung, on a machine that may be several times slower


@dataclass
class Kennel:
    """A laptop cloud with the stack deployed.

    Attributes:
        home: the folder of the runner and of the cloud.
        port: the cloud listens here.
        photos: the folder of photos. Two of its test photos are exchanged between two breeds, so that no model names
            all of them correctly.
        record: the record of the first run; empty on a cloud without runs.
        output: what the first command printed.
    """

    home: Path
    port: int
    photos: Path
    record: dict[str, Any]
    output: str

    def client(self, service: str) -> Any:
        """Return a boto3 client of the cloud's root."""
        key = self.laptop.root_key
        return boto3.client(
            service,
            endpoint_url=f"http://localhost:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
        )

    @property
    def laptop(self) -> laptop.Laptop:
        """This cloud as the runner finds it."""
        pid = json.loads((self.home / "cloud.json").read_text())["pid"]
        return laptop.Laptop(self.port, pid, files=self.home / "cloud")

    def local(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run ``python -m local`` with these arguments."""
        return run_local(self.home, *arguments)

    def outputs(self, stack: str = "kennel") -> dict[str, str]:
        """Return the outputs of a deployed stack."""
        description = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in description["Outputs"]}

    def start(
        self, request: dict[str, Any], machine: str = "PipelineArn", stack: str = "kennel", name: str | None = None
    ) -> str:
        """Start an execution and return its ARN.

        Args:
            request: the execution's input.
            machine: the output of the stack that contains the state machine's ARN.
            stack: the stack's name.
            name: the execution's name; None lets it be chosen.
        """
        arn = self.client("stepfunctions").start_execution(
            stateMachineArn=self.outputs(stack)[machine], input=json.dumps(request), name=name or str(uuid.uuid4())
        )["executionArn"]
        return str(arn)

    def finish(self, arn: str) -> dict[str, Any]:
        """Wait for the end of an execution and return its description."""
        deadline = time.monotonic() + DEADLINE
        states = self.client("stepfunctions")
        while (execution := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline, "the execution did not end"
            time.sleep(0.2)
        return dict(execution)

    def upload(self, key: str, folder: Path) -> str:
        """Upload a folder of photos as one archive and return its key."""
        archive = shutil.make_archive(str(self.home / key), "zip", folder)
        self.client("s3").upload_file(archive, self.outputs()["BucketName"], f"datasets/{key}.zip")
        return f"datasets/{key}.zip"

    @property
    def dataset(self) -> str:
        """The key of the dataset that the first run uploaded."""
        datasets = self.client("s3").list_objects_v2(Bucket=self.outputs()["BucketName"], Prefix="datasets/")
        return str(min(datasets["Contents"], key=lambda each: each["LastModified"])["Key"])

    def training_jobs(self) -> set[str]:
        """Return the names of all training jobs."""
        jobs = self.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
        return {job["TrainingJobName"] for job in jobs}

    def drill_cloud(self) -> DrillCloud:
        """Return this cloud as the drills see it."""
        photo = next((self.photos / "test").rglob("*.jpg")).read_bytes()
        return DrillCloud(self.laptop, self.home, stack.describe(self.laptop), photo)

    def champion(self) -> dict[str, Any]:
        """Return the pointer to the model that serves; empty if there is none."""
        value = self.client("ssm").get_parameter(Name="/kennel/champion")["Parameter"]["Value"]
        return {} if value == "none" else json.loads(value)

    def endpoints(self) -> list[str]:
        """Return the names of all endpoints."""
        return [e["EndpointName"] for e in self.client("sagemaker").list_endpoints()["Endpoints"]]

    def is_locked(self) -> bool:
        """Whether a run or a teardown holds the stack's lock."""
        ssm = self.client("ssm")
        try:
            ssm.get_parameter(Name="/kennel/lock")
        except ssm.exceptions.ParameterNotFound:
            return False
        return True


@dataclass
class Rerun:
    """The result of a second ``python -m local run`` with the same photos.

    Attributes:
        code: its exit code.
        output: what it printed.
        record: the record that it wrote.
        num_jobs: how many training jobs it started.
    """

    code: int
    output: str
    record: dict[str, Any]
    num_jobs: int


def exchange(one: Path, other: Path) -> None:
    """Give each of two files the content of the other."""
    body = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(body)


def environment(home: Path) -> dict[str, str]:
    """Return the environment of the runner.

    The cloud's clock runs fast, because an update bakes for a minute. The quota is what docs/aws.md asks for with 3
    instances, the most that the tests scale to on this type.
    """
    settings = {"KENNEL_TIME_SCALE": "20", "KENNEL_STOPS": "1", "KENNEL_QUOTAS": "ml.c7i.large for endpoint usage=7"}
    return settings | os.environ | {"KENNEL_HOME": str(home)}


def run_local(home: Path, *arguments: str, program: str = "local") -> "subprocess.CompletedProcess[str]":
    """Run ``python -m local``, or another program with the same commands, and return its exit code and output."""
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def deploy(kennel: Kennel, *parameters: str) -> dict[str, str]:
    """Update the stack with more parameters, such as ``SignIn=cognito``, and return its outputs."""
    template = str(kennel.home / "build/template.yaml")
    command = [sys.executable, "-P", "-m", "samcli", "deploy", "--template-file", template]
    command += [*stack._OPTIONS, *parameters]  # The last option takes the parameters.
    environment = os.environ | kennel.laptop.environment() | {"SAM_CLI_TELEMETRY": "0"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return kennel.outputs()


@contextmanager
def revoked(kennel: Kennel, role: str, action: str) -> Iterator[None]:
    """Take an action out of the statements of a deployed role, and put it back at the end."""
    iam, formation = kennel.client("iam"), kennel.client("cloudformation")
    resource = formation.describe_stack_resource(StackName="kennel", LogicalResourceId=role)["StackResourceDetail"]
    (name,) = iam.list_role_policies(RoleName=resource["PhysicalResourceId"])["PolicyNames"]
    policy = {"RoleName": resource["PhysicalResourceId"], "PolicyName": name}
    document = iam.get_role_policy(**policy)["PolicyDocument"]
    reduced = json.loads(json.dumps(document))
    for statement in reduced["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = ["sts:GetCallerIdentity" if each == action else each for each in actions]
    assert reduced != document
    iam.put_role_policy(**policy, PolicyDocument=json.dumps(reduced))
    try:
        yield
    finally:
        iam.put_role_policy(**policy, PolicyDocument=json.dumps(document))


def states_entered(kennel: Kennel, arn: str) -> set[str]:
    """Return the names of the states that an execution has entered."""
    pages = kennel.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
    events = (event for page in pages for event in page["events"])
    return {event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event}


def policy_document(statement: dict[str, Any]) -> str:
    """Return a policy of one statement as JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def has_job(kennel: Kennel, status: str) -> bool:
    """Whether a training job has this status."""
    jobs = kennel.client("sagemaker").list_training_jobs(StatusEquals=status)["TrainingJobSummaries"]
    return len(jobs) > 0


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.1)
