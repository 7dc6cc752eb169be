"""``python -m local trace``: follow one request through the logs, from the door to the model and back.

It reads only what the logs hold, by the calls that one makes on AWS (docs/api.md has them as commands).
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError
from rich.bar import Bar
from rich.table import Table

from local import stack
from local.console import console, say, say_exactly, show
from local.home import LocalError
from local.laptop import Cloud
from local.trace_lines import Groups, Logs, names_of
from local.trace_steps import Followed, followed

HOURS = 24.0
_BAR_COLUMNS, _NOTE_COLUMNS = 40, 60
_NARROW = 100  # columns of a terminal, below which a step's note has no place beside its bar


def trace(cloud: Cloud, text: str, hours: float, as_json: bool) -> int:
    """Print what the logs say about a request, or about each request of a trace.

    Args:
        cloud: the cloud whose logs are read.
        text: see ``names_of``.
        hours: up to how many hours ago is searched.
        as_json: whether to print one document in place of pictures.

    Raises:
        LocalError: no line names it.
    """
    names = names_of(text)
    description = stack.look_up(cloud, stack.STACK)
    deployed = stack.describe(cloud)
    logs = Logs(cloud, Groups.of(stack.STACK, deployed.endpoint_name), hours)
    requests = [followed(lines, logs.groups) for lines in logs.requests(names)]
    if not requests:
        raise LocalError(_not_found(names[0], logs))
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in description["Parameters"]}
    package_group = parameters.get("ModelPackageGroupName") or deployed.endpoint_name
    for request in requests:
        request.versions |= _versions(cloud, request.versions, package_group, f"{deployed.endpoint_name}-model")
    if as_json:
        print(json.dumps([request.to_json() for request in requests], indent=1), flush=True)
        return 0
    for number, request in enumerate(requests):
        if number:
            say()
        show_request(request)
    return 0


def _not_found(name: str, logs: Logs) -> str:
    """Return where was looked, and why nothing may have been found."""
    now = datetime.now(UTC)
    begin = now - timedelta(hours=logs.hours)
    searched = [group for group in vars(logs.groups).values() if group not in logs.missing]
    places = ", ".join(searched) or "nothing, because there is no log yet"
    reasons = (
        f"no line of the logs names '{name}'; searched: {places}, "
        f"from {begin:%Y-%m-%d %H:%M} to {now:%Y-%m-%d %H:%M} UTC. It may be of the last seconds (CloudWatch is late), "
        "older than that (--hours) or than the stack's LogRetentionDays, or of another stack. The page, /health and "
        "preflights leave no line."
    )
    if logs.groups.access in searched:
        return reasons
    return (
        f"{reasons} Nor does what API Gateway refuses itself, such as a request without a key, beyond a quota or of "
        "more than 10 MB, unless the stack has ApiAccessLog=true."
    )


def _versions(cloud: Cloud, known: dict[str, Any], package_group: str, model_function: str) -> dict[str, Any]:
    """Return what the registry and Lambda say about the versions that answered; nothing of what was deleted since."""
    found: dict[str, Any] = {}
    if run := known.get("model_version"):
        with suppress(ClientError):
            found |= next(_packages(cloud, package_group, str(run)), {})
    for name, version in (
        (f"{stack.STACK}-classify", known.get("function_version")),
        (model_function, known.get("model_function_version")),
    ):
        with suppress(ClientError):
            if version:
                said = cloud.client("lambda").get_function_configuration(FunctionName=name, Qualifier=version)
                found["model_function_sha256" if name == model_function else "function_sha256"] = said["CodeSha256"]
    return found


def _packages(cloud: Cloud, group: str, run: str) -> Iterator[dict[str, Any]]:
    """Yield the versions of the model that a run registered, as the registry knows them."""
    sagemaker = cloud.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    for page in pages:
        for each in page["ModelPackageSummaryList"]:
            package = sagemaker.describe_model_package(ModelPackageName=each["ModelPackageArn"])
            if package.get("CustomerMetadataProperties", {}).get("run") == run:
                (container,) = package["InferenceSpecification"]["Containers"]
                yield {
                    "model_package": each["ModelPackageArn"],
                    "artifact": container.get("ModelDataUrl"),
                    "manifest_sha256": container.get("Environment", {}).get("KENNEL_MANIFEST"),
                    "image": container.get("Image"),
                }


def show_request(request: Followed) -> None:
    """Print a request: what it was, who answered, and a picture of its steps."""
    about = request.about
    outcome = about.get("status", about.get("message", ""))
    asks = about.get("asks", about.get("route", ""))
    say(f"{request.began}  {asks}  {outcome}  {request.milliseconds:,.1f} ms  by the {request.door}")
    for name, value in {"correlation_id": request.correlation_id, **request.ids}.items():
        say_exactly(f"  {name:<19} {value}")
    for name, value in about.items():
        if name not in ("asks", "route", "status", "message"):
            say_exactly(f"  {name:<19} {value}")
    for name, value in request.versions.items():
        if value:
            say_exactly(f"  {name:<19} {value}")
    say()
    show(picture(request))
    for note in request.notes:
        say(f"\n{note}")


def picture(request: Followed) -> Table:
    """Return the steps with their times and bars, and what came of each where there is room."""
    has_room = console().width >= _NARROW
    whole = max([step.start_ms + step.milliseconds for step in request.steps], default=0.0) or 1.0
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(width=_BAR_COLUMNS)
    if has_room:
        table.add_column(max_width=_NOTE_COLUMNS, overflow="fold")
    for step in request.steps:
        bar = Bar(
            whole, step.start_ms, max(step.start_ms + step.milliseconds, step.start_ms + whole / _BAR_COLUMNS / 8)
        )
        cells = (f"{'  ' * step.depth}{step.name}", f"{step.milliseconds:,.1f} ms", bar)
        table.add_row(*cells, *((step.note,) if has_room else ()))
    return table
