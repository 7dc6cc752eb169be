"""What a run, and the update after it, need of the account's quotas. The functions are pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import quotas
from plan import ec2
from plan.run import has_gpus
from quotas import Quota
from shared.contracts import Run

# Lambda keeps so much of the account's concurrency for functions that reserve none:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
LEFT_FOR_OTHERS = 100


@dataclass(frozen=True)
class Need:
    """How much of a quota is needed.

    Attributes:
        quota: the quota.
        count: the least that it must be.
        why: what needs so much, in words.
        use: what the instances do, a key of ``quotas.USES``; empty for quotas that are not about instances.
    """

    quota: Quota
    count: int
    why: str
    use: str = ""


@dataclass(frozen=True)
class Fleets:
    """What serves in the account while Plan looks.

    Attributes:
        own: number of instances of the run's own endpoint, by type.
        others: the same for all other endpoints together.
    """

    own: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)


def needs(run: Run, fleets: Fleets) -> list[Need]:
    """Return what a run and the update after it need, in the order in which the run needs it.

    Jobs of others that are at work now do not count: they end, and a run that finds too few instances free asks again
    for ten minutes. Endpoints do not end.

    Args:
        run: the run.
        fleets: what serves now.
    """
    return [*_builds(run), *_training(run), *_evaluation(run), *_endpoint(run, fleets), *_function(run)]


def _builds(run: Run) -> list[Need]:
    if not (run.images.training_build or run.images.serving_build):
        return []
    return [Need(quotas.builds(), 1, "images of the stack are new and must be built")]


def _training(run: Run) -> list[Need]:
    training = run.training
    if training is None or training.reused:
        return []
    if training.ec2:
        kind = training.ec2.instance_type
        vcpus = ec2.machine(kind).vcpus
        market = "spot capacity" if training.spot else "demand"
        why = f"one {kind} on {market} trains, with {vcpus} vCPUs"
        return [Need(quotas.vcpus(training.spot, has_gpus(f"ml.{kind}")), vcpus, why)]
    use = "spot" if training.spot else "training"
    count = training.instance_count
    why = f"{_instances(count)} of {training.instance_type} train{'s' if count == 1 else ' together'}"
    found = []
    search = run.tuning if run.tuning and run.tuning.where == "jobs" else None
    if search:
        jobs = min(search.trials, search.max_parallel)
        found.append(Need(quotas.of_search(), jobs, f"{jobs} training jobs search hyperparameters at once"))
        why = f"{jobs} training jobs with {_instances(count)} each search hyperparameters at once"
        count *= jobs
    found += _of_type_and_across(use, training.instance_type, count, why)
    each = quotas.of_each(use)
    if each.default and training.instance_count > each.default:
        found.append(Need(each, training.instance_count, why, use))
    return found


def _evaluation(run: Run) -> list[Need]:
    if not run.evaluation.job_name:  # An earlier version is not judged again.
        return []
    return _of_type_and_across("processing", run.endpoint.instance_type, 1, "one instance evaluates the model")


def _function(run: Run) -> list[Need]:
    """Return the concurrency that the model's function takes from the account's; without a reservation it needs none.

    What other functions reserve does not count: Lambda itself refuses what is left too little of.
    """
    reserved, warm = run.function.reserved, run.function.provisioned_max
    if run.hosting == "instances" or not (reserved or warm):
        return []
    taken = f"ModelReservedConcurrency is {reserved}" if reserved else f"up to {warm} environments are kept warm"
    why = f"{taken}, and Lambda leaves {LEFT_FOR_OTHERS} to functions that reserve none"
    return [Need(quotas.concurrency(), (reserved or warm) + LEFT_FOR_OTHERS, why)]


def _endpoint(run: Run, fleets: Fleets) -> list[Need]:
    if run.hosting == "function":
        return []
    kind, most = run.endpoint.instance_type, run.endpoint.max_instances
    own = fleets.own.get(kind, 0)
    fleet = max(most, own)
    size = f"max_instances is {most}" if most >= own else f"{own} instances serve now"
    why = f"an update starts a second fleet beside the first ({size}), and staging takes one more instance"
    others, all_others = fleets.others.get(kind, 0), sum(fleets.others.values())
    # If the run changes the type, the first fleet of this update is of another one.
    first = max(fleet, sum(fleets.own.values()) - own)
    found = [
        Need(quotas.of_instances("endpoint", kind), 2 * fleet + 1 + others, why + _beside(others, kind), "endpoint"),
        Need(
            quotas.across("endpoint"),
            first + fleet + 1 + all_others,
            why + _beside(all_others, "all types"),
            "endpoint",
        ),
    ]
    each = quotas.of_each("endpoint")
    if each.default and most > each.default:
        found.append(Need(each, most, f"max_instances is {most}", "endpoint"))
    return found


def _of_type_and_across(use: str, instance_type: str, count: int, why: str) -> list[Need]:
    return [Need(quotas.of_instances(use, instance_type), count, why, use), Need(quotas.across(use), count, why, use)]


def _beside(others: int, kind: str) -> str:
    """Return the words about endpoints that are not to be updated."""
    return (
        f"; {_instances(others)} of {kind} serve{'s' if others == 1 else ''} elsewhere in the account" if others else ""
    )


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"
