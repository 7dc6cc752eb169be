"""Run one function by itself with ``sam local invoke`` and a sample event, against the laptop cloud."""

import asyncio
import errno
import ipaddress
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from dataset.names import printable
from local import stack
from local.home import HOME, ROOT, LocalError, write_json
from local.laptop import Laptop

_PIPELINE = ("plan", "gate", "smoke", "measure", "remember", "restore", "rank", "explain", "classify")
# The function that each sample event in events/ is for.
SAMPLES = {
    **{name: name for name in (*_PIPELINE, "receipt", "page")},
    **dict.fromkeys(("classify-s3", "classify-url"), "classify"),
    "health": "page",
    "measure-function": "measure",
}
_FOLDER = HOME / "events"
_HOST = "host.docker.internal"  # Docker Desktop's name for the machine that it runs on.


def invoke(laptop: Laptop, name: str, options: Sequence[str]) -> int:
    """Run a function in a container, after printing the command so that it can be repeated and changed.

    Args:
        name: a sample event, one of ``SAMPLES``.
        options: more options of ``sam local invoke``.

    Returns:
        0 when the function returned, 1 when it raised; SAM's own exit code is 0 for both.

    Raises:
        LocalError: there is no container engine, or no model serves yet.
    """
    gateway = _bridge()
    function = f"{SAMPLES[name].capitalize()}Function"
    write_json(_FOLDER / "env.json", {function: _environment(laptop, SAMPLES[name])})
    event, values = _FOLDER / f"{name}.json", _values(laptop)
    write_json(event, sample(name, values))
    if name == "classify-s3":  # Callers may name only what was uploaded for them.
        golden = {"Bucket": values["BUCKET"], "Key": f"runs/{values['RUN']}/report/golden/00.jpg"}
        laptop.client("s3").copy_object(Bucket=values["BUCKET"], Key="uploads/sample.jpg", CopySource=golden)
    command = [
        *(
            "sam",
            "local",
            "invoke",
            function,
            "--event",
            os.path.relpath(event),
            "--env-vars",
            os.path.relpath(_FOLDER / "env.json"),
        ),
        *("--template", os.path.relpath(stack.TEMPLATE), "--parameter-overrides", stack.RUNTIME),
        *("--add-host", f"{_HOST}:host-gateway", *options),
    ]
    print(shlex.join(command), file=sys.stderr, flush=True)
    output = asyncio.run(_run(command, laptop, gateway))
    print(printable(output, keep="\n\t"))
    return 1 if _raised(output) else 0


def sample(name: str, values: dict[str, str]) -> dict[str, Any]:
    """Return a sample event with its ``$NAMES`` filled in."""
    text = (ROOT / "events" / f"{name}.json").read_text()
    event: dict[str, Any] = json.loads(Template(text).substitute(values))
    return event


def _values(laptop: Laptop) -> dict[str, str]:
    deployed = stack.describe(laptop)
    champion = laptop.client("ssm").get_parameter(Name=f"/{stack.STACK}/champion")["Parameter"]["Value"]
    if champion == "none":
        raise LocalError("no model serves yet; `make run` deploys one")
    datasets = laptop.client("s3").list_objects_v2(Bucket=deployed.bucket, Prefix="datasets/").get("Contents", [])
    if not datasets:
        raise LocalError(f"bucket {deployed.bucket} has no dataset under datasets/; `make run` uploads one")
    sagemaker, promoted = laptop.client("sagemaker"), json.loads(champion)
    runs = laptop.client("stepfunctions").list_executions(stateMachineArn=deployed.pipeline_arn)["executions"]
    package = sagemaker.describe_model_package(ModelPackageName=promoted["model_package_arn"])
    return {
        "BUCKET": deployed.bucket,
        "RUN": promoted["run"],
        "REPORT_SHA256": package["CustomerMetadataProperties"].get("report", ""),
        "IMAGE": _image(laptop, deployed.endpoint_name),
        "ENDPOINT": deployed.endpoint_name,
        "EXECUTION": max(runs, key=lambda each: each["startDate"])["executionArn"],
        "DATASET": max(datasets, key=lambda each: each["LastModified"])["Key"],
    }


def _image(laptop: Laptop, endpoint: str) -> str:
    """Return the URI of the image that serves, on instances or as a function."""
    sagemaker = laptop.client("sagemaker")
    try:
        serving = sagemaker.describe_endpoint(EndpointName=endpoint)
    except sagemaker.exceptions.ClientError:
        function = laptop.client("lambda").get_function(FunctionName=f"{endpoint}-model")
        return str(function["Code"]["ImageUri"])
    return str(serving["ProductionVariants"][0]["DeployedImages"][0]["SpecifiedImage"])


def _environment(laptop: Laptop, function: str) -> dict[str, str]:
    """Return the function's variables as deployed, because SAM replaces references by logical names."""
    configuration = laptop.client("lambda").get_function_configuration(FunctionName=f"{stack.STACK}-{function}")
    return {**configuration["Environment"]["Variables"], "AWS_ENDPOINT_URL": f"http://{_HOST}:{laptop.port}"}


def _bridge() -> str:
    """Return the address at which containers reach this machine."""
    engine = shutil.which("docker")
    inspect = ("network", "inspect", "bridge", "--format", "{{json (index .IPAM.Config 0)}}")
    inspected = engine and subprocess.run([engine, *inspect], capture_output=True, text=True, check=False)
    if not inspected or inspected.returncode:
        raise LocalError("sam local invoke runs functions in containers, and no Docker engine answers here; start one")
    network = json.loads(inspected.stdout)
    return str(network.get("Gateway") or next(ipaddress.ip_network(network["Subnet"]).hosts()))


async def _run(command: Sequence[str], laptop: Laptop, gateway: str) -> str:
    """Run the command and return its standard output; meanwhile containers can reach the laptop cloud."""
    relay = await _relay(gateway, laptop.port)
    env = laptop.environment() | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    if relay:
        relay.close()
    if process.returncode:
        raise LocalError(f"sam local invoke failed with code {process.returncode}; its output is above")
    return output.decode().strip()


async def _relay(gateway: str, port: int) -> asyncio.Server | None:
    """Relay the bridge to loopback, the only address the laptop cloud listens on; Docker Desktop does so itself."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cloud_reader, cloud_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, cloud_writer), copy(cloud_reader, writer))

    try:
        return await asyncio.start_server(connect, gateway, port)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:  # The bridge is inside Docker Desktop's virtual machine.
            return None
        raise


def _raised(output: str) -> bool:
    try:
        return "errorType" in json.loads(output.splitlines()[-1])
    except (IndexError, ValueError, TypeError):
        return True
