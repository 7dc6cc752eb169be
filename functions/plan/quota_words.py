"""What a person reads whose quotas are too small: each of them, how to ask for more, and what would fit instead."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import prices
import quotas
from plan import ec2
from plan.quota_ask import Asked, QuotaUnknownError, Value
from plan.quota_needs import LEFT_FOR_OTHERS, Fleets, Need, needs
from plan.run import has_gpus
from shared.contracts import Run

if TYPE_CHECKING:
    from plan.run import PlanSettings

_PRICED = {"training": "training", "serving": "hosting"}  # the service in the price book for each purpose
_MOST_ADVISED = 3  # types that are asked for, for each use
# AWS tells no time: it grants small increases by itself and hands others to its support. Those who asked for SageMaker
# waited 12 to 24 hours (aws/amazon-sagemaker-examples issue 593), 24 to 48 hours (vietanhdev/sagemaker-yolo-terraform)
# and up to an hour after the approval until it held (rajinikanthvadla-ai/mlops-churn-prediction, QUOTA_FIX.md).
# How many requests may be open: Service Quotas' user guide, "Quotas for Service Quotas".
_WAITING = (
    "AWS does not say how long it takes; those who asked report from less than an hour to two days, and more for "
    "larger numbers. At most two such requests of a region may be open at once. "
    '{"check_quotas": false} in the input starts the run without this check'
)


def message(
    run: Run, small: Sequence[tuple[Need, Value]], fleets: Fleets, asked: Asked, settings: "PlanSettings"
) -> str:
    """Return the message of a run for which quotas are too small.

    Args:
        run: the run.
        small: what is needed, and what the account has.
        fleets: what serves now.
        asked: asks for the quotas of other types.
        settings: the stack's parameters.
    """
    advice = _advise_types(run, small, fleets, asked, settings)
    lines = [
        f"({number}) {_sentence(need, value, asked.region)}{_instead(run, need, value, fleets, advice)}"
        for number, (need, value) in enumerate(small, 1)
    ]
    count = "a quota of the account is" if len(small) == 1 else f"{len(small)} quotas of the account are"
    return "\n".join([f"{count} too small for this run, so nothing was started", *lines, _WAITING])


def _sentence(need: Need, value: Value, region: str) -> str:
    has = f"the quota '{need.quota.name}' ({need.quota.service}, {value.code}) is {value.value:g}"
    needed = f"and {need.count} {'is' if need.count == 1 else 'are'} needed, because {need.why}"
    if not value.adjustable:
        return f"{has}, {needed}; AWS does not raise it"
    command = (
        f"aws service-quotas request-service-quota-increase --region {region} --service-code {need.quota.service} "
        f"--quota-code {value.code} --desired-value {need.count}"
    )
    return f"{has}, {needed}; ask for more: {command}"


def _instead(run: Run, need: Need, value: Value, fleets: Fleets, advice: dict[str, str]) -> str:
    """Return what else a person can do than ask for more: fewer instances, or another type."""
    ways = [_fewer(run, need, int(value.value), fleets)]
    if need.use == "endpoint":
        ways.append('{"hosting": "function"}, which starts no instance of an endpoint')
    if need.quota.instance_type:
        ways.append(advice.get("serving" if need.use in ("processing", "endpoint") else "training", ""))
    told = [way for way in ways if way]
    return f"; or go on with {', or with '.join(told)}" if told else ""


def _fewer(run: Run, need: Need, value: int, fleets: Fleets) -> str:
    """Return the field of a request with which the need fits into the account's value; empty if none makes it."""
    if need.use == "endpoint":
        most = _most_instances(run, need, value, fleets)
        return _field("max_instances", most) if most else ""
    if need.use in ("training", "spot") and run.training:
        each = run.training.instance_count
        if run.tuning and run.tuning.where == "jobs":
            jobs = value // each
            return json.dumps({"tune": {"max_parallel": jobs}}) if jobs else ""
        return _field("training_instance_count", value) if 1 <= value < each else ""
    if need.quota == quotas.of_search() and value:
        return json.dumps({"tune": {"max_parallel": value}})
    if need.quota == quotas.concurrency() and not run.function.reserved:
        return _field("provisioned_concurrency", max(value - LEFT_FOR_OTHERS, 0) // 2)
    if need.quota == quotas.concurrency():
        return "a smaller ModelReservedConcurrency of the stack"
    if need.quota == quotas.builds():
        return "images that you build yourself (TrainingImage, EvaluationImage, ServingImage)"
    return '{"train_on": "sagemaker"}' if need.quota.service == "ec2" else ""


def _most_instances(run: Run, need: Need, value: int, fleets: Fleets) -> int:
    """Return the largest ``max_instances`` with which the endpoint fits into a quota; 0 if none makes it fit."""
    for most in range(run.endpoint.max_instances - 1, run.endpoint.min_instances - 1, -1):
        endpoint = run.endpoint.model_copy(update={"max_instances": most})
        fewer = needs(run.model_copy(update={"endpoint": endpoint}), fleets)
        of_each = need.quota == quotas.of_each("endpoint")  # It is no need where the default suffices.
        if most <= value if of_each else all(one.count <= value for one in fewer if one.quota == need.quota):
            return most
    return 0


def _field(name: str, value: int) -> str:
    return json.dumps({name: value})


def _advise_types(
    run: Run, small: Sequence[tuple[Need, Value]], fleets: Fleets, asked: Asked, settings: "PlanSettings"
) -> dict[str, str]:
    """Return fields of the request with the nearest types whose quotas suffice, for ``training`` and ``serving``."""
    options: dict[str, list[tuple[str, list[Need]]]] = {}
    for need, _ in small:
        if not need.quota.instance_type:
            continue
        if need.use in ("training", "spot"):
            purpose, uses, allowed = "training", [need.use], settings.allowed_training_types
        else:
            judges = ["processing"] if run.evaluation.job_name else []
            purpose, uses, allowed = "serving", ["endpoint", *judges], settings.allowed_serving_types
        near = _near(need.quota.instance_type, uses, _PRICED[purpose], allowed)[:_MOST_ADVISED]
        options[purpose] = [
            (
                each,
                [
                    one
                    for one in needs(_with_type(run, purpose, each), fleets)
                    if one.quota.instance_type and one.use in uses
                ],
            )
            for each in near
        ]
    asked.ask(need.quota for types in options.values() for _, wanted in types for need in wanted)
    advice = {}
    for purpose, types in options.items():
        fitting = [each for each, wanted in types if all(_suffices(asked, need) for need in wanted)]
        if fitting:
            price, region = _price(_PRICED[purpose], fitting[0]), _region(_PRICED[purpose])
            field = json.dumps({f"{purpose}_instance_type": fitting[0]})
            where = f" in {region}" if region else ""
            advice[purpose] = f"{field}, whose own quota suffices (${price:g} an hour each{where})"
    return advice


def _with_type(run: Run, purpose: str, instance_type: str) -> Run:
    """Return the run with another type that trains, or that judges and serves."""
    part = run.training if purpose == "training" else run.endpoint
    assert part
    name = "training" if purpose == "training" else "endpoint"
    return run.model_copy(update={name: part.model_copy(update={"instance_type": instance_type})})


def _suffices(asked: Asked, need: Need) -> bool:
    try:
        return asked.value(need.quota).value >= need.count
    except QuotaUnknownError:
        return False


def _near(kind: str, uses: Iterable[str], priced: str, allowed: str) -> list[str]:
    """Return types that can do the same, the nearest by vCPUs first, then the cheapest, then the newest.

    They have GPUs if this one has, a processor of the same architecture, a price in the book and known quotas, and the
    stack allows them.

    Args:
        kind: the type whose quota is too small.
        uses: what the instances do, keys of ``quotas.USES``.
        priced: ``training`` or ``hosting``, the service in the price book.
        allowed: patterns of types, separated by commas.
    """

    def distance(each: str) -> tuple[float, float, int]:
        vcpus, wanted = ec2.num_vcpus(each), ec2.num_vcpus(kind)
        steps = abs(math.log2(vcpus / wanted)) if vcpus and wanted else math.inf
        generation = re.search(r"\d+", each)
        return steps, _price(priced, each), -int(generation[0]) if generation else 0

    return sorted(
        (
            each
            for each in prices.items(priced, _region(priced))
            if each != kind
            and has_gpus(each) == has_gpus(kind)
            and ec2.is_arm(each) == ec2.is_arm(kind)
            and all(quotas.of_instances(use, each).code for use in uses)
            and any(fnmatchcase(each, pattern.strip()) for pattern in allowed.split(","))
        ),
        key=distance,
    )


def _price(priced: str, instance_type: str) -> float:
    return prices.known(f"{priced}/{instance_type}", region=_region(priced))


def _region(priced: str) -> str:
    """Return the region whose prices order the types: this one, or that of the documents if the book lacks this one."""
    return "" if prices.items(priced) else prices.HOME_REGION
