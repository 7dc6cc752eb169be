"""The running kennel that the rows ask: the laptop cloud, the stack, the champion, and the run that promoted it."""

import io
import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from local import laptop, report, run, stack
from local.home import LocalError
from local.laptop import Laptop
from local.stack import Stack
from proofs.capstone import evidence

_POLL_SECONDS = 0.3
_NEWEST = 100  # executions among which the one that promoted the champion is looked for


@dataclass(frozen=True)
class Kennel:
    """A laptop cloud on which a model serves.

    Attributes:
        laptop: the running laptop cloud.
        deployed: the outputs of the stack.
        champion: the document of the champion pointer.
        output: the output of the execution that trained and promoted the champion.
        progress: shows a line that the next one replaces.
    """

    laptop: Laptop
    deployed: Stack
    champion: dict[str, Any]
    output: dict[str, Any]
    progress: Callable[[str], None] = print

    def client(self, service: str) -> Any:
        """Return a boto3 client of the laptop cloud."""
        return self.laptop.client(service)

    def resource(self, logical_id: str) -> str:
        """Return the physical id of a resource of the stack."""
        found = self.client("cloudformation").describe_stack_resource(
            StackName=stack.STACK, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def role(self, logical_id: str) -> str:
        """Return the ARN of a role of the stack."""
        return str(self.client("iam").get_role(RoleName=self.resource(logical_id))["Role"]["Arn"])

    def read(self, uri: str) -> bytes:
        """Return the bytes of an object of S3."""
        return report.read_object(self.laptop, uri)

    def earlier(self, row: str) -> evidence.Evidence:
        """Return the evidence of a row that this one needs.

        Raises:
            LocalError: there is none.
        """
        kept = evidence.read(row)
        if kept is None or kept.error:
            raise LocalError(f"it needs the evidence of the row {row}, which could not be collected")
        return kept.evidence

    def wait(self, look: Callable[[], bool], event: str, seconds: float) -> None:
        """Wait until something has happened, and show for how long.

        Args:
            look: called several times a second.
            event: a noun phrase, such as ``the endpoint``.
            seconds: the longest time to wait.

        Raises:
            LocalError: it did not happen in time.
        """
        started = time.monotonic()
        while not look():
            waited = time.monotonic() - started
            if waited > seconds:
                raise LocalError(f"waited {seconds:.0f} s for {event}, which did not happen; see the cloud's log")
            self.progress(f"{event}, {waited:.0f} s")
            time.sleep(_POLL_SECONDS)


def connect(port: int, progress: Callable[[str], None]) -> Kennel:
    """Return the running kennel; where no model serves, do a whole run first.

    Args:
        port: of the laptop cloud, if it is started here.
        progress: shows a line that the next one replaces.

    Raises:
        LocalError: no model was promoted, or a function serves in place of an endpoint.
    """
    cloud = laptop.find()
    champion = _champion(cloud) if cloud else {}
    if not champion:
        code = run.run(None, None, port)
        if code == run.STOPPED:
            raise KeyboardInterrupt
        if code != run.PROMOTED:
            raise LocalError("no model was promoted, so there is nothing to show; the lines above say why")
        cloud = run.running()
        champion = _champion(cloud)
    assert cloud
    if champion.get("hosting", "instances") != "instances":
        raise LocalError(
            "a function serves, and the capstone shows an endpoint; `make run EVENT=events/pipeline.json` puts one "
            "into its place"
        )
    deployed = stack.describe(cloud)
    return Kennel(cloud, deployed, champion, _output(cloud, deployed, champion["run"]), progress)


def _champion(cloud: Laptop) -> dict[str, Any]:
    """Return the champion pointer; empty if there is no stack or nothing serves."""
    try:
        value = cloud.client("ssm").get_parameter(Name=f"/{stack.STACK}/champion")["Parameter"]["Value"]
    except ClientError:
        return {}
    return {} if value == "none" else dict(json.loads(value))


def _output(cloud: Laptop, deployed: Stack, run_id: str) -> dict[str, Any]:
    """Return the output of the execution that promoted a run.

    Raises:
        LocalError: the state machine does not remember it.
    """
    states = cloud.client("stepfunctions")
    for each in states.list_executions(stateMachineArn=deployed.pipeline_arn, maxResults=_NEWEST)["executions"]:
        described = states.describe_execution(executionArn=each["executionArn"])
        output: dict[str, Any] = json.loads(described.get("output") or "{}")
        if output.get("run", {}).get("id") == run_id and output.get("endpoint") and output.get("trained"):
            return output
    raise LocalError(f"the run {run_id}, whose model serves, is not among the executions; `make run` promotes another")


def files_of(archive: bytes) -> dict[str, bytes]:
    """Return the files of a ``model.tar.gz`` by their names."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [(member.name.removeprefix("./"), tar.extractfile(member)) for member in tar if member.isfile()]
        return {name: file.read() for name, file in members if file}
