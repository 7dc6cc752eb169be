"""Decide what answers: instances of an endpoint, a function of Lambda that has the model, or the cheaper one."""

from typing import TYPE_CHECKING, cast

from plan import ec2
from shared import model_function
from shared.contracts import EndpointPlan, FunctionPlan, Hosting, ImagePlan, Request
from shared.errors import RequestError

if TYPE_CHECKING:
    from plan.run import PlanSettings

_MEMORY_MB = 1769  # one whole core: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
_TIMEOUT_SECONDS = 30  # A costly photo takes 5 s; API Gateway ends a request after 29 s.
_MOST_WARM = 2  # How many times provisioned_concurrency Application Auto Scaling keeps warm under load.


def of(request: Request, settings: "PlanSettings") -> Hosting:
    """Return what the request asks for, or else the stack."""
    return request.hosting or cast("Hosting", settings.hosting)  # The parameter allows no other value.


def problems(request: Request, settings: "PlanSettings") -> list[str]:
    """Say which fields of a request do not fit to what shall answer, or exceed what the stack allows."""
    hosting, given = of(request, settings), request.model_fields_set
    if hosting == "instances":
        of_function = [name for name in ("requests_per_day", "provisioned_concurrency") if name in given]
        return [
            f'{name}: decides nothing with hosting "instances"; leave it out, or ask for {{"hosting": "function"}} or '
            "auto"
            for name in of_function
            if getattr(request, name)
        ]
    found = []
    if hosting == "function":
        found = [
            f'{name}: decides nothing with hosting "function", which starts no instance; leave it out, or ask for '
            '{"hosting": "instances"} or auto'
            for name in ("min_instances", "max_instances")
            if name in given
        ]
        if request.lease_hours:
            found.append(
                'lease_hours: decides nothing with hosting "function", which costs nothing between requests and needs '
                "no lease; leave it out, or give 0"
            )
    warm = most_warm(request)
    if warm and float(settings.max_lease_hours):
        found.append(
            "provisioned_concurrency: environments that are kept warm cost by the hour until they are torn down, and "
            f"the stack's MaxLeaseHours is {settings.max_lease_hours}; leave it out"
        )
    # What is kept warm is taken from what is reserved, and without a rest Lambda refuses the version that a run tries:
    # https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
    for name, most, tried in (
        ("MaxServingInstances", int(settings.max_serving_instances), 0),
        ("ModelReservedConcurrency", int(settings.model_reserved_concurrency), 1),
    ):
        if most > 0 and warm > most - tried:
            rest = ", of which the version that a run tries needs one" if tried else ""
            found.append(
                f"provisioned_concurrency: {request.provisioned_concurrency} may become {warm} under load, and the "
                f"stack's {name} is {most}{rest}"
            )
    return found


def most_warm(request: Request) -> int:
    """Return how many environments are kept warm at most."""
    return _MOST_WARM * request.provisioned_concurrency


def plan(request: Request, settings: "PlanSettings", endpoint: EndpointPlan, images: ImagePlan) -> FunctionPlan:
    """Return the model's function.

    Args:
        request: the request.
        settings: the stack's parameters.
        endpoint: what would serve as instances, with the same limits.
        images: the image that serves.

    Raises:
        RequestError: the request asks for a function, and Lambda cannot take the image; or the stack has only one of
            the two network parameters.
    """
    if of(request, settings) != "instances":
        _check_registry(images.serve, settings.image_repository)
    vpc = settings.network.get("VpcConfig", {})
    return FunctionPlan(
        name=model_function.name_of(settings.endpoint_name),
        alias=model_function.ALIAS,
        # The stack builds for x86_64 alone. An image of the parameter is for the machines on which it is evaluated.
        architecture="arm64" if ec2.is_arm(endpoint.instance_type) else "x86_64",
        memory_mb=_MEMORY_MB,
        timeout_seconds=_TIMEOUT_SECONDS,
        reserved=int(settings.model_reserved_concurrency),
        provisioned=request.provisioned_concurrency,
        provisioned_max=most_warm(request),
        requests_per_day=request.requests_per_day,
        network={"SubnetIds": vpc.get("Subnets", []), "SecurityGroupIds": vpc.get("SecurityGroupIds", [])},
        max_p99_ms=endpoint.max_p99_ms,
        bake_seconds=endpoint.bake_seconds,
    )


def _check_registry(image: str, repository: str) -> None:
    """Refuse an image that Lambda cannot take or the stack's roles may not read: of another region or account.

    Lambda takes one of another account only from a caller that may read it there, and the stack's roles may read the
    repositories of their own account alone: https://docs.aws.amazon.com/lambda/latest/dg/images-create.html

    Raises:
        RequestError: the image is elsewhere.
    """
    here, there = repository.partition("/")[0], image.partition("/")[0]
    if there != here:
        raise RequestError(
            f"hosting: a function takes its image from the account's own ECR in its own region ({here}), and the "
            f'stack\'s ServingImage is {image}; push it there, or ask for {{"hosting": "instances"}}'
        )
