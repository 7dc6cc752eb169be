"""The most that the stack's parameters let a request ask for.

IAM holds the instance types, too. It has no condition for numbers of instances, so Plan alone holds those.
"""

from fnmatch import fnmatchcase
from typing import Any

from plan import ec2, hosting
from plan.run import PlanSettings
from shared.contracts import Limits, Request, Run
from shared.errors import RequestError

_BOUNDED = tuple(name for name in Limits.model_fields if name.startswith(("min_", "max_")))


def apply(request: Request, settings: PlanSettings) -> Request:
    """Return the request, with the stack's bounds of the gate where it sets nothing and they are the stricter ones.

    Raises:
        RequestError: it asks for more than the stack allows; the message names every field.
    """
    bounds = _bounds(settings.gate_bounds)
    stricter: dict[str, Any] = {
        name: bound
        for name, bound in bounds.items()
        if name not in request.model_fields_set and _is_looser(name, getattr(request, name), bound)
    }
    if "max_instances" not in request.model_fields_set:
        stricter["max_instances"] = min(request.max_instances, int(settings.max_serving_instances))
    fields = {name: getattr(request, name) for name in Request.model_fields}
    bounded = Request.model_construct(_fields_set=set(request.model_fields_set), **fields | stricter)
    problems = [] if request.promote is not None else [*_training(bounded, settings), *_gate(bounded, bounds)]
    problems += [*_serving(bounded, settings), *_lease(bounded, settings), *hosting.problems(bounded, settings)]
    if problems:
        raise RequestError("; ".join(problems))
    return bounded


def _training(request: Request, settings: PlanSettings) -> list[str]:
    if request.trained_model:
        return []
    kind = request.training_instance_type or settings.training_instance_type
    problems = _type("training_instance_type", kind, settings.allowed_training_types, "AllowedTrainingTypes")
    if request.train_on == "ec2":
        vcpus, most = ec2.num_vcpus(settings.training_instance_type.removeprefix("ml.")), int(settings.max_ec2_vcpus)
        if vcpus and vcpus > most:
            problems.append(f"train_on: the machine has {vcpus} vCPUs, and the stack's MaxEc2Vcpus is {most}")
        return problems
    each = request.training_instance_count or int(settings.training_instance_count)
    most = int(settings.max_training_instances)
    if each > most:
        problems.append(f"training_instance_count: {each} is above the stack's MaxTrainingInstances, {most}")
    return problems


def check_search(run: Run, settings: PlanSettings) -> None:
    """Check how many instances the training jobs of a search would have together.

    Raises:
        RequestError: more than the stack allows.
    """
    if run.training is None or run.tuning is None or run.tuning.where != "jobs":
        return
    jobs, most = min(run.tuning.trials, run.tuning.max_parallel), int(settings.max_training_instances)
    if jobs * run.training.instance_count > most:
        raise RequestError(
            f"tune.max_parallel: {jobs} training jobs of {run.training.instance_count} instance(s) at once are more "
            f"than the stack's MaxTrainingInstances, {most}"
        )


def _serving(request: Request, settings: PlanSettings) -> list[str]:
    kind, most = request.serving_instance_type or settings.serving_instance_type, int(settings.max_serving_instances)
    problems = _type("serving_instance_type", kind, settings.allowed_serving_types, "AllowedServingTypes")
    if request.max_instances > most:
        problems.append(f"max_instances: {request.max_instances} is above the stack's MaxServingInstances, {most}")
    elif request.min_instances > request.max_instances:
        problems.append(f"min_instances: {request.min_instances} is above the stack's MaxServingInstances, {most}")
    return problems


def _lease(request: Request, settings: PlanSettings) -> list[str]:
    if hosting.of(request, settings) == "function":
        return []
    hours = float(settings.lease_hours) if request.lease_hours is None else request.lease_hours
    most = float(settings.max_lease_hours)
    if most and not 0 < hours <= most:
        asked = "an endpoint that stays" if hours == 0 else f"{hours:g} hours"
        return [f"lease_hours: {asked}, and the stack's MaxLeaseHours is {most:g}"]
    return []


def _gate(request: Request, bounds: dict[str, float]) -> list[str]:
    values = {name: getattr(request, name) for name in bounds}
    words = {name: "no limit" if value is None else value for name, value in values.items()}
    return [
        f"{name}: {words[name]} is looser than the stack's GateBounds, {bound:g}"
        for name, bound in bounds.items()
        if _is_looser(name, values[name], bound)
    ]


def _type(field: str, kind: str, allowed: str, parameter: str) -> list[str]:
    if any(fnmatchcase(kind, pattern.strip()) for pattern in allowed.split(",")):
        return []
    return [f"{field}: {kind} is none of the types that the stack allows, {allowed} ({parameter})"]


def _is_looser(name: str, value: float | None, bound: float) -> bool:
    if value is None:  # A limit that is not set lets everything pass.
        return True
    return value < bound if name.startswith("min_") else value > bound


def _bounds(text: str) -> dict[str, float]:
    """Parse the stack's parameter GateBounds.

    Raises:
        RequestError: it names a limit that the gate does not have, or a value that is no number.
    """
    bounds = {}
    for part in text.split():
        name, _, value = part.partition("=")
        try:
            bounds[name] = float(value)
        except ValueError:
            name = ""
        if name not in _BOUNDED:
            known = ", ".join(_BOUNDED)
            raise RequestError(f"the stack's GateBounds has '{part}'; it takes NAME=NUMBER for {known}")
    return bounds
