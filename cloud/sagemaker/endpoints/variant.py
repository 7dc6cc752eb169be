"""A production variant: the instances of one model, and the share of the traffic that they take."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from cloud.core.store import now
from cloud.sagemaker.endpoints.deployment import WHOLE, Stage
from cloud.sagemaker.endpoints.hosting import Artifact, Instance
from cloud.sagemaker.endpoints.metering import Answered


@dataclass
class Variant:
    """A production variant that serves, or is about to.

    Attributes:
        desired: number of instances it should have.
        share: of the traffic of its name, what it takes; the old fleet's variant of that name takes the rest.
        instances: those that are ready; replaced whole.
        status: what a deployment does with it, as DescribeEndpoint gives it.
        answered: requests since the last look at them.
    """

    name: str
    image: str
    role: str
    instance_type: str
    artifact: Artifact
    environment: Mapping[str, str]
    weight: float
    desired: int
    startup_seconds: float
    share: Fraction = Fraction(0)
    instances: tuple[Instance, ...] = ()
    status: dict[str, Any] | None = None
    answered: deque[Answered] = field(default_factory=lambda: deque(maxlen=100_000))

    @property
    def active(self) -> tuple[Instance, ...]:
        """The instances that take traffic: as large a part as its share, in whole instances."""
        return self.instances[: math.ceil(self.share * self.desired)]

    def enter(self, status: str, message: str) -> None:
        """Say what a deployment does with it now."""
        self.status = {"Status": status, "StatusMessage": message, "StartTime": now()}

    def take(self, stage: Stage) -> None:
        """Take the share of the traffic that a deployment's stage gives it."""
        self.share = stage.shares[self.name]
        part = "full" if self.share == WHOLE else "canary"
        capacity = f"{part} capacity of {len(self.active)} instance(s)."
        if stage.seconds:
            self.enter(
                "Baking", f"Baking for {stage.seconds} seconds ({stage.wait}) with traffic enabled on {capacity}"
            )
        else:
            self.enter("ActivatingTraffic", f"Activating traffic on {capacity}")

    def description(self) -> dict[str, Any]:
        """As DescribeEndpoint gives it."""
        return {
            "VariantName": self.name,
            "DeployedImages": [{"SpecifiedImage": self.image, "ResolvedImage": self.image}],
            "CurrentWeight": self.weight,
            "DesiredWeight": self.weight,
            "CurrentInstanceCount": len(self.active),
            "DesiredInstanceCount": self.desired,
            **({"VariantStatus": [self.status]} if self.status else {}),
        }


def counts(variants: Iterable[Variant]) -> dict[str, int]:
    """The desired number of instances by variant name."""
    return {variant.name: variant.desired for variant in variants}


def instances_of(fleet: Mapping[str, Variant]) -> list[Instance]:
    """All ready instances of a fleet."""
    return [instance for variant in fleet.values() for instance in variant.instances]
