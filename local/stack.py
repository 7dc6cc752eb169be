"""Build and deploy the stack with the unmodified SAM CLI, and read its outputs."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from local import shell
from local.home import HOME, ROOT, LocalError
from local.laptop import Cloud, Laptop

STACK = "kennel"
_LOG = HOME / "sam.log"
TEMPLATE = HOME / "build" / "template.yaml"
RUNTIME = f"PythonRuntime=python{sys.version_info.major}.{sys.version_info.minor}"  # the interpreter of this program
BAKE = "BakeSeconds=4"  # No callers ask on a laptop, so an update has little to watch.
# The laptop has no network of its own kind, so any names do. On AWS the subnets need a way to ECR, ECS and S3.
EC2 = ("Ec2Subnets=subnet-0", "Ec2SecurityGroups=sg-0")
DASHBOARD = "Dashboard=true"  # It costs nothing here, and `python -m local dashboard` shows it.
# On the laptop, this machine's Python and packages are the base of the images, so they say which base it is.
_BASE = hashlib.sha256(sys.version.encode() + (ROOT / "locks/run.lock").read_bytes()).hexdigest()
BASE = f"BaseImage=python:{platform.python_version()}@sha256:{_BASE}"
_OPTIONS = (
    *("--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"),
    *("--parameter-overrides", RUNTIME, BAKE, BASE, DASHBOARD, *EC2),
)


@dataclass(frozen=True)
class Stack:
    """The outputs of the deployed template that the runner needs."""

    bucket: str
    pipeline_arn: str
    teardown_arn: str
    endpoint_name: str
    api_url: str
    api_key: str
    topic_arn: str

    @property
    def page_url(self) -> str:
        """The address of the page on which people show photos."""
        return self.api_url.removesuffix("classify")


class KeyLimits(NamedTuple):
    """What one key of the API may ask.

    Attributes:
        requests_per_day: the stack's ApiRequestsPerDay.
        requests_per_second: the stack's ApiRequestsPerSecond.
    """

    requests_per_day: int
    requests_per_second: float


def build() -> "subprocess.Popen[bytes]":
    """Start ``sam build``; pass the process to ``finish``."""
    return sam("build", *_OPTIONS, "--build-dir", str(TEMPLATE.parent))


def deploy(laptop: Laptop, template: Path = TEMPLATE, *parameters: str) -> "subprocess.Popen[bytes]":
    """Start ``sam deploy`` of what was built; pass the process to ``finish``.

    Args:
        laptop: the running laptop cloud.
        template: what was built.
        parameters: more parameters of the stack, such as ``MonthlyDollars=50``.
    """
    # The last option takes the parameters.
    return sam("deploy", "--template-file", str(template), *_OPTIONS, *parameters, env=laptop.environment())


def finish(process: "subprocess.Popen[bytes]", log: Path = _LOG) -> None:
    """Wait for a SAM command.

    Raises:
        LocalError: it failed; the message contains the end of its output.
    """
    try:
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if code != 0:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        raise LocalError(f"sam failed; the end of its output in {log}:\n" + "\n".join(tail))


def look_up(cloud: Cloud, name: str) -> dict[str, Any]:
    """Return CloudFormation's description of a stack; empty when there is none."""
    try:
        description: dict[str, Any] = cloud.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return {}
        raise
    return description


def describe(cloud: Cloud, name: str = STACK) -> Stack:
    """Return the outputs of the deployed stack.

    Raises:
        LocalError: it is not deployed.
    """
    description = look_up(cloud, name)
    if not description:
        raise LocalError(f"there is no stack {name} yet; on the laptop `make run` or `make up` deploys it")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in description["Outputs"]}
    # The laptop has no DNS for API Gateway's host names, so its cloud takes the API's id in the path.
    local_url = f"{cloud.url}/restapis/{outputs['ApiId']}/v1/_user_request_/classify"
    key = cloud.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"]
    return Stack(
        bucket=outputs["BucketName"],
        pipeline_arn=outputs["PipelineArn"],
        teardown_arn=outputs["TeardownArn"],
        endpoint_name=outputs["EndpointName"],
        api_url=local_url if cloud.url else outputs["ApiUrl"],
        api_key=key,
        topic_arn=outputs["TopicArn"],
    )


def key_limits(cloud: Cloud, name: str = STACK) -> KeyLimits:
    """Return what the deployed stack lets each key of the API ask."""
    said = {each["ParameterKey"]: each["ParameterValue"] for each in look_up(cloud, name)["Parameters"]}
    return KeyLimits(int(float(said["ApiRequestsPerDay"])), float(said["ApiRequestsPerSecond"]))


def function_url(cloud: Laptop, function: dict[str, Any]) -> str:
    """Return the address at which the model's function answers signed requests on the laptop.

    No name server knows the host of the function's URL here, so the cloud takes the URL's id in the path.

    Args:
        cloud: the running laptop cloud.
        function: the part of the ``Run`` document about the function.
    """
    config = cloud.client("lambda").get_function_url_config(FunctionName=function["name"], Qualifier=function["alias"])
    return f"{cloud.url}/_aws/lambda-url/{urlsplit(config['FunctionUrl']).netloc.partition('.')[0]}/"


def sam(
    command: str, *arguments: str, env: Mapping[str, str] | None = None, log: Path = _LOG
) -> "subprocess.Popen[bytes]":
    """Start a SAM command whose output goes to ``log``; pass the process to ``finish``.

    Args:
        command: such as ``build``.
        arguments: what follows it.
        env: its environment; by default ``shell.clean``.
        log: receives its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    env = shell.clean(os.environ) if env is None else dict(env)
    # The SAM CLI keeps a file in the user's home, which may not be writable.
    env |= {"SAM_CLI_TELEMETRY": "0", "__SAM_CLI_APP_DIR": str(HOME / "sam-cli")}
    interpreters = Path(sys.executable).parent  # sam build looks for the functions' interpreter.
    env["PATH"] = f"{interpreters}{os.pathsep}{env.get('PATH', os.defpath)}"
    env.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    with log.open("wb") as output:
        return subprocess.Popen(
            # The script sam names the place where it was installed, and the folder may have been moved since.
            [sys.executable, "-P", "-m", "samcli", command, *arguments],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
