"""Documents with which a stopped run is taken back."""

from shared.base import Document
from shared.scaling import ScalingPolicies


class Before(Document):
    """Production before a run changed it (``runs/<run>/before.json``), so that a run that is stopped can be taken back.

    Attributes:
        config: the endpoint configuration that served.
        instance_type: its instance type.
        ranges: ``MinCapacity`` and ``MaxCapacity`` of the scalable target; empty without one.
        scaling: its policies.
        pointer_version: the version of the champion pointer, which grows when the pointer moves.
    """

    config: str
    instance_type: str
    ranges: list[dict[str, int]]
    scaling: ScalingPolicies
    pointer_version: int


class Restoration(Document):
    """How far a stopped run is taken back.

    Attributes:
        done: whether nothing of the run is left in production. If not, ask again.
        answer: what is awaited or was done, as a sentence.
    """

    done: bool
    answer: str
