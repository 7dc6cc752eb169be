"""Start the laptop cloud as a real process for the tests, with a small model server in an image of its own."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.validate import ParamValidator

from cloud.core import processes, root_key
from cloud.core.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/job"  # This role may do everything.
TRUSTED = ("codebuild", "ec2", "ecs-tasks", "events", "lambda", "sagemaker", "states")
REGION = "us-east-1"
REPOSITORY = f"000000000000.dkr.ecr.{REGION}.amazonaws.com/model-server"
IMAGE = f"{REPOSITORY}:serve-1"
T = TypeVar("T")

# It answers requests as ``python -m serving serve`` does. Its answer is the version in model.tar.gz, not a prediction.
# As a training image, it runs the program of the channel ``code``.
MODEL_SERVER = """
import os, signal, sys

if sys.argv[1] == "train":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Nothing else would end process 1 of a container early.
    import runpy

    runpy.run_path(os.environ["OPT_ML"] + "/input/data/code/launch.py", run_name="__main__")
    sys.exit()

import argparse, json, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("command")
parser.add_argument("--host")
parser.add_argument("--port", type=int)
parser.add_argument("--model-dir", type=Path, default=Path("/opt/ml/model"))
parser.add_argument("--user")
options = parser.parse_args()
version = (options.model_dir / "version.txt").read_text()
if version in ("late", "broken"):
    time.sleep(1)  # Tests need time to see the endpoint while it is created or updated.
if version == "broken":
    sys.exit("the model is broken")
free_slots = threading.Semaphore(100)  # 100 minus its value is the number of requests in progress.


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if attributes := self.headers.get("X-Amzn-SageMaker-Custom-Attributes"):
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", attributes)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(200, {})

    def do_POST(self):
        with free_slots:
            self.predict()

    def predict(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(9)
        if body == b"slow":
            print("a slow request", flush=True)
            time.sleep(1)
        if version == "failing":
            self.answer(500, {"error": {"code": "Broken", "message": "out of order"}})
        elif body == b"bad":
            self.answer(400, {"error": {"code": "UnreadableImage", "message": "not a photo"}})
        else:
            self.answer(200, {"version": version, "pid": os.getpid(), "bytes": len(body),
                              "at_once": 100 - free_slots._value, "type": self.headers["Content-Type"],
                              "greeting": os.environ.get("GREETING")})

    def log_message(self, *args):
        pass


print("model server", version, "is up", flush=True)
ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
"""


@dataclass
class Cloud:
    """A running laptop cloud."""

    port: int
    home: Path
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        """The root's access key, as arguments of a boto3 client."""
        key = root_key.read(self.home)
        return {"aws_access_key_id": key.id, "aws_secret_access_key": key.secret}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead the AWS CLI, boto3 and SAM to the cloud, as its root."""
        keys = {name.upper(): value for name, value in self.credentials.items()}
        return {"AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": REGION, **keys}

    def client(self, service: str, region: str = REGION, role: str | None = None) -> Any:
        """Return a boto3 client of root or of a role; each answer is checked against botocore's model of the output."""
        credentials = self.credentials
        if role:
            session = self.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
            credentials = {
                "aws_access_key_id": session["AccessKeyId"],
                "aws_secret_access_key": session["SecretAccessKey"],
                "aws_session_token": session["SessionToken"],
            }
        client: Any = boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.url,
            region_name=region,
            **credentials,
            config=Config(retries={"max_attempts": 0}, max_pool_connections=20),
        )
        client.meta.events.register("after-call.*", _check_output)
        return client

    def make_role(self, name: str, *statements: dict[str, Any]) -> str:
        """Create a role that AWS's services and the account may assume, with these statements, and return its ARN."""
        iam = self.client("iam")
        principal = {"Service": [f"{service}.amazonaws.com" for service in TRUSTED], "AWS": ACCOUNT}
        trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=_policy(*statements))
        return str(arn)

    def pids(self, tree: str) -> list[int]:
        """Return the ids of all live processes of a tree, for example ``training-jobs/<name>/algo-2``."""
        found = []
        for pid in processes.marked(f"cloud-{self.process.pid}-"):
            listed = subprocess.run(["ps", "eww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
            if f"/{tree}/" in listed.stdout.partition(f"{processes.MARK}=")[2].split(" ")[0]:
                found.append(pid)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=15)


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _check_output(http_response: Any, parsed: dict[str, Any], model: Any, **kwargs: Any) -> None:
    if (
        http_response.status_code < 300
        and model.output_shape
        and model.service_model.service_name
        in (
            "sagemaker",
            "application-autoscaling",
        )
    ):
        answer = {key: value for key, value in parsed.items() if key != "ResponseMetadata"}
        if answer.get("TrainingJobStatus") in ("InProgress", "Stopping"):
            answer.setdefault("ModelArtifacts", {"S3ModelArtifacts": ""})  # SageMaker leaves this required member out.
        report = ParamValidator().validate(answer, model.output_shape).generate_report()
        assert not report, f"{model.name}: {report}"


def start_cloud(home: Path, **environment: str) -> Cloud:
    """Start a laptop cloud on a free port and wait until it reports that it is ready.

    Args:
        home: Folder for the cloud's files.
        environment: Settings of the cloud, as environment variables.
    """
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cloud", "--port", str(port)),
            *("--home", str(home)),
        ],
        cwd=ROOT,
        # checkov:skip=CKV_SECRET_6: this is not a secret; tests check that no process receives this text
        env={**os.environ, "AWS_SECRET_ACCESS_KEY": "must-not-leak", "AWS_PROFILE": "must-not-leak", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert f"http://localhost:{port}" in process.stdout.readline()
    cloud = Cloud(port, home, process)
    cloud.make_role(ROLE.rpartition("/")[2], {"Effect": "Allow", "Action": "*", "Resource": "*"})
    return cloud


@contextmanager
def serving_cloud(home: Path, **environment: str) -> Iterator[Cloud]:
    """Run a laptop cloud with ``IMAGE`` and a bucket ``kennel``, and stop it at the end if it still runs."""
    cloud = start_cloud(home, **environment)
    build_image(cloud)
    cloud.client("s3").create_bucket(Bucket="kennel")
    yield cloud
    if cloud.process.poll() is None:
        cloud.stop()


def build_image(cloud: Cloud) -> None:
    """Build ``IMAGE`` with CodeBuild; its ``serving`` package is the small model server."""
    context = io.BytesIO()
    with zipfile.ZipFile(context, "w") as archive:
        dockerfile = "FROM base AS serve\nENV PYTHONPATH=/app OPT_ML=/opt/ml\nWORKDIR /app\nCOPY serving serving\n"
        dockerfile += 'ENTRYPOINT ["python", "-m", "serving"]\n'
        archive.writestr("serving/Dockerfile", dockerfile)
        archive.writestr("serving/__init__.py", "")
        archive.writestr("serving/__main__.py", textwrap.dedent(MODEL_SERVER))
    cloud.client("s3").create_bucket(Bucket="contexts")
    cloud.client("s3").put_object(Bucket="contexts", Key="model-server.zip", Body=context.getvalue())
    cloud.client("ecr").create_repository(repositoryName="model-server")
    codebuild = cloud.client("codebuild")
    codebuild.create_project(
        name="images",
        source={"type": "NO_SOURCE", "buildspec": "version: 0.2"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=ROLE,
    )
    variables = {"REPOSITORY": REPOSITORY, "TARGETS": "serve", "CONTENT_HASH": "1"}
    build = codebuild.start_build(
        projectName="images",
        sourceTypeOverride="S3",
        sourceLocationOverride="contexts/model-server.zip",
        environmentVariablesOverride=[{"name": name, "value": value} for name, value in variables.items()],
    )["build"]
    eventually(
        lambda: codebuild.batch_get_builds(ids=[build["id"]])["builds"][0],
        lambda build: bool(build["buildStatus"] == "SUCCEEDED"),
    )


def make_config(cloud: Cloud, version: str, count: int = 1, role: str = ROLE, **variant: Any) -> str:
    """Create a model that answers with a version, and an endpoint configuration for it; return their common name."""
    name = f"{version}-{uuid.uuid4().hex[:6]}"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("version.txt")
        member.size = len(version)
        tar.addfile(member, io.BytesIO(version.encode()))
    cloud.client("s3").put_object(Bucket="kennel", Key=f"models/{name}/model.tar.gz", Body=archive.getvalue())
    container = {
        "Image": IMAGE,
        "ModelDataUrl": f"s3://kennel/models/{name}/model.tar.gz",
        "Environment": {"GREETING": "hello"},
    }
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role)
    production = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.c6i.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{**production, "InitialInstanceCount": count, **variant}]
    )
    return name


def put_alarm(cloudwatch: Any, name: str, **members: Any) -> None:
    """Create an alarm of the last minute; ``members`` override the defaults."""
    defaults = {
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    cloudwatch.put_metric_alarm(AlarmName=name, **defaults | members)


def endpoint_with(sagemaker: Any, name: str, status: str = "InService") -> dict[str, Any]:
    """Wait until an endpoint has a status, and return its description."""
    return eventually(
        lambda: sagemaker.describe_endpoint(EndpointName=name),
        lambda description: bool(description["EndpointStatus"] == status),
    )


def await_function(functions: Any, name: str) -> None:
    """Wait until a function has been created, or updated, and can be invoked and changed."""
    eventually(
        lambda: functions.get_function_configuration(FunctionName=name),
        lambda config: (config["State"], config["LastUpdateStatus"]) == ("Active", "Successful"),
    )


def eventually(look: Callable[[], T], is_expected: Callable[[T], bool], seconds: float = 120.0) -> T:
    """Call ``look`` until its result is expected, and return the result; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        result = look()
        if is_expected(result):
            return result
        assert time.monotonic() < deadline, f"still {result}"
        time.sleep(0.05)
