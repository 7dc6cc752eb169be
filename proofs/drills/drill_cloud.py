"""The laptop cloud of a drill, on which a model serves, and actions on it."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials

from local import run, stack
from local.data import sketches
from local.home import HOME, LocalError
from local.laptop import REGION, Laptop
from local.stack import Stack
from traffic.arrivals import Poisson
from traffic.open_loop import Traffic
from traffic.senders import Sender, signed, with_key

_POLL_SECONDS = 0.2
_FINAL_STATUSES = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")


@dataclass(frozen=True)
class DrillCloud:
    """A laptop cloud with the deployed stack.

    Attributes:
        laptop: the running laptop cloud.
        home: the folder with its files.
        deployed: the outputs of the stack.
        photo: a JPEG that drills send for classification.
    """

    laptop: Laptop
    home: Path
    deployed: Stack
    photo: bytes

    @property
    def endpoint(self) -> str:
        """The name of the production endpoint."""
        return self.deployed.endpoint_name

    def client(self, service: str) -> Any:
        """Return a boto3 client of the laptop cloud."""
        return self.laptop.client(service)

    def to_api(self) -> Sender:
        """Return what sends the photo to the API."""
        return with_key(self.deployed.api_url, self.deployed.api_key, [self.photo])

    def load_api(self, rate: float) -> Traffic:
        """Return a load of the API with so many requests/s, at random moments until the block ends."""
        return Traffic(self.to_api(), Poisson(rate))

    def to_endpoint(self) -> Sender:
        """Return what sends the photo to the production endpoint."""
        url = f"{self.laptop.url}/endpoints/{self.endpoint}/invocations"
        return signed(url, Credentials(*self.laptop.root_key), "sagemaker", REGION, [self.photo])

    def start(self, machine_arn: str, request: dict[str, Any], name: str = "") -> str:
        """Start an execution and return its ARN.

        Args:
            machine_arn: the state machine's ARN.
            request: the execution's input.
            name: how the execution's name begins, for one that stops or rests at a state; empty for any name.
        """
        started = self.client("stepfunctions").start_execution(
            stateMachineArn=machine_arn, input=json.dumps(request), name=f"{name}{uuid.uuid4()}"
        )
        return str(started["executionArn"])

    def promote(self, **request: Any) -> str:
        """Start a run that deploys model version 1 again, without training or evaluation; return its ARN.

        Args:
            request: further fields of the request.
        """
        return self.start(self.deployed.pipeline_arn, {"promote": 1, **request})

    def await_end(self, execution_arn: str, seconds: float = 900) -> dict[str, Any]:
        """Wait until an execution ends and return its description."""
        execution: dict[str, Any] = {}

        def has_ended() -> bool:
            execution.update(self.client("stepfunctions").describe_execution(executionArn=execution_arn))
            return execution["status"] in _FINAL_STATUSES

        self.wait(has_ended, f"{execution_arn} to end", seconds)
        return execution

    def describe_endpoint(self) -> dict[str, Any] | None:
        """Return the description of the production endpoint, or None if there is none."""
        sagemaker = self.client("sagemaker")
        try:
            description: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=self.endpoint)
        except sagemaker.exceptions.ClientError:
            return None
        return description

    def endpoint_status(self) -> str:
        """Return the status of the production endpoint; empty if there is none."""
        return str((self.describe_endpoint() or {}).get("EndpointStatus", ""))

    def num_instances(self) -> int:
        """Return how many instances of production serve."""
        variants = (self.describe_endpoint() or {}).get("ProductionVariants", [])
        return sum(variant["CurrentInstanceCount"] for variant in variants)

    def champion(self) -> dict[str, Any] | None:
        """Return the document of the champion pointer, or None if it names no champion."""
        value = self.client("ssm").get_parameter(Name=f"/{stack.STACK}/champion")["Parameter"]["Value"]
        return None if value == "none" else dict(json.loads(value))

    def instance_ids(self) -> set[str]:
        """Return the ids of all instances that production ever started."""
        return {folder.name for folder in (self.home / "cloud" / "endpoints" / self.endpoint).glob("i-*")}

    def instance_pids(self) -> set[int]:
        """Return the process ids of production's instances."""
        return {int(file.read_text()) for file in (self.home / "cloud" / "endpoints" / self.endpoint).glob("*/pid")}

    def wait(self, condition: Callable[[], bool], event: str, seconds: float) -> float:
        """Wait until a condition holds and return the seconds that it took.

        Args:
            condition: called several times a second.
            event: the noun phrase after "waited for" in the error.
            seconds: the longest time to wait.

        Raises:
            LocalError: the condition did not hold in time.
        """
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > seconds:
                raise LocalError(f"waited {seconds:.0f} s for {event}, which did not happen; see cloud.log")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - started


def connect(photos: Path) -> DrillCloud:
    """Return the running laptop cloud with the first test photo of a dataset's folder."""
    laptop = run.running()
    photo = min((photos / "test").rglob("*.jpg"))
    return DrillCloud(laptop, HOME, stack.describe(laptop), photo.read_bytes())


def set_up(port: int) -> DrillCloud:
    """Start a laptop cloud, deploy the stack, and train and deploy a model on the sketchbook.

    Raises:
        LocalError: no model was deployed.
    """
    if run.run(None, None, port) != run.PROMOTED:
        raise LocalError("no model was deployed, so no drill can run; the lines above say why")
    return connect(sketches())
