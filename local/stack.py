"""The stack on the laptop cloud, by the unmodified SAM CLI, and what it put out."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from local.home import HOME, ROOT, LocalError
from local.laptop import Laptop

STACK = "kennel"
_LOG = HOME / "sam.log"
_BUILD = HOME / "build"
_OPTIONS = (
    *("--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"),
    # the functions run on this very interpreter
    *("--parameter-overrides", f"PythonRuntime=python{sys.version_info.major}.{sys.version_info.minor}"),
)


@dataclass(frozen=True)
class Stack:
    """What the runner needs of the template's outputs."""

    bucket: str
    pipeline_arn: str
    endpoint_name: str
    api_url: str
    api_key: str


def build() -> "subprocess.Popen[bytes]":
    """Start ``sam build``; hand the process to ``finish``."""
    return _sam("build", "--build-dir", str(_BUILD), env=None)


def deploy(laptop: Laptop) -> "subprocess.Popen[bytes]":
    """Start ``sam deploy``; hand the process to ``finish``."""
    return _sam("deploy", "--template-file", str(_BUILD / "template.yaml"), env=laptop.environment())


def finish(process: "subprocess.Popen[bytes]") -> None:
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
        words = _LOG.read_text(errors="replace").splitlines()[-15:]
        raise LocalError(f"sam failed; its last words in {_LOG}:\n" + "\n".join(words))


def describe(laptop: Laptop) -> Stack:
    """The deployed stack.

    Raises:
        LocalError: it is not deployed.
    """
    try:
        described = laptop.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    except ClientError as error:
        raise LocalError("nothing is deployed on the laptop cloud yet; `make run` or `make up` does it") from error
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    key = laptop.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"]
    return Stack(
        bucket=outputs["BucketName"],
        pipeline_arn=outputs["PipelineArn"],
        endpoint_name=outputs["EndpointName"],
        # The laptop has no DNS: API Gateway's own URL in the form that the laptop cloud answers.
        api_url=f"{laptop.url}/restapis/{outputs['ApiId']}/v1/_user_request_/classify",
        api_key=key,
    )


def _sam(command: str, *arguments: str, env: dict[str, str] | None) -> "subprocess.Popen[bytes]":
    HOME.mkdir(exist_ok=True)
    here = Path(sys.executable).parent  # sam and the functions' interpreter lie in this environment
    env = dict(env or os.environ, SAM_CLI_TELEMETRY="0")
    env["PATH"] = f"{here}{os.pathsep}{env['PATH']}"
    env.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    with _LOG.open("wb") as log:
        return subprocess.Popen(
            [str(here / "sam"), command, *_OPTIONS, *arguments],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
