"""Documents with which a stopped run is taken back."""

from typing import Any

from pydantic import Field

from shared.base import Document
from shared.scaling import ScalingPolicies


class FunctionBefore(Document):
    """The model's function before a run changed it.

    Attributes:
        version: the version to which its alias led.
        description: of that version.
        role: ARN of its role; empty in documents of earlier releases.
        provisioned: environments that the alias kept ready; 0 for none.
        reserved: its reserved concurrency; None for none.
        ranges: ``MinCapacity`` and ``MaxCapacity`` of the alias's scalable target; empty without one.
        policies: the target's policies, as requests of PutScalingPolicy.
    """

    version: str
    description: str = ""
    role: str = ""
    provisioned: int = 0
    reserved: int | None = None
    ranges: list[dict[str, int]] = Field(default_factory=list)
    policies: list[dict[str, Any]] = Field(default_factory=list)


class Before(Document):
    """Production before a run changed it (``runs/<run>/before.json``), so that a run that is stopped can be taken back.

    Attributes:
        config: the endpoint configuration that served; empty if there was no endpoint.
        instance_type: its instance type.
        ranges: ``MinCapacity`` and ``MaxCapacity`` of the scalable target; empty without one.
        scaling: its policies.
        pointer_version: the version of the champion pointer, which grows when the pointer moves.
        hosting: what the hosting pointer said; empty in documents of earlier releases, and if it was deleted.
        function: the model's function; None if there was none, or none that an alias made serve.
    """

    config: str
    instance_type: str
    ranges: list[dict[str, int]]
    scaling: ScalingPolicies
    pointer_version: int
    hosting: str = ""
    function: FunctionBefore | None = None


class Remembered(ScalingPolicies):
    """What a run itself needs to take back what it changed: the policies of the endpoint, and these.

    Attributes:
        hosting: see ``Before``.
        function: the same.
    """

    hosting: str
    function: FunctionBefore | None


class Restoration(Document):
    """How far a stopped run is taken back.

    Attributes:
        done: whether nothing of the run is left in production. If not, ask again.
        answer: what is awaited or was done, as a sentence.
    """

    done: bool
    answer: str
