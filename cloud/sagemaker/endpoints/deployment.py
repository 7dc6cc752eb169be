"""How an update moves traffic from an endpoint's old fleet to its new one; pure.

The stages are those of SageMaker's guide, https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html.
"""

from collections.abc import Mapping
from fractions import Fraction
from itertools import zip_longest
from typing import Any, NamedTuple

WHOLE = Fraction(1)


class Stage(NamedTuple):
    """A shift of traffic and the baking period after it.

    shares: of each variant's traffic, what its new instances take from now on; by the variant's name.
    seconds: the baking period's length on AWS.
    wait: the policy's member that gives it.
    """

    shares: Mapping[str, Fraction]
    seconds: int
    wait: str


def stages(policy: Mapping[str, Any], counts: Mapping[str, int]) -> list[Stage]:
    """The stages of a blue/green deployment; the new fleet takes everything in the last.

    Args:
        policy: BlueGreenUpdatePolicy; without one all traffic moves at once and nothing bakes.
        counts: number of new instances of each variant.
    """
    routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE"})
    partial = [_partial_shares(routing, count) for count in counts.values()]
    first = [
        Stage(dict(zip(counts, shares, strict=True)), routing["WaitIntervalInSeconds"], "WaitIntervalInSeconds")
        for shares in zip_longest(*partial, fillvalue=WHOLE)
    ]
    wait = "TerminationWaitInSeconds"
    return [*first, Stage(dict.fromkeys(counts, WHOLE), policy.get(wait, 0), wait)]


def _partial_shares(routing: Mapping[str, Any], count: int) -> list[Fraction]:
    """The shares of the traffic before the last shift, which is to all of it."""
    if routing["Type"] == "ALL_AT_ONCE":
        return []
    size = routing["CanarySize" if routing["Type"] == "CANARY" else "LinearStepSize"]
    step, whole = size["Value"], count if size["Type"] == "INSTANCE_COUNT" else 100
    taken = [step] if routing["Type"] == "CANARY" else range(step, whole, step)
    return [Fraction(part, whole) for part in taken]
