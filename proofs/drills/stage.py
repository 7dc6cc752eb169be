"""What a drill plays on: a laptop cloud with a model in service, and hands to act on it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import run, stack
from local.data import sketches
from local.home import HOME, LocalError
from local.laptop import Laptop
from local.stack import Stack

_POLL_SECONDS = 0.2
_ENDS = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")


@dataclass(frozen=True)
class Stage:
    """A laptop cloud, its stack, and a photo to ask about.

    home: the folder in which the laptop cloud keeps things.
    """

    laptop: Laptop
    home: Path
    deployed: Stack
    photo: bytes

    @property
    def endpoint(self) -> str:
        """The production endpoint's name."""
        return self.deployed.endpoint_name

    def start(self, machine_arn: str, request: dict[str, Any]) -> str:
        """Start an execution; its ARN."""
        started = self.laptop.client("stepfunctions").start_execution(
            stateMachineArn=machine_arn, input=json.dumps(request)
        )
        return str(started["executionArn"])

    def promote(self, **wishes: Any) -> str:
        """Deploy the first version again, which takes neither training nor evaluation; the execution's ARN."""
        return self.start(self.deployed.pipeline_arn, {"promote": 1, **wishes})

    def ended(self, execution_arn: str, seconds: float = 240) -> dict[str, Any]:
        """The execution's description, once it ended."""
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.laptop.client("stepfunctions").describe_execution(executionArn=execution_arn))
            return found["status"] in _ENDS

        self.wait(is_over, f"{execution_arn} to end", seconds)
        return found

    def described(self, name: str = "") -> dict[str, Any] | None:
        """An endpoint, production unless named; None where there is none."""
        sagemaker = self.laptop.client("sagemaker")
        try:
            found: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=name or self.endpoint)
        except sagemaker.exceptions.ClientError:
            return None
        return found

    def instances(self) -> int:
        """How many serve."""
        found = self.described()
        return sum(each["CurrentInstanceCount"] for each in found.get("ProductionVariants", [])) if found else 0

    def champion(self) -> dict[str, Any] | None:
        """What the pointer names."""
        value = self.laptop.client("ssm").get_parameter(Name=f"/{stack.STACK}/champion")["Parameter"]["Value"]
        return None if value == "none" else dict(json.loads(value))

    def processes(self) -> set[int]:
        """Process ids of production's instances."""
        return {int(file.read_text()) for file in (self.home / "cloud" / "endpoints" / self.endpoint).glob("*/pid")}

    def wait(self, is_so: Callable[[], bool], what: str, seconds: float) -> float:
        """Seconds until something is so.

        Raises:
            LocalError: it took longer than so many.
        """
        began = time.monotonic()
        while not is_so():
            if time.monotonic() - began > seconds:
                raise LocalError(f"waited {seconds:.0f} s in vain for {what}; see cloud.log")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - began


def set_up(port: int) -> Stage:
    """Start a laptop cloud, deploy, and bring the sketchbook's model into service.

    Raises:
        LocalError: no model came into service.
    """
    if run.run(None, None, port) != run.PROMOTED:
        raise LocalError("no model came into service, so there is nothing to drill; the lines above say why")
    laptop, photos = run.running(), sketches()
    return Stage(
        laptop, HOME, stack.describe(laptop), next(iter(sorted((photos / "test").rglob("*.jpg")))).read_bytes()
    )
