"""The stages in which an update moves traffic from an endpoint's old fleet to its new one; pure functions.

The stages are those of SageMaker's guide, https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html.
"""

from collections.abc import Mapping
from fractions import Fraction
from itertools import zip_longest
from typing import Any, NamedTuple

ALL_TRAFFIC = Fraction(1)


class TrafficStage(NamedTuple):
    """A shift of traffic to the new fleet, and the baking period after it.

    shares: the part of each variant's traffic that its new instances take from this stage on, by the variant's name.
    seconds: the length of the baking period on AWS.
    wait: the member of the policy that gives this length.
    """

    shares: Mapping[str, Fraction]
    seconds: int
    wait: str


def traffic_stages(policy: Mapping[str, Any], counts: Mapping[str, int]) -> list[TrafficStage]:
    """Return the stages of a blue/green deployment; in the last one the new fleet takes all traffic.

    Args:
        policy: BlueGreenUpdatePolicy; when it is empty, all traffic moves at once and nothing bakes.
        counts: number of new instances of each variant.
    """
    routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE"})
    partial_shares = [_partial_shares(routing, count) for count in counts.values()]
    partial_stages = [
        TrafficStage(dict(zip(counts, shares, strict=True)), routing["WaitIntervalInSeconds"], "WaitIntervalInSeconds")
        for shares in zip_longest(*partial_shares, fillvalue=ALL_TRAFFIC)
    ]
    wait = "TerminationWaitInSeconds"
    return [*partial_stages, TrafficStage(dict.fromkeys(counts, ALL_TRAFFIC), policy.get(wait, 0), wait)]


def _partial_shares(routing: Mapping[str, Any], count: int) -> list[Fraction]:
    """Return the shares of one variant's traffic before the last stage.

    Args:
        routing: TrafficRoutingConfiguration.
        count: number of the variant's new instances.
    """
    if routing["Type"] == "ALL_AT_ONCE":
        return []
    size = routing["CanarySize" if routing["Type"] == "CANARY" else "LinearStepSize"]
    step, whole = size["Value"], count if size["Type"] == "INSTANCE_COUNT" else 100
    parts = [step] if routing["Type"] == "CANARY" else range(step, whole, step)
    return [Fraction(part, whole) for part in parts]
