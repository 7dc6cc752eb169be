"""A stack on the laptop cloud or an account, by the unmodified SAM CLI, and what it put out."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local.home import HOME, ROOT, LocalError
from local.laptop import Cloud, Laptop

STACK = "kennel"
_LOG = HOME / "sam.log"
TEMPLATE = HOME / "build" / "template.yaml"
RUNTIME = f"PythonRuntime=python{sys.version_info.major}.{sys.version_info.minor}"  # this very interpreter
BAKE = "BakeSeconds=4"  # there are no users here whose requests an update could be watched by
_OPTIONS = (
    *("--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"),
    *("--parameter-overrides", RUNTIME, BAKE),
)


@dataclass(frozen=True)
class Stack:
    """What the runner needs of the template's outputs."""

    bucket: str
    pipeline_arn: str
    teardown_arn: str
    endpoint_name: str
    api_url: str
    api_key: str

    @property
    def page_url(self) -> str:
        """Where people show photos; beside what programs ask."""
        return self.api_url.removesuffix("classify")


def build() -> "subprocess.Popen[bytes]":
    """Start ``sam build``; hand the process to ``finish``."""
    return sam("build", *_OPTIONS, "--build-dir", str(TEMPLATE.parent))


def deploy(laptop: Laptop, template: Path = TEMPLATE) -> "subprocess.Popen[bytes]":
    """Start ``sam deploy`` of what was built; hand the process to ``finish``."""
    return sam("deploy", *_OPTIONS, "--template-file", str(template), env=laptop.environment())


def finish(process: "subprocess.Popen[bytes]", log: Path = _LOG) -> None:
    """Wait for a SAM command.

    Raises:
        LocalError: it failed; its last words are in the message.
    """
    try:
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if code != 0:
        words = log.read_text(errors="replace").splitlines()[-15:]
        raise LocalError(f"sam failed; its last words in {log}:\n" + "\n".join(words))


def look_up(cloud: Cloud, name: str) -> dict[str, Any]:
    """CloudFormation's description of a stack; empty when there is none."""
    try:
        found: dict[str, Any] = cloud.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return {}
        raise
    return found


def describe(cloud: Cloud, name: str = STACK) -> Stack:
    """The deployed stack.

    Raises:
        LocalError: it is not deployed.
    """
    described = look_up(cloud, name)
    if not described:
        raise LocalError(f"there is no stack {name} yet; on the laptop `make run` or `make up` deploys it")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    # The laptop has no DNS: API Gateway's own URL in the form that the laptop cloud answers.
    here = f"{cloud.url}/restapis/{outputs['ApiId']}/v1/_user_request_/classify"
    key = cloud.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"]
    return Stack(
        bucket=outputs["BucketName"],
        pipeline_arn=outputs["PipelineArn"],
        teardown_arn=outputs["TeardownArn"],
        endpoint_name=outputs["EndpointName"],
        api_url=here if cloud.url else outputs["ApiUrl"],
        api_key=key,
    )


def sam(
    command: str, *arguments: str, env: Mapping[str, str] = os.environ, log: Path = _LOG
) -> "subprocess.Popen[bytes]":
    """Start a SAM command, which says to ``log`` what it has to say; hand the process to ``finish``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    here = Path(sys.executable).parent  # sam and the functions' interpreter lie in this environment
    env = dict(env, SAM_CLI_TELEMETRY="0")
    env["PATH"] = f"{here}{os.pathsep}{env['PATH']}"
    env.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    with log.open("wb") as said:
        return subprocess.Popen(
            [str(here / "sam"), command, *arguments],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
