"""A production variant: the instances of one model, and the share of the traffic that they take."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from cloud.core.clock import now
from cloud.sagemaker.endpoints.blue_green import ALL_TRAFFIC, TrafficStage
from cloud.sagemaker.endpoints.instance import EndpointInstance
from cloud.sagemaker.endpoints.model_data import ModelData
from cloud.sagemaker.endpoints.variant_metrics import AnsweredRequest


@dataclass
class Variant:
    """A production variant that serves or will serve soon.

    Attributes:
        name: the variant's name, which an old and a new variant share during an update.
        image: URI of the model's image.
        role: ARN of the model's execution role.
        instance_type: for example ``ml.c7i.large``.
        model_data: the model's archive.
        environment: variables of the model's container.
        weight: the variant's weight among all variants of the endpoint.
        desired: number of instances that it should have.
        startup_seconds: the longest time until a new instance must be ready.
        resolved: the image's URI with its digest; None for one that ECR did not have.
        created: when the variant was made, and its image resolved, in epoch seconds.
        share: part of the traffic of this name that it takes; the old fleet's variant takes the rest.
        instances: the instances that are ready. The tuple is replaced as a whole, never changed.
        status: the current step of a deployment, as DescribeEndpoint returns it.
        answered: requests answered since the last sample of its metrics.
    """

    name: str
    image: str
    role: str
    instance_type: str
    model_data: ModelData
    environment: Mapping[str, str]
    weight: float
    desired: int
    startup_seconds: float
    resolved: str | None = None
    created: float = field(default_factory=now)
    share: Fraction = Fraction(0)
    instances: tuple[EndpointInstance, ...] = ()
    status: dict[str, Any] | None = None
    answered: deque[AnsweredRequest] = field(default_factory=lambda: deque(maxlen=100_000))

    @property
    def active(self) -> tuple[EndpointInstance, ...]:
        """The instances that take traffic: as many as its share requires, rounded up to whole instances."""
        return self.instances[: math.ceil(self.share * self.desired)]

    def set_status(self, status: str, message: str) -> None:
        """Set the current step of a deployment."""
        self.status = {"Status": status, "StatusMessage": message, "StartTime": now()}

    def enter_stage(self, stage: TrafficStage) -> None:
        """Take the share of the traffic that this stage of a deployment gives to the variant."""
        self.share = stage.shares[self.name]
        part = "full" if self.share == ALL_TRAFFIC else "canary"
        capacity = f"{part} capacity of {len(self.active)} instance(s)."
        if stage.seconds:
            self.set_status(
                "Baking", f"Baking for {stage.seconds} seconds ({stage.wait}) with traffic enabled on {capacity}"
            )
        else:
            self.set_status("ActivatingTraffic", f"Activating traffic on {capacity}")

    def description(self) -> dict[str, Any]:
        """Return the variant's entry in the answer of DescribeEndpoint."""
        resolved = {"ResolvedImage": self.resolved, "ResolutionTime": self.created} if self.resolved else {}
        return {
            "VariantName": self.name,
            "DeployedImages": [{"SpecifiedImage": self.image, **resolved}],
            "CurrentWeight": self.weight,
            "DesiredWeight": self.weight,
            "CurrentInstanceCount": len(self.active),
            "DesiredInstanceCount": self.desired,
            **({"VariantStatus": [self.status]} if self.status else {}),
        }


def desired_counts(variants: Iterable[Variant]) -> dict[str, int]:
    """Return the desired number of instances by variant name."""
    return {variant.name: variant.desired for variant in variants}


def instances_of(fleet: Mapping[str, Variant]) -> list[EndpointInstance]:
    """Return all ready instances of a fleet."""
    return [instance for variant in fleet.values() for instance in variant.instances]
